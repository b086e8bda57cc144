//! A driver without time or I/O: it answers calls from a script and keeps the records.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use landfall_model::Timestamp;
use landfall_model::ids::{ExecutionId, StepId};
use landfall_workflow::event::{ErrorClass, StepError};
use landfall_workflow::{
    Action, Context, Event, Execution, FailurePolicy, Idempotency, Input, NoticeDraft, Plan, Record, Rejected, Report,
    RetryPolicy, Signal, Step, Transition,
};
use serde_json::{Value, json};

pub(crate) fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(1_767_225_600_000 + ms).unwrap()
}

pub(crate) fn step(id: &str, needs: &[&str]) -> Step {
    Step {
        id: id.into(),
        title: format!("Make {id}"),
        needs: needs.iter().map(|need| StepId::from(*need)).collect(),
        params: json!({"fake": {}}),
        retry: RetryPolicy { attempts: 3, initial_ms: 1000, max_ms: 60_000 },
        timeout_ms: 600_000,
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

pub(crate) fn error(class: ErrorClass) -> StepError {
    StepError { class, code: "LF-FAKE".to_owned(), message: "broken".to_owned(), detail: None, retry_after_ms: None }
}

pub(crate) fn id() -> ExecutionId {
    "exe_1".into()
}

pub(crate) fn start() -> Input {
    Input::Start { owner: "one".to_owned(), epoch: 1 }
}

pub(crate) fn recover() -> Input {
    Input::Recover { owner: "two".to_owned(), epoch: 2 }
}

pub(crate) fn signal(signal: Signal) -> Input {
    Input::Signal { who: "cli:ada".to_owned(), signal }
}

/// An execution in the hands of a test.
pub(crate) struct Sim {
    pub(crate) plan: Arc<Plan>,
    pub(crate) execution: Execution,
    pub(crate) records: Vec<Record>,
    pub(crate) notices: Vec<NoticeDraft>,
    pub(crate) now_ms: i64,
    pub(crate) entropy: u64,
    /// Calls begun and not reported, oldest first.
    pub(crate) calls: VecDeque<(StepId, u32, bool)>,
    pub(crate) waits: BTreeMap<StepId, u64>,
}

impl Sim {
    pub(crate) fn new(plan: Plan) -> Self {
        let plan = Arc::new(plan);
        let created = Event::Created { plan: plan.digest().unwrap().to_string(), intent: "delivery-1".to_owned() };
        let records = vec![Record { at: at(0), event: created }];
        let execution = Execution::fold(&plan, &id(), None, &records).unwrap();
        Self {
            plan,
            execution,
            records,
            notices: vec![],
            now_ms: 0,
            entropy: 0,
            calls: VecDeque::new(),
            waits: BTreeMap::new(),
        }
    }

    pub(crate) fn started(plan: Plan) -> Self {
        let mut sim = Self::new(plan);
        sim.input(start()).unwrap();
        sim
    }

    pub(crate) fn refold(&self) -> Execution {
        Execution::fold(&self.plan, &id(), None, &self.records).unwrap()
    }

    /// The process died: calls and timers are gone, the records are not.
    pub(crate) fn crash(&mut self) {
        self.execution = self.refold();
        self.calls.clear();
        self.waits.clear();
    }

    pub(crate) fn input(&mut self, input: Input) -> Result<Transition, Rejected> {
        self.entropy = self.entropy.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let in_flight: BTreeSet<StepId> = self.calls.iter().map(|(step, ..)| step.clone()).collect();
        let cx = Context { now: at(self.now_ms), entropy: self.entropy, in_flight: &in_flight, draining: false };
        let transition = self.execution.handle(cx, input.clone())?;
        assert_eq!(self.execution.handle(cx, input).as_ref(), Ok(&transition), "handle is deterministic");
        for event in &transition.append {
            let record = Record { at: at(self.now_ms), event: event.clone() };
            self.execution.apply(record.at, event).expect("what handle chooses the table accepts");
            self.records.push(record);
        }
        self.notices.extend(transition.notices.iter().cloned());
        for action in &transition.actions {
            match action {
                Action::Run(call) | Action::Poll { call, .. } => self.begin(&call.step, call.attempt, false),
                Action::Undo { call, .. } => self.begin(&call.step, call.attempt, true),
                Action::Wait { step, ms } => {
                    self.waits.insert(step.clone(), *ms);
                }
                Action::Finish { .. } => self.waits.clear(),
            }
        }
        Ok(transition)
    }

    fn begin(&mut self, step: &StepId, attempt: u32, undo: bool) {
        assert!(!self.calls.iter().any(|(other, ..)| other == step), "two calls for {step} at once");
        self.waits.remove(step);
        self.calls.push_back((step.clone(), attempt, undo));
    }

    /// Reports the call of this step.
    pub(crate) fn report(&mut self, step: &str, report: Report) -> Transition {
        let index = self.calls.iter().position(|(id, ..)| id.as_str() == step).expect("a call is under way");
        self.report_at(index, report)
    }

    pub(crate) fn report_at(&mut self, index: usize, report: Report) -> Transition {
        let (step, attempt, undo) = self.calls.remove(index).unwrap();
        let input = match undo {
            true => Input::UndoReported { step, attempt, report },
            false => Input::StepReported { step, attempt, report },
        };
        self.input(input).unwrap()
    }

    pub(crate) fn fire(&mut self, step: &str) -> Transition {
        let ms = self.waits.remove(&StepId::from(step)).expect("a wait is set");
        self.now_ms += i64::try_from(ms).unwrap();
        self.input(Input::TimerFired { step: step.into() }).unwrap()
    }

    pub(crate) fn events(&self) -> Vec<&'static str> {
        self.records.iter().map(|record| record.event.name()).collect()
    }
}

pub(crate) fn done() -> Report {
    Report::Done(json!({}))
}

pub(crate) fn pending(token: &str) -> Report {
    Report::Pending { token: Value::from(token), poll_after_ms: 2000, note: None }
}

pub(crate) fn failed(class: ErrorClass) -> Report {
    Report::Failed(error(class))
}
