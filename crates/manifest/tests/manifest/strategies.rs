//! Deployment strategies: what is taken, and what is refused and why.

use landfall_model::strategy::{
    DeploymentAlarms, LifecycleAction, LifecycleStage, Percent, StrategyKind, TimeoutAction,
};

use crate::{codes_of, loaded, rendered};

const GROUP: &str = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/green/73e2d6bc24d8a067";
const RULE: &str = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:listener-rule/app/main/50dc6c495c0c9188/f2f7dc8efc522ab2/9683b2d02a6cabee";
const ROLE: &str = "arn:aws:iam::123456789012:role/ecs-infrastructure";

/// One service with this under `deployment`, in a lasting environment on AWS.
fn manifest(deployment: &str) -> String {
    format!(
        "project: shop\n\
         aws: {{prod: {{region: eu-west-1, cluster: main, load_balancer: main, network: {{subnets: [subnet-0a1b2c3d]}}, execution_role: '{ROLE}'}}}}\n\
         environments: {{prod: {{on: prod, target_groups: {{web: '{GROUP}'}}}}}}\n\
         services:\n  web:\n    cpu: 256\n    memory: 512\n    load_balancer: {{}}\n    containers: {{app: {{image: nginx, ports: [80]}}}}\n    \
         deployment: {deployment}\n"
    )
}

fn alternate() -> String {
    format!("alternate: {{target_group: '{GROUP}', production_listener_rule: '{RULE}', role: '{ROLE}'}}")
}

#[test]
fn a_canary_with_everything() {
    let text = manifest(&format!(
        "{{strategy: canary, percent: 12.5, step_bake_time: 3m, bake_time: 1h, {}, \
         alarms: {{names: [5xx, latency], rollback: false}}, lifecycle_hooks: [\
         {{stages: [post_test_traffic_shift], pause: {{timeout: 2h, on_timeout: continue}}}}, \
         {{stages: [pre_scale_up], function: {{arn: 'arn:aws:lambda:eu-west-1:123456789012:function:check', role: '{ROLE}'}}}}]}}",
        alternate()
    ));
    let deployment = loaded(&text).app.services["web"].deployment.clone();
    let strategy = &deployment.strategy;
    assert_eq!((strategy.kind, strategy.percent), (StrategyKind::Canary, Percent::new(12.5)));
    assert_eq!((strategy.step_bake_time, strategy.bake_time), (Some(3), Some(60)));
    assert_eq!(strategy.hooks[0].stages, [LifecycleStage::PostTestTrafficShift]);
    let pause = LifecycleAction::Pause { timeout: Some(120), on_timeout: TimeoutAction::Continue };
    assert_eq!(strategy.hooks[0].action, pause);
    assert!(matches!(&strategy.hooks[1].action, LifecycleAction::Function { role, .. } if role == ROLE));
    assert_eq!(strategy.alternate.as_ref().unwrap().production_listener_rule, RULE);
    let alarms = DeploymentAlarms { names: vec!["5xx".into(), "latency".into()], enable: true, rollback: false };
    assert_eq!(deployment.alarms, Some(alarms));
    // Room for the step, the bake time and the pause.
    assert_eq!(deployment.timeout, 600 + (3 + 60 + 120) * 60);
}

#[test]
fn what_ecs_would_refuse_is_refused() {
    let with = |text: &str| codes_of(&manifest(&format!("{{{text}, {}}}", alternate())));
    assert_eq!(with("strategy: blue_green"), [] as [&str; 0]);
    for percent in ["2", "100.5", "3.33", "many"] {
        assert_eq!(with(&format!("strategy: linear, percent: {percent}")), ["LF-M032"], "{percent}");
    }
    assert_eq!(with("strategy: canary, percent: 0.1"), [] as [&str; 0]);
    assert_eq!(with("strategy: blue_green, percent: 10"), ["LF-M009"]);
    assert_eq!(with("strategy: linear, step_bake_time: 90s"), ["LF-M032"]);
    assert_eq!(with("strategy: linear, bake_time: 25h"), ["LF-M032"]);
    assert_eq!(with("strategy: blue_green, bake_time: 1h, timeout: 30m"), ["LF-M034"]);
    let hook = |hook: &str| with(&format!("strategy: blue_green, lifecycle_hooks: [{hook}]"));
    assert_eq!(hook("{stages: [production_traffic_shift], pause: {}}"), ["LF-M009"]);
    assert_eq!(hook("{stages: [post_scale_up]}"), ["LF-M022"]);
    assert_eq!(hook("{stages: [], pause: {}}"), ["LF-M009"]);
    assert_eq!(hook("{stages: [post_scale_up], pause: {timeout: 15d}}"), ["LF-M032"]);
    assert_eq!(hook("{stages: [post_scale_up], function: {arn: 'a b', role: x}}"), ["LF-M040", "LF-M040"]);
    assert_eq!(codes_of(&manifest("{alarms: {names: []}}")), ["LF-M009"]);
    assert_eq!(codes_of(&manifest("{bake_time: 5m}")), ["LF-M009"]);
    assert_eq!(codes_of(&manifest("{alarms: {names: [5xx]}}")), [] as [&str; 0]);
}

#[test]
fn two_versions_at_once_need_a_second_target_group_and_a_place_that_knows_them() {
    insta::assert_snapshot!(rendered(&manifest("{strategy: blue_green}")));
    let here = "project: shop\nenvironments: {dev: {}}\n\
                services: {web: {containers: {app: {image: nginx}}, deployment: {strategy: canary}}}\n";
    insta::assert_snapshot!(rendered(here));
    let routed = manifest(&format!("{{strategy: blue_green, {}}}", alternate()))
        .replace(&format!("target_groups: {{web: '{GROUP}'}}"), "routing: {port: 8080}");
    assert!(codes_of(&routed).contains(&"LF-M042"), "{:?}", codes_of(&routed));
}
