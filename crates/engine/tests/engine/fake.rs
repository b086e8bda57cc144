//! A small world: named things that steps make and unmake, each step scripted by its own parameters.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use landfall_engine::{Engine, EngineConfig, NewPlan, RunEnd};
use landfall_model::ids::{ExecutionId, StepId};
use landfall_ports::journal::Journal;
use landfall_ports::steps::{Progress, StepContext, StepExecutor};
use landfall_testkit::TestClock;
use landfall_testkit::crash::{Process, World};
use landfall_workflow::event::{ErrorClass, StepError};
use landfall_workflow::{FailurePolicy, Idempotency, Plan, RetryPolicy, Step};
use serde_json::{Value, json};

/// What exists, and what was called, in order.
#[derive(Default)]
pub(crate) struct Things {
    /// By name, with the key that made it (for `token`) or `there`.
    pub(crate) made: BTreeMap<String, String>,
    /// `start a`, `poll a`, `undo a`.
    pub(crate) log: Vec<String>,
    /// Failures and polls still to be given, by `step:phase`.
    left: BTreeMap<String, u64>,
    /// Calls under way now, and the most there were.
    pub(crate) running: u32,
    pub(crate) most_running: u32,
    /// Keys seen by start, per step.
    pub(crate) keys: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Clone, Default)]
pub(crate) struct FakeWorld(pub(crate) Arc<Mutex<Things>>);

impl FakeWorld {
    pub(crate) fn things(&self) -> std::sync::MutexGuard<'_, Things> {
        self.0.lock().unwrap()
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.things().log.clone()
    }

    /// Counts down from the script's number.
    fn takes(&self, step: &StepId, what: &str, script: &Value) -> bool {
        let mut things = self.things();
        let left = things.left.entry(format!("{step}:{what}")).or_insert_with(|| script[what].as_u64().unwrap_or(0));
        let some = *left > 0;
        *left = left.saturating_sub(1);
        some
    }

    async fn busy(&self, script: &Value) {
        {
            let mut things = self.things();
            things.running += 1;
            things.most_running = things.most_running.max(things.running);
        }
        let _guard = Leave(self.clone());
        tokio::time::sleep(Duration::from_millis(script["call_ms"].as_u64().unwrap_or(1))).await;
    }
}

struct Leave(FakeWorld);

impl Drop for Leave {
    fn drop(&mut self) {
        self.0.things().running -= 1;
    }
}

impl World for FakeWorld {
    fn steps(&self) -> Arc<dyn StepExecutor> {
        Arc::new(self.clone())
    }

    fn picture(&self) -> String {
        format!("{:?}", self.things().made.keys().collect::<Vec<_>>())
    }
}

fn error(class: ErrorClass, message: &str) -> StepError {
    StepError { class, code: "LF-FAKE".to_owned(), message: message.to_owned(), detail: None, retry_after_ms: None }
}

/// Parameters: `{"fake": {pending, retryable, fatal, stale, panic, hang, undo_retryable, undo_fatal, undo_pending, unmake}}`.
#[async_trait]
impl StepExecutor for FakeWorld {
    async fn start(&self, cx: &StepContext, params: &Value) -> Result<Progress, StepError> {
        let script = &params["fake"];
        let name = cx.step.to_string();
        {
            let mut things = self.things();
            things.log.push(format!("start {name}"));
            things.keys.entry(name.clone()).or_default().insert(cx.key.to_string());
        }
        self.busy(script).await;
        if self.takes(&cx.step, "retryable", script) {
            return Err(error(ErrorClass::Retryable, "not yet"));
        }
        if self.takes(&cx.step, "throttled", script) {
            return Err(StepError { retry_after_ms: Some(5_000), ..error(ErrorClass::Throttled, "slow down") });
        }
        if script["unmake"].is_string() {
            self.things().made.remove(script["unmake"].as_str().unwrap());
        } else {
            // A counter shows whether an effect that cannot be repeated was.
            let mut things = self.things();
            if script["count"].as_bool() == Some(true) {
                let n = (0..).find(|n| !things.made.contains_key(&format!("{name}#{n}"))).unwrap();
                things.made.insert(format!("{name}#{n}"), cx.key.to_string());
            } else {
                things.made.entry(name.clone()).or_insert(cx.key.to_string());
            }
        }
        if script["panic"].as_bool() == Some(true) {
            panic!("scripted panic");
        }
        if self.takes(&cx.step, "hang", script) {
            std::future::pending::<()>().await;
        }
        if self.takes(&cx.step, "fatal", script) {
            return Err(error(ErrorClass::Fatal, "broken"));
        }
        if self.takes(&cx.step, "stale", script) {
            return Err(error(ErrorClass::Stale, "the choice is gone"));
        }
        if script["pending"].as_u64().unwrap_or(0) > 0 {
            return Ok(pending(script));
        }
        Ok(Progress::Done(json!({"name": name, "url": format!("http://{name}/")})))
    }

