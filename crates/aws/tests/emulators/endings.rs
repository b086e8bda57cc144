//! How deployments end, told by the step: each of ECS's endings, and those that other tools report wrongly.
//!
//! | Tool | what it reports | here |
//! |---|---|---|
//! | the Express action | success, 15 minutes after `ROLLBACK_SUCCESSFUL` or `ROLLBACK_FAILED` | `rolled_back_with_the_same_definition`, `rollback_failed` |
//! | ecspresso | success for a rolled back `--force-new-deployment`, no reason | `rolled_back_with_the_same_definition`, `rolled_back` |
//! | AWS CLI and SDKs' waiter | success once one deployment is left, whichever it is | `rolled_back`, `rolled_back_and_still_listed` |
//! | sil-org's ecs-deploy | success as soon as one new task has run | `dies_after_it_ran` |
//! | in4it's | after good, bad, bad no stable version | `good_bad_bad_goes_back_to_good` |

use std::sync::Arc;
use std::time::{Duration, Instant};

use landfall_awsfake::faults::{Fault, FaultError};
use landfall_awsfake::{FunctionRule, ImageRule, REGION};
use landfall_model::Timestamp;
use landfall_model::ids::{EnvironmentId, ExecutionId, IdempotencyKey, StepId};
use landfall_model::inventory::{TAG_EXECUTION, TAG_INSTANCE};
use landfall_model::step::{DeployService, Input, StepParams, WaitUntil};
use landfall_model::strategy::{
    DeploymentAlarms, DeploymentStrategy, LifecycleAction, LifecycleHook, LifecycleStage, StrategyKind, TimeoutAction,
};
use landfall_ports::orchestrator::StopDeployment;
use landfall_ports::steps::{Progress, StepContext, StepExecutor};
use landfall_ports::{Platform, PortError};
use landfall_steps::Steps;
use landfall_testkit::platform::{Behaviour, FakePlatform};
use serde_json::{Value, json};

use crate::adopted::{groups, target};
use crate::ecs::{definition, tags};
use crate::waiting::{World, request};

pub(crate) const WEB: &str = "web-service";

/// Code, message and detail of a failure.
pub(crate) type Ending = Result<Value, (String, String, String)>;

pub(crate) struct Rollout {
    pub(crate) world: World,
    pub(crate) steps: Steps,
    pub(crate) cx: StepContext,
    pub(crate) params: Value,
    pub(crate) token: Option<Value>,
    notes: Vec<String>,
}

impl Rollout {
    pub(crate) fn steps(world: &World) -> Steps {
        let rest = FakePlatform::new(Behaviour::default()).platform();
        Steps::new(Platform { orchestrator: Arc::clone(&world.orchestrator), min_poll_ms: 0, ..rest })
    }

    /// The step that deploys `image`.
    pub(crate) async fn within(world: World, image: &str, change: impl FnOnce(&mut DeployService)) -> Self {
        let handle = world.request(image).await.task_definition;
        let put = request(&handle);
        let mut own = tags("web", "exe_2");
        own.insert(TAG_EXECUTION.to_owned(), "exe_2".to_owned());
        own.insert(TAG_INSTANCE.to_owned(), "aws-tests".to_owned());
        let mut deploy = DeployService {
            name: WEB.to_owned(),
            launch_type: put.launch_type,
            task_definition: Input::Value(handle),
            desired_count: put.desired_count,
            keep_count: false,
            only_count: false,
            deployment: put.deployment,
            target: None,
            tags: own,
            adopt: false,
            force: false,
            wait_until: WaitUntil::Stable,
            fail_fast: None,
            document: None,
        };
        change(&mut deploy);
        let cx = StepContext {
            execution: ExecutionId::new("exe_2"),
            environment: EnvironmentId::new("web"),
            step: StepId::new("service.web"),
            key: IdempotencyKey::new("key"),
            attempt: 1,
            now: Timestamp::UNIX_EPOCH,
        };
        let params = serde_json::to_value(StepParams::DeployService(deploy)).unwrap();
        let steps = Self::steps(&world);
        Self { world, steps, cx, params, token: None, notes: Vec::new() }
    }

    pub(crate) async fn runs_good(world: &World) {
        let good = world.deploy("good").await;
        world.end(&good).await;
    }

