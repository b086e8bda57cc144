//! An ecspresso configuration where a manifest is expected: its files are read here and understood in `landfall-import`, and what
//! they ask of AWS is asked here, all at once.

use std::path::Path;

use landfall_import::Failed;
use landfall_import::ecspresso::project::{EcspressoProject, External, Inputs, Known, Loaded, Lookup, STACK, load};
use landfall_manifest::SourceFile;
use landfall_model::app::App;

use crate::env_vars;
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::printer::Printer;

/// The environment's name: there is one, and commands take it where none is named.
const ENVIRONMENT: &str = "default";
/// A Terraform state may be long; no file of a project is longer.
const LARGEST: u64 = 64 * 1024 * 1024;

/// The manifest that the project amounts to; problems are printed here.
pub(crate) fn app(source: &SourceFile, printer: &Printer) -> CliResult<App> {
    let project = match on_large_stack(|| project(source))? {
        Ok(project) => project,
        Err(Refused { failed, worst }) => {
            return Err(refused(&failed, worst.unwrap_or(ExitCode::InvalidManifest), printer));
        }
    };
    for note in &project.notes {
        printer.note(format_args!("{}: {note}", source.path));
    }
    Ok(project.app)
}

/// A task definition in a file of its own.
pub(crate) fn task_definition(path: &Path, printer: &Printer) -> CliResult<serde_json::Value> {
    let source = landfall_manifest::read_file(path)
        .map_err(|diagnostic| CliError::new(ExitCode::NotFound, diagnostic.message))?;
    let definition = landfall_import::ecspresso::project::task_definition(&source);
    definition.map_err(|failed| refused(&failed, ExitCode::InvalidManifest, printer))
}

fn refused(failed: &Failed, code: ExitCode, printer: &Printer) -> CliError {
    let color = printer.stderr_has_color();
    let text: String =
        failed.files.iter().map(|(source, found)| landfall_manifest::render(found, source, color)).collect();
    if printer.json() {
        return CliError::new(code, text.trim_end());
    }
    printer.note(text.trim_end());
    CliError::silent(code)
}

/// Jsonnet is analysed on the thread's stack. A thread of its own may also wait for AWS, whoever waits for it.
fn on_large_stack<T: Send>(work: impl FnOnce() -> CliResult<T> + Send) -> CliResult<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("ecspresso".to_owned()).stack_size(STACK);
        let thread = thread.spawn_scoped(scope, work).map_err(|error| CliError::io("cannot start a thread", &error))?;
        thread.join().unwrap_or_else(|_| Err(CliError::internal("the project's files could not be read")))
    })
}

struct Refused {
    failed: Failed,
    /// Of what AWS refused: no permission, not to be reached.
    worst: Option<ExitCode>,
}

fn project(source: &SourceFile) -> CliResult<Result<EcspressoProject, Refused>> {
    let external = external()?;
    let read = |path: &str| text(&source.directory.join(path));
    let vars = |name: &str| std::env::var(name).ok();
    let mut known = Known::new();
    let mut worst = None;
    loop {
        let inputs = Inputs { read: &read, vars: &vars, known: &known, external: &external, environment: ENVIRONMENT };
        match load(source, &inputs) {
            Ok(Loaded::Project(project)) => return Ok(Ok(*project)),
            Ok(Loaded::Asks { lookups, region }) => {
                let lookups: Vec<Lookup> = lookups.into_iter().collect();
                let answers = ask(&lookups, region.as_deref())?;
                worst = worst.or(answers.worst);
                known.extend(lookups.into_iter().zip(answers.found));
            }
            Err(failed) => return Ok(Err(Refused { failed, worst })),
        }
    }
}

fn text(path: &Path) -> Result<String, String> {
    let said = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        _ => error.to_string(),
    };
    let length = std::fs::metadata(path).map_err(said)?.len();
    if length > LARGEST {
        return Err(format!("it is larger than {LARGEST} bytes"));
    }
    std::fs::read_to_string(path).map_err(said)
}

/// `NAME=VALUE;NAME=VALUE`, as ecspresso reads them.
fn external() -> CliResult<External> {
    let read = |name: &str| -> CliResult<_> {
        let text = env_vars::get(name).unwrap_or_default();
        let pairs = text.split(';').filter(|pair| !pair.trim().is_empty()).map(|pair| {
            let pair = pair.split_once('=').map(|(key, value)| (key.trim().to_owned(), value.to_owned()));
            pair.ok_or_else(|| CliError::new(ExitCode::Usage, format!("{name} is `NAME=VALUE;NAME=VALUE`")))
        });
        pairs.collect()
    };
    Ok(External { text: read(env_vars::EXT_STR)?, code: read(env_vars::EXT_CODE)? })
}

struct Answers {
    /// In the order asked.
    found: Vec<Result<landfall_import::ecspresso::project::Found, String>>,
    worst: Option<ExitCode>,
}

#[cfg(feature = "aws")]
fn ask(lookups: &[Lookup], region: Option<&str>) -> CliResult<Answers> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::io("cannot start the runtime", &error))?;
    runtime.block_on(asked(lookups, region))
}

#[cfg(feature = "aws")]
async fn asked(lookups: &[Lookup], region: Option<&str>) -> CliResult<Answers> {
    use landfall_aws::{AwsOptions, AwsPlatform};
    use landfall_model::aws::AwsTarget;

    let name = ENVIRONMENT.to_owned();
    let target = AwsTarget { name, region: region.map(str::to_owned), ..AwsTarget::default() };
    let platform = AwsPlatform::connect(&target, AwsOptions { instance: String::new() }).await;
    let platform = platform.map_err(super::port_error)?;
    let mut answers = Answers { found: Vec::new(), worst: None };
    for lookup in lookups {
        let found = Box::pin(one(&platform, lookup)).await;
        answers.found.push(found.map_err(|error| {
            let said = super::port_error(error);
            if matches!(said.code, ExitCode::Denied | ExitCode::Throttled | ExitCode::Unavailable) {
                answers.worst.get_or_insert(said.code);
            }
            format!("{lookup} cannot be looked up: {}", said.message)
        }));
    }
    Ok(answers)
}

#[cfg(feature = "aws")]
async fn one(
    platform: &landfall_aws::AwsPlatform,
    lookup: &Lookup,
) -> Result<landfall_import::ecspresso::project::Found, landfall_ports::PortError> {
    use landfall_aws::ParameterValue;
    use landfall_import::ecspresso::project::Found;

    Ok(match lookup {
        Lookup::Parameter(name) => match platform.parameter(name).await? {
            ParameterValue::Text(text) => Found::Text(text),
            ParameterValue::List(items) => Found::List(items),
        },
        Lookup::SecretArn(name) => Found::Text(platform.secret_arn(name).await?),
        Lookup::StackOutputs(stack) => Found::Map(platform.stack_outputs(stack).await?),
        Lookup::Exports => Found::Map(platform.stack_exports().await?),
        Lookup::State { bucket, key, region } => Found::Text(platform.object(bucket, key, region.as_deref()).await?),
        Lookup::CallerIdentity => Found::Map(platform.caller_identity().await?),
    })
}

#[cfg(not(feature = "aws"))]
fn ask(lookups: &[Lookup], _: Option<&str>) -> CliResult<Answers> {
    let asked = lookups.first().map(Lookup::to_string).unwrap_or_default();
    Err(crate::places::without(ENVIRONMENT, &asked))
}
