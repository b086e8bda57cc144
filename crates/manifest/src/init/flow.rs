//! The flow that most teams want, laid behind a first manifest: every branch is tested and built, master is deployed and tested where it
//! runs, `*-dev` is pushed, and tags promote to staging and prod the image that their commit has.

use std::collections::BTreeSet;

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
    let rest = remote.split_once("://").map_or(remote, |(_, rest)| rest);
    let rest = rest.split_once('@').map_or(rest, |(_, rest)| rest);
    let (host, path) = rest.split_once(['/', ':'])?;
    let registry = match host {
        "github.com" => "ghcr.io",
        "gitlab.com" => "registry.gitlab.com",
        _ => return None,
    };
    let path = path.trim_matches('/').trim_end_matches(".git").to_ascii_lowercase();
    path.contains('/').then(|| format!("{registry}/{path}"))
}

/// The sections `environments` and `ci` behind the proposal of a manifest. Where nothing of it answers requests, nothing is asked.
pub fn flow(tests: &[&str], proposal: &str) -> String {
    let loaded = crate::load(&SourceFile::new("landfall.yml", proposal), &|_| None).ok();
    let app = loaded.map(|loaded| loaded.app);
    let answers = app.filter(|app| app.services.values().any(|service| service.load_balancer.is_some()));
    let hosts = answers.map(|app| format!("{}.localhost", app.project));
    let tests: Vec<String> = tests.iter().map(|line| serde_json::Value::from(*line).to_string()).collect();
    let tests = tests.join(", ");
    let environment = |name: &str, probes: &str| match &hosts {
        Some(domain) => {
            format!("  {name}:\n    routing: {{host: {{name: {name}.{domain}, port: 8080}}}}\n    verify: {probes}\n")
        }
        None => format!("  {name}: {{}}\n"),
    };
    let environments = [
        environment("dev", "&answers\n      deadline: 2m\n      probes:\n        home: {path: /, status: \"200-399\"}"),
        environment("staging", "*answers"),
        environment("prod", "*answers"),
    ];
    let verify = |name: &str| if hosts.is_some() { format!("        - verify: {name}\n") } else { String::new() };
    format!(
        r#"
# Environments that stay. Each is on this machine until `on: NAME` names a place under `aws`.
environments:
{environments}
# What `landfall ci` does in a CI job. Every rule that matches adds its steps; `landfall ci plan --tag v1-prod` shows what would run.
ci:
  rules:
    # Any branch: tested and built.
    every-branch:
      branches: ["**"]
      pull_requests: true
      steps:
        - test: [{tests}]
        - build:
    # Master: pushed, deployed, and tested where it runs.
    master:
      branches: [master, main]
      steps:
        - push:
        - deploy: dev
{dev}    # What ends in -dev: up to the push.
    dev:
      branches: ["*-dev", "**/*-dev"]
      steps:
        - push:
    # Tags: the image that this commit has already, without a rebuild.
    staging:
      tags: ["*-staging"]
      steps:
        - promote: staging
{staging}    prod:
      tags: ["*-prod"]
      steps:
        - promote: prod
{prod}"#,
        environments = environments.concat(),
        dev = verify("dev"),
        staging = verify("staging"),
        prod = verify("prod"),
    )
}

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
            ("../shop", None),
            ("", None),
        ] {
            assert_eq!(super::repository(remote).as_deref(), repository, "{remote}");
        }
    }
}
