//! Blue/green, canary and linear deployments: stages, weights, hooks.

use landfall_awsfake::{FunctionRule, ImageRule, Rules};
use serde_json::{Value, json};

use crate::world::{Aws, SECOND, word};

fn staged(rules: Rules, configuration: Value) -> Aws {
    let mut aws = Aws::new(rules);
    aws.register("web", "one", json!({}));
    aws.create("web", "web", 2, json!({"deploymentConfiguration": configuration}));
    aws.finish("web");
    aws.register("web", "two", json!({}));
    aws.update("web", json!({"taskDefinition": "web"}));
    aws
}

/// Stages in the order in which they are seen, with the production weight at the end of each.
fn stages(aws: &mut Aws) -> Vec<(String, f64)> {
    let mut seen: Vec<(String, f64)> = Vec::new();
    for _ in 0..100_000 {
        let rollout = aws.rollout("web");
        let stage = word(&rollout["lifecycleStage"]).to_owned();
        if stage.is_empty() {
            return seen;
        }
        let weight = rollout["targetServiceRevision"]["requestedProductionTrafficWeight"].as_f64().unwrap();
        if seen.last().is_none_or(|last| *last != (stage.clone(), weight)) {
            seen.push((stage, weight));
        }
        aws.step();
    }
    panic!("no end after {seen:?}");
}

#[test]
fn blue_green_goes_through_its_stages_and_bakes() {
    let mut aws = staged(Rules::default(), json!({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 2}));
    let before = aws.now;
    let seen = stages(&mut aws);
    let words: Vec<&str> = seen.iter().map(|(stage, _)| stage.as_str()).collect();
    let all = [
        "PRE_SCALE_UP",
        "SCALE_UP",
        "POST_SCALE_UP",
        "TEST_TRAFFIC_SHIFT",
        "POST_TEST_TRAFFIC_SHIFT",
        "PRODUCTION_TRAFFIC_SHIFT",
        "POST_PRODUCTION_TRAFFIC_SHIFT",
        "BAKE_TIME",
        "CLEAN_UP",
    ];
    assert_eq!(words, all);
    let shift = words.iter().position(|stage| *stage == "PRODUCTION_TRAFFIC_SHIFT").unwrap();
    for (place, (stage, weight)) in seen.iter().enumerate() {
        assert_eq!(*weight, if place < shift { 0.0 } else { 100.0 }, "{stage}");
    }
    assert!(aws.now - before >= 120 * SECOND);
    assert_eq!(aws.rollout("web")["status"], "SUCCESSFUL");
    assert_eq!(aws.service("web")["runningCount"], 2);
    assert_eq!(aws.service("web")["deployments"].as_array().unwrap().len(), 1);
}

#[test]
fn canary_and_linear_shift_in_steps() {
    let canary =
        json!({"strategy": "CANARY", "canaryConfiguration": {"canaryPercent": 5.0, "canaryBakeTimeInMinutes": 3}});
    let linear =
        json!({"strategy": "LINEAR", "linearConfiguration": {"stepPercent": 40.0, "stepBakeTimeInMinutes": 1}});
    for (configuration, weights, minutes) in [(canary, vec![5.0, 100.0], 3), (linear, vec![40.0, 80.0, 100.0], 2)] {
        let mut aws = staged(Rules::default(), configuration);
        let before = aws.now;
        let seen = stages(&mut aws);
        let shifted = seen.iter().filter(|(stage, _)| stage == "PRODUCTION_TRAFFIC_SHIFT");
        assert_eq!(shifted.map(|(_, weight)| *weight).collect::<Vec<_>>(), weights);
        assert!(aws.now - before >= minutes * 60 * SECOND);
        assert_eq!(aws.rollout("web")["status"], "SUCCESSFUL");
    }
}

#[test]
fn a_pause_hook_waits_for_somebody_and_times_out() {
    let hook = json!({"targetType": "PAUSE", "lifecycleStages": ["POST_TEST_TRAFFIC_SHIFT"],
        "timeoutConfiguration": {"timeoutInMinutes": 60, "action": "ROLLBACK"}});
    let configuration = json!({"strategy": "BLUE_GREEN", "lifecycleHooks": [hook]});
    for action in ["CONTINUE", "ROLLBACK", "nothing"] {
        let mut aws = staged(Rules::default(), configuration.clone());
        aws.pass(1800 * SECOND);
        let rollout = aws.rollout("web");
        assert_eq!(rollout["lifecycleStage"], "POST_TEST_TRAFFIC_SHIFT");
        let hook = &rollout["lifecycleHookDetails"][0];
        assert_eq!((word(&hook["status"]), word(&hook["timeoutAction"])), ("AWAITING_ACTION", "ROLLBACK"));
        assert!(hook["expiresAt"].as_f64().unwrap() > rollout["updatedAt"].as_f64().unwrap());
        if action != "nothing" {
            let input = json!({"serviceDeploymentArn": rollout["serviceDeploymentArn"], "hookId": hook["hookId"], "action": action});
            aws.ecs("ContinueServiceDeployment", input.clone());
            assert_eq!(
                aws.attempt("ecs", "ContinueServiceDeployment", &input).unwrap_err(),
                "InvalidParameterException"
            );
        }
        let (status, revision) =
            if action == "CONTINUE" { ("SUCCESSFUL", "web:2") } else { ("ROLLBACK_SUCCESSFUL", "web:1") };
        assert_eq!(aws.finish("web")["status"], status, "{action}");
        assert!(word(&aws.service("web")["taskDefinition"]).ends_with(revision));
        assert_eq!(aws.service("web")["runningCount"], 2);
    }
}

#[test]
fn a_lambda_hook_that_fails_rolls_back_and_is_named() {
    let arn = "arn:aws:lambda:eu-central-1:123456789012:function:gate";
    let rules = Rules {
        functions: vec![FunctionRule {
            name: "gate".to_owned(),
            hook_status: Some("FAILED".to_owned()),
            ..FunctionRule::default()
        }],
        ..Rules::default()
    };
    let hook = json!({"hookTargetArn": arn, "roleArn": "r", "lifecycleStages": ["PRE_SCALE_UP"]});
    let mut aws = staged(rules, json!({"strategy": "BLUE_GREEN", "lifecycleHooks": [hook]}));
    let rollout = aws.finish("web");
    assert_eq!(rollout["status"], "ROLLBACK_SUCCESSFUL");
    let words = format!(
        "Service deployment rolled back because PRE_SCALE_UP lifecycle hook(s) failed. Lifecycle hook target {arn} returned FAILED status."
    );
    assert_eq!(rollout["statusReason"], words);
    assert_eq!(rollout["lifecycleHookDetails"][0]["status"], "FAILED");
}

#[test]
fn green_that_does_not_start_trips_the_breaker() {
    let rules = Rules {
        images: vec![ImageRule { image: "two".to_owned(), exits: Some(1), ..ImageRule::default() }],
        ..Rules::default()
    };
    let configuration =
        json!({"strategy": "BLUE_GREEN", "deploymentCircuitBreaker": {"enable": true, "rollback": true}});
    let mut aws = staged(rules, configuration);
    let rollout = aws.finish("web");
    assert_eq!(rollout["status"], "ROLLBACK_SUCCESSFUL");
    assert_eq!(rollout["deploymentCircuitBreaker"]["status"], "TRIGGERED");
    assert_eq!(aws.service("web")["runningCount"], 2);
}
