//! Snapshots: the folded state in place of the records that made it, so that history stays bounded.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::execution::{CorruptJournal, Execution, State};
use crate::plan::Plan;

/// Goes up when an older reader would misread the state. Fields with defaults do not count.
const SCHEMA: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Snapshot {
    schema: u32,
    state: State,
}

impl Execution {
    /// The state as of [`Execution::version`], for [`Execution::fold`].
    pub fn to_snapshot(&self) -> Result<Value, serde_json::Error> {
        serde_json::to_value(Snapshot { schema: SCHEMA, state: self.state.clone() })
    }

    /// Whether `tail` records after the last snapshot are worth folding. Never when one of them was not understood: the
    /// snapshot of this version would lose what it says.
    pub fn should_compact(&self, tail: usize, limit: usize) -> bool {
        tail > limit && !self.state.unknown_seen && self.state.outcome.is_none()
    }
}

pub(crate) fn read(snapshot: &Value, plan: &Plan) -> Result<State, CorruptJournal> {
    let corrupt = |why: String| CorruptJournal::Snapshot(why);
    let schema =
        snapshot.get("schema").and_then(Value::as_u64).ok_or_else(|| corrupt("it has no schema".to_owned()))?;
    if schema > u64::from(SCHEMA) {
        return Err(corrupt(format!("its schema is {schema}, this version reads up to {SCHEMA}")));
    }
    let Snapshot { state, .. } = Snapshot::deserialize(snapshot).map_err(|error| corrupt(error.to_string()))?;
    let known = state.steps.keys().filter(|id| plan.step(id).is_some()).count();
    if known != plan.steps.len() || known != state.steps.len() {
        return Err(corrupt("its steps are not the plan's".to_owned()));
    }
    Ok(state)
}
