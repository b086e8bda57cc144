//! The workflow core: a plan is an immutable DAG of steps, an execution is the fold of its journal, and every change is
//! decided by one pure function. No clock, no async, no I/O: time and entropy are parameters.

pub mod event;
pub mod plan;

pub use event::{Event, Outcome, Record, Signal};
pub use plan::{FailurePolicy, Idempotency, Plan, RetryPolicy, Step};