    /// Until the deployment is under way.
    pub(crate) async fn begin(&mut self) {
        let mut progress = self.steps.start(&self.cx, &self.params).await.unwrap();
        for _ in 0..5 {
            let Progress::Pending { token, .. } = progress else { panic!("{progress:?}") };
            let begun = token["deployment"].is_string();
            self.token = Some(token.clone());
            if begun {
                return;
            }
            progress = self.steps.poll(&self.cx, &self.params, &token).await.unwrap();
        }
        panic!("it never begins");
    }

    /// Until it is done or has failed, `step` virtual milliseconds between two looks.
    pub(crate) async fn end(&mut self, step: u64) -> Ending {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut looks = 0;
        while Instant::now() < deadline {
            looks += 1;
            let token = self.token.clone().unwrap_or_default();
            match self.steps.poll(&self.cx, &self.params, &token).await {
                Ok(Progress::Done(output)) => return Ok(output),
                Ok(Progress::Pending { token, note, .. }) => {
                    self.token = Some(token);
                    self.notes.extend(note);
                }
                Err(error) if error.retry_after_ms.is_none() && error.code != "LF-PLATFORM-UNAVAILABLE" => {
                    return Err((error.code, error.message, error.detail.unwrap_or_default()));
                }
                Err(_) => {}
            }
            // Bake times and pauses are minutes.
            self.world.fake.advance(if looks > 100 { step * 50 } else { step });
        }
        panic!("it never ends: {:?}", self.notes.last())
    }

    pub(crate) async fn undo(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut token = self.token.clone();
        let mut looks = 0;
        while Instant::now() < deadline {
            match self.steps.undo(&self.cx, &self.params, None, token.as_ref()).await {
                Ok(Progress::Done(_)) => return,
                Ok(Progress::Pending { token: next, .. }) => token = Some(next),
                Err(error) => panic!("{error:?}"),
            }
            looks += 1;
            self.world.fake.advance(if looks > 30 { 5_000 } else { 20 });
        }
        panic!("its undo never ends");
    }

    /// One service, nothing of it left over, running `revision`.
    pub(crate) async fn runs(&self, revision: &str) {
        self.world.fake.settle(600_000);
        let service = self.world.service().await;
        assert!(service.task_definition.ends_with(revision), "{}", service.task_definition);
        assert_eq!((service.running, service.pending), (service.desired, 0));
        let all = self.world.fake.call("ecs", "ListServices", json!({"cluster": "main"})).unwrap();
        assert_eq!(all["serviceArns"].as_array().unwrap().len(), 1);
    }
}

struct Case {
    name: &'static str,
    image: &'static str,
    /// Done by somebody else once the deployment has begun.
    event: Option<Value>,
    prepare: fn(&World),
    change: fn(&mut DeployService),
    /// `None`: it is done.
    code: Option<&'static str>,
    /// In the message or its detail.
    says: &'static [&'static str],
    /// What runs in the end, after the undo.
    runs: &'static str,
}

fn nothing(_: &World) {}
fn as_it_is(_: &mut DeployService) {}

fn event(name: &str) -> Option<Value> {
    Some(json!({"cluster": "main", "service": WEB, "event": name}))
}

fn image(world: &World, rule: ImageRule) {
    world.fake.image(rule);
}

fn blue_green(deploy: &mut DeployService, hooks: Vec<LifecycleHook>) {
    deploy.deployment.strategy =
        DeploymentStrategy { kind: StrategyKind::BlueGreen, bake_time: Some(1), hooks, ..Default::default() };
}

fn pause(on_timeout: TimeoutAction) -> LifecycleHook {
    LifecycleHook {
        stages: vec![LifecycleStage::PostTestTrafficShift],
        action: LifecycleAction::Pause { timeout: Some(2), on_timeout },
    }
}

pub(crate) fn alarms(deploy: &mut DeployService, rollback: bool) {
    let names = vec!["too-many-5xx".to_owned()];
    deploy.deployment.alarms = Some(DeploymentAlarms { names, enable: true, rollback });
}

fn alarm() -> Option<Value> {
    Some(json!({"cluster": "main", "service": WEB, "event": "alarm", "alarms": ["too-many-5xx"]}))
}

const ROLLED_BACK: Option<&str> = Some("LF-SERVICE-ROLLED-BACK");

