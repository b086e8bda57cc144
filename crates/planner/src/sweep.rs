//! Compares what should be with what is, both ways.
use std::collections::{BTreeMap, BTreeSet};

use landfall_model::Timestamp;
use landfall_model::app::App;
use landfall_model::environment::EnvironmentRecord;
use landfall_model::event::Intent;
use landfall_model::ids::{EnvironmentId, RepositoryKey};
use landfall_model::inventory::{Listing, OwnedResource};
use serde::{Deserialize, Serialize};

/// The branches of one repository: name → tip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BranchList {
    pub branches: BTreeMap<String, String>,
    pub complete: bool,
}

/// What one comparison leaves for the next; kept between runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepMemory {
    /// Environments whose branch was missing from the last good listing.
    pub absent: BTreeSet<EnvironmentId>,
    /// Environments whose resources were missing last time.
    #[serde(default)]
    pub vanished: BTreeSet<EnvironmentId>,
    /// Resources (kind and id) that belonged to nobody last time.
    #[serde(default)]
    pub orphans: BTreeSet<String>,
    /// Branches in the last good listing of each repository.
    pub sizes: BTreeMap<RepositoryKey, usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub what: String,
    pub why: String,
    pub action: FindingAction,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FindingAction {
    /// Put through the door like any other.
    Intent(Intent),
    DeleteResource(OwnedResource),
    /// Seen once; acted on when it is still so next time.
    Watch,
    /// Nothing is deleted because of this listing.
    Frozen,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    pub findings: Vec<Finding>,
    pub memory: SweepMemory,
}

/// `owned`: one listing per port. `branches`: `None` for a repository that could not be listed.
pub fn compare(
    _app: &App,
    _records: &[EnvironmentRecord],
    _owned: &[Listing<OwnedResource>],
    _branches: &BTreeMap<RepositoryKey, Option<BranchList>>,
    _memory: &SweepMemory,
    _now: Timestamp,
) -> Comparison {
    Comparison { findings: Vec::new(), memory: SweepMemory::default() }
}
