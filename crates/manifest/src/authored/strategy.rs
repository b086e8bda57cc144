//! How traffic goes over to a new version: ECS's blue/green, linear and canary deployments.

use landfall_model::strategy::{AlternateTarget, LifecycleStage, TimeoutAction};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::scalar::{Duration, Text};

/// What happens at stages of a deployment before it goes on. Exactly one of `pause` and `function`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["stages"]))]
pub(crate) struct LifecycleHook {
    /// The stages before which it happens.
    pub stages: Vec<LifecycleStage>,
    /// It waits for `landfall continue` or `landfall abort`.
    pub pause: Option<Pause>,
    /// ECS invokes a Lambda function.
    pub function: Option<HookFunction>,
}

/// A wait for somebody.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Pause {
    /// Whole minutes, up to 14 days. Default: 24h.
    pub timeout: Option<Duration>,
    /// Default: rollback.
    pub on_timeout: Option<TimeoutAction>,
}

/// A Lambda function that ECS invokes.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["arn", "role"]))]
pub(crate) struct HookFunction {
    /// The function's ARN.
    pub arn: Text,
    /// The ARN of a role that lets ECS invoke it.
    pub role: Text,
}

/// What the load balancer needs for two versions at once: ARNs.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["target_group", "production_listener_rule", "role"]))]
pub(crate) struct Alternate {
    /// The second target group.
    pub target_group: Text,
    /// The rule whose weights ECS changes; of a Network Load Balancer, the listener.
    pub production_listener_rule: Text,
    /// Likewise for test traffic.
    pub test_listener_rule: Option<Text>,
    /// The infrastructure role that lets ECS change them.
    pub role: Text,
}

impl From<Alternate> for AlternateTarget {
    fn from(alternate: Alternate) -> Self {
        Self {
            target_group: alternate.target_group.0,
            production_listener_rule: alternate.production_listener_rule.0,
            test_listener_rule: alternate.test_listener_rule.map(|rule| rule.0),
            role: alternate.role.0,
        }
    }
}

/// Alarms of CloudWatch that end a deployment.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["names"]))]
pub(crate) struct Alarms {
    /// As CloudWatch has them.
    pub names: Vec<Text>,
    /// Default: true.
    pub enable: Option<bool>,
    /// Go back to what ran before. Default: true.
    pub rollback: Option<bool>,
}
