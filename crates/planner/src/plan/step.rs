//! Steps with the retry policy, idempotency and timeouts that their kind deserves.

use landfall_model::ids::StepId;
use landfall_model::step::StepParams;
use landfall_workflow::{FailurePolicy, Idempotency, RetryPolicy, Step};

/// A call that is quick or fails: waits of 36 s altogether at most, and of 18 s on average, as each is drawn from nothing up
/// to its limit. An API that is away for a moment, or a network that changes over, is back by then.
const BRIEF: RetryPolicy = RetryPolicy { attempts: 9, initial_ms: 250, max_ms: 10_000 };
/// Deletions try a little longer: what is in use now is free soon.
const PATIENT: RetryPolicy = RetryPolicy { attempts: 10, initial_ms: 200, max_ms: 10_000 };
/// Runs once: what it does is not ours to repeat.
const ONCE: RetryPolicy = RetryPolicy { attempts: 1, initial_ms: 1_000, max_ms: 1_000 };

const BRIEF_TIMEOUT_MS: u64 = 120_000;
/// What fails is told as soon as ever. What waits for its turn, with hundreds before it under one of AWS's quotas, or for room on
/// the load balancer, may take this long.
const QUEUED_TIMEOUT_MS: u64 = 900_000;

pub(super) struct Builder {
    pub(super) steps: Vec<Step>,
    /// What `undo` and `on_failure` are unless said otherwise.
    on_failure: FailurePolicy,
}

impl Builder {
    pub(super) fn new(on_failure: FailurePolicy) -> Self {
        Self { steps: Vec::new(), on_failure }
    }

    /// Adds a step and returns its id.
    pub(super) fn add(&mut self, id: impl Into<StepId>, title: String, needs: &[StepId], params: StepParams) -> StepId {
        let id = id.into();
        let (retry, idempotency, undo) = defaults(&params);
        let timeout_ms = timeout_ms(&params);
        // Parameters are plain data: they cannot fail to serialize.
        let params = serde_json::to_value(params).unwrap_or_default();
        self.steps.push(Step {
            id: id.clone(),
            title,
            needs: needs.to_vec(),
            params,
            retry,
            timeout_ms,
            idempotency,
            on_failure: self.on_failure,
            undo,
        });
        id
    }

    /// Changes the step added last.
    pub(super) fn last(&mut self, change: impl FnOnce(&mut Step)) {
        if let Some(step) = self.steps.last_mut() {
            change(step);
        }
    }

    /// What this step makes stays, whatever becomes of the plan.
    pub(super) fn keep(&mut self, id: &StepId) {
        self.steps.iter_mut().filter(|step| step.id == *id).for_each(|step| step.undo = false);
    }

    /// The undo of step `id` takes away what all the others make: no other resource's undo is called.
    pub(super) fn leave_undo_to(&mut self, id: &str) {
        let makes = |step: &Step| step.typed().is_ok_and(|params| params.creates().is_some());
        self.steps.iter_mut().filter(|step| step.id.as_str() != id && makes(step)).for_each(|step| step.undo = false);
    }

    /// Total time of the step added last, in seconds.
    pub(super) fn timeout_s(&mut self, seconds: u32) {
        self.last(|step| step.timeout_ms = u64::from(seconds) * 1_000);
    }
}

fn timeout_ms(params: &StepParams) -> u64 {
    match params {
        StepParams::RegisterTaskDefinition(_)
        | StepParams::EnsureTargetGroup(_)
        | StepParams::EnsureRoute(_)
        | StepParams::DeleteRoute(_)
        | StepParams::DeleteTargetGroup(_) => QUEUED_TIMEOUT_MS,
        _ => BRIEF_TIMEOUT_MS,
    }
}

fn defaults(params: &StepParams) -> (RetryPolicy, Idempotency, bool) {
    use Idempotency::{LookUpFirst, Natural, Token, Unsafe};
    match params {
        StepParams::BuildImage(_) => (BRIEF, Natural, true),
        StepParams::AwaitImage(_) => (PATIENT, Natural, false),
        StepParams::RegisterTaskDefinition(_) => (BRIEF, LookUpFirst, true),
        StepParams::EnsureTargetGroup(_) | StepParams::EnsureRoute(_) => (BRIEF, LookUpFirst, true),
        StepParams::DeployService(_) => (BRIEF, LookUpFirst, true),
        StepParams::TargetsHealthy(_) | StepParams::ProbeUrl(_) => (PATIENT, Natural, false),
        StepParams::RunHook(hook) if hook.rerunnable => (ONCE, Natural, true),
        StepParams::RunHook(_) => (ONCE, Unsafe, true),
        // The token gives the same task again, and a task that failed is fatal: only calls about it are repeated.
        StepParams::RunTask(_) => (BRIEF, Token, true),
        StepParams::SweepResources(sweep) => (PATIENT, Natural, !sweep.undo_kinds.is_empty()),
        StepParams::StopService(_)
        | StepParams::DeleteService(_)
        | StepParams::DeleteRoute(_)
        | StepParams::DeleteTargetGroup(_)
        | StepParams::VerifyGone(_) => (PATIENT, Natural, false),
    }
}
