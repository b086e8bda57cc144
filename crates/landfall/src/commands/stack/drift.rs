//! `landfall stack drift`: what was changed past CloudFormation, as CloudFormation finds it.

use std::time::{Duration, Instant};

use landfall_model::cloudformation::{DriftDetection, ResourceDrift};
use landfall_stack::live::{Before, before};
use serde::Serialize;

use super::Open;
use super::show::absent;
use crate::cli::Global;
use crate::cli::stack::StackDriftArgs;
use crate::commands::port_error;
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::printer::Printer;
use crate::progress::Progress;

const LOOK_EVERY: Duration = Duration::from_secs(1);
const LONGEST_S: u64 = 600;

#[derive(Debug, Serialize)]
struct Found {
    environment: String,
    stack: String,
    different: bool,
    exit_code: u8,
    resources: Vec<ResourceDrift>,
}

/// `landfall drift` of such an environment is the same.
pub(crate) async fn of(environment: &str, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    let args = StackDriftArgs { environment: environment.to_owned(), timeout: LONGEST_S };
    run(&args, global, printer).await
}

pub(super) async fn run(args: &StackDriftArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    let open = Open::of(&args.environment, global, printer).await?;
    let Some(live) = open.describe().await? else { return Err(absent(&open)) };
    match before(Some(&live), &open.id) {
        Before::Update => {}
        Before::Create => return Err(absent(&open)),
        held => return Err(open.held(&held)),
    }
    let id = open.stacks.detect_drift(&open.name).await.map_err(port_error)?;
    let progress = Progress::new(*printer);
    let deadline = Instant::now() + Duration::from_secs(args.timeout);
    let drifted = loop {
        match open.stacks.drift_detection(&id).await.map_err(port_error)? {
            DriftDetection::Done { drifted } => break drifted,
            DriftDetection::Failed { reason } => {
                let message = format!("CloudFormation could not look at all of {}: {reason}", open.name);
                return Err(CliError::new(ExitCode::Failed, message));
            }
            DriftDetection::Running if Instant::now() > deadline => {
                let message = format!("not done after {} s", args.timeout);
                return Err(CliError::new(ExitCode::TimedOut, message).hint("give it longer with --timeout"));
            }
            DriftDetection::Running => progress.running("CloudFormation looks at every resource"),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    progress.finish();
    let resources = if drifted { open.stacks.drifts(&live.id).await.map_err(port_error)? } else { Vec::new() };
    let code = if drifted { ExitCode::Different } else { ExitCode::Ok };
    let (environment, stack) = (open.id.clone(), open.name.clone());
    let found = Found { environment, stack, different: drifted, exit_code: code as u8, resources };
    printer.emit(&found, text)?;
    Ok(code)
}

fn text(found: &Found) -> String {
    if !found.different {
        return format!("stack {}: as the template says\n", found.stack);
    }
    let mut out = String::new();
    for one in &found.resources {
        let physical = one.physical.as_deref().unwrap_or("-");
        let what = if one.status == "DELETED" { ": deleted" } else { "" };
        out.push_str(&format!("{} ({} {physical}){what}\n", one.resource, one.kind));
        for difference in &one.differences {
            let of = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
            let (expected, actual) = (of(&difference.expected), of(&difference.actual));
            out.push_str(&format!("    {}  {expected} → {actual}\n", difference.path));
        }
    }
    if out.is_empty() {
        out.push_str("something differs, and CloudFormation does not say what\n");
    }
    out
}
