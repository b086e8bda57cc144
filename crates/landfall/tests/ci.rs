//! `landfall ci` with the real binary: what each host gets to see, what runs and what does not, how a killed job goes on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use common::{eventually, fake, git, signal};
use serde_json::Value;

const MANIFEST: &str = r#"project: shop
services: { web: { load_balancer: {}, containers: { app: { image: nginx, ports: [80] } } } }
ci:
  mask: [LICENCE]
  rules:
    every-branch:
      branches: ["**"]
      pull_requests: true
      steps:
        - test: ["echo testing $LANDFALL_BRANCH with $LICENCE and $API_TOKEN", "sh -c 'exit 3'"]
        - test: [echo linting]
          name: lint
          needs: [test]
    tags:
      tags: ["*"]
      steps:
        - test: ["echo $LANDFALL_TAG is fine"]
          name: release
"#;

struct Home(tempfile::TempDir);

impl Home {
    fn new(manifest: &str) -> Self {
        let home = Self(tempfile::Builder::new().prefix("landfall-ci-").tempdir().unwrap());
        std::fs::write(home.path().join("landfall.yml"), manifest).unwrap();
        home
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn landfall(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
        let mut command = fake::landfall(self.path(), arguments);
        command.envs(variables.iter().copied());
        command
    }

    fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        self.landfall(arguments, variables).output().unwrap()
    }

    /// Both streams and the code, with what differs from run to run taken out.
    fn transcript(&self, arguments: &[&str], variables: &[(&str, &str)]) -> String {
        let output = self.run(arguments, variables);
        let text = |bytes: &[u8]| settled(&common::text(bytes).replace(&*self.path().to_string_lossy(), "DIR"));
        let code = output.status.code().unwrap_or(-1);
        format!("exit {code}\n--- stdout\n{}\n--- stderr\n{}", text(&output.stdout), text(&output.stderr))
    }
}

/// Times and seconds since 1970 differ; control characters are shown.
fn settled(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        for at in 1..words.len() {
            let is_unit = matches!(words[at].trim_end_matches([';', ':', ',']), "ms" | "s");
            if is_unit && words[at - 1].parse::<f64>().is_ok() {
                words[at - 1] = "N".to_owned();
                words[at] = words[at].replacen("ms", "s", 1);
            }
        }
        let line = words.join(" ").replace('\x1b', "␛").replace('\r', "␍");
        let line = match line.find("section_") {
            Some(at) => {
                let (before, rest) = line.split_at(at);
                let parts: Vec<&str> = rest.splitn(3, ':').collect();
                format!("{before}{}:SECOND:{}", parts[0], parts[2])
            }
            None => line,
        };
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out.trim_end().to_owned()
}

const SECRETS: [(&str, &str); 2] = [("LICENCE", "canary-licence"), ("API_TOKEN", "canary-token")];

fn with<'a>(variables: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    SECRETS.iter().copied().chain(variables.iter().copied()).collect()
}

/// A failing branch and a good tag, as the host says them.
macro_rules! host {
    ($name:ident, branch: [$($branch:tt)*], tag: [$($tag:tt)*]) => {
        #[test]
        fn $name() {
            let home = Home::new(MANIFEST);
            let branch = home.transcript(&["ci"], &with(&[$($branch)*]));
            insta::assert_snapshot!(concat!(stringify!($name), "_branch"), branch);
            let tag = home.transcript(&["ci"], &with(&[$($tag)*]));
            insta::assert_snapshot!(concat!(stringify!($name), "_tag"), tag);
        }
    };
}

host!(gitlab,
    branch: [("GITLAB_CI", "true"), ("CI_PROJECT_PATH", "acme/shop"), ("CI_COMMIT_SHA", "c1"), ("CI_COMMIT_BRANCH", "master")],
    tag: [("GITLAB_CI", "true"), ("CI_PROJECT_PATH", "acme/shop"), ("CI_COMMIT_SHA", "c1"), ("CI_COMMIT_TAG", "v1")]);