fn cases() -> Vec<Case> {
    let case = |name, image, code: Option<&'static str>, says: &'static [&'static str], runs| Case {
        name,
        image,
        event: None,
        prepare: nothing,
        change: as_it_is,
        code,
        says,
        runs,
    };
    vec![
        case("done", "good:2", None, &[], ":2"),
        case(
            "rolled_back",
            "bad",
            ROLLED_BACK,
            &["Essential container in task exited", "exit code 3", "no database"],
            ":1",
        ),
        Case {
            prepare: |world| world.fake.change_rules(|rules| rules.keep_failed_deployments = true),
            ..case("rolled_back_and_still_listed", "bad", ROLLED_BACK, &["exit code 3"], ":1")
        },
        Case {
            prepare: |world| world.fake.change_rules(|rules| rules.no_service_deployments = true),
            ..case("rolled_back_without_the_api", "bad", ROLLED_BACK, &["exit code 3"], ":1")
        },
        Case {
            change: |deploy| deploy.force = true,
            event: event("rolled_back"),
            ..case("rolled_back_with_the_same_definition", "good", ROLLED_BACK, &["circuit breaker"], ":1")
        },
        Case {
            prepare: |world| {
                let dies = ImageRule { exits: Some(137), exits_after: 70, ..ImageRule::default() };
                image(world, ImageRule { image: "dies".to_owned(), ..dies });
            },
            ..case("dies_after_it_ran", "dies", ROLLED_BACK, &["exit code 137"], ":1")
        },
        Case {
            event: event("rollback_failed"),
            ..case("rollback_failed", "good:2", Some("LF-SERVICE-ROLLBACK-FAILED"), &["rollback failed"], ":1")
        },
        Case {
            event: event("aborted"),
            ..case("stopped_by_somebody", "good:2", Some("LF-SERVICE-DEPLOYMENT-STOPPED"), &["stopped by"], ":1")
        },
        Case {
            event: event("stopped"),
            ..case("rolled_back_by_somebody", "good:2", ROLLED_BACK, &["stopped by the user"], ":1")
        },
        Case {
            event: event("superseded"),
            ..case("superseded", "good:2", Some("LF-SERVICE-REPLACED"), &["another deployment"], ":1")
        },
        Case {
            change: |deploy| alarms(deploy, true),
            event: alarm(),
            ..case("rolled_back_by_an_alarm", "good:2", ROLLED_BACK, &["too-many-5xx"], ":1")
        },
        Case {
            change: |deploy| alarms(deploy, false),
            event: alarm(),
            ..case("ended_by_an_alarm", "good:2", Some("LF-SERVICE-DEPLOYMENT-FAILED"), &["too-many-5xx"], ":1")
        },
        Case {
            prepare: |world| {
                image(
                    world,
                    ImageRule {
                        image: "gone".to_owned(),
                        pull_error: Some("not found".to_owned()),
                        ..Default::default()
                    },
                )
            },
            ..case("no_such_image", "gone", ROLLED_BACK, &["CannotPullContainerError", "not found"], ":1")
        },
        Case {
            prepare: |world| {
                image(
                    world,
                    ImageRule {
                        image: "gone".to_owned(),
                        pull_error: Some("not found".to_owned()),
                        ..Default::default()
                    },
                )
            },
            change: |deploy| {
                deploy.fail_fast = Some(2);
                deploy.deployment.circuit_breaker.threshold = Some(10);
            },
            ..case("given_up_early", "gone", Some("LF-SERVICE-DEPLOYMENT-FAILED"), &["2 tasks failed alike"], ":1")
        },
        Case { change: |deploy| blue_green(deploy, Vec::new()), ..case("blue_green", "good:2", None, &[], ":2") },
        Case {
            change: |deploy| blue_green(deploy, vec![pause(TimeoutAction::Rollback)]),
            ..case("paused_for_too_long", "good:2", ROLLED_BACK, &["timed out"], ":1")
        },
        Case {
            change: |deploy| blue_green(deploy, vec![pause(TimeoutAction::Continue)]),
            ..case("paused_and_gone_on_by_itself", "good:2", None, &[], ":2")
        },
        Case {
            prepare: |world| {
                let rule = FunctionRule {
                    name: "check".to_owned(),
                    hook_status: Some("FAILED".to_owned()),
                    ..Default::default()
                };
                world.fake.change_rules(|rules| rules.functions.push(rule));
            },
            change: |deploy| {
                let arn = format!("arn:aws:lambda:{REGION}:123456789012:function:check");
                let action = LifecycleAction::Function { arn, role: "arn:aws:iam::123456789012:role/hooks".to_owned() };
                blue_green(deploy, vec![LifecycleHook { stages: vec![LifecycleStage::PostScaleUp], action }]);
            },
            ..case("a_hook_failed", "good:2", ROLLED_BACK, &["POST_SCALE_UP lifecycle hook", "FAILED"], ":1")
        },
        Case {
            change: |deploy| blue_green(deploy, Vec::new()),
            event: event("stopped"),
            ..case("blue_green_rolled_back_by_somebody", "good:2", ROLLED_BACK, &["stopped by the user"], ":1")
        },
    ]
}

