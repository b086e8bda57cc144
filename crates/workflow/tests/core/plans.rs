//! Plan helpers.

use serde_json::json;

use crate::sim::{plan, step};

#[test]
fn the_digest_is_of_sorted_bytes_and_stable() {
    let mut one = plan(vec![step("a", &[])]);
    one.steps[0].params = serde_json::from_str(r#"{"fake": {"b": 1, "a": {"d": [], "c": null}}}"#).unwrap();
    let bytes = one.canonical_bytes().unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert!(
        text.starts_with(r#"{"environment":"my-project-test123","generation":1,"kind":"preview.create","#),
        "{text}"
    );
    assert!(text.contains(r#""params":{"fake":{"a":{"c":null,"d":[]},"b":1}}"#), "{text}");
    let back: landfall_workflow::Plan = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(back, one);
    assert_eq!(back.digest().unwrap(), one.digest().unwrap());
    assert_eq!(one.digest().unwrap().as_str().len(), 64);
}

#[test]
fn every_defect_of_a_plan_is_named() {
    let mut bad = plan(vec![step("a", &["ghost"]), step("a", &[])]);
    bad.max_parallel = 0;
    bad.steps[1].retry.attempts = 0;
    bad.steps[1].params = json!(null);
    let problems = bad.validate().unwrap_err().problems;
    assert_eq!(
        problems,
        [
            "max_parallel is 0",
            "step a needs ghost, which is not in the plan",
            "step a is there twice",
            "step a has no attempts",
            "step a has no kind",
        ]
    );
}

#[test]
fn circles_and_strange_references_are_refused() {
    let circle = plan(vec![step("a", &["b"]), step("b", &["a"])]);
    assert_eq!(circle.validate().unwrap_err().to_string(), "the steps need each other in a circle");

    let mut stranger = plan(vec![step("a", &[]), step("b", &["a"]), step("c", &["b"]), step("d", &[])]);
    stranger.steps[2].params = json!({"fake": {"x": {"$output": "a/name"}}});
    assert_eq!(stranger.validate(), Ok(()));
    stranger.steps[3].params = json!({"fake": {"x": {"$output": "a/name"}, "y": {"$output": "nothing"}}});
    let problems = stranger.validate().unwrap_err().problems;
    assert_eq!(
        problems,
        ["step d uses an output of a, which it does not need", r#"step d: "nothing" is not step/field"#]
    );
}

#[test]
fn the_order_puts_needs_first_and_else_keeps_the_plans() {
    let plan = plan(vec![step("d", &["b", "c"]), step("a", &[]), step("c", &["a"]), step("b", &["a"])]);
    assert_eq!(plan.order().unwrap(), [1, 2, 3, 0]);
}
