//! Commands from a chat, what is put to sleep, and CircleCI's pipelines, as authored.

use std::collections::BTreeMap;

use landfall_model::task::SecretRef;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::scalar::{Duration, Plain, Text};

/// Commands from a chat: `create`, `destroy`, `list`, `status`, `wake`, `sleep`, `help`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["slack"]))]
pub(crate) struct ChatOps {
    /// Slack's slash command, its outgoing webhook, or both.
    pub slack: Option<SlackCommands>,
}

/// Slack. At least one of `signing_secret` and `outgoing_token`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SlackCommands {
    /// The app's signing secret; the slash command posts to `/webhooks/slack/command`.
    pub signing_secret: Option<SecretRef>,
    /// The outgoing webhook's token; it posts to `/webhooks/slack/outgoing`.
    pub outgoing_token: Option<SecretRef>,
    /// Channels that commands are taken from: ids (`C0123ABCD`) or names (`#deploys`). Default: all.
    pub channels: Vec<Text>,
    /// Ids of users (`U0123ABCD`) whose commands are taken. Default: everybody's.
    pub users: Vec<Text>,
}

/// When a preview that nobody uses is scaled to 0.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["after"]))]
pub(crate) struct Sleep {
    /// Without a request through Landfall's load balancer for this long. Whole seconds, at least 5s.
    pub after: Option<Duration>,
    /// How long a request is held while the preview wakes. Whole seconds, 1s to 10m. Default: 60s.
    pub hold: Option<Duration>,
}

/// A pipeline of CircleCI, triggered over its API v2.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["project", "token"]))]
pub(crate) struct CircleCiHook {
    /// The project's slug: `gh/acme/my-project`, `bb/acme/my-project`, `circleci/ORG-ID/PROJECT-ID`.
    pub project: String,
    /// Default: the preview's branch. May hold `{branch}`, `{commit}`, `{url}`, `{environment}`, `{project}` and `{hook}`.
    pub branch: Option<Text>,
    /// Pipeline parameters, each declared in the project's configuration; texts may hold placeholders as `branch` may.
    pub parameters: BTreeMap<String, Plain>,
    /// A personal API token, sent as `Circle-Token`.
    pub token: Option<SecretRef>,
    /// Follow the pipeline until all its workflows have ended well. Default: false, done when the pipeline was accepted.
    pub wait: bool,
    /// Default: `https://circleci.com`
    pub host: Option<String>,
}
