//! Every ending of a service deployment, rolling.

use landfall_awsfake::{ImageRule, Rules, Timing};
use serde_json::{Value, json};

use crate::world::{Aws, SECOND, behind, word};

fn image(image: &str) -> ImageRule {
    ImageRule { image: image.to_owned(), ..ImageRule::default() }
}

fn crashing() -> Aws {
    Aws::with_images(vec![ImageRule { exits: Some(3), exits_after: 10, logs: vec!["no".to_owned()], ..image("bad") }])
}

#[test]
fn a_first_deployment_goes_from_pending_to_successful() {
    let mut aws = Aws::new(Rules::default());
    let definition = aws.register("web", "good", json!({}));
    let service = aws.create("web", "web", 2, json!({}));
    assert_eq!(service["deployments"][0]["rolloutState"], "IN_PROGRESS");
    assert_eq!(service["taskDefinition"], definition);
    assert_eq!(aws.rollout("web")["status"], "PENDING");
    aws.pass(20);
    assert_eq!(aws.rollout("web")["status"], "IN_PROGRESS");
    let rollout = aws.finish("web");
    assert_eq!(rollout["status"], "SUCCESSFUL");
    assert_eq!(rollout["targetServiceRevision"]["runningTaskCount"], 2);
    assert_eq!(rollout["deploymentCircuitBreaker"]["status"], "MONITORING_COMPLETE");
    assert_eq!(rollout["deploymentCircuitBreaker"]["threshold"], 3);
    let service = aws.service("web");
    assert_eq!((&service["runningCount"], &service["pendingCount"]), (&json!(2), &json!(0)));
    assert_eq!(service["deployments"][0]["rolloutState"], "COMPLETED");
    assert_eq!(service["currentServiceDeployment"], rollout["serviceDeploymentArn"]);
    let events = aws.events("web");
    assert!(events[0].starts_with("(service web) has started 2 tasks: (task "), "{events:?}");
    assert_eq!(events.last().unwrap(), "(service web) has reached a steady state.");
}

#[test]
fn an_update_keeps_the_band_and_its_old_tasks_go_last() {
    let mut aws = Aws::new(Rules::default());
    aws.register("web", "one", json!({}));
    let configuration = json!({"deploymentConfiguration": {"minimumHealthyPercent": 50, "maximumPercent": 100}});
    aws.create("web", "web", 4, configuration);
    aws.finish("web");
    aws.register("web", "two", json!({}));
    aws.update("web", json!({"taskDefinition": "web"}));
    let mut least = 4;
    loop {
        aws.pass(5);
        let service = aws.service("web");
        let running = service["runningCount"].as_u64().unwrap();
        least = least.min(running);
        assert!(running + service["pendingCount"].as_u64().unwrap() <= 4, "{service}");
        if aws.rollout("web")["status"] == "SUCCESSFUL" {
            break;
        }
    }
    assert_eq!(least, 2);
    let service = aws.service("web");
    assert_eq!(service["deployments"].as_array().unwrap().len(), 1);
    assert!(word(&service["taskDefinition"]).ends_with("web:2"));
}

