//! Pipelines, decided: a run is the fold of its records, and every change is decided by one pure function. No clock, no async,
//! no I/O: time, what other runs do and what was seen of the world are parameters.
//!
//! - [`Run::fold`], [`Run::apply`]: records to state.
//! - [`Run::handle`]: an [`Input`] to the records to append, what people are told, and what to answer to who sent a signal.
//! - [`Run::next`]: what is to be done now, from the state alone; after a crash it is the same again, with the same key.
//! - [`Run::view`]: what a person sees; the page and `--output json` show it.
//! - [`Shown::fingerprint`]: what an approval is bound to; [`link`]: signed expiring links.
//! - [`retention`]: which finished runs may be forgotten.
//!
//! **Approval.** Who is asked is shown a [`Shown`]: the release's digests, what they change, and what the environment runs. An
//! approval names its fingerprint. When all have said yes, the environment's lock is taken, everything is looked at afresh, and
//! only if the fingerprint is still the same does the stage begin; else the approvals are void, which is said, the lock is given
//! back, and people are asked anew. The lock never spans a wait for people, but where a deployment under way stands at a pause hook of
//! ECS: then the same people are asked by the same rules, and a yes is to those hooks and no others.
//!
//! **Order.** A run that waits before an environment is superseded as soon as a newer run of its pipeline has got as far. An
//! environment is held by one run at a time, from the moment it is entered until the stage has ended.

mod event;
mod fold;
mod gate;
mod handle;
pub mod link;
mod next;
mod notices;
pub mod retention;
mod run;
mod shown;
mod signal;
mod view;

pub use event::{Event, Outcome, Record, Report, Signal, Surveyed, Via, Vote};
pub use handle::{Context, Input, Peer, Refused, Transition};
pub use next::{Action, Call, Next};
pub use notices::{NoticeDraft, asked_by};
pub use run::{Corrupt, Run, bare};
pub use shown::{Differs, Pause, Shown, Standing};
pub use view::{
    ApprovalView, AskedView, Moment, RunState, RunSummary, RunView, StageState, StageView, WorkState, WorkView,
};

#[cfg(test)]
mod interleavings;
#[cfg(test)]
mod tests;
