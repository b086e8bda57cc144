//! Deployments that are forced, followed a part of the way, given up early, or of services that were there before.

use landfall_model::inventory::{TAG_ENVIRONMENT, TAG_EXECUTION, TAG_INSTANCE, TAKEN_OVER, Tags};
use landfall_model::step::*;
use landfall_model::task::{ContainerDefinition, ContainerSettings, TaskDefinition};
use landfall_ports::PortError;
use landfall_ports::orchestrator::{Orchestrator, PutService, ServiceDescription, StopDeployment};
use landfall_ports::steps::{Progress, StepExecutor};
use landfall_testkit::platform::{Fault, When};
use landfall_workflow::event::StepError;
use serde_json::Value;

use crate::handlers::{At, MAKER, NEXT, params, undo};
use crate::world::{Place, app, context, deployment, finish, now};

const WEB: &str = "web";

fn tags(pairs: &[(&str, &str)]) -> Tags {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

struct World {
    place: Place,
}

impl World {
    fn new() -> Self {
        Self { place: Place::new(app()) }
    }

    fn definition(&self, image: &str) -> String {
        let settings = ContainerSettings { essential: true, ..ContainerSettings::default() };
        let definition = TaskDefinition {
            family: WEB.to_owned(),
            containers: vec![ContainerDefinition { name: WEB.to_owned(), image: image.to_owned(), settings }],
            ..serde_json::from_value(serde_json::json!({"family": WEB, "containers": []})).unwrap()
        };
        now(self.place.fake.register_task_definition(&definition, &Tags::new())).unwrap().handle
    }

    fn params(&self, image: &str) -> DeployService {
        DeployService {
            name: WEB.to_owned(),
            launch_type: landfall_model::task::LaunchType::Fargate,
            task_definition: Input::Value(self.definition(image)),
            desired_count: 2,
            keep_count: false,
            only_count: false,
            deployment: deployment(),
            target: None,
            tags: tags(&[(TAG_ENVIRONMENT, self.place.environment()), (TAG_INSTANCE, "this")]),
            adopt: false,
            force: false,
            wait_until: WaitUntil::Stable,
            fail_fast: None,
            document: None,
        }
    }

    fn at(&self, execution: &str, deploy: DeployService) -> At {
        let mut deploy = deploy;
        deploy.tags.insert(landfall_model::inventory::TAG_EXECUTION.to_owned(), execution.to_owned());
        let cx = context(execution, self.place.environment(), "service.web");
        At { cx, params: params(StepParams::DeployService(deploy)) }
    }

    fn deploy(&self, at: &At) -> Result<Value, StepError> {
        finish(&self.place.steps(), &at.cx, &at.params)
    }

    fn service(&self) -> ServiceDescription {
        now(self.place.fake.describe_service(WEB)).unwrap().unwrap()
    }

    /// Somebody else's service of the same name.
    fn foreign(&self, image: &str, owner: &[(&str, &str)]) {
        let request = PutService {
            name: WEB.to_owned(),
            launch_type: landfall_model::task::LaunchType::Fargate,
            task_definition: self.definition(image),
            desired_count: 5,
            keep_count: false,
            deployment: deployment(),
            target: None,
            tags: tags(owner),
            adopt: false,
            replace: None,
            document: None,
        };
        now(self.place.fake.put_service(&request)).unwrap();
        while self.service().running != 5 {}
    }
}

#[test]
fn a_service_that_was_there_is_taken_over_and_given_back_as_it_was() {
    let world = World::new();
    world.foreign("good:0", &[("team", "shop")]);
    let before = world.service();
    let adopting = world.at(MAKER, DeployService { adopt: true, ..world.params("good:1") });
    let output = world.deploy(&adopting).unwrap();
    let after = world.service();
    assert_eq!(after.tags.get(TAG_ENVIRONMENT).map(String::as_str), Some(world.place.environment()));
    assert_eq!(after.tags.get("team").map(String::as_str), Some("shop"));
    assert_eq!((output["created"].as_bool(), after.desired), (Some(false), 2));
    undo(&world.place, &adopting, Some(&output)).unwrap();
    let back = world.service();
    assert_eq!((back.task_definition, back.desired, back.running), (before.task_definition, 5, 5));

    let world = World::new();
    world.foreign("good:0", &[(TAG_ENVIRONMENT, "another"), (TAG_INSTANCE, "this")]);
    let adopting = world.at(MAKER, DeployService { adopt: true, ..world.params("good:1") });
    assert_eq!(world.deploy(&adopting).unwrap_err().code, "LF-PLATFORM-CONFLICT");
    let world = World::new();
    world.foreign("good:0", &[]);
    let plain = world.at(MAKER, world.params("good:1"));
    assert_eq!(world.deploy(&plain).unwrap_err().code, "LF-PLATFORM-CONFLICT", "not asked to");
}

#[test]
fn a_forced_deployment_begins_once_though_nothing_differs() {
    let world = World::new();
    world.deploy(&world.at(MAKER, world.params("good:1"))).unwrap();
    let first = world.service().deployments[0].id.clone();
    let plain = world.at(NEXT, world.params("good:1"));
    assert_eq!(world.deploy(&plain).unwrap()["deployment"], first.as_str());
    let forced = world.at(NEXT, DeployService { force: true, ..world.params("good:1") });
    let steps = world.place.steps();
    let Progress::Pending { token, .. } = now(steps.start(&forced.cx, &forced.params)).unwrap() else { panic!() };
    // A crash between the change and its record: the same poll again.
    let poll = || match now(steps.poll(&forced.cx, &forced.params, &token)).unwrap() {
        Progress::Pending { token, .. } => token["deployment"].as_str().unwrap().to_owned(),
        Progress::Done(output) => panic!("{output}"),
    };
    let begun = poll();
    assert_ne!(begun, first);
    assert_eq!(poll(), begun);
    assert_eq!(world.service().deployments[0].id, begun);
}

#[test]
fn a_deployment_is_followed_as_far_as_asked() {
    let world = World::new();
    world.place.fake.behave(|behaviour| {
        behaviour.patience = 3;
        behaviour.baking_images.insert("baking:1".to_owned());
    });
    let started = world.at(MAKER, DeployService { wait_until: WaitUntil::Started, ..world.params("good:1") });
    assert!(matches!(now(world.place.steps().start(&started.cx, &started.params)), Ok(Progress::Done(_))));
    let shifted = DeployService { wait_until: WaitUntil::TrafficShifted, ..world.params("baking:1") };
    world.deploy(&world.at(NEXT, shifted)).unwrap();
    let last = &world.service().deployments[0];
    assert_eq!(last.shift.as_ref().unwrap().stage.as_deref(), Some("BAKE_TIME"), "it bakes on");
}

#[test]
fn tasks_that_keep_failing_alike_are_not_waited_for_and_what_ran_before_comes_back() {
    let world = World::new();
    world.place.fake.behave(|behaviour| {
        behaviour.restarting_images.insert("bad:1".to_owned());
    });
    world.deploy(&world.at(MAKER, world.params("good:1"))).unwrap();
    let before = world.service();
    let failing = world.at(NEXT, DeployService { fail_fast: Some(3), ..world.params("bad:1") });
    let error = world.deploy(&failing).unwrap_err();
    assert_eq!(error.code, "LF-SERVICE-DEPLOYMENT-FAILED");
    assert!(error.message.contains("given up after 3 tasks failed alike: Essential container"), "{}", error.message);
    assert!(error.detail.unwrap().contains("exit code 1"));
    let token = serde_json::json!({
        "previous_task_definition": before.task_definition,
        "previous_desired_count": before.desired,
    });
    undo(&world.place, &failing, Some(&token)).unwrap();
    assert_eq!(world.service().task_definition, before.task_definition);
}

#[test]
fn a_forced_deployment_of_the_same_is_ended_by_its_undo() {
    let world = World::new();
    world.deploy(&world.at(MAKER, world.params("good:1"))).unwrap();
    let before = world.service();
    world.place.fake.behave(|behaviour| {
        behaviour.restarting_images.insert("good:1".to_owned());
    });
    let forced = world.at(NEXT, DeployService { force: true, fail_fast: Some(2), ..world.params("good:1") });
    let steps = world.place.steps();
    let Progress::Pending { token, .. } = now(steps.start(&forced.cx, &forced.params)).unwrap() else { panic!() };
    let Progress::Pending { token, .. } = now(steps.poll(&forced.cx, &forced.params, &token)).unwrap() else {
        panic!()
    };
    let ours = token["deployment"].as_str().unwrap().to_owned();
    assert_ne!(before.deployments[0].id, ours);
    world.place.fake.behave(|behaviour| behaviour.restarting_images.clear());
    undo(&world.place, &forced, Some(&token)).unwrap();
    let after = world.service();
    assert_ne!(after.deployments[0].id, ours);
    assert_eq!((after.running, after.task_definition), (2, before.task_definition));
}

#[test]
fn the_undo_of_a_change_of_the_count_alone_waits_for_the_tasks() {
    let world = World::new();
    world.deploy(&world.at(MAKER, DeployService { desired_count: 4, ..world.params("good:1") })).unwrap();
    let scaling = world.at(NEXT, world.params("good:1"));
    let output = world.deploy(&scaling).unwrap();
    assert_eq!(world.service().running, 2);
    world.place.fake.behave(|behaviour| behaviour.patience = 3);
    let first = now(world.place.steps().undo(&scaling.cx, &scaling.params, Some(&output), None)).unwrap();
    assert!(matches!(first, Progress::Pending { .. }), "{first:?}");
    undo(&world.place, &scaling, Some(&output)).unwrap();
    assert_eq!(world.service().running, 4);
}

/// Autoscaling changes the count whenever it likes: while a deployment runs, and before it is undone.
#[test]
fn a_count_that_somebody_else_sets_is_neither_set_nor_set_back() {
    let world = World::new();
    let counted = |count| now(world.place.fake.scale_service(WEB, count)).unwrap();
    world.deploy(&world.at(MAKER, DeployService { desired_count: 4, ..world.params("good:1") })).unwrap();
    let before = world.service();
    let keeping = DeployService { desired_count: 3, keep_count: true, ..world.params("good:2") };
    let at = world.at(NEXT, keeping.clone());
    let steps = world.place.steps();
    let mut progress = now(steps.start(&at.cx, &at.params)).unwrap();
    // Planned with 3, found with 4, changed with 6.
    counted(6);
    let output = loop {
        match progress {
            Progress::Pending { token, .. } => progress = now(steps.poll(&at.cx, &at.params, &token)).unwrap(),
            Progress::Done(output) => break output,
        }
    };
    let after = world.service();
    assert_eq!((after.desired, after.running), (6, 6));
    counted(7);
    undo(&world.place, &at, Some(&output)).unwrap();
    let back = world.service();
    assert_eq!((&back.task_definition, back.desired, back.running), (&before.task_definition, 7, 7));
    // Nothing is left to be done of it.
    let effects = world.place.fake.effects();
    undo(&world.place, &at, Some(&output)).unwrap();
    assert_eq!(world.place.fake.effects(), effects);

    // One that the platform rolled back by itself.
    world.place.fake.behave(|behaviour| {
        behaviour.crashing_images.insert("bad:1".to_owned());
    });
    let failing =
        world.at("exe_3", DeployService { task_definition: world.params("bad:1").task_definition, ..keeping });
    let Progress::Pending { token, .. } = now(steps.start(&failing.cx, &failing.params)).unwrap() else { panic!() };
    counted(9);
    let error = finish(&steps, &failing.cx, &failing.params).unwrap_err();
    assert_eq!(error.code, "LF-SERVICE-ROLLED-BACK");
    undo(&world.place, &failing, Some(&token)).unwrap();
    let back = world.service();
    assert_eq!((back.task_definition, back.desired, back.running), (before.task_definition, 9, 9));
}

/// A count that the environment holds, or a scaling, is a change like any other.
#[test]
fn a_count_that_is_held_is_set_and_set_back() {
    let world = World::new();
    world.deploy(&world.at(MAKER, DeployService { desired_count: 4, ..world.params("good:1") })).unwrap();
    let held = world.at(NEXT, world.params("good:2"));
    let output = world.deploy(&held).unwrap();
    assert_eq!(world.service().desired, 2);
    undo(&world.place, &held, Some(&output)).unwrap();
    assert_eq!((world.service().desired, world.service().running), (4, 4));
}

#[test]
fn a_deployment_that_pauses_is_pending_with_what_to_do_and_goes_on_when_told() {
    let world = World::new();
    world.place.fake.behave(|behaviour| {
        behaviour.pausing_images.insert("paused:1".to_owned());
    });
    let at = world.at(MAKER, world.params("paused:1"));
    let steps = world.place.steps();
    let mut progress = now(steps.start(&at.cx, &at.params)).unwrap();
    let mut notes = Vec::new();
    for _ in 0..6 {
        let Progress::Pending { token, note, .. } = progress else { panic!("{progress:?}") };
        notes.extend(note);
        progress = now(steps.poll(&at.cx, &at.params, &token)).unwrap();
    }
    let paused = notes.last().unwrap();
    assert!(paused.contains("POST_TEST_TRAFFIC_SHIFT") && paused.contains("landfall continue"), "{paused}");
    assert!(now(world.place.fake.continue_deployment(WEB, &[])).unwrap());
    assert!(!now(world.place.fake.continue_deployment(WEB, &[])).unwrap(), "it waits at none");
    let Progress::Pending { token, .. } = progress else { panic!() };
    let mut progress = now(steps.poll(&at.cx, &at.params, &token)).unwrap();
    for _ in 0..5 {
        let Progress::Pending { token, .. } = progress else { break };
        progress = now(steps.poll(&at.cx, &at.params, &token)).unwrap();
    }
    assert!(matches!(progress, Progress::Done(_)), "{progress:?}");
}

#[test]
fn one_that_somebody_stopped_says_so() {
    let world = World::new();
    world.place.fake.behave(|behaviour| behaviour.patience = 9);
    let at = world.at(MAKER, world.params("good:1"));
    let steps = world.place.steps();
    let Progress::Pending { token, .. } = now(steps.start(&at.cx, &at.params)).unwrap() else { panic!() };
    assert!(now(world.place.fake.stop_deployment(WEB, StopDeployment::Abort)).unwrap());
    let error = now(steps.poll(&at.cx, &at.params, &token)).unwrap_err();
    assert_eq!(error.code, "LF-SERVICE-DEPLOYMENT-STOPPED");
    assert!(error.message.contains("stopped by somebody"), "{}", error.message);
}

/// As where a service came to be between the look and the change: what ran before it is no record, and task definitions, which may not
/// be listed for a lasting environment, are not.
#[test]
fn an_update_of_ours_goes_back_without_a_record_and_without_a_listing() {
    let world = World::new();
    world.deploy(&world.at(MAKER, world.params("good:1"))).unwrap();
    let before = world.service();
    let update = world.at(NEXT, DeployService { adopt: true, ..world.params("good:2") });
    let output = world.deploy(&update).unwrap();
    assert_ne!(world.service().task_definition, before.task_definition);
    let denied = || PortError::Denied("ecs:ListTaskDefinitions".into());
    world.place.fake.fail(Fault { method: "list_owned", nth: 1, when: When::Before, error: denied() });
    let nothing = serde_json::json!({"service": WEB, "created": false});
    undo(&world.place, &update, Some(&nothing)).unwrap();
    assert_ne!(world.service().task_definition, before.task_definition, "nobody knows whose it is");
    let ours = serde_json::json!({"service": WEB, "created": false, "deployment": output["deployment"]});
    undo(&world.place, &update, Some(&ours)).unwrap();
    assert_eq!(world.service().task_definition, before.task_definition);
}

/// Whoever scales says how many there are, and not of what.
#[test]
fn a_count_alone_leaves_what_others_deployed_meanwhile_and_so_does_its_undo() {
    let world = World::new();
    world.deploy(&world.at(MAKER, world.params("good:1"))).unwrap();
    let planned = world.at(NEXT, DeployService { only_count: true, desired_count: 5, ..world.params("good:1") });
    // Between the plan and its step.
    world.deploy(&world.at("exe_9", world.params("good:2"))).unwrap();
    let theirs = world.service();
    let output = world.deploy(&planned).unwrap();
    let scaled = world.service();
    assert_eq!((scaled.desired, scaled.running), (5, 5));
    assert_eq!((&scaled.task_definition, &scaled.settings), (&theirs.task_definition, &theirs.settings));
    assert_eq!(scaled.deployments, {
        let mut same = theirs.deployments.clone();
        (same[0].desired, same[0].running) = (5, 5);
        same
    });
    // Others again, before it is undone.
    world.deploy(&world.at("exe_9", DeployService { keep_count: true, ..world.params("good:3") })).unwrap();
    let theirs = world.service();
    undo(&world.place, &planned, Some(&output)).unwrap();
    let back = world.service();
    assert_eq!((back.desired, back.running, back.task_definition), (2, 2, theirs.task_definition));
    // And a count of theirs.
    now(world.place.fake.scale_service(WEB, 7)).unwrap();
    undo(&world.place, &planned, Some(&output)).unwrap();
    assert_eq!(world.service().desired, 7);
}

#[test]
fn the_count_of_what_is_gone_cannot_be_set() {
    let world = World::new();
    let planned = world.at(NEXT, DeployService { only_count: true, ..world.params("good:1") });
    assert_eq!(world.deploy(&planned).unwrap_err().code, "LF-PLATFORM-NOT-FOUND");
    undo(&world.place, &planned, None).unwrap();
    assert!(now(world.place.fake.describe_service(WEB)).unwrap().is_none(), "nothing is made");
}

/// Two installations of one manifest.
fn sees_only_its_own(world: &World) {
    world.place.fake.behave(|behaviour| behaviour.instance = Some("this".to_owned()));
}

fn retag(world: &World, own: &[(&str, &str)]) {
    world.place.fake.retag_service(WEB, &tags(own));
}

#[test]
fn a_service_that_another_installation_takes_over_is_not_taken_back() {
    let world = World::new();
    world.foreign("good:0", &[(TAG_EXECUTION, MAKER)]);
    sees_only_its_own(&world);
    let at = world.at(NEXT, DeployService { adopt: true, keep_count: true, ..world.params("good:1") });
    let steps = world.place.steps();
    let Progress::Pending { token, .. } = now(steps.start(&at.cx, &at.params)).unwrap() else { panic!() };
    let Progress::Pending { token, .. } = now(steps.poll(&at.cx, &at.params, &token)).unwrap() else { panic!() };
    let adopted = now(world.place.fake.service_tags(WEB)).unwrap().unwrap();
    assert_eq!(adopted[TAG_EXECUTION], TAKEN_OVER, "an undo of its maker does not find it");
    retag(&world, &[(TAG_ENVIRONMENT, world.place.environment()), (TAG_INSTANCE, "another")]);
    let effects = world.place.fake.effects();
    let error = now(steps.poll(&at.cx, &at.params, &token)).unwrap_err();
    assert_eq!(error.code, "LF-SERVICE-TAKEN-OVER");
    assert!(error.message.contains("service web belongs to installation another"), "{}", error.message);
    let undone = now(steps.undo(&at.cx, &at.params, None, Some(&token))).unwrap_err();
    assert_eq!(undone.code, "LF-SERVICE-TAKEN-OVER", "it does not run what it ran before");
    assert_eq!(world.place.fake.effects(), effects, "nothing of it was touched");
}

/// Between its look and its change a process died, and the one that goes on comes late.
#[test]
fn a_service_that_another_installation_takes_over_meanwhile_is_not_taken_back_after_a_crash() {
    let world = World::new();
    world.foreign("good:0", &[]);
    sees_only_its_own(&world);
    let mut at = world.at(NEXT, DeployService { adopt: true, keep_count: true, ..world.params("good:1") });
    let steps = world.place.steps();
    let Progress::Pending { token, .. } = now(steps.start(&at.cx, &at.params)).unwrap() else { panic!() };
    retag(&world, &[(TAG_ENVIRONMENT, world.place.environment()), (TAG_INSTANCE, "another")]);
    let effects = world.place.fake.effects();
    at.cx.now = landfall_model::Timestamp::from_second(3_600).unwrap();
    assert_eq!(now(steps.poll(&at.cx, &at.params, &token)).unwrap_err().code, "LF-SERVICE-TAKEN-OVER");
    assert_eq!(world.place.fake.effects(), effects, "nothing of it was touched");
}

#[test]
fn a_count_is_not_called_put_back_where_it_is_another_installation_s_by_then() {
    let world = World::new();
    world.deploy(&world.at(MAKER, DeployService { adopt: true, ..world.params("good:1") })).unwrap();
    let scaled = DeployService { adopt: true, only_count: true, desired_count: 5, ..world.params("good:1") };
    sees_only_its_own(&world);
    retag(&world, &[(TAG_ENVIRONMENT, world.place.environment()), (TAG_INSTANCE, "this")]);
    let at = world.at(
        NEXT,
        DeployService { tags: tags(&[(TAG_ENVIRONMENT, world.place.environment()), (TAG_INSTANCE, "this")]), ..scaled },
    );
    let steps = world.place.steps();
    let Progress::Pending { token, .. } = now(steps.start(&at.cx, &at.params)).unwrap() else { panic!() };
    let Progress::Pending { token, .. } = now(steps.poll(&at.cx, &at.params, &token)).unwrap() else { panic!() };
    // Nobody's: it is taken over again, and given back its count.
    retag(&world, &[]);
    undo(&world.place, &at, Some(&token)).unwrap();
    assert_eq!(world.service().desired, world.params("good:1").desired_count);
    retag(&world, &[(TAG_ENVIRONMENT, world.place.environment()), (TAG_INSTANCE, "another")]);
    let undone = now(steps.undo(&at.cx, &at.params, None, Some(&token))).unwrap_err();
    assert_eq!(undone.code, "LF-SERVICE-TAKEN-OVER");
}

#[test]
fn a_service_whose_tags_are_taken_off_is_put_back_or_said_not_to_be() {
    let world = World::new();
    world.foreign("good:0", &[]);
    sees_only_its_own(&world);
    let at = world.at(NEXT, DeployService { adopt: true, keep_count: true, ..world.params("good:1") });
    let steps = world.place.steps();
    let Progress::Pending { token, .. } = now(steps.start(&at.cx, &at.params)).unwrap() else { panic!() };
    let before = world.service();
    let Progress::Pending { token, .. } = now(steps.poll(&at.cx, &at.params, &token)).unwrap() else { panic!() };
    // The deployment goes on,
    retag(&world, &[]);
    let Progress::Pending { token: again, .. } = now(steps.poll(&at.cx, &at.params, &token)).unwrap() else { panic!() };
    assert_eq!(again["deployment"], token["deployment"]);
    // and is undone.
    retag(&world, &[]);
    undo(&world.place, &at, Some(&again)).unwrap();
    assert_eq!(world.service().task_definition, before.task_definition);

    // What it made itself is nobody's to delete once it does not say so any more.
    let world = World::new();
    sees_only_its_own(&world);
    let at = world.at(NEXT, DeployService { adopt: true, ..world.params("good:1") });
    let Progress::Pending { token, .. } = now(world.place.steps().start(&at.cx, &at.params)).unwrap() else { panic!() };
    retag(&world, &[]);
    let undone = now(world.place.steps().undo(&at.cx, &at.params, None, Some(&token))).unwrap_err();
    assert!(undone.message.contains("was made by this deployment"), "{}", undone.message);
    let Progress::Pending { token, .. } = now(world.place.steps().poll(&at.cx, &at.params, &token)).unwrap() else {
        panic!()
    };
    let undone = now(world.place.steps().undo(&at.cx, &at.params, None, Some(&token))).unwrap_err();
    assert_eq!(undone.code, "LF-PLATFORM-CONFLICT");
    assert!(now(world.place.fake.service_tags(WEB)).unwrap().is_some(), "it is left");
}
