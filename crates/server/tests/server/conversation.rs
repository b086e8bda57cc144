//! What GitHub says, and what the world looks like afterwards.

use std::collections::BTreeMap;

use landfall_model::app::*;
use landfall_model::environment::{AbsentReason, EnvironmentRecord, Phase};
use landfall_model::event::Ask;
use landfall_model::notice::NoticeKind;
use landfall_model::task::ContainerSettings;
use landfall_ports::store::Store;
use landfall_server::control::{GcAction, Target};
use landfall_server::{Control, ControlRequest, ControlResponse};
use serde_json::{Value, json};

use crate::rig::{Post, Rig, Server, created, eventually};

pub(crate) const ENVIRONMENT: &str = "my-project-test123";
pub(crate) const BRANCH: &str = "feature/test123";

pub(crate) fn commit(digit: char) -> String {
    digit.to_string().repeat(40)
}

/// One service of one container behind a host rule; every image is given, so nothing is built.
pub(crate) fn rig() -> Rig {
    let mut rig = Rig::new();
    let settings =
        ContainerSettings { essential: true, stop_timeout: 5, ports: vec![8080], ..ContainerSettings::default() };
    let service = Service {
        launch_type: landfall_model::task::LaunchType::Fargate,
        base_task_definition: None,
        documents: None,
        name: "app".to_owned(),
        cpu: None,
        memory: None,
        containers: vec![ContainerTemplate {
            name: "app".to_owned(),
            image: ImageSource::Reference("app:1".to_owned()),
            settings,
        }],
        desired_count: 1,
        deployment: DeploymentConfiguration {
            minimum_healthy_percent: 100,
            maximum_percent: 200,
            circuit_breaker: CircuitBreaker { enable: true, rollback: true, threshold: None },
            health_check_grace_period: 0,
            timeout: 60,
            strategy: Default::default(),
            alarms: None,
        },
        load_balancer: Some(LoadBalancerBinding {
            container: "app".to_owned(),
            port: 8080,
            health_check: TargetHealthCheck {
                protocol: landfall_model::app::HealthCheckProtocol::Http,
                path: "/".to_owned(),
                port: None,
                interval_ms: 100,
                timeout_ms: 100,
                healthy_threshold: 1,
                unhealthy_threshold: 2,
                matcher: "200".to_owned(),
            },
            deregistration_delay: 0,
            algorithm: BalancingAlgorithm::RoundRobin,
            idle_timeout: 60,
        }),
    };
    rig.app.services.insert("app".to_owned(), service);
    rig.app.repositories.values_mut().for_each(|repository| repository.source = Some("/srv/git/x".to_owned()));
    rig.app.previews = Some(Previews {
        on: None,
        branches: vec!["feature/*".to_owned()],
        ignore: Vec::new(),
        pull_requests: true,
        services: vec!["app".to_owned()],
        desired_count: None,
        variables: BTreeMap::new(),
        routing: Routing::Host { domain: "my-project.localhost".to_owned(), port: 8080 },
        ttl: None,
        limits: Limits { max_previews: None, concurrent_builds: 2, concurrent_executions: 8 },
        hooks: Vec::new(),
        sleep: None,
    });
    *rig.forge.0.lock().unwrap() =
        Some(BTreeMap::from([("main".to_owned(), commit('0')), (BRANCH.to_owned(), commit('a'))]));
    rig
}

fn previews(rig: &mut Rig) -> &mut Previews {
    rig.app.previews.as_mut().unwrap()
}

pub(crate) fn deleted(branch: &str) -> Value {
    json!({"ref": branch, "ref_type": "branch", "repository": {"id": 42, "name": "my-project"}})
}

pub(crate) fn pushed(branch: &str, commit: &str) -> Value {
    json!({"ref": format!("refs/heads/{branch}"), "after": commit, "repository": {"id": 42, "name": "my-project"}})
}

fn pull_request(action: &str, commit: &str) -> Value {
    json!({
        "action": action,
        "number": 7,
        "pull_request": {
            "head": {"ref": "main", "sha": commit, "repo": {"id": 99}},
            "base": {"ref": "main", "sha": commit, "repo": {"id": 42}},
        },
        "repository": {"id": 42, "name": "my-project"},
    })
}

pub(crate) async fn say(server: &Server, event: &str, id: &str, body: &Value) {
    assert_eq!(server.post(Post::new(event, id, body)).await.0, 202);
}

