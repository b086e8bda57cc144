//! The pipeline of examples/pipeline, whole: the demonstration with the real binary and real containers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::Sandbox;
use common::running::Running;

#[test]
fn one_release_goes_from_dev_to_prod_and_nothing_is_left() {
    let outside = Sandbox::new();
    let temporary = outside.directory.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let mut command = outside.command(&["demo", "pipeline", "--timeout", "60"]);
    command.env("TMPDIR", &temporary);
    let mut demo = Running::start(command, &outside.directory.path().join("demo.log"));
    let status = demo.wait(Duration::from_secs(180));
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
