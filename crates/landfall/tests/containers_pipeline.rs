//! The pipeline of examples/pipeline, whole: the demonstration with the real binary and real containers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::running::Running;
use common::{Sandbox, ends};

#[test]
fn one_release_goes_from_dev_to_prod_and_nothing_is_left() {
    let outside = Sandbox::new();
    let temporary = outside.directory.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let mut command = outside.command(&["demo", "pipeline", "--timeout", "240"]);
    command.env("TMPDIR", &temporary);
    let mut demo = Running::start(command, &outside.directory.path().join("demo.log"));
    let status = demo.wait(Duration::from_secs(600));
    let output = demo.output();
    assert_eq!(status.code(), Some(0), "{output}");
    for told in [
        "dev and staging run them",
        "prod is untouched and waits for a yes to these images",
        "A yes of who pushed counts for nothing",
        "anna's yes: prod runs the same images by digest",
        "prod.shop.localhost",
        "The next commit is in staging and waits",
        "anna's no: prod stays as it was",
        "the next was rejected. Nothing of it is left.",
    ] {
        assert!(output.contains(told), "no {told:?} in {output}");
    }
    assert!(!output.contains('✗'), "{output}");
    assert_eq!(common::processes_of(&temporary), [0; 0], "{output}");
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0, "its directory is gone");
}

/// SIGKILL while people think, and again in the midst of what their yes began: it is deployed once.
#[test]
fn a_killed_server_goes_on_with_a_run_that_waits_for_people() {
    let mut sandbox = Sandbox::new();
    let host = "prod.my-project.localhost";
    let rest = format!(
        r#"environments:
  prod:
    routing: {{ host: {{ name: {host}, port: {} }} }}
pipelines:
  main:
    stages:
      - environment: prod
        run: [{{ deploy: {{}} }}]
        approval: {{ by: [anna] }}
"#,
        sandbox.router.port()
    );
    sandbox.two_container_manifest(&[("DEMO_TEXT", "approved")], &rest);
    let say = |sandbox: &Sandbox, who: &str, arguments: &[&str]| {
        sandbox.command(arguments).env("USER", who).output().unwrap()
    };
    let shown = |sandbox: &Sandbox| sandbox.json(&["pipeline", "show", "main"]);
    let reaches = |sandbox: &Sandbox, state: &str| {
        sandbox.eventually(state, || {
            let run = shown(sandbox);
            if run["state"] == state { Ok(run) } else { Err(run["message"].to_string()) }
        })
    };
    sandbox.start();
    let begun = say(&sandbox, "ben", &["pipeline", "run", "main", "--commit", &"1".repeat(40), "--detach"]);
    ends(&begun, 0, &[]);
    let asked = reaches(&sandbox, "awaiting_approval");
    sandbox.kill();
    sandbox.start_held_at("service.deploy:after");
    let still = shown(&sandbox);
    assert_eq!((&still["state"], &still["stages"]), (&asked["state"], &asked["stages"]), "as if nothing had been");
    ends(&say(&sandbox, "anna", &["pipeline", "approve", "main", "--detach"]), 0, &["approved: prod is next"]);
    sandbox.kill_when_held("service.deploy:after");
    sandbox.start();
    let passed = reaches(&sandbox, "passed");
    sandbox.wait_text(host, "approved");
    let releases = sandbox.json(&["releases", "prod", "--all"]);
    assert_eq!(releases.as_array().map(Vec::len), Some(1), "{releases} {passed}");
    ends(&say(&sandbox, "anna", &["pipeline", "approve", "main", "--detach"]), 73, &["too late: it has finished"]);
}
