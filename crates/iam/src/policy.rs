//! A policy document, in the order in which it is printed.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::names::fits;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Policy {
    pub version: &'static str,
    pub statement: Vec<Statement>,
}

/// Operator, then key, then values.
pub type Condition = BTreeMap<String, BTreeMap<String, Vec<String>>>;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Statement {
    /// What it is for: letters and digits only, which is all that IAM takes.
    pub sid: String,
    pub effect: Effect,
    /// Who, in a trust policy; nothing in any other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<BTreeMap<String, String>>,
    #[serde(serialize_with = "one_or_more")]
    pub action: Vec<String>,
    #[serde(serialize_with = "one_or_more", skip_serializing_if = "Vec::is_empty")]
    pub resource: Vec<String>,
    #[serde(serialize_with = "conditions", skip_serializing_if = "BTreeMap::is_empty")]
    pub condition: Condition,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Effect {
    Allow,
}

/// One is written without a list: policies have a limit in characters.
#[allow(clippy::ptr_arg, reason = "serde passes the field")]
fn one_or_more<S: serde::Serializer>(all: &Vec<String>, serializer: S) -> Result<S::Ok, S::Error> {
    match all.as_slice() {
        [one] => serializer.serialize_str(one),
        more => more.serialize(serializer),
    }
}

/// One value without a list here too.
fn conditions<S: serde::Serializer>(all: &Condition, serializer: S) -> Result<S::Ok, S::Error> {
    struct Values<'a>(&'a Vec<String>);
    fn keys(all: &BTreeMap<String, Vec<String>>) -> BTreeMap<&String, Values<'_>> {
        all.iter().map(|(key, values)| (key, Values(values))).collect()
    }
    impl Serialize for Values<'_> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            one_or_more(self.0, serializer)
        }
    }
    serializer.collect_map(all.iter().map(|(operator, all)| (operator, keys(all))))
}

impl Statement {
    /// Sorted, each once.
    pub fn allow(sid: &str, actions: &[&str], resources: impl IntoIterator<Item = String>) -> Self {
        let sorted = |mut all: Vec<String>| {
            all.sort();
            all.dedup();
            all
        };
        Self {
            sid: sid.to_owned(),
            effect: Effect::Allow,
            principal: None,
            action: sorted(actions.iter().map(|action| (*action).to_owned()).collect()),
            resource: sorted(resources.into_iter().collect()),
            condition: Condition::new(),
        }
    }

    pub fn when(mut self, operator: &str, key: &str, values: impl IntoIterator<Item = String>) -> Self {
        let mut values: Vec<String> = values.into_iter().collect();
        values.sort();
        values.dedup();
        self.condition.entry(operator.to_owned()).or_default().insert(key.to_owned(), values);
        self
    }
}

impl Policy {
    pub fn new(statement: Vec<Statement>) -> Self {
        Self { version: "2012-10-17", statement }
    }

    /// Characters that count: IAM takes 6,144 in a managed policy and 10,240 in a role's inline ones, white space not among them
    /// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>).
    pub fn size(&self) -> usize {
        serde_json::to_string(self).map_or(0, |text| text.chars().filter(|c| !c.is_whitespace()).count())
    }

    /// The statement that grants an action on a resource, conditions aside; without a resource, on any.
    pub fn granting(&self, action: &str, resource: Option<&str>) -> Option<&Statement> {
        let on = |statement: &&Statement| {
            resource.is_none_or(|resource| statement.resource.iter().any(|pattern| fits(pattern, resource)))
        };
        self.statement.iter().filter(|statement| statement.action.iter().any(|own| own == action)).find(on)
    }

    /// As it is pasted.
    pub fn json(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}
