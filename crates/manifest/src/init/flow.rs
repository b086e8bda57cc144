//! The flow that most teams want, laid behind a first manifest: every branch is tested and built, master is deployed and tested where it
//! runs, `*-dev` is pushed, and tags promote to staging and prod the image that their commit has.

use std::collections::BTreeSet;

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

/// The sections `environments` and `ci`.
pub fn flow(tests: &[&str]) -> String {
    let tests: Vec<String> = tests.iter().map(|line| serde_json::Value::from(*line).to_string()).collect();
    let tests = tests.join(", ");
    format!(
        r#"
# Environments that stay. Each is on this machine until `on: NAME` names a place under `aws`; there images come from a registry, so that a
# container has `await: {{image: "REGISTRY/NAME:{{commit}}", build: {{context: .}}}}` in the place of its `build`.
environments:
  dev:
    verify: &answers
      deadline: 2m
      probes:
        home: {{path: /, status: "200-399"}}
  staging:
    verify: *answers
  prod:
    verify: *answers

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
        - verify: dev
    # What ends in -dev: up to the push.
    dev:
      branches: ["*-dev", "**/*-dev"]
      steps:
        - push:
    # Tags: the image that this commit has already, without a rebuild.
    staging:
      tags: ["*-staging"]
      steps:
        - promote: staging
        - verify: staging
    prod:
      tags: ["*-prod"]
      steps:
        - promote: prod
        - verify: prod
"#
    )
}
