//! The template as a whole.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::expr::{Expr, Id};
use crate::live::Metadata;
use crate::node::Node;
use crate::resources::Resource;

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

impl Template {
    pub fn new(
        description: String,
        parameters: Vec<(Id, Parameter)>,
        resources: Vec<(Id, Resource)>,
        outputs: Vec<(Id, Output)>,
    ) -> Self {
        Self { version: "2010-09-09", description, metadata: None, parameters, resources, outputs }
    }

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
