//! CloudFormation: stacks that change in virtual time, through change sets or at once, with events, rollbacks and the states in which a
//! stack is stuck. Resources are records; where the rules have instances, what clusters of them are made of is there too (`made`).
//!
//! What goes wrong is scripted by stack (`POST /_fake/stack`, [`Script`]): a resource that fails to be made or changed, that cannot be
//! brought back, or that cannot be deleted; and how long each takes.

mod calls;
mod differ;
mod made;
mod timeline;

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Millis;

#[derive(Debug, Clone, Default)]
pub struct CloudFormation {
    /// By name; those that are deleted are in `gone`.
    pub stacks: BTreeMap<String, Stack>,
    pub gone: Vec<Stack>,
    /// By name, for stacks that are and that will be.
    pub scripts: BTreeMap<String, Script>,
    /// Drift detections by id: the stack.
    pub detections: BTreeMap<String, String>,
    /// Who imports an export.
    pub imports: BTreeMap<String, Vec<String>>,
}

/// What a stack's operations do. Resources by logical id, with the reason that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    pub fail: BTreeMap<String, String>,
    pub rollback_fails: BTreeMap<String, String>,
    pub delete_fails: BTreeMap<String, String>,
    /// Why no change set can be made.
    pub refuse: Option<String>,
    /// Physical ids of what is made from now on, where they are those of things in other services.
    pub physical: BTreeMap<String, String>,
    /// Milliseconds for each resource; `None`: 50.
    pub step_ms: Option<Millis>,
    /// Exports and the stacks that import them.
    pub imports: BTreeMap<String, Vec<String>>,
    /// What drift detection finds: resource, path, expected, actual.
    pub drifted: Vec<(String, String, String, String)>,
}

#[derive(Debug, Clone)]
pub struct Stack {
    pub id: String,
    pub name: String,
    pub status: String,
    pub reason: Option<String>,
    /// `None`: under review.
    pub template: Option<String>,
    pub parameters: BTreeMap<String, String>,
    pub tags: Vec<(String, String)>,
    pub protected: bool,
    pub created: Millis,
    pub updated: Option<Millis>,
    pub resources: BTreeMap<String, Resource>,
    /// Oldest first.
    pub events: Vec<Event>,
    pub change_sets: BTreeMap<String, ChangeSet>,
    /// What happens next.
    pub(super) coming: VecDeque<(Millis, Happening)>,
    /// What the operation under way ends with, if it goes well.
    pub(super) wanted: Option<Wanted>,
    pub tokens: Vec<String>,
    pub(super) generation: u64,
    pub drift: Option<bool>,
}

#[derive(Debug, Clone)]
pub struct Resource {
    pub physical: String,
    pub kind: String,
    pub status: String,
    pub reason: Option<String>,
    pub at: Millis,
}

#[derive(Debug, Clone)]
pub struct Event {
    pub id: String,
    pub at: Millis,
    pub resource: String,
    pub physical: String,
    pub kind: String,
    pub status: String,
    pub reason: Option<String>,
}

/// A template and all that is given with it.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub template: String,
    pub parameters: BTreeMap<String, String>,
    pub tags: Vec<(String, String)>,
}

#[derive(Debug, Clone)]
pub struct ChangeSet {
    pub id: String,
    pub create: bool,
    pub wanted: Wanted,
    /// When it is made, from `CREATE_IN_PROGRESS`.
    pub ready: Millis,
    /// Empty: it failed for that.
    pub changes: Vec<Value>,
    pub failed: Option<String>,
    /// `None`: nobody has executed it, or another.
    pub execution: Option<&'static str>,
}

impl Stack {
    /// What becomes of the change sets of a stack that is changed.
    pub(super) fn superseded(&mut self, executed: Option<&str>) {
        for (name, set) in &mut self.change_sets {
            if set.execution.is_none() {
                set.execution = Some(if executed == Some(name) { "EXECUTE_COMPLETE" } else { "OBSOLETE" });
            }
        }
    }
}

/// One thing that happens to a stack.
#[derive(Debug, Clone)]
pub enum Happening {
    /// `kind`: of one that is new.
    Resource {
        resource: String,
        kind: String,
        status: String,
        reason: Option<String>,
    },
    /// The thing is not in the stack any more.
    Forget {
        resource: String,
    },
    Status {
        status: String,
        reason: Option<String>,
    },
    /// What was wanted is what there is.
    Commit,
    Gone,
}
