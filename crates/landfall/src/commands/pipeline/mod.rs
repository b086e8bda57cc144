//! `landfall pipeline`, and `landfall release current`.

mod print;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use landfall_model::Timestamp;
use landfall_model::pipeline::PipelineRelease;
use landfall_pipeline::{RunState, RunView, Signal, Via};
use landfall_server::control::{ControlRequest, ControlResponse};
use landfall_server::pipelines::{Current, PipelineRequest, PipelineResponse};

use crate::assemble::Purpose;
use crate::build;
use crate::cli::Global;
use crate::cli::pipeline::{DecideArgs, FollowArgs, PipelineCommand, RunArgs};
use crate::commands::link::{Link, actor, unexpected};
use crate::commands::release;
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::paths::root;
use crate::printer::Printer;

const LISTED: usize = 1_000;

pub(crate) async fn run(command: PipelineCommand, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    match command {
        PipelineCommand::Run(args) => begin(&args, global, printer).await,
        PipelineCommand::Status(args) => status(args.pipeline, global, printer).await,
        PipelineCommand::List(args) => list(args.pipeline, args.limit, global, printer).await,
        PipelineCommand::Open(args) => open(&args.run, global, printer).await,
        PipelineCommand::Show(args) => show(&args.run, global, printer).await,
        PipelineCommand::Approve(args) => decide(&args, true, global, printer).await,
        PipelineCommand::Reject(args) => decide(&args, false, global, printer).await,
        PipelineCommand::Cancel(args) => {
            let signal = Signal::Cancel { by: actor(), comment: args.comment.clone() };
            say(&args.run, signal, &args.waiting, global, printer).await
        }
        PipelineCommand::Export(_) => Err(CliError::internal("export is told apart before")),
        PipelineCommand::Retry(args) => {
            say(&args.run, Signal::Retry { by: actor() }, &args.waiting, global, printer).await
        }
    }
}

/// Only a server has pages.
async fn open(run: &str, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    Link::with(global, printer, Purpose::LookAtEnvironment, async |link| {
        let request = PipelineRequest::Open { run: run.to_owned(), by: actor() };
        let PipelineResponse::Open { url } = ask(link, request).await? else { return Err(another()) };
        printer.emit(&serde_json::json!({ "url": url }), |_| url.clone())?;
        Ok(ExitCode::Ok)
    })
    .await
}

async fn ask(link: &Link, request: PipelineRequest) -> CliResult<PipelineResponse> {
    match link.call(ControlRequest::Pipeline(request)).await? {
        ControlResponse::Pipeline(response) => Ok(response),
        other => Err(unexpected(&other)),
    }
}

fn another() -> CliError {
    CliError::new(ExitCode::Internal, "the server gave an answer of another kind")
}

async fn look(link: &Link, run: &str) -> CliResult<RunView> {
    match ask(link, PipelineRequest::Show { run: run.to_owned() }).await? {
        PipelineResponse::Run(view) => Ok(*view),
        _ => Err(another()),
    }
}

async fn begin(args: &RunArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    let mut release = match &args.release {
        Some(wanted) => release::promoted(wanted, global, printer).await?,
        None => {
            let head = build::head(&root(&global.config)?);
            let commit = args.commit.clone().or(head.commit).ok_or_else(|| {
                CliError::new(ExitCode::Usage, "the commit is not known")
                    .hint("`--commit` or LANDFALL_COMMIT says it, or a git repository; `--release` names a release")
            })?;
            PipelineRelease { commit: Some(commit), branch: head.branch, ..PipelineRelease::default() }
        }
    };
    release.branch = args.branch.clone().or(release.branch);
    let pipeline = args.pipeline.clone().unwrap_or_default();
    Link::with(global, printer, Purpose::WorkOnEnvironment, async |link| {
        link.may_leave(args.waiting.detach, "--detach")?;
        let request = PipelineRequest::Run { pipeline, release, by: actor() };
        let view = match ask(link, request).await? {
            PipelineResponse::Run(view) => *view,
            _ => return Err(another()),
        };
        if args.waiting.detach {
            printer
                .note(format_args!("{} is begun; `landfall pipeline show {}` says how far it is", view.title, view.id));
            printer.emit(&view, |view| view.id.to_string())?;
            return Ok(ExitCode::Ok);
        }
        follow(link, view, 0, args.waiting.timeout, printer).await
    })
    .await
}

