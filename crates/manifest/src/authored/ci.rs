//! What `landfall ci` does for which event, as authored.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::scalar::{Duration, Text};

/// What `landfall ci` does in a CI job.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["rules"]))]
pub(crate) struct Ci {
    /// By name. Every rule that matches the job's event adds its steps; a step that several have is done once.
    pub rules: BTreeMap<String, CiRule>,
    /// Variables whose values never show in the output, beside those whose name looks like a secret's.
    pub mask: Vec<String>,
}

/// For which events, and what is done then.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["steps"]))]
pub(crate) struct CiRule {
    /// Globs of branches that are pushed to; `*` stops at `/`, `**` does not.
    pub branches: Vec<String>,
    /// Globs of branches that it is not for.
    pub ignore: Vec<String>,
    /// Globs of tags.
    pub tags: Vec<String>,
    /// Whether it is for pull requests. One from a fork gets tests and builds only. Default: false.
    pub pull_requests: bool,
    /// Globs of paths: one of those that the push or the pull request changed must match. Default: whatever changed.
    pub paths: Vec<String>,
    /// Tests and builds run first, side by side; then `push`; then the others, one after another as written.
    pub steps: Vec<CiStep>,
}

/// Exactly one of `test`, `build`, `push`, `deploy`, `verify`, `preview`, `promote` and `cluster`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CiStep {
    /// Shell lines, run one after another by one `sh` until one fails.
    pub test: Option<Vec<Text>>,
    /// Every image of the manifest: `landfall build`.
    pub build: Option<NoSettings>,
    /// What was built, to its registry: `landfall push`.
    pub push: Option<NoSettings>,
    /// An environment: `landfall deploy ENV` with the commit.
    pub deploy: Option<String>,
    /// An environment whose probes are run: `landfall verify ENV`.
    pub verify: Option<String>,
    /// The branch's preview, brought up or updated: `landfall preview create BRANCH`.
    pub preview: Option<NoSettings>,
    /// An environment that gets the image which the commit has already; nothing is built.
    pub promote: Option<String>,
    /// An infra.yml, whose cluster is rolled to the commit: `landfall cluster deploy`.
    pub cluster: Option<String>,
    /// More words for the landfall command of the step, as it takes them: `[--platform, linux/arm64]`. None of a test's.
    #[serde(default)]
    pub args: Vec<Text>,
    /// What it is called. Default: `test`, `build`, `push`, `deploy ENV` and so on.
    pub name: Option<String>,
    /// Names of steps that it waits for, instead of the usual; `[]` for none.
    pub needs: Option<Vec<String>>,
    /// It is stopped and has failed after this long. Whole seconds. Default: no limit.
    pub timeout: Option<Duration>,
}

/// Nothing to set.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct NoSettings {}
