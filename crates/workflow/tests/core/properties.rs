//! Properties: no input or record sequence panics; what `handle` chooses the fold accepts, in one piece or with a snapshot in
//! the middle; every run comes to rest.

use landfall_model::ids::StepId;
use landfall_workflow::event::ErrorClass;
use landfall_workflow::{
    Event, Execution, FailurePolicy, Idempotency, Input, Outcome, Plan, Record, Rejected, Report, Signal, Step, view,
};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;

use crate::sim::{Sim, at, done, error, failed, id, pending, plan, recover, signal, start, step};

fn plans() -> impl Strategy<Value = Plan> {
    let policy = prop_oneof![
            4 => Just(FailurePolicy::Unwind),
            1 => Just(FailurePolicy::Pause),
            1 => Just(FailurePolicy::FailForward),
            1 => Just(FailurePolicy::Warn),
    ];
    let idempotency = prop_oneof![3 => Just(Idempotency::Natural), 1 => Just(Idempotency::Unsafe),
    ];
    let steps = prop::collection::vec((policy, idempotency, any::<u32>(), prop::bool::weighted(0.8)), 1..7);
    (steps, 1u32..4).prop_map(|(kinds, max_parallel)| {
        let steps = kinds.into_iter().enumerate().map(|(n, (on_failure, idempotency, needs, undo))| {
            let needs: Vec<String> = (0..n).filter(|i| needs >> i & 1 == 1).map(|i| format!("s{i}")).collect();
            let needs: Vec<&str> = needs.iter().map(String::as_str).collect();
            Step { on_failure, idempotency, undo, ..step(&format!("s{n}"), &needs) }
        });
        Plan { max_parallel, ..plan(steps.collect()) }
    })
}

/// What happens next, picked among what can.
#[derive(Debug, Clone)]
enum Move {
    Report(Index, Report),
    Fire(Index),
    Signal(Signal),
    Crash,
    Clock(i64),
}

fn moves() -> impl Strategy<Value = Move> {
    let report = prop_oneof![
            6 => Just(done()),
            3 => "[a-c]".prop_map(|token| pending(&token)),
            2 => Just(failed(ErrorClass::Retryable)),
            1 => Just(failed(ErrorClass::Throttled)),
            1 => Just(failed(ErrorClass::Fatal)),
            1 => Just(failed(ErrorClass::Stale)),
            1 => Just(Report::Unknown(error(ErrorClass::Retryable))),
    ];
    prop_oneof![
            10 => (any::<Index>(), report).prop_map(|(index, report)| Move::Report(index, report)),
            6 => any::<Index>().prop_map(Move::Fire),
            1 => signals().prop_map(Move::Signal),
            1 => Just(Move::Crash),
            1 => (-100_000_000i64..100_000_000).prop_map(Move::Clock),
    ]
}

fn step_ids() -> impl Strategy<Value = StepId> {
    (0..7).prop_map(|n| StepId(format!("s{n}")))
}

fn signals() -> impl Strategy<Value = Signal> {
    prop_oneof![
            1 => Just(Signal::Abort),
            1 => Just(Signal::Supersede { by: "exe_2".to_owned() }),
            3 => step_ids().prop_map(|step| Signal::Retry { step }),
            2 => step_ids().prop_map(|step| Signal::Skip { step }),
            1 => Just(Signal::Resume),
            1 => step_ids().prop_map(|step| Signal::Approve { step, by: "ada".to_owned() }),
    ]
}

fn make(sim: &mut Sim, next: &Move) {
    match next {
        Move::Report(index, report) if !sim.calls.is_empty() => {
            sim.report_at(index.index(sim.calls.len()), report.clone());
        }
        Move::Fire(index) if !sim.waits.is_empty() => {
            let step = sim.waits.keys().nth(index.index(sim.waits.len())).unwrap().to_string();
            sim.fire(&step);
        }
        Move::Signal(what) => {
            sim.input(signal(what.clone())).unwrap();
        }
        Move::Crash => {
            sim.crash();
            sim.input(recover()).unwrap();
        }
        Move::Clock(ms) => sim.now_ms += ms,
        Move::Report(..) | Move::Fire(_) => {}
    }
}

