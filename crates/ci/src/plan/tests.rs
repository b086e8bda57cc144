#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::context::Host;

fn step(run: CiAction) -> CiStep {
    CiStep { name: run.usual_name(), run, args: Vec::new(), needs: None, timeout: None }
}

fn test(command: &str) -> CiStep {
    step(CiAction::Test { commands: vec![command.to_owned()] })
}

fn deploy(environment: &str) -> CiStep {
    step(CiAction::Deploy { environment: environment.to_owned() })
}

fn rule(name: &str, steps: Vec<CiStep>) -> CiRule {
    CiRule { name: name.to_owned(), steps, ..CiRule::default() }
}

fn texts(all: &[&str]) -> Vec<String> {
    all.iter().map(|one| (*one).to_owned()).collect()
}

/// The flow of the CircleCI design: every branch is tested, master deployed, tags promote.
fn ci() -> Ci {
    let every = CiRule {
        branches: texts(&["**"]),
        pull_requests: true,
        ..rule("every", vec![test("make test"), step(CiAction::Build)])
    };
    let master =
        CiRule { branches: texts(&["master"]), ..rule("master", vec![step(CiAction::Push), deploy("master")]) };
    let dev =
        CiRule { branches: texts(&["*-dev"]), ..rule("dev", vec![step(CiAction::Push), step(CiAction::Preview)]) };
    let prod = CiRule {
        tags: texts(&["*-prod"]),
        ..rule("prod", vec![step(CiAction::Promote { environment: "prod".to_owned() }), step(CiAction::Preview)])
    };
    Ci { rules: vec![every, master, dev, prod], mask: Vec::new() }
}

fn flow(ci: &Ci, event: Event, changed: &Changed) -> Result<Flow, String> {
    let context = CiContext {
        host: Host::Laptop,
        event,
        repository: Some("acme/shop".to_owned()),
        commit: Some("c1".to_owned()),
        compare: None,
        job: None,
        url: None,
        actor: None,
    };
    plan(ci, context, changed)
}

fn push(branch: &str) -> Event {
    Event::Push { branch: branch.to_owned() }
}

fn names(flow: &Flow) -> Vec<&str> {
    flow.steps.iter().map(|step| step.name.as_str()).collect()
}

const NOTHING: Changed = Changed::Paths(Vec::new());

#[test]
fn every_rule_that_matches_adds_its_steps() {
    let of = |event| flow(&ci(), event, &NOTHING).unwrap();
    assert_eq!(names(&of(push("master"))), ["test", "build", "push", "deploy master"]);
    assert_eq!(names(&of(push("a/b"))), ["test", "build"]);
    assert_eq!(names(&of(push("x-dev"))), ["test", "build", "push", "preview"]);
    let tagged = of(Event::Tag { tag: "v1-prod".to_owned() });
    assert_eq!(names(&tagged), ["promote prod"]);
    assert_eq!(tagged.left_out[0].why, "a preview belongs to a branch");
    let master = of(push("master"));
    assert_eq!(master.steps[3].needs, ["test", "build", "push"]);
    assert!(of(Event::Manual).steps.is_empty());
    insta::assert_snapshot!(master.text(), @r"
    this machine: push to master of acme/shop at c1

    rules
      ✓ every   branch master matches `**`
      ✓ master  branch master matches `master`
      - dev     branch master does not match `*-dev`
      - prod    it is not for pushes to branches

    steps
      test           at once
        $ make test
      build          at once
      push           after test, build
      deploy master  after test, build, push
    ");
}

#[test]
fn a_stranger_gets_tests_and_builds_only() {
    let mut ci = ci();
    ci.rules[1].pull_requests = true;
    let pull = |fork| Event::PullRequest { number: 7, head: "fix".to_owned(), base: "master".to_owned(), fork };
    let own = flow(&ci, pull(false), &NOTHING).unwrap();
    assert_eq!(names(&own), ["test", "build", "push", "deploy master"]);
    let strange = flow(&ci, pull(true), &NOTHING).unwrap();
    assert_eq!(names(&strange), ["test", "build"]);
    assert_eq!(strange.left_out.iter().map(|one| one.step.as_str()).collect::<Vec<_>>(), ["push", "deploy master"]);
    assert!(strange.text().contains("push: left out, a fork's pull request gets tests and builds only"));
}

#[test]
fn paths_decide_unless_nobody_knows_them() {
    let mut ci = ci();
    ci.rules[1].paths = texts(&["services/web/**", "Cargo.lock"]);
    assert!(asks_for_paths(&ci, &push("master")) && !asks_for_paths(&ci, &push("other")));
    let why = |changed: &Changed| {
        let flow = flow(&ci, push("master"), changed).unwrap();
        (flow.rules[1].matches, flow.rules[1].why.clone())
    };
    let paths = |all: &[&str]| Changed::Paths(texts(all));
    let by = "branch master matches `master`";
    assert_eq!(
        why(&paths(&["docs/a", "services/web/a/b.rs"])),
        (true, format!("{by}, and services/web/a/b.rs changed"))
    );
    let other = "its paths are `services/web/**`, `Cargo.lock`";
    assert_eq!(why(&paths(&["docs/a"])), (false, format!("{by}, but only docs/a changed, and {other}")));
    assert_eq!(why(&NOTHING), (false, format!("{by}, but nothing changed, and {other}")));
    let unknown = Changed::Unknown("the clone is shallow".to_owned());
    let counts = "what changed is not known (the clone is shallow), so every path counts";
    assert_eq!(why(&unknown), (true, format!("{by}; {counts}")));
}

#[test]
fn what_is_ignored_wins() {
    let mut ci = ci();
    ci.rules[0].ignore = texts(&["wip/**"]);
    let flow = flow(&ci, push("wip/a"), &NOTHING).unwrap();
    assert_eq!(flow.rules[0].why, "branch wip/a matches `wip/**`, which it ignores");
    assert!(flow.text().contains("nothing would run"));
}

#[test]
fn one_name_is_one_thing_and_circles_are_refused() {
    let mut two = ci();
    two.rules[1].steps.push(test("make other"));
    let refused = flow(&two, push("master"), &NOTHING).unwrap_err();
    assert!(refused.contains("step `test` is one thing in rule `every` and another in rule `master`"), "{refused}");
    let mut circle = ci();
    circle.rules[0].steps[1].needs = Some(texts(&["deploy master"]));
    let refused = flow(&circle, push("master"), &NOTHING).unwrap_err();
    assert_eq!(refused, "these steps wait for each other: build, deploy master");
}

#[test]
fn the_fingerprint_is_the_commits_and_the_steps() {
    let print = |ci: &Ci, event| flow(ci, event, &NOTHING).unwrap().fingerprint();
    let same = print(&ci(), push("master"));
    assert_eq!(print(&ci(), push("master")), same);
    assert_ne!(print(&ci(), push("other")), same);
    let mut changed = ci();
    changed.rules[0].steps[0] = test("make other");
    assert_ne!(print(&changed, push("master")), same);
}
