//! Probes of a lasting environment, as authored.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::scalar::{Duration, Text};

/// What `landfall verify ENV --probes` asks once it is deployed.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Verify {
    /// Default: where the environment is reached, by its `routing` or its service's load balancer.
    pub url: Option<String>,
    /// How long a probe may fail before it has failed for good. Whole seconds, 1s to 1h. Default: 2m.
    pub deadline: Option<Duration>,
    /// By name. Default: one of `/` that answers 200 to 399.
    pub probes: BTreeMap<String, Probe>,
}

/// One GET, and what its answer must be.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Probe {
    /// With its query, from the URL's root. Default: `/`
    pub path: Option<String>,
    /// Status codes: `200`, `200,202`, `200-299` or a mix. Default: `200-399`
    pub status: Option<Text>,
    /// Text that the body contains.
    pub body: Option<Text>,
    /// Headers that are there, and text that each contains.
    pub headers: BTreeMap<String, Text>,
    /// The whole answer takes no longer.
    pub within: Option<Duration>,
}
