//! What a deployment would change, has changed, and why it failed: decisions over ECS's own JSON, without a call to anything.
//!
//! Documents are taken as they come, from a file, from the adapter that would send them, or from a describe; only [`diff`]
//! knows what AWS fills in.

pub mod diff;
pub mod files;
pub mod fix;
