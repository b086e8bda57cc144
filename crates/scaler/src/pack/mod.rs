//! Whole tasks on whole instances. Tasks of a shape are a number, not a list, and so are instances that are filled alike:
//! what takes others a step per task takes a division here.
//!
//! - [`need`]: which instances, and how many, would hold what waits;
//! - [`place`]: what of it finds room on the instances that are there;
//! - [`room`]: how many more tasks of one shape do.

mod fill;
mod new;
mod place;
mod problem;

pub use new::{Bin, Packing, need};
pub(crate) use place::Rooms;
pub use place::{Placed, place, room};
