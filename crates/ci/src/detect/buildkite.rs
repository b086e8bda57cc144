//! Buildkite. <https://buildkite.com/docs/pipelines/configure/environment-variables>

use super::{Variables, branch, get, owned, slug};
use crate::context::{CiContext, Compare, Event, Host};

pub(super) fn context(variables: &Variables) -> Result<CiContext, String> {
    let repository = get(variables, "BUILDKITE_REPO").and_then(slug);
    let built = owned(variables, "BUILDKITE_BRANCH");
    let mut compare = Some(Compare::Unsaid);
    let event = match get(variables, "BUILDKITE_PULL_REQUEST").filter(|number| *number != "false") {
        Some(number) => {
            let base = owned(variables, "BUILDKITE_PULL_REQUEST_BASE_BRANCH").unwrap_or_default();
            compare = branch(&base).or(compare);
            let from = get(variables, "BUILDKITE_PULL_REQUEST_REPO").and_then(slug);
            Event::PullRequest {
                number: number.parse().map_err(|_| format!("BUILDKITE_PULL_REQUEST is no number: {number}"))?,
                // `stranger:patch-1` for a fork's.
                head: built.unwrap_or_default(),
                base,
                fork: from.is_none() || from != repository,
            }
        }
        None => match (owned(variables, "BUILDKITE_TAG"), built) {
            (Some(tag), _) => Event::Tag { tag },
            (None, Some(branch)) => Event::Push { branch },
            (None, None) => return Err("Buildkite sets BUILDKITE_BRANCH, and it is not set".to_owned()),
        },
    };
    Ok(CiContext {
        repository,
        // `HEAD` until the agent has looked.
        commit: owned(variables, "BUILDKITE_COMMIT").filter(|commit| commit != "HEAD"),
        compare,
        job: owned(variables, "BUILDKITE_LABEL"),
        url: owned(variables, "BUILDKITE_BUILD_URL"),
        actor: owned(variables, "BUILDKITE_BUILD_CREATOR"),
        ..CiContext::of(Host::Buildkite, event)
    })
}
