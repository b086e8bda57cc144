//! What everything is called, and how a stack says whose it is: by tags, never by a part of its name.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Tag of every stack of ours: the cluster's name, whole.
pub const LABEL_CLUSTER: &str = "landfall:cluster";
/// `cluster`, `compute` or `health`.
pub(crate) const LABEL_PART: &str = "landfall:part";
/// Of a compute stack, whole.
pub const LABEL_VERSION: &str = "landfall:version";

/// Of a stack's name: `{cluster}-asg-{version}` has 128 characters at most.
const LONGEST: usize = 128;

/// The longest name of a cluster with which every stack's name has room for a commit.
pub const LONGEST_NAME: usize = 83;

/// Whether a cluster can be called so: a letter, then letters, digits and hyphens.
pub fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && name.len() <= LONGEST_NAME
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    Cluster,
    Compute,
    Health,
}

impl Part {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Compute => "compute",
            Self::Health => "health",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What tells one compute stack from another: a commit, usually.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(String);

impl Version {
    /// # Errors
    /// What no stack's name can end with, and why.
    pub fn parse(text: &str, cluster: &str) -> Result<Self, String> {
        let shown = landfall_manifest::yaml::shorten(text);
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(format!(
                "version `{shown}`: a version is letters, digits and hyphens, as it ends a stack's name"
            ));
        }
        let length = stack_name(cluster, Part::Compute, Some(&Self(text.to_owned()))).len();
        if length > LONGEST {
            return Err(format!(
                "version `{shown}` is too long: its stack's name would have {length} characters, of {LONGEST}"
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// Where it makes no difference which.
    pub(crate) fn any() -> Self {
        Self("any".to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// As ecs-cluster-deployer names them. `version`: of a compute stack.
pub fn stack_name(cluster: &str, part: Part, version: Option<&Version>) -> String {
    match (part, version) {
        (Part::Cluster, _) => format!("{cluster}-cluster"),
        (Part::Health, _) => format!("{cluster}-cluster-health-task"),
        (Part::Compute, version) => format!("{cluster}-asg-{}", version.map_or("", Version::as_str)),
    }
}

/// Of the pipeline that deploys the cluster.
pub fn pipeline_stack(cluster: &str) -> String {
    format!("{cluster}-cluster-codepipeline")
}

/// The tags of that stack beside `landfall`: it is no part of the cluster, and stays where that goes.
pub fn pipeline_labels(cluster: &str) -> BTreeMap<String, String> {
    [(LABEL_CLUSTER, cluster), (LABEL_PART, "pipeline")].map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// What the tag `landfall` says of every stack of a cluster: with it a stack is ours to change.
pub fn owner(cluster: &str) -> String {
    format!("cluster/{cluster}")
}

/// The tags of a stack beside `landfall`.
pub fn labels(cluster: &str, part: Part, version: Option<&Version>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([
        (LABEL_CLUSTER.to_owned(), cluster.to_owned()),
        (LABEL_PART.to_owned(), part.as_str().to_owned()),
    ]);
    labels.extend(version.map(|version| (LABEL_VERSION.to_owned(), version.to_string())));
    labels
}

/// Under which the cluster's stack exports something. `what`: `ALBBadgeSg`.
pub(crate) fn export(cluster: &str, what: &str) -> String {
    format!("{}:{what}", stack_name(cluster, Part::Cluster, None))
}

/// A capacity provider's; none may begin with `aws`, `ecs` or `fargate`. No name and no version has a `_`, so that of no two what they are
/// made of reads the same.
pub(crate) fn provider(cluster: &str, fleet: &str, version: &Version) -> String {
    format!("landfall-{cluster}_{fleet}_{version}")
}

/// The output of the health task's stack that holds the task definition.
pub const HEALTH_TASK: &str = "HealthTask";

/// Attributes of every container instance, by which tasks are held to a version.
pub mod attributes {
    /// Ours: the version.
    pub const VERSION: &str = "landfall.version";
    /// The fleet's or group's name.
    pub const FLEET: &str = "landfall.fleet";
    /// The version, as ecs-cluster-deployer called it: placement constraints of services that are there go on to mean what they did.
    pub const ASG_VERSION: &str = "asg_version";
    pub const CLUSTER_NAME: &str = "cluster_name";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_are_named_as_they_were() {
        let version = Version::parse("0a1b2c", "kloudcover").unwrap();
        assert_eq!(stack_name("kloudcover", Part::Cluster, None), "kloudcover-cluster");
        assert_eq!(stack_name("kloudcover", Part::Compute, Some(&version)), "kloudcover-asg-0a1b2c");
        assert_eq!(stack_name("kloudcover", Part::Health, None), "kloudcover-cluster-health-task");
        assert_eq!(export("dev", "ALBBadgeSg"), "dev-cluster:ALBBadgeSg");
    }

    #[test]
    fn a_version_fits_into_a_stack_s_name() {
        for text in ["", "1.2.3", "a b", "a_b", "ü", "a/b"] {
            assert!(Version::parse(text, "dev").is_err(), "{text}");
        }
        assert!(Version::parse(&"a".repeat(119), "dev").is_ok_and(|version| version.as_str().len() == 119));
        assert!(Version::parse(&"a".repeat(121), "dev").unwrap_err().contains("129 characters"));
    }
}
