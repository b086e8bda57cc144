use landfall_model::Timestamp;
use landfall_ports::orchestrator::{PauseHook, RolloutState, TrafficShift};

use super::*;

fn failed(id: &str, why: &str) -> TaskDescription {
    TaskDescription {
        id: id.to_owned(),
        last_status: "STOPPED".to_owned(),
        health: "UNKNOWN".to_owned(),
        stopped_reason: Some(why.to_owned()),
        stop_code: None,
        containers: Vec::new(),
        started_at: None,
        stopped_at: None,
    }
}

fn deployment(failures: Vec<TaskDescription>) -> DeploymentDescription {
    DeploymentDescription {
        id: "ecs-svc/1".to_owned(),
        task_definition: "web:2".to_owned(),
        rollout: RolloutState::InProgress,
        reason: None,
        desired: 2,
        running: 1,
        pending: 1,
        failed_tasks: u32::try_from(failures.len()).unwrap(),
        failures,
        created_at: Timestamp::UNIX_EPOCH,
        shift: None,
    }
}

#[test]
fn failures_alike_differ_in_names_only() {
    let a = failed("1", "CannotPullContainerError: registry/web:3f2a9c1: not found (request 8b1d-44)");
    let b = failed("2", "CannotPullContainerError: registry/web:77aa3c1: not found (request 9c2e-45)");
    let c = failed("3", "Essential container in task exited (web, exit code 1)");
    let d = failed("4", "Essential container in task exited (web, exit code 137)");
    assert_eq!(class(&a), class(&b));
    assert_ne!(class(&a), class(&c));
    assert_ne!(class(&c), class(&d));
}

#[test]
fn a_note_says_where_it_is_and_what_it_waits_for() {
    let mut told = deployment(vec![failed("1", "Task failed ELB health checks")]);
    assert_eq!(note(&told, "web"), "1 of 2 tasks running, 1 failed (Task failed ELB health checks)");
    told = deployment(Vec::new());
    told.shift = Some(TrafficShift {
        stage: Some("POST_TEST_TRAFFIC_SHIFT".to_owned()),
        percent: 0,
        shifted: false,
        pauses: vec![PauseHook {
            id: "h".to_owned(),
            expires_at: Some(Timestamp::UNIX_EPOCH),
            on_timeout: "ROLLBACK".to_owned(),
        }],
    });
    assert_eq!(
        note(&told, "web"),
        "1 of 2 tasks running; POST_TEST_TRAFFIC_SHIFT, 0 % of the traffic; paused until 1970-01-01T00:00:00Z, then it is \
         rolled back: `landfall continue` or `landfall abort` service web"
    );
}

#[test]
fn looks_are_seldom_while_nothing_can_end_and_frequent_before_the_end() {
    let at = |second: i64| Timestamp::from_second(second).unwrap();
    let service = |deployments: Vec<DeploymentDescription>| ServiceDescription {
        name: "web".to_owned(),
        status: landfall_ports::orchestrator::ServiceStatus::Active,
        task_definition: "web:2".to_owned(),
        desired: 2,
        running: 1,
        pending: 1,
        deployments,
        events: Vec::new(),
        tags: Default::default(),
        settings: None,
    };
    let begun = deployment(Vec::new());
    let old = |running| DeploymentDescription { id: "ecs-svc/0".to_owned(), running, pending: 0, ..begun.clone() };
    let of = |own: &DeploymentDescription, old_running, second| {
        pace(&service(vec![own.clone(), old(old_running)]), own, at(second), 1_000)
    };
    assert_eq!([of(&begun, 2, 0), of(&begun, 2, 2), of(&begun, 2, 4), of(&begun, 2, 60)], [1_000, 1_000, 2_000, 3_000]);
    assert_eq!(of(&begun, 2, -500), 1_000, "another clock");
    let all_run = DeploymentDescription { running: 2, pending: 0, ..begun.clone() };
    assert_eq!([of(&all_run, 1, 3), of(&all_run, 1, 12), of(&all_run, 0, 90)], [200, 300, 1_000]);
    assert_eq!(of(&all_run, 1, -500), 1_000, "another clock");
    let failing = deployment(vec![failed("1", "x")]);
    assert_eq!([of(&failing, 2, 3), of(&failing, 2, 60)], [500, 800]);
    let rolling_back = pace(&service(vec![old(1), begun.clone()]), &begun, at(60), 1_000);
    assert_eq!(rolling_back, 250);
    let mut paused = begun.clone();
    let pause = PauseHook { id: "h".to_owned(), expires_at: None, on_timeout: "ROLLBACK".to_owned() };
    paused.shift = Some(TrafficShift { pauses: vec![pause], ..TrafficShift::default() });
    assert_eq!(of(&paused, 2, 60), 5_000);
    assert_eq!(pace(&service(vec![begun.clone()]), &begun, at(60), 0), 0, "where nothing is to be spared");
}
