//! Deployment strategies as ECS takes and tells them.
//!
//! ECS fills in its defaults, so that what was left out and what is told as the default are the same: both are compared without.

use aws_sdk_ecs::types as ecs;
use landfall_model::app::DeploymentConfiguration;
use landfall_model::strategy::{
    AlternateTarget, DeploymentAlarms, DeploymentStrategy, LifecycleAction, LifecycleHook, LifecycleStage, Percent,
    StrategyKind, TimeoutAction,
};
use landfall_ports::{PortError, PortResult};

use super::definition::number;

/// Minutes a hook is waited for where nothing says.
const HOOK_TIMEOUT: u32 = 1440;

/// Puts strategy, hooks and alarms in. `there`: what the service has, so that what is to go is said.
pub(crate) fn put(
    into: &mut ecs::DeploymentConfiguration,
    wanted: &DeploymentConfiguration,
    there: Option<&ecs::DeploymentConfiguration>,
) -> PortResult<()> {
    let strategy = &wanted.strategy;
    let was = read(there);
    if strategy.kind != StrategyKind::Rolling || was.kind != StrategyKind::Rolling {
        into.strategy = Some(kind(strategy.kind));
    }
    into.bake_time_in_minutes = strategy.bake_time.or(was.bake_time.map(|_| 0)).map(number);
    let percent = strategy.percent.map(Percent::get);
    match strategy.kind {
        StrategyKind::Linear => {
            let linear = ecs::LinearConfiguration::builder().set_step_percent(percent);
            into.linear_configuration =
                Some(linear.set_step_bake_time_in_minutes(strategy.step_bake_time.map(number)).build());
        }
        StrategyKind::Canary => {
            let canary = ecs::CanaryConfiguration::builder().set_canary_percent(percent);
            into.canary_configuration =
                Some(canary.set_canary_bake_time_in_minutes(strategy.step_bake_time.map(number)).build());
        }
        StrategyKind::Rolling | StrategyKind::BlueGreen => {}
    }
    if !strategy.hooks.is_empty() || !was.hooks.is_empty() {
        into.lifecycle_hooks = Some(strategy.hooks.iter().map(hook).collect());
    }
    if wanted.alarms.is_some() || read_alarms(there).is_some() {
        let none = DeploymentAlarms { names: Vec::new(), enable: false, rollback: false };
        let alarms = wanted.alarms.as_ref().unwrap_or(&none);
        let built = ecs::DeploymentAlarms::builder()
            .set_alarm_names(Some(alarms.names.clone()))
            .enable(alarms.enable)
            .rollback(alarms.rollback)
            .build();
        into.alarms = Some(built.map_err(|error| PortError::Bug(error.to_string()))?);
    }
    Ok(())
}

fn kind(kind: StrategyKind) -> ecs::DeploymentStrategy {
    match kind {
        StrategyKind::Rolling => ecs::DeploymentStrategy::Rolling,
        StrategyKind::BlueGreen => ecs::DeploymentStrategy::BlueGreen,
        StrategyKind::Linear => ecs::DeploymentStrategy::Linear,
        StrategyKind::Canary => ecs::DeploymentStrategy::Canary,
    }
}

fn hook(hook: &LifecycleHook) -> ecs::DeploymentLifecycleHook {
    let stages = hook.stages.iter().map(|stage| stage.name().to_ascii_uppercase());
    let stages = stages.map(|stage| ecs::DeploymentLifecycleHookStage::from(stage.as_str())).collect();
    let built = ecs::DeploymentLifecycleHook::builder().set_lifecycle_stages(Some(stages));
    match &hook.action {
        LifecycleAction::Pause { timeout, on_timeout } => {
            let action = match on_timeout {
                TimeoutAction::Continue => ecs::DeploymentLifecycleHookAction::Continue,
                TimeoutAction::Rollback => ecs::DeploymentLifecycleHookAction::Rollback,
            };
            let timeout = ecs::DeploymentLifecycleHookTimeoutConfiguration::builder()
                .set_timeout_in_minutes(timeout.map(number))
                .action(action)
                .build();
            built.target_type(ecs::DeploymentLifecycleHookTargetType::Pause).timeout_configuration(timeout).build()
        }
        LifecycleAction::Function { arn, role } => built.hook_target_arn(arn).role_arn(role).build(),
    }
}

pub(crate) fn advanced(alternate: &AlternateTarget) -> ecs::AdvancedConfiguration {
    ecs::AdvancedConfiguration::builder()
        .alternate_target_group_arn(&alternate.target_group)
        .production_listener_rule(&alternate.production_listener_rule)
        .set_test_listener_rule(alternate.test_listener_rule.clone())
        .role_arn(&alternate.role)
        .build()
}

