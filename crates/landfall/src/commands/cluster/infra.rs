//! `cluster check`, and `infra.yml` for all that need it.

use std::path::{Path, PathBuf};

use landfall_cluster::{Infra, Loaded, Version};
use landfall_manifest::{SourceFile, has_cluster};

use crate::build::head;
use crate::cli::cluster::{ValuesArgs, VersionArgs};
use crate::commands::manifest::{Read, plural, verdict, warned};
use crate::env_vars;
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::printer::Printer;

fn read(path: &Path) -> Read<Loaded> {
    let load = |source: &SourceFile| landfall_cluster::load(source.clone(), env_vars::region().as_deref());
    Read::of(path, |source| load(source).map_err(|(_, problems)| problems))
}

fn missing(path: &Path) -> CliError {
    CliError::new(ExitCode::NotFound, format!("there is no file {}", path.display()))
        .hint("`landfall cluster init` writes a first one; --values or VALUES_FILE names another place")
}

/// The file that is meant: where there is no infra.yml, and nobody named another one, the manifest beside it that has a `cluster`, or may.
fn meant(path: &Path) -> PathBuf {
    let manifest = path.with_file_name("landfall.yml");
    let unnamed = path == Path::new(crate::cli::cluster::INFRA) && !path.exists();
    match unnamed && landfall_manifest::read_file(&manifest).is_ok_and(|source| has_cluster(&source) != Some(false)) {
        true => manifest,
        false => path.to_path_buf(),
    }
}

/// What is wrong with the cluster of a manifest; nothing where it has none.
pub(crate) fn of_manifest(source: &SourceFile) -> Vec<landfall_manifest::Diagnostic> {
    // What is no YAML, whoever reads the rest says.
    if has_cluster(source) != Some(true) {
        return Vec::new();
    }
    match landfall_cluster::load(source.clone(), env_vars::region().as_deref()) {
        Ok(loaded) => loaded.warnings,
        Err((_, problems)) => problems,
    }
}

pub(super) fn check(args: &ValuesArgs, printer: &Printer) -> CliResult<ExitCode> {
    let path = meant(&args.values);
    let read = read(&path);
    if read.missing {
        return Err(missing(&path));
    }
    let (source, loaded) = (&read.source, read.result.as_ref().ok());
    let problems = match &read.result {
        Ok(loaded) => &loaded.warnings,
        Err(problems) => problems,
    };
    let code = if loaded.is_some() { ExitCode::Ok } else { ExitCode::InvalidManifest };
    let notes = loaded.map(|loaded| loaded.notes.as_slice()).unwrap_or_default();
    if printer.json() {
        printer.json_data(&serde_json::json!({
            "file": source.path,
            "valid": loaded.is_some(),
            "exit_code": code as u8,
            "problems": problems,
            "notes": notes,
            "cluster": loaded.map(|loaded| &loaded.infra),
        }))?;
        return Ok(code);
    }
    tell(notes, printer);
    let is = loaded.map(|Loaded { infra, .. }| {
        let (fleets, groups) = (plural(infra.fleets.len(), "fleet"), plural(infra.groups.len(), "group"));
        format!("cluster {}, {fleets}, {groups}", infra.name)
    });
    verdict(source, problems, is, printer)?;
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
    pub(super) path: PathBuf,
    pub(super) directory: PathBuf,
}

impl Open {
    /// Its problems and notes are printed here.
    pub(super) fn of(args: &ValuesArgs, printer: &Printer) -> CliResult<Self> {
        let path = &meant(&args.values);
        let (loaded, source) = read(path).needed("landfall cluster check", || missing(path), printer)?;
        warned(&loaded.warnings, &source, printer);
        tell(&loaded.notes, printer);
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok(Self { infra: loaded.infra, path: path.clone(), directory: directory.to_path_buf() })
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

    /// A file beside infra.yml, or where the command is run, as ecs-cluster-deployer looked for its own.
    pub(super) fn beside(&self, path: &str) -> PathBuf {
        let beside = self.directory.join(path);
        if beside.exists() { beside } else { PathBuf::from(path) }
    }

    /// The text of the file that `user_data` names.
    pub(super) fn user_data(&self, printer: &Printer) -> CliResult<Option<String>> {
        let Some(path) = &self.infra.user_data else { return Ok(None) };
        let found = self.beside(path);
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