    async fn poll(&self, cx: &StepContext, params: &Value, token: &Value) -> Result<Progress, StepError> {
        let script = &params["fake"];
        assert_eq!(token, &json!("token"));
        self.things().log.push(format!("poll {}", cx.step));
        self.busy(script).await;
        if self.takes(&cx.step, "poll_retryable", script) {
            return Err(error(ErrorClass::Retryable, "cannot look"));
        }
        if self.takes(&cx.step, "pending", script) {
            return Ok(pending(script));
        }
        if self.takes(&cx.step, "poll_fatal", script) {
            return Err(error(ErrorClass::Fatal, "broke while waiting"));
        }
        Ok(Progress::Done(json!({"name": cx.step.to_string()})))
    }

    async fn undo(
        &self,
        cx: &StepContext,
        params: &Value,
        _output: Option<&Value>,
        token: Option<&Value>,
    ) -> Result<Progress, StepError> {
        let script = &params["fake"];
        self.things().log.push(format!("undo {}", cx.step));
        self.busy(script).await;
        if self.takes(&cx.step, "undo_retryable", script) {
            return Err(error(ErrorClass::Retryable, "not yet undone"));
        }
        if script["undo_fatal"].as_bool() == Some(true) {
            return Err(error(ErrorClass::Fatal, "cannot be undone"));
        }
        self.things().made.remove(cx.step.as_str());
        // The first call has the step's own token, if that never finished.
        if token != Some(&json!("undo token")) && script["undo_pending"].as_u64().unwrap_or(0) > 0 {
            let Progress::Pending { poll_after_ms, note, .. } = pending(script) else { unreachable!() };
            return Ok(Progress::Pending { token: json!("undo token"), poll_after_ms, note });
        }
        Ok(Progress::Done(Value::Null))
    }
}

fn pending(script: &Value) -> Progress {
    Progress::Pending {
        token: json!("token"),
        poll_after_ms: script["poll_after_ms"].as_u64().unwrap_or(100),
        note: Some("waiting".to_owned()),
    }
}

pub(crate) fn step(id: &str, needs: &[&str], script: Value) -> Step {
    Step {
        id: StepId::from(id),
        title: format!("Make {id}"),
        needs: needs.iter().map(|need| StepId::from(*need)).collect(),
        params: json!({"fake": script}),
        retry: RetryPolicy { attempts: 3, initial_ms: 100, max_ms: 1000 },
        timeout_ms: 60_000,
        idempotency: Idempotency::Natural,
        on_failure: FailurePolicy::Unwind,
        undo: true,
    }
}

pub(crate) fn plan(steps: Vec<Step>) -> Plan {
    Plan {
        schema: 1,
        kind: "preview.create".to_owned(),
        environment: "my-project-test123".into(),
        generation: 1,
        parent: None,
        title: "Create preview my-project-test123".to_owned(),
        steps,
        max_parallel: 4,
        last_try: false,
        quiet: false,
        again: false,
        fallback: Default::default(),
    }
}

/// A diamond with a tail: one of everything.
pub(crate) fn diamond() -> Plan {
    plan(vec![
        step("image", &[], json!({"pending": 2})),
        step("group", &[], json!({"retryable": 1})),
        step("definition", &["image"], json!({"of": {"$output": "image/name"}})),
        step("service", &["definition", "group"], json!({"pending": 3, "undo_pending": 1})),
        step("route", &["service"], json!({"undo_retryable": 1})),
    ])
}

pub(crate) fn config(owner: &str) -> EngineConfig {
    EngineConfig::new(owner)
}

pub(crate) fn engine_on(owner: &str, journal: Arc<dyn Journal>, steps: Arc<dyn StepExecutor>) -> Engine {
    Engine::new(config(owner), journal, steps, Arc::new(TestClock::seeded(7)))
}

pub(crate) async fn submit(engine: &Engine, key: &str, plan: Plan) -> ExecutionId {
    let new = NewPlan { id: None, dedup_key: key.to_owned(), plan, intent: "delivery-1".to_owned(), notices: vec![] };
    engine.submit(new).await.unwrap().id
}

/// One process of the crash matrix.
pub(crate) async fn run(process: Process) {
    let engine = engine_on("process", process.journal, process.steps);
    let new = NewPlan {
        id: None,
        dedup_key: "one".to_owned(),
        plan: process.plan,
        intent: "delivery-1".to_owned(),
        notices: vec![],
    };
    let Ok(submitted) = engine.submit(new).await else { return std::future::pending().await };
    // A dead journal has no end to tell.
    let _: Option<RunEnd> = engine.run_to_end(&submitted.id).await.ok();
}
