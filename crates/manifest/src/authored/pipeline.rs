//! Pipelines, as authored.

use std::collections::BTreeMap;

use landfall_model::pipeline::{OnDeadline, OnFailure};
use schemars::JsonSchema;
use serde::Deserialize;

use super::ci::NoSettings;
use crate::scalar::{Duration, Text};

/// A release's way from environment to environment: the same images by digest, never built again.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["stages"]))]
pub(crate) struct Pipeline {
    /// What begins a run. `landfall pipeline run` always does; without this section nothing else.
    pub on: Option<PipelineTrigger>,
    /// In order. Each environment once.
    pub stages: Vec<PipelineStage>,
}

/// What begins a run by itself.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PipelineTrigger {
    /// Globs of branches: a push to one begins a run, which waits for the commit's images. `*` stops at `/`, `**` does not.
    pub branches: Vec<String>,
    /// Globs of branches that it is not for.
    pub ignore: Vec<String>,
    /// Another pipeline: a run of it that has passed begins one of this with the same release.
    pub after: Option<String>,
}

/// An environment, and what brings a release there.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["environment"]))]
pub(crate) struct PipelineStage {
    /// One of `environments`.
    pub environment: String,
    /// What must hold before it is entered, beside that the stage before has passed.
    pub requires: Option<StageRequires>,
    /// Who must say yes to exactly what would be deployed, over exactly what is there.
    pub approval: Option<StageApproval>,
    /// What is done, one after another. Default: `deploy` and `verify`.
    pub run: Option<Vec<StageWork>>,
    /// What a failure does. Default: stop, with what is there. A deployment that fails undoes itself in any case.
    pub on_failure: Option<OnFailure>,
    /// Repositories: images of the release in one are copied to the other, digest by digest, and deployed from there. For
    /// environments in other accounts and regions.
    pub copy: BTreeMap<String, Text>,
    /// Parameters of SSM that get the release's image tag once the stage has come out well, by path. `{environment}` and `{service}`
    /// are replaced; with `{service}` there is one for each.
    pub image_tag: Vec<Text>,
}

/// What must hold before a stage.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct StageRequires {
    /// Environments in which a deployment of these very images has come out well.
    pub passed: Vec<String>,
    /// How long the release must have been in the stage before. Whole seconds, up to 30d.
    pub bake: Option<Duration>,
    /// URLs that must answer as they should, by name.
    pub checks: BTreeMap<String, StageCheck>,
    /// Alarms of CloudWatch that must not be in ALARM, by the environment on AWS that they watch.
    pub quiet: BTreeMap<String, Vec<Text>>,
}

/// A GET, and what its answer must be.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["url"]))]
pub(crate) struct StageCheck {
    /// An absolute URL.
    pub url: String,
    /// Status codes: `200`, `200,202`, `200-299` or a mix. Default: `200-399`
    pub status: Option<Text>,
    /// Text that the body contains.
    pub body: Option<Text>,
}

/// Who must say yes.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["by"]))]
pub(crate) struct StageApproval {
    /// Names of people, as their account or GitHub calls them.
    pub by: Vec<Text>,
    /// How many of them. Default: 1.
    pub count: Option<u32>,
    /// How long they have. Whole seconds, up to 30d. Default: no limit.
    pub deadline: Option<Duration>,
    /// What happens then. Default: reject.
    pub on_deadline: Option<OnDeadline>,
    /// Whether whoever began the run may approve it. Default: false.
    pub self_approval: bool,
    /// Notifications by name that are told, with links to decide by. Default: all.
    pub notify: Vec<Text>,
}

/// Exactly one of `stack`, `task`, `deploy` and `verify`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct StageWork {
    /// The environment's stack of CloudFormation is applied.
    pub stack: Option<StageStack>,
    /// A one-off task of the release, such as migrations.
    pub task: Option<StageTask>,
    /// The environment's services, with the release's images.
    pub deploy: Option<NoSettings>,
    /// The environment's probes.
    pub verify: Option<NoSettings>,
}

/// What applying may do where nobody approves the stage. With an approval, approvers are shown it, and nothing else is done.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct StageStack {
    /// Replace resources. Default: false, and the stage fails, with nothing changed.
    pub allow_replacement: bool,
    /// Delete resources. Default: false.
    pub allow_deletion: bool,
}

/// A one-off task. It must end with exit code 0.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["service", "command"]))]
pub(crate) struct StageTask {
    /// Whose task definition.
    pub service: String,
    /// Whose command is replaced and whose exit code counts. Default: the first essential one.
    pub container: Option<String>,
    /// Replaces the container's own.
    pub command: Vec<Text>,
    /// Whole seconds, up to 1d. Default: 15m.
    pub timeout: Option<Duration>,
}
