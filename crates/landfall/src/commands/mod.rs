//! One file per command. Here they are told apart, and it is decided what each needs: nothing, tracing, a runtime.

mod build;
mod ci;
mod cluster;
mod diff;
mod doctor;
mod ecspresso;
pub(crate) mod environment;
mod executions;
mod export;
mod iam;
mod images;
mod import;
pub(crate) mod link;
mod logs;
pub(crate) mod manifest;
mod notifications;
mod pipeline;
mod preview;
mod prune;
mod publish;
pub(crate) mod push;
mod release;
mod secrets;
pub(crate) mod serve;
pub(crate) mod shim;
pub(crate) mod stack;
pub(crate) mod state;
mod strategy;
mod template;
mod up;
pub(crate) mod verify;
mod wait;

use std::path::{Path, PathBuf};

use clap::CommandFactory;
use landfall_local::EngineOptions;
use landfall_ports::PortError;

use crate::cli::cluster::ClusterCommand;
use crate::cli::environment::StatusArgs;
use crate::cli::pipeline::PipelineCommand;
use crate::cli::{Cli, Command, Global};
use crate::env_vars;
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::printer::Printer;
use crate::{demo, demo_app, logging};

/// What a server logs unless told; a command says what it does by its output.
const SERVER_LOG: &str = "info";
/// What a step is tried again for is told beside its progress, and a certificate that is not trusted in the error.
const COMMAND_LOG: &str = "error,rustls_platform_verifier=off";

/// The code to exit with: ours, or that of the container or the step that was run.
pub(crate) fn run(cli: Cli, printer: Printer) -> CliResult<u8> {
    if let Command::Run(args) = &cli.command {
        let global = &cli.global;
        return with_runtime(global, &printer, COMMAND_LOG, async || {
            Box::pin(environment::run(args, global, &printer)).await
        });
    }
    if let Command::Ci(args) = &cli.command {
        let global = &cli.global;
        return with_runtime(global, &printer, COMMAND_LOG, async || Box::pin(ci::run(args, global, &printer)).await);
    }
    if let Command::Shim(command) = &cli.command {
        let global = &cli.global;
        return with_runtime(global, &printer, COMMAND_LOG, async || {
            Box::pin(shim::run(command, global, &printer)).await
        });
    }
    ours(cli, printer).map(|code| code as u8)
}

fn ours(cli: Cli, printer: Printer) -> CliResult<ExitCode> {
    let global = cli.global;
    match cli.command {
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "landfall", &mut script);
            printer.raw(&String::from_utf8_lossy(&script))?;
            Ok(ExitCode::Ok)
        }
        Command::Check => manifest::check(&global.config, &printer),
        Command::Schema => manifest::schema(&printer),
        Command::Init(args) => manifest::init(&args, &printer),
        Command::Iam(args) => iam::run(&args, &global, &printer),
        Command::Pipeline(PipelineCommand::Export(command)) => export::run(&command, &global, &printer),
        Command::Cluster(ClusterCommand::OnAws(command)) => {
            with_runtime(&global, &printer, COMMAND_LOG, async || Box::pin(cluster::on_aws(&command, &printer)).await)
        }
        Command::Cluster(command) => cluster::run(&command, &printer),
        Command::Template(args) => template::run(&args, &global, &printer),
        Command::Import(command) => import::run(command, &printer),
        Command::DemoApp(app) => demo_app::run(app),
        Command::Router(args) => {
            let _guard = logging::init(&global, &printer, SERVER_LOG)?;
            serve::router(&args, &global)
        }
        Command::Serve(args) => {
            with_runtime(&global, &printer, SERVER_LOG, async || serve::serve(&args, &global, &printer).await)
        }
        other if mostly_waits(&other) => {
            let runtime = tokio::runtime::Builder::new_current_thread();
            on(runtime, &global, &printer, COMMAND_LOG, async || asynchronous(other, &global, &printer).await)
        }
        other => with_runtime(&global, &printer, COMMAND_LOG, async || asynchronous(other, &global, &printer).await),
    }
}

/// For builders, registries and AWS: threads that hand each other what there is to do cost more than they bring.
fn mostly_waits(command: &Command) -> bool {
    matches!(
        command,
        Command::Build(_) | Command::Images(_) | Command::Push(_) | Command::Releases(_) | Command::Status(_)
    )
}

