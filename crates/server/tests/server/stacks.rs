//! Pipelines over an environment that is a stack, with CloudFormation in memory.

use std::collections::BTreeMap;

use landfall_model::aws::AwsTarget;
use landfall_model::cloudformation::{ResourceChange, StackOutput};
use landfall_model::pipeline::{PipelineRelease, Work};
use landfall_model::stack::{Cluster, Nat, Network, Stack};
use landfall_pipeline::{RunState, RunView};
use landfall_ports::orchestrator::ServiceEvent;
use landfall_server::pipelines::{PipelineRequest, PipelineResponse};
use landfall_testkit::stacks::FakeStacks;

use crate::pipelines::{COMMIT, decide, locked, pipeline, reaches, rig as plain, run, show};
use crate::rig::{Rig, Server, eventually};

pub(crate) const STACK: &str = "my-project-prod";
pub(crate) const OTHER: &str = "9f8e7d6c5b4a39281706f5e4d3c2b1a098765432";
const ANY: Work = Work::Stack { allow_replacement: false, allow_deletion: false };

/// dev on the machine, then a yes, then prod as a stack.
pub(crate) fn rig() -> (Rig, FakeStacks) {
    let (mut rig, _) = plain();
    let target = AwsTarget {
        name: "aws".to_owned(),
        region: Some("eu-west-1".to_owned()),
        cluster: "shop".to_owned(),
        ..AwsTarget::default()
    };
    rig.app.aws.insert("aws".to_owned(), target);
    let stack = Stack {
        network: Network::New { cidr: "10.0.0.0/16".to_owned(), nat: Nat::None },
        cluster: Cluster::New { instances: None },
        internal: false,
        zone: None,
        rules: BTreeMap::new(),
        scaling: BTreeMap::new(),
        volumes: BTreeMap::new(),
        permissions: BTreeMap::new(),
        log_retention: 30,
        role: None,
        termination_protection: true,
        template_bucket: None,
    };
    let service = rig.app.services.get_mut("app").unwrap();
    (service.cpu, service.memory) = (Some(256), Some(512));
    let prod = rig.app.environments.get_mut("prod").unwrap();
    (prod.on, prod.routing, prod.stack) = (Some("aws".to_owned()), None, Some(stack));
    rig.app.pipelines.get_mut("main").unwrap().stages[1].run = vec![ANY, Work::Verify {}];
    rig.world.behave(|behaviour| behaviour.available_images.extend([format!("r.example/app:{OTHER}")]));
    let stacks = FakeStacks::default();
    stacks.behave(|behaviour| {
        let (key, value) = ("Url".to_owned(), "http://balancer.example.com/".to_owned());
        behaviour.outputs = vec![StackOutput { key, value, description: None, export: None }];
    });
    rig.stacks.insert("prod".to_owned(), std::sync::Arc::new(stacks.clone()));
    (rig, stacks)
}

fn change(action: &str, resource: &str, replacement: Option<&str>) -> ResourceChange {
    ResourceChange {
        action: action.to_owned(),
        resource: resource.to_owned(),
        kind: "AWS::EC2::VPC".to_owned(),
        replacement: replacement.map(str::to_owned),
        ..ResourceChange::default()
    }
}

pub(crate) fn image(commit: &str) -> String {
    format!("r.example/app:{commit}@sha256:{}", "a".repeat(64))
}

async fn begin(server: &Server, commit: &str) -> RunView {
    begin_of(server, "main", commit).await
}

pub(crate) async fn begin_of(server: &Server, name: &str, commit: &str) -> RunView {
    let release = PipelineRelease { commit: Some(commit.to_owned()), ..PipelineRelease::default() };
    let request = PipelineRequest::Run { pipeline: name.to_owned(), release, by: "cli:carl".to_owned() };
    match pipeline(server, request).await.unwrap() {
        PipelineResponse::Run(view) => *view,
        other => panic!("{other:?}"),
    }
}

/// Anna looks and says yes.
async fn approved(server: &Server, run: &RunView) -> RunView {
    let asked = reaches(server, &run.id, RunState::AwaitingApproval).await;
    decide(server, &asked, "cli:anna", true).await.unwrap();
    asked
}