pub(crate) fn read_alternate(balancer: &ecs::LoadBalancer) -> Option<AlternateTarget> {
    let advanced = balancer.advanced_configuration.as_ref()?;
    Some(AlternateTarget {
        target_group: advanced.alternate_target_group_arn.clone()?,
        production_listener_rule: advanced.production_listener_rule.clone().unwrap_or_default(),
        test_listener_rule: advanced.test_listener_rule.clone(),
        role: advanced.role_arn.clone().unwrap_or_default(),
    })
}

/// Without what ECS does anyway, and without what belongs to the load balancer.
pub(crate) fn read(there: Option<&ecs::DeploymentConfiguration>) -> DeploymentStrategy {
    let Some(there) = there else { return DeploymentStrategy::default() };
    let kind = match &there.strategy {
        Some(ecs::DeploymentStrategy::BlueGreen) => StrategyKind::BlueGreen,
        Some(ecs::DeploymentStrategy::Linear) => StrategyKind::Linear,
        Some(ecs::DeploymentStrategy::Canary) => StrategyKind::Canary,
        _ => StrategyKind::Rolling,
    };
    let (percent, step) = match kind {
        StrategyKind::Linear => there
            .linear_configuration
            .as_ref()
            .map_or((None, None), |linear| (linear.step_percent, linear.step_bake_time_in_minutes)),
        StrategyKind::Canary => there
            .canary_configuration
            .as_ref()
            .map_or((None, None), |canary| (canary.canary_percent, canary.canary_bake_time_in_minutes)),
        StrategyKind::Rolling | StrategyKind::BlueGreen => (None, None),
    };
    lean(&DeploymentStrategy {
        kind,
        percent: percent.and_then(Percent::new),
        step_bake_time: step.and_then(|minutes| u32::try_from(minutes).ok()),
        bake_time: there.bake_time_in_minutes.and_then(|minutes| u32::try_from(minutes).ok()),
        hooks: there.lifecycle_hooks().iter().map(read_hook).collect(),
        alternate: None,
    })
}

/// Without what ECS does anyway.
pub(crate) fn lean(strategy: &DeploymentStrategy) -> DeploymentStrategy {
    let (percent, step) = match strategy.kind {
        StrategyKind::Linear => (10.0, 6),
        StrategyKind::Canary => (5.0, 10),
        StrategyKind::Rolling | StrategyKind::BlueGreen => (0.0, 0),
    };
    let mut lean = strategy.clone();
    lean.percent = lean.percent.filter(|own| Percent::new(percent) != Some(*own));
    lean.step_bake_time = lean.step_bake_time.filter(|own| *own != step);
    lean.bake_time = lean.bake_time.filter(|own| *own != 0);
    for hook in &mut lean.hooks {
        if let LifecycleAction::Pause { timeout, .. } = &mut hook.action {
            *timeout = timeout.filter(|own| *own != HOOK_TIMEOUT);
        }
        hook.stages.sort_by_key(|stage| stage.name());
    }
    lean
}

fn read_hook(hook: &ecs::DeploymentLifecycleHook) -> LifecycleHook {
    let stage = |stage: &ecs::DeploymentLifecycleHookStage| {
        LifecycleStage::ALL.into_iter().find(|own| own.name().eq_ignore_ascii_case(stage.as_str()))
    };
    let action = if hook.target_type == Some(ecs::DeploymentLifecycleHookTargetType::Pause) {
        let timeout = hook.timeout_configuration.as_ref();
        let goes_on =
            timeout.and_then(|timeout| timeout.action.as_ref()) == Some(&ecs::DeploymentLifecycleHookAction::Continue);
        LifecycleAction::Pause {
            timeout: timeout.and_then(|timeout| u32::try_from(timeout.timeout_in_minutes?).ok()),
            on_timeout: if goes_on { TimeoutAction::Continue } else { TimeoutAction::Rollback },
        }
    } else {
        LifecycleAction::Function {
            arn: hook.hook_target_arn.clone().unwrap_or_default(),
            role: hook.role_arn.clone().unwrap_or_default(),
        }
    };
    LifecycleHook { stages: hook.lifecycle_stages().iter().filter_map(stage).collect(), action }
}

pub(crate) fn read_alarms(there: Option<&ecs::DeploymentConfiguration>) -> Option<DeploymentAlarms> {
    let alarms = there?.alarms.as_ref()?;
    (alarms.enable || !alarms.alarm_names.is_empty()).then(|| DeploymentAlarms {
        names: alarms.alarm_names.clone(),
        enable: alarms.enable,
        rollback: alarms.rollback,
    })
}

#[cfg(test)]
#[path = "strategy_tests.rs"]
mod tests;