#[test]
fn the_breaker_rolls_back_to_the_former_deployment() {
    let mut aws = crashing();
    aws.register("web", "good", json!({}));
    aws.create("web", "web", 1, json!({}));
    aws.finish("web");
    let good = aws.service("web")["deployments"][0]["id"].clone();
    aws.register("web", "bad", json!({}));
    aws.update("web", json!({"taskDefinition": "web"}));
    let bad = aws.service("web")["deployments"][0]["id"].clone();
    // Both are seen while the good one takes over again.
    let mut reason = String::new();
    while aws.rollout("web")["rollback"].is_null() {
        aws.pass(1);
    }
    for deployment in aws.service("web")["deployments"].as_array().unwrap() {
        if deployment["id"] == bad {
            assert_eq!(deployment["rolloutState"], "FAILED");
            assert_eq!(deployment["rolloutStateReason"], "ECS deployment circuit breaker: tasks failed to start.");
        } else {
            reason = word(&deployment["rolloutStateReason"]).to_owned();
        }
    }
    let back = format!("ECS deployment circuit breaker: rolling back to deploymentId {}.", word(&good));
    assert_eq!(reason, back);
    let rollout = aws.finish("web");
    assert_eq!(rollout["status"], "ROLLBACK_SUCCESSFUL");
    let words = "Service deployment rolled back because the circuit breaker threshold was exceeded.";
    assert_eq!((word(&rollout["statusReason"]), word(&rollout["rollback"]["reason"])), (words, words));
    assert_eq!(rollout["deploymentCircuitBreaker"]["status"], "TRIGGERED");
    assert_eq!(rollout["deploymentCircuitBreaker"]["failureCount"], 3);
    let service = aws.service("web");
    assert!(word(&service["taskDefinition"]).ends_with("web:1"));
    assert_eq!(service["deployments"][0]["rolloutState"], "COMPLETED");
    // Exactly what the SDKs' waiter takes for success.
    assert_eq!(service["deployments"].as_array().unwrap().len(), 1);
    assert_eq!(service["runningCount"], service["desiredCount"]);
}

#[test]
fn a_first_deployment_has_nothing_to_roll_back_to() {
    let mut aws = crashing();
    aws.register("web", "bad", json!({}));
    aws.create("web", "web", 1, json!({}));
    let rollout = aws.finish("web");
    assert_eq!(rollout["status"], "ROLLBACK_FAILED");
    assert_eq!(rollout["statusReason"], "No rollback candidate was found to run the rollback.");
    assert_eq!(aws.service("web")["deployments"][0]["rolloutState"], "FAILED");
    // A failed deployment starts nothing any more.
    aws.pass(600 * SECOND);
    let tasks = aws.ecs("ListTasks", json!({"cluster": "c", "serviceName": "web"}));
    assert_eq!(tasks["taskArns"], json!([]));
}

#[test]
fn without_rollback_a_failure_is_stopped_and_the_old_tasks_stay() {
    let mut aws = crashing();
    aws.register("web", "good", json!({}));
    let breaker = json!({"deploymentConfiguration": {"deploymentCircuitBreaker": {"enable": true, "rollback": false}}});
    aws.create("web", "web", 2, breaker);
    aws.finish("web");
    aws.register("web", "bad", json!({}));
    aws.update("web", json!({"taskDefinition": "web"}));
    let rollout = aws.finish("web");
    assert_eq!(rollout["status"], "STOPPED");
    assert_eq!(rollout["stoppedAt"], rollout["finishedAt"]);
    aws.pass(60 * SECOND);
    let service = aws.service("web");
    assert_eq!(service["runningCount"], 2);
    assert_eq!(service["deployments"].as_array().unwrap().len(), 2);
    assert_eq!(service["deployments"][0]["rolloutState"], "FAILED");
    assert_eq!(service["deployments"][1]["status"], "ACTIVE");
}

#[test]
fn without_a_breaker_it_goes_on_for_ever_and_says_so() {
    let mut aws = crashing();
    aws.register("web", "bad", json!({}));
    aws.create("web", "web", 1, json!({"deploymentConfiguration": {}}));
    aws.pass(600 * SECOND);
    assert_eq!(aws.rollout("web")["status"], "IN_PROGRESS");
    assert_eq!(aws.rollout("web")["deploymentCircuitBreaker"]["status"], "DISABLED");
    assert!(aws.service("web")["deployments"][0]["failedTasks"].as_u64().unwrap() > 10);
    let words = "(service web) is unable to consistently start tasks successfully.";
    assert!(aws.events("web").iter().any(|event| event == words) || aws.events("web").len() == 100);
}

