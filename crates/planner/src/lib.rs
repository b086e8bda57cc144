//! Everything that is decided: names, routes, what an environment needs next, plans, their lint, and what a sweep found.
//! Pure: time, ids and what was observed are parameters, so that every choice can be replayed from its inputs.

pub mod control;
#[cfg(test)]
mod fixture;
pub mod lint;
pub mod names;
pub mod plan;
pub mod port;
pub mod route;
pub mod sweep;

pub use control::{Applied, DecideContext, Decision, LiveStatus, Place, Settled, Verdict, apply, decide, place};
pub use lint::{LintNote, Severity, lint};
pub use names::environment_names;
pub use plan::{PlanError, PlanInputs, PlanKind, Planned, destroy, preview};
pub use port::choose_port;
pub use route::{Routed, route};
pub use sweep::{BranchList, Comparison, Finding, FindingAction, SweepMemory, compare};
