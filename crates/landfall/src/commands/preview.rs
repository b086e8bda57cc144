//! `landfall preview …`

use landfall_model::Timestamp;
use landfall_model::environment::{AbsentReason, EnvironmentRecord};
use landfall_model::event::Ask;
use landfall_ports::store::DeliveryOutcome;
use landfall_server::control::{ControlRequest, ControlResponse, PreviewDetail, Target};

use crate::assemble::Purpose;
use crate::cli::{Global, PreviewCommand, Wait};
use crate::commands::link::{Link, ask_preview, submit, unexpected};
use crate::commands::{logs, wait};
use crate::env_vars;
use crate::error::{CliError, CliResult, not_found};
use crate::exit::ExitCode;
use crate::printer::Printer;
use crate::render;

pub(crate) async fn run(command: PreviewCommand, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    let purpose = match &command {
        PreviewCommand::List { .. }
        | PreviewCommand::Show { .. }
        | PreviewCommand::Logs { .. }
        | PreviewCommand::Open { .. } => Purpose::Look,
        _ => Purpose::Work,
    };
    let link = Link::open(global, printer, purpose).await?;
    let result = with(&link, command, printer).await;
    link.close().await;
    result
}

async fn with(link: &Link, command: PreviewCommand, printer: &Printer) -> CliResult<ExitCode> {
    match command {
        PreviewCommand::Create(args) => {
            let target = Target::Branch { repository: args.repository, branch: args.branch };
            let ask = Request { target, ask: ask_preview(args.commit), must_apply: true };
            change(link, ask, &args.wait, printer).await
        }
        PreviewCommand::Destroy { preview, wait } => {
            let ask = Ask::Destroy { reason: AbsentReason::Requested };
            let target = Target::Name(find(link, &preview).await?.record.id.to_string());
            change(link, Request { target, ask, must_apply: false }, &wait, printer).await
        }
        PreviewCommand::Approve { preview, commit, wait } => {
            let target = Target::Name(find(link, &preview).await?.record.id.to_string());
            change(link, Request { target, ask: Ask::Approve { commit }, must_apply: true }, &wait, printer).await
        }
        PreviewCommand::Pin { preview, off } => {
            let target = Target::Name(find(link, &preview).await?.record.id.to_string());
            let what = told(link, Request { target, ask: Ask::Pin { pinned: !off }, must_apply: false }).await?.0;
            printer.note(&what);
            shown(link, &preview, printer).await
        }
        PreviewCommand::Sleep { preview, wait } => {
            let target = Target::Name(find(link, &preview).await?.record.id.to_string());
            change(link, Request { target, ask: Ask::Sleep, must_apply: false }, &wait, printer).await
        }
        PreviewCommand::Wake { preview, wait } => {
            let target = Target::Name(find(link, &preview).await?.record.id.to_string());
            change(link, Request { target, ask: Ask::Wake, must_apply: false }, &wait, printer).await
        }
        PreviewCommand::List { all } => {
            let records = list(link, all).await?;
            printer.emit(&records, |records| render::previews(records, Timestamp::now()))?;
            Ok(ExitCode::Ok)
        }
        PreviewCommand::Show { preview } => shown(link, &preview, printer).await,
        PreviewCommand::Logs { preview, follow, tail } => {
            let detail = find(link, &preview).await?;
            logs::run(link, &detail.record.id, tail, follow, printer).await
        }
        PreviewCommand::Open { preview, print } => {
            let record = find(link, &preview).await?.record;
            open(&record, print, printer)
        }
    }
}

async fn shown(link: &Link, preview: &str, printer: &Printer) -> CliResult<ExitCode> {
    let detail = find(link, preview).await?;
    printer.emit(&detail, |detail| render::preview(&detail.record, detail.execution.as_ref(), Timestamp::now()))?;
    Ok(ExitCode::Ok)
}

pub(crate) async fn list(link: &Link, all: bool) -> CliResult<Vec<EnvironmentRecord>> {
    match link.call(ControlRequest::Previews { all }).await? {
        ControlResponse::Previews(records) => Ok(records),
        other => Err(unexpected(&other)),
    }
}

/// By id, branch or host label; an unknown one gets a suggestion.
pub(crate) async fn find(link: &Link, name: &str) -> CliResult<PreviewDetail> {
    match link.call(ControlRequest::Preview { name: name.to_owned() }).await {
        Ok(ControlResponse::Preview(detail)) => Ok(*detail),
        Ok(other) => Err(unexpected(&other)),
        Err(error) if error.code == ExitCode::NotFound => {
            let records = list(link, false).await.unwrap_or_default();
            let branches: Vec<String> = records.iter().map(|record| record.key.source.to_string()).collect();
            let known = records.iter().map(|record| record.id.as_str()).chain(branches.iter().map(String::as_str));
            Err(not_found("preview", name, known))
        }
        Err(error) => Err(error),
    }
}

struct Request {
    target: Target,
    ask: Ask,
    /// Whether "nothing was to be done" is a failure.
    must_apply: bool,
}

/// What was decided, and about which preview.
async fn told(link: &Link, request: Request) -> CliResult<(String, Option<landfall_model::ids::EnvironmentId>)> {
    let submitted = match link.call(submit(request.target, request.ask)).await? {
        ControlResponse::Submit(submitted) => submitted,
        other => return Err(unexpected(&other)),
    };
    match submitted.outcome {
        Some(DeliveryOutcome::Applied { what }) => Ok((what, submitted.environment)),
        Some(DeliveryOutcome::Ignored { why }) if !request.must_apply => Ok((why, submitted.environment)),
        Some(DeliveryOutcome::Ignored { why } | DeliveryOutcome::Rejected { why }) => {
            Err(CliError::new(ExitCode::Conflict, why))
        }
        None => Ok(("recorded; not decided yet".to_owned(), submitted.environment)),
    }
}

async fn change(link: &Link, request: Request, wait: &Wait, printer: &Printer) -> CliResult<ExitCode> {
    link.may_leave(wait.no_wait, "--no-wait")?;
    let (what, environment) = told(link, request).await?;
    printer.note(&what);
    let Some(environment) = environment else { return Ok(ExitCode::Ok) };
    if wait.no_wait {
        let detail = find(link, environment.as_str()).await?;
        printer.emit(&detail.record, |record| record.id.to_string())?;
        return Ok(ExitCode::Ok);
    }
    let ended = wait::settled(link, &environment, wait.timeout, printer).await?;
    if ended.code == ExitCode::Ok && !link.is_server() && ended.record.url.is_some() {
        printer
            .note("no server runs: containers and load balancer go on by themselves, changes on GitHub are not seen");
    }
    printer.emit(&ended, |ended| ended.record.url.clone().unwrap_or_default())?;
    Ok(ended.code)
}

fn open(record: &EnvironmentRecord, print: bool, printer: &Printer) -> CliResult<ExitCode> {
    let Some(url) = &record.url else {
        let error = CliError::new(ExitCode::NotFound, format!("{} has no URL yet", record.id));
        let why = record.message.clone().unwrap_or_else(|| format!("it is {}", render::phase(record.phase)));
        let follows = format!("`landfall preview show {}` says how far it is", record.id);
        return Err(error.hint(why).hint(follows));
    };
    let program = env_vars::get(env_vars::BROWSER).unwrap_or_else(|| "xdg-open".to_owned());
    let started = !print
        && !printer.json()
        && std::process::Command::new(program)
            .arg(url)
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
    if started {
        printer.note(url);
    } else {
        printer.emit(&serde_json::json!({ "url": url }), |_| url.clone())?;
    }
    Ok(ExitCode::Ok)
}
