//! Deployment strategies, authored → resolved.

use landfall_model::strategy::{
    DeploymentAlarms, DeploymentStrategy, LifecycleAction, LifecycleHook, Percent, StrategyKind,
};

use crate::authored;
use crate::scalar::Duration;

/// Minutes of a pause where nothing says.
const PAUSE: u32 = 1440;

pub(crate) fn strategy(deployment: &authored::Deployment) -> DeploymentStrategy {
    DeploymentStrategy {
        kind: deployment.strategy.unwrap_or_default(),
        percent: deployment.percent.as_ref().and_then(|percent| percent.0.trim().parse().ok()).and_then(Percent::new),
        step_bake_time: deployment.step_bake_time.map(minutes),
        bake_time: deployment.bake_time.map(minutes),
        hooks: deployment.lifecycle_hooks.iter().filter_map(hook).collect(),
        alternate: deployment.alternate.clone().map(Into::into),
    }
}

fn hook(hook: &authored::LifecycleHook) -> Option<LifecycleHook> {
    let action = match (&hook.pause, &hook.function) {
        (Some(pause), _) => LifecycleAction::Pause {
            timeout: pause.timeout.map(minutes),
            on_timeout: pause.on_timeout.unwrap_or_default(),
        },
        (None, Some(function)) => {
            LifecycleAction::Function { arn: function.arn.0.clone(), role: function.role.0.clone() }
        }
        (None, None) => return None,
    };
    Some(LifecycleHook { stages: hook.stages.clone(), action })
}

pub(super) fn alarms(alarms: &authored::Alarms) -> DeploymentAlarms {
    DeploymentAlarms {
        names: alarms.names.iter().map(|name| name.0.clone()).collect(),
        enable: alarms.enable.unwrap_or(true),
        rollback: alarms.rollback.unwrap_or(true),
    }
}

fn minutes(duration: Duration) -> u32 {
    u32::try_from(duration.0 / 60_000).unwrap_or(u32::MAX)
}

/// Seconds that a deployment waits although all is well: what its time limit has to leave room for.
pub(crate) fn waits(strategy: &DeploymentStrategy) -> u32 {
    let percent = strategy.percent.map(Percent::get);
    let steps = match strategy.kind {
        StrategyKind::Rolling | StrategyKind::BlueGreen => 0.0,
        StrategyKind::Linear => (100.0 / percent.unwrap_or(10.0).max(3.0)).ceil() - 1.0,
        StrategyKind::Canary => 1.0,
    };
    let step = match strategy.kind {
        StrategyKind::Canary => strategy.step_bake_time.unwrap_or(10),
        _ => strategy.step_bake_time.unwrap_or(6),
    };
    let pauses = strategy.hooks.iter().map(|hook| match &hook.action {
        LifecycleAction::Pause { timeout, .. } => {
            let stages = u32::try_from(hook.stages.len()).unwrap_or(u32::MAX);
            timeout.unwrap_or(PAUSE).saturating_mul(stages)
        }
        LifecycleAction::Function { .. } => 0,
    });
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 33")]
    let shifting = step.saturating_mul(steps as u32);
    let minutes = pauses.fold(shifting.saturating_add(strategy.bake_time.unwrap_or(0)), u32::saturating_add);
    minutes.saturating_mul(60)
}

#[cfg(test)]
mod tests {
    use landfall_model::strategy::{LifecycleStage, TimeoutAction};

    use super::*;

    #[test]
    fn the_time_limit_leaves_room_for_what_is_waited_for() {
        assert_eq!(waits(&DeploymentStrategy::default()), 0);
        let linear = |percent, step| DeploymentStrategy {
            kind: StrategyKind::Linear,
            percent,
            step_bake_time: step,
            ..DeploymentStrategy::default()
        };
        assert_eq!(waits(&linear(None, None)), 9 * 6 * 60);
        assert_eq!(waits(&linear(Percent::new(30.0), Some(2))), 3 * 2 * 60);
        let pause = LifecycleAction::Pause { timeout: Some(30), on_timeout: TimeoutAction::Rollback };
        let hook = LifecycleHook { stages: vec![LifecycleStage::PostScaleUp], action: pause };
        let canary = DeploymentStrategy {
            kind: StrategyKind::Canary,
            bake_time: Some(5),
            hooks: vec![hook],
            ..DeploymentStrategy::default()
        };
        assert_eq!(waits(&canary), (10 + 5 + 30) * 60);
    }
}
