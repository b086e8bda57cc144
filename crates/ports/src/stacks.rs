//! Stacks of CloudFormation.
//!
//! Every call here is short: what takes time (a change set that is made, a stack that changes) is begun by one call and looked at by
//! another. Tokens make what is begun twice begin once.

use async_trait::async_trait;
use landfall_model::cloudformation::{
    ChangeSet, DriftDetection, NewChangeSet, ResourceDrift, StackEvent, StackResource, StackState,
};

use crate::PortResult;

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
    /// `NotFound`: somebody deleted it, or executed another, with which it went. `Conflict`: the stack is changing.
    async fn execute(&self, stack: &str, change_set: &str, token: &str) -> PortResult<()>;

    /// Newest first, until the one of this id (left out), or as far back as CloudFormation tells.
    async fn events(&self, stack: &str, since: Option<&str>) -> PortResult<Vec<StackEvent>>;

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
}