async fn status(pipeline: Option<String>, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    Link::with(global, printer, Purpose::LookAtEnvironment, async |link| {
        let request = PipelineRequest::List { pipeline, all: false, limit: LISTED };
        let PipelineResponse::List(list) = ask(link, request).await? else { return Err(another()) };
        let mut views = Vec::new();
        for one in list {
            views.push(look(link, one.id.as_str()).await?);
        }
        printer.emit(&views, |views| print::live(views, Timestamp::now()))?;
        unread(&views, printer);
        if views.is_empty() {
            printer.note("nothing runs; `landfall pipeline list` shows what did");
        }
        Ok(ExitCode::Ok)
    })
    .await
}

async fn list(pipeline: Option<String>, limit: usize, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    Link::with(global, printer, Purpose::LookAtEnvironment, async |link| {
        let request = PipelineRequest::List { pipeline, all: true, limit };
        let PipelineResponse::List(list) = ask(link, request).await? else { return Err(another()) };
        printer.emit(&list, |list| print::list(list, Timestamp::now()))?;
        Ok(ExitCode::Ok)
    })
    .await
}

async fn show(run: &str, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    Link::with(global, printer, Purpose::LookAtEnvironment, async |link| {
        let view = look(link, run).await?;
        printer.emit(&view, |view| print::whole(view, Timestamp::now()))?;
        unread(&[view], printer);
        Ok(ExitCode::Ok)
    })
    .await
}

/// As it was when the question was sent: whoever has confirmed since gets the next one.
fn unread(views: &[RunView], printer: &Printer) {
    let all = views.iter().flat_map(|view| &view.stages).flat_map(print::sent);
    let names: BTreeSet<&str> = all.filter(|one| one.reaches_nobody()).map(|one| one.to.as_str()).collect();
    for name in names {
        printer.warn(format_args!("what was sent to {name} has reached nobody"));
        printer.hint(format!(
            "`landfall notifications list` shows who has confirmed by now, `landfall notifications subscribe {name} ADDRESS` has it mailed"
        ));
    }
}

async fn decide(args: &DecideArgs, yes: bool, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    Link::with(global, printer, Purpose::WorkOnEnvironment, async |link| {
        link.may_leave(args.waiting.detach, "--detach")?;
        let view = look(link, &args.run).await?;
        let waits = view.state == RunState::AwaitingApproval;
        let asked = view.stages.iter().filter(|_| waits).find_map(|stage| {
            stage.approval.as_ref()?.asked.as_ref().filter(|asked| asked.missing > 0).map(|asked| (stage, asked))
        });
        // What was shown is what is answered: the run has the last word about whether it is still so.
        let fingerprint = match (&args.fingerprint, asked) {
            (Some(given), _) => given.clone(),
            (None, Some((_, asked))) => asked.fingerprint.clone(),
            (None, None) => String::new(),
        };
        if let Some((stage, asked)) = asked {
            printer.note(print::question(&view, stage, asked).trim_end());
        }
        let (by, via, comment, nonce) = (actor(), Via::Command, args.comment.clone(), None);
        let signal = match yes {
            true => Signal::Approve { by, via, fingerprint, comment, nonce },
            false => Signal::Reject { by, via, fingerprint, comment, nonce },
        };
        told(link, &view, signal, &args.waiting, printer).await
    })
    .await
}

async fn say(
    run: &str,
    signal: Signal,
    waiting: &FollowArgs,
    global: &Global,
    printer: &Printer,
) -> CliResult<ExitCode> {
    Link::with(global, printer, Purpose::WorkOnEnvironment, async |link| {
        link.may_leave(waiting.detach, "--detach")?;
        let view = look(link, run).await?;
        told(link, &view, signal, waiting, printer).await
    })
    .await
}

