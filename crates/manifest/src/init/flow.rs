//! The flow that most teams want, laid behind a first manifest: every branch is tested and built, master is deployed and tested where it
//! runs, `*-dev` is pushed, and tags promote to staging and prod the image that their commit has.

use std::collections::BTreeSet;

use landfall_model::app::ImageSource;

use crate::github::address;
use crate::source::SourceFile;

/// The commands that a repository with these files at its root is usually tested by.
pub fn tests(files: &BTreeSet<String>) -> Vec<&'static str> {
    let has = |name: &str| files.contains(name);
    let npm = if has("package-lock.json") { "npm ci" } else { "npm install" };
    match () {
        () if has("test.sh") => vec!["./test.sh"],
        () if has("yarn.lock") => vec!["yarn install --frozen-lockfile", "yarn test"],
        () if has("package.json") => vec![npm, "npm test"],
        () if has("Cargo.toml") => vec!["cargo test --locked"],
        () if has("go.mod") => vec!["go test ./..."],
        () if has("pyproject.toml") || has("pytest.ini") => vec!["pytest"],
        () if has("Gemfile") => vec!["bundle install", "bundle exec rake test"],
        () if has("gradlew") => vec!["./gradlew test"],
        () if has("pom.xml") => vec!["mvn --batch-mode verify"],
        () if has("Makefile") => vec!["make test"],
        () => vec!["echo 'write here how this is tested'"],
    }
}

/// Where the host of a git remote keeps images of its repositories: of GitHub and GitLab, each of which has a registry beside the code.
pub fn repository(remote: &str) -> Option<String> {
    let (host, path) = address(remote)?;
    let registry = match host.as_str() {
        "github.com" | "www.github.com" | "ssh.github.com" => "ghcr.io",
        "gitlab.com" => "registry.gitlab.com",
        _ => return None,
    };
    let name = format!("{registry}/{}", path.to_ascii_lowercase());
    Some(name).filter(|name| path.contains('/') && legal(name).is_ok())
}

/// # Errors
/// Why images cannot go there: a rule of references, in words.
pub fn legal(repository: &str) -> Result<(), String> {
    let path = repository.split_once('/').map(|(_, path)| path).ok_or("HOST/NAME")?;
    if path.contains([':', '@']) {
        return Err("without a tag".to_owned());
    }
    crate::check::syntax::image(repository, false)
}

/// The sections `environments` and `ci` behind the proposal of a manifest. Where nothing of it answers requests nothing is asked, and where nothing is
/// built there is nothing to push.
pub fn flow(tests: &[&str], proposal: &str) -> String {
    let app = crate::load(&SourceFile::new("landfall.yml", proposal), &|_| None).ok().map(|loaded| loaded.app);
    let services = || app.iter().flat_map(|app| app.services.values());
    let answers = services().any(|service| service.load_balancer.is_some());
    let pushes =
        services().flat_map(|service| &service.containers).any(|one| matches!(one.image, ImageSource::Await(_)));
    let tests: Vec<String> = tests.iter().map(|line| serde_json::Value::from(*line).to_string()).collect();
    let text = format!(
        r#"
# Environments that stay. Each is on this machine until `on: NAME` names a place under `aws`.
environments:
{environments}
# What `landfall ci` does in a CI job. Every rule that matches adds its steps; `landfall ci plan --tag v1-prod` shows what would run.
ci:
  rules:
    # Any branch.
    every-branch:
      branches: ["**"]
      pull_requests: true
      steps:
        - test: [{tests}]
        - build:
    # Master: all the way to dev{tested}.
    master:
      branches: [master, main]
      steps:
        - push:
        - deploy: dev
        - verify: dev
{dev}    # Tags: {tagged}.
    staging:
      tags: ["*-staging"]
      steps:
        - {promote}: staging
        - verify: staging
    prod:
      tags: ["*-prod"]
      steps:
        - {promote}: prod
        - verify: prod
"#,
        environments = if answers { ASKED } else { "  dev: {}\n  staging: {}\n  prod: {}\n" },
        tests = tests.join(", "),
        dev = if pushes { DEV } else { "" },
        tested = if answers { ", and tested where it runs" } else { "" },
        tagged = if pushes { "what their commit has already, without a rebuild" } else { "their commit" },
        promote = if pushes { "promote" } else { "deploy" },
    );
    let kept = |line: &&str| match line.trim() {
        "- build:" | "- push:" => pushes,
        step => answers || !step.starts_with("- verify:"),
    };
    text.split_inclusive('\n').filter(kept).collect()
}

const ASKED: &str = r#"  dev:
    verify: &answers
      deadline: 2m
      probes:
        home: {path: /, status: "200-399"}
  staging:
    verify: *answers
  prod:
    verify: *answers
"#;

const DEV: &str = r#"    # What ends in -dev: up to the push.
    dev:
      branches: ["*-dev", "**/*-dev"]
      steps:
        - push:
"#;

#[cfg(test)]
mod tests {
    #[test]
    fn images_go_where_the_code_is_kept() {
        for (remote, repository) in [
            ("https://github.com/Acme/Shop.git", Some("ghcr.io/acme/shop")),
            ("git@github.com:acme/shop.git", Some("ghcr.io/acme/shop")),
            ("ssh://git@gitlab.com/group/sub/shop", Some("registry.gitlab.com/group/sub/shop")),
            ("https://token@gitlab.com/group/shop/", Some("registry.gitlab.com/group/shop")),
            ("https://git.example.com/acme/shop.git", None),
            ("https://github.com/shop", None),
            ("ssh://git@github.com:22/acme/shop.git", Some("ghcr.io/acme/shop")),
            ("https://github.com/acme/.github", None),
            ("https://github.com/1234/shop", Some("ghcr.io/1234/shop")),
            ("https://gitlab.com/2024/team/shop.git", Some("registry.gitlab.com/2024/team/shop")),
            ("../shop", None),
            ("", None),
        ] {
            assert_eq!(super::repository(remote).as_deref(), repository, "{remote}");
        }
        for refused in
            ["shop", "ghcr.io/Acme/shop", "ghcr.io/acme/shop:v1", "ghcr.io/acme/shop@sha256:00", "https://ghcr.io/a/b"]
        {
            assert!(super::legal(refused).is_err(), "{refused}");
        }
        assert_eq!(super::legal("127.0.0.1:5000/team/shop"), Ok(()));
    }
}
