//! The crash matrix: every shipped plan shape goes through it.
//!
//! For one plan and one kind of world it checks that
//! - a failure at each step, before and after its effect and after that of its first poll, ends in the world of before, in a declared residue, or where the
//!   plan's own policy says that it stays;
//! - each call made twice gives the same world as once;
//! - a death after the k-th commit, for every k, and after each effect before its record, followed by another process that
//!   finishes, gives the same world and the same set of notices by id. Both also for the unwind after a failure.
//!
//! The harness knows no engine: `run` opens one on the journal and the executor it is given, submits the plan under a fixed
//! dedup key, and returns when the execution has come to rest. It is dropped where the process dies, and with it all that it
//! has spawned must end. Use it under tokio's paused clock, so that waits cost nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use landfall_ports::journal::Journal;
use landfall_ports::steps::StepExecutor;
use landfall_workflow::{Execution, ExecutionState, ExecutionView, Idempotency, Outcome, Plan, codes, view};

use crate::journal::{Gated, StopAfter};
use crate::mem::Mem;
use crate::steps::{Fault, Faulty};

/// The world that steps change.
pub trait World {
    fn steps(&self) -> Arc<dyn StepExecutor>;
    /// All that can be seen of it from outside, in a canonical form: two worlds are the same if their pictures are equal.
    fn picture(&self) -> String;
    /// The process that ran inside it died: what lived in that process only is gone.
    fn restart(&self) {}
    /// What must hold wherever a case came to rest, beyond equal pictures; panics with what does not.
    fn judge(&self, _end: &ExecutionView) {}
}

/// What a process is given.
pub struct Process {
    pub journal: Arc<dyn Journal>,
    pub steps: Arc<dyn StepExecutor>,
    pub plan: Plan,
}

/// How much was tried, for a test to see that the matrix was not empty.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tried {
    pub commits: u64,
    pub calls: u64,
    pub failures: u64,
    /// Deaths that left an unsafe step's result unknown: paused for an operator, as they must.
    pub paused: u64,
}

/// Panics with what differs.
pub async fn crash_matrix<W: World>(plan: &Plan, make_world: impl Fn() -> W, run: impl AsyncFn(Process)) -> Tried {
    let mut tried = Tried::default();
    let matrix = Matrix { plan, make_world: &make_world, run: &run };
    matrix.deaths(&Fault::None, &mut tried).await;

    let once = matrix.case(&Fault::None, None).await;
    let twice = matrix.case(&Fault::Twice, None).await;
    assert_eq!(twice.picture, once.picture, "each call made twice");
    assert_eq!(twice.notices, once.notices, "each call made twice");

    let before = make_world().picture();
    for step in &plan.steps {
        let id = || step.id.clone();
        for fault in [Fault::FailBefore(id()), Fault::FailAfter(id()), Fault::FailAfterPoll(id())] {
            let end = matrix.case(&fault, None).await;
            tried.failures += 1;
            match end.view.outcome {
                Some(Outcome::RolledBack) => assert_eq!(end.picture, before, "rolled back after {fault:?}"),
                Some(Outcome::RollbackFailed) => {
                    assert!(!end.view.residue.is_empty(), "{fault:?}: no residue declared")
                }
                Some(Outcome::Failed | Outcome::Succeeded) => {}
                None => assert_eq!(end.view.state, ExecutionState::Paused, "{fault:?}"),
                other => panic!("{fault:?} ended as {other:?}: {:?}", end.view.message),
            }
        }
    }
    tried
}

/// As `crash_matrix`, but for deaths while `failure` (of a step after its effect, or after that of its first poll: for steps that
/// are polled whatever a death has left) is unwound.
pub async fn crash_matrix_unwinding<W: World>(
    plan: &Plan,
    failure: Fault,
    make_world: impl Fn() -> W,
    run: impl AsyncFn(Process),
) -> Tried {
    let mut tried = Tried::default();
    let matrix = Matrix { plan, make_world: &make_world, run: &run };
    matrix.deaths(&failure, &mut tried).await;
    tried
}

struct Matrix<'a, M, R> {
    plan: &'a Plan,
    make_world: &'a M,
    run: &'a R,
}