async fn told(
    link: &Link,
    before: &RunView,
    signal: Signal,
    waiting: &FollowArgs,
    printer: &Printer,
) -> CliResult<ExitCode> {
    let rejects = matches!(signal, Signal::Reject { .. } | Signal::Cancel { .. });
    let request = PipelineRequest::Signal { run: before.id.to_string(), signal };
    let PipelineResponse::Signal { run, message } = ask(link, request).await? else { return Err(another()) };
    printer.note(format_args!("{}: {message}", run.title));
    if waiting.detach || rejects && run.state.is_finished() || run.state == RunState::AwaitingApproval {
        printer.emit(&*run, |run| run.state.word().to_owned())?;
        return Ok(ExitCode::Ok);
    }
    follow(link, *run, before.timeline.len(), waiting.timeout, printer).await
}

/// Prints the time-line as it grows, until the run has ended or waits for people.
async fn follow(link: &Link, view: RunView, from: usize, timeout: u64, printer: &Printer) -> CliResult<ExitCode> {
    let deadline = Instant::now() + Duration::from_secs(timeout);
    let (mut view, mut shown) = (view, from);
    let code = loop {
        for moment in view.timeline.iter().skip(shown) {
            printer.note(print::moment(&view, moment));
        }
        shown = view.timeline.len();
        if view.state.is_finished() {
            break code(view.state);
        }
        if view.state == RunState::AwaitingApproval {
            break ExitCode::Waiting;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break ExitCode::TimedOut;
        }
        let timeout_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).min(5_000);
        let request = PipelineRequest::Watch { run: view.id.clone(), version: view.version, timeout_ms };
        view = match ask(link, request).await? {
            PipelineResponse::Run(view) => *view,
            _ => return Err(another()),
        };
    };
    printer.emit(&view, |view| view.stages.iter().rev().find_map(|stage| stage.url.clone()).unwrap_or_default())?;
    let again = format!("landfall pipeline show {}#{}", view.pipeline, view.number);
    let end = format!("{}: {}", view.title, view.message);
    match code {
        ExitCode::Ok => printer.note(format_args!("{end}; `{again}` shows how long each stage took")),
        ExitCode::Waiting => {
            printer.note(format_args!(
                "{end}; `{again}` shows what there is to decide, `landfall pipeline approve` says yes"
            ));
        }
        ExitCode::TimedOut if link.is_server() => {
            printer.failure(format_args!("{end}: not done within {timeout} s; it goes on"))
        }
        ExitCode::TimedOut => {
            printer.failure(format_args!(
                "{end}: not done within {timeout} s; the next `landfall pipeline` command goes on"
            ));
        }
        _ => printer.failure(format_args!("{end}; `{again}` shows what happened")),
    }
    Ok(code)
}

fn code(state: RunState) -> ExitCode {
    match state {
        RunState::Passed => ExitCode::Ok,
        RunState::RolledBack => ExitCode::RolledBack,
        RunState::Superseded => ExitCode::Superseded,
        RunState::Cancelled => ExitCode::Aborted,
        RunState::Rejected => ExitCode::Rejected,
        _ => ExitCode::Failed,
    }
}

/// `landfall release current ENV`.
pub(crate) async fn current(environment: &str, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    Link::with(global, printer, Purpose::LookAtEnvironment, async |link| {
        let request = PipelineRequest::Current { environment: environment.to_owned() };
        let PipelineResponse::Current(current) = ask(link, request).await? else { return Err(another()) };
        let Current { release, stack, parameters, environment, .. } = &*current;
        if release.is_none() && stack.is_none() {
            return Err(CliError::new(
                ExitCode::NotFound,
                format!("nothing was ever released to {environment} from here"),
            )
            .hint(format!("`landfall status {environment}` shows what runs there")));
        }
        printer.emit(&*current, |current| print::current(current, Timestamp::now()))?;
        for one in parameters {
            match (&one.value, &one.expected, &one.error) {
                (_, _, Some(error)) => printer.warn(format_args!("parameter {} cannot be read: {error}", one.name)),
                (Some(value), Some(expected), _) if value != expected => printer.warn(format_args!(
                    "parameter {} was overwritten by somebody: it says {value}, and {expected} is released",
                    one.name
                )),
                (None, Some(_), _) => printer.warn(format_args!("parameter {} is not there", one.name)),
                _ => {}
            }
        }
        Ok(ExitCode::Ok)
    })
    .await
}
