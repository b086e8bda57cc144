use landfall_model::app::CircuitBreaker;

use super::super::change::deployment;
use super::*;

fn configuration(strategy: DeploymentStrategy, alarms: Option<DeploymentAlarms>) -> DeploymentConfiguration {
    DeploymentConfiguration {
        minimum_healthy_percent: 100,
        maximum_percent: 200,
        circuit_breaker: CircuitBreaker { enable: true, rollback: true, threshold: None },
        health_check_grace_period: 0,
        timeout: 600,
        strategy,
        alarms,
    }
}

fn canary() -> DeploymentStrategy {
    DeploymentStrategy {
        kind: StrategyKind::Canary,
        percent: Percent::new(12.5),
        step_bake_time: Some(3),
        bake_time: Some(15),
        hooks: vec![
            LifecycleHook {
                stages: vec![LifecycleStage::PostTestTrafficShift],
                action: LifecycleAction::Pause { timeout: Some(30), on_timeout: TimeoutAction::Continue },
            },
            LifecycleHook {
                stages: vec![LifecycleStage::PreScaleUp, LifecycleStage::ProductionTrafficShift],
                action: LifecycleAction::Function { arn: "arn:f".to_owned(), role: "arn:r".to_owned() },
            },
        ],
        alternate: None,
    }
}

fn alarms() -> DeploymentAlarms {
    DeploymentAlarms { names: vec!["errors".to_owned()], enable: true, rollback: true }
}

#[test]
fn what_is_sent_is_what_is_read_back() {
    let linear = DeploymentStrategy { kind: StrategyKind::Linear, percent: Percent::new(25.0), ..Default::default() };
    let blue_green = DeploymentStrategy { kind: StrategyKind::BlueGreen, bake_time: Some(5), ..Default::default() };
    for strategy in [canary(), linear, blue_green, DeploymentStrategy::default()] {
        let sent = deployment(&configuration(strategy.clone(), Some(alarms())), None).unwrap();
        assert_eq!(read(Some(&sent)), lean(&strategy));
        assert_eq!(read_alarms(Some(&sent)), Some(alarms()));
    }
    let sent = deployment(&configuration(canary(), None), None).unwrap();
    assert_eq!(sent.canary_configuration.as_ref().unwrap().canary_percent, Some(12.5));
    let pause = &sent.lifecycle_hooks()[0];
    assert_eq!(pause.target_type, Some(ecs::DeploymentLifecycleHookTargetType::Pause));
    assert_eq!(pause.lifecycle_stages(), [ecs::DeploymentLifecycleHookStage::PostTestTrafficShift]);
}

#[test]
fn what_ecs_does_anyway_is_no_difference() {
    let plain = DeploymentStrategy { kind: StrategyKind::Canary, ..Default::default() };
    let mut told = deployment(&configuration(plain.clone(), None), None).unwrap();
    let filled = ecs::CanaryConfiguration::builder().canary_percent(5.0).canary_bake_time_in_minutes(10).build();
    told.canary_configuration = Some(filled);
    told.bake_time_in_minutes = Some(0);
    told.alarms = Some(
        ecs::DeploymentAlarms::builder().set_alarm_names(Some(vec![])).enable(false).rollback(false).build().unwrap(),
    );
    assert_eq!(read(Some(&told)), plain);
    assert_eq!(read_alarms(Some(&told)), None);
}

#[test]
fn what_is_to_go_is_said() {
    let there = deployment(&configuration(canary(), Some(alarms())), None).unwrap();
    let rolling = deployment(&configuration(DeploymentStrategy::default(), None), Some(&there)).unwrap();
    assert_eq!(rolling.strategy, Some(ecs::DeploymentStrategy::Rolling));
    assert_eq!(rolling.bake_time_in_minutes, Some(0));
    assert_eq!(rolling.lifecycle_hooks, Some(Vec::new()));
    assert!(rolling.alarms.as_ref().is_some_and(|alarms| !alarms.enable && alarms.alarm_names.is_empty()));
    // And where there was none of it nothing is said: older endpoints do not know the words.
    let plain = deployment(&configuration(DeploymentStrategy::default(), None), None).unwrap();
    assert_eq!((plain.strategy, plain.lifecycle_hooks, plain.alarms), (None, None, None));
}