fn changes(asked: &RunView) -> Vec<String> {
    asked.stages[1].approval.as_ref().unwrap().asked.as_ref().unwrap().shown.changes.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stack_is_made_changed_and_protected_as_it_was_shown() {
    let (rig, stacks) = rig();
    let server = rig.start().await;
    let asked = approved(&server, &run(&server).await).await;
    let made =
        ["stack my-project-prod: is made", "termination protection → on", "+ add      Vpc", "+ add      WebService"];
    let shown = changes(&asked);
    for line in made {
        assert!(shown.iter().any(|one| one.starts_with(line)), "{line}: {shown:?}");
    }
    let passed = reaches(&server, &asked.id, RunState::Passed).await;
    assert_eq!(passed.stages[1].url.as_deref(), Some("http://balancer.example.com/"));
    let live = stacks.state(STACK).unwrap();
    assert_eq!((live.status.as_str(), live.protected), ("CREATE_COMPLETE", true));
    assert_eq!(live.parameters, BTreeMap::from([("AppAppImage".to_owned(), image(COMMIT))]));
    assert_eq!((stacks.executed().len(), stacks.waiting(STACK)), (1, 0));
    assert!(!locked(&server, "prod").await);

    // The next release is a new revision, and said as what it is.
    let asked = approved(&server, &begin(&server, OTHER).await).await;
    let to = format!("AppAppImage: {} → {}", image(COMMIT), image(OTHER));
    assert_eq!(
        changes(&asked),
        [to.as_str(), "~ revise   WebTaskDefinition  ECS::TaskDefinition  ContainerDefinitions"]
    );
    let shown = asked.stages[1].approval.as_ref().unwrap().asked.as_ref().unwrap().shown.clone();
    assert_eq!((shown.present["app/app"].clone(), shown.images["app/app"].clone()), (image(COMMIT), image(OTHER)));
    reaches(&server, &asked.id, RunState::Passed).await;
    assert_eq!(stacks.state(STACK).unwrap().status, "UPDATE_COMPLETE");
    assert_eq!(stacks.executed().len(), 2);

    // What runs there already changes nothing.
    let asked = approved(&server, &begin(&server, OTHER).await).await;
    assert_eq!(changes(&asked), [""; 0]);
    reaches(&server, &asked.id, RunState::Passed).await;
    assert_eq!((stacks.executed().len(), stacks.waiting(STACK)), (2, 0));
    let request = PipelineRequest::Current { environment: "prod".to_owned() };
    let PipelineResponse::Current(current) = pipeline(&server, request).await.unwrap() else { panic!() };
    let stack = current.stack.unwrap();
    assert_eq!((stack.commit.as_deref(), stack.status.as_str()), (Some(OTHER), "UPDATE_COMPLETE"));
    assert_eq!(stack.images, BTreeMap::from([("app/app".to_owned(), image(OTHER))]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_in_every_phase_of_a_stack_applies_it_once() {
    // From the approval on: entering, entered, begun, change set, executed, under way, done, verified, passed.
    for phase in 1..=10 {
        let (mut rig, stacks) = rig();
        rig.app.pipelines.get_mut("main").unwrap().stages.remove(0);
        stacks.behave(|behaviour| behaviour.patience = 3);
        let server = rig.start().await;
        let asked = approved(&server, &run(&server).await).await;
        eventually(&format!("phase {phase}"), async || {
            let view = show(&server, &asked.id).await;
            (view.version > asked.version + phase || view.state.is_finished()).then_some(())
        })
        .await;
        server.kill(&rig).await;
        let server = rig.start().await;
        reaches(&server, &asked.id, RunState::Passed).await;
        assert_eq!(stacks.executed().len(), 1, "phase {phase}");
        let live = stacks.state(STACK).unwrap();
        assert_eq!((live.status.as_str(), live.protected), ("CREATE_COMPLETE", true), "phase {phase}");
        assert_eq!(stacks.waiting(STACK), 0, "phase {phase}");
        assert!(!locked(&server, "prod").await, "phase {phase}");
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_replaced_or_deleted_is_approved_or_allowed_and_never_silent() {
    let hurts = || vec![change("Modify", "Vpc", Some("True")), change("Remove", "Topic", None)];
    let (mut rig, stacks) = rig();
    let server = rig.start().await;
    let first = approved(&server, &run(&server).await).await;
    reaches(&server, &first.id, RunState::Passed).await;
    stacks.behave(|behaviour| behaviour.changes = hurts());
    // Who approves has seen it.
    let asked = approved(&server, &begin(&server, OTHER).await).await;
    let shown = changes(&asked);
    assert_eq!(shown[1..], ["± replace  Vpc    EC2::VPC", "- delete   Topic  EC2::VPC"], "{shown:?}");
    reaches(&server, &asked.id, RunState::Passed).await;
    assert_eq!(stacks.executed().len(), 2);
    server.stop().await;

    // Without anybody it is not done, unless the manifest says so.
    for (allow_replacement, allow_deletion, says) in [
        (false, false, "Vpc would be replaced, and Topic deleted, and nobody has approved that"),
        (true, false, "Topic would be deleted"),
        (false, true, "`run: [{ stack: { allow_replacement: true } }]`"),
    ] {
        let stage = &mut rig.app.pipelines.get_mut("main").unwrap().stages[1];
        stage.approval = None;
        stage.run[0] = Work::Stack { allow_replacement, allow_deletion };
        let server = rig.start().await;
        let ended = reaches(&server, &begin(&server, COMMIT).await.id, RunState::RolledBack).await;
        assert!(ended.message.contains(says), "{}", ended.message);
        assert!(ended.message.contains("nothing was changed"), "{}", ended.message);
        assert_eq!((stacks.executed().len(), stacks.waiting(STACK)), (2, 0));
        server.stop().await;
    }
    rig.app.pipelines.get_mut("main").unwrap().stages[1].run[0] =
        Work::Stack { allow_replacement: true, allow_deletion: true };
    let server = rig.start().await;
    reaches(&server, &begin(&server, COMMIT).await.id, RunState::Passed).await;
    assert_eq!(stacks.executed().len(), 3);
    server.stop().await;
}

/// What CloudFormation would do turns out to be something else than what was approved.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_resource_more_than_was_approved_and_nothing_is_executed() {
    let (rig, stacks) = rig();
    let server = rig.start().await;
    let first = approved(&server, &run(&server).await).await;
    reaches(&server, &first.id, RunState::Passed).await;
    stacks.behave(|behaviour| behaviour.changes = vec![change("Add", "Topic", None)]);
    let second = begin(&server, OTHER).await;
    let asked = reaches(&server, &second.id, RunState::AwaitingApproval).await;
    stacks.behave(|behaviour| behaviour.changes.push(change("Remove", "Vpc", None)));
    decide(&server, &asked, "cli:anna", true).await.unwrap();
    let again = eventually("asked again", async || {
        let view = show(&server, &second.id).await;
        let asked = view.stages[1].approval.as_ref()?.asked.as_ref()?;
        (asked.round == 2).then_some(view)
    })
    .await;
    assert!(changes(&again).iter().any(|line| line.starts_with("- delete   Vpc")), "{again:#?}");
    // Somebody's hand in the console.
    stacks
        .touch(STACK, |state| drop(state.parameters.insert("AppAppImage".to_owned(), "r.example/app:mine".to_owned())));
    decide(&server, &again, "cli:ben", true).await.unwrap();
    let third = eventually("asked a third time", async || {
        let view = show(&server, &second.id).await;
        let asked = view.stages[1].approval.as_ref()?.asked.as_ref()?;
        (asked.round == 3).then_some(view)
    })
    .await;
    let shown = changes(&third);
    assert!(shown.iter().any(|line| line.contains("was set to r.example/app:mine past Landfall")), "{shown:?}");
    assert_eq!((stacks.executed().len(), locked(&server, "prod").await), (1, false));
    server.stop().await;
}

/// Between the last look and the change set that is to be executed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_set_that_does_more_than_was_shown_is_not_executed() {
    let (mut rig, stacks) = rig();
    rig.app.pipelines.get_mut("main").unwrap().stages.remove(0);
    // One is made to show it, one before the stage is entered, the third to be executed.
    stacks.behave(|behaviour| behaviour.surprise = Some((3, change("Remove", "Vpc", None))));
    let server = rig.start().await;
    let asked = approved(&server, &run(&server).await).await;
    let ended = reaches(&server, &asked.id, RunState::RolledBack).await;
    let says = "apply the stack failed: what differs in prod is no longer what was shown; nothing was changed";
    assert!(ended.message.contains(says), "{}", ended.message);
    assert_eq!((stacks.made().len(), stacks.executed().len(), stacks.waiting(STACK)), (3, 0, 0));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_fails_is_told_by_its_cause_and_a_failed_verification_brings_the_images_back() {
    let (rig, told) = {
        let (mut rig, stacks) = rig();
        let told = std::sync::Arc::new(crate::pipelines::Told::default());
        rig.outside = told.clone();
        ((rig, stacks), told)
    };
    let (mut rig, stacks) = rig;
    let verify = landfall_model::probe::Verify { deadline: 1, ..Default::default() };
    rig.app.environments.get_mut("prod").unwrap().verify = Some(verify);
    let server = rig.start().await;
    let first = approved(&server, &run(&server).await).await;
    reaches(&server, &first.id, RunState::Passed).await;

    let message = "(service web) was unable to place a task because no container instance met all of its requirements.";
    let event = ServiceEvent { at: "2100-01-01T00:00:00Z".parse().unwrap(), message: message.to_owned() };
    stacks.behave(|behaviour| {
        behaviour.fails = Some("the circuit breaker was triggered".to_owned());
        behaviour.failures.events = vec![event];
    });
    let second = approved(&server, &begin(&server, OTHER).await).await;
    let ended = reaches(&server, &second.id, RunState::RolledBack).await;
    let says = "prod: apply the stack failed: WebService (AWS::ECS::Service): the circuit breaker was triggered";
    let expected = format!("{says}; {message}; what most likely helps: ");
    assert!(ended.message.starts_with(&expected), "{}", ended.message);
    assert!(ended.message.ends_with("; prod is as it was"), "{}", ended.message);

    told.broken.lock().unwrap().insert("http://balancer.example.com/".to_owned());
    let third = approved(&server, &begin(&server, OTHER).await).await;
    let ended = reaches(&server, &third.id, RunState::RolledBack).await;
    assert!(ended.message.contains("verify failed") && ended.message.contains("is rolled back"), "{}", ended.message);
    let live = stacks.state(STACK).unwrap();
    assert_eq!(live.parameters["AppAppImage"], image(COMMIT));
    assert_eq!((stacks.executed().len(), stacks.waiting(STACK)), (4, 0));
    server.stop().await;
}
