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

/// A file, or its problems.
pub(crate) struct Read<T> {
    pub(crate) source: SourceFile,
    pub(crate) result: Result<T, Vec<Diagnostic>>,
    /// There is no such file.
    pub(crate) missing: bool,
}

impl<T> Read<T> {
    pub(crate) fn of(path: &Path, load: impl FnOnce(&SourceFile) -> Result<T, Vec<Diagnostic>>) -> Self {
        match landfall_manifest::read_file(path) {
            Ok(source) => {
                let result = load(&source);
                Self { source, result, missing: false }
            }
            Err(problem) => Self {
                source: SourceFile::new(path.display().to_string(), ""),
                missing: problem.code == landfall_manifest::codes::UNREADABLE && !path.exists(),
                result: Err(vec![problem]),
            },
        }
    }

    /// For a command that needs the file; problems are printed here. `check`: the command that lists them.
    pub(crate) fn needed(
        self,
        check: &str,
        missing: impl FnOnce() -> CliError,
        printer: &Printer,
    ) -> CliResult<(T, SourceFile)> {
        let problems = match self.result {
            Ok(loaded) => return Ok((loaded, self.source)),
            Err(_) if self.missing => return Err(missing()),
            Err(problems) => problems,
        };
        let text = landfall_manifest::render(&problems, &self.source, printer.stderr_has_color());
        let error = CliError::new(ExitCode::InvalidManifest, text.trim_end());
        if printer.json() {
            return Err(error.hint(format!("`{check} --output json` lists the problems as data")));
        }
        printer.note(text.trim_end());
        Err(CliError::silent(ExitCode::InvalidManifest))
    }
}

pub(crate) fn warned(warnings: &[Diagnostic], source: &SourceFile, printer: &Printer) {
    if !warnings.is_empty() {
        printer.note(landfall_manifest::render(warnings, source, printer.stderr_has_color()).trim_end());
    }
}

/// What `check` says: the problems are its data. `is`: what a valid file describes.
pub(crate) fn verdict(
    source: &SourceFile,
    problems: &[Diagnostic],
    is: Option<String>,
    printer: &Printer,
) -> CliResult<()> {
    printer.raw(&landfall_manifest::render(problems, source, printer.stdout_has_color()))?;
    let count = |severity| problems.iter().filter(|problem| problem.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), plural(count(Severity::Warning), "warning"));
    let path = &source.path;
    match is {
        Some(is) if problems.is_empty() => printer.note(format_args!("{path} is valid: {is}")),
        Some(is) => printer.note(format_args!("{path} is valid: {is}, {warnings}")),
        None => printer.note(format_args!("{path}: {}, {warnings}", plural(errors, "error"))),
    }
    Ok(())
}

/// With this process's variables, and the files that it names.
pub(crate) fn from(source: &SourceFile) -> Result<Loaded, Vec<Diagnostic>> {
    landfall_manifest::load_with(source, &|name| std::env::var(name).ok(), &landfall_manifest::read_text)
}

/// As [`from`], with what is wrong with its cluster, which no other command but those for clusters looks at.
fn checked(source: &SourceFile) -> Result<Loaded, Vec<Diagnostic>> {
    let cluster = super::cluster::of_manifest(source);
    let failed = cluster.iter().any(|problem| problem.severity == Severity::Error);
    match from(source) {
        Ok(loaded) if !failed => Ok(Loaded { warnings: [loaded.warnings, cluster].concat(), ..loaded }),
        Ok(loaded) => Err([loaded.warnings, cluster].concat()),
        Err(problems) => Err([problems, cluster].concat()),
    }
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
    let Read { source, result, missing } = Read::of(config, checked);
    let (problems, loaded) = match &result {
        Ok(loaded) => (&loaded.warnings, Some(loaded)),
        Err(problems) => (problems, None),
    };
    let code = match loaded {
        Some(_) => ExitCode::Ok,
        None if missing => ExitCode::NotFound,
        None => ExitCode::InvalidManifest,
    };
    if printer.json() {
        printer.json_data(&serde_json::json!({
            "file": source.path,
            "valid": loaded.is_some(),
            "exit_code": code as u8,
            "problems": problems,
        }))?;
        return Ok(code);
    }
    let is = loaded.map(|Loaded { app, .. }| {
        let previews = if app.previews.is_some() { ", previews" } else { "" };
        format!("project {}, {}{previews}", app.project, plural(app.services.len(), "service"))
    });
    verdict(&source, problems, is, printer)?;
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
    let missing = || {
        CliError::new(ExitCode::NotFound, format!("there is no manifest at {}", path.display()))
            .hint("`landfall init` writes a first one; `--config FILE` names another place")
    };
    let (loaded, source) = Read::of(path, from).needed("landfall check", missing, printer)?;
    warned(&loaded.warnings, &source, printer);
    Ok(with_default_secret(loaded.app))
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
    let mut files = landfall_manifest::init::scan(&args.directory)
        .map_err(|error| CliError::io(format!("cannot look into {directory}"), &error))?;
    files.repository = args.image.clone();
    if args.flow
        && files.repository.is_none()
        && landfall_manifest::init::builds(&landfall_manifest::init::propose(&files))
    {
        let beside = files.remote.as_deref().and_then(landfall_manifest::init::repository);
        files.repository = Some(beside.ok_or_else(|| {
            CliError::new(
                ExitCode::Usage,
                "where do images go? The flow pushes them, and no remote `origin` on GitHub or GitLab says it",
            )
            .hint("--image REPOSITORY, for example 111122223333.dkr.ecr.eu-west-1.amazonaws.com/shop")
        })?);
    }
    let mut text = landfall_manifest::init::propose(&files);
    if args.flow {
        let names = std::fs::read_dir(&args.directory).into_iter().flatten().flatten();
        let names = names.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        let rules = landfall_manifest::init::flow(&landfall_manifest::init::tests(&names), &text);
        text.push_str(&rules);
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