#[tokio::test]
async fn endings() {
    for case in cases() {
        let world = World::new().await;
        (case.prepare)(&world);
        Rollout::runs_good(&world).await;
        let mut rollout = Rollout::within(world, case.image, case.change).await;
        rollout.begin().await;
        if let Some(event) = &case.event {
            rollout.world.fake.advance(30);
            rollout.world.fake.force(event).unwrap();
        }
        match (rollout.end(20).await, case.code) {
            (Ok(_), None) => {}
            (Err((code, message, detail)), Some(expected)) => {
                assert_eq!(code, expected, "{}: {message}", case.name);
                for says in case.says {
                    assert!(format!("{message}\n{detail}").contains(says), "{}: {message}\n{detail}", case.name);
                }
                rollout.undo().await;
            }
            (ended, expected) => panic!("{}: {ended:?} and not {expected:?}", case.name),
        }
        rollout.runs(case.runs).await;
    }
}

#[tokio::test]
async fn good_bad_bad_goes_back_to_good() {
    let world = World::new().await;
    Rollout::runs_good(&world).await;
    let mut first = Rollout::within(world, "bad", as_it_is).await;
    first.begin().await;
    assert_eq!(first.end(20).await.unwrap_err().0, "LF-SERVICE-ROLLED-BACK");
    first.undo().await;
    let mut second = Rollout::within(first.world, "bad:2", as_it_is).await;
    second.begin().await;
    assert_eq!(second.end(20).await.unwrap_err().0, "LF-SERVICE-ROLLED-BACK");
    second.undo().await;
    second.runs(":1").await;
}

#[tokio::test]
async fn a_paused_deployment_says_so_and_goes_on_when_it_is_told() {
    let world = World::new().await;
    Rollout::runs_good(&world).await;
    let mut rollout =
        Rollout::within(world, "good:2", |deploy| blue_green(deploy, vec![pause(TimeoutAction::Rollback)])).await;
    rollout.begin().await;
    let orchestrator = Arc::clone(&rollout.world.orchestrator);
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let token = rollout.token.clone().unwrap();
        let Progress::Pending { token, note, .. } =
            rollout.steps.poll(&rollout.cx, &rollout.params, &token).await.unwrap()
        else {
            panic!("done before the pause")
        };
        rollout.token = Some(token);
        let note = note.unwrap_or_default();
        if note.contains("paused until") {
            assert!(note.contains("POST_TEST_TRAFFIC_SHIFT, 0 % of the traffic"), "{note}");
            assert!(note.contains("then it is rolled back: `landfall continue` or `landfall abort`"), "{note}");
            break;
        }
        assert!(Instant::now() < deadline, "{note}");
        rollout.world.fake.advance(20);
    }
    assert!(!orchestrator.continue_deployment(WEB, &["another".to_owned()]).await.unwrap(), "not at that one");
    assert!(orchestrator.continue_deployment(WEB, &[]).await.unwrap());
    assert!(!orchestrator.continue_deployment(WEB, &[]).await.unwrap(), "it waits at none");
    rollout.end(20).await.unwrap();
    assert!(rollout.notes.iter().any(|note| note.contains("BAKE_TIME, 100 % of the traffic")), "{:?}", rollout.notes);
    rollout.runs(":2").await;
    assert!(!orchestrator.stop_deployment(WEB, StopDeployment::Rollback).await.unwrap(), "none is under way");
}

