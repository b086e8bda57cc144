//! CircleCI. <https://circleci.com/docs/variables/>
//!
//! A branch is built once, whether or not a pull request of it is open: that is a push, because deployments of a branch must not
//! end when somebody opens a request. Of a fork's there is a number, and the branch is `pull/7`; the branch that it is to be merged
//! into is told nowhere.

use super::{Variables, get, owned};
use crate::context::{CiContext, Compare, Event, Host};

pub(super) fn context(variables: &Variables) -> Result<CiContext, String> {
    let branch = owned(variables, "CIRCLE_BRANCH");
    let event = match (get(variables, "CIRCLE_TAG"), get(variables, "CIRCLE_PR_NUMBER"), branch) {
        (Some(tag), ..) => Event::Tag { tag: tag.to_owned() },
        (None, Some(number), head) => Event::PullRequest {
            number: number.parse().map_err(|_| format!("no number of a pull request: {number}"))?,
            head: head.unwrap_or_default(),
            base: String::new(),
            fork: true,
        },
        (None, None, Some(branch)) => Event::Push { branch },
        (None, None, None) => Event::Manual,
    };
    let repository = match (get(variables, "CIRCLE_PROJECT_USERNAME"), get(variables, "CIRCLE_PROJECT_REPONAME")) {
        (Some(owner), Some(name)) => Some(format!("{owner}/{name}")),
        _ => None,
    };
    Ok(CiContext {
        repository,
        commit: owned(variables, "CIRCLE_SHA1"),
        compare: Some(Compare::Unsaid),
        job: owned(variables, "CIRCLE_JOB"),
        url: owned(variables, "CIRCLE_BUILD_URL"),
        actor: owned(variables, "CIRCLE_USERNAME"),
        ..CiContext::of(Host::CircleCi, event)
    })
}
