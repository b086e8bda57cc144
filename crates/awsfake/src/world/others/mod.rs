//! The other services, as far as Landfall calls them.

pub mod access;
pub mod deliver;
pub mod images;
pub mod observe;
pub mod parameters;
pub mod tagging;

use std::collections::BTreeMap;

use self::deliver::{Published, Subscription};
use self::images::Image;
use self::observe::{Alarm, LogGroup};
use self::parameters::{Parameter, Secret};

#[derive(Debug, Clone, Default)]
pub struct Others {
    pub parameters: BTreeMap<String, Parameter>,
    /// By name.
    pub secrets: BTreeMap<String, Secret>,
    /// ARNs.
    pub topics: Vec<String>,
    pub subscriptions: Vec<Subscription>,
    pub published: Vec<Published>,
    /// Function and payload of each invocation.
    pub invocations: Vec<(String, serde_json::Value)>,
    pub log_groups: BTreeMap<String, LogGroup>,
    /// By repository.
    pub repositories: BTreeMap<String, Vec<Image>>,
    pub alarms: BTreeMap<String, Alarm>,
    /// What was put of metrics, the oldest first.
    pub metrics: Vec<serde_json::Value>,
    /// Names of roles that exist. Empty: every role does.
    pub roles: Vec<String>,
    /// Action patterns that a simulation denies.
    pub denied: Vec<String>,
}
