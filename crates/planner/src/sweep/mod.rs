//! Compares what should be with what is, both ways: environments with branches (`branches`), and with what the platform
//! has (`resources`). Nothing is done here; the findings go through the door that everyone comes through.
//!
//! What could go wrong, and what stands against it:
//! - **A listing that lies.** Nothing is deleted because of a listing that failed, is incomplete or is empty. One that shrank
//!   by more than three in ten (and by three branches at least) is believed about what is there, and about what is missing only
//!   when the next one says the same. Even then an absence must be seen twice.
//! - **A listing that is old.** The caller lists first and reads the records second, and gives the time *before* the listing
//!   as `seen`. A record that was asked for anything since is left alone, here and again by `control::apply`.
//! - **The same finding twice.** The store drops an intent whose id it has seen, so an id is made of the finding and of the
//!   state that it was found in: the same while nothing changes, another one as soon as somebody asked for something.

mod branches;
mod resources;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use landfall_model::Timestamp;
use landfall_model::app::App;
use landfall_model::environment::{EnvironmentKey, EnvironmentRecord};
use landfall_model::event::{Ask, Intent};
use landfall_model::ids::{DeliveryId, EnvironmentId, RepositoryKey, SYSTEM_ACTOR};
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
    /// Environments whose services were missing last time.
    #[serde(default)]
    pub vanished: BTreeSet<EnvironmentId>,
    /// Resources (kind and id) that belonged to nobody last time.
    #[serde(default)]
    pub orphans: BTreeSet<String>,
    /// Branches in the last good listing of each repository.
    pub sizes: BTreeMap<RepositoryKey, usize>,
    /// Branches in the listing that was held back last time because it had shrunk.
    #[serde(default)]
    pub shrunk: BTreeMap<RepositoryKey, usize>,
    /// The branch's tip when the environment was last seen to be at it, or when a person had chosen another commit.
    #[serde(default)]
    pub tips: BTreeMap<EnvironmentId, String>,
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

/// `owned`: one listing per port. `branches`: `None` for a repository that could not be listed. `records` are read after
/// the listings; `seen` is a time before the first of them began.
pub fn compare(
    app: &App,
    records: &[EnvironmentRecord],
    owned: &[Listing<OwnedResource>],
    branches: &BTreeMap<RepositoryKey, Option<BranchList>>,
    memory: &SweepMemory,
    seen: Timestamp,
) -> Comparison {
    let records = records.iter().map(|record| (&record.id, record)).collect();
    let mut sweep = Sweep { app, records, before: memory, seen, findings: Vec::new(), memory: SweepMemory::default() };
    for (repository, list) in branches {
        sweep.repository(repository, list.as_ref());
    }
    sweep.resources(owned);
    Comparison { findings: sweep.findings, memory: sweep.memory }
}

struct Sweep<'a> {
    app: &'a App,
    records: BTreeMap<&'a EnvironmentId, &'a EnvironmentRecord>,
    before: &'a SweepMemory,
    seen: Timestamp,
    findings: Vec<Finding>,
    memory: SweepMemory,
}

impl Sweep<'_> {
    fn find(&mut self, what: impl Into<String>, why: impl Into<String>, action: FindingAction) {
        self.findings.push(Finding { what: what.into(), why: why.into(), action });
    }

    fn intent(&self, id: DeliveryId, environment: &EnvironmentKey, ask: Ask) -> FindingAction {
        FindingAction::Intent(Intent {
            id,
            environment: environment.clone(),
            ask,
            actor: format!("{SYSTEM_ACTOR}:sweep"),
            event_at: Some(self.seen),
        })
    }

    /// Whether what was seen is younger than what was last asked of the environment.
    fn is_news_to(&self, record: &EnvironmentRecord) -> bool {
        record.desired_at.max(record.last_activity) <= self.seen
    }
}

/// The id of an intent about `record` as it is now.
fn intent_id(record: &EnvironmentRecord, finding: &str) -> DeliveryId {
    let EnvironmentRecord { id, generation, desired_seq, last_activity, .. } = record;
    format!("{SYSTEM_ACTOR}:sweep/{id}/{generation}/{desired_seq}/{last_activity}/{finding}").into()
}
