//! Notices: what people are told. One per change, never one per poll; each has an id that a redelivery repeats.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::ids::{EnvironmentId, ExecutionId};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Deterministic: the same crash-and-replay gives the same id, so an outbox row is written once.
    pub id: String,
    pub kind: NoticeKind,
    pub environment: EnvironmentId,
    pub execution: Option<ExecutionId>,
    /// One line, without markup.
    pub text: String,
    pub url: Option<String>,
    /// The root cause of a failure: stopped reason, failed check, last log lines. Of an approval that is asked for: what there is
    /// to know before it.
    pub cause: Option<String>,
    /// Of an approval that is asked for: who may decide and where, a line each. Whoever has a line may decide: never logged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub links: Option<String>,
    pub at: Timestamp,
    /// Notifications by name that it is for; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<String>,
}

/// What became of a notice at one of those that it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// The notification's name in the manifest.
    pub to: String,
    /// Why it was not taken there. It is tried again for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Of a topic: who had subscribed to it then. `None`: it is none, or that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readers: Option<Vec<Reader>>,
}

/// Who gets what a topic is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reader {
    /// An address, or what it is sent by: other addresses may be secrets.
    pub who: String,
    /// Before that nothing is sent there.
    pub confirmed: bool,
}

/// Names in a line before it says how many more there are.
const NAMED: usize = 5;

impl Sent {
    /// A topic takes it, and nobody reads that.
    pub fn reaches_nobody(&self) -> bool {
        self.readers.as_ref().is_some_and(|readers| !readers.iter().any(|one| one.confirmed))
    }

    /// One line.
    pub fn said(&self) -> String {
        let to = &self.to;
        if let Some(error) = &self.error {
            return format!("could not be sent to {to} yet: {error}");
        }
        let Some(readers) = &self.readers else { return format!("sent to {to}") };
        let of = |confirmed: bool| {
            let all: Vec<&str> =
                readers.iter().filter(|one| one.confirmed == confirmed).map(|one| one.who.as_str()).collect();
            let more = all.len().saturating_sub(NAMED);
            let named = all[..all.len() - more].join(", ");
            (!all.is_empty()).then(|| if more > 0 { format!("{named} and {more} more") } else { named })
        };
        match (of(true), of(false)) {
            (Some(who), None) => format!("sent to {to}: {who}"),
            (Some(who), Some(not)) => format!("sent to {to}: {who}; not confirmed, so not sent: {not}"),
            (None, Some(not)) => format!("sent to {to}, where it reaches nobody: not confirmed by {not}"),
            (None, None) => format!("sent to {to}, where it reaches nobody: nobody has subscribed"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    Queued,
    AwaitingApproval,
    Creating,
    Created,
    Updating,
    Updated,
    Destroying,
    Destroyed,
    // Of lasting environments: a deployment, a rollback, another number of tasks.
    Deploying,
    Deployed,
    Failed,
    RolledBack,
    Paused,
    Superseded,
    Warning,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_a_topic_reaches_is_said() {
        let sent = |readers: &[(&str, bool)]| {
            let reader = |(who, confirmed): &(&str, bool)| Reader { who: (*who).to_owned(), confirmed: *confirmed };
            Sent { to: "ops".to_owned(), error: None, readers: Some(readers.iter().map(reader).collect()) }
        };
        let (anna, ben) = ("anna@example.com", "ben@example.com");
        assert_eq!(sent(&[(anna, true), ("lambda", true)]).said(), "sent to ops: anna@example.com, lambda");
        let half = sent(&[(anna, true), (ben, false)]);
        assert_eq!(half.said(), "sent to ops: anna@example.com; not confirmed, so not sent: ben@example.com");
        assert_eq!(
            sent(&[(ben, false)]).said(),
            "sent to ops, where it reaches nobody: not confirmed by ben@example.com"
        );
        assert_eq!(sent(&[]).said(), "sent to ops, where it reaches nobody: nobody has subscribed");
        assert_eq!(sent(&[(anna, true); 7]).said().matches(anna).count(), 5);
        assert!(sent(&[(anna, true); 7]).said().ends_with(" and 2 more"));
        assert!(sent(&[(ben, false)]).reaches_nobody() && !half.reaches_nobody());
        let plain = Sent { readers: None, ..half };
        assert_eq!((plain.said().as_str(), plain.reaches_nobody()), ("sent to ops", false));
        let failed = Sent { error: Some("answered 500".to_owned()), ..plain };
        assert_eq!(failed.said(), "could not be sent to ops yet: answered 500");
    }
}
