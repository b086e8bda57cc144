//! `import`: other tools' files are read here and understood in `landfall-import`. The manifest goes to stdout or into a
//! file, what changes with it to stderr; with `--output json` all of it is one document on stdout.

use std::path::Path;

use landfall_import::{ChangeKind, Failed, Files, Imported, cdk, copilot, deity, ecspresso};
use landfall_manifest::SourceFile;

use crate::cli::{ImportCommand, ImportTo};
use crate::commands::write_file;
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::printer::Printer;

/// A Copilot application has a handful for each service.
const MOST_FILES: usize = 2_000;

pub(crate) fn run(command: ImportCommand, printer: &Printer) -> CliResult<ExitCode> {
    match command {
        ImportCommand::Deity { conf, stage, repository, to } => {
            let source = read(&conf, printer)?;
            let options = deity::Options { stage, repositories: repository };
            finish(deity::import(source, &options), &to, printer)
        }
        ImportCommand::Copilot { directory, to } => {
            let name = std::fs::canonicalize(&directory).unwrap_or_else(|_| directory.clone());
            let options = copilot::Options { directory: application(&name) };
            finish(copilot::import(&collect(&directory)?, &options), &to, printer)
        }
        ImportCommand::CdkConfig { file, account, region, to } => {
            let source = read(&file, printer)?;
            finish(cdk::import(source, &cdk::Options { account, region }), &to, printer)
        }
        ImportCommand::Ecspresso { file, to } => {
            let source = read(&file, printer)?;
            let beside = file.parent().unwrap_or(Path::new("")).to_path_buf();
            let definition = |path: &str| match landfall_manifest::read_file(&beside.join(path)) {
                Ok(source) => Ok(source.text),
                Err(diagnostic) => Err(diagnostic.message),
            };
            finish(ecspresso::import(source, &definition, &|name| std::env::var(name).ok()), &to, printer)
        }
    }
}

fn read(path: &Path, printer: &Printer) -> CliResult<SourceFile> {
    landfall_manifest::read_file(path).map_err(|diagnostic| {
        if !path.exists() {
            return CliError::new(ExitCode::NotFound, format!("there is no file {}", path.display()));
        }
        let source = SourceFile::new(path.display().to_string(), "");
        refused(&Failed { files: vec![(source, vec![diagnostic])] }, printer)
    })
}

/// The directory's own name; that of the one above for `copilot/` itself.
fn application(directory: &Path) -> String {
    let named = if directory.ends_with("copilot") { directory.parent().unwrap_or(directory) } else { directory };
    named.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Copilot's files, by their path below `directory`. Nothing else of a repository is read: the first level is the
/// directory itself or `copilot/`, and what is below is three levels deep.
fn collect(directory: &Path) -> CliResult<Files> {
    let copilot = directory.join("copilot");
    let (root, prefix) = if copilot.is_dir() { (copilot.as_path(), "copilot/") } else { (directory, "") };
    let mut files = Files::new();
    walk(root, prefix, 3, &mut files)?;
    Ok(files)
}

fn walk(directory: &Path, prefix: &str, depth: usize, files: &mut Files) -> CliResult<()> {
    let cannot = |error: std::io::Error| CliError::io(format!("cannot look into {}", directory.display()), &error);
    for entry in std::fs::read_dir(directory).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        // Links are not followed: they may lead in circles.
        let kind = entry.file_type().map_err(cannot)?;
        if kind.is_dir() && depth > 1 && !name.starts_with('.') && name != "node_modules" {
            walk(&path, &format!("{prefix}{name}/"), depth - 1, files)?;
        } else if kind.is_file() && (name == ".workspace" || name.ends_with(".yml") || name.ends_with(".yaml")) {
            if files.len() >= MOST_FILES {
                let message = format!("more than {MOST_FILES} YAML files below {}", directory.display());
                return Err(CliError::new(ExitCode::Usage, message).hint("name the `copilot` directory"));
            }
            let source = landfall_manifest::read_file(&path)
                .map_err(|diagnostic| CliError::new(ExitCode::Io, diagnostic.message))?;
            files.insert(format!("{prefix}{name}"), source.text);
        }
    }
    Ok(())
}

fn finish(result: Result<Imported, Failed>, to: &ImportTo, printer: &Printer) -> CliResult<ExitCode> {
    let imported = result.map_err(|failed| refused(&failed, printer))?;
    if let Some(path) = &to.to {
        write_file(path, &imported.manifest, to.force, "without `--to` it is printed, `--force` overwrites it")?;
    }
    if printer.json() {
        printer.json_data(&serde_json::json!({
            "file": to.to,
            "manifest": imported.manifest,
            "changes": imported.changes,
        }))?;
        return Ok(ExitCode::Ok);
    }
    if to.to.is_none() {
        printer.raw(&imported.manifest)?;
    }
    for (kind, heading) in [
        (ChangeKind::ToDo, "To do:"),
        (ChangeKind::Differs, "Behaves otherwise:"),
        (ChangeKind::NotCarriedOver, "Not carried over:"),
    ] {
        let mut heading = Some(heading);
        for change in imported.changes.iter().filter(|change| change.kind == kind) {
            if let Some(heading) = heading.take() {
                printer.note(format_args!("\n{heading}"));
            }
            printer.note(format_args!("  {}: {}", change.about, change.text));
        }
    }
    match &to.to {
        Some(path) => {
            printer.note(format_args!("\nwrote {}", path.display()));
            printer.hint(format_args!("look it over, then `landfall check --config {}`", path.display()));
        }
        None => printer.hint("`--to FILE` writes it into a file; docs/import.md explains the list"),
    }
    Ok(ExitCode::Ok)
}

fn refused(failed: &Failed, printer: &Printer) -> CliError {
    let color = printer.stderr_has_color();
    let text: String =
        failed.files.iter().map(|(source, found)| landfall_manifest::render(found, source, color)).collect();
    CliError::new(ExitCode::InvalidManifest, format!("cannot be imported\n\n{}", text.trim_end()))
}
