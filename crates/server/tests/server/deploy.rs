//! Lasting environments through the control API, over a platform and a journal in memory.

use std::collections::BTreeMap;

use landfall_model::app::LongLivedEnvironment;
use landfall_model::ids::ExecutionId;
use landfall_model::step::RouteTarget;
use landfall_planner::plan::{Following, ImageOverride};
use landfall_ports::journal::Journal as _;
use landfall_server::control::OneOff;
use landfall_server::deploy::{Begun, Change, EnvironmentDetail, ReleaseSummary};
use landfall_server::{Control, ControlError, ControlRequest, ControlResponse};
use landfall_testkit::conformance::fixtures::{TTL_MS, execution_of, finished, last, record};
use landfall_workflow::{Event, ExecutionState, ExecutionView, Outcome};

use crate::conversation::rig;
use crate::rig::{Rig, Server};

pub(crate) fn prod(images: &[&str]) -> Rig {
    let mut rig = rig();
    let prod = LongLivedEnvironment {
        name: "prod".to_owned(),
        on: None,
        services: vec!["app".to_owned()],
        variables: BTreeMap::new(),
        names: BTreeMap::new(),
        routing: Some(RouteTarget::Host { host: "www.example.com".to_owned(), port: 8080 }),
        target_groups: BTreeMap::new(),
        desired_count: BTreeMap::new(),
        verify: None,
        schedules: BTreeMap::new(),
        stack: None,
    };
    rig.app.environments.insert("prod".to_owned(), prod);
    rig.world.behave(|behaviour| behaviour.available_images.extend(images.iter().map(|image| (*image).to_owned())));
    rig
}