#[test]
fn thresholds_are_half_of_the_desired_count_within_three_and_two_hundred() {
    for (desired, configuration, threshold) in [
        (1, Value::Null, 3),
        (7, Value::Null, 4),
        (1000, Value::Null, 200),
        (10, json!({"type": "COUNT", "value": 2}), 2),
        (10, json!({"type": "UNBOUNDED_PERCENT", "value": 10}), 1),
        (10, json!({"type": "BOUNDED_PERCENT", "value": 10}), 3),
    ] {
        let mut aws = Aws::new(Rules::default());
        aws.register("web", "good", json!({}));
        let breaker = json!({"enable": true, "rollback": true, "thresholdConfiguration": configuration});
        aws.create("web", "web", desired, json!({"deploymentConfiguration": {"deploymentCircuitBreaker": breaker}}));
        assert_eq!(aws.rollout("web")["deploymentCircuitBreaker"]["threshold"], threshold, "{desired} {configuration}");
    }
}

#[test]
fn a_task_that_stays_up_resets_the_count() {
    let flaky = ImageRule { exits: Some(1), exits_after: 10, times: Some(2), ..image("flaky") };
    let mut aws = Aws::with_images(vec![flaky]);
    aws.register("web", "flaky", json!({}));
    aws.create("web", "web", 1, json!({}));
    while aws.rollout("web")["deploymentCircuitBreaker"]["failureCount"] != 2 {
        aws.pass(1);
    }
    let rollout = aws.finish("web");
    assert_eq!(rollout["status"], "SUCCESSFUL");
    assert_eq!(rollout["deploymentCircuitBreaker"]["failureCount"], 0);
}

