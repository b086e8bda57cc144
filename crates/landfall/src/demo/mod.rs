//! `landfall demo`: Landfall against itself on loopback, with real containers. Whatever happens, Ctrl-C included, everything that
//! was started is taken down again.
//!
//! - `preview`: the main job, a branch behind a URL and back again.
//! - `pipeline`: one release through dev and staging, a person's yes, and prod.

mod github;
mod image;
mod leftovers;
mod pipeline;
mod preview;
mod repo;
mod server;
mod stages;
mod watch;
mod world;

use std::time::Duration;

use crate::cli::{DemoArgs, DemoKind};
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::printer::Printer;
use stages::Stages;
use world::{World, take_down};

pub(crate) async fn run(args: &DemoArgs, printer: &Printer) -> CliResult<ExitCode> {
    let mut world = World::new(Duration::from_secs(args.timeout))?;
    let mut stages = Stages::new(*printer);
    let interrupted = tokio::signal::ctrl_c();
    let story = async {
        match args.what {
            DemoKind::Preview => preview::story(&mut world, &mut stages, args.keep).await,
            DemoKind::Pipeline => pipeline::story(&mut world, &mut stages, args.keep).await,
        }
    };
    let result = tokio::select! {
        result = story => result,
        _ = interrupted => Err(CliError::new(ExitCode::Interrupted, "interrupted; taking everything down")),
    };
    match result {
        Ok(()) if args.keep => {
            match args.what {
                DemoKind::Preview => preview::keep(&world, printer),
                DemoKind::Pipeline => pipeline::keep(&world, printer),
            }
            let _ = tokio::signal::ctrl_c().await;
            printer.note("\ntaking everything down");
            let left = take_down(&mut world).await;
            verdict(args.what, &stages, printer, left)
        }
        Ok(()) => {
            stages.begin("Taking down server, load balancer and images");
            let left = take_down(&mut world).await;
            stages.end("Server, load balancer and images taken down", left.is_empty(), None);
            verdict(args.what, &stages, printer, left)
        }
        Err(error) => {
            stages.finish();
            if error.code != ExitCode::Interrupted
                && let Some(server) = &world.server
            {
                printer.note(format_args!("the end of the server's log:\n{}", server.log_tail(20)));
            }
            let left = take_down(&mut world).await;
            Err(left.into_iter().fold(error, |error, trace| error.hint(format!("left behind: {trace}"))))
        }
    }
}

fn verdict(what: DemoKind, stages: &Stages, printer: &Printer, left: Vec<String>) -> CliResult<ExitCode> {
    stages.finish();
    let ok = left.is_empty() && stages.done.iter().all(|stage| stage.ok);
    let code = if ok { ExitCode::Ok } else { ExitCode::TraceLeft };
    if printer.json() {
        let total = stages.elapsed().as_millis();
        printer.json_data(&serde_json::json!({
            "outcome": code.word(), "exit_code": code as u8, "total_ms": total, "left": left, "stages": stages.done,
        }))?;
    } else {
        printer.data(format_args!("\n{}", stages.table()))?;
    }
    if ok {
        printer.note(match what {
            DemoKind::Preview => preview::summary(stages),
            DemoKind::Pipeline => pipeline::summary(stages),
        });
        return Ok(code);
    }
    let mut error = CliError::new(code, "something was left behind, or a stage failed");
    for trace in left {
        error = error.hint(format!("left behind: {trace}"));
    }
    Err(error)
}
