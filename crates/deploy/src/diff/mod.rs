//! What differs between two documents of ECS, with everything left out that AWS fills in, orders, resolves or counts by itself:
//! a describe fed back differs in nothing from the request it came of.
//!
//! A task definition is compared whole, since registering replaces it whole. A service is compared in what the newer document
//! names, since UpdateService leaves the rest as it is.

mod defaults;
mod hide;
mod render;
mod shape;
mod tidy;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::defaults::{default, equivalent, is_empty};
use self::shape::{Node, Path};
pub use render::text;
pub use tidy::service_settings;

/// What a document describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    TaskDefinition,
    Service,
}

/// One difference. `from` without `to`: it goes; `to` without `from`: it is new.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// `containerDefinitions[web].environment[LOG_LEVEL]`.
    pub path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Value>,
    /// Whether a part of the values is not shown because it looks like a secret.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
}

/// What leads from one document to the other, by path. Each may be a request (`RegisterTaskDefinition`, `CreateService`), a
/// describe, or a file that wraps one of them; `Null`: there is none. Of a service under Application Auto Scaling
/// (`scalableTarget` in one of them) the desired count is not compared.
pub fn diff(kind: Kind, from: &Value, to: &Value) -> Vec<Change> {
    let (from, to) = tidy::both(kind, from, to);
    let (from, to) = (shape::of(kind, from), shape::of(kind, to));
    let mut walk = Walk { kind, changes: Vec::new() };
    match (&from, &to) {
        (None, Some(all)) => walk.leaves(&Path::default(), all, false),
        (Some(all), None) if kind == Kind::TaskDefinition => walk.leaves(&Path::default(), all, true),
        _ => walk.compare(&Path::default(), from.as_ref(), to.as_ref()),
    }
    walk.changes
}

struct Walk {
    kind: Kind,
    changes: Vec<Change>,
}

impl Walk {
    fn compare(&mut self, path: &Path, from: Option<&Node>, to: Option<&Node>) {
        let there = |node: &&Node| !matches!(node, Node::Leaf(Value::Null));
        match (from.filter(there), to.filter(there)) {
            (None, None) => {}
            (Some(_), None) if self.kind == Kind::Service => {}
            (Some(Node::Map(one)), Some(Node::Map(other))) => {
                let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
                for name in names {
                    self.compare(&path.field(name), one.get(name), other.get(name));
                }
            }
            // Without the object its fields have their defaults.
            (Some(Node::Map(one)), None) => self.one_sided(path, one, true),
            (None, Some(Node::Map(other))) => self.one_sided(path, other, false),
            (Some(Node::Keyed(one)), Some(Node::Keyed(other))) => {
                let keys: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
                for key in keys {
                    self.entry(&path.entry(key), one.get(key), other.get(key));
                }
            }
            (Some(Node::Keyed(one)), None) => {
                for (key, entry) in one {
                    self.entry(&path.entry(key), Some(entry), None);
                }
            }
            (None, Some(Node::Keyed(other))) => {
                for (key, entry) in other {
                    self.entry(&path.entry(key), None, Some(entry));
                }
            }
            // An empty list of what has keys is a leaf: see `shape`.
            (Some(Node::Keyed(_)), Some(Node::Leaf(value))) if is_empty(value) => {
                self.remove_entries(path, from);
            }
            (Some(Node::Leaf(value)), Some(Node::Keyed(_))) if is_empty(value) => self.compare(path, None, to),
            (one, other) => self.leaf(path, one.map(Node::value), other.map(Node::value)),
        }
    }

    fn remove_entries(&mut self, path: &Path, from: Option<&Node>) {
        if let Some(Node::Keyed(entries)) = from {
            for (key, entry) in entries {
                self.entry(&path.entry(key), Some(entry), None);
            }
        }
    }

    fn one_sided(&mut self, path: &Path, fields: &std::collections::BTreeMap<String, Node>, before: bool) {
        for (name, node) in fields {
            let (from, to) = if before { (Some(node), None) } else { (None, Some(node)) };
            self.compare(&path.field(name), from, to);
        }
    }

    /// That an entry is there counts by itself: a variable without a value is a variable.
    fn entry(&mut self, path: &Path, from: Option<&Node>, to: Option<&Node>) {
        match (from, to) {
            (Some(_), Some(_)) => self.compare(path, from, to),
            (Some(node), None) => self.whole(path, node, true),
            (None, Some(node)) => self.whole(path, node, false),
            (None, None) => {}
        }
    }

    /// Every value of an entry that is on one side only.
    fn whole(&mut self, path: &Path, node: &Node, before: bool) {
        let since = self.changes.len();
        self.leaves(path, node, before);
        if self.changes.len() == since {
            let value = Some(node.value());
            let (from, to) = if before { (value, None) } else { (None, value) };
            self.push(path, from, to);
        }
    }

    fn leaves(&mut self, path: &Path, node: &Node, before: bool) {
        match node {
            Node::Map(fields) => fields.iter().for_each(|(name, node)| self.leaves(&path.field(name), node, before)),
            Node::Keyed(entries) => entries.iter().for_each(|(key, node)| self.whole(&path.entry(key), node, before)),
            Node::Leaf(value) if is_empty(value) || default(self.kind, &path.pattern).as_ref() == Some(value) => {}
            Node::Leaf(value) => {
                let (from, to) = if before { (Some(value.clone()), None) } else { (None, Some(value.clone())) };
                self.push(path, from, to);
            }
        }
    }

    fn leaf(&mut self, path: &Path, from: Option<Value>, to: Option<Value>) {
        let filled =
            |value: Option<Value>| value.filter(|value| !value.is_null()).or_else(|| default(self.kind, &path.pattern));
        let (one, other) = (filled(from.clone()), filled(to.clone()));
        let same = match (&one, &other) {
            (None, None) => true,
            // A variable may be empty; everything else that is empty is not there.
            (Some(value), None) | (None, Some(value)) => is_empty(value),
            (Some(one), Some(other)) => {
                one == other
                    || equivalent(&path.pattern, one, other)
                    || !path.in_entry && is_empty(one) && is_empty(other)
            }
        };
        if !same {
            let shown = |value: Option<Value>| {
                value.filter(|value| !value.is_null() && *value != json!([]) && *value != json!({}))
            };
            self.push(path, shown(one), shown(other));
        }
    }

    fn push(&mut self, path: &Path, from: Option<Value>, to: Option<Value>) {
        let (from, hidden_from) = hide::secrets(path, from);
        let (to, hidden_to) = hide::secrets(path, to);
        self.changes.push(Change { path: path.shown.clone(), from, to, hidden: hidden_from || hidden_to });
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
