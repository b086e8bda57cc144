//! Plans: immutable, content-addressed, with every choice already made.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use landfall_model::ids::{EnvironmentId, PlanDigest, StepId};
use landfall_model::step::StepParams;

/// An immutable DAG of steps. Its bytes are kept verbatim in the journal; `digest` addresses them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub schema: u32,
    /// `preview.create`, `preview.update`, `preview.destroy`, `task.run` …
    pub kind: String,
    pub environment: EnvironmentId,
    pub generation: u64,
    /// The plan this one continues (an update's or a re-plan's predecessor).
    pub parent: Option<PlanDigest>,
    /// For a person: "Create preview my-project-test123 at 1a2b3c4".
    pub title: String,
    pub steps: Vec<Step>,
    /// Steps that may run at once; at least 1.
    pub max_parallel: u32,
    /// No plan follows this one: a choice gone stale fails it as any other error does.
    #[serde(default, skip_serializing_if = "is_false")]
    pub last_try: bool,
    /// The same again, by itself, after people were told that it failed: they are told when it has worked or waits for
    /// them, and nothing else.
    #[serde(default, skip_serializing_if = "is_false")]
    pub quiet: bool,
    /// Another plan for a request whose beginning was told: only how it ends is news.
    #[serde(default, skip_serializing_if = "is_false")]
    pub again: bool,
    /// By step: the parameters, references replaced, with which the same thing was last brought to where it served, where
    /// executions since then were cut short. An unwind restores that, and not what the step found; also where it had not
    /// begun. `null`: they were, and of before nothing is known; the undo restores what the step found and fails, saying so.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fallback: BTreeMap<StepId, serde_json::Value>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub id: StepId,
    /// For a person: "Deploy service my-project-test123-service".
    pub title: String,
    pub needs: Vec<StepId>,
    /// `{kind: params}` as `StepParams` serializes. Kept as JSON so that a plan of another version still loads.
    pub params: serde_json::Value,
    pub retry: RetryPolicy,
    /// Milliseconds from the first start of the step, all attempts and polls included.
    pub timeout_ms: u64,
    pub idempotency: Idempotency,
    pub on_failure: FailurePolicy,
    /// Whether an unwind calls the handler's `undo` for this step.
    pub undo: bool,
}

impl Step {
    /// The step kind's name: the only key of `params`.
    pub fn kind(&self) -> &str {
        self.params.as_object().and_then(|o| o.keys().next()).map_or("", String::as_str)
    }

    pub fn typed(&self) -> Result<StepParams, serde_json::Error> {
        serde_json::from_value(self.params.clone())
    }
}

/// Waits `min(initial * 2^(n-1), max)` with full jitter before attempt n+1. `attempts` counts the first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPolicy {
    pub attempts: u32,
    pub initial_ms: u64,
    pub max_ms: u64,
}

/// What makes it safe to run an effect again when a crash left unknown whether it ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Idempotency {
    /// PUT-like: running it again gives the same world.
    Natural,
    /// The platform deduplicates by the idempotency key.
    Token,
    /// The handler looks up the deterministic name or tag first.
    LookUpFirst,
    /// Unsafe to repeat: recovery pauses for an operator.
    Unsafe,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailurePolicy {
    /// Undo what was done, in reverse topological order.
    Unwind,
    /// Wait for an operator: retry, skip or abort.
    Pause,
    /// Stop here, keep what was done; the execution fails.
    FailForward,
    /// Record a warning; dependants run as if it had succeeded (its outputs are empty).
    Warn,
}
