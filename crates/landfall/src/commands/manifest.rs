//! `check`, `schema`, `init`: no runtime, no tracing, no state. And loading a manifest for everybody else.

use std::path::Path;

use landfall_manifest::{Diagnostic, Loaded, Severity, SourceFile};
use landfall_model::app::App;

use crate::cli::InitArgs;
use crate::commands::{ecspresso, write_file};
use crate::env_vars;
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::printer::Printer;

/// The manifest, or its problems.
struct Read {
    source: SourceFile,
    result: Result<Loaded, Vec<Diagnostic>>,
}

/// With this process's variables, and the files that it names.
pub(crate) fn from(source: &SourceFile) -> Result<Loaded, Vec<Diagnostic>> {
    landfall_manifest::load_with(source, &|name| std::env::var(name).ok(), &landfall_manifest::read_text)
}

fn read(path: &Path) -> Read {
    match landfall_manifest::read_file(path) {
        Ok(source) => {
            let result = from(&source);
            Read { source, result }
        }
        Err(diagnostic) => {
            Read { source: SourceFile::new(path.display().to_string(), ""), result: Err(vec![diagnostic]) }
        }
    }
}

fn missing(path: &Path, problems: &[Diagnostic]) -> bool {
    problems.iter().any(|problem| problem.code == landfall_manifest::codes::UNREADABLE) && !path.exists()
}

pub(crate) fn check(config: &Path, printer: &Printer) -> CliResult<ExitCode> {
    if let Some(source) = ecspresso_project(config) {
        let app = ecspresso::app(&source, printer)?;
        if printer.json() {
            printer.json_data(
                &serde_json::json!({ "file": source.path, "valid": true, "exit_code": 0, "problems": [] }),
            )?;
        }
        printer.note(format_args!("{} is valid: an ecspresso project, {}", source.path, app.project));
        return Ok(ExitCode::Ok);
    }
    let Read { source, result } = read(config);
    let (problems, loaded) = match &result {
        Ok(loaded) => (&loaded.warnings, Some(loaded)),
        Err(problems) => (problems, None),
    };
    let code = match loaded {
        Some(_) => ExitCode::Ok,
        None if missing(config, problems) => ExitCode::NotFound,
        None => ExitCode::InvalidManifest,
    };
    let count = |severity| problems.iter().filter(|problem| problem.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    if printer.json() {
        printer.json_data(&serde_json::json!({
            "file": source.path,
            "valid": loaded.is_some(),
            "exit_code": code as u8,
            "problems": problems,
        }))?;
        return Ok(code);
    }
    // For this command the problems are the data.
    printer.raw(&landfall_manifest::render(problems, &source, printer.stdout_has_color()))?;
    match loaded {
        Some(loaded) => printer.note(format_args!(
            "{} is valid: project {}, {}{}{}",
            source.path,
            loaded.app.project,
            plural(loaded.app.services.len(), "service"),
            if loaded.app.previews.is_some() { ", previews" } else { "" },
            if warnings > 0 { format!(", {}", plural(warnings, "warning")) } else { String::new() },
        )),
        None => {
            printer.note(format_args!("{}: {}, {}", source.path, plural(errors, "error"), plural(warnings, "warning")))
        }
    }
    for (name, bytes) in loaded.into_iter().flat_map(|loaded| super::template::unplaced(&loaded.app)) {
        printer.warn(format_args!(
            "the template of {name} has {bytes} bytes, more than CloudFormation takes with a request: unless the state is on S3, it needs \
             `template_bucket: BUCKET` under environments.{name}.stack"
        ));
    }
    Ok(code)
}

pub(crate) fn plural(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// The manifest for a command that needs one; problems are printed here.
pub(crate) fn load(path: &Path, printer: &Printer) -> CliResult<App> {
    if let Some(source) = ecspresso_project(path) {
        return ecspresso::app(&source, printer).map(with_default_secret);
    }
    let Read { source, result } = read(path);
    match result {
        Ok(loaded) => {
            if !loaded.warnings.is_empty() {
                let text = landfall_manifest::render(&loaded.warnings, &source, printer.stderr_has_color());
                printer.note(text.trim_end());
            }
            Ok(with_default_secret(loaded.app))
        }
        Err(problems) if missing(path, &problems) => {
            Err(CliError::new(ExitCode::NotFound, format!("there is no manifest at {}", path.display()))
                .hint("`landfall init` writes a first one; `--config FILE` names another place"))
        }
        Err(problems) => {
            let text = landfall_manifest::render(&problems, &source, printer.stderr_has_color());
            let error = CliError::new(ExitCode::InvalidManifest, text.trim_end());
            if printer.json() {
                return Err(error.hint("`landfall check --output json` lists the problems as data"));
            }
            printer.note(text.trim_end());
            Err(CliError::silent(ExitCode::InvalidManifest))
        }
    }
}

/// Told by its keys, whatever its name.
fn ecspresso_project(path: &Path) -> Option<SourceFile> {
    let source = landfall_manifest::read_file(path).ok()?;
    landfall_import::ecspresso::project::is_config(&source).then_some(source)
}

/// Where the manifest names no webhook secret, the variable is it.
fn with_default_secret(mut app: App) -> App {
    if app.webhook_secrets.is_empty() && env_vars::get(env_vars::WEBHOOK_SECRET).is_some() {
        app.webhook_secrets.push(landfall_model::task::SecretRef::Env(env_vars::WEBHOOK_SECRET.to_owned()));
    }
    app
}

pub(crate) fn schema(printer: &Printer) -> CliResult<ExitCode> {
    printer.raw(&landfall_manifest::schema())?;
    Ok(ExitCode::Ok)
}

pub(crate) fn init(args: &InitArgs, printer: &Printer) -> CliResult<ExitCode> {
    let directory = args.directory.display();
    let files = landfall_manifest::init::scan(&args.directory)
        .map_err(|error| CliError::io(format!("cannot look into {directory}"), &error))?;
    let mut text = landfall_manifest::init::propose(&files);
    if args.flow {
        let names = std::fs::read_dir(&args.directory).into_iter().flatten().flatten();
        let names = names.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        text.push_str(&landfall_manifest::init::flow(&landfall_manifest::init::tests(&names)));
    }
    if args.stdout {
        printer.raw(&text)?;
        return Ok(ExitCode::Ok);
    }
    let target = args.directory.join("landfall.yml");
    write_file(&target, &text, args.force, "`--stdout` prints a proposal beside it, `--force` overwrites it")?;
    printer.note(format_args!("wrote {}", target.display()));
    printer.hint(match args.flow {
        true => "look it over, then `landfall check` and `landfall ci plan --branch master`",
        false => "look it over, then `landfall check` and `landfall up`",
    });
    if printer.json() {
        printer.json_data(&serde_json::json!({ "file": target }))?;
    }
    Ok(ExitCode::Ok)
}