/// Everything that is left goes well.
fn settle(sim: &mut Sim) {
    for _ in 0..1000 {
        if sim.execution.outcome().is_some() {
            return;
        }
        if !sim.calls.is_empty() {
            sim.report_at(0, done());
        } else if let Some(step) = sim.waits.keys().next().map(ToString::to_string) {
            sim.fire(&step);
        } else {
            return;
        }
    }
    panic!("does not come to rest: {:?}", sim.events());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// `Sim::input` itself asserts that handle is deterministic and that the table accepts what it chooses.
    #[test]
    fn any_course_of_events_comes_to_rest(plan in plans(), course in prop::collection::vec(moves(), 0..60)) {
        let mut sim = Sim::started(plan);
        for next in &course {
            if sim.execution.outcome().is_some() {
                break;
            }
            make(&mut sim, next);
        }
        settle(&mut sim);
        let seen = view(&sim.execution);
        prop_assert!(seen.outcome.is_some() || seen.pause.is_some(), "{:?}", sim.events());
        prop_assert_eq!(&view(&sim.refold()), &seen);
        match seen.outcome {
            Some(Outcome::RolledBack | Outcome::Aborted) => prop_assert!(seen.residue.is_empty()),
            Some(Outcome::RollbackFailed) => prop_assert!(!seen.residue.is_empty()),
            _ => {}
        }
        // A notice is told once.
        let mut keys: Vec<&str> = sim.notices.iter().map(|notice| notice.key.as_str()).collect();
        keys.sort_unstable();
        keys.dedup();
        prop_assert_eq!(sim.notices.len(), keys.len());
    }

    #[test]
    fn a_snapshot_and_the_tail_are_the_whole(plan in plans(), course in prop::collection::vec(moves(), 0..40), cut: Index) {
        let mut sim = Sim::started(plan);
        for next in &course {
            if sim.execution.outcome().is_some() {
                break;
            }
            make(&mut sim, next);
        }
        let cut = cut.index(sim.records.len() + 1);
        let head = Execution::fold(&sim.plan, &id(), None, &sim.records[..cut]).unwrap();
        let snapshot = head.to_snapshot().unwrap();
        let text = serde_json::to_string(&snapshot).unwrap();
        let snapshot = serde_json::from_str(&text).unwrap();
        let whole = Execution::fold(&sim.plan, &id(), Some(&snapshot), &sim.records[cut..]).unwrap();
        prop_assert_eq!(whole.to_snapshot().unwrap(), sim.execution.to_snapshot().unwrap());
        prop_assert_eq!(whole.version(), sim.records.len() as u64);
    }

    /// Records in any order, of any steps: an execution or an error, never a panic. And no input panics on what comes out.
    #[test]
    fn fold_never_panics(plan in plans(), events in prop::collection::vec(events(), 0..30), input in inputs()) {
        let created = Event::Created { plan: "x".to_owned(), intent: "y".to_owned() };
        let mut sim = Sim::new(plan);
        sim.records[0].event = created;
        for event in events {
            sim.records.push(Record { at: at(0), event });
            if Execution::fold(&sim.plan, &id(), None, &sim.records).is_err() {
                sim.records.pop();
            }
        }
        sim.execution = sim.refold();
        if let Err(Rejected::Bug(why)) = sim.input(input) {
            prop_assert!(false, "{why}: {:?}", sim.records);
        }
    }
}

fn events() -> impl Strategy<Value = Event> {
    let step = step_ids;
    let retry = || prop::option::of(0u64..5000);
    let class = prop_oneof![
        Just(ErrorClass::Retryable),
        Just(ErrorClass::Throttled),
        Just(ErrorClass::Fatal),
        Just(ErrorClass::Stale)
    ];
    let key = |step: &StepId| landfall_workflow::event::idempotency_key(&id(), step, 1);
    prop_oneof![
            1 => Just(Event::LeaseTaken { owner: "one".to_owned(), epoch: 1 }),
            4 => (step(), 1u32..4).prop_map(move |(step, attempt)| {
                let key = key(&step);
                Event::StepStarted { step, attempt, key }
            }),
            1 => step().prop_map(|step| Event::StepPending { step, token: json!("t"), poll_after_ms: 10, note: None }),
            3 => step().prop_map(|step| Event::StepSucceeded { step, output: json!({}) }),
            2 => (step(), class.clone(), retry()).prop_map(|(step, class, retry_in_ms)| Event::StepFailed {
                step,
                attempt: 1,
                error: error(class),
                retry_in_ms
            }),
            1 => step().prop_map(|step| Event::StepSkipped { step, by: "ada".to_owned() }),
            1 => Just(Event::UnwindStarted { cause: "x".to_owned() }),
            3 => (step(), 1u32..4).prop_map(move |(step, attempt)| {
                let key = key(&step);
                Event::UndoStarted { step, attempt, key }
            }),
            1 => step().prop_map(|step| Event::UndoPending { step, token: json!("t"), poll_after_ms: 10 }),
            2 => step().prop_map(|step| Event::UndoFinished { step }),
            1 => (step(), class, retry()).prop_map(|(step, class, retry_in_ms)| Event::UndoFailed {
                step,
                attempt: 1,
                error: error(class),
                retry_in_ms
            }),
            1 => prop::option::of(step()).prop_map(|step| Event::Paused { step, reason: "x".to_owned() }),
            1 => Just(Event::Resumed { by: "ada".to_owned() }),
            2 => signals().prop_map(|signal| Event::SignalReceived { who: "ada".to_owned(), signal }),
            1 => Just(Event::Finished { outcome: Outcome::Failed, message: "x".to_owned() }),
            1 => Just(Event::Unknown),
    ]
}

fn inputs() -> impl Strategy<Value = Input> {
    let report = || prop_oneof![Just(done()), Just(pending("t")), Just(failed(ErrorClass::Retryable))];
    prop_oneof![
            1 => Just(start()),
            4 => Just(recover()),
            1 => (step_ids(), 0u32..4, report()).prop_map(|(step, attempt, report)| Input::StepReported { step, attempt, report }),
            1 => (step_ids(), 0u32..4, report()).prop_map(|(step, attempt, report)| Input::UndoReported { step, attempt, report }),
            1 => step_ids().prop_map(|step| Input::TimerFired { step }),
            1 => signals().prop_map(signal),
    ]
}