pub(crate) async fn becomes(server: &Server, id: &str, phase: Phase) -> EnvironmentRecord {
    let since = std::time::Instant::now();
    loop {
        let record = server.store.environment(&id.into()).await.unwrap();
        if let Some(record) = record.filter(|record| record.phase == phase && record.live.is_none()) {
            return record;
        }
        let late = since.elapsed() > std::time::Duration::from_secs(20);
        assert!(!late, "{id} does not become {phase:?}: {}", server.describe(id).await);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

fn told(server: &Server) -> Vec<NoticeKind> {
    server.store.notices().into_iter().map(|notice| notice.kind).collect()
}

#[tokio::test]
async fn a_branch_comes_up_behind_a_url_and_goes_without_a_trace() {
    let rig = rig();
    let server = rig.start().await;
    say(&server, "create", "d-1", &created(BRANCH)).await;
    let up = becomes(&server, ENVIRONMENT, Phase::Ready).await;
    assert_eq!(up.url.as_deref(), Some("http://test123.my-project.localhost:8080/"));
    assert_eq!(up.commit, Some(commit('a')), "the listing knew the tip");
    assert!(rig.world.view().services.contains_key("my-project-test123-service"));
    say(&server, "delete", "d-2", &deleted(BRANCH)).await;
    becomes(&server, ENVIRONMENT, Phase::Destroyed).await;
    assert!(rig.world.view().is_empty(), "{:?}", rig.world.view());
    use NoticeKind::{Created, Creating, Destroyed, Destroying};
    assert_eq!(told(&server), [Creating, Created, Destroying, Destroyed], "one message for each change");
    server.stop().await;
}

#[tokio::test]
async fn a_push_updates_in_place_and_a_redelivery_does_nothing() {
    let rig = rig();
    let server = rig.start().await;
    say(&server, "create", "d-1", &created(BRANCH)).await;
    becomes(&server, ENVIRONMENT, Phase::Ready).await;
    let body = pushed(BRANCH, &commit('b'));
    say(&server, "push", "d-2", &body).await;
    eventually("the new commit runs", async || {
        let record = server.store.environment(&ENVIRONMENT.into()).await.unwrap()?;
        (record.commit == Some(commit('b')) && record.phase == Phase::Ready).then_some(())
    })
    .await;
    let before = rig.mem.executions().len();
    assert_eq!(before, 2);
    for (event, id, body) in [("push", "d-2", &body), ("create", "d-1", &created(BRANCH)), ("push", "d-3", &body)] {
        say(&server, event, id, body).await;
    }
    server.outcome("d-3").await;
    assert_eq!(rig.mem.executions().len(), before, "nothing has changed");
    server.stop().await;
}

#[tokio::test]
async fn a_delete_beats_the_create_that_is_under_way_and_a_new_create_works() {
    let rig = rig();
    rig.world.behave(|world| world.patience = 40);
    let server = rig.start().await;
    say(&server, "create", "d-1", &created(BRANCH)).await;
    eventually("it is being made", async || (!rig.world.view().services.is_empty()).then_some(())).await;
    say(&server, "delete", "d-2", &deleted(BRANCH)).await;
    rig.world.behave(|world| world.patience = 1);
    becomes(&server, ENVIRONMENT, Phase::Destroyed).await;
    assert!(rig.world.view().is_empty(), "{:?}", rig.world.view());
    say(&server, "create", "d-3", &created(BRANCH)).await;
    let again = becomes(&server, ENVIRONMENT, Phase::Ready).await;
    assert_eq!(again.generation, 2);
    server.stop().await;
}

#[tokio::test]
async fn over_the_cap_they_wait_in_order_and_updates_do_not() {
    let mut rig = rig();
    previews(&mut rig).limits.max_previews = Some(1);
    *rig.forge.0.lock().unwrap() = Some(("abc").chars().map(|c| (format!("feature/{c}1"), commit(c))).collect());
    let server = rig.start().await;
    say(&server, "create", "d-a", &created("feature/a1")).await;
    becomes(&server, "my-project-a1", Phase::Ready).await;
    for branch in ["b", "c"] {
        say(&server, "create", &format!("d-{branch}"), &created(&format!("feature/{branch}1"))).await;
        let id = format!("my-project-{branch}1");
        eventually("it is told that it waits", async || {
            let record = server.store.environment(&id.as_str().into()).await.unwrap()?;
            (record.phase == Phase::Queued && record.message.is_some()).then_some(())
        })
        .await;
    }
    say(&server, "push", "d-a2", &pushed("feature/a1", &commit('d'))).await;
    eventually("the update ran", async || {
        let record = server.store.environment(&"my-project-a1".into()).await.unwrap()?;
        (record.commit == Some(commit('d'))).then_some(())
    })
    .await;
    assert_eq!(rig.world.view().services.len(), 1);
    say(&server, "delete", "d-a3", &deleted("feature/a1")).await;
    becomes(&server, "my-project-b1", Phase::Ready).await;
    assert_eq!(rig.world.view().services.len(), 1, "c still waits");
    say(&server, "delete", "d-b2", &deleted("feature/b1")).await;
    becomes(&server, "my-project-c1", Phase::Ready).await;
    server.stop().await;
}

#[tokio::test]
async fn a_fork_waits_for_the_approval_of_that_exact_commit() {
    let rig = rig();
    let server = rig.start().await;
    say(&server, "pull_request", "d-1", &pull_request("opened", &commit('e'))).await;
    let waiting = eventually("it waits", async || {
        let all = server.store.environments().await.unwrap();
        all.into_iter().find(|record| record.phase == Phase::AwaitingApproval)
    })
    .await;
    assert!(rig.world.view().is_empty());
    let approve = |commit: String| ControlRequest::Submit {
        target: Target::Name("#7".to_owned()),
        ask: Ask::Approve { commit },
        actor: "cli:test".to_owned(),
    };
    server.service.call(approve(commit('f'))).await.unwrap();
    assert!(rig.world.view().is_empty(), "another commit was approved");
    server.service.call(approve(commit('e'))).await.unwrap();
    becomes(&server, waiting.id.as_str(), Phase::Ready).await;
    say(&server, "pull_request", "d-2", &pull_request("synchronize", &commit('9'))).await;
    eventually("the new commit waits", async || {
        let record = server.store.environment(&waiting.id).await.unwrap()?;
        (record.phase == Phase::AwaitingApproval).then_some(())
    })
    .await;
    say(&server, "pull_request", "d-3", &pull_request("closed", &commit('9'))).await;
    becomes(&server, waiting.id.as_str(), Phase::Destroyed).await;
    assert!(rig.world.view().is_empty());
    server.stop().await;
}

#[tokio::test]
async fn two_of_three_get_a_port_where_there_are_two() {
    let mut rig = rig();
    previews(&mut rig).routing = Routing::Ports { first: 9001, last: 9003 };
    rig.world.behave(|world| world.foreign_ports = [9002].into());
    *rig.forge.0.lock().unwrap() = Some(("abc").chars().map(|c| (format!("feature/{c}1"), commit(c))).collect());
    let server = rig.start().await;
    for c in ["a", "b", "c"] {
        say(&server, "create", &format!("d-{c}"), &created(&format!("feature/{c}1"))).await;
    }
    let records = eventually("all are decided", async || {
        let all = server.store.environments().await.unwrap();
        let done = |record: &EnvironmentRecord| matches!(record.phase, Phase::Ready | Phase::Failed);
        (all.len() == 3 && all.iter().all(done)).then_some(all)
    })
    .await;
    let mut ports: Vec<_> = records.iter().filter(|r| r.phase == Phase::Ready).map(|r| r.port.unwrap()).collect();
    ports.sort_unstable();
    assert_eq!(ports, [9001, 9003]);
    let failed = records.iter().find(|record| record.phase == Phase::Failed).unwrap();
    assert!(failed.message.as_ref().unwrap().contains("9001-9003"), "{failed:?}");
    server.stop().await;
}

#[tokio::test]
async fn it_expires_after_its_last_activity() {
    let mut rig = rig();
    previews(&mut rig).ttl = Some(1);
    let server = rig.start().await;
    say(&server, "create", "d-1", &created(BRANCH)).await;
    let gone = becomes(&server, ENVIRONMENT, Phase::Destroyed).await;
    assert_eq!(gone.desired, landfall_model::environment::Desired::Absent { reason: AbsentReason::Expired });
    assert!(rig.world.view().is_empty());
    server.stop().await;
}

#[tokio::test]
async fn a_listing_that_failed_or_is_empty_deletes_nothing() {
    let rig = rig();
    let server = rig.start().await;
    say(&server, "create", "d-1", &created(BRANCH)).await;
    becomes(&server, ENVIRONMENT, Phase::Ready).await;
    let gc = async || {
        let Ok(ControlResponse::Gc(report)) = server.service.call(ControlRequest::Gc { dry_run: false }).await else {
            panic!()
        };
        report
    };
    for (branches, blind) in [(None, false), (Some(BTreeMap::new()), false), (None, true)] {
        *rig.forge.0.lock().unwrap() = branches;
        rig.world.behave(|world| world.blind = blind);
        for _ in 0..3 {
            let report = gc().await;
            assert!(!report.incomplete.is_empty());
            let harmful = |action| matches!(action, GcAction::Destroy | GcAction::Delete);
            assert!(!report.findings.iter().any(|finding| harmful(finding.action)), "{report:?}");
        }
    }
    rig.world.behave(|world| world.blind = false);
    becomes(&server, ENVIRONMENT, Phase::Ready).await;
    server.stop().await;
}

#[tokio::test]
async fn a_deletion_that_no_webhook_told_of_is_found() {
    let rig = rig();
    let server = rig.start().await;
    say(&server, "create", "d-1", &created(BRANCH)).await;
    becomes(&server, ENVIRONMENT, Phase::Ready).await;
    *rig.forge.0.lock().unwrap() = Some(BTreeMap::from([("main".to_owned(), commit('0'))]));
    let dry = server.service.call(ControlRequest::Gc { dry_run: true }).await.unwrap();
    assert!(matches!(dry, ControlResponse::Gc(report) if !report.findings.is_empty()));
    assert_eq!(server.store.deliveries(10).await.unwrap().len(), 1, "a dry run asks for nothing");
    // Seen missing twice: once may be a listing that lags.
    for _ in 0..2 {
        server.service.call(ControlRequest::Gc { dry_run: false }).await.unwrap();
    }
    becomes(&server, ENVIRONMENT, Phase::Destroyed).await;
    assert!(rig.world.view().is_empty());
    server.stop().await;
}
