//! Where the state is, unless told.

use std::fs::File;
use std::path::{Path, PathBuf};

use landfall_model::app::App;

use crate::env_vars;
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;

/// What `--state` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    Directory(PathBuf),
    /// Shared by machines (docs/state-s3.md). `scratch`: a directory for what only this one needs while it works.
    S3 {
        url: String,
        scratch: PathBuf,
    },
}

const S3: &str = "s3://";

impl State {
    /// `--state`, else `$XDG_STATE_HOME/landfall`, else `~/.local/state/landfall`; directories are always absolute.
    pub(crate) fn of(given: Option<PathBuf>) -> CliResult<Self> {
        let home = (env_vars::get(env_vars::XDG_STATE_HOME), env_vars::get(env_vars::HOME));
        match s3_url(given.as_deref()) {
            Some(url) => {
                let scratch = choose(None, home.0, home.1)?.join("s3").join(url.replace("://", "-").replace('/', "-"));
                Ok(Self::S3 { url, scratch: absolute(&scratch)? })
            }
            None => Ok(Self::Directory(absolute(&choose(given, home.0, home.1)?)?)),
        }
    }

    /// Long templates of stacks go there too, where the manifest names no bucket for them.
    pub(crate) fn keeps_templates(&self, app: &mut App) {
        let Self::S3 { url, .. } = self else { return };
        let place = &url[S3.len()..];
        for stack in app.environments.values_mut().filter_map(|environment| environment.stack.as_mut()) {
            stack.template_bucket.get_or_insert_with(|| place.to_owned());
        }
    }

    /// A directory of this machine: the state's own, or one for its scratch files.
    pub(crate) fn directory(&self) -> &Path {
        match self {
            Self::Directory(path) | Self::S3 { scratch: path, .. } => path,
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directory(path) => path.display().fmt(f),
            Self::S3 { url, .. } => f.write_str(url),
        }
    }
}

/// For what needs a directory: sockets, containers of this machine, a database file.
pub(crate) fn state_dir(given: Option<PathBuf>) -> CliResult<PathBuf> {
    match State::of(given)? {
        State::Directory(path) => Ok(path),
        State::S3 { url, .. } => {
            let message = format!("this needs a state directory on this machine, and the state is {url}");
            Err(CliError::new(ExitCode::Usage, message)
                .hint("name a directory with --state DIR, or unset LANDFALL_STATE")
                .hint("docs/state-s3.md says what a state on S3 is for"))
        }
    }
}

fn s3_url(given: Option<&Path>) -> Option<String> {
    let text = given?.to_str()?;
    text.get(..S3.len()).filter(|scheme| scheme.eq_ignore_ascii_case(S3))?;
    Some(format!("{S3}{}", text[S3.len()..].trim_end_matches('/')))
}

fn absolute(path: &Path) -> CliResult<PathBuf> {
    std::path::absolute(path).map_err(|error| CliError::io(format!("state directory {}", path.display()), &error))
}

/// The manifest's directory.
pub(crate) fn root(config: &Path) -> CliResult<PathBuf> {
    let config = std::path::absolute(config).map_err(|error| CliError::io("the manifest's directory", &error))?;
    Ok(config.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf))
}

/// Held until it is dropped, however this process ends. `taken`: what to say where another one has it.
pub(crate) fn lock(directory: &Path, name: &str, taken: impl FnOnce() -> CliError) -> CliResult<File> {
    let failed = |error: std::io::Error| CliError::io(format!("state directory {}", directory.display()), &error);
    std::fs::create_dir_all(directory).map_err(failed)?;
    let file = File::options().create(true).truncate(false).write(true).open(directory.join(name)).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(taken()),
        Err(std::fs::TryLockError::Error(error)) => Err(failed(error)),
    }
}

fn choose(given: Option<PathBuf>, xdg: Option<String>, home: Option<String>) -> CliResult<PathBuf> {
    if let Some(path) = given {
        return Ok(path);
    }
    // The XDG specification: a relative value is to be ignored.
    if let Some(xdg) = xdg.map(PathBuf::from).filter(|path| path.is_absolute()) {
        return Ok(xdg.join("landfall"));
    }
    match home {
        Some(home) => Ok(PathBuf::from(home).join(".local/state/landfall")),
        None => Err(CliError::new(ExitCode::Usage, "there is no home directory to keep the state in")
            .hint("say where with --state DIR or LANDFALL_STATE; with a state on S3 set HOME or XDG_STATE_HOME")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn the_option_wins_then_xdg_then_home() {
        let of = |given: Option<&str>, xdg: Option<&str>, home: Option<&str>| {
            choose(given.map(PathBuf::from), xdg.map(String::from), home.map(String::from))
                .map(|path| path.to_string_lossy().into_owned())
        };
        assert_eq!(of(Some("/s"), Some("/x"), Some("/h")).unwrap(), "/s");
        assert_eq!(of(None, Some("/x"), Some("/h")).unwrap(), "/x/landfall");
        assert_eq!(of(None, Some("relative"), Some("/h")).unwrap(), "/h/.local/state/landfall");
        assert_eq!(of(None, None, None).unwrap_err().code, ExitCode::Usage);
    }

    #[test]
    fn s3_is_told_from_a_directory() {
        let of = |text: &str| s3_url(Some(Path::new(text)));
        assert_eq!(of("s3://acme-state/my-project/"), Some("s3://acme-state/my-project".to_owned()));
        assert_eq!(of("S3://acme-state"), Some("s3://acme-state".to_owned()));
        assert_eq!((of("/var/lib/landfall"), of("s3:/x"), of("s3")), (None, None, None));
        assert_eq!(s3_url(None), None);
    }

    #[test]
    fn long_templates_go_beside_a_state_on_s3_where_the_manifest_names_no_bucket() {
        let text = "project: shop\naws: {prod: {region: eu-west-1, cluster: a}, dev: {region: eu-west-1, cluster: b}}\n\
            services: {web: {cpu: 256, memory: 512, containers: {app: {image: nginx, ports: [80]}}}}\n\
            environments: {prod: {on: prod, stack: {template_bucket: acme}}, dev: {on: dev, stack: {}}}\n";
        let of = |state: State| {
            let source = landfall_manifest::SourceFile::new("landfall.yml", text);
            let mut app = crate::commands::manifest::from(&source).unwrap().app;
            state.keeps_templates(&mut app);
            ["prod", "dev"].map(|name| app.environments[name].stack.clone().unwrap().template_bucket)
        };
        let shared = State::S3 { url: "s3://acme-state/shop".to_owned(), scratch: PathBuf::new() };
        assert_eq!(of(shared), [Some("acme".to_owned()), Some("acme-state/shop".to_owned())]);
        assert_eq!(of(State::Directory(PathBuf::new())), [Some("acme".to_owned()), None]);
    }
}