host!(circleci,
    branch: [("CIRCLECI", "true"), ("CIRCLE_PROJECT_USERNAME", "acme"), ("CIRCLE_PROJECT_REPONAME", "shop"), ("CIRCLE_SHA1", "c1"),
        ("CIRCLE_BRANCH", "master")],
    tag: [("CIRCLECI", "true"), ("CIRCLE_PROJECT_USERNAME", "acme"), ("CIRCLE_PROJECT_REPONAME", "shop"), ("CIRCLE_SHA1", "c1"),
        ("CIRCLE_TAG", "v1")]);
host!(travis,
    branch: [("TRAVIS", "true"), ("TRAVIS_REPO_SLUG", "acme/shop"), ("TRAVIS_COMMIT", "c1"), ("TRAVIS_BRANCH", "master"),
        ("TRAVIS_PULL_REQUEST", "false")],
    tag: [("TRAVIS", "true"), ("TRAVIS_REPO_SLUG", "acme/shop"), ("TRAVIS_COMMIT", "c1"), ("TRAVIS_BRANCH", "v1"),
        ("TRAVIS_TAG", "v1"), ("TRAVIS_PULL_REQUEST", "false")]);
host!(jenkins,
    branch: [("JENKINS_URL", "https://ci.example/"), ("BUILD_NUMBER", "4"), ("GIT_URL", "https://github.com/acme/shop.git"),
        ("GIT_COMMIT", "c1"), ("BRANCH_NAME", "master")],
    tag: [("JENKINS_URL", "https://ci.example/"), ("BUILD_NUMBER", "4"), ("GIT_URL", "https://github.com/acme/shop.git"),
        ("GIT_COMMIT", "c1"), ("BRANCH_NAME", "v1"), ("TAG_NAME", "v1")]);
host!(codebuild,
    branch: [("CODEBUILD_BUILD_ARN", "arn:aws:codebuild:us-east-1:111122223333:build/shop:1"),
        ("CODEBUILD_SOURCE_REPO_URL", "https://github.com/acme/shop.git"), ("CODEBUILD_RESOLVED_SOURCE_VERSION", "c1"),
        ("CODEBUILD_WEBHOOK_HEAD_REF", "refs/heads/master"), ("CODEBUILD_WEBHOOK_TRIGGER", "branch/master")],
    tag: [("CODEBUILD_BUILD_ARN", "arn:aws:codebuild:us-east-1:111122223333:build/shop:1"),
        ("CODEBUILD_SOURCE_REPO_URL", "https://github.com/acme/shop.git"), ("CODEBUILD_RESOLVED_SOURCE_VERSION", "c1"),
        ("CODEBUILD_WEBHOOK_HEAD_REF", "refs/tags/v1"), ("CODEBUILD_WEBHOOK_TRIGGER", "tag/v1")]);

const GITHUB: [(&str, &str); 4] = [
    ("GITHUB_ACTIONS", "true"),
    ("GITHUB_REPOSITORY", "acme/shop"),
    ("GITHUB_SHA", "c1"),
    ("GITHUB_EVENT_NAME", "push"),
];

