//! What stages of pipelines do besides deploying: tasks, following other pipelines, keeping an environment to themselves.

use std::sync::Arc;

use jiff::SignedDuration;
use landfall_model::Timestamp;
use landfall_model::app::ImageSource;
use landfall_model::inventory::{TAG_ENVIRONMENT, Tags};
use landfall_model::pipeline::{OnFailure, TaskWork, Trigger, Work};
use landfall_model::strategy::{LifecycleAction, LifecycleHook, LifecycleStage, TimeoutAction};
use landfall_model::task::{ContainerDefinition, ContainerSettings, TaskDefinition};
use landfall_pipeline::retention::Retention;
use landfall_pipeline::{RunState, RunView, Signal, StageState};
use landfall_ports::orchestrator::PutService;
use landfall_ports::store::Store as _;
use landfall_server::ControlError;
use landfall_server::pipelines::{PipelineRequest, PipelineResponse};
use landfall_testkit::stacks::FakeStacks;
use serde_json::json;

use crate::deploy::{ask, image};
use crate::pipelines::{COMMIT, Told, approval, decide, pipeline, reaches, rig, run, show, stage};
use crate::rig::{Rig, Server, eventually};
use crate::stacks::{OTHER, STACK, begin_of, image as pinned, rig as stacked};

/// A task is of one service, and its environment has two.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_runs_before_the_deployment_of_all_services() {
    let (mut rig, _) = rig();
    let mut worker = rig.app.services["app"].clone();
    (worker.name, worker.load_balancer) = ("worker".to_owned(), None);
    rig.app.services.insert("worker".to_owned(), worker);
    let task =
        TaskWork { service: "app".to_owned(), container: None, command: vec!["migrate".to_owned()], timeout: 60 };
    let main = rig.app.pipelines.get_mut("main").unwrap();
    main.stages.truncate(1);
    main.stages[0].run.insert(0, Work::Task(task));
    rig.app.environments.get_mut("dev").unwrap().services.push("worker".to_owned());
    let server = rig.start().await;
    let passed = reaches(&server, &run(&server).await.id, RunState::Passed).await;
    assert_eq!(passed.stages[0].shown.as_ref().unwrap().images.len(), 2, "{passed:#?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_follow_a_pipeline_begin() {
    let (mut rig, _) = rig();
    let mut main = rig.app.pipelines["main"].clone();
    main.stages.truncate(1);
    main.stages[0].run.truncate(1);
    for name in ["eu", "us"] {
        let on = Trigger { after: Some("main".to_owned()), ..Trigger::default() };
        let follows = landfall_model::pipeline::Pipeline { name: name.to_owned(), on, ..main.clone() };
        rig.app.pipelines.insert(name.to_owned(), follows);
    }
    rig.app.pipelines.insert("main".to_owned(), main);
    let server = rig.start().await;
    reaches(&server, &run(&server).await.id, RunState::Passed).await;
    eventually("both have passed", async || {
        let request = PipelineRequest::List { pipeline: None, all: true, limit: 10 };
        let PipelineResponse::List(list) = pipeline(&server, request).await.unwrap() else { panic!() };
        let passed = |name: &str| list.iter().any(|one| one.pipeline == name && one.state == RunState::Passed);
        (passed("eu") && passed("us")).then_some(())
    })
    .await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_else_deploys_where_a_stage_is_at_work() {
    let (mut rig, told) = rig();
    let main = rig.app.pipelines.get_mut("main").unwrap();
    main.stages = vec![stage("prod", None)];
    told.broken.lock().unwrap().insert("http://www.example.com:8080/".to_owned());
    let server = rig.start().await;
    let id = run(&server).await.id;
    eventually("it verifies", async || {
        let view = show(&server, &id).await;
        let work = view.stages[0].work.get(1)?;
        (view.stages[0].state == StageState::Running && work.started_at.is_some()).then_some(())
    })
    .await;
    let refused = ask(&server, image("r.example/app:old")).await.unwrap_err();
    assert!(matches!(&refused, ControlError::Locked(why) if why.contains(id.as_str())), "{refused:?}");
    told.broken.lock().unwrap().clear();
    reaches(&server, &id, RunState::Passed).await;
    server.stop().await;
}

/// Before a stage that prod's comes before.
async fn waits(server: &Server, view: &RunView) {
    let waiting = eventually("it waits", async || {
        let view = show(server, &view.id).await;
        (view.state == RunState::Waiting && view.stages[0].why.is_some()).then_some(view)
    });
    assert_eq!(waiting.await.message, "before dev: these images have not come out well in prod yet");
}

/// Its stack is applied and then does not answer, until `Told` says that nothing is broken. Pipeline `next` is for what has passed prod.
fn prod_fails_after_it_is_deployed() -> (Rig, FakeStacks, Arc<Told>) {
    let (mut rig, stacks) = stacked();
    let told = Arc::new(Told::default());
    rig.outside = told.clone();
    told.broken.lock().unwrap().insert("http://balancer.example.com/".to_owned());
    let verify = landfall_model::probe::Verify { deadline: 1, ..Default::default() };
    rig.app.environments.get_mut("prod").unwrap().verify = Some(verify);
    let main = rig.app.pipelines.get_mut("main").unwrap();
    let mut next = main.clone();
    main.stages.remove(0);
    (main.stages[0].approval, main.stages[0].on_failure) = (None, OnFailure::Stop);
    next.name = "next".to_owned();
    next.stages.truncate(1);
    next.stages[0].requires.passed = vec!["prod".to_owned()];
    rig.app.pipelines.insert("next".to_owned(), next);
    (rig, stacks, told)
}

/// A stage after the deployment failed, and what it deployed stays: that is no environment in which the images came out well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_have_passed_a_stack_once_its_stage_has() {
    let (mut rig, _, told) = prod_fails_after_it_is_deployed();
    let server = rig.start().await;
    let failed = reaches(&server, &run(&server).await.id, RunState::Failed).await;
    let after = begin_of(&server, "next", COMMIT).await;
    waits(&server, &after).await;
    told.broken.lock().unwrap().clear();
    let retry = Signal::Retry { by: "cli:carl".to_owned() };
    pipeline(&server, PipelineRequest::Signal { run: failed.id.to_string(), signal: retry }).await.unwrap();
    reaches(&server, &failed.id, RunState::Passed).await;
    reaches(&server, &after.id, RunState::Passed).await;
    server.stop().await;

    // Of none of prod's services the release has an image.
    let mut worker = rig.app.services["app"].clone();
    (worker.name, worker.load_balancer) = ("worker".to_owned(), None);
    rig.app.services.insert("worker".to_owned(), worker);
    rig.app.services.get_mut("app").unwrap().containers[0].image = ImageSource::Reference(pinned(COMMIT));
    rig.app.environments.get_mut("dev").unwrap().services = vec!["worker".to_owned()];
    let server = rig.start().await;
    reaches(&server, &run(&server).await.id, RunState::Passed).await;
    waits(&server, &begin_of(&server, "next", COMMIT).await).await;
    server.stop().await;
}

