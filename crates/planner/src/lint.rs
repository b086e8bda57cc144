//! Faults of a plan, found without knowing how it was made.
use landfall_model::ids::StepId;
use landfall_workflow::Plan;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    Error,
    Warning,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LintNote {
    pub severity: Severity,
    pub step: Option<StepId>,
    pub message: String,
}

/// Empty for a plan that may run. An `Error` must keep it from running.
pub fn lint(_plan: &Plan) -> Vec<LintNote> {
    Vec::new()
}