pub(crate) async fn ask(server: &Server, change: Change) -> Result<Begun, ControlError> {
    let request = ControlRequest::Deploy { environment: "prod".to_owned(), change, actor: "cli:ann".to_owned() };
    match server.service.call(request).await? {
        ControlResponse::Deploy(begun) => Ok(begun),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn image(image: &str) -> Change {
    let images = vec![ImageOverride { service: None, container: "app".to_owned(), image: image.to_owned() }];
    Change::Deploy {
        commit: None,
        images,
        services: Vec::new(),
        following: Following::default(),
        task_definition: None,
    }
}

pub(crate) async fn end(server: &Server, id: &ExecutionId) -> ExecutionView {
    let mut version = 0;
    loop {
        let request = ControlRequest::Watch { id: id.clone(), version, timeout_ms: 20_000 };
        let ControlResponse::Watch(view) = server.service.call(request).await.unwrap() else { panic!() };
        if view.state == ExecutionState::Finished {
            return *view;
        }
        assert!(view.version > version, "nothing happens: {view:#?}");
        version = view.version;
    }
}

pub(crate) async fn deployed(server: &Server, change: Change) -> Outcome {
    let begun = ask(server, change).await.unwrap();
    end(server, &begun.execution).await.outcome.unwrap()
}

async fn releases(server: &Server, all: bool) -> Vec<ReleaseSummary> {
    let request = ControlRequest::Releases { environment: "prod".to_owned(), limit: 50, all };
    match server.service.call(request).await.unwrap() {
        ControlResponse::Releases(releases) => releases,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn detail(server: &Server) -> EnvironmentDetail {
    match server.service.call(ControlRequest::Environment { name: "prod".to_owned() }).await.unwrap() {
        ControlResponse::Environment(detail) => *detail,
        other => panic!("{other:?}"),
    }
}

fn images(release: &ReleaseSummary) -> Vec<&str> {
    release.services["app"].images.values().map(String::as_str).collect()
}

#[tokio::test]
async fn good_bad_bad_rollback_is_good() {
    let rig = prod(&["app:good", "app:bad"]);
    let bad = format!("app:bad@sha256:{}", "a".repeat(64));
    rig.world.behave(|behaviour| {
        behaviour.crashing_images.insert(bad);
    });
    let server = rig.start().await;
    assert_eq!(deployed(&server, image("app:good")).await, Outcome::Succeeded);
    assert_eq!(deployed(&server, image("app:bad")).await, Outcome::RolledBack);
    assert_eq!(deployed(&server, image("app:bad")).await, Outcome::RolledBack);
    let back = ask(&server, Change::Rollback { to: None, following: Following::default() }).await.unwrap();
    assert_eq!(end(&server, &back.execution).await.outcome, Some(Outcome::Succeeded));
    let all = releases(&server, true).await;
    assert_eq!(all.len(), 4);
    let released = releases(&server, false).await;
    assert_eq!(released.len(), 2, "{released:#?}");
    assert_eq!((released[0].present, released[0].by.as_str()), (true, "cli:ann"));
    assert_eq!(images(&released[0]), images(&released[1]));
    let status = detail(&server).await;
    assert_eq!(status.services[0].images.values().collect::<Vec<_>>(), images(&released[0]));
    assert_eq!(status.url.as_deref(), Some("http://www.example.com:8080/"));
    assert_eq!(status.services[0].name, "my-project-prod-app");
    // What lasts is of no interest to the comparison with branches and records.
    for _ in 0..3 {
        let ControlResponse::Gc(report) = server.service.call(ControlRequest::Gc { dry_run: false }).await.unwrap()
        else {
            panic!()
        };
        assert!(report.findings.iter().all(|finding| !finding.what.contains("prod")), "{report:#?}");
    }
    assert!(detail(&server).await.services[0].found.is_some());
}

#[tokio::test]
async fn a_newer_deployment_takes_over_and_of_two_at_once_one_wins() {
    let rig = prod(&["app:1", "app:2"]);
    // The first one waits for an image that never comes.
    let server = rig.start().await;
    let older = ask(&server, image("app:never")).await.unwrap();
    assert_eq!(older.superseded, []);
    let newer = ask(&server, image("app:1")).await.unwrap();
    assert_eq!(newer.superseded, std::slice::from_ref(&older.execution));
    assert_eq!(end(&server, &older.execution).await.outcome, Some(Outcome::Superseded));
    assert_eq!(end(&server, &newer.execution).await.outcome, Some(Outcome::Succeeded));
    let (a, b) = tokio::join!(ask(&server, image("app:1")), ask(&server, image("app:2")));
    let (a, b) = (end(&server, &a.unwrap().execution).await, end(&server, &b.unwrap().execution).await);
    let outcomes = [a.outcome.unwrap(), b.outcome.unwrap()];
    assert!(outcomes.contains(&Outcome::Succeeded), "{outcomes:?}");
    let unfinished = ControlRequest::Executions { environment: None, unfinished_only: true, limit: 10 };
    assert_eq!(server.service.call(unfinished).await.unwrap(), ControlResponse::Executions(Vec::new()));
}

/// Two processes that share a journal: the deduplication key orders them where no mutex does.
#[tokio::test]
async fn two_servers_on_one_journal_take_turns() {
    let rig = prod(&["app:1", "app:2"]);
    let (one, two) = (rig.start().await, rig.start().await);
    let (a, b) = tokio::join!(ask(&one, image("app:1")), ask(&two, image("app:2")));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_ne!(a.execution, b.execution);
    let (a, b) = (end(&one, &a.execution).await, end(&two, &b.execution).await);
    let mut outcomes = [a.outcome.unwrap(), b.outcome.unwrap()];
    outcomes.sort_by_key(|outcome| *outcome != Outcome::Succeeded);
    assert!(matches!(outcomes, [Outcome::Succeeded, Outcome::Succeeded | Outcome::Superseded]), "{outcomes:?}");
}

#[tokio::test]
async fn locks_refuse_and_tell_who_and_why() {
    let rig = prod(&["app:1"]);
    let server = rig.start().await;
    let lock = |reason: &str| ControlRequest::Lock {
        environment: "prod".to_owned(),
        reason: reason.to_owned(),
        actor: "cli:bob".to_owned(),
    };
    server.service.call(lock("the sale is on")).await.unwrap();
    for change in [image("app:1"), Change::Rollback { to: None, following: Following::default() }] {
        let Err(ControlError::Locked(why)) = ask(&server, change).await else { panic!("not refused") };
        assert!(why.contains("cli:bob") && why.contains("the sale is on"), "{why}");
    }
    assert!(matches!(server.service.call(lock("mine")).await, Err(ControlError::Locked(_))));
    assert_eq!(detail(&server).await.lock.unwrap().by, "cli:bob");
    let unlock = ControlRequest::Unlock { environment: "prod".to_owned() };
    assert!(matches!(server.service.call(unlock.clone()).await, Ok(ControlResponse::Unlock(Some(_)))));
    assert!(matches!(server.service.call(unlock).await, Ok(ControlResponse::Unlock(None))));
    assert_eq!(deployed(&server, image("app:1")).await, Outcome::Succeeded);
}

#[tokio::test]
async fn a_deployment_survives_the_death_of_its_server() {
    let rig = prod(&["app:1"]);
    let server = rig.start().await;
    let begun = ask(&server, image("app:1")).await.unwrap();
    server.kill(&rig).await;
    let server = rig.start().await;
    assert_eq!(end(&server, &begun.execution).await.outcome, Some(Outcome::Succeeded));
    assert!(detail(&server).await.services[0].found.is_some());
}

#[tokio::test]
async fn one_off_tasks_run_what_is_deployed() {
    let rig = prod(&["app:1"]);
    let server = rig.start().await;
    let task = |service: &str| ControlRequest::RunTask {
        environment: "prod".to_owned(),
        task: OneOff {
            service: service.to_owned(),
            container: None,
            command: vec!["migrate".to_owned()],
            environment: BTreeMap::new(),
        },
    };
    assert!(matches!(server.service.call(task("app")).await, Err(ControlError::NotFound(_))), "nothing is deployed");
    assert_eq!(deployed(&server, image("app:1")).await, Outcome::Succeeded);
    let ControlResponse::RunTask(report) = server.service.call(task("app")).await.unwrap() else { panic!() };
    assert_eq!(report.container, "app");
    let stop = ControlRequest::StopTask {
        environment: "prod".to_owned(),
        task: report.task.clone(),
        reason: "enough".to_owned(),
    };
    assert_eq!(server.service.call(stop).await.unwrap(), ControlResponse::StopTask);
    assert!(matches!(server.service.call(task("api")).await, Err(ControlError::NotFound(_))));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_before_anything_is_journalled() {
    let rig = prod(&[]);
    let server = rig.start().await;
    let never = Change::Scale { counts: BTreeMap::from([("app".to_owned(), 2)]), following: Following::default() };
    assert!(matches!(ask(&server, never).await, Err(ControlError::Invalid(_))));
    let back = Change::Rollback { to: None, following: Following::default() };
    assert!(matches!(ask(&server, back).await, Err(ControlError::NotFound(_))));
    let unknown = ControlRequest::Environment { name: "staging".to_owned() };
    let Err(ControlError::NotFound(why)) = server.service.call(unknown).await else { panic!() };
    assert!(why.contains("there is prod"), "{why}");
    assert!(releases(&server, true).await.is_empty());
}

/// Whoever looks back for what runs passes over any number of scalings.
#[tokio::test]
async fn a_release_is_found_behind_hundreds_of_scalings() {
    let rig = prod(&["app:1", "app:2"]);
    let server = rig.start().await;
    for tag in ["app:1", "app:2"] {
        assert_eq!(deployed(&server, image(tag)).await, Outcome::Succeeded);
    }
    let environment = detail(&server).await.id;
    server.kill(&rig).await;
    for n in 0..250 {
        let new = execution_of("environment.scale", &format!("scale-{n}"), environment.as_str());
        rig.mem.create(new).await.unwrap();
    }
    for lease in rig.mem.claim("somebody", TTL_MS, 250).await.unwrap() {
        let taken = record(1, Event::LeaseTaken { owner: lease.owner.clone(), epoch: lease.epoch });
        rig.mem.append(&lease, 1, last(vec![taken, finished(2)])).await.unwrap();
    }
    let server = rig.start().await;
    let found = detail(&server).await;
    assert!(found.services[0].images["app"].starts_with("app:2@"), "{found:#?}");
    assert_eq!(releases(&server, false).await.len(), 2);
    let back = Change::Rollback { to: None, following: Following::default() };
    assert_eq!(deployed(&server, back).await, Outcome::Succeeded);
    assert!(detail(&server).await.services[0].images["app"].starts_with("app:1@"));
}
