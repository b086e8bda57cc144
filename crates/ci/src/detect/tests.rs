#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;

fn of(text: &str) -> Variables {
    let pairs = text.split_whitespace().map(|pair| pair.split_once('=').unwrap());
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn context(variables: &str) -> CiContext {
    of_event(variables, None)
}

fn of_event(variables: &str, event_file: Option<&str>) -> CiContext {
    let variables = of(variables);
    let event_file = event_file.map(str::as_bytes);
    detect(&Sources { variables: Some(&variables), event_file, git: Git::default() }).unwrap()
}

fn push(branch: &str) -> Event {
    Event::Push { branch: branch.to_owned() }
}

fn tag(tag: &str) -> Event {
    Event::Tag { tag: tag.to_owned() }
}

fn pull(number: u64, head: &str, base: &str, fork: bool) -> Event {
    Event::PullRequest { number, head: head.to_owned(), base: base.to_owned(), fork }
}

fn commit(text: &str) -> Option<Compare> {
    Some(Compare::Commit(text.to_owned()))
}

const GITHUB: &str = "CI=true GITHUB_ACTIONS=true GITHUB_REPOSITORY=acme/shop GITHUB_SHA=merged GITHUB_JOB=ship \
                      GITHUB_SERVER_URL=https://github.com GITHUB_RUN_ID=77 GITHUB_ACTOR=octocat";

#[test]
fn github_actions() {
    let of_push = of_event(
        &format!("{GITHUB} GITHUB_EVENT_NAME=push GITHUB_REF=refs/heads/feature/a"),
        Some(r#"{"before": "b1"}"#),
    );
    assert_eq!((of_push.host, of_push.event), (Host::GitHub, push("feature/a")));
    assert_eq!(of_push.url.as_deref(), Some("https://github.com/acme/shop/actions/runs/77"));
    assert_eq!((of_push.compare, of_push.commit.as_deref()), (commit("b1"), Some("merged")));
    let new = r#"{"before": "0000000000000000000000000000000000000000"}"#;
    let new = of_event(&format!("{GITHUB} GITHUB_EVENT_NAME=push GITHUB_REF=refs/heads/a"), Some(new));
    assert_eq!(new.compare, Some(Compare::Unsaid));
    let tagged = context(&format!("{GITHUB} GITHUB_EVENT_NAME=push GITHUB_REF=refs/tags/v1-prod"));
    assert_eq!(tagged.event, tag("v1-prod"));

    let refs = "GITHUB_EVENT_NAME=pull_request GITHUB_REF=refs/pull/7/merge GITHUB_HEAD_REF=fix GITHUB_BASE_REF=master";
    let payload = |from: &str| {
        format!(r#"{{"pull_request": {{"number": 7, "head": {{"sha": "h1", "repo": {{"full_name": "{from}"}}}}}}}}"#)
    };
    let own = of_event(&format!("{GITHUB} {refs}"), Some(&payload("acme/shop")));
    assert_eq!((own.event, own.commit.as_deref()), (pull(7, "fix", "master", false), Some("h1")));
    assert_eq!(own.compare, Some(Compare::Branch("origin/master".to_owned())));
    let strange = of_event(&format!("{GITHUB} {refs}"), Some(&payload("eve/shop")));
    assert_eq!(strange.event, pull(7, "fix", "master", true));
    // Without its file nobody knows whose it is.
    assert_eq!(context(&format!("{GITHUB} {refs}")).event, pull(7, "fix", "master", true));

    let none = of(GITHUB);
    let refused = detect(&Sources { variables: Some(&none), ..Sources::default() });
    assert!(refused.unwrap_err().contains("GITHUB_REF"));
}

#[test]
fn gitlab() {
    let base = "CI=true GITLAB_CI=true CI_PROJECT_PATH=acme/team/shop CI_COMMIT_SHA=c1 CI_JOB_NAME=ship \
                CI_JOB_URL=https://gitlab.com/acme/shop/-/jobs/1 GITLAB_USER_LOGIN=jo";
    let of_push = context(&format!("{base} CI_COMMIT_BRANCH=master CI_COMMIT_BEFORE_SHA=b1"));
    assert_eq!((of_push.host, of_push.event, of_push.compare), (Host::GitLab, push("master"), commit("b1")));
    assert_eq!(of_push.repository.as_deref(), Some("acme/team/shop"));
    assert_eq!(context(&format!("{base} CI_COMMIT_TAG=v1-staging")).event, tag("v1-staging"));
    let merge = "CI_MERGE_REQUEST_IID=3 CI_MERGE_REQUEST_SOURCE_BRANCH_NAME=fix CI_MERGE_REQUEST_TARGET_BRANCH_NAME=master \
                 CI_MERGE_REQUEST_PROJECT_ID=1 CI_MERGE_REQUEST_DIFF_BASE_SHA=d1 CI_MERGE_REQUEST_SOURCE_BRANCH_SHA=s1";
    let own = context(&format!("{base} {merge} CI_MERGE_REQUEST_SOURCE_PROJECT_ID=1"));
    assert_eq!((own.event, own.compare), (pull(3, "fix", "master", false), commit("d1")));
    assert_eq!(own.commit.as_deref(), Some("s1"));
    let strange = context(&format!("{base} {merge} CI_MERGE_REQUEST_SOURCE_PROJECT_ID=2"));
    assert_eq!(strange.event, pull(3, "fix", "master", true));
}

#[test]
fn circleci() {
    let base = "CI=true CIRCLECI=true CIRCLE_PROJECT_USERNAME=acme CIRCLE_PROJECT_REPONAME=shop CIRCLE_SHA1=c1 CIRCLE_JOB=ship";
    let of_push = context(&format!("{base} CIRCLE_BRANCH=master"));
    assert_eq!((of_push.host, of_push.event), (Host::CircleCi, push("master")));
    assert_eq!(of_push.repository.as_deref(), Some("acme/shop"));
    assert_eq!(context(&format!("{base} CIRCLE_TAG=v1-prod")).event, tag("v1-prod"));
    let url = "CIRCLE_PULL_REQUEST=https://github.com/acme/shop/pull/7";
    // Else an open request from master would end its deployments.
    assert_eq!(context(&format!("{base} CIRCLE_BRANCH=fix {url}")).event, push("fix"));
    let fork = format!("{base} CIRCLE_BRANCH=pull/7 {url} CIRCLE_PR_NUMBER=7 CIRCLE_PR_USERNAME=eve");
    assert_eq!(context(&fork).event, pull(7, "pull/7", "", true));
}

#[test]
fn travis() {
    let base = "CI=true TRAVIS=true TRAVIS_REPO_SLUG=acme/shop TRAVIS_COMMIT=c1 TRAVIS_JOB_NUMBER=4.1";
    let of_push = context(&format!(
        "{base} TRAVIS_BRANCH=master TRAVIS_PULL_REQUEST=false TRAVIS_TAG= TRAVIS_COMMIT_RANGE=b1...c1"
    ));
    assert_eq!((of_push.host, of_push.event, of_push.compare), (Host::Travis, push("master"), commit("b1")));
    assert_eq!(of_push.job.as_deref(), Some("4.1"));
    let tagged = context(&format!("{base} TRAVIS_BRANCH=v1 TRAVIS_TAG=v1 TRAVIS_PULL_REQUEST=false"));
    assert_eq!(tagged.event, tag("v1"));
    let merge = "TRAVIS_BRANCH=master TRAVIS_PULL_REQUEST=7 TRAVIS_PULL_REQUEST_BRANCH=fix TRAVIS_PULL_REQUEST_SHA=h1";
    let own = context(&format!("{base} {merge} TRAVIS_PULL_REQUEST_SLUG=acme/shop"));
    assert_eq!((own.event, own.commit.as_deref()), (pull(7, "fix", "master", false), Some("h1")));
    assert_eq!(
        context(&format!("{base} {merge} TRAVIS_PULL_REQUEST_SLUG=eve/shop")).event,
        pull(7, "fix", "master", true)
    );
}

#[test]
fn buildkite() {
    let base =
        "CI=true BUILDKITE=true BUILDKITE_REPO=git@github.com:acme/shop.git BUILDKITE_COMMIT=c1 BUILDKITE_LABEL=ship";
    let of_push = context(&format!("{base} BUILDKITE_BRANCH=master BUILDKITE_PULL_REQUEST=false"));
    assert_eq!((of_push.host, of_push.event), (Host::Buildkite, push("master")));
    assert_eq!(of_push.repository.as_deref(), Some("acme/shop"));
    assert_eq!(
        context(&format!("{base} BUILDKITE_BRANCH=v1 BUILDKITE_TAG=v1 BUILDKITE_PULL_REQUEST=false")).event,
        tag("v1")
    );
    let merge = "BUILDKITE_BRANCH=fix BUILDKITE_PULL_REQUEST=7 BUILDKITE_PULL_REQUEST_BASE_BRANCH=master";
    let own = context(&format!("{base} {merge} BUILDKITE_PULL_REQUEST_REPO=git://github.com/acme/shop.git"));
    assert_eq!(own.event, pull(7, "fix", "master", false));
    let strange = context(&format!("{base} {merge} BUILDKITE_PULL_REQUEST_REPO=git://github.com/eve/shop.git"));
    assert_eq!(strange.event, pull(7, "fix", "master", true));
    assert_eq!(context(&base.replace("=c1", "=HEAD BUILDKITE_BRANCH=a")).commit, None);
}

#[test]
fn jenkins() {
    let base = "JENKINS_URL=https://ci.example/ BUILD_NUMBER=4 BUILD_URL=https://ci.example/job/shop/4/ JOB_NAME=shop/master \
                GIT_URL=https://github.com/acme/shop.git GIT_COMMIT=c1";
    let multi = context(&format!("{base} BRANCH_NAME=master GIT_PREVIOUS_SUCCESSFUL_COMMIT=b1"));
    assert_eq!((multi.host, multi.event, multi.compare), (Host::Jenkins, push("master"), commit("b1")));
    assert_eq!(context(&format!("{base} GIT_BRANCH=origin/feature/a")).event, push("feature/a"));
    assert_eq!(context(&format!("{base} BRANCH_NAME=v1 TAG_NAME=v1")).event, tag("v1"));
    let change = "BRANCH_NAME=PR-7 CHANGE_ID=7 CHANGE_BRANCH=fix CHANGE_TARGET=master";
    assert_eq!(context(&format!("{base} {change}")).event, pull(7, "fix", "master", false));
    assert_eq!(context(&format!("{base} {change} CHANGE_FORK=eve")).event, pull(7, "fix", "master", true));
}

#[test]
fn codebuild() {
    let base = "CODEBUILD_BUILD_ARN=arn:aws:codebuild:us-east-1:111122223333:build/shop:1 CODEBUILD_BUILD_ID=shop:1 \
                CODEBUILD_SOURCE_REPO_URL=https://github.com/acme/shop.git CODEBUILD_RESOLVED_SOURCE_VERSION=c1";
    let hooked = context(&format!(
        "{base} CODEBUILD_WEBHOOK_HEAD_REF=refs/heads/master CODEBUILD_WEBHOOK_TRIGGER=branch/master"
    ));
    assert_eq!((hooked.host, hooked.event), (Host::CodeBuild, push("master")));
    assert_eq!(context(&format!("{base} CODEBUILD_WEBHOOK_HEAD_REF=refs/tags/v1")).event, tag("v1"));
    assert_eq!(context(&format!("{base} CODEBUILD_SOURCE_VERSION=refs/heads/a/b")).event, push("a/b"));
    let pr = "CODEBUILD_WEBHOOK_TRIGGER=pr/7 CODEBUILD_WEBHOOK_HEAD_REF=refs/heads/fix CODEBUILD_WEBHOOK_BASE_REF=refs/heads/master";
    assert_eq!(context(&format!("{base} {pr}")).event, pull(7, "fix", "master", true));
    // By hand, by a schedule: as AWS documents them.
    let by_hand = |source: &str| context(&format!("{base} CODEBUILD_SOURCE_VERSION={source}")).event;
    assert_eq!(by_hand("refs/heads/main^{1a2b3c4}"), push("main"));
    assert_eq!(by_hand("refs/tags/v1^{1a2b3c4}"), tag("v1"));
    assert_eq!(
        [by_hand("refs/pull/7/head"), by_hand("refs/pull/7/head^{1a2b3c4}")],
        [(); 2].map(|()| pull(7, "", "", true))
    );
    assert_eq!([by_hand("1a2b3c"), by_hand("main")], [Event::Manual, Event::Manual], "nothing of git");
    let checked_out = |source: &str| {
        let variables = of(&format!("{base} CODEBUILD_SOURCE_VERSION={source}"));
        let git = Git { commit: Some("1a2b3c4d5e6f".to_owned()), tags: vec!["v1".to_owned()], ..Git::default() };
        detect(&Sources { variables: Some(&variables), event_file: None, git }).unwrap().event
    };
    assert_eq!(checked_out("main"), push("main"));
    assert_eq!(checked_out("main^{1a2b3c4}"), push("main"));
    assert_eq!(checked_out("v1"), tag("v1"));
    // What git says of it.
    assert_eq!([checked_out("1a2b3c4"), checked_out("arn:aws:s3:::sources/shop.zip")], [tag("v1"), tag("v1")]);
}

#[test]
fn elsewhere_git_tells() {
    let git = Git {
        branch: Some("fix".to_owned()),
        commit: Some("c1".to_owned()),
        tags: vec!["v1".to_owned()],
        origin: Some("git@github.com:acme/shop.git".to_owned()),
    };
    let none = Variables::new();
    let here = |git: Git| detect(&Sources { variables: Some(&none), event_file: None, git }).unwrap();
    let context = here(git.clone());
    assert_eq!((context.host, context.event), (Host::Laptop, push("fix")));
    assert_eq!((context.repository.as_deref(), context.commit.as_deref()), (Some("acme/shop"), Some("c1")));
    assert_eq!(here(Git { branch: None, ..git.clone() }).event, tag("v1"));
    assert_eq!(here(Git { branch: None, tags: Vec::new(), ..git }).event, Event::Manual);
}

#[test]
fn repositories_by_url() {
    for (url, expected) in [
        ("https://github.com/acme/shop.git", Some("acme/shop")),
        ("git@github.com:acme/shop", Some("acme/shop")),
        ("ssh://git@host:22/acme/team/shop.git/", Some("acme/team/shop")),
        ("/srv/git/shop", None),
        ("file:///srv/git/shop", None),
        ("../shop", None),
    ] {
        assert_eq!(slug(url).as_deref(), expected, "{url}");
    }
}

#[test]
fn only_githubs_event_has_a_file() {
    let variables = of(&format!("{GITHUB} GITHUB_EVENT_PATH=/e.json"));
    assert_eq!(event_file(&variables), Some("/e.json"));
    assert_eq!(event_file(&of("GITHUB_EVENT_PATH=/e.json")), None);
}