#[test]
fn github() {
    let home = Home::new(MANIFEST);
    let summary = home.path().join("summary.md");
    let of = |more: &[(&str, &str)]| {
        let mut variables = with(&GITHUB).into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect::<Vec<_>>();
        variables.push(("GITHUB_STEP_SUMMARY".to_owned(), summary.to_string_lossy().into_owned()));
        variables.extend(more.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())));
        let variables: Vec<(&str, &str)> = variables.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        home.transcript(&["ci"], &variables)
    };
    insta::assert_snapshot!("github_branch", of(&[("GITHUB_REF", "refs/heads/master")]));
    insta::assert_snapshot!("github_summary", settled(&std::fs::read_to_string(&summary).unwrap()));
    insta::assert_snapshot!("github_tag", of(&[("GITHUB_REF", "refs/tags/v1")]));
    // A pull request of a fork, as its event file says.
    let payload = r#"{"pull_request": {"number": 7, "head": {"sha": "h1", "repo": {"full_name": "eve/shop"}}}}"#;
    let event = home.path().join("event.json");
    std::fs::write(&event, payload).unwrap();
    let fork = of(&[
        ("GITHUB_EVENT_NAME", "pull_request"),
        ("GITHUB_EVENT_PATH", &event.to_string_lossy()),
        ("GITHUB_REF", "refs/pull/7/merge"),
        ("GITHUB_HEAD_REF", "fix"),
        ("GITHUB_BASE_REF", "master"),
    ]);
    assert!(fork.contains("pull request #7 from a fork, fix into master"), "{fork}");
}

