//! The program in the containers of the demonstration and of the tests: a tiny web application and the reverse proxy beside
//! it. It has knobs for everything a bad container does (exit at once, never get healthy, ignore SIGTERM), so that a test
//! needs no other image.
//!
//! In a container it is process 1, which ignores every signal it has no handler for; so SIGTERM is always handled.

mod proxy;
mod web;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum DemoApp {
    /// Answers on a port
    Web(WebArgs),
    /// Passes everything on to another address
    Proxy(ProxyArgs),
    /// Asks a URL of this host once; 0 when the answer is 2xx (a container health check needs a program)
    Healthcheck {
        addr: SocketAddr,
        #[arg(default_value = "/health")]
        path: String,
    },
    /// Prints a line and exits (hooks, migrations, one-off tasks)
    Job {
        #[arg(default_value = "done")]
        line: String,
        #[arg(long, default_value_t = 0)]
        exit: u8,
        #[arg(long, default_value_t = 0)]
        sleep_ms: u64,
    },
}

#[derive(Debug, Clone, Args)]
pub(crate) struct WebArgs {
    #[arg(long, default_value = "127.0.0.1:3000", env = "DEMO_LISTEN")]
    pub(crate) listen: SocketAddr,
    /// What `/` answers
    #[arg(long, env = "DEMO_TEXT", default_value = "hello")]
    pub(crate) text: String,
    /// Read what `/` answers from a file instead
    #[arg(long, env = "DEMO_TEXT_FILE")]
    pub(crate) text_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) faults: Faults,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ProxyArgs {
    #[arg(long, default_value = "0.0.0.0:8080", env = "DEMO_PROXY_LISTEN")]
    pub(crate) listen: SocketAddr,
    #[arg(long, default_value = "127.0.0.1:3000", env = "DEMO_UPSTREAM")]
    pub(crate) upstream: SocketAddr,
    #[command(flatten)]
    pub(crate) faults: Faults,
}

// What a bad container does.
#[derive(Debug, Clone, Args)]
pub(crate) struct Faults {
    /// `/health` answers 500
    #[arg(long, env = "DEMO_FAIL_HEALTH", value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) fail_health: bool,
    /// Exit with this code instead of serving
    #[arg(long, env = "DEMO_EXIT")]
    pub(crate) exit: Option<u8>,
    /// Exit only after this long (with `--exit`)
    #[arg(long, env = "DEMO_EXIT_AFTER_MS", default_value_t = 0)]
    pub(crate) exit_after_ms: u64,
    /// Listen only after this long
    #[arg(long, env = "DEMO_START_DELAY_MS", default_value_t = 0)]
    pub(crate) start_delay_ms: u64,
    /// Go on after SIGTERM
    #[arg(long, env = "DEMO_IGNORE_SIGTERM", value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) ignore_sigterm: bool,
}

pub(crate) fn run(app: DemoApp) -> CliResult<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::io("cannot start the runtime", &error))?;
    runtime.block_on(async {
        match app {
            DemoApp::Web(args) => with_faults(args.faults.clone(), web::serve(args)).await,
            DemoApp::Proxy(args) => with_faults(args.faults.clone(), proxy::serve(args)).await,
            DemoApp::Healthcheck { addr, path } => healthcheck(addr, &path).await,
            DemoApp::Job { line, exit, sleep_ms } => {
                tokio::time::sleep(Duration::from_millis(sleep_ms)).await;
                log(&line);
                std::process::exit(i32::from(exit));
            }
        }
    })
}

/// Serves until SIGTERM (exit code 0, as a good container) or until a fault says otherwise.
async fn with_faults(faults: Faults, serve: impl Future<Output = std::io::Result<()>>) -> CliResult<ExitCode> {
    let listen = |kind| signal(kind).map_err(|error| CliError::io("cannot handle signals", &error));
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let exit = async {
        match faults.exit {
            Some(code) => {
                tokio::time::sleep(Duration::from_millis(faults.exit_after_ms)).await;
                code
            }
            None => std::future::pending().await,
        }
    };
    let stopped = async {
        loop {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            if !faults.ignore_sigterm {
                return;
            }
            log("SIGTERM ignored");
        }
    };
    let serve = async {
        // A container that is to exit at once never listens.
        if faults.exit.is_some() && faults.exit_after_ms == 0 {
            return std::future::pending().await;
        }
        tokio::time::sleep(Duration::from_millis(faults.start_delay_ms)).await;
        serve.await
    };
    tokio::select! {
        biased;
        code = exit => {
            log(&format!("exiting with {code}, as told"));
            std::process::exit(i32::from(code));
        }
        () = stopped => {
            log("stopping");
            Ok(ExitCode::Ok)
        }
        served = serve => match served {
            Ok(()) => Ok(ExitCode::Ok),
            Err(error) => Err(CliError::io("cannot serve", &error)),
        },
    }
}

async fn healthcheck(addr: SocketAddr, path: &str) -> CliResult<ExitCode> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let ask = async {
        let mut stream = tokio::net::TcpStream::connect(addr).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(64).read_to_end(&mut answer).await?;
        std::io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    match tokio::time::timeout(Duration::from_secs(4), ask).await {
        Ok(Ok(answer)) if answer.starts_with("HTTP/1.1 2") => Ok(ExitCode::Ok),
        Ok(Ok(answer)) => {
            Err(CliError::new(ExitCode::Failed, format!("unhealthy: {}", answer.lines().next().unwrap_or_default())))
        }
        Ok(Err(error)) => Err(CliError::new(ExitCode::Failed, "unhealthy").cause(&error)),
        Err(_) => Err(CliError::new(ExitCode::Failed, "unhealthy: no answer")),
    }
}

/// A line of the container's log.
#[expect(clippy::print_stdout, reason = "this is an application in a container: its log is its stdout")]
fn log(line: &str) {
    println!("{line}");
}
