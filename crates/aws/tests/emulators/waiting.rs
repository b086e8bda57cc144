//! The ends of deployments, told truthfully: against the fake, which has all of them, on virtual time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use landfall_aws::{AwsOptions, AwsPlatform};
use landfall_awsfake::faults::{Fault, FaultError};
use landfall_awsfake::{ACCOUNT, Fake, Handle, ImageRule, REGION};
use landfall_model::aws::AwsTarget;
use landfall_model::inventory::{ResourceKind, TAG_ENVIRONMENT, TAG_INSTANCE};
use landfall_ports::PortError;
use landfall_ports::orchestrator::{DeploymentDescription, Orchestrator, PutService, RolloutState, ServiceDescription};
use serde_json::json;

use crate::ecs::{definition, one_off, put, tags};
use crate::emulator;

pub(crate) struct World {
    pub fake: Handle,
    pub target: AwsTarget,
    pub platform: AwsPlatform,
    pub orchestrator: Arc<dyn Orchestrator>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let (url, fake) = Fake::start_frozen().await.unwrap();
        fake.image(ImageRule {
            image: "bad".to_owned(),
            exits: Some(3),
            exits_after: 10,
            logs: vec!["no database".to_owned()],
            ..ImageRule::default()
        });
        fake.call("ecs", "CreateCluster", json!({"clusterName": "main"})).unwrap();
        fake.call("logs", "CreateLogGroup", json!({"logGroupName": "/apps"})).unwrap();
        let target = AwsTarget {
            name: "test".to_owned(),
            region: Some(REGION.to_owned()),
            endpoint: Some(url),
            account: Some(ACCOUNT.to_owned()),
            cluster: "main".to_owned(),
            subnets: vec!["subnet-1".to_owned()],
            execution_role: Some(format!("arn:aws:iam::{ACCOUNT}:role/execution")),
            log_group: Some("/apps".to_owned()),
            ..AwsTarget::default()
        };
        let platform = connect(&target).await;
        Self { fake, target, orchestrator: platform.orchestrator(), platform }
    }

    /// Another process, that knows only what AWS tells.
    pub(crate) async fn restarted(&mut self) {
        self.platform = connect(&self.target).await;
        self.orchestrator = self.platform.orchestrator();
    }

    pub(crate) async fn request(&self, image: &str) -> PutService {
        let definition = definition("web", image);
        let made = self.orchestrator.register_task_definition(&definition, &tags("web", "exe_1")).await.unwrap();
        request(&made.handle)
    }

    /// The id of the deployment begun.
    pub(crate) async fn deploy(&self, image: &str) -> String {
        let request = self.request(image).await;
        self.orchestrator.put_service(&request).await.unwrap().deployment
    }

    pub(crate) async fn service(&self) -> ServiceDescription {
        self.orchestrator.describe_service("web-service").await.unwrap().unwrap()
    }

    pub(crate) async fn deployment(&self, id: &str) -> Option<DeploymentDescription> {
        self.service().await.deployments.into_iter().find(|deployment| deployment.id == id)
    }

    /// Polled as the engine does, until it is no longer in progress.
    pub(crate) async fn end(&self, id: &str) -> DeploymentDescription {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let deployment = self.deployment(id).await.unwrap_or_else(|| panic!("{id} is not told any more"));
            if deployment.rollout != RolloutState::InProgress {
                return deployment;
            }
            assert!(Instant::now() < deadline, "{deployment:?}");
            self.fake.advance(20);
        }
    }

    pub(crate) fn force(&self, event: &str) {
        self.fake.force(&json!({"cluster": "main", "service": "web-service", "event": event})).unwrap();
    }
}

/// One task: beside it there must be room for its successor.
pub(crate) fn request(task_definition: &str) -> PutService {
    let mut request = PutService { desired_count: 1, ..put("web-service", "web", task_definition) };
    request.deployment.minimum_healthy_percent = 100;
    request.deployment.maximum_percent = 200;
    request.deployment.circuit_breaker.threshold = None;
    request
}

