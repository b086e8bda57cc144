//! Pipelines: one release through environment after environment. What the manifest says, resolved.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::probe::Probe;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pipeline {
    pub name: String,
    pub on: Trigger,
    /// In the order in which a release goes through them; no environment twice.
    pub stages: Vec<Stage>,
}

/// What begins a run, beside somebody who asks for one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// Globs of branches that are pushed to.
    pub branches: Vec<String>,
    pub ignore: Vec<String>,
    /// A pipeline: when a run of it has passed, one of this begins with the same release.
    pub after: Option<String>,
}

/// One environment, and what brings a release there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    pub environment: String,
    pub requires: Requires,
    pub approval: Option<Approval>,
    /// One after another.
    pub run: Vec<Work>,
    pub on_failure: OnFailure,
}

/// What must hold before a stage is entered, beside that the one before has passed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requires {
    /// Environments that have run these very images, and well.
    pub passed: Vec<String>,
    /// Seconds since the stage before has passed.
    pub bake: u64,
    /// What must answer as it should, by absolute URL, in the order written.
    pub checks: Vec<Check>,
    /// Alarms of CloudWatch that must not be in ALARM, by the environment where they are.
    pub quiet: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub url: String,
    /// Its path is `url`'s.
    pub probe: Probe,
}

/// Who must say yes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Names, without where they come from: `anna` for `cli:anna` and `github:anna`.
    pub by: Vec<String>,
    /// How many of them.
    pub count: u32,
    /// Seconds from when they were asked.
    pub deadline: Option<u64>,
    pub on_deadline: OnDeadline,
    /// Whether who began the run counts.
    pub self_approval: bool,
    /// Notifications by name; empty: all of them.
    pub notify: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnDeadline {
    /// The run is rejected.
    #[default]
    Reject,
    /// The run is cancelled.
    Cancel,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// What is there stays; a deployment that failed has undone itself.
    #[default]
    Stop,
    /// The environment goes back to the release that it had.
    Rollback,
}

/// One thing that a stage does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// The release's images in one repository are copied to another, with the same digest, and deployed from there.
    Copy {
        /// From → to.
        repositories: BTreeMap<String, String>,
    },
    /// The environment's stack is applied.
    Stack {
        /// What is replaced or deleted is meant, also where nobody approves it.
        #[serde(default)]
        allow_replacement: bool,
        #[serde(default)]
        allow_deletion: bool,
    },
    /// A one-off task of the release's own task definition, such as migrations.
    Task(TaskWork),
    Deploy {},
    /// The environment's probes.
    Verify {},
    /// The release's image tag is written to parameters of SSM.
    Publish {
        parameters: Vec<String>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskWork {
    pub service: String,
    /// Whose command is replaced and whose exit code counts; `None`: the first essential one.
    pub container: Option<String>,
    pub command: Vec<String>,
    /// Seconds.
    pub timeout: u32,
}

impl Work {
    /// Parameters that it writes, each with the service whose image tag it gets: one for each service where the name says so, else the
    /// first's.
    pub fn parameters<'a>(&'a self, services: &'a [String]) -> impl Iterator<Item = (String, &'a str)> {
        let names = match self {
            Work::Publish { parameters } => parameters.as_slice(),
            _ => &[],
        };
        names.iter().flat_map(move |name| {
            let services = services.iter().take(if name.contains("{service}") { usize::MAX } else { 1 });
            services.map(move |service| (name.replace("{service}", service), service.as_str()))
        })
    }

    /// For a person: `deploy`, `task web: migrate up`.
    pub fn title(&self) -> String {
        match self {
            Work::Copy { .. } => "copy images".to_owned(),
            Work::Stack { .. } => "apply the stack".to_owned(),
            Work::Task(task) => format!("task {}: {}", task.service, task.command.join(" ")),
            Work::Deploy {} => "deploy".to_owned(),
            Work::Verify {} => "verify".to_owned(),
            Work::Publish { parameters } => format!("publish {}", parameters.join(", ")),
        }
    }
}

/// What a run carries from stage to stage: images by digest. Never built again, never a tag that may move.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipelineRelease {
    /// Digest of the release's record in the registry, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// Service → container → `REPOSITORY@sha256:…`, or `sha256:…` of an image on this machine.
    pub images: BTreeMap<String, BTreeMap<String, String>>,
}

impl PipelineRelease {
    /// `service/container` of images that are not named by digest.
    pub fn unpinned(&self) -> Vec<String> {
        let all = self.images.iter().flat_map(|(service, images)| {
            images.iter().map(move |(container, image)| (format!("{service}/{container}"), image))
        });
        all.filter(|(_, image)| !is_pinned(image)).map(|(who, _)| who).collect()
    }

    /// `1a2b3c4` where the commit is known.
    pub fn short(&self) -> String {
        let text = self.commit.as_deref().or(self.id.as_deref()).unwrap_or("its images");
        let text = text.strip_prefix("sha256:").unwrap_or(text);
        if text.bytes().all(|byte| byte.is_ascii_hexdigit()) { text.get(..7).unwrap_or(text) } else { text }.to_owned()
    }
}

/// Whether an image is named by what it is.
pub fn is_pinned(image: &str) -> bool {
    let hex = match image.rsplit_once("@sha256:") {
        Some((name, hex)) if !name.is_empty() => hex,
        _ => image.strip_prefix("sha256:").unwrap_or_default(),
    };
    hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_the_first_service_s_or_each_one_s() {
        let work = Work::Publish { parameters: vec!["tag".to_owned(), "/shop/{service}/tag".to_owned()] };
        let services = ["web".to_owned(), "worker".to_owned()];
        let all: Vec<_> = work.parameters(&services).collect();
        let told = [("tag", "web"), ("/shop/web/tag", "web"), ("/shop/worker/tag", "worker")];
        assert_eq!(all, told.map(|(name, service)| (name.to_owned(), service)));
        assert_eq!(Work::Deploy {}.parameters(&services).count(), 0);
    }

    #[test]
    fn only_a_whole_digest_pins() {
        let hex = "a".repeat(64);
        assert!(is_pinned(&format!("r/app@sha256:{hex}")) && is_pinned(&format!("sha256:{hex}")));
        for image in ["r/app:1", "r/app@sha256:abc", "@sha256:", &format!("@sha256:{hex}"), "sha256:"] {
            assert!(!is_pinned(image), "{image}");
        }
        let mut release = PipelineRelease { commit: Some("1a2b3c4d5e".into()), ..PipelineRelease::default() };
        release.images.insert("web".into(), [("app".to_owned(), "r/app:1".to_owned())].into());
        assert_eq!(release.unpinned(), ["web/app"]);
        assert_eq!(release.short(), "1a2b3c4");
    }
}
