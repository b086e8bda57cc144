//! GitHub: what proves a delivery, what it says, and which branches exist.
//!
//! `webhook` and `payload` are pure; only [`listing`] touches the network, through the `git` program.

pub mod listing;
pub mod payload;
pub mod webhook;

pub use listing::GitListing;
pub use payload::{ParseError, parse};
pub use webhook::{VerifyError, verify};
