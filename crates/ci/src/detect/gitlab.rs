//! GitLab CI. <https://docs.gitlab.com/ci/variables/predefined_variables/>

use super::{Variables, before, branch, get, owned};
use crate::context::{CiContext, Event, Host};

pub(super) fn context(variables: &Variables) -> Result<CiContext, String> {
    let mut commit = owned(variables, "CI_COMMIT_SHA");
    let mut compare = Some(before(get(variables, "CI_COMMIT_BEFORE_SHA")));
    let event = if let Some(number) = get(variables, "CI_MERGE_REQUEST_IID") {
        let base = owned(variables, "CI_MERGE_REQUEST_TARGET_BRANCH_NAME").unwrap_or_default();
        compare = match get(variables, "CI_MERGE_REQUEST_DIFF_BASE_SHA") {
            Some(base) => Some(before(Some(base))),
            None => branch(&base),
        };
        // Set in pipelines for merged results, where the other is the merge itself.
        commit = owned(variables, "CI_MERGE_REQUEST_SOURCE_BRANCH_SHA").or(commit);
        let from = get(variables, "CI_MERGE_REQUEST_SOURCE_PROJECT_ID");
        Event::PullRequest {
            number: number.parse().map_err(|_| format!("CI_MERGE_REQUEST_IID is no number: {number}"))?,
            head: owned(variables, "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME").unwrap_or_default(),
            base,
            fork: from.is_none() || from != get(variables, "CI_MERGE_REQUEST_PROJECT_ID"),
        }
    } else if let Some(tag) = owned(variables, "CI_COMMIT_TAG") {
        Event::Tag { tag }
    } else if let Some(branch) = owned(variables, "CI_COMMIT_BRANCH") {
        Event::Push { branch }
    } else {
        Event::Manual
    };
    Ok(CiContext {
        repository: owned(variables, "CI_PROJECT_PATH"),
        commit,
        compare,
        job: owned(variables, "CI_JOB_NAME"),
        url: owned(variables, "CI_JOB_URL"),
        actor: owned(variables, "GITLAB_USER_LOGIN"),
        ..CiContext::of(Host::GitLab, event)
    })
}
