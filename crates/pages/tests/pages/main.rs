//! The page of a run, as a browser gets it. `cargo nextest run -p landfall-pages` leaves each page in the test directory of the target.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod browser;
mod example;

use example::{at, page, run, viewer};
use landfall_pages::Viewer;
use landfall_pipeline::{RunState, StageState, Via, Vote};

#[test]
fn a_run_that_asks_for_approval() {
    let html = page(&run(), &viewer("anna"));
    insta::assert_snapshot!(body(&html));
    assert_eq!(html.matches("<form method=\"post\" action=\"/pipelines/runs/run_1\">").count(), 1);
    for name in ["csrf", "fingerprint", "stage", "comment", "decision"] {
        assert!(html.contains(&format!("name=\"{name}\"")), "{name}");
    }
}

/// Without the style.
fn body(html: &str) -> String {
    let (before, rest) = html.split_once("<style>").unwrap();
    let (_, after) = rest.split_once("</style>").unwrap();
    format!("{before}{after}").lines().filter(|line| !line.trim().is_empty()).collect::<Vec<_>>().join("\n")
}

#[test]
fn only_who_may_decide_gets_a_form() {
    let no_form = |run: &landfall_pipeline::RunView, viewer: &Viewer, why: &str| {
        let html = page(run, viewer);
        assert!(!html.contains("<form") && html.contains(why), "{why}: {}", body(&html));
    };
    no_form(&run(), &viewer("eve"), "You are eve, and this is not yours to decide.");
    // Who began it is `github:carl`.
    no_form(&run(), &viewer("cli:carl"), "You have begun this run, so somebody else decides.");
    let other = Viewer { link: Some(("prod".to_owned(), "sha256:before".to_owned())), ..viewer("anna") };
    no_form(&run(), &other, "has changed since");
    let other = Viewer { link: Some(("staging".to_owned(), "sha256:shown".to_owned())), ..viewer("anna") };
    no_form(&run(), &other, "has changed since");
    let mut voted = run();
    let asked = voted.stages[2].approval.as_mut().unwrap().asked.as_mut().unwrap();
    asked.votes.push(Vote {
        by: "Anna".into(),
        via: Via::Link,
        at: at(3_000),
        comment: Some("<fine>".into()),
        nonce: None,
    });
    asked.missing = 1;
    no_form(&voted, &viewer("anna"), "You have approved this.");
    assert!(page(&voted, &viewer("ben")).contains("<q>&#60;fine&#62;</q>"));
    let link = Viewer { link: Some(("prod".to_owned(), "sha256:shown".to_owned())), ..viewer("anna") };
    assert!(page(&run(), &link).contains("<form"));
}

#[test]
fn every_state_has_a_word_beside_its_colour() {
    use RunState::*;
    for state in [
        Queued,
        Waiting,
        AwaitingApproval,
        Running,
        RollingBack,
        Passed,
        Failed,
        RolledBack,
        Rejected,
        Superseded,
        Cancelled,
    ] {
        let mut one = run();
        one.state = state;
        let html = page(&one, &viewer("anna"));
        assert!(html.contains(&format!(">{}</span>", state.word())), "{state:?}");
        assert_eq!(html.contains("<form"), state == AwaitingApproval, "{state:?}");
    }
    use StageState as S;
    for (state, word) in [
        (S::Ahead, "not reached"),
        (S::Waiting, "waiting"),
        (S::Entering, "entering"),
        (S::Running, "running"),
        (S::RollingBack, "rolling back"),
        (S::Passed, "passed"),
        (S::Failed, "failed"),
        (S::RolledBack, "rolled back"),
        (S::Rejected, "rejected"),
        (S::Superseded, "superseded"),
        (S::Cancelled, "cancelled"),
    ] {
        let mut one = run();
        one.stages[0].state = state;
        assert!(page(&one, &viewer("anna")).contains(&format!("<p class=\"word\">{word}")), "{state:?}");
    }
}

#[test]
fn hostile_texts_stay_texts() {
    let mut one = run();
    let evil = "\"><script>alert(1)</script><img src=x onerror=alert(1)>";
    one.message = evil.into();
    one.by = evil.into();
    one.release.branch = Some(evil.into());
    one.stages[0].environment = evil.into();
    one.stages[0].url = Some("javascript:alert(1)".into());
    one.stages[1].why = Some(evil.into());
    one.timeline[0].text = evil.into();
    let asked = one.stages[2].approval.as_mut().unwrap().asked.as_mut().unwrap();
    asked.shown.look_at = Some("javascript:alert(1)".into());
    asked.shown.changes = vec![evil.into()];
    asked.shown.from = Some(evil.into());
    asked.fingerprint = evil.into();
    let html = page(&one, &Viewer { csrf: evil.into(), ..viewer("anna") });
    assert!(!html.contains("<script") && !html.contains("<img") && !html.contains("javascript:"), "{}", body(&html));
}

/// Read by a person who looks at them, and by the test that opens them in Chromium.
#[test]
fn pages_are_left_for_a_browser() {
    let directory = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    for (name, html) in example::all() {
        assert!(html.starts_with("<!doctype html>\n<html lang=\"en\">"), "{name}");
        assert_eq!(html.matches("<h1>").count(), 1, "{name}");
        std::fs::write(directory.join(format!("page-{name}.html")), html).unwrap();
    }
}
