//! Plan helpers: canonical bytes, digest, validity, order.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sha2::{Digest, Sha256};

use landfall_model::ids::{PlanDigest, StepId};

use crate::outputs;
use crate::plan::{Plan, Step};

/// Everything that is wrong with a plan, in the order of its steps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .problems.join("; "))]
pub struct InvalidPlan {
    pub problems: Vec<String>,
}

impl Plan {
    /// The bytes a journal keeps: JSON with sorted keys and no spaces, so that equal plans are equal bytes.
    pub fn canonical_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&sorted(serde_json::to_value(self)?))
    }

    /// SHA-256 of [`Plan::canonical_bytes`], in hex.
    pub fn digest(&self) -> Result<PlanDigest, serde_json::Error> {
        Ok(digest(&self.canonical_bytes()?))
    }

    pub fn step(&self, id: &StepId) -> Option<&Step> {
        self.steps.iter().find(|step| &step.id == id)
    }

    /// Unique ids, needs that exist, no cycle, output references only to steps that are needed, `max_parallel` and
    /// `attempts` of at least 1.
    pub fn validate(&self) -> Result<(), InvalidPlan> {
        let mut problems = Vec::new();
        if self.max_parallel == 0 {
            problems.push("max_parallel is 0".to_owned());
        }
        let ids: BTreeSet<&StepId> = self.steps.iter().map(|step| &step.id).collect();
        let mut seen = BTreeSet::new();
        for step in &self.steps {
            if !seen.insert(&step.id) {
                problems.push(format!("step {} is there twice", step.id));
            }
            if step.retry.attempts == 0 {
                problems.push(format!("step {} has no attempts", step.id));
            }
            if step.kind().is_empty() {
                problems.push(format!("step {} has no kind", step.id));
            }
            for need in step.needs.iter().filter(|need| !ids.contains(need)) {
                problems.push(format!("step {} needs {need}, which is not in the plan", step.id));
            }
        }
        match self.order() {
            Some(order) => problems.extend(self.references_to_strangers(&order)),
            None if problems.is_empty() => problems.push("the steps need each other in a circle".to_owned()),
            None => {}
        }
        if problems.is_empty() { Ok(()) } else { Err(InvalidPlan { problems }) }
    }

    /// Indices into `steps`, every step after all it needs, otherwise in the plan's own order. `None`: a cycle, a
    /// duplicate or a missing need.
    pub fn order(&self) -> Option<Vec<usize>> {
        let mut placed: BTreeSet<&StepId> = BTreeSet::new();
        let mut order = Vec::with_capacity(self.steps.len());
        let mut left: Vec<usize> = (0..self.steps.len()).collect();
        while !left.is_empty() {
            let before = left.len();
            left.retain(|&index| {
                let step = &self.steps[index];
                let ready = step.needs.iter().all(|need| placed.contains(need));
                if ready && placed.insert(&step.id) {
                    order.push(index);
                    return false;
                }
                true
            });
            if left.len() == before {
                return None;
            }
        }
        Some(order)
    }

    fn references_to_strangers(&self, order: &[usize]) -> Vec<String> {
        let mut ancestors: BTreeMap<&StepId, BTreeSet<&StepId>> = BTreeMap::new();
        let mut problems = Vec::new();
        for &index in order {
            let step = &self.steps[index];
            let mut above: BTreeSet<&StepId> = step.needs.iter().collect();
            for need in &step.needs {
                above.extend(ancestors.get(need).into_iter().flatten().copied());
            }
            for reference in outputs::references(&step.params) {
                match outputs::split(reference) {
                    Some((from, _)) if above.iter().any(|id| id.as_str() == from) => {}
                    Some((from, _)) => {
                        problems.push(format!("step {} uses an output of {from}, which it does not need", step.id));
                    }
                    None => problems.push(format!("step {}: {reference:?} is not step/field", step.id)),
                }
            }
            ancestors.insert(&step.id, above);
        }
        problems
    }
}

/// SHA-256 in hex.
pub fn digest(bytes: &[u8]) -> PlanDigest {
    PlanDigest(hex::encode(Sha256::digest(bytes)))
}

/// Sorted whatever map `serde_json` was built with.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let map: BTreeMap<String, Value> = map.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            Value::Object(map.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}
