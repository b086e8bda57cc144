//! CI, decided: where a job runs and what its event means, which rules match and what would run, how a host wants its groups,
//! annotations and summaries, and the files that make a host run `landfall ci`. Nothing here reads a file, a variable or a clock.

pub mod command;
mod context;
pub mod detect;
pub mod dropin;
pub mod files;
pub mod given;
mod mask;
mod paint;
pub mod plan;
pub mod probe;
pub mod record;
pub mod tail;
pub mod weave;

pub use context::{CiContext, Compare, Event, Git, Host};
pub use mask::Masks;
pub use paint::Group;