async fn connect(target: &AwsTarget) -> AwsPlatform {
    connect_as(target, "aws-tests").await
}

pub(crate) async fn connect_as(target: &AwsTarget, instance: &str) -> AwsPlatform {
    let options = AwsOptions { instance: instance.to_owned() };
    AwsPlatform::connect_as(target, options, emulator::credentials("test")).await.unwrap()
}

#[tokio::test]
async fn a_good_deployment_completes_when_ecs_says_so_and_costs_one_call_a_poll() {
    let world = World::new().await;
    let id = world.deploy("good").await;
    assert_eq!(world.deployment(&id).await.unwrap().rollout, RolloutState::InProgress);
    world.fake.clear_calls();
    let end = world.end(&id).await;
    assert_eq!((end.rollout, end.running, end.failed_tasks), (RolloutState::Completed, 1, 0));
    let calls = world.fake.calls();
    assert!(calls.iter().all(|call| call.operation == "DescribeServices"), "{calls:?}");
}

#[tokio::test]
async fn a_rolled_back_deployment_is_told_as_such_with_its_cause() {
    let mut world = World::new().await;
    let good = world.deploy("good").await;
    world.end(&good).await;
    let bad = world.deploy("bad").await;
    let end = world.end(&bad).await;
    assert_eq!(end.rollout, RolloutState::RolledBack, "{end:?}");
    assert!(end.reason.is_some());
    let task = &end.failures[0];
    assert_eq!(task.stop_code.as_deref(), Some("EssentialContainerExited"));
    assert_eq!(task.containers[0].exit_code, Some(3));
    assert_eq!(task.containers[0].tail, ["no database"]);
    // Also by a process that has never seen it, once ECS shows nothing of it any more.
    world.fake.settle(600_000);
    world.restarted().await;
    let told = world.deployment(&bad).await.unwrap();
    assert_eq!(told.rollout, RolloutState::RolledBack);
    assert!(world.service().await.task_definition.ends_with(":1"));
    assert!(told.task_definition.ends_with(":2"), "{told:?}");
}

/// The defect of the peers: nothing of the service has changed, so it looks as it should.
#[tokio::test]
async fn a_rollback_with_the_same_task_definition_is_no_success() {
    let world = World::new().await;
    let request = world.request("good").await;
    let first = world.orchestrator.put_service(&request).await.unwrap().deployment;
    world.end(&first).await;
    world.force("superseded");
    let forced = world.service().await.deployments[0].id.clone();
    assert_ne!(forced, first);
    world.force("rolled_back");
    let end = world.end(&forced).await;
    assert_eq!(end.rollout, RolloutState::RolledBack, "{end:?}");
    assert_eq!(world.service().await.task_definition, request.task_definition);
}

#[tokio::test]
async fn without_the_service_deployments_api_the_events_tell() {
    for refusal in [("AccessDeniedException", 400), ("UnknownOperationException", 400)] {
        let world = World::new().await;
        let good = world.deploy("good").await;
        world.end(&good).await;
        let error = FaultError { code: refusal.0.to_owned(), message: "no".to_owned(), status: refusal.1 };
        world.fake.fault(Fault {
            operation: Some("*ServiceDeployments".to_owned()),
            error: Some(error),
            ..Fault::default()
        });
        let bad = world.deploy("bad").await;
        assert_eq!(world.end(&bad).await.rollout, RolloutState::RolledBack);
        world.fake.settle(600_000);
        assert_eq!(world.deployment(&bad).await.unwrap().rollout, RolloutState::RolledBack);
    }
}

#[tokio::test]
async fn a_failed_roll_back_is_a_failure() {
    let world = World::new().await;
    let good = world.deploy("good").await;
    world.end(&good).await;
    let next = world.deploy("good:2").await;
    world.force("rollback_failed");
    let end = world.end(&next).await;
    assert_eq!(end.rollout, RolloutState::RollbackFailed, "{end:?}");
}

