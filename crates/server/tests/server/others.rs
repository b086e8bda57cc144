//! A lasting environment that others deploy to as well, and attempts that were cut short.

use std::collections::BTreeMap;

use landfall_model::app::{AwaitSource, ImageSource};
use landfall_model::inventory::{TAG_ENVIRONMENT, TAG_INSTANCE, Tags};
use landfall_model::task::{ContainerDefinition, TaskDefinition};
use landfall_planner::plan::{Following, ImageOverride};
use landfall_ports::orchestrator::PutService;
use landfall_server::deploy::Change;
use landfall_server::{Control, ControlError, ControlRequest};
use landfall_workflow::{Outcome, Signal};

use crate::deploy::{ask, deployed, detail, end, image, prod};
use crate::rig::{Rig, Server, eventually};

const WEB: &str = "my-project-prod-app";

fn tags() -> Tags {
    let tags = [(TAG_ENVIRONMENT, "my-project@prod"), (TAG_INSTANCE, "test-instance")];
    tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// Somebody deploys `image` past Landfall; the handle of what runs then.
async fn deployed_by_others(rig: &Rig, name: &str, image: &str) -> String {
    let orchestrator = rig.world.platform().orchestrator;
    let settings = orchestrator.describe_service(name).await.unwrap().unwrap().settings.unwrap();
    let container =
        ContainerDefinition { name: "app".to_owned(), image: image.to_owned(), settings: Default::default() };
    let definition =
        TaskDefinition { family: "others".to_owned(), containers: vec![container], ..TaskDefinition::default() };
    let handle = orchestrator.register_task_definition(&definition, &Tags::new()).await.unwrap().handle;
    let request = PutService {
        name: name.to_owned(),
        launch_type: Default::default(),
        task_definition: handle.clone(),
        desired_count: 1,
        keep_count: true,
        deployment: settings.deployment,
        target: settings.target,
        tags: tags(),
        adopt: false,
        replace: None,
        document: None,
    };
    orchestrator.put_service(&request).await.unwrap();
    for _ in 0..5 {
        orchestrator.describe_service(name).await.unwrap();
    }
    handle
}

/// Images are told by the commit.
fn by_commit() -> Rig {
    let mut rig = prod(&["app:1111111", "app:2222222"]);
    let wait = AwaitSource {
        image: "app:{short_commit}".to_owned(),
        label: None,
        deadline: 60,
        build: None,
        tags: Vec::new(),
    };
    rig.app.services.get_mut("app").unwrap().containers[0].image = ImageSource::Await(wait);
    rig
}

fn commit(digit: Option<char>) -> Change {
    Change::Deploy {
        commit: digit.map(|digit| digit.to_string().repeat(40)),
        images: Vec::new(),
        services: Vec::new(),
        following: Following::default(),
        task_definition: None,
    }
}

fn scale(count: u32) -> Change {
    Change::Scale { counts: BTreeMap::from([("app".to_owned(), count)]), following: Following::default() }
}

#[tokio::test]
async fn what_others_deployed_stays_when_the_count_changes_and_keeps_its_images_without_a_commit() {
    let rig = by_commit();
    rig.world.behave(|behaviour| behaviour.available_images.extend(["others/app:7".to_owned()]));
    let server = rig.start().await;
    assert_eq!(deployed(&server, commit(Some('1'))).await, Outcome::Succeeded);
    let theirs = deployed_by_others(&rig, WEB, "others/app:7").await;
    let before = rig.world.view();
    assert_eq!(deployed(&server, scale(3)).await, Outcome::Succeeded);
    let after = rig.world.view();
    assert_eq!(after.services[WEB], (theirs, 3, 3));
    assert_eq!(after.settings, before.settings);
    // A change of the manifest alone: what their tag means is looked up once.
    assert_eq!(deployed(&server, commit(None)).await, Outcome::Succeeded);
    let status = detail(&server).await;
    assert_eq!(status.services[0].images.values().collect::<Vec<_>>(), [&digest("others/app:7")]);
    assert_eq!(rig.world.view().services[WEB].1, 3);
}

#[tokio::test]
async fn a_count_cannot_be_set_of_what_is_not_there() {
    let rig = prod(&["app:1"]);
    let server = rig.start().await;
    assert_eq!(deployed(&server, image("app:1")).await, Outcome::Succeeded);
    rig.world.vanish_service(WEB);
    let Err(ControlError::Invalid(why)) = ask(&server, scale(2)).await else { panic!("not refused") };
    assert!(why.contains(WEB) && why.contains("landfall deploy prod"), "{why}");
}

#[tokio::test]
async fn one_that_is_being_deleted_does_not_give_its_count_to_the_next() {
    let rig = prod(&["app:1", "app:2"]);
    let server = rig.start().await;
    assert_eq!(deployed(&server, image("app:1")).await, Outcome::Succeeded);
    let (_, count, _) = rig.world.view().services[WEB].clone();
    assert!(count > 0);
    rig.world.behave(|behaviour| behaviour.patience = 3);
    let orchestrator = rig.world.platform().orchestrator;
    orchestrator.scale_service(WEB, 0).await.unwrap();
    orchestrator.delete_service(WEB).await.unwrap();
    assert_eq!(deployed(&server, image("app:2")).await, Outcome::Succeeded);
    let (_, desired, running) = rig.world.view().services[WEB].clone();
    assert_eq!((desired, running), (count, count));
}

#[tokio::test]
async fn what_is_under_way_makes_way_for_nothing_that_is_refused() {
    let rig = two(&["app:1", "jobs:1"]);
    rig.world.behave(|behaviour| behaviour.restarting_images.extend([digest("app:1")]));
    let server = rig.start().await;
    let first = ask(&server, images(&[("app", "app:1"), ("jobs", "jobs:1")])).await.unwrap();
    eventually("it is half done", async || rig.world.definition_of(WEB)).await;
    let Err(ControlError::Invalid(why)) = ask(&server, images(&[("app", "app:1"), ("nope", "x:1")])).await else {
        panic!("not refused")
    };
    assert!(why.contains("nope"), "{why}");
    let Err(ControlError::Conflict(why)) = ask(&server, scale(2)).await else { panic!("not refused") };
    assert!(why.contains(first.execution.as_str()) && why.contains("landfall wait prod"), "{why}");
    rig.world.behave(|behaviour| behaviour.restarting_images.clear());
    assert_eq!(end(&server, &first.execution).await.outcome, Some(Outcome::Succeeded));
    assert_eq!(deployed(&server, scale(2)).await, Outcome::Succeeded);
}

const JOBS: &str = "my-project-prod-jobs";

/// Two services, each with an image of its own.
fn two(images: &[&str]) -> Rig {
    let mut rig = prod(images);
    let mut jobs = rig.app.services["app"].clone();
    (jobs.name, jobs.load_balancer) = ("jobs".to_owned(), None);
    jobs.containers[0].name = "jobs".to_owned();
    rig.app.services.insert("jobs".to_owned(), jobs);
    rig.app.environments.get_mut("prod").unwrap().services.push("jobs".to_owned());
    rig
}

fn images(of: &[(&str, &str)]) -> Change {
    let images = of.iter().map(|(service, image)| ImageOverride {
        service: Some((*service).to_owned()),
        container: (*service).to_owned(),
        image: (*image).to_owned(),
    });
    Change::Deploy {
        commit: None,
        images: images.collect(),
        services: of.iter().map(|(service, _)| (*service).to_owned()).collect(),
        following: Following::default(),
        task_definition: None,
    }
}

/// By digest, as the fake looks it up.
fn digest(image: &str) -> String {
    format!("{image}@sha256:{}", "a".repeat(64))
}

/// Begins it, and waits until this service runs something else than before.
async fn half_done(rig: &Rig, server: &Server, change: Change, service: &str) {
    let before = rig.world.definition_of(service);
    ask(server, change).await.unwrap();
    eventually("it is half done", async || (rig.world.definition_of(service) != before).then_some(())).await;
}

#[tokio::test]
async fn a_failure_goes_back_to_before_all_that_were_cut_short_service_by_service() {
    let rig = two(&["app:1", "app:2", "app:3", "app:bad", "jobs:1", "jobs:2"]);
    rig.world.behave(|behaviour| {
        behaviour.restarting_images.extend([digest("app:2"), digest("app:3")]);
        behaviour.crashing_images.insert(digest("app:bad"));
    });
    let server = rig.start().await;
    assert_eq!(deployed(&server, images(&[("app", "app:1"), ("jobs", "jobs:1")])).await, Outcome::Succeeded);
    let good = rig.world.view().services[WEB].clone();
    // Two in a row never come to an end, and a whole one of the other service takes over.
    half_done(&rig, &server, images(&[("app", "app:2")]), WEB).await;
    half_done(&rig, &server, images(&[("app", "app:3")]), WEB).await;
    assert_eq!(deployed(&server, images(&[("jobs", "jobs:2")])).await, Outcome::Succeeded);
    let jobs = rig.world.view().services[JOBS].clone();
    assert_eq!(deployed(&server, images(&[("app", "app:bad")])).await, Outcome::RolledBack);
    let services = rig.world.view().services;
    assert_eq!((&services[WEB], &services[JOBS]), (&good, &jobs));
    // That one was whole: the next one finds what served.
    assert_eq!(deployed(&server, images(&[("app", "app:bad")])).await, Outcome::RolledBack);
    assert_eq!(rig.world.view().services[WEB], good);
}

#[tokio::test]
async fn what_others_had_deployed_before_a_cut_short_attempt_comes_back() {
    let rig = two(&["app:1", "app:2", "app:bad"]);
    rig.world.behave(|behaviour| {
        behaviour.restarting_images.insert(digest("app:2"));
        behaviour.crashing_images.insert(digest("app:bad"));
    });
    let server = rig.start().await;
    assert_eq!(deployed(&server, images(&[("app", "app:1")])).await, Outcome::Succeeded);
    let theirs = deployed_by_others(&rig, WEB, "others/app:7").await;
    half_done(&rig, &server, images(&[("app", "app:2")]), WEB).await;
    assert_eq!(deployed(&server, images(&[("app", "app:bad")])).await, Outcome::RolledBack);
    assert_eq!(rig.world.view().services[WEB], (theirs, 1, 1));
}

#[tokio::test]
async fn an_aborted_deployment_is_undone_and_so_is_what_was_cut_short_before_it() {
    let rig = two(&["app:1", "app:2", "app:3", "app:bad"]);
    rig.world.behave(|behaviour| {
        behaviour.restarting_images.extend([digest("app:2"), digest("app:3")]);
        behaviour.crashing_images.insert(digest("app:bad"));
    });
    let server = rig.start().await;
    assert_eq!(deployed(&server, images(&[("app", "app:1")])).await, Outcome::Succeeded);
    let good = rig.world.view().services[WEB].clone();
    half_done(&rig, &server, images(&[("app", "app:2")]), WEB).await;
    let before = rig.world.definition_of(WEB);
    let third = ask(&server, images(&[("app", "app:3")])).await.unwrap();
    eventually("it is half done", async || (rig.world.definition_of(WEB) != before).then_some(())).await;
    let abort =
        ControlRequest::Signal { id: third.execution.clone(), who: "cli:ann".to_owned(), signal: Signal::Abort };
    server.service.call(abort).await.unwrap();
    assert_eq!(end(&server, &third.execution).await.outcome, Some(Outcome::Aborted));
    assert_eq!(rig.world.view().services[WEB], good);
    assert_eq!(deployed(&server, images(&[("app", "app:bad")])).await, Outcome::RolledBack);
    assert_eq!(rig.world.view().services[WEB], good);
}

/// The first one ever is cut short, and the next one fails: there is nothing to go back to, and nobody says that there was.
#[tokio::test]
async fn where_nothing_ever_ended_well_a_failure_says_that_it_cannot_go_back() {
    let rig = two(&["app:1", "app:2", "app:bad"]);
    rig.world.behave(|behaviour| {
        behaviour.restarting_images.insert(digest("app:1"));
        behaviour.crashing_images.insert(digest("app:bad"));
    });
    let server = rig.start().await;
    let first = ask(&server, images(&[("app", "app:1")])).await.unwrap();
    let half = eventually("it is half done", async || rig.world.definition_of(WEB)).await;
    for _ in 0..2 {
        let failing = ask(&server, images(&[("app", "app:bad")])).await.unwrap();
        // It would come up in the end; nobody has waited for that.
        assert_eq!(end(&server, &first.execution).await.outcome, Some(Outcome::Superseded));
        rig.world.behave(|behaviour| behaviour.restarting_images.clear());
        let view = end(&server, &failing.execution).await;
        assert_eq!(view.outcome, Some(Outcome::RollbackFailed));
        let residue: Vec<_> =
            view.residue.iter().map(|cause| (cause.step.as_str(), cause.error.code.as_str())).collect();
        assert_eq!(residue, [("service.app", "LF-SERVICE-NO-WAY-BACK")]);
        assert_eq!(rig.world.definition_of(WEB).unwrap(), half, "as it was found");
    }
    assert_eq!(deployed(&server, images(&[("app", "app:2")])).await, Outcome::Succeeded);
    let good = rig.world.definition_of(WEB);
    assert_eq!(deployed(&server, images(&[("app", "app:bad")])).await, Outcome::RolledBack);
    assert_eq!(rig.world.definition_of(WEB), good);
}
