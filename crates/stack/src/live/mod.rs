//! What is decided about a stack that is there, or is to be: pure, from what CloudFormation tells.
//!
//! ```text
//! StackState ─ phase ─► what may be done ─ change set ─► Plan (what is asked for) ─ events ─► Ending + root cause
//!                  └──► recover: how a stuck one is led out
//! ```

mod cause;
mod name;
mod phase;
mod plan;
mod recover;
mod wanted;

pub use cause::{Behind, Cause, Causes, Seen, Troubles, of_operation, told};
pub use name::{change_set_name, is_ours, plan_name, token};
pub use phase::{Before, Ending, Phase, Work, before, ending, phase};
pub use plan::{Act, Plan, Row, plan};
pub use recover::{Way, way};
pub(crate) use wanted::Metadata;
pub use wanted::{
    Given, ImageChange, ImageParameter, Overwritten, Unwanted, Wanted, given, images, overwritten, protects, wanted,
};
