//! Stacks of CloudFormation.
//!
//! Every call here is short: what takes time (a change set that is made, a stack that changes) is begun by one call and looked at by
//! another. Tokens make what is begun twice begin once.

use async_trait::async_trait;
use landfall_model::Timestamp;
use landfall_model::cloudformation::{
    ChangeSet, DriftDetection, NewChangeSet, ResourceDrift, StackEvent, StackResource, StackState,
};

use crate::PortResult;
use crate::orchestrator::{ServiceEvent, TaskDescription};

/// How far back events are told, from the newest. A stack that lives for years has more than anybody reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Back<'a> {
    Newest,
    /// The newest operation's, and the one before them.
    Operation,
    /// Those after the event of this id.
    After(&'a str),
    /// As far as CloudFormation tells.
    All,
}

impl Back<'_> {
    /// Whether a listing has come so far; what lies beyond is cut off. `stack`: its ARN.
    pub fn reached(self, stack: &str, newest_first: &mut Vec<StackEvent>) -> bool {
        let end = match self {
            Self::Newest => Some(1),
            Self::Operation => newest_first.iter().position(|event| event.begins(stack)).map(|at| at + 2),
            Self::After(id) => newest_first.iter().position(|event| event.id == id),
            Self::All => None,
        };
        let Some(end) = end.filter(|end| *end <= newest_first.len()) else { return false };
        newest_first.truncate(end);
        true
    }
}

/// `stack`: a name or an ARN. A stack that is gone is found by its ARN only.
#[async_trait]
pub trait Stacks: Send + Sync {
    /// `None`: there is none of that name.
    async fn describe(&self, stack: &str) -> PortResult<Option<StackState>>;

    /// All of the account and region that are not deleted.
    async fn list(&self) -> PortResult<Vec<StackState>>;

    /// The template as it was given; `None`: the stack has none yet.
    async fn template(&self, stack: &str) -> PortResult<Option<String>>;

    /// # Errors
    /// `Conflict`: one of that name is there already, or the stack is changing.
    async fn create_change_set(&self, set: &NewChangeSet) -> PortResult<()>;

    /// `None`: there is none, or no stack.
    async fn change_set(&self, stack: &str, name: &str) -> PortResult<Option<ChangeSet>>;

    /// Names of all that wait to be executed.
    async fn change_sets(&self, stack: &str) -> PortResult<Vec<String>>;

    /// One that is gone is no error.
    async fn delete_change_set(&self, stack: &str, name: &str) -> PortResult<()>;

    /// # Errors
    /// `NotFound`: somebody deleted it. `Conflict`: the stack is changing, or somebody executed another, with which this is obsolete.
    async fn execute(&self, stack: &str, change_set: &str, token: &str) -> PortResult<()>;

    /// Newest first. `stack`: its ARN.
    async fn events(&self, stack: &str, back: Back<'_>) -> PortResult<Vec<StackEvent>>;

    async fn resources(&self, stack: &str) -> PortResult<Vec<StackResource>>;

    /// `retain`: logical ids of what is left where it is; only where a deletion failed before.
    async fn delete(&self, stack: &str, retain: &[String], role: Option<&str>, token: &str) -> PortResult<()>;

    /// `skip`: logical ids of what is taken as if it had been rolled back.
    async fn continue_rollback(&self, stack: &str, skip: &[String], role: Option<&str>, token: &str) -> PortResult<()>;

    async fn protect(&self, stack: &str, on: bool) -> PortResult<()>;

    /// Names of stacks that import it.
    async fn importers(&self, export: &str) -> PortResult<Vec<String>>;

    /// The id of a detection that is under way.
    async fn detect_drift(&self, stack: &str) -> PortResult<String>;

    async fn drift_detection(&self, id: &str) -> PortResult<DriftDetection>;

    async fn drifts(&self, stack: &str) -> PortResult<Vec<ResourceDrift>>;

    /// What ECS tells of a service that a stack made or changed: CloudFormation itself only says that it did not come up. `service`:
    /// its physical id. Nothing where it is not in the cluster of this place, or is gone.
    async fn service_failures(&self, service: &str, since: Timestamp) -> PortResult<ServiceFailures>;
}

/// The newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceFailures {
    /// Tasks that were begun since, and failed.
    pub tasks: Vec<TaskDescription>,
    pub events: Vec<ServiceEvent>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_no_further_than_asked_for() {
        let stack = "arn:aws:cloudformation:eu-west-1:1:stack/shop/1";
        let event = |(id, status): (usize, &&str)| StackEvent {
            id: id.to_string(),
            at: landfall_model::Timestamp::UNIX_EPOCH,
            resource: "shop".to_owned(),
            physical: Some(stack.to_owned()),
            kind: "AWS::CloudFormation::Stack".to_owned(),
            status: (*status).to_owned(),
            reason: None,
        };
        let statuses = ["UPDATE_COMPLETE", "UPDATE_IN_PROGRESS", "CREATE_COMPLETE", "CREATE_IN_PROGRESS"];
        let read = |back: Back<'_>, pages: usize| {
            let mut events: Vec<StackEvent> = statuses.iter().enumerate().take(pages).map(event).collect();
            let reached = back.reached(stack, &mut events);
            (reached, events.len())
        };
        assert_eq!(
            [read(Back::Newest, 0), read(Back::Newest, 1), read(Back::Newest, 4)],
            [(false, 0), (true, 1), (true, 1)]
        );
        let operation = [2, 3, 4].map(|pages| read(Back::Operation, pages));
        assert_eq!(operation, [(false, 2), (true, 3), (true, 3)]);
        assert_eq!([read(Back::After("2"), 2), read(Back::After("2"), 4)], [(false, 2), (true, 2)]);
        assert_eq!(read(Back::All, 4), (false, 4));
    }
}
