//! Plans: every name, port, tag and key chosen before anything runs.
use std::collections::BTreeMap;

use landfall_model::app::App;
use landfall_model::environment::EnvironmentRecord;
use landfall_model::ids::{ExecutionId, PlanDigest};
use landfall_model::inventory::OwnedResource;
use landfall_workflow::Plan;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanKind {
    Create,
    Update,
    Destroy,
}

impl PlanKind {
    pub fn as_str(self) -> &'static str {
        match self {
            PlanKind::Create => "preview.create",
            PlanKind::Update => "preview.update",
            PlanKind::Destroy => "preview.destroy",
        }
    }
}

/// What a plan is made from besides the manifest and the record.
#[derive(Debug, Clone)]
pub struct PlanInputs {
    /// The installation's id, for `landfall.instance`.
    pub instance: String,
    /// The execution that will run the plan, for `landfall.execution`.
    pub execution: ExecutionId,
    /// The plan that made what there is now, if it is known.
    pub parent: Option<PlanDigest>,
    /// Task definitions that run now, by service name of the manifest: one-off task hooks of a destroy run from these.
    pub running: BTreeMap<String, String>,
    /// What carries the environment's tag now; may be empty. A destroy stops the services it finds here too.
    pub owned: Vec<OwnedResource>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    pub plan: Plan,
    /// What had to be left out, for a person: hooks whose service is gone, and such.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("no port of {first}-{last} is free: {previews} held by other previews, {busy} by something else")]
    PortRangeExhausted { first: u16, last: u16, busy: usize, previews: usize },
    #[error("the manifest has no `previews` section")]
    NoPreviews,
    #[error("{0}")]
    Unplannable(String),
}

/// A plan that brings the preview to `commit`. Under port routing `record.port` must be chosen (and stored) before.
/// `kind` is `Create` or `Update`.
pub fn preview(
    _app: &App,
    _record: &EnvironmentRecord,
    _kind: PlanKind,
    _commit: Option<&str>,
    _inputs: &PlanInputs,
) -> Result<Planned, PlanError> {
    Err(PlanError::NoPreviews)
}

/// A plan that takes everything of the environment away. Works from names and tags, whatever became of the manifest.
pub fn destroy(_app: &App, record: &EnvironmentRecord, _inputs: &PlanInputs) -> Planned {
    let plan = Plan {
        schema: 1,
        kind: PlanKind::Destroy.as_str().to_owned(),
        environment: record.id.clone(),
        generation: record.generation,
        parent: None,
        title: String::new(),
        steps: Vec::new(),
        max_parallel: 1,
    };
    Planned { plan, warnings: Vec::new() }
}

/// Where the preview answers: `None` without a service that takes traffic, or before its port is chosen.
pub fn url(_app: &App, _record: &EnvironmentRecord) -> Option<String> {
    None
}
