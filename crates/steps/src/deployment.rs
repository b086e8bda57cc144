//! What a deployment under way, or at its end, has to say.

use landfall_model::Timestamp;
use landfall_model::step::DeployService;
use landfall_ports::orchestrator::{DeploymentDescription, ServiceDescription, TaskDescription};
use landfall_workflow::event::StepError;

use crate::codes;
use crate::error::{fatal, with_detail};

/// Failed tasks that platforms tell of one deployment.
const TOLD: usize = 10;

/// Where it is, for whoever follows.
pub(crate) fn note(deployment: &DeploymentDescription, service: &str) -> String {
    let mut note = format!("{} of {} tasks running", deployment.running, deployment.desired);
    if deployment.failed_tasks > 0 {
        let why = deployment.failures.first().map_or_else(String::new, |task| format!(" ({})", reason(task)));
        note.push_str(&format!(", {} failed{why}", deployment.failed_tasks));
    }
    let Some(shift) = &deployment.shift else { return note };
    if let Some(stage) = &shift.stage {
        note.push_str(&format!("; {stage}, {} % of the traffic", shift.percent));
    }
    if let Some(pause) = shift.pauses.first() {
        let until = pause.expires_at.map_or_else(String::new, |at| {
            let then = if pause.on_timeout == "CONTINUE" { "goes on" } else { "is rolled back" };
            format!(" until {at}, then it {then}")
        });
        note.push_str(&format!("; paused{until}: `landfall continue` or `landfall abort` service {service}"));
    }
    note
}

/// How long until the next look, where `least` is what the platform bears for long. Most of a rollout nothing can end: then looks
/// are seldom, the more so the longer it has taken, up to a bound. Once all new tasks run, its end may come any moment: looks are
/// as frequent as a small part of what it has taken so far, so that a short rollout is not told late, nor a long one asked for
/// often.
pub(crate) fn pace(
    service: &ServiceDescription,
    deployment: &DeploymentDescription,
    now: Timestamp,
    least: u64,
) -> u64 {
    // Clocks differ: an age that cannot be is not known.
    let age = u64::try_from(now.as_millisecond() - deployment.created_at.as_millisecond()).ok();
    let part = |of: u64, from: u64, to: u64| age.map_or(least, |age| (age / of).clamp(from, to));
    if let Some(shift) = &deployment.shift {
        return if shift.pauses.is_empty() { part(4, least, least * 3) } else { least * 5 };
    }
    if service.deployments.first().is_some_and(|first| first.id != deployment.id) {
        // It is being rolled back.
        return least / 4;
    }
    if deployment.failed_tasks > 0 {
        // With the old tasks still there, going back takes ECS no time: the end may be what the next look finds first.
        return part(25, least / 2, least / 5 * 4);
    }
    if deployment.running < deployment.desired {
        return part(2, least, least * 3);
    }
    part(40, least / 5, least)
}

/// The failure of a deployment that is not waited for any longer: its tasks keep failing for one and the same reason.
pub(crate) fn given_up(
    params: &DeployService,
    service: &ServiceDescription,
    deployment: &DeploymentDescription,
) -> Option<StepError> {
    let most = usize::try_from(params.fail_fast?.max(1)).unwrap_or(usize::MAX);
    let newest = class(deployment.failures.first()?);
    let same = deployment.failures.iter().filter(|task| class(task) == newest).count();
    let all_told = same >= TOLD && usize::try_from(deployment.failed_tasks).unwrap_or(usize::MAX) >= most;
    if same < most && !all_told {
        return None;
    }
    let what = format!("was given up after {} tasks failed alike", same.max(most));
    Some(deployment_error(codes::SERVICE_FAILED, &what, service, deployment))
}

/// What two failures have in common when they are the same one: without ids, addresses and times.
fn class(task: &TaskDescription) -> String {
    let mut class = String::new();
    let mut word = String::new();
    for c in reason(task).chars().chain([' ']) {
        if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') {
            word.push(c);
            continue;
        }
        // "exit code 137" is what it says; anything longer that has digits in it is a name.
        let id = word.len() > 3 && word.contains(|c: char| c.is_ascii_digit());
        class.push_str(if id { "#" } else { &word });
        class.push(c);
        word.clear();
    }
    class
}

/// Says why: the newest failed task in ECS's words, its containers' exit codes and last lines, else the newest event.
pub(crate) fn deployment_error(
    code: &str,
    what: &str,
    service: &ServiceDescription,
    deployment: &DeploymentDescription,
) -> StepError {
    let task = deployment.failures.first();
    let cause = task
        .map(reason)
        .or_else(|| deployment.reason.clone())
        .or_else(|| service.events.first().map(|event| event.message.clone()))
        .unwrap_or_else(|| "no reason was given".to_owned());
    let mut lines: Vec<String> = deployment.reason.iter().cloned().collect();
    lines.extend(task.into_iter().flat_map(container_lines));
    with_detail(fatal(code, format!("deployment of service {} {what}: {cause}", service.name)), &lines)
}

/// Exit codes, reasons and last lines of its containers.
pub(crate) fn container_lines(task: &TaskDescription) -> Vec<String> {
    let mut lines = Vec::new();
    for container in &task.containers {
        if let Some(code) = container.exit_code {
            lines.push(format!("{}: exit code {code}", container.name));
        }
        lines.extend(container.reason.iter().map(|r| format!("{}: {r}", container.name)));
        lines.extend(container.tail.iter().map(|line| format!("{} | {line}", container.name)));
    }
    lines
}

pub(crate) fn reason(task: &TaskDescription) -> String {
    let reason = task.stopped_reason.clone().unwrap_or_else(|| "task stopped".to_owned());
    let culprit = task.containers.iter().find(|c| c.reason.is_some() || c.exit_code.is_some_and(|code| code != 0));
    match culprit {
        Some(container) => {
            let code = container.exit_code.map_or_else(String::new, |code| format!(", exit code {code}"));
            let why = container.reason.as_ref().map_or_else(String::new, |r| format!(": {r}"));
            format!("{reason} ({}{code}{why})", container.name)
        }
        None => reason,
    }
}

#[cfg(test)]
#[path = "deployment_tests.rs"]
mod tests;
