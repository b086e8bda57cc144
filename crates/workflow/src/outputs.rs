//! Output references: `{"$output": "step/field"}` anywhere in a step's parameters.

use landfall_model::ids::StepId;
use serde_json::{Map, Value};

use crate::execution::Execution;
use crate::plan::Step;
use crate::status::StepStatus;

const KEY: &str = "$output";

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("output {reference} does not exist")]
pub struct MissingOutput {
    pub reference: String,
}

/// `params` with every reference replaced; `output(step)` gives the output of a finished step.
pub fn resolve<'a>(params: &Value, output: &impl Fn(&str) -> Option<&'a Value>) -> Result<Value, MissingOutput> {
    Ok(match params {
        Value::Object(map) => match reference(map) {
            Some(reference) => split(reference)
                .and_then(|(step, field)| output(step)?.get(field))
                .cloned()
                .ok_or_else(|| MissingOutput { reference: reference.to_owned() })?,
            None => Value::Object(
                map.iter()
                    .map(|(key, value)| Ok((key.clone(), resolve(value, output)?)))
                    .collect::<Result<Map<_, _>, _>>()?,
            ),
        },
        Value::Array(items) => Value::Array(items.iter().map(|item| resolve(item, output)).collect::<Result<_, _>>()?),
        other => other.clone(),
    })
}

impl Execution {
    /// Who asked for it.
    pub fn intent(&self) -> &str {
        &self.state.intent
    }

    /// The parameters, references replaced, of the steps that are done: what it brought about.
    pub fn brought(&self) -> Vec<Value> {
        let output = |id: &str| self.state.steps.get(&StepId::from(id))?.output.as_ref();
        let done = self.steps().filter(|step| self.status(&step.id) == Some(StepStatus::Done));
        done.filter_map(|step| resolve(&step.params, &output).ok()).collect()
    }
}

/// A step that was begun, or whose undo was.
#[derive(Debug, Clone, PartialEq)]
pub struct Begun {
    pub step: StepId,
    /// References replaced; as planned where an output is missing.
    pub params: Value,
    /// What its handler has written down: the output, and its memory between polls (of the undo, once that has begun).
    pub written: Vec<Value>,
}

impl Execution {
    /// What may have had an effect, whatever became of the execution.
    pub fn begun(&self) -> Vec<Begun> {
        let output = |id: &str| self.state.steps.get(&StepId::from(id))?.output.as_ref();
        let begun = |step: &Step| {
            let state = self.state.steps.get(&step.id).filter(|state| state.attempt > 0 || state.undo_attempt > 0)?;
            let params = resolve(&step.params, &output).unwrap_or_else(|_| step.params.clone());
            let written = state.output.iter().chain(&state.token).cloned().collect();
            Some(Begun { step: step.id.clone(), params, written })
        };
        self.steps().filter_map(begun).collect()
    }
}

/// Every reference in `params`, as written.
pub fn references(params: &Value) -> Vec<&str> {
    match params {
        Value::Object(map) => match reference(map) {
            Some(reference) => vec![reference],
            None => map.values().flat_map(references).collect(),
        },
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

/// Step and field: the field is what follows the last slash.
pub fn split(reference: &str) -> Option<(&str, &str)> {
    reference.rsplit_once('/').filter(|(step, field)| !step.is_empty() && !field.is_empty())
}

fn reference(map: &Map<String, Value>) -> Option<&str> {
    if map.len() == 1 { map.get(KEY)?.as_str() } else { None }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn replaces_references_at_any_depth() {
        let out = json!({"image": "app@sha256:1", "n": 3});
        let lookup = |step: &str| (step == "image.app").then_some(&out);
        let params =
            json!({"k": {"containers": [{"image": {"$output": "image.app/image"}}], "n": {"$output": "image.app/n"}}});
        assert_eq!(resolve(&params, &lookup), Ok(json!({"k": {"containers": [{"image": "app@sha256:1"}], "n": 3}})));
        assert_eq!(references(&params), ["image.app/image", "image.app/n"]);
    }

    #[test]
    fn says_which_output_is_missing() {
        let lookup = |_: &str| None;
        let missing = |reference: &str| Err(MissingOutput { reference: reference.to_owned() });
        assert_eq!(resolve(&json!({"$output": "a/b"}), &lookup), missing("a/b"));
        assert_eq!(resolve(&json!([{"$output": "nothing"}]), &lookup), missing("nothing"));
    }

    #[test]
    fn leaves_what_only_looks_like_a_reference() {
        let params = json!({"env": {"$output": "a/b", "other": 1}, "x": {"$output": 4}});
        assert_eq!(resolve(&params, &|_: &str| None), Ok(params));
    }
}
