//! A stack as CloudFormation tells of it: its state, what a change set would do, what happened. Its words are kept as texts: a new one
//! of AWS's must not end a command.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::inventory::Tags;

/// Of DescribeStacks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackState {
    /// Its ARN, which no other stack has, not even a later one of the same name.
    pub id: String,
    pub name: String,
    /// `UPDATE_COMPLETE`
    pub status: String,
    pub reason: Option<String>,
    pub parameters: BTreeMap<String, String>,
    pub outputs: Vec<StackOutput>,
    pub tags: Tags,
    /// Termination protection.
    pub protected: bool,
    pub created: Option<Timestamp>,
    pub updated: Option<Timestamp>,
    /// `IN_SYNC`, `DRIFTED`, `NOT_CHECKED`
    pub drift: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackOutput {
    pub key: String,
    pub value: String,
    pub description: Option<String>,
    /// The name under which other stacks import it.
    pub export: Option<String>,
}

/// Of DescribeStackResources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackResource {
    /// The logical id.
    pub resource: String,
    pub physical: Option<String>,
    /// `AWS::ECS::Service`
    pub kind: String,
    pub status: String,
    pub reason: Option<String>,
    pub at: Option<Timestamp>,
}

/// Of DescribeStackEvents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackEvent {
    pub id: String,
    pub at: Timestamp,
    /// The logical id; of the stack itself its name.
    pub resource: String,
    pub physical: Option<String>,
    pub kind: String,
    pub status: String,
    pub reason: Option<String>,
}

impl StackEvent {
    /// Whether it is about the stack itself. `stack`: its ARN.
    pub fn is_of(&self, stack: &str) -> bool {
        let name = stack.split_once(":stack/").and_then(|(_, rest)| rest.split('/').next()).unwrap_or(stack);
        self.physical.as_deref() == Some(stack) || (self.kind == "AWS::CloudFormation::Stack" && self.resource == name)
    }

    /// Whether it is the first of an operation that somebody began. `stack`: its ARN.
    pub fn begins(&self, stack: &str) -> bool {
        let first = ["CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "DELETE_IN_PROGRESS", "IMPORT_IN_PROGRESS"];
        self.is_of(stack) && first.contains(&self.status.as_str())
    }
}

/// Of DescribeChangeSet, all pages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeSet {
    /// Its ARN.
    pub id: String,
    pub name: String,
    /// `CREATE_COMPLETE`, `FAILED`, …
    pub status: String,
    /// `AVAILABLE`, `OBSOLETE`, …
    pub execution: String,
    pub reason: Option<String>,
    pub changes: Vec<ResourceChange>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceChange {
    /// `Add`, `Modify`, `Remove`, `Import`, `Dynamic`
    pub action: String,
    pub resource: String,
    pub physical: Option<String>,
    pub kind: String,
    /// `True`, `False`, `Conditional`; of a `Modify`.
    pub replacement: Option<String>,
    /// What becomes of the thing itself where it leaves the stack: `Delete`, `Retain`, `Snapshot`, `ReplaceAndRetain`, …
    pub policy: Option<String>,
    /// `Properties`, `Tags`, `Metadata`, …
    pub scope: Vec<String>,
    /// Names of properties.
    pub properties: Vec<String>,
}

/// Of DescribeStackResourceDrifts, only what differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceDrift {
    pub resource: String,
    pub physical: Option<String>,
    pub kind: String,
    /// `MODIFIED`, `DELETED`
    pub status: String,
    pub differences: Vec<PropertyDrift>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PropertyDrift {
    /// `/DesiredCount`
    pub path: String,
    /// `ADD`, `REMOVE`, `NOT_EQUAL`
    pub kind: String,
    pub expected: Option<String>,
    pub actual: Option<String>,
}

/// Of DescribeStackDriftDetectionStatus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftDetection {
    Running,
    Done {
        drifted: bool,
    },
    /// Some resources could not be looked at, and why.
    Failed {
        reason: String,
    },
}

/// What a change set is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewChangeSet {
    pub stack: String,
    pub name: String,
    /// The stack is not there yet.
    pub create: bool,
    pub template: String,
    /// Where the template is put first, as it is too long for a request: `BUCKET/PREFIX`.
    #[serde(default)]
    pub upload: Option<String>,
    /// `None`: as it is.
    pub parameters: BTreeMap<String, Option<String>>,
    pub tags: Tags,
    /// CloudFormation acts as this role; `None`: as whoever asks.
    pub role: Option<String>,
}
