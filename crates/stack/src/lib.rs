//! A lasting environment as a template of CloudFormation: its services with all that is around them.
//!
//! ```text
//! App + environment ─ build (what there is, and how it hangs together) ─► Template (typed) ─► JSON or YAML
//! ```
//!
//! Everything here is pure, and the same manifest gives the same bytes. Logical ids are made of the manifest's own names, so that one
//! service more or less leaves every other resource where it is.

mod build;
pub mod delivery;
mod expr;
mod limits;
pub mod live;
pub mod made;
mod node;
pub mod policy;
pub mod resources;
mod template;

pub use build::{Unfit, filled, template};
pub use expr::{Expr, Id};
pub use limits::{BODY, Excess, excess};
pub use resources::{Properties, Resource};
pub use template::{Draft, Export, Output, Parameter, Template};