#[test]
fn a_newer_deployment_supersedes_one_under_way() {
    let mut aws = Aws::new(Rules::default());
    aws.register("web", "one", json!({}));
    aws.create("web", "web", 1, json!({}));
    aws.finish("web");
    aws.update("web", json!({"forceNewDeployment": true}));
    aws.pass(30);
    let former = aws.rollout("web");
    assert_eq!(former["status"], "IN_PROGRESS");
    aws.register("web", "two", json!({}));
    aws.update("web", json!({"taskDefinition": "web"}));
    let arns = json!({"serviceDeploymentArns": [former["serviceDeploymentArn"]]});
    let former = aws.ecs("DescribeServiceDeployments", arns)["serviceDeployments"][0].clone();
    assert_eq!(former["status"], "STOPPED");
    assert!(word(&former["statusReason"]).contains("newer"), "{former}");
    assert_eq!(aws.finish("web")["status"], "SUCCESSFUL");
    assert_eq!(
        aws.ecs("ListServiceDeployments", json!({"cluster": "c", "service": "web"}))["serviceDeployments"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
}

#[test]
fn somebody_stops_it_and_it_rolls_back() {
    let mut aws = Aws::new(Rules::default());
    aws.register("web", "one", json!({}));
    aws.create("web", "web", 1, json!({}));
    aws.finish("web");
    aws.register("web", "two", json!({}));
    aws.update("web", json!({"taskDefinition": "web"}));
    aws.pass(30);
    let arn = aws.rollout("web")["serviceDeploymentArn"].clone();
    aws.ecs("StopServiceDeployment", json!({"serviceDeploymentArn": arn, "stopType": "ROLLBACK"}));
    assert_eq!(aws.rollout("web")["status"], "ROLLBACK_REQUESTED");
    assert_eq!(aws.finish("web")["status"], "ROLLBACK_SUCCESSFUL");
    assert!(word(&aws.service("web")["taskDefinition"]).ends_with("web:1"));
    let again = json!({"serviceDeploymentArn": arn});
    assert_eq!(aws.attempt("ecs", "StopServiceDeployment", &again).unwrap_err(), "ConflictException");
}

#[test]
fn forced_endings() {
    for (event, status) in [
        ("rolled_back", "ROLLBACK_SUCCESSFUL"),
        ("rollback_failed", "ROLLBACK_FAILED"),
        ("failed", "STOPPED"),
        ("aborted", "STOPPED"),
        ("stopped", "ROLLBACK_SUCCESSFUL"),
        ("alarm", "ROLLBACK_SUCCESSFUL"),
    ] {
        let mut aws = Aws::new(Rules::default());
        aws.register("web", "one", json!({}));
        aws.create("web", "web", 1, json!({}));
        aws.finish("web");
        aws.update("web", json!({"forceNewDeployment": true}));
        aws.pass(30);
        let input = json!({"cluster": "c", "service": "web", "event": event, "alarms": ["errors"]});
        aws.world.space("123456789012", "eu-central-1").force(&input).unwrap();
        let rollout = aws.finish("web");
        assert_eq!(rollout["status"], status, "{event}");
        let alarms = &rollout["alarms"]["triggeredAlarmNames"];
        assert_eq!(alarms == &json!(["errors"]), event == "alarm", "{alarms}");
    }
}

#[test]
fn a_deployment_paused_by_force_waits_for_its_hook() {
    let mut aws = Aws::new(Rules::default());
    aws.register("web", "one", json!({}));
    aws.create("web", "web", 1, json!({}));
    aws.pass(30);
    let input = json!({"cluster": "c", "service": "web", "event": "paused"});
    aws.world.space("123456789012", "eu-central-1").force(&input).unwrap();
    aws.pass(3600 * SECOND);
    let rollout = aws.rollout("web");
    assert_eq!(rollout["status"], "IN_PROGRESS");
    let hook = &rollout["lifecycleHookDetails"][0];
    assert_eq!((word(&hook["status"]), word(&hook["targetType"])), ("AWAITING_ACTION", "PAUSE"));
    let input = json!({"serviceDeploymentArn": rollout["serviceDeploymentArn"], "hookId": hook["hookId"]});
    aws.ecs("ContinueServiceDeployment", input);
    assert_eq!(aws.finish("web")["status"], "SUCCESSFUL");
}

#[test]
fn why_a_task_stopped() {
    for (rule, code, reason, container) in [
        (
            ImageRule { pull_error: Some("pull access denied".to_owned()), ..image("bad") },
            "TaskFailedToStart",
            "CannotPullContainerError: pull access denied",
            "CannotPullContainerError: pull access denied",
        ),
        (
            ImageRule { start_error: Some("ResourceInitializationError: no secret".to_owned()), ..image("bad") },
            "TaskFailedToStart",
            "ResourceInitializationError: no secret",
            "ResourceInitializationError: no secret",
        ),
        (
            ImageRule {
                exits: Some(137),
                exit_reason: Some("OutOfMemoryError: Container killed due to memory usage".to_owned()),
                ..image("bad")
            },
            "EssentialContainerExited",
            "Essential container in task exited",
            "OutOfMemoryError: Container killed due to memory usage",
        ),
        (
            ImageRule { unhealthy: true, ..image("bad") },
            "ServiceSchedulerInitiated",
            "Task failed container health checks",
            "",
        ),
    ] {
        let mut aws = Aws::with_images(vec![rule]);
        aws.register("web", "bad", json!({"healthCheck": {"command": ["CMD", "true"]}}));
        aws.create("web", "web", 1, json!({}));
        assert_eq!(aws.finish("web")["status"], "ROLLBACK_FAILED");
        let listed = aws.ecs("ListTasks", json!({"cluster": "c", "serviceName": "web", "desiredStatus": "STOPPED"}));
        let task =
            aws.ecs("DescribeTasks", json!({"cluster": "c", "tasks": [listed["taskArns"][0]]}))["tasks"][0].clone();
        assert_eq!((word(&task["stopCode"]), word(&task["stoppedReason"])), (code, reason));
        assert_eq!(word(&task["containers"][0]["reason"]), container);
    }
}

#[test]
fn a_name_is_free_again_only_after_the_draining() {
    let mut aws = Aws::new(Rules::default());
    aws.register("web", "one", json!({}));
    aws.create("web", "web", 1, json!({}));
    aws.finish("web");
    let delete = json!({"cluster": "c", "service": "web"});
    assert_eq!(aws.attempt("ecs", "DeleteService", &delete).unwrap_err(), "InvalidParameterException");
    aws.update("web", json!({"desiredCount": 0}));
    let deleted = aws.ecs("DeleteService", delete.clone());
    assert_eq!(deleted["service"]["status"], "DRAINING");
    let again = json!({"cluster": "c", "serviceName": "web", "taskDefinition": "web", "desiredCount": 0,
        "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["s"]}}});
    assert_eq!(aws.attempt("ecs", "CreateService", &again).unwrap_err(), "InvalidParameterException");
    assert_eq!(aws.attempt("ecs", "UpdateService", &delete).unwrap_err(), "ServiceNotActiveException");
    assert_eq!(aws.service("web")["status"], "DRAINING");
    assert_eq!(aws.ecs("ListServices", json!({"cluster": "c"}))["serviceArns"], json!([]), "described, not listed");
    while aws.service("web")["status"] == "DRAINING" {
        aws.pass(10);
    }
    assert_eq!(aws.service("web")["status"], "INACTIVE");
    assert_eq!(aws.attempt("ecs", "DeleteService", &delete).unwrap_err(), "ServiceNotFoundException");
    assert_eq!(aws.ecs("ListServices", json!({"cluster": "c"}))["serviceArns"], json!([]));
    aws.ecs("CreateService", again);
    assert_eq!(aws.service("web")["status"], "ACTIVE");
    // What was due for the former service does not touch the new one.
    aws.pass(7200 * SECOND);
    assert_eq!(aws.service("web")["status"], "ACTIVE");
    assert_eq!(aws.rollout("web")["status"], "SUCCESSFUL");
}

#[test]
fn a_stopped_task_is_replaced_and_a_killed_one_too() {
    let mut aws = Aws::new(Rules::default());
    aws.register("web", "one", json!({}));
    aws.create("web", "web", 1, json!({}));
    aws.finish("web");
    let first = aws.ecs("ListTasks", json!({"cluster": "c"}))["taskArns"][0].clone();
    aws.ecs("StopTask", json!({"cluster": "c", "task": first, "reason": "enough"}));
    aws.pass(SECOND);
    let second = aws.ecs("ListTasks", json!({"cluster": "c"}))["taskArns"][0].clone();
    assert_ne!(first, second);
    let task = aws.ecs("DescribeTasks", json!({"cluster": "c", "tasks": [first]}))["tasks"][0].clone();
    assert_eq!((word(&task["stopCode"]), word(&task["stoppedReason"])), ("UserInitiated", "enough"));
    assert_eq!(task["lastStatus"], "STOPPED");
    // A replacement is no deployment.
    assert_eq!(aws.service("web")["deployments"][0]["rolloutState"], "COMPLETED");
    assert_eq!(aws.events("web").last().unwrap(), "(service web) has reached a steady state.");
    // Stopped tasks are described for an hour.
    aws.pass(3700 * SECOND);
    let gone = aws.ecs("DescribeTasks", json!({"cluster": "c", "tasks": [first]}));
    assert_eq!(gone["failures"][0]["reason"], "MISSING");
}

#[test]
fn the_same_token_starts_one_task() {
    let mut aws = Aws::with_images(vec![ImageRule { exits: Some(7), exits_after: 500, ..image("job") }]);
    aws.register("job", "job", json!({}));
    let run = json!({"cluster": "c", "taskDefinition": "job", "clientToken": "t", "launchType": "FARGATE",
        "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["s"]}}});
    let one = aws.ecs("RunTask", run.clone())["tasks"][0]["taskArn"].clone();
    assert_eq!(aws.ecs("RunTask", run.clone())["tasks"][0]["taskArn"], one);
    let mut other = run;
    other["count"] = json!(2);
    assert_eq!(aws.attempt("ecs", "RunTask", &other).unwrap_err(), "ConflictException");
    aws.pass(10 * SECOND);
    let task = aws.ecs("DescribeTasks", json!({"cluster": "c", "tasks": [one]}))["tasks"][0].clone();
    assert_eq!(task["containers"][0]["exitCode"], 7);
    assert_eq!(task["stopCode"], "EssentialContainerExited");
}

#[test]
fn a_cluster_without_room_says_so_and_goes_on_when_there_is() {
    let mut rules = Rules::default();
    rules.limits.capacity = Some(1);
    let mut aws = Aws::new(rules.clone());
    aws.register("web", "one", json!({}));
    aws.create("web", "web", 2, json!({}));
    aws.pass(10 * SECOND);
    assert_eq!(aws.rollout("web")["status"], "IN_PROGRESS");
    assert!(aws.events("web").iter().any(|event| event.contains("was unable to place a task because")));
    rules.limits.capacity = None;
    aws.world.set_rules(rules);
    assert_eq!(aws.finish("web")["status"], "SUCCESSFUL");
}

#[test]
fn scaling_is_no_deployment() {
    let mut aws = Aws::new(Rules::default());
    aws.register("web", "one", json!({}));
    aws.create("web", "web", 1, json!({}));
    aws.finish("web");
    let before = aws.rollout("web")["serviceDeploymentArn"].clone();
    aws.update("web", json!({"desiredCount": 3}));
    aws.pass(5 * SECOND);
    let service = aws.service("web");
    assert_eq!((&service["runningCount"], &service["currentServiceDeployment"]), (&json!(3), &before));
    aws.update("web", json!({"desiredCount": 0}));
    aws.pass(5 * SECOND);
    assert_eq!(aws.service("web")["runningCount"], 0);
}

#[test]
fn draining_holds_a_deployment_back() {
    let mut aws = Aws::new(Rules::default());
    let group = aws.group("web", 30);
    aws.register("web", "one", json!({}));
    aws.create("web", "web", 1, behind(&group));
    aws.finish("web");
    assert_eq!(aws.health(&group), [("healthy".to_owned(), String::new())]);
    let before = aws.now;
    aws.update("web", json!({"forceNewDeployment": true}));
    let rollout = aws.finish("web");
    assert_eq!(rollout["status"], "SUCCESSFUL");
    let took = aws.now - before;
    assert!((30 * SECOND..32 * SECOND).contains(&took), "{took}");
}

#[test]
fn an_alarm_that_a_deployment_watches_ends_it() {
    for (rollback, status) in [(true, "ROLLBACK_SUCCESSFUL"), (false, "STOPPED")] {
        let mut aws = Aws::new(Rules::default());
        aws.register("web", "one", json!({}));
        let alarms = json!({"enable": true, "rollback": rollback, "alarmNames": ["errors"]});
        aws.create("web", "web", 1, json!({"deploymentConfiguration": {"alarms": alarms}}));
        aws.finish("web");
        aws.update("web", json!({"forceNewDeployment": true}));
        aws.pass(30);
        assert_eq!(aws.rollout("web")["alarms"]["status"], "MONITORING");
        aws.attempt("monitoring", "PutMetricAlarm", &json!({"AlarmName": "errors"})).unwrap();
        aws.attempt("monitoring", "SetAlarmState", &json!({"AlarmName": "errors", "StateValue": "ALARM"})).unwrap();
        let rollout = aws.finish("web");
        assert_eq!(rollout["status"], status);
        assert_eq!(
            rollout["alarms"],
            json!({"status": "TRIGGERED", "alarmNames": ["errors"], "triggeredAlarmNames": ["errors"]})
        );
    }
}

#[test]
fn with_no_time_between_anything_it_still_ends() {
    let timing = Timing {
        scheduler: 0,
        provisioning: 0,
        pending: 0,
        activating: 0,
        stopping: 0,
        deprovisioning: 0,
        settle: 0,
        first_health_check: 0,
        restart: 0,
        draining: 0,
        stage: 0,
        hook: 0,
        ..Timing::default()
    };
    let images = vec![ImageRule { exits: Some(1), ..image("bad") }];
    let mut aws = Aws::new(Rules { timing, images, ..Rules::default() });
    aws.register("web", "good", json!({}));
    aws.create("web", "web", 1, json!({}));
    assert_eq!(aws.finish("web")["status"], "SUCCESSFUL");
    aws.update("web", json!({"forceNewDeployment": true, "deploymentConfiguration": {"strategy": "BLUE_GREEN"}}));
    assert_eq!(aws.finish("web")["status"], "SUCCESSFUL");
    aws.register("web", "bad", json!({}));
    aws.update("web", json!({"taskDefinition": "web", "deploymentConfiguration": {"strategy": "ROLLING"}}));
    assert_eq!(aws.finish("web")["status"], "ROLLBACK_SUCCESSFUL");
}
