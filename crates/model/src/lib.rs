//! The words of Landfall: plain data shared by every other crate. No I/O, no clock, no randomness.
//!
//! Names follow ECS and Elastic Load Balancing wherever those have one; see ARCHITECTURE.md, "Words".

pub mod app;
pub mod aws;
pub mod ci;
pub mod cloudformation;
pub mod cron;
pub mod documents;
pub mod environment;
pub mod event;
pub mod fleet;
pub mod ids;
pub mod inventory;
pub mod machine_image;
pub mod names;
pub mod notice;
pub mod pipeline;
pub mod probe;
pub mod redact;
pub mod secret;
pub mod stack;
pub mod step;
pub mod strategy;
pub mod task;

pub use jiff::Timestamp;
