//! GitHub Actions.
//! <https://docs.github.com/en/actions/reference/variables-reference>, and the webhook's payload at `GITHUB_EVENT_PATH`:
//! <https://docs.github.com/en/webhooks/webhook-events-and-payloads>

use serde_json::Value;

use super::{Variables, before, branch, get, owned};
use crate::context::{CiContext, Event, Host};

pub(super) fn context(variables: &Variables, payload: Option<&[u8]>) -> Result<CiContext, String> {
    let payload: Value = match payload {
        Some(bytes) => serde_json::from_slice(bytes)
            .map_err(|error| format!("the event file of GitHub Actions is not JSON: {error}"))?,
        None => Value::Null,
    };
    let repository = owned(variables, "GITHUB_REPOSITORY");
    let (event, compare, head) = match get(variables, "GITHUB_EVENT_NAME") {
        Some("pull_request" | "pull_request_target") => {
            let event = pull_request(variables, &payload, repository.as_deref())?;
            let compare = match &event {
                Event::PullRequest { base, .. } => branch(base),
                _ => None,
            };
            // GITHUB_SHA is the merge that GitHub made for the occasion: nobody has an image of it.
            let head = payload["pull_request"]["head"]["sha"].as_str().map(str::to_owned);
            (event, compare, head)
        }
        _ => (of_ref(variables)?, Some(before(payload["before"].as_str())), None),
    };
    let url = match (get(variables, "GITHUB_SERVER_URL"), &repository, get(variables, "GITHUB_RUN_ID")) {
        (Some(server), Some(repository), Some(run)) => Some(format!("{server}/{repository}/actions/runs/{run}")),
        _ => None,
    };
    Ok(CiContext {
        repository,
        commit: head.or_else(|| owned(variables, "GITHUB_SHA")),
        compare,
        job: owned(variables, "GITHUB_JOB"),
        url,
        actor: owned(variables, "GITHUB_ACTOR"),
        ..CiContext::of(Host::GitHub, event)
    })
}

fn pull_request(variables: &Variables, payload: &Value, repository: Option<&str>) -> Result<Event, String> {
    let told = payload["pull_request"]["number"].as_u64().or_else(|| payload["number"].as_u64());
    // refs/pull/7/merge
    let merged = || get(variables, "GITHUB_REF")?.strip_prefix("refs/pull/")?.split('/').next()?.parse().ok();
    let number = told.or_else(merged).ok_or("GitHub Actions names no number of the pull request in GITHUB_REF")?;
    // A head whose repository is gone has none.
    let from = payload["pull_request"]["head"]["repo"]["full_name"].as_str();
    Ok(Event::PullRequest {
        number,
        head: owned(variables, "GITHUB_HEAD_REF").unwrap_or_default(),
        base: owned(variables, "GITHUB_BASE_REF").unwrap_or_default(),
        fork: from.is_none() || from != repository,
    })
}

fn of_ref(variables: &Variables) -> Result<Event, String> {
    let full = get(variables, "GITHUB_REF").ok_or("GitHub Actions sets GITHUB_REF, and it is not set")?;
    Ok(if let Some(branch) = full.strip_prefix("refs/heads/") {
        Event::Push { branch: branch.to_owned() }
    } else if let Some(tag) = full.strip_prefix("refs/tags/") {
        Event::Tag { tag: tag.to_owned() }
    } else {
        Event::Manual
    })
}
