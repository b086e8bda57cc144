//! From environment variables to a context. One file per host, each naming the page that documents what it reads.

mod buildkite;
mod circleci;
mod codebuild;
mod github;
mod gitlab;
mod jenkins;
mod travis;

use std::collections::BTreeMap;

use crate::context::{CiContext, Compare, Event, Git, Host};

/// A process's environment.
pub type Variables = BTreeMap<String, String>;

/// What is looked at beside the variables.
#[derive(Debug, Clone, Default)]
pub struct Sources<'a> {
    pub variables: Option<&'a Variables>,
    /// The bytes of [`event_file`]'s file.
    pub event_file: Option<&'a [u8]>,
    pub git: Git,
}

/// Which file tells the event, if this host has one.
pub fn event_file(variables: &Variables) -> Option<&str> {
    match host(variables) {
        Host::GitHub => get(variables, "GITHUB_EVENT_PATH"),
        _ => None,
    }
}

/// Which host it is, by the variable that each sets in every job.
pub fn host(variables: &Variables) -> Host {
    let set = |name: &str| get(variables, name).is_some();
    let is_true = |name: &str| get(variables, name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    match () {
        () if is_true("GITHUB_ACTIONS") => Host::GitHub,
        () if is_true("GITLAB_CI") => Host::GitLab,
        () if is_true("CIRCLECI") => Host::CircleCi,
        () if is_true("TRAVIS") => Host::Travis,
        () if is_true("BUILDKITE") => Host::Buildkite,
        () if set("CODEBUILD_BUILD_ARN") => Host::CodeBuild,
        () if set("JENKINS_URL") && set("BUILD_NUMBER") => Host::Jenkins,
        () => Host::Laptop,
    }
}

/// What tries of one run have in common and no other run has, where the host tells.
pub fn run_of(variables: &Variables) -> Option<&str> {
    let name = match host(variables) {
        // https://docs.github.com/actions/reference/workflows-and-actions/variables
        Host::GitHub => "GITHUB_RUN_ID",
        // https://docs.gitlab.com/ci/variables/predefined_variables/
        Host::GitLab => "CI_PIPELINE_ID",
        // https://circleci.com/docs/reference/variables/
        Host::CircleCi => "CIRCLE_WORKFLOW_WORKSPACE_ID",
        // https://docs.travis-ci.com/user/environment-variables/#default-environment-variables
        Host::Travis => "TRAVIS_BUILD_ID",
        // https://buildkite.com/docs/pipelines/configure/environment-variables
        Host::Buildkite => "BUILDKITE_BUILD_ID",
        Host::CodeBuild | Host::Jenkins | Host::Laptop => return None,
    };
    get(variables, name)
}

/// Where this is and what happened.
///
/// # Errors
/// What the host promises and did not set, in a sentence.
pub fn detect(sources: &Sources<'_>) -> Result<CiContext, String> {
    let none = Variables::new();
    let variables = sources.variables.unwrap_or(&none);
    let mut context = match host(variables) {
        Host::GitHub => github::context(variables, sources.event_file)?,
        Host::GitLab => gitlab::context(variables)?,
        Host::CircleCi => circleci::context(variables)?,
        Host::Travis => travis::context(variables)?,
        Host::Buildkite => buildkite::context(variables)?,
        Host::Jenkins => jenkins::context(variables),
        Host::CodeBuild => codebuild::context(variables),
        Host::Laptop => laptop(&sources.git),
    };
    // A host that names no ref has checked one out all the same.
    if context.event == Event::Manual {
        let named = match context.host {
            Host::CodeBuild => codebuild::named(variables, &sources.git),
            _ => None,
        };
        context.event = named.unwrap_or_else(|| of_git(&sources.git));
    }
    context.commit = context.commit.or_else(|| sources.git.commit.clone());
    context.repository = context.repository.or_else(|| sources.git.origin.as_deref().and_then(slug));
    Ok(context)
}

fn laptop(git: &Git) -> CiContext {
    CiContext { compare: Some(Compare::Parent), ..CiContext::of(Host::Laptop, of_git(git)) }
}

/// A branch wins over a tag that happens to be at its end: tags are what hosts say, or `--tag`.
fn of_git(git: &Git) -> Event {
    match (&git.branch, git.tags.as_slice()) {
        (Some(branch), _) => Event::Push { branch: branch.clone() },
        (None, [tag]) => Event::Tag { tag: tag.clone() },
        _ => Event::Manual,
    }
}

impl CiContext {
    fn of(host: Host, event: Event) -> Self {
        Self { host, event, repository: None, commit: None, compare: None, job: None, url: None, actor: None }
    }
}

/// A variable that is set to something.
fn get<'v>(variables: &'v Variables, name: &str) -> Option<&'v str> {
    variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
}

fn owned(variables: &Variables, name: &str) -> Option<String> {
    get(variables, name).map(str::to_owned)
}

/// A commit that can be compared with: of a new branch, hosts tell forty zeros.
pub(crate) fn before(commit: Option<&str>) -> Compare {
    match commit.filter(|commit| !commit.is_empty() && !commit.bytes().all(|byte| byte == b'0')) {
        Some(commit) => Compare::Commit(commit.to_owned()),
        None => Compare::Unsaid,
    }
}

fn branch(base: &str) -> Option<Compare> {
    (!base.is_empty()).then(|| Compare::Branch(format!("origin/{base}")))
}

/// `owner/name` out of what `git clone` takes.
pub(crate) fn slug(url: &str) -> Option<String> {
    let url = url.trim_end_matches('/');
    let url = url.strip_suffix(".git").unwrap_or(url);
    let path = match url.split_once("://") {
        Some(("file", _)) => return None,
        Some((_, rest)) => rest.split_once('/')?.1,
        // git@host:owner/name
        None => url.split_once(':').filter(|(host, _)| !host.contains('/'))?.1,
    };
    let path = path.trim_matches('/');
    (path.contains('/') && !path.contains(char::is_whitespace)).then(|| path.to_owned())
}

#[cfg(test)]
mod tests;