struct End {
    picture: String,
    notices: BTreeSet<String>,
    view: ExecutionView,
    commits: u64,
    calls: u64,
}

/// Where the first process dies.
#[derive(Debug, Clone, Copy)]
enum Death {
    AfterCommit(u64),
    AfterCall(u64),
}

impl<W: World, M: Fn() -> W, R: AsyncFn(Process)> Matrix<'_, M, R> {
    async fn deaths(&self, fault: &Fault, tried: &mut Tried) {
        let whole = self.case(fault, None).await;
        let commits = (1..=whole.commits).map(Death::AfterCommit);
        for death in commits.chain((1..=whole.calls).map(Death::AfterCall)) {
            let end = self.case(fault, Some(death)).await;
            match death {
                Death::AfterCommit(_) => tried.commits += 1,
                Death::AfterCall(_) => tried.calls += 1,
            }
            if self.waits_for_a_person(&end) {
                tried.paused += 1;
                continue;
            }
            let context = || format!("{fault:?}, {death:?}: {:#?}", end.view);
            assert_eq!(end.view.outcome, whole.view.outcome, "{}", context());
            assert_eq!(end.picture, whole.picture, "{}", context());
            assert_eq!(end.notices, whole.notices, "{}", context());
        }
    }

    fn waits_for_a_person(&self, end: &End) -> bool {
        let Some(pause) = &end.view.pause else { return false };
        let step = pause.step.as_ref().and_then(|id| self.plan.step(id));
        let unknown = end.view.steps.iter().any(|step| {
            Some(&step.id) == pause.step.as_ref()
                && step.error.as_ref().is_some_and(|error| error.code == codes::RESULT_UNKNOWN)
        });
        unknown && step.is_some_and(|step| step.idempotency == Idempotency::Unsafe)
    }

    /// One life of the plan: with one process, or with one that dies and one that finishes.
    async fn case(&self, fault: &Fault, death: Option<Death>) -> End {
        let world = (self.make_world)();
        let mem = Arc::new(Mem::default());
        // A fault of the handler is of the world: the second process meets it too.
        let faulty = Arc::new(Faulty::new(world.steps(), fault.clone()));
        let (mut commits, mut calls) = (0, 0);
        if let Some(death) = death {
            let (k, call) = match death {
                Death::AfterCommit(k) => (StopAfter::commits(k), Fault::None),
                Death::AfterCall(n) => (StopAfter::never(), Fault::DieAfterCall(n)),
            };
            let journal = Arc::new(Gated::new(mem.clone(), k));
            let steps = Arc::new(Faulty::new(faulty.clone(), call));
            let process = Process { journal: journal.clone(), steps: steps.clone(), plan: self.plan.clone() };
            tokio::select! {
                biased;
                () = journal.gate.died() => {}
                () = steps.died() => {}
                () = (self.run)(process) => {}
            }
            mem.expire_leases();
            world.restart();
        }
        if death.is_none() || self.view(&mem).await.is_none_or(|view| view.outcome.is_none()) {
            let journal = Arc::new(Gated::new(mem.clone(), StopAfter::never()));
            let steps = Arc::new(Faulty::new(faulty.clone(), Fault::None));
            (self.run)(Process { journal: journal.clone(), steps: steps.clone(), plan: self.plan.clone() }).await;
            (commits, calls) = (journal.gate.count(), steps.calls());
        }
        let view = self.view(&mem).await.expect("the plan was submitted");
        world.judge(&view);
        let id = view.id.to_string();
        // Two lives have two execution ids.
        let notices = mem.notices().into_iter().map(|notice| notice.id.replace(&id, "exe")).collect();
        End { picture: world.picture(), notices, view, commits, calls }
    }

    async fn view(&self, mem: &Mem) -> Option<ExecutionView> {
        let executions = mem.executions();
        assert!(executions.len() <= 1, "one plan, one execution");
        let stored = mem.load(executions.first()?).await.expect("loads");
        let plan: Plan = serde_json::from_slice(&stored.plan).expect("plan");
        let execution =
            Execution::fold(&Arc::new(plan), &stored.id, stored.snapshot.as_ref(), &stored.records).expect("folds");
        Some(view(&execution))
    }
}