/// A failed run whose images a stack still runs is not forgotten: else they would look as if somebody had applied them by hand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_that_a_stack_still_runs_is_remembered() {
    let (mut rig, stacks, _) = prod_fails_after_it_is_deployed();
    let server = rig.start().await;
    // The second brings what the first did, and is the one that is remembered.
    let mut brought = Vec::new();
    for _ in 0..2 {
        brought.push(reaches(&server, &run(&server).await.id, RunState::Failed).await.id);
    }
    // Later ones of the pipeline never get as far: their image is never pushed.
    let mut last = None;
    for _ in 0..2 {
        let begun = begin_of(&server, "main", &"3".repeat(40)).await;
        let cancel = Signal::Cancel { by: "cli:carl".to_owned(), comment: None };
        pipeline(&server, PipelineRequest::Signal { run: begun.id.to_string(), signal: cancel }).await.unwrap();
        last = Some(begun.id);
    }
    server.stop().await;

    rig.runs = Some(Retention { days: 30, newest: 1 });
    rig.clock.set(Timestamp::now() + SignedDuration::from_hours(24 * 31));
    let kept = [last.clone().unwrap(), brought[1].clone()];
    let server = rig.start().await;
    eventually("the others are gone", async || (rig.mem.runs(10).await.unwrap() == kept).then_some(())).await;
    waits(&server, &begin_of(&server, "next", COMMIT).await).await;
    server.stop().await;

    // What somebody else has put in its place is theirs, and the failure says nothing any more.
    stacks.touch(STACK, |state| drop(state.parameters.insert("AppAppImage".to_owned(), pinned(OTHER))));
    rig.clock.set(Timestamp::now() + SignedDuration::from_hours(24 * 63));
    let server = rig.start().await;
    eventually("it is gone too", async || (!rig.mem.runs(10).await.unwrap().contains(&brought[1])).then_some(())).await;
    server.stop().await;
}

