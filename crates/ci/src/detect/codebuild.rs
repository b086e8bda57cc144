//! AWS CodeBuild. <https://docs.aws.amazon.com/codebuild/latest/userguide/build-env-ref-env-vars.html>
//!
//! Refs are told of builds that a webhook began. Of others there is what was checked out: a branch's or tag's name or ref, `pr/7`,
//! or a commit; `^{COMMIT}` may follow.
//! <https://docs.aws.amazon.com/codebuild/latest/userguide/sample-source-version.html>

use super::{Git, Variables, before, branch, get, owned, slug};
use crate::context::{CiContext, Event, Host};

pub(super) fn context(variables: &Variables) -> CiContext {
    let head = get(variables, "CODEBUILD_WEBHOOK_HEAD_REF");
    let source = source(variables);
    // `pr/7`, `branch/NAME` and `tag/NAME`.
    let trigger = get(variables, "CODEBUILD_WEBHOOK_TRIGGER").or(source);
    let short = |full: &str| full.strip_prefix("refs/heads/").unwrap_or(full).to_owned();
    let mut compare = Some(before(get(variables, "CODEBUILD_WEBHOOK_PREV_COMMIT")));
    let pull = |text: &str| match text.strip_prefix("refs/pull/") {
        Some(rest) => rest.split('/').next()?.parse().ok(),
        None => text.strip_prefix("pr/")?.parse().ok(),
    };
    let number = trigger.and_then(pull);
    let event = if let Some(number) = number {
        let base = get(variables, "CODEBUILD_WEBHOOK_BASE_REF").map(short).unwrap_or_default();
        compare = branch(&base);
        // Whose repository the head is in is told nowhere.
        Event::PullRequest { number, head: head.map(short).unwrap_or_default(), base, fork: true }
    } else {
        let full = head.or(source);
        let tag = full.and_then(|full| full.strip_prefix("refs/tags/"));
        let tag = tag.or_else(|| trigger.and_then(|trigger| trigger.strip_prefix("tag/")));
        let branch = full.and_then(|full| full.strip_prefix("refs/heads/"));
        let branch = branch.or_else(|| trigger.and_then(|trigger| trigger.strip_prefix("branch/")));
        match (tag, branch) {
            (Some(tag), _) => Event::Tag { tag: tag.to_owned() },
            (None, Some(branch)) => Event::Push { branch: branch.to_owned() },
            (None, None) => Event::Manual,
        }
    };
    CiContext {
        repository: get(variables, "CODEBUILD_SOURCE_REPO_URL").and_then(slug),
        commit: owned(variables, "CODEBUILD_RESOLVED_SOURCE_VERSION"),
        compare,
        job: owned(variables, "CODEBUILD_BUILD_ID"),
        url: owned(variables, "CODEBUILD_PUBLIC_BUILD_URL"),
        actor: owned(variables, "CODEBUILD_INITIATOR"),
        ..CiContext::of(Host::CodeBuild, event)
    }
}

/// What the build is of, in the words of whoever started it.
fn source(variables: &Variables) -> Option<&str> {
    let source = get(variables, "CODEBUILD_SOURCE_VERSION")?;
    Some(source.split_once("^{").map_or(source, |(name, _)| name))
}

/// A bare name: of a tag that is where the build is, else of a branch. Commits, and what S3 calls versions, are neither.
pub(super) fn named(variables: &Variables, git: &Git) -> Option<Event> {
    let name = source(variables).filter(|name| !name.contains(':'))?;
    if git.tags.iter().any(|tag| tag == name) {
        return Some(Event::Tag { tag: name.to_owned() });
    }
    let is_commit = name.len() >= 7 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    (!is_commit && git.commit.is_some()).then(|| Event::Push { branch: name.to_owned() })
}