#[tokio::test]
async fn a_first_deployment_that_fails_has_nothing_to_go_back_to() {
    let world = World::new().await;
    let bad = world.deploy("bad").await;
    let end = world.end(&bad).await;
    assert_eq!(end.rollout, RolloutState::Failed, "{end:?}");
    assert_eq!(end.failures[0].containers[0].exit_code, Some(3));
    // The same again tries again.
    let again = world.deploy("bad").await;
    assert_ne!(again, bad);
}

#[tokio::test]
async fn one_that_somebody_stopped_is_told_and_one_that_was_superseded_is_not() {
    let world = World::new().await;
    let good = world.deploy("good").await;
    world.end(&good).await;
    let stopped = world.deploy("good:2").await;
    world.force("aborted");
    let end = world.end(&stopped).await;
    assert_eq!(end.rollout, RolloutState::Stopped, "{end:?}");
    let superseded = world.deploy("good:3").await;
    world.force("superseded");
    assert!(world.deployment(&superseded).await.is_none(), "{:?}", world.service().await.deployments);
}

#[tokio::test]
async fn a_deployment_that_hangs_times_out() {
    let world = World::new().await;
    world.fake.image(ImageRule { image: "slow".to_owned(), starts_after: Some(86_400_000), ..ImageRule::default() });
    let mut request = world.request("slow").await;
    request.deployment.timeout = 1;
    let id = world.orchestrator.put_service(&request).await.unwrap().deployment;
    let deadline = Instant::now() + Duration::from_secs(20);
    let end = loop {
        let deployment = world.deployment(&id).await.unwrap();
        if deployment.rollout != RolloutState::InProgress {
            break deployment;
        }
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(end.rollout, RolloutState::Failed);
    assert!(end.reason.unwrap().contains("timed out after 1 s"));
}

#[tokio::test]
async fn a_service_that_drains_keeps_its_name_until_it_is_gone() {
    let world = World::new().await;
    let request = world.request("good").await;
    let first = world.orchestrator.put_service(&request).await.unwrap();
    world.end(&first.deployment).await;
    world.orchestrator.delete_service("web-service").await.unwrap();
    let draining = world.orchestrator.put_service(&request).await;
    assert!(matches!(&draining, Err(PortError::Unavailable(text)) if text.contains("draining")), "{draining:?}");
    world.orchestrator.delete_service("web-service").await.unwrap();
    world.orchestrator.scale_service("web-service", 0).await.unwrap();
    world.fake.settle(60_000);
    assert!(world.orchestrator.describe_service("web-service").await.unwrap().is_none());
    let anew = world.orchestrator.put_service(&request).await.unwrap();
    assert!(anew.created && anew.deployment != first.deployment);
}

/// The effect is there, the answer is not: the same request again finds it.
#[tokio::test]
async fn lost_answers_double_nothing() {
    let world = World::new().await;
    for operation in ["RegisterTaskDefinition", "CreateService", "UpdateService", "RunTask"] {
        world.fake.fault(Fault {
            operation: Some(operation.to_owned()),
            times: Some(1),
            lose_response: true,
            ..Fault::default()
        });
    }
    let register = async |image: &str| loop {
        let (definition, tags) = (definition("web", image), tags("web", "exe_1"));
        match world.orchestrator.register_task_definition(&definition, &tags).await {
            Ok(made) => return made.handle,
            Err(error) => assert!(matches!(error, PortError::Unavailable(_)), "{error:?}"),
        }
    };
    let first = register("good:1").await;
    assert!(first.ends_with("web:1"), "{first}");
    let mut request = request(&first);
    assert!(matches!(world.orchestrator.put_service(&request).await, Err(PortError::Unavailable(_))));
    let made = world.orchestrator.put_service(&request).await.unwrap();
    assert!(made.created, "by this execution");
    world.end(&made.deployment).await;
    request.task_definition = register("good:2").await;
    assert!(matches!(world.orchestrator.put_service(&request).await, Err(PortError::Unavailable(_))));
    let updated = world.orchestrator.put_service(&request).await.unwrap();
    assert_eq!(world.end(&updated.deployment).await.rollout, RolloutState::Completed);
    assert_eq!(world.fake.count("ecs", "UpdateService"), 1);

    assert!(world.orchestrator.run_task(&one_off(&first, "once")).await.is_err());
    let task = world.orchestrator.run_task(&one_off(&first, "once")).await.unwrap();
    assert_eq!(world.fake.count("ecs", "RunTask"), 1);
    assert!(world.orchestrator.describe_task(&task).await.unwrap().is_some());
}

#[tokio::test]
async fn throttling_passes_and_refusals_say_what_was_refused() {
    let world = World::new().await;
    let id = world.deploy("good").await;
    let fault = |code: &str, times: u32| Fault {
        operation: Some("DescribeServices".to_owned()),
        times: Some(times),
        error: Some(FaultError { code: code.to_owned(), message: "Rate exceeded".to_owned(), status: 400 }),
        ..Fault::default()
    };
    world.fake.fault(fault("ThrottlingException", 2));
    assert!(world.deployment(&id).await.is_some());
    for (code, expected) in
        [("ExpiredTokenException", "aws sso login"), ("AccessDeniedException", "ecs:DescribeServices")]
    {
        let refusal = FaultError { code: code.to_owned(), message: "no".to_owned(), status: 400 };
        world.fake.fault(Fault { error: Some(refusal), ..fault(code, 1) });
        let error = world.orchestrator.describe_service("web-service").await.unwrap_err();
        assert!(matches!(&error, PortError::Denied(text) if text.contains(expected)), "{error:?}");
    }
    // A read that is cut off is asked again, but not for long.
    let cut = |times| Fault { cut: true, error: None, ..fault("", times) };
    world.fake.fault(cut(1));
    assert!(world.orchestrator.describe_service("web-service").await.unwrap().is_some());
    world.fake.fault(cut(u32::MAX));
    let error = world.orchestrator.describe_service("web-service").await.unwrap_err();
    assert!(matches!(error, PortError::Unavailable(_)), "{error:?}");
}

/// Reads that are seconds old make nothing anew, and nobody believes that another deployment took over.
#[tokio::test]
async fn reads_that_lag_behind_are_waited_for() {
    let world = World::new().await;
    let lag = json!({"lag_ms": 3_000, "services": ["ecs"]});
    world.fake.script("POST", "consistency", &lag).unwrap();
    let definition = definition("web", "good");
    let made = world.orchestrator.register_task_definition(&definition, &tags("web", "exe_1")).await.unwrap();
    let first = world.orchestrator.put_service(&request(&made.handle)).await.unwrap();
    // Not seen yet: whoever believes that it is gone makes it again, and gets the same.
    assert!(world.orchestrator.describe_service("web-service").await.unwrap().is_none());
    let again = world.orchestrator.put_service(&request(&made.handle)).await.unwrap();
    assert_eq!(again, first);
    world.fake.advance(4_000);
    assert_eq!(world.end(&first.deployment).await.rollout, RolloutState::Completed);
    let second = world.deploy("good:2").await;
    assert_eq!(world.deployment(&second).await.unwrap().rollout, RolloutState::InProgress);
    assert!(world.service().await.task_definition.ends_with("web:1"), "a read of before");
    assert_eq!(world.end(&second).await.rollout, RolloutState::Completed);
    assert!(world.service().await.task_definition.ends_with("web:2"));
}

/// Each API lags by itself: right after a restart the one of service deployments may not know yet of an end that
/// DescribeServices shows.
#[tokio::test]
async fn an_end_that_one_api_does_not_know_of_yet_is_asked_for_again() {
    let mut world = World::new().await;
    let first = world.deploy("good").await;
    world.end(&first).await;
    let lag = json!({"lag_ms": 100, "services": ["ecs"], "operations": ["*ServiceDeployments"]});
    world.fake.script("POST", "consistency", &lag).unwrap();
    let second = world.deploy("good:2").await;
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let input = json!({"cluster": "main", "services": ["web-service"]});
        let told = world.fake.call("ecs", "DescribeServices", input).unwrap();
        let primary = &told["services"][0]["deployments"][0];
        assert_eq!(primary["id"], json!(second));
        if primary["rolloutState"] == "COMPLETED" {
            break;
        }
        assert!(Instant::now() < deadline, "{told}");
        world.fake.advance(50);
    }
    world.restarted().await;
    world.fake.clear_calls();
    assert_eq!(world.deployment(&second).await.unwrap().rollout, RolloutState::InProgress, "of two minds");
    world.fake.advance(200);
    assert_eq!(world.deployment(&second).await.unwrap().rollout, RolloutState::Completed);
    let asked = world.fake.count("ecs", "ListServiceDeployments");
    assert_eq!(asked, 2);
    world.deployment(&second).await.unwrap();
    assert_eq!(world.fake.count("ecs", "ListServiceDeployments"), asked, "and no more");
}

