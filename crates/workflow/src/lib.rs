//! The workflow core: a plan is an immutable DAG of steps, an execution is the fold of its journal, and every change is
//! decided by one pure function. No clock, no async, no I/O: time and entropy are parameters.
//!
//! - [`Plan`]: `validate`, `canonical_bytes`, `digest`, `order`.
//! - [`Execution::fold`] and [`Execution::apply`]: records to state; [`status::next_status`] is the one transition table.
//! - [`Execution::handle`]: an [`Input`] to a [`Transition`] of events to append, notices, and actions to do after the commit.
//! - [`view::view`]: what a person sees; [`Execution::to_snapshot`]: history in bounds.
//!
//! **Stopping.** No new call is begun; calls already begun report first (a step boundary), then: a failure with policy
//! `unwind` and an abort undo all that was begun, pending steps included; a stale choice and a supersede leave everything as
//! it is, pending steps included; `fail_forward` lets started steps come to their end and keeps what was done. A supersede
//! outranks an abort, and both end a pause. During an unwind a supersede does not cut it short: the unwind is finished, then
//! the execution ends as superseded, so that the successor finds a settled world. An execution that was cut short has left
//! its changes in the world, so what the next one's steps find is not what to go back to: its plan says that ([`Plan::fallback`]).
//!
//! **Retries** are automatic attempts at the same effect: they keep the idempotency key, and go on polling where the handler
//! has given a token. A handler that reports `Retryable` from a poll says that the look failed, not the work; work that
//! failed for good is `Fatal`. Only an operator's retry is a new effect with a new key.

mod backoff;
pub mod event;
mod execution;
mod fold;
mod handle;
mod notices;
pub mod outputs;
pub mod plan;
pub mod release;
mod snapshot;
pub mod status;
mod unwind;
mod validate;
pub mod view;

pub use event::{Event, Outcome, Record, Signal};
pub use execution::{
    Action, Call, Context, CorruptJournal, Execution, Input, NoticeDraft, Rejected, Report, Transition, codes,
};
pub use plan::{FailurePolicy, Idempotency, Plan, RetryPolicy, Step};
pub use status::StepStatus;
pub use unwind::FALLBACK;
pub use validate::{InvalidPlan, digest};
pub use view::{ExecutionState, ExecutionView, Pause, StepCause, StepView, view};
