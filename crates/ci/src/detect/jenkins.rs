//! Jenkins: multibranch pipelines, and jobs with the Git plugin.
//! <https://www.jenkins.io/doc/book/pipeline/multibranch/#additional-environment-variables>,
//! <https://plugins.jenkins.io/git/#plugin-content-environment-variables>

use super::{Variables, before, branch, get, owned, slug};
use crate::context::{CiContext, Event, Host};

pub(super) fn context(variables: &Variables) -> CiContext {
    let previous = get(variables, "GIT_PREVIOUS_SUCCESSFUL_COMMIT").or_else(|| get(variables, "GIT_PREVIOUS_COMMIT"));
    let mut compare = Some(before(previous));
    // `origin/master` of the Git plugin.
    let local = || owned(variables, "GIT_LOCAL_BRANCH");
    let remote = || get(variables, "GIT_BRANCH")?.split_once('/').map(|(_, branch)| branch.to_owned());
    let event = match (get(variables, "CHANGE_ID").and_then(|id| id.parse().ok()), owned(variables, "TAG_NAME")) {
        (Some(number), _) => {
            let base = owned(variables, "CHANGE_TARGET").unwrap_or_default();
            compare = branch(&base);
            Event::PullRequest {
                number,
                head: owned(variables, "CHANGE_BRANCH").unwrap_or_default(),
                base,
                // The fork's owner or repository; unset where it comes from the repository itself.
                fork: get(variables, "CHANGE_FORK").is_some(),
            }
        }
        (None, Some(tag)) => Event::Tag { tag },
        (None, None) => match owned(variables, "BRANCH_NAME").or_else(local).or_else(remote) {
            Some(branch) => Event::Push { branch },
            None => Event::Manual,
        },
    };
    CiContext {
        repository: get(variables, "GIT_URL").and_then(slug),
        commit: owned(variables, "GIT_COMMIT"),
        compare,
        job: owned(variables, "JOB_NAME"),
        url: owned(variables, "BUILD_URL"),
        actor: owned(variables, "CHANGE_AUTHOR"),
        ..CiContext::of(Host::Jenkins, event)
    }
}
