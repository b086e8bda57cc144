//! The page of a run, as people use it: real Chromium clicks through what the real binary serves, over two stacks on ministack
//! (`tests/aws/click.py`). Screenshots: `click-through` in the target's test directory.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use landfall_testkit::emulator::program;

use super::{COMMITS, Place};
use crate::common::{ends, eventually, text};

const PIPELINES: &str = r#"pipelines:
  main:
    stages:
      - { environment: dev, run: [{ stack: {} }] }
      - { environment: prod, run: [{ stack: {} }], approval: { by: [anna], deadline: 72h } }
"#;
const LIMIT: Duration = Duration::from_secs(60);

struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_run_is_approved_and_rejected_on_its_page() {
    let place = Place::ministack(&[]);
    place.manifest("", "      network: { new: { nat: none } }\n", PIPELINES);
    place.ask(&["push", "shop", COMMITS[0], COMMITS[1]]);
    let port = landfall_testkit::ports::port();
    let mut serve = place.command_as("ben", &["serve", "--listen", &format!("127.0.0.1:{port}")]);
    serve.env("LANDFALL_WEBHOOK_SECRET", "a secret of the tests").stdout(Stdio::null()).stderr(Stdio::null());
    let _served = Served(serve.spawn().unwrap());
    eventually("it listens", LIMIT, || {
        std::net::TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())
    });

    let show = || place.json(&["pipeline", "show", "main"], 0);
    let reaches = |state: &str| {
        eventually(state, LIMIT, || {
            let run = show();
            if run["state"] == state { Ok(run) } else { Err(run.to_string()) }
        })
    };
    let asked = |commit: &str| {
        place.ends(&["pipeline", "run", "main", "--commit", commit, "--detach"], 0, &[]);
        reaches("awaiting_approval");
        // For who asks.
        ends(&place.run_as("anna", &["pipeline", "open", "main"]), 0, &[]).trim().to_owned()
    };
    let clicks = |what: &str, address: &str| {
        let output = Command::new(program("playwright", "python"))
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/aws/click.py"))
            .args([what, address])
            .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("click-through"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{what}: {}", text(&output.stderr));
    };
    let said = |run: &serde_json::Value, what: &str| {
        let all = run["timeline"].as_array().unwrap().iter();
        all.filter(|moment| moment["text"].as_str().unwrap().contains(what)).count()
    };

    clicks("approve", &asked(COMMITS[0]));
    let run = reaches("passed");
    assert_eq!(said(&run, "anna: looked at dev"), 1, "{run}");
    assert_eq!(place.look("prod")["protected"], true);

    clicks("reject", &asked(COMMITS[1]));
    let run = reaches("rejected");
    assert_eq!(said(&run, "anna: not on a Friday"), 1, "{run}");
    let id = run["id"].as_str().unwrap();
    clicks("refused", &format!("http://127.0.0.1:{port}/pipelines/runs/{id}?token=forged"));
}
