//! Travis CI. <https://docs.travis-ci.com/user/environment-variables/#default-environment-variables>

use super::{Variables, before, branch, get, owned};
use crate::context::{CiContext, Event, Host};

pub(super) fn context(variables: &Variables) -> Result<CiContext, String> {
    let repository = owned(variables, "TRAVIS_REPO_SLUG");
    let built = owned(variables, "TRAVIS_BRANCH");
    // `abc...def`; empty for a branch's first build.
    let range = get(variables, "TRAVIS_COMMIT_RANGE").and_then(|range| range.split("..").next());
    let mut compare = Some(before(range));
    let mut commit = owned(variables, "TRAVIS_COMMIT");
    let event = match get(variables, "TRAVIS_PULL_REQUEST").filter(|number| *number != "false") {
        Some(number) => {
            let base = built.unwrap_or_default();
            compare = branch(&base);
            commit = owned(variables, "TRAVIS_PULL_REQUEST_SHA").or(commit);
            let from = get(variables, "TRAVIS_PULL_REQUEST_SLUG");
            Event::PullRequest {
                number: number.parse().map_err(|_| format!("TRAVIS_PULL_REQUEST is no number: {number}"))?,
                head: owned(variables, "TRAVIS_PULL_REQUEST_BRANCH").unwrap_or_default(),
                base,
                fork: from.is_none() || from != repository.as_deref(),
            }
        }
        // The name of the tag is in TRAVIS_BRANCH too.
        None => match (owned(variables, "TRAVIS_TAG"), built) {
            (Some(tag), _) => Event::Tag { tag },
            (None, Some(branch)) => Event::Push { branch },
            (None, None) => return Err("Travis CI sets TRAVIS_BRANCH, and it is not set".to_owned()),
        },
    };
    Ok(CiContext {
        repository,
        commit,
        compare,
        job: owned(variables, "TRAVIS_JOB_NAME").or_else(|| owned(variables, "TRAVIS_JOB_NUMBER")),
        url: owned(variables, "TRAVIS_JOB_WEB_URL"),
        ..CiContext::of(Host::Travis, event)
    })
}