#[tokio::test]
async fn listings_go_to_the_last_page() {
    let world = World::new().await;
    let pairs = [(TAG_ENVIRONMENT, "web"), (TAG_INSTANCE, "aws-tests")];
    let tags: Vec<_> = pairs.iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
    let container = json!({"name": "app", "image": "good", "memory": 64});
    for number in 0..105 {
        let definition =
            json!({"family": "web", "tags": tags, "containerDefinitions": [container], "cpu": number.to_string()});
        world.fake.call("ecs", "RegisterTaskDefinition", definition).unwrap();
        let service = json!({"cluster": "main", "serviceName": format!("web-{number}"), "taskDefinition": "web",
            "desiredCount": 1, "tags": tags, "propagateTags": "SERVICE"});
        world.fake.call("ecs", "CreateService", service).unwrap();
    }
    world.fake.advance(10_000);
    let kinds = [ResourceKind::Service, ResourceKind::Task, ResourceKind::TaskDefinition];
    let listing = world.orchestrator.list_owned(Some("web"), &kinds).await.unwrap();
    let count = |kind| listing.items.iter().filter(|item| item.kind == kind).count();
    assert!(listing.complete);
    assert_eq!(kinds.map(count), [105, 105, 105]);
    assert_eq!(world.fake.count("ecs", "DescribeServices"), 11);
    assert_eq!(world.fake.count("ecs", "DescribeTasks"), 2);
    // A page that cannot be read leaves no listing, rather than a short one.
    let error = FaultError { code: "ServerException".to_owned(), message: String::new(), status: 500 };
    world.fake.fault(Fault {
        operation: Some("ListServices".to_owned()),
        skip: 1,
        error: Some(error),
        ..Fault::default()
    });
    let error = world.orchestrator.list_owned(Some("web"), &kinds).await.unwrap_err();
    assert!(matches!(error, PortError::Unavailable(_)), "{error:?}");
}

#[tokio::test]
async fn log_lines_are_followed_also_of_tasks_that_start_later() {
    let world = World::new().await;
    let lines = vec!["one".to_owned(), "two".to_owned(), "three".to_owned()];
    world.fake.image(ImageRule { image: "good".to_owned(), logs: lines, ..ImageRule::default() });
    let first = world.deploy("good").await;
    world.end(&first).await;
    let mut followed = world.orchestrator.follow_logs("web", &[], 2).await.unwrap();
    let mut next = async || {
        let line = tokio::time::timeout(Duration::from_secs(20), followed.next()).await.unwrap().unwrap();
        (line.task, line.container, line.line)
    };
    let (task, container, line) = next().await;
    assert_eq!((container.as_str(), line.as_str()), ("app", "two"));
    assert_eq!(next().await.2, "three");
    let second = world.deploy("good:2").await;
    world.end(&second).await;
    for expected in ["one", "two", "three"] {
        let (later, _, line) = next().await;
        assert_eq!(line, expected);
        assert_ne!(later, task);
    }
    assert!(world.orchestrator.follow_logs("another", &[], 5).await.is_ok(), "it may begin later");
}