#[tokio::test]
async fn shifted_traffic_is_enough_where_that_is_asked_for() {
    let world = World::new().await;
    Rollout::runs_good(&world).await;
    let mut rollout = Rollout::within(world, "good:2", |deploy| {
        blue_green(deploy, Vec::new());
        deploy.wait_until = WaitUntil::TrafficShifted;
    })
    .await;
    rollout.begin().await;
    rollout.end(20).await.unwrap();
    let told = &rollout.world.service().await.deployments[0];
    assert!(told.shift.as_ref().is_some_and(|shift| shift.shifted && shift.percent == 100), "{told:?}");
    rollout.runs(":2").await;
}

/// Deleted by hand in the middle: it is made again once its name is free.
#[tokio::test]
async fn a_service_that_somebody_deletes_meanwhile_is_made_again() {
    let world = World::new().await;
    Rollout::runs_good(&world).await;
    let mut rollout = Rollout::within(world, "good:2", as_it_is).await;
    rollout.begin().await;
    rollout.world.force("deleted");
    rollout.end(20).await.unwrap();
    assert!(rollout.notes.iter().any(|note| note.contains("draining")), "{:?}", rollout.notes);
    rollout.runs(":2").await;
}

#[tokio::test]
async fn a_deployment_under_throttling_ends_right() {
    let world = World::new().await;
    Rollout::runs_good(&world).await;
    let error = FaultError { code: "ThrottlingException".to_owned(), message: "Rate exceeded".to_owned(), status: 400 };
    world.fake.fault(Fault { percent: Some(30), error: Some(error), ..Fault::default() });
    let mut rollout = Rollout::within(world, "good:2", as_it_is).await;
    rollout.begin().await;
    rollout.end(20).await.unwrap();
    rollout.world.fake.clear_faults();
    rollout.runs(":2").await;
}

#[tokio::test]
async fn a_base_task_definition_that_is_not_there_is_named() {
    let world = World::new().await;
    let mut asked = definition("web", "good");
    asked.base = Some("acme-base:7".to_owned());
    let error = world.orchestrator.register_task_definition(&asked, &tags("web", "exe_1")).await.unwrap_err();
    assert!(
        matches!(&error, PortError::NotFound(text) if text.contains("base task definition acme-base:7 is not registered")
            && text.contains("base_task_definition")),
        "{error:?}"
    );
    let left = world.fake.call("ecs", "ListTaskDefinitions", json!({})).unwrap();
    assert_eq!(left["taskDefinitionArns"], json!([]));
}

#[tokio::test]
async fn a_wrong_region_says_where_there_is_no_cluster() {
    let mut world = World::new().await;
    world.target.region = Some("eu-north-1".to_owned());
    world.restarted().await;
    let error = world.orchestrator.describe_service(WEB).await.unwrap_err();
    assert!(
        matches!(&error, PortError::Invalid(text) if text.contains("no cluster main in region eu-north-1")
            && text.contains("correct `cluster` or `region` of target test")),
        "{error:?}"
    );
    let handle = "arn:aws:ecs:eu-north-1:123456789012:task-definition/web:1";
    let error = world.orchestrator.put_service(&request(handle)).await.unwrap_err();
    assert!(matches!(&error, PortError::Invalid(text) if text.contains("region eu-north-1")), "{error:?}");
}

/// With a load balancer whose targets never get well.
#[tokio::test]
async fn targets_that_never_get_well_are_the_reason() {
    let world = World::new().await;
    let arn = groups(&world, 1).remove(0);
    image(&world, ImageRule { image: "sick".to_owned(), target: Some("503".to_owned()), ..Default::default() });
    let good = Rollout::within(world, "good", |deploy| deploy.target = target(&arn)).await;
    let mut progress = good.steps.start(&good.cx, &good.params).await.unwrap();
    while let Progress::Pending { token, .. } = progress {
        good.world.fake.advance(50);
        progress = good.steps.poll(&good.cx, &good.params, &token).await.unwrap();
    }
    let mut sick = Rollout::within(good.world, "sick", |deploy| deploy.target = target(&arn)).await;
    sick.cx.execution = ExecutionId::new("exe_3");
    sick.begin().await;
    let (code, message, detail) = sick.end(500).await.unwrap_err();
    assert_eq!(code, "LF-SERVICE-ROLLED-BACK", "{message}");
    assert!(message.contains("Task failed ELB health checks"), "{message}\n{detail}");
    sick.undo().await;
    sick.runs(":1").await;
}
