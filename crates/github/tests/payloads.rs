//! Deliveries in GitHub's shapes, and what Landfall makes of them.
#![allow(clippy::unwrap_used)]

use landfall_github::{ParseError, parse};
use landfall_model::event::{ForgeEvent, ForgeEventKind, PullRequestAction};
use landfall_model::ids::DeliveryId;
use proptest::prelude::*;

const COMMIT: &str = "1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d";

fn read(event: &str, file: &str) -> ForgeEvent {
    let body = std::fs::read(format!("{}/tests/payloads/{file}.json", env!("CARGO_MANIFEST_DIR"))).unwrap();
    parse(&"d-1".into(), event, "application/json", &body).unwrap()
}

#[test]
fn branches() {
    let created = read("create", "create_branch");
    assert_eq!(created.kind, ForgeEventKind::BranchCreated { branch: "feature/test123".into() });
    assert_eq!(created.repository.id, Some(1_296_269));
    assert_eq!(created.repository.name, "my-project");
    assert_eq!(created.repository.full_name.as_deref(), Some("acme/my-project"));
    assert_eq!(created.repository.pushed_at.unwrap().to_string(), "2026-11-21T09:00:00Z");
    assert_eq!(created.sender.as_deref(), Some("octocat"));
    assert_eq!(
        read("delete", "delete_branch").kind,
        ForgeEventKind::BranchDeleted { branch: "feature/test123".into() }
    );
    assert_eq!(read("create", "create_tag").kind, ForgeEventKind::Ignored { what: "create of a tag".into() });
}

#[test]
fn pushes() {
    let pushed = read("push", "push");
    assert_eq!(pushed.kind, ForgeEventKind::Pushed { branch: "feature/test123".into(), commit: COMMIT.into() });
    assert_eq!(pushed.repository.pushed_at.unwrap().as_second(), 1_795_252_200, "pushed_at is a number in push events");
    assert_eq!(read("push", "push_deleted").kind, ForgeEventKind::BranchDeleted { branch: "feature/test123".into() });
}

#[test]
fn pull_requests() {
    let kind = |file| match read("pull_request", file).kind {
        ForgeEventKind::PullRequest { action, number: 42, head_branch, head_commit, fork } => {
            assert_eq!((head_branch.as_str(), head_commit.as_str()), ("feature/test123", COMMIT));
            (action, fork)
        }
        other => unreachable!("{other:?}"),
    };
    assert_eq!(kind("pull_request_opened"), (PullRequestAction::Present, false));
    assert_eq!(kind("pull_request_fork"), (PullRequestAction::Present, true));
    assert_eq!(
        kind("pull_request_deleted_fork"),
        (PullRequestAction::Closed, true),
        "a vanished head is never trusted"
    );
}

#[test]
fn ping_and_the_unknown() {
    assert_eq!(read("ping", "ping").kind, ForgeEventKind::Ping);
    assert_eq!(read("star", "ping").kind, ForgeEventKind::Ignored { what: "event star".into() });
}

#[test]
fn form_bodies() {
    let body = b"payload=%7B%22ref%22%3A%22feature%2Fa+b%22%2C%22ref_type%22%3A%22branch%22%2C%22repository%22%3A%7B%22name%22%3A%22p%22%7D%7D";
    let event = parse(&"d".into(), "create", "application/x-www-form-urlencoded; charset=utf-8", body).unwrap();
    assert_eq!(event.kind, ForgeEventKind::BranchCreated { branch: "feature/a b".into() });
    let none = parse(&"d".into(), "create", "application/x-www-form-urlencoded", b"other=1");
    assert_eq!(none, Err(ParseError::NoPayload));
}

#[test]
fn bad_bodies_say_what_is_wrong() {
    let of = |event: &str, body: &[u8]| parse(&"d".into(), event, "application/json", body).unwrap_err().to_string();
    assert_eq!(of("create", b"\xff\xfe"), "the body is not UTF-8");
    assert!(
        of("create", b"{\"ref\": \"feature/x\", ").contains("EOF while parsing"),
        "{}",
        of("create", b"{\"ref\": \"feature/x\", ")
    );
    assert!(of("create", b"{\"ref_type\":\"branch\"}").contains("`ref` is missing"));
    assert!(of("create", br#"{"ref":"x","ref_type":"branch"}"#).contains("`repository` is missing"));
    assert!(
        of("push", br#"{"ref":"refs/heads/x","after":"--upload-pack=x","repository":{"name":"p"}}"#)
            .contains("commit id")
    );
    let xml = parse(&"d".into(), "create", "text/xml", b"<x/>").unwrap_err();
    assert!(xml.to_string().contains("application/json"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_panics(event in "create|delete|push|pull_request|ping|.{0,8}", body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&DeliveryId::new("d"), &event, "application/json", &body);
        let _ = parse(&DeliveryId::new("d"), &event, "application/x-www-form-urlencoded", &body);
    }

    #[test]
    fn mutated_payloads_never_panic(cut in 0usize..4000, flip in any::<u8>(), file in "push|pull_request_fork|create_branch") {
        let mut body = std::fs::read(format!("{}/tests/payloads/{file}.json", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let at = cut % body.len();
        body[at] = flip;
        let _ = parse(&DeliveryId::new("d"), file.split("_fork").next().unwrap_or_default(), "application/json", &body);
        body.truncate(at);
        prop_assert!(parse(&DeliveryId::new("d"), "push", "application/json", &body).is_err());
    }
}
