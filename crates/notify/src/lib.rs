//! Delivery of notices: at least once, one message per change, to the log, a signed webhook, Slack or a topic.
//!
//! Notices come out of the store's outbox, so a crash between sending and recording repeats a message (with the same id) and
//! never loses one. What is still undelivered for the same environment and has been overtaken is not sent any more: people
//! read where things stand, not how they got there. Failures and warnings are always told.

mod coalesce;
mod format;
mod notifier;
mod send;

pub use format::{slack, topic, webhook};
pub use notifier::{Notifier, Target, TargetKind};
