//! How traffic goes over to the tasks of a new deployment. Words, units, defaults and limits are those of ECS's
//! `DeploymentConfiguration`
//! (<https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentConfiguration.html>).

use std::fmt;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeploymentStrategy {
    pub kind: StrategyKind,
    /// Of the production traffic: each step's (linear; `None`: 10) or the first one's (canary; `None`: 5).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<Percent>,
    /// Minutes that a step is held before the next (linear; `None`: 6), or the first one (canary; `None`: 10).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_bake_time: Option<u32>,
    /// Minutes that both revisions run on once all traffic is shifted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bake_time: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<LifecycleHook>,
    /// What the load balancer needs for two revisions at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alternate: Option<AlternateTarget>,
}

impl DeploymentStrategy {
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StrategyKind {
    /// Tasks are replaced little by little.
    #[default]
    Rolling,
    /// A second set of tasks, then all traffic at once.
    BlueGreen,
    /// A second set of tasks, then traffic in equal steps.
    Linear,
    /// A second set of tasks, then a little traffic, then all.
    Canary,
}

impl StrategyKind {
    /// As the manifest has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rolling => "rolling",
            Self::BlueGreen => "blue_green",
            Self::Linear => "linear",
            Self::Canary => "canary",
        }
    }
}

/// A percentage in tenths, as ECS counts it; a number in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u32);

impl Percent {
    /// `None`: below 0, above 100 or finer than a tenth.
    pub fn new(percent: f64) -> Option<Self> {
        let tenths = (percent * 10.0).round();
        let fits = (0.0..=1000.0).contains(&tenths) && (tenths - percent * 10.0).abs() < 1e-6;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1000")]
        fits.then_some(Self(tenths as u32))
    }

    pub fn get(self) -> f64 {
        f64::from(self.0) / 10.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.get())
    }
}

impl Serialize for Percent {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.get())
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let percent = f64::deserialize(deserializer)?;
        Self::new(percent).ok_or_else(|| serde::de::Error::custom("a percentage of at most one decimal"))
    }
}

/// What happens at stages of a deployment before it goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifecycleHook {
    pub stages: Vec<LifecycleStage>,
    pub action: LifecycleAction,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LifecycleAction {
    /// It waits for somebody to let it go on.
    Pause {
        /// Minutes; `None`: 1440.
        timeout: Option<u32>,
        on_timeout: TimeoutAction,
    },
    /// ECS invokes a Lambda function.
    Function {
        arn: String,
        /// That lets ECS invoke it.
        role: String,
    },
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimeoutAction {
    Continue,
    #[default]
    Rollback,
}

/// The stages that hooks may be put on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LifecycleStage {
    ReconcileService,
    PreScaleUp,
    PostScaleUp,
    TestTrafficShift,
    PostTestTrafficShift,
    PreProductionTrafficShift,
    ProductionTrafficShift,
    PostProductionTrafficShift,
}

impl LifecycleStage {
    /// ECS refuses pauses while traffic is being shifted.
    pub const fn may_pause(self) -> bool {
        !matches!(self, Self::TestTrafficShift | Self::ProductionTrafficShift)
    }

    /// As the manifest has it; ECS's word in capitals.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReconcileService => "reconcile_service",
            Self::PreScaleUp => "pre_scale_up",
            Self::PostScaleUp => "post_scale_up",
            Self::TestTrafficShift => "test_traffic_shift",
            Self::PostTestTrafficShift => "post_test_traffic_shift",
            Self::PreProductionTrafficShift => "pre_production_traffic_shift",
            Self::ProductionTrafficShift => "production_traffic_shift",
            Self::PostProductionTrafficShift => "post_production_traffic_shift",
        }
    }

    pub const ALL: [Self; 8] = [
        Self::ReconcileService,
        Self::PreScaleUp,
        Self::PostScaleUp,
        Self::TestTrafficShift,
        Self::PostTestTrafficShift,
        Self::PreProductionTrafficShift,
        Self::ProductionTrafficShift,
        Self::PostProductionTrafficShift,
    ];
}

/// ARNs: the second target group and the rules whose weights ECS changes, by a role that lets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AlternateTarget {
    pub target_group: String,
    /// A listener's rule; of a Network Load Balancer, the listener.
    pub production_listener_rule: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_listener_rule: Option<String>,
    /// The infrastructure role for load balancers.
    pub role: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentAlarms {
    pub names: Vec<String>,
    pub enable: bool,
    pub rollback: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_tenths() {
        assert_eq!(Percent::new(0.1).unwrap().get(), 0.1);
        assert_eq!(Percent::new(33.3).unwrap().to_string(), "33.3");
        assert_eq!(Percent::new(100.0).unwrap().to_string(), "100");
        assert!([0.25, -1.0, 100.1, f64::NAN].iter().all(|percent| Percent::new(*percent).is_none()));
        let percent: Percent = serde_json::from_str("12.5").unwrap();
        assert_eq!(serde_json::to_string(&percent).unwrap(), "12.5");
        assert!(serde_json::from_str::<Percent>("0.05").is_err());
    }

    #[test]
    fn a_rolling_deployment_without_more_says_nothing() {
        assert!(DeploymentStrategy::default().is_default());
        let read: DeploymentStrategy = serde_json::from_str(r#"{"kind":"canary","percent":5}"#).unwrap();
        assert_eq!((read.kind, read.percent), (StrategyKind::Canary, Percent::new(5.0)));
        assert!(!read.is_default());
    }
}