/// The annotation goes through Buildkite's own program.
#[test]
fn buildkite() {
    let home = Home::new(MANIFEST);
    let bin = home.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let agent = bin.join("buildkite-agent");
    std::fs::write(&agent, "#!/bin/sh\n{ echo \"$@\"; cat; } > \"$HOME/annotation\"\n").unwrap();
    std::fs::set_permissions(&agent, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let base = [
        ("BUILDKITE", "true"),
        ("BUILDKITE_REPO", "git@github.com:acme/shop.git"),
        ("BUILDKITE_COMMIT", "c1"),
        ("BUILDKITE_PULL_REQUEST", "false"),
        ("PATH", &*path),
    ];
    let of = |more: &[(&'static str, &'static str)]| {
        let all: Vec<_> = base.iter().copied().chain(more.iter().copied()).collect();
        home.transcript(&["ci"], &with(&all))
    };
    insta::assert_snapshot!("buildkite_branch", of(&[("BUILDKITE_BRANCH", "master")]));
    let annotation = std::fs::read_to_string(home.path().join("annotation")).unwrap();
    insta::assert_snapshot!("buildkite_annotation", settled(&annotation));
    insta::assert_snapshot!("buildkite_tag", of(&[("BUILDKITE_BRANCH", "v1"), ("BUILDKITE_TAG", "v1")]));
}

#[test]
fn on_a_laptop_gits_branch_and_paths_count() {
    let manifest =
        MANIFEST.replace("      pull_requests: true\n", "      pull_requests: true\n      paths: [\"web/**\"]\n");
    let home = Home::new(&manifest);
    let plan = |arguments: &[&str]| {
        let output = home.run(&[&["ci", "plan", "--output", "json"], arguments].concat(), &[]);
        assert_eq!(output.status.code(), Some(0), "{}", common::text(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    git(home.path(), &["init", "-q", "-b", "master"]);
    git(home.path(), &["commit", "-q", "--allow-empty", "-m", "one"]);
    let first = plan(&[]);
    assert_eq!(first["context"]["event"]["push"]["branch"], "master");
    assert_eq!(first["context"]["commit"].as_str().unwrap().len(), 40);
    let why = first["rules"][0]["why"].as_str().unwrap();
    assert!(why.contains("what changed is not known"), "a first commit has no parent: {why}");
    std::fs::create_dir(home.path().join("web")).unwrap();
    std::fs::write(home.path().join("web/ä b.txt"), "x").unwrap();
    git(home.path(), &["add", "web"]);
    git(home.path(), &["commit", "-q", "-m", "two"]);
    let second = plan(&[]);
    assert_eq!(second["rules"][0]["why"], "branch master matches `**`, and web/ä b.txt changed");
    git(home.path(), &["commit", "-q", "--allow-empty", "-m", "three"]);
    let third = plan(&[]);
    assert_eq!((&third["rules"][0]["matches"], third["steps"].as_array().unwrap().len()), (&Value::Bool(false), 0));
    // Where the host does not say what was there before, the last commit alone would hide the one before it.
    let first = git(home.path(), &["rev-parse", "HEAD~2"]);
    git(home.path(), &["update-ref", "refs/remotes/origin/master", &first]);
    git(home.path(), &["symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/master"]);
    for (branch, why) in [("fix", "and web/ä b.txt changed"), ("master", "what changed is not known")] {
        let told = [("CIRCLECI", "true"), ("CIRCLE_BRANCH", branch)];
        let output = home.run(&["ci", "plan", "--output", "json"], &told);
        let there: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        assert!(there["rules"][0]["why"].as_str().unwrap().contains(why), "{branch}: {there}");
    }
    // A branch that is moved up to master has nothing over it, and everything of it.
    git(home.path(), &["update-ref", "refs/remotes/origin/master", "HEAD"]);
    let moved = home.run(&["ci", "plan"], &[("CIRCLECI", "true"), ("CIRCLE_BRANCH", "staging")]);
    assert!(common::text(&moved.stdout).contains("what changed is not known"), "{moved:?}");
    assert_eq!(plan(&["--tag", "v1"])["steps"][0]["name"], "release");
    assert_eq!(plan(&["--pull-request", "7"])["context"]["event"]["pull_request"]["head"], "master");
    git(home.path(), &["tag", "v2"]);
    git(home.path(), &["checkout", "-q", "--detach"]);
    assert_eq!(plan(&[])["context"]["event"]["tag"]["tag"], "v2");
    std::fs::write(home.path().join("e.json"), r#"{"ref": "refs/heads/x"}"#).unwrap();
    assert_eq!(plan(&["--event", "e.json"])["context"]["event"]["push"]["branch"], "x");
    let both = home.run(&["ci", "plan", "--tag", "v1", "--branch", "x"], &[]);
    assert_eq!(both.status.code(), Some(64));
    // Nothing matches: nothing to do, and no failure.
    git(home.path(), &["checkout", "-q", "master"]);
    let nothing = home.run(&["ci"], &[]);
    assert_eq!(nothing.status.code(), Some(0));
    assert!(common::text(&nothing.stderr).contains("no rule has anything to do"), "{nothing:?}");
}

const GITLAB: [(&str, &str); 4] =
    [("GITLAB_CI", "true"), ("CI_PROJECT_PATH", "acme/shop"), ("CI_COMMIT_SHA", "c1"), ("CI_COMMIT_BRANCH", "master")];

fn steps(text: &str) -> String {
    format!(
        "project: shop\nservices: {{ web: {{ load_balancer: {{}}, containers: {{ app: {{ image: nginx, ports: [80] }} }} }} }}\n\
         environments: {{ dev: {{}} }}\nci:\n  rules:\n    all:\n      branches: ['**']\n      steps:\n{text}"
    )
}

/// Each waits for the other, so that they end only if they run at once; their groups are whole all the same.
#[test]
fn independent_steps_run_side_by_side() {
    let wait = |own: &str, other: &str| {
        format!(
            "        - name: {own}\n          timeout: 60\n          test: [\"echo {own} began; touch {own}; while ! test -e {other}; \
             do sleep 0.01; done; echo {own} saw {other}\"]\n"
        )
    };
    let home = Home::new(&steps(&(wait("a", "b") + &wait("b", "a"))));
    let output = home.run(&["ci"], &GITLAB);
    assert_eq!(output.status.code(), Some(0), "{}", common::text(&output.stdout));
    let text = common::text(&output.stdout);
    let at = |needle: &str| text.find(needle).unwrap_or_else(|| panic!("{needle}: {text}"));
    let order = [
        at("section_start"),
        at("a saw b"),
        at("section_end"),
        at("✓ a"),
        text.rfind("section_start").unwrap(),
        at("b saw a"),
    ];
    assert!(order.is_sorted(), "{order:?} {text}");
}

#[test]
fn a_step_that_takes_too_long_is_stopped_with_all_that_it_started() {
    let home = Home::new(&steps(
        "        - test: [\"(sleep 300 & echo $! > child; wait)\"]\n          timeout: 5\n        - push:\n",
    ));
    let output = home.run(&["ci"], &GITLAB);
    let said = common::text(&output.stderr);
    assert_eq!(output.status.code(), Some(8), "{said}");
    assert!(said.contains("test took too long after") && said.contains("not run: push"), "{said}");
    let child = std::fs::read_to_string(home.path().join("child")).unwrap();
    gone(child.trim());
}

/// A process that has ended, or is a zombie that nobody waits for.
fn gone(process: &str) {
    eventually("the child is gone", Duration::from_secs(10), || {
        match std::fs::read_to_string(format!("/proc/{process}/stat")) {
            Ok(stat) if !stat.contains(") Z ") => Err(stat),
            _ => Ok(()),
        }
    });
}

#[test]
fn a_killed_job_goes_on_where_it_was() {
    let home = Home::new(&steps(
        "        - test: [echo once >> log]\n        - test: [\"echo began >> log; test -e go || { touch waiting; exec sleep 300; }\"]\n          \
         name: second\n          needs: [test]\n        - test: [echo last >> log]\n          name: last\n          needs: [second]\n",
    ));
    let log = || std::fs::read_to_string(home.path().join("log")).unwrap_or_default();
    let mut child = home.landfall(&["ci"], &GITLAB).spawn().unwrap();
    eventually("the second step runs", Duration::from_secs(20), || {
        if home.path().join("waiting").exists() { Ok(()) } else { Err(log()) }
    });
    signal(child.id(), "KILL");
    child.wait().unwrap();
    std::fs::write(home.path().join("go"), "").unwrap();
    let output = home.run(&["ci", "resume"], &GITLAB);
    assert_eq!(output.status.code(), Some(0), "{}", common::text(&output.stderr));
    assert_eq!(log(), "once\nbegan\nbegan\nlast\n");
    assert!(common::text(&output.stderr).contains("second, last; done before: test"), "{output:?}");
    // All is done: whoever starts the job once more wants it done; another commit begins anew.
    let output = home.run(&["ci", "resume"], &GITLAB);
    assert!(common::text(&output.stderr).contains("test, second, last"), "{output:?}");
    let other: Vec<_> = GITLAB.iter().map(|&(n, v)| if n == "CI_COMMIT_SHA" { (n, "c2") } else { (n, v) }).collect();
    let output = home.run(&["ci", "resume"], &other);
    assert!(common::text(&output.stderr).contains("no record of this flow"), "{output:?}");
    assert!(log().ends_with("once\nbegan\nlast\n"), "{}", log());
}

#[test]
fn a_stopped_job_stops_its_steps_and_says_so() {
    let home = Home::new(&steps("        - test: [\"echo $$ > shell; exec sleep 300\"]\n        - push:\n"));
    let child = home
        .landfall(&["ci"], &GITLAB)
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let shell = home.path().join("shell");
    eventually("the step runs", Duration::from_secs(20), || {
        std::fs::read_to_string(&shell)
            .map_err(|e| e.to_string())
            .and_then(|text| if text.ends_with('\n') { Ok(()) } else { Err(text) })
    });
    signal(child.id(), "TERM");
    let output = child.wait_with_output().unwrap();
    let said = common::text(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("test was stopped") && said.contains("not run: push"), "{said}");
    gone(std::fs::read_to_string(&shell).unwrap().trim());
}

/// `landfall ci | head -1`: whoever reads the log goes, and the work is done all the same.
#[test]
fn a_log_that_nobody_reads_does_not_end_the_job() {
    let home =
        Home::new(&steps("        - test: [\"while ! test -e go; do sleep 0.01; done; seq 20000; touch done\"]\n"));
    let mut child = home.landfall(&["ci"], &GITLAB).stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    std::fs::write(home.path().join("go"), "").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(home.path().join("done").exists());
}

/// Their exit codes stay what they are.
#[test]
fn landfalls_own_steps_are_its_commands() {
    let home = Home::new(&steps("        - deploy: dev\n"));
    let output = home.run(&["ci"], &GITLAB);
    let text = common::text(&output.stdout);
    // No container engine is there: 69, as `landfall deploy dev` has it.
    let direct = home.run(&["deploy", "dev", "--commit", "c1"], &[]);
    assert_eq!(output.status.code(), direct.status.code(), "{text}");
    assert_ne!(output.status.code(), Some(0));
    assert!(text.contains("deploy dev: landfall deploy dev --commit c1"), "{text}");
}

#[test]
fn no_secret_is_written_anywhere() {
    let home = Home::new(MANIFEST);
    let output = home.run(&["ci"], &with(&GITLAB));
    let all = common::text(&output.stdout) + &common::text(&output.stderr);
    assert!(all.contains("testing master with *** and ***"), "{all}");
    let mut seen = vec![all];
    let mut open = vec![home.path().to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                seen.push(String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned());
            }
        }
    }
    assert!(seen.len() > 2, "the record is there");
    assert!(seen.iter().all(|text| !text.contains("canary")), "{seen:?}");
}

#[test]
fn json_is_one_document_and_the_log_is_beside_it() {
    let home = Home::new(MANIFEST);
    let output = home.run(&["ci", "--output", "json"], &with(&GITLAB));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &report["exit_code"]), (Some(3), &Value::from(3)));
    assert_eq!(report["steps"]["test"]["outcome"]["failed"]["code"], 3);
    assert_eq!(report["steps"]["lint"]["outcome"]["not_run"]["waited_for"], "test");
    assert!(common::text(&output.stderr).contains("$ echo testing"), "{output:?}");
}

fn git_config(home: &Home, origin: &str) {
    std::fs::create_dir(home.path().join(".git")).unwrap();
    std::fs::write(home.path().join(".git/config"), format!("[remote \"origin\"]\n\turl = {origin}\n")).unwrap();
}

/// System E's flow, as `init --flow` writes it.
#[test]
fn the_flow_to_begin_with_is_that_of_branches_and_tags() {
    let home = Home::new("");
    std::fs::remove_file(home.path().join("landfall.yml")).unwrap();
    std::fs::write(home.path().join("Dockerfile"), "FROM nginx\nEXPOSE 8080\n").unwrap();
    std::fs::write(home.path().join("go.mod"), "module shop\n").unwrap();
    common::ends(&home.run(&["init", "--flow"], &[]), 64, &["where do images go?", "--image REPOSITORY"]);
    let tagged = home.run(&["init", "--flow", "--image", "ghcr.io/acme/shop:v1"], &[]);
    common::ends(&tagged, 64, &["write HOST/NAME: without a tag"]);
    git_config(&home, "git@github.com:Acme/shop.git");
    common::ends(&home.run(&["init", "--flow"], &[]), 0, &[]);
    let written = || std::fs::read_to_string(home.path().join("landfall.yml")).unwrap();
    assert!(written().contains("image: \"ghcr.io/acme/shop:{commit}\""), "{}", written());
    let to = ["init", "--flow", "--force", "--image", "111122223333.dkr.ecr.eu-west-1.amazonaws.com/shop"];
    common::ends(&home.run(&to, &[]), 0, &[]);
    assert!(
        written().contains("image: \"111122223333.dkr.ecr.eu-west-1.amazonaws.com/shop:{commit}\""),
        "{}",
        written()
    );
    let check = home.run(&["check"], &[]);
    assert_eq!(check.status.code(), Some(0), "{}", common::text(&check.stdout));
    let steps = |arguments: &[&str]| {
        let output = home.run(&[&["ci", "plan", "--output", "json"], arguments].concat(), &GITLAB);
        let plan: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        let names = plan["steps"].as_array().unwrap().iter().map(|step| step["name"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>().join(", ")
    };
    assert_eq!(steps(&["--branch", "feature/x"]), "test, build");
    assert_eq!(steps(&["--branch", "master"]), "test, build, push, deploy dev, verify dev");
    assert_eq!(steps(&["--branch", "a/b-dev"]), "test, build, push");
    assert_eq!(steps(&["--tag", "v1-staging"]), "promote staging, verify staging");
    assert_eq!(steps(&["--tag", "v1-prod"]), "promote prod, verify prod");
    assert_eq!(steps(&["--tag", "v1"]), "");
    assert!(written().contains("test: [\"go test ./...\"]"), "{}", written());
    // Where nothing is built nothing is pushed, and nobody has to say where.
    std::fs::remove_file(home.path().join("Dockerfile")).unwrap();
    std::fs::remove_dir_all(home.path().join(".git")).unwrap();
    common::ends(&home.run(&["init", "--flow", "--force"], &[]), 0, &[]);
    assert_eq!(steps(&["--branch", "master"]), "test, deploy dev, verify dev");
    assert_eq!(steps(&["--tag", "v1-prod"]), "deploy prod, verify prod");
}

const ON_AWS: &str = r#"project: shop
aws:
  cloud:
    region: eu-central-1
    account: "111122223333"
    cluster: main
    network: { subnets: [subnet-0123456789abcdef0] }
    execution_role: exec
services:
  web: { cpu: 256, memory: 512, containers: { app: { await: { image: "111122223333.dkr.ecr.eu-central-1.amazonaws.com/shop:{commit}", build: { context: . } } } } }
environments: { dev: { on: cloud }, prod: { on: cloud } }
ci:
  rules:
    master: { branches: [master], pull_requests: true, steps: [{ test: [make] }, { build: }, { push: }, { deploy: dev }] }
    prod: { tags: ["*-prod"], steps: [{ promote: prod }, { verify: prod }] }
"#;

#[test]
fn files_for_hosts_are_yaml_and_come_with_their_policies() {
    let home = Home::new(ON_AWS);
    let digest = "ab".repeat(32);
    let given = ["--role", "arn:aws:iam::111122223333:role/landfall", "--sha256", &*digest];
    for host in ["github", "gitlab", "circleci", "travis", "codebuild"] {
        let arguments = [&["ci", "init", host, "--stdout"], &given[..]].concat();
        let output = home.run(&arguments, &[]);
        assert_eq!(output.status.code(), Some(0), "{}", common::text(&output.stderr));
        let text = common::text(&output.stdout);
        let parsed = landfall_manifest::yaml::parse(&text).map(|(_, found)| found);
        assert!(parsed.as_ref().is_ok_and(Vec::is_empty), "{host}: {parsed:?}\n{text}");
        assert!(text.contains("landfall ci resume") && text.contains(&digest), "{text}");
        assert!(text.contains("https://github.com/landfall/landfall/releases/download/v"), "{text}");
        assert!(text.contains("-x86_64-linux.tar.gz") && text.contains("tar -xzf"), "{text}");
    }
    let output = home.run(&[&["ci", "init", "github"], &given[..]].concat(), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", common::text(&output.stderr));
    assert!(home.path().join(".github/workflows/landfall.yml").is_file());
    for name in ["dev", "prod"] {
        let text = std::fs::read_to_string(home.path().join(format!("iam/landfall-{name}.json"))).unwrap();
        let policy: Value = serde_json::from_str(&text).unwrap();
        assert!(text.contains("ecs:UpdateService") && policy["Statement"].is_array(), "{text}");
    }
    // What the tag's rule does besides: it reads the commit's release, and looks for a URL that the manifest does not name.
    let policy = |name: &str| std::fs::read_to_string(home.path().join(format!("iam/landfall-{name}.json"))).unwrap();
    assert!(policy("releases").contains("ecr:BatchGetImage"));
    let verify = policy("verify");
    assert!(
        verify.contains("DescribeRules") && verify.contains("service/main/shop-prod-web") && !verify.contains("-dev-"),
        "{verify}"
    );
    let push = policy("push");
    assert!(push.contains("ecr:PutImage") && push.contains("repository/shop") && !push.contains("ecs:"), "{push}");
    assert_eq!(home.run(&[&["ci", "init", "github"], &given[..]].concat(), &[]).status.code(), Some(73));
    // Nothing is left open: which role, which checksum.
    let without = home.run(&["ci", "init", "gitlab", "--sha256", &digest], &[]);
    assert_eq!(without.status.code(), Some(64), "{}", common::text(&without.stderr));
    let without = home.run(&["ci", "init", "travis"], &[]);
    assert!(common::text(&without.stderr).contains("which checksum"), "{without:?}");
}

#[test]
fn words_that_a_step_s_command_would_refuse_are_told_before_anything_runs() {
    let lint = "        - test: [echo linting]\n          name: lint\n          needs: [test]\n";
    let of = |args: &str| Home::new(&MANIFEST.replace(lint, &format!("        - build:\n          args: {args}\n")));
    let refused = of("[--platfrom, linux/arm64]").run(&["ci"], &GITLAB);
    let said = common::ends(&refused, 65, &["step `build`: unexpected argument '--platfrom'"]);
    assert!(!said.contains("testing"), "{said}");
    // As the log shows it, and to the command.
    let given = of("[--builder, docker, --secret, 'id=a,env=NO_SUCH_VARIABLE']").transcript(&["ci"], &with(&GITLAB));
    assert!(given.contains("landfall build --builder docker --secret id=a,env=NO_SUCH_VARIABLE"), "{given}");
}

/// Answers the given responses, one connection after another, then the last for ever.
fn answering(responses: Vec<&'static str>) -> u16 {
    use std::io::{Read as _, Write as _};

    let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for (at, stream) in listener.incoming().enumerate() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(responses[at.min(responses.len() - 1)].as_bytes());
        }
    });
    port
}

const GOOD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 12\r\nx-version: 7\r\nconnection: close\r\n\r\nHello World!";
const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 8\r\nconnection: close\r\n\r\nwarming\n";

#[test]
fn probes_ask_again_until_the_answer_is_right_or_show_what_came_back() {
    let manifest = |port: u16, deadline: &str| {
        format!(
            "project: shop\nservices: {{ web: {{ load_balancer: {{}}, containers: {{ app: {{ image: nginx, ports: [80] }} }} }} }}\n\
             environments:\n  prod:\n    verify:\n      url: http://127.0.0.1:{port}/\n      deadline: {deadline}\n      probes:\n        \
             home: {{ body: 'Hello World!', headers: {{ x-version: '7' }}, status: 200 }}\n"
        )
    };
    let home = Home::new(&manifest(answering(vec![BUSY, BUSY, GOOD]), "60s"));
    let output = home.run(&["verify", "prod", "--probes", "--output", "json"], &[]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!(
        (output.status.code(), &report["ok"], &report["probes"][0]["tries"]),
        (Some(0), &true.into(), &3.into()),
        "{report}"
    );

    std::fs::write(home.path().join("landfall.yml"), manifest(answering(vec![BUSY]), "1s")).unwrap();
    let output = home.run(&["verify", "prod", "--probes"], &[]);
    let (said, told) = (common::text(&output.stdout), common::text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{said}{told}");
    for expected in [
        "status 503 instead of 200",
        "does not contain \"Hello World!\"",
        "there is no header x-version",
        "    warming",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert!(told.contains("prod does not answer as it should within 1 s: home"), "{told}");

    let closed = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let output =
        home.run(&["verify", "prod", "--probes", "--url", &format!("http://{closed}"), "--deadline", "1"], &[]);
    assert!(common::text(&output.stdout).contains("no answer"), "{output:?}");
}