/// The release's images run before they are deployed: of the task definition that serves, with them in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_of_a_stack_runs_the_release_before_it_is_applied() {
    let (mut rig, stacks) = stacked();
    let command = vec!["migrate".to_owned()];
    let task = Work::Task(TaskWork { service: "app".to_owned(), container: None, command, timeout: 60 });
    let main = rig.app.pipelines.get_mut("main").unwrap();
    main.stages.remove(0);
    (main.stages[0].approval, main.stages[0].on_failure) = (None, OnFailure::Stop);
    main.stages[0].run.insert(0, task);
    let server = rig.start().await;
    let ended = reaches(&server, &run(&server).await.id, RunState::Failed).await;
    assert!(ended.message.contains("service my-project-prod-app is not there yet"), "{}", ended.message);
    assert!(ended.message.contains("put the task after `stack` or `deploy`"), "{}", ended.message);

    // As CloudFormation makes it.
    let orchestrator = rig.world.platform().orchestrator;
    let settings = ContainerSettings { essential: true, command: vec!["serve".to_owned()], ..Default::default() };
    let container = ContainerDefinition { name: "app".to_owned(), image: pinned(OTHER), settings };
    let family = "my-project-prod-app".to_owned();
    let definition = TaskDefinition { family: family.clone(), containers: vec![container], ..Default::default() };
    let serves = orchestrator.register_task_definition(&definition, &Tags::new()).await.unwrap();
    let request = PutService {
        name: family.clone(),
        launch_type: Default::default(),
        task_definition: serves.handle.clone(),
        desired_count: 1,
        keep_count: false,
        deployment: rig.app.services["app"].deployment.clone(),
        target: None,
        tags: Tags::from([(TAG_ENVIRONMENT.to_owned(), "my-project@prod".to_owned())]),
        adopt: false,
        replace: None,
        document: None,
    };
    orchestrator.put_service(&request).await.unwrap();
    reaches(&server, &run(&server).await.id, RunState::Passed).await;
    assert_eq!((rig.world.task_runs(), stacks.executed().len()), (1, 1));
    let ran = rig.world.definitions().into_iter().find(|one| one.document.is_some()).unwrap();
    assert_eq!((ran.family.as_str(), ran.containers[0].image.as_str()), (family.as_str(), pinned(COMMIT).as_str()));
    let document = ran.document.unwrap();
    assert_eq!((&document["containerDefinitions"][0]["command"], document.get("tags")), (&json!(["serve"]), None));
    assert_eq!(rig.world.definition_of(&family), Some(serves.handle), "the service is the stack's");
    server.stop().await;
}

/// prod after a yes, by deployments that pause before they shift any traffic.
fn pausing() -> Rig {
    let (mut rig, _) = rig();
    let main = rig.app.pipelines.get_mut("main").unwrap();
    main.stages = vec![stage("prod", Some(approval()))];
    let action = LifecycleAction::Pause { timeout: None, on_timeout: TimeoutAction::Rollback };
    let hook = LifecycleHook { stages: vec![LifecycleStage::PostTestTrafficShift], action };
    rig.app.services.get_mut("app").unwrap().deployment.strategy.hooks = vec![hook];
    let image = format!("r.example/app:{COMMIT}@sha256:{}", "a".repeat(64));
    rig.world.behave(|behaviour| behaviour.pausing_images.extend([image]));
    rig
}

/// Entered by a yes of Anna's, and standing.
async fn stands(server: &Server) -> RunView {
    let asked = reaches(server, &run(server).await.id, RunState::AwaitingApproval).await;
    decide(server, &asked, "cli:anna", true).await.unwrap();
    eventually("it stands at its pause", async || {
        let view = show(server, &asked.id).await;
        (view.state == RunState::AwaitingApproval && view.stages[0].entered_at.is_some()).then_some(view)
    })
    .await
}

/// ECS waits at a pause hook: who approves the stage is asked, and a yes lets the deployment go on, also after a death.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_that_pauses_goes_on_when_the_stages_approvers_say_so() {
    let rig = pausing();
    let server = rig.start().await;
    let view = stands(&server).await;
    assert_eq!(view.message, "prod is paused and waits for approval, 0 of 1");
    let asked = view.stages[0].approval.as_ref().unwrap().asked.clone().unwrap();
    let line = "app: stands at POST_TEST_TRAFFIC_SHIFT with 0 % of the traffic on the new version; it is rolled back by itself in the end";
    assert_eq!((asked.round, asked.shown.changes[0].as_str()), (2, line));
    server.kill(&rig).await;

    let server = rig.start().await;
    assert!(decide(&server, &view, "cli:carl", true).await.unwrap_err().contains("not among those who decide"));
    assert_eq!(rig.world.effects().get("continue_deployment"), None);
    assert_eq!(decide(&server, &view, "cli:ben", true).await.unwrap(), "approved: prod goes on");
    let passed = reaches(&server, &view.id, RunState::Passed).await;
    assert_eq!(rig.world.effects().get("continue_deployment"), Some(&1));
    let told: Vec<&str> = passed.timeline.iter().map(|moment| moment.text.as_str()).collect();
    let at = |text: &str| told.iter().position(|told| *told == text).unwrap_or_else(|| panic!("no {text}: {told:?}"));
    assert!(at("paused, and approval asked for") < at("approved by cli:ben"), "{told:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_no_at_a_pause_rolls_the_deployment_back() {
    let rig = pausing();
    let server = rig.start().await;
    let view = stands(&server).await;
    let said = decide(&server, &view, "cli:ben", false).await.unwrap();
    assert_eq!(said, "rejected by cli:ben: what is under way in prod is stopped and undone");
    let ended = reaches(&server, &view.id, RunState::Rejected).await;
    assert_eq!(ended.message, "rejected by cli:ben while prod was paused: prod is as it was");
    assert_eq!(rig.world.effects().get("continue_deployment"), None);
    assert_eq!(rig.world.effects().get("stop_deployment"), Some(&1));
    server.stop().await;
}
