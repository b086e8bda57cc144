//! What was observed of the world, with its time and whether the listing was complete.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// Tags (labels) that every resource carries.
pub type Tags = BTreeMap<String, String>;

/// The environment's id. This is the label a sweep looks for.
pub const TAG_ENVIRONMENT: &str = "landfall";
/// Which installation (state directory) made it: another's resources are never touched.
pub const TAG_INSTANCE: &str = "landfall.instance";
pub const TAG_GENERATION: &str = "landfall.generation";
pub const TAG_EXECUTION: &str = "landfall.execution";
/// Instead of the execution that made it, on what was taken over since.
pub const TAKEN_OVER: &str = "taken-over";
pub const TAG_SERVICE: &str = "landfall.service";
pub const TAG_COMMIT: &str = "landfall.commit";
/// Content hash of a task definition, so that an identical one is found again.
pub const TAG_CONTENT_HASH: &str = "landfall.content-hash";

/// A listing. When `complete` is false, absence from `items` proves nothing and nothing may be deleted because of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing<T> {
    pub items: Vec<T>,
    pub complete: bool,
    pub at: Timestamp,
}

/// The kinds of resource Landfall makes. One registry for create, destroy and sweep: a kind that can be created but is not
/// listed here does not compile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResourceKind {
    Service,
    Task,
    TaskDefinition,
    Container,
    Network,
    TargetGroup,
    Rule,
    Listener,
    Image,
}

impl ResourceKind {
    /// In the order of destruction: dependants before what they depend on.
    pub const ALL: [ResourceKind; 9] = [
        ResourceKind::Service,
        ResourceKind::Task,
        ResourceKind::Container,
        ResourceKind::Rule,
        ResourceKind::Listener,
        ResourceKind::TargetGroup,
        ResourceKind::TaskDefinition,
        ResourceKind::Network,
        ResourceKind::Image,
    ];
}

/// Something that carries our tags, as a sweep sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OwnedResource {
    pub kind: ResourceKind,
    /// The platform's handle: what a delete takes.
    pub id: String,
    pub name: String,
    /// The value of `TAG_ENVIRONMENT`.
    pub environment: String,
    pub tags: Tags,
}
