//! `cluster check`, and `infra.yml` for all that need it.

use std::path::{Path, PathBuf};

use landfall_cluster::{Infra, Loaded, Version};
use landfall_manifest::{Diagnostic, Severity, SourceFile, codes, render};

use crate::build::head;
use crate::cli::cluster::{ValuesArgs, VersionArgs};
use crate::commands::manifest::plural;
use crate::env_vars;
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::printer::Printer;

/// Where the cluster is to be, if somebody says so.
pub(super) fn region() -> Option<String> {
    env_vars::get(env_vars::AWS_REGION).or_else(|| env_vars::get(env_vars::AWS_DEFAULT_REGION))
}

type Read = Result<(Loaded, SourceFile), (SourceFile, Vec<Diagnostic>)>;

fn read(path: &Path) -> Read {
    let source = landfall_manifest::read_file(path)
        .map_err(|found| (SourceFile::new(path.display().to_string(), ""), vec![found]))?;
    let loaded = landfall_cluster::load(source.clone(), region().as_deref())?;
    Ok((loaded, source))
}

fn missing(path: &Path, problems: &[Diagnostic]) -> Option<CliError> {
    let gone = problems.iter().any(|problem| problem.code == codes::UNREADABLE) && !path.exists();
    let error = || CliError::new(ExitCode::NotFound, format!("there is no file {}", path.display()));
    gone.then(|| error().hint("--values or VALUES_FILE names another one; docs/clusters.md has a first one"))
}

pub(super) fn check(args: &ValuesArgs, printer: &Printer) -> CliResult<ExitCode> {
    let path = &args.values;
    let (source, problems, loaded) = match read(path) {
        Ok((loaded, source)) => (source, loaded.warnings.clone(), Some(loaded)),
        Err((source, problems)) => match missing(path, &problems) {
            Some(missing) => return Err(missing),
            None => (source, problems, None),
        },
    };
    let code = if loaded.is_some() { ExitCode::Ok } else { ExitCode::InvalidManifest };
    let notes = loaded.as_ref().map(|loaded| loaded.notes.as_slice()).unwrap_or_default();
    if printer.json() {
        printer.json_data(&serde_json::json!({
            "file": source.path,
            "valid": loaded.is_some(),
            "exit_code": code as u8,
            "problems": problems,
            "notes": notes,
            "cluster": loaded.as_ref().map(|loaded| &loaded.infra),
        }))?;
        return Ok(code);
    }
    printer.raw(&render(&problems, &source, printer.stdout_has_color()))?;
    tell(notes, printer);
    let count = |severity| problems.iter().filter(|problem| problem.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    match &loaded {
        Some(Loaded { infra, .. }) => printer.note(format_args!(
            "{} is valid: cluster {}, {}, {}{}",
            source.path,
            infra.name,
            plural(infra.fleets.len(), "fleet"),
            plural(infra.groups.len(), "group"),
            if warnings > 0 { format!(", {}", plural(warnings, "warning")) } else { String::new() },
        )),
        None => {
            printer.note(format_args!("{}: {}, {}", source.path, plural(errors, "error"), plural(warnings, "warning")));
        }
    }
    Ok(code)
}

fn tell(notes: &[String], printer: &Printer) {
    for note in notes {
        printer.note(format_args!("note: {note}"));
    }
}

/// The file for a command that needs it, and the directory it is in.
pub(super) struct Open {
    pub(super) infra: Infra,
    directory: PathBuf,
}

impl Open {
    /// Its problems and notes are printed here.
    pub(super) fn of(args: &ValuesArgs, printer: &Printer) -> CliResult<Self> {
        let path = &args.values;
        let (loaded, source) = match read(path) {
            Ok(read) => read,
            Err((source, problems)) => {
                if let Some(missing) = missing(path, &problems) {
                    return Err(missing);
                }
                let text = render(&problems, &source, printer.stderr_has_color());
                let error = CliError::new(ExitCode::InvalidManifest, text.trim_end());
                if printer.json() {
                    return Err(error.hint("`landfall cluster check --output json` lists the problems as data"));
                }
                printer.note(text.trim_end());
                return Err(CliError::silent(ExitCode::InvalidManifest));
            }
        };
        if !loaded.warnings.is_empty() {
            printer.note(render(&loaded.warnings, &source, printer.stderr_has_color()).trim_end());
        }
        tell(&loaded.notes, printer);
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok(Self { infra: loaded.infra, directory: directory.to_path_buf() })
    }

    /// The one that is named, else the commit that is checked out where the file is.
    pub(super) fn version(&self, args: &VersionArgs) -> CliResult<Version> {
        let given = args.version.clone().filter(|version| !version.is_empty());
        let Some(text) = given.or_else(|| head(&self.directory).commit) else {
            let message = "which version? It is not said, and this is no checkout of git";
            return Err(CliError::new(ExitCode::Usage, message).hint("say it: --version, or VERSION"));
        };
        Version::parse(&text, &self.infra.name)
            .map_err(|why| CliError::new(ExitCode::Usage, why).hint("say another one: --version, or VERSION"))
    }

    /// The text of the file that `user_data` names: beside infra.yml, or where the command is run, as ecs-cluster-deployer looked for it.
    pub(super) fn user_data(&self, printer: &Printer) -> CliResult<Option<String>> {
        let Some(path) = &self.infra.user_data else { return Ok(None) };
        let beside = self.directory.join(path);
        let found = if beside.exists() { beside } else { PathBuf::from(path) };
        let text = landfall_manifest::read_text(&found)
            .map_err(|error| CliError::io(format!("user_data: {} cannot be read", found.display()), &error))?;
        if text.contains("{{") || text.contains("{%") {
            printer.warn(format_args!(
                "user_data: {} looks like a template of Jinja; it runs on the instances as it is, beside landfall's own script",
                found.display()
            ));
        }
        Ok(Some(text))
    }
}
