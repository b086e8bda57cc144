//! Scheduled tasks of an environment on this machine, a minute before their time.

use std::collections::BTreeMap;
use std::time::Duration;

use landfall_model::cron::Schedule;
use landfall_ports::journal::Journal as _;
use landfall_server::{Control, ControlRequest, ControlResponse};
use landfall_workflow::{ExecutionView, Outcome};

use crate::deploy::{deployed, end, image, prod};
use crate::rig::{Rig, Server, eventually};

/// Half past two in Berlin comes in half a second.
fn nightly() -> Rig {
    let mut rig = prod(&["app:1"]);
    let schedule = Schedule {
        service: "app".to_owned(),
        container: "app".to_owned(),
        command: vec!["clean".to_owned()],
        cron: "30 2 * * *".to_owned(),
        time_zone: Some("Europe/Berlin".to_owned()),
    };
    rig.app.environments.get_mut("prod").unwrap().schedules = BTreeMap::from([("nightly".to_owned(), schedule)]);
    rig.reconcile_every = Some(Duration::from_secs(3_600));
    rig
}

fn soon(rig: &Rig) {
    rig.clock.set("2026-11-22T01:29:55Z".parse().unwrap());
}

/// The executions of the schedule, ended.
async fn ran(rig: &Rig, server: &Server) -> Vec<ExecutionView> {
    let id = "my-project@prod/nightly".to_owned().into();
    let mut views = Vec::new();
    for one in rig.mem.list(Some(&id), false, 10).await.unwrap() {
        views.push(end(server, &one.id).await);
    }
    views
}

#[tokio::test]
async fn a_task_runs_at_its_time_once_whoever_looks() {
    let rig = nightly();
    let server = rig.start().await;
    assert_eq!(deployed(&server, image("app:1")).await, Outcome::Succeeded);
    server.kill(&rig).await;
    soon(&rig);
    // Two servers on one journal, as where the first one only seems to be dead.
    let (one, two) = (rig.start().await, rig.start().await);
    let first = eventually("the task runs", async || ran(&rig, &one).await.into_iter().next()).await;
    assert_eq!(first.outcome, Some(Outcome::Succeeded), "{first:#?}");
    assert_eq!(first.steps.iter().map(|step| step.kind.as_str()).collect::<Vec<_>>(), ["task.run"]);
    one.kill(&rig).await;
    two.kill(&rig).await;
    // The same minute again.
    soon(&rig);
    let again = rig.start().await;
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(ran(&rig, &again).await.len(), 1);
    assert_eq!(rig.world.task_runs(), 1);
    // It is nothing that the environment runs or was released.
    let request = ControlRequest::Releases { environment: "prod".to_owned(), limit: 50, all: true };
    let ControlResponse::Releases(releases) = again.service.call(request).await.unwrap() else { panic!() };
    assert_eq!(releases.len(), 1, "{releases:#?}");
}

#[tokio::test]
async fn what_is_not_deployed_has_no_tasks() {
    let rig = nightly();
    soon(&rig);
    let server = rig.start().await;
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert!(ran(&rig, &server).await.is_empty());
    assert_eq!(rig.world.task_runs(), 0);
}
