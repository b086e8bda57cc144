//! The template as a whole.

use std::collections::BTreeSet;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::expr::{Expr, Id};
use crate::live::Metadata;
use crate::node::Node;
use crate::resources::{Properties, Resource};

/// In the order in which it is printed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Template {
    #[serde(rename = "AWSTemplateFormatVersion")]
    pub(crate) version: &'static str,
    pub description: String,
    /// Which images it is applied with; none where it is only printed.
    pub(crate) metadata: Option<Metadata>,
    #[serde(serialize_with = "in_order")]
    pub parameters: Vec<(Id, Parameter)>,
    #[serde(serialize_with = "in_order")]
    pub conditions: Vec<(Id, Condition)>,
    #[serde(serialize_with = "in_order")]
    pub resources: Vec<(Id, Resource)>,
    #[serde(serialize_with = "in_order")]
    pub outputs: Vec<(Id, Output)>,
}

/// A text that is given with each change of the stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Parameter {
    pub r#type: &'static str,
    pub description: String,
    pub default: Option<String>,
    pub allowed_pattern: Option<&'static str>,
    pub allowed_values: Vec<&'static str>,
    pub constraint_description: Option<&'static str>,
}

/// Holds while both are the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Condition {
    #[serde(rename = "Fn::Equals")]
    pub same: (Expr, Expr),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Output {
    pub description: String,
    pub value: Expr,
    pub export: Option<Export>,
}

/// Other stacks import it by this name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Export {
    pub name: Expr,
}

/// A template in the making, in the order in which things are added.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    parameters: Vec<(Id, Parameter)>,
    conditions: Vec<(Id, Condition)>,
    resources: Vec<(Id, Resource)>,
    outputs: Vec<(Id, Output)>,
}

impl Draft {
    pub fn add(&mut self, id: Id, properties: Properties) -> Id {
        self.add_after(id, properties, Vec::new())
    }

    pub fn add_after(&mut self, id: Id, properties: Properties, depends_on: Vec<Id>) -> Id {
        let (deletion_policy, update_replace_policy) = (None, None);
        let resource = Resource { properties, condition: None, depends_on, deletion_policy, update_replace_policy };
        self.resources.push((id.clone(), resource));
        id
    }

    /// There only while the condition holds.
    pub fn add_while(&mut self, condition: &Id, id: Id, properties: Properties) {
        self.add(id, properties);
        if let Some((_, resource)) = self.resources.last_mut() {
            resource.condition = Some(condition.clone());
        }
    }

    pub fn condition(&mut self, id: Id, same: (Expr, Expr)) -> Id {
        self.conditions.push((id.clone(), Condition { same }));
        id
    }

    /// Stays when it leaves the stack.
    pub fn keep(&mut self, id: &Id) {
        if let Some((_, resource)) = self.resources.iter_mut().find(|(own, _)| own == id) {
            resource.deletion_policy = Some("Retain");
            resource.update_replace_policy = Some("Retain");
        }
    }

    pub fn has(&self, id: &Id) -> bool {
        self.resources.iter().any(|(own, _)| own == id)
    }

    pub fn parameter(&mut self, id: Id, parameter: Parameter) -> Expr {
        let reference = Expr::from(&id);
        self.parameters.push((id, parameter));
        reference
    }

    pub fn output(&mut self, id: &str, description: &str, value: Expr) {
        self.outputs.push((Id::of(&[id]), Output { description: description.to_owned(), value, export: None }));
    }

    /// As `output`, for other stacks too.
    pub fn exported(&mut self, id: &str, description: &str, value: Expr, name: Expr) {
        let output = Output { description: description.to_owned(), value, export: Some(Export { name }) };
        self.outputs.push((Id::of(&[id]), output));
    }

    /// # Errors
    /// The first id that two parameters or resources have: CloudFormation knows either by it.
    pub fn distinct(&self) -> Result<(), Id> {
        let mut seen = BTreeSet::new();
        let mut ids = self.parameters.iter().map(|(id, _)| id).chain(self.resources.iter().map(|(id, _)| id));
        ids.find(|id| !seen.insert(id.as_str())).map_or(Ok(()), |id| Err(id.clone()))
    }

    pub fn done(self, description: String) -> Template {
        let Self { parameters, conditions, resources, outputs } = self;
        Template { version: "2010-09-09", description, metadata: None, parameters, conditions, resources, outputs }
    }
}

impl Template {
    pub fn json(&self) -> String {
        Node::of(self).json()
    }

    /// JSON without a space, as it is sent.
    pub fn compact(&self) -> String {
        Node::of(self).compact()
    }

    pub fn yaml(&self) -> String {
        Node::of(self).yaml()
    }

    pub fn get(&self, id: &str) -> Option<&Resource> {
        self.resources.iter().find(|(own, _)| own.as_str() == id).map(|(_, resource)| resource)
    }
}

#[allow(clippy::ptr_arg, reason = "serde passes the field")]
fn in_order<T: Serialize, S: Serializer>(all: &Vec<(Id, T)>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(all.len()))?;
    for (id, value) in all {
        map.serialize_entry(id, value)?;
    }
    map.end()
}