/// Boxed: the largest of these futures would otherwise be every command's.
async fn asynchronous(command: Command, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    match command {
        Command::Demo(args) => Box::pin(demo::run(&args, printer)).await,
        Command::Up(args) => Box::pin(up::run(&args, global, printer)).await,
        Command::Preview(command) => Box::pin(preview::run(command, global, printer)).await,
        Command::Executions(command) => Box::pin(executions::run(command, global, printer)).await,
        Command::Deploy(args) => Box::pin(environment::deploy(&args, global, printer)).await,
        Command::Plan(args) => Box::pin(diff::plan(&args, global, printer)).await,
        Command::Diff(args) => Box::pin(diff::diff(&args, global, printer)).await,
        Command::Drift(args) => Box::pin(diff::drift(&args, global, printer)).await,
        Command::Verify(args) => Box::pin(diff::verify(&args, global, printer)).await,
        Command::Rollback(args) => Box::pin(environment::rollback(&args, global, printer)).await,
        Command::Releases(args) => Box::pin(environment::releases(&args, global, printer)).await,
        Command::Scale(args) => Box::pin(environment::scale(&args, global, printer)).await,
        Command::Wait(args) => Box::pin(environment::wait(&args, global, printer)).await,
        Command::Continue(args) => Box::pin(strategy::go_on(&args, global, printer)).await,
        Command::Abort(args) => Box::pin(strategy::abort(&args, global, printer)).await,
        Command::Secrets(command) => Box::pin(secrets::run(command, global, printer)).await,
        Command::Stack(command) => Box::pin(stack::run(command, global, printer)).await,
        Command::Lock(args) => Box::pin(environment::lock(&args, global, printer)).await,
        Command::Unlock(args) => Box::pin(environment::unlock(&args, global, printer)).await,
        Command::Logs(args) => Box::pin(environment::logs(&args, global, printer)).await,
        Command::Status(StatusArgs { environment: Some(name) }) => {
            Box::pin(environment::status(&name, global, printer)).await
        }
        Command::Status(_) => Box::pin(state::status(global, printer)).await,
        Command::Doctor(args) => Box::pin(doctor::run(&args, global, printer)).await,
        Command::Build(args) => Box::pin(build::run(&args, global, printer)).await,
        Command::Images(command) => Box::pin(images::run(command, global, printer)).await,
        Command::Pipeline(command) => Box::pin(pipeline::run(command, global, printer)).await,
        Command::Notifications(command) => Box::pin(notifications::run(command, global, printer)).await,
        Command::Release(command) => Box::pin(release::run(command, global, printer)).await,
        Command::Push(args) => Box::pin(push::run(&args, global, printer)).await,
        Command::Gc(args) => Box::pin(state::gc(&args, global, printer)).await,
        Command::Deliveries(args) => Box::pin(state::deliveries(&args, global, printer)).await,
        Command::Backup(args) => Box::pin(state::backup(&args, global, printer)).await,
        Command::Restore(args) => Box::pin(state::restore(&args, global, printer)).await,
        _ => Err(CliError::internal("a command without an implementation")),
    }
}

/// On as many threads as there are cores.
fn with_runtime<T>(
    global: &Global,
    printer: &Printer,
    filter: &str,
    work: impl AsyncFnOnce() -> CliResult<T>,
) -> CliResult<T> {
    on(tokio::runtime::Builder::new_multi_thread(), global, printer, filter, work)
}

/// Tracing first: its exporter must not be made inside a runtime. The runtime goes before it, so that spans that end with
/// tasks are still sent.
fn on<T>(
    mut runtime: tokio::runtime::Builder,
    global: &Global,
    printer: &Printer,
    filter: &str,
    work: impl AsyncFnOnce() -> CliResult<T>,
) -> CliResult<T> {
    let _guard = logging::init(global, printer, filter)?;
    #[cfg(feature = "tls")]
    {
        // Fails only where somebody was first.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
    let runtime = runtime.enable_all().build().map_err(|error| CliError::io("cannot start the runtime", &error))?;
    let result = runtime.block_on(tracing::Instrument::instrument(
        work(),
        tracing::info_span!("landfall", version = env!("CARGO_PKG_VERSION")),
    ));
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    result
}

/// Where the engine is looked for: `LANDFALL_ENGINE` or `CONTAINER_HOST` name its socket; the rest is the local platform's
/// search.
pub(crate) fn engine_options() -> EngineOptions {
    let named = env_vars::get(env_vars::ENGINE).or_else(|| env_vars::get(env_vars::CONTAINER_HOST));
    let socket = named.map(|host| PathBuf::from(host.strip_prefix("unix://").unwrap_or(&host).to_owned()));
    EngineOptions { socket, ..EngineOptions::default() }
}

/// Where this version is released, for jobs that run elsewhere.
fn release_url() -> String {
    let (repository, version) = (env!("CARGO_PKG_REPOSITORY"), env!("CARGO_PKG_VERSION"));
    format!("{repository}/releases/download/v{version}/landfall-{version}-x86_64-linux.tar.gz")
}

pub(crate) fn port_error(error: PortError) -> CliError {
    let code = match &error {
        PortError::Unavailable(_) | PortError::Full(_) => ExitCode::Unavailable,
        PortError::Throttled { .. } => ExitCode::Throttled,
        PortError::Denied(_) => ExitCode::Denied,
        PortError::NotFound(_) => ExitCode::NotFound,
        PortError::Conflict(_) => ExitCode::Conflict,
        PortError::Invalid(text) if text.contains("LF-ENGINE-MISSING") => ExitCode::Unavailable,
        PortError::Invalid(_) => ExitCode::Usage,
        PortError::Bug(_) => ExitCode::Internal,
    };
    CliError::new(code, error.to_string())
}

/// Writes a new file; one that is there only where `force` says so. `hint` tells what to do about that.
pub(crate) fn write_file(path: &Path, text: &str, force: bool, hint: &str) -> CliResult<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    let mut file = options.open(path).map_err(|error| {
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            CliError::new(ExitCode::Conflict, format!("{} exists", path.display())).hint(hint)
        } else {
            CliError::io(format!("cannot write {}", path.display()), &error)
        }
    })?;
    std::io::Write::write_all(&mut file, text.as_bytes())
        .map_err(|error| CliError::io(format!("cannot write {}", path.display()), &error))
}
