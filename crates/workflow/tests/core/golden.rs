//! Golden journals: plans and records as released versions wrote them, with the view they must still give. They replay for
//! ever; a failure here means that this version misreads what users have on disk.
//!
//! To add one: add a course to `courses` (or put the `plan` and `records` of a real execution into
//! `tests/golden/v<version>/<name>.json`), run the test once with `LANDFALL_GOLDEN=write`, read what it wrote, commit. It
//! writes only what is not there yet: files of a released version are never edited again, so a course that comes out
//! differently today goes under a new name or version. A view may gain fields; those it had must stay.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use landfall_workflow::event::ErrorClass;
use landfall_workflow::{Execution, FailurePolicy, Idempotency, Plan, Record, Signal, view};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::sim::{Sim, done, failed, id, pending, plan, recover, signal, step};

const VERSION: &str = "v0.1.0";

#[derive(Serialize, Deserialize)]
struct Golden {
    plan: Plan,
    records: Vec<Record>,
    #[serde(default)]
    view: Option<Value>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn files() -> Vec<PathBuf> {
    let entries = |dir: &Path| std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let dirs = entries(&root()).into_iter().filter(|path| path.is_dir());
    let mut files: Vec<PathBuf> = dirs.flat_map(|dir| entries(&dir)).collect();
    files.sort();
    files
}

#[test]
fn golden_journals_replay() {
    let write = std::env::var_os("LANDFALL_GOLDEN").is_some_and(|value| value == "write");
    if write {
        write_courses();
    }
    let files = files();
    assert!(files.len() >= 8, "{files:?}");
    for file in files {
        let name = file.display();
        let text = std::fs::read_to_string(&file).unwrap();
        let mut golden: Golden = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let execution = Execution::fold(&Arc::new(golden.plan.clone()), &id(), None, &golden.records)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let seen = serde_json::to_value(view(&execution)).unwrap();
        if golden.view.is_none() && write {
            // The text of a record that is not understood must survive, so the file is not rewritten from the records.
            let mut whole: Value = serde_json::from_str(&text).unwrap();
            whole["view"] = seen.clone();
            std::fs::write(&file, serde_json::to_string_pretty(&whole).unwrap() + "\n").unwrap();
            golden.view = Some(seen.clone());
        }
        still_says(&seen, golden.view.as_ref().expect("has a view"), &name.to_string());
    }
}

/// All that `before` says, `now` says too.
fn still_says(now: &Value, before: &Value, place: &str) {
    match (now, before) {
        (Value::Object(now), Value::Object(before)) => {
            for (key, value) in before {
                still_says(now.get(key).unwrap_or(&Value::Null), value, &format!("{place}.{key}"));
            }
        }
        (Value::Array(now), Value::Array(before)) if now.len() == before.len() => {
            now.iter()
                .zip(before)
                .enumerate()
                .for_each(|(n, (now, before))| still_says(now, before, &format!("{place}[{n}]")));
        }
        _ => assert_eq!(now, before, "{place}"),
    }
}

fn write_courses() {
    let dir = root().join(VERSION);
    std::fs::create_dir_all(&dir).unwrap();
    for (name, sim) in courses() {
        let file = dir.join(format!("{name}.json"));
        if file.exists() {
            continue;
        }
        let golden = Golden { plan: (*sim.plan).clone(), records: sim.records, view: None };
        let mut whole = serde_json::to_value(golden).unwrap();
        whole.as_object_mut().unwrap().remove("view");
        if name == "unknown_record" {
            let strange = json!({"at": "2026-01-01T00:00:01Z", "type": "teleported", "where": {"to": "mars"}});
            whole["records"].as_array_mut().unwrap().push(strange);
        }
        std::fs::write(file, serde_json::to_string_pretty(&whole).unwrap() + "\n").unwrap();
    }
}

fn three() -> Plan {
    let mut three = plan(vec![step("image", &[]), step("service", &["image"]), step("hook", &["service"])]);
    three.steps[1].params = json!({"service.deploy": {"image": {"$output": "image/image"}}});
    three.steps[2].idempotency = Idempotency::Unsafe;
    three.steps[2].on_failure = FailurePolicy::Pause;
    three
}

fn image() -> landfall_workflow::Report {
    landfall_workflow::Report::Done(json!({"image": "app@sha256:1", "url": "http://test123.localhost/"}))
}

fn until_hook() -> Sim {
    let mut sim = Sim::started(three());
    sim.report("image", image());
    sim.report("service", pending("deployment-1"));
    sim.fire("service");
    sim.report("service", done());
    sim
}

fn courses() -> Vec<(&'static str, Sim)> {
    let mut all = vec![("created", Sim::new(three())), ("unknown_record", until_hook())];

    let mut sim = until_hook();
    sim.report("hook", done());
    all.push(("succeeded", sim));

    let mut sim = Sim::started(three());
    sim.report("image", failed(ErrorClass::Retryable));
    sim.fire("image");
    sim.report("image", image());
    sim.crash();
    sim.input(recover()).unwrap();
    sim.report("service", pending("deployment-1"));
    all.push(("retried_and_taken_over", sim));

    let mut sim = until_hook();
    sim.report("hook", failed(ErrorClass::Fatal));
    sim.input(signal(Signal::Retry { step: "hook".into() })).unwrap();
    sim.report("hook", failed(ErrorClass::Fatal));
    sim.input(signal(Signal::Skip { step: "hook".into() })).unwrap();
    all.push(("paused_retried_skipped", sim));

    let mut sim = until_hook();
    sim.crash();
    sim.input(recover()).unwrap();
    all.push(("result_unknown", sim));

    let mut sim = until_hook();
    sim.input(signal(Signal::Abort)).unwrap();
    sim.report("hook", done());
    sim.report("hook", done());
    sim.report("service", pending("draining"));
    sim.fire("service");
    sim.report("service", done());
    sim.report("image", done());
    all.push(("aborted", sim));

    let mut sim = Sim::started(three());
    sim.report("image", image());
    sim.report("service", failed(ErrorClass::Fatal));
    sim.report("service", failed(ErrorClass::Fatal));
    sim.report("image", done());
    all.push(("rollback_failed", sim));

    let mut sim = until_hook();
    sim.input(signal(Signal::Supersede { by: "exe_2".to_owned() })).unwrap();
    sim.report("hook", done());
    all.push(("superseded", sim));

    let mut sim = Sim::started(three());
    sim.report("image", failed(ErrorClass::Stale));
    all.push(("needs_replan", sim));
    all
}
