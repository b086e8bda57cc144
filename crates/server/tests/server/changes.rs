//! What changes under a preview: its port is taken, the manifest routes in another way, a name is somebody else's, a destroy
//! goes wrong again and again.

use landfall_model::app::{ImageSource, Repository, Routing};
use landfall_model::environment::{EnvironmentRecord, EnvironmentWrite, Phase};
use landfall_model::notice::NoticeKind;
use landfall_planner::control::MAX_REPLANS;
use landfall_ports::PortError;
use landfall_ports::store::Store;
use landfall_testkit::platform::{Fault, When, WorldView};
use serde_json::json;

use crate::conversation::{BRANCH, becomes, commit, deleted, pushed, rig, say};
use crate::rig::{Rig, created, eventually};

const ENVIRONMENT: &str = "my-project-test123";

fn route_by(rig: &mut Rig, routing: Routing) {
    rig.app.previews.as_mut().unwrap().routing = routing;
}

/// Changes the record while no server runs: as if so much had happened before.
async fn rewrite(rig: &Rig, change: impl FnOnce(&mut EnvironmentRecord)) {
    let mut record = rig.mem.environment(&ENVIRONMENT.into()).await.unwrap().unwrap();
    let expected = record.revision;
    change(&mut record);
    rig.mem.write_environments(vec![EnvironmentWrite { expected, record }], vec![]).await.unwrap();
}

fn always(rig: &Rig, method: &'static str, error: &PortError) {
    for nth in 1..=1_000 {
        rig.world.fail(Fault { method, nth, when: When::Before, error: error.clone() });
    }
}

fn told(rig: &Rig, kind: NoticeKind) -> usize {
    rig.mem.notices().iter().filter(|notice| notice.kind == kind).count()
}

#[tokio::test]
async fn a_port_that_is_always_taken_ends_in_a_clear_message() {
    let mut rig = rig();
    route_by(&mut rig, Routing::Ports { first: 9001, last: 9003 });
    always(&rig, "put_route", &PortError::Conflict("port is in use by another process".to_owned()));
    let server = rig.start().await;
    say(&server, "create", "d-1", &created(BRANCH)).await;
    let waiting = eventually("it waits for its next plan", async || {
        let record = server.store.environment(&ENVIRONMENT.into()).await.unwrap()?;
        (record.replans > 0 && record.live.is_none()).then_some(record)
    })
    .await;
    assert!(waiting.message.as_deref().unwrap_or_default().starts_with("planning again: "), "{waiting:?}");
    assert_eq!(waiting.port, None, "another is chosen");
    server.stop().await;

    rewrite(&rig, |record| (record.replans, record.retry_at) = (MAX_REPLANS, None)).await;
    let server = rig.start().await;
    let failed = becomes(&server, ENVIRONMENT, Phase::Failed).await;
    let message = failed.message.unwrap();
    for part in ["in use by another process", "planned 6 times", "previews.routing.ports"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!((failed.replans, failed.applied_seq), (0, failed.desired_seq));
    assert!(rig.world.view().is_empty(), "what the last plan made is taken away: {:?}", rig.world.view());
    assert_eq!((told(&rig, NoticeKind::RolledBack), told(&rig, NoticeKind::Failed)), (1, 0));
    assert_eq!(told(&rig, NoticeKind::Creating), 1, "once for the request, not for each plan");

    rig.world.mend();
    say(&server, "push", "d-2", &pushed(BRANCH, &commit('b'))).await;
    becomes(&server, ENVIRONMENT, Phase::Ready).await;
    server.stop().await;
}

#[tokio::test]
async fn the_address_follows_the_manifest_and_the_former_one_goes() {
    let mut rig = rig();
    let routings = [
        Routing::Host { domain: "my-project.localhost".to_owned(), port: 8080 },
        Routing::Ports { first: 9001, last: 9003 },
        Routing::Ports { first: 9101, last: 9103 },
        Routing::Host { domain: "elsewhere.localhost".to_owned(), port: 8080 },
    ];
    for (n, routing) in routings.into_iter().enumerate() {
        route_by(&mut rig, routing.clone());
        let server = rig.start().await;
        let tip = commit(char::from_digit(n as u32 + 1, 10).unwrap());
        say(&server, "push", &format!("d-{n}"), &pushed(BRANCH, &tip)).await;
        let up = eventually("the commit runs", async || {
            let record = server.store.environment(&ENVIRONMENT.into()).await.unwrap()?;
            (record.phase == Phase::Ready && record.commit.as_ref() == Some(&tip)).then_some(record)
        })
        .await;
        let routes: Vec<String> = rig.world.view().routes.into_keys().collect();
        let (route, port) = match routing {
            Routing::Host { domain, port } => (format!("test123.{domain}:{port}"), None),
            Routing::Ports { first, last } => {
                assert!(up.port.is_some_and(|port| (first..=last).contains(&port)), "{up:?}");
                (format!(":{}", up.port.unwrap()), up.port)
            }
        };
        assert_eq!((&routes, up.port), (&vec![route], port), "after {n}");
        server.stop().await;
    }
    let creates = rig.mem.notices().iter().filter(|notice| notice.kind == NoticeKind::Creating).count();
    assert_eq!(creates, 1, "each change is an update in place");
}

#[tokio::test]
async fn two_environments_never_want_one_host() {
    let mut rig = rig();
    let repository = |name: &str| Repository {
        key: name.into(),
        github: None,
        github_id: None,
        source: Some("/srv/git/x".to_owned()),
        omit: None,
    };
    // The only repository has its leaves as labels; so has, from now on, the one that is named as the project.
    rig.app.repositories = [("shop".into(), repository("shop"))].into();
    let server = rig.start().await;
    let from = |name: &str| json!({"ref": BRANCH, "ref_type": "branch", "repository": {"name": name}});
    say(&server, "create", "d-1", &from("shop")).await;
    let first = becomes(&server, "shop-test123", Phase::Ready).await;
    server.stop().await;
    rig.app.repositories.insert("my-project".into(), repository("my-project"));
    let server = rig.start().await;
    say(&server, "create", "d-2", &from("my-project")).await;
    let second = becomes(&server, ENVIRONMENT, Phase::Ready).await;
    assert_eq!(first.url.as_deref(), Some("http://test123.my-project.localhost:8080/"));
    assert!(second.names.host_label.starts_with("test123-"), "{second:?}");
    assert_eq!(rig.world.view().routes.len(), 2);
    server.stop().await;
}

#[tokio::test]
async fn a_destroy_that_fails_again_and_again_is_told_once() {
    let rig = rig();
    let server = rig.start().await;
    say(&server, "create", "d-1", &created(BRANCH)).await;
    becomes(&server, ENVIRONMENT, Phase::Ready).await;
    always(&rig, "list_owned", &PortError::Denied("listing is not allowed".to_owned()));
    say(&server, "delete", "d-2", &deleted(BRANCH)).await;
    let failing = async |server: &crate::rig::Server, retries: u32| {
        eventually("it will be tried again", async || {
            let record = server.store.environment(&ENVIRONMENT.into()).await.unwrap()?;
            (record.retries >= retries && record.live.is_none() && record.retry_at.is_some()).then_some(())
        })
        .await;
    };
    failing(&server, 1).await;
    let after_the_first = rig.mem.notices().len();
    server.stop().await;
    for retries in 2..=3 {
        rewrite(&rig, |record| record.retry_at = None).await;
        let server = rig.start().await;
        failing(&server, retries).await;
        server.stop().await;
    }
    assert_eq!(rig.mem.notices().len(), after_the_first, "{:#?}", rig.mem.notices());
    assert_eq!((told(&rig, NoticeKind::Destroying), told(&rig, NoticeKind::Failed)), (1, 1));
    rig.world.mend();
    rewrite(&rig, |record| record.retry_at = None).await;
    let server = rig.start().await;
    becomes(&server, ENVIRONMENT, Phase::Destroyed).await;
    server.stop().await;
    assert_eq!(told(&rig, NoticeKind::Destroyed), 1);
    assert_eq!(rig.mem.notices().len(), after_the_first + 1);
}

/// The manifest's one service: image and health check path.
fn serve(rig: &mut Rig, image: &str, path: &str) {
    let service = rig.app.services.get_mut("app").unwrap();
    service.containers[0].image = ImageSource::Reference(image.to_owned());
    service.load_balancer.as_mut().unwrap().health_check.path = path.to_owned();
}

/// What serves, and how: without what an attempt may leave for the next sweep.
fn serving(rig: &Rig) -> WorldView {
    let WorldView { services, settings, .. } = rig.world.view();
    WorldView { services, settings, ..WorldView::default() }
}

/// The first of two plans changes the target group and goes stale; the last finds it changed, and fails.
#[tokio::test]
async fn a_failure_after_a_stale_plan_goes_back_to_what_served() {
    let mut rig = rig();
    let server = rig.start().await;
    say(&server, "create", "d-1", &created(BRANCH)).await;
    becomes(&server, ENVIRONMENT, Phase::Ready).await;
    server.stop().await;
    let before = serving(&rig);

    route_by(&mut rig, Routing::Ports { first: 9001, last: 9003 });
    serve(&mut rig, "app:1", "/healthz");
    always(&rig, "put_route", &PortError::Conflict("port is in use by another process".to_owned()));
    let server = rig.start().await;
    say(&server, "push", "d-2", &pushed(BRANCH, &commit('b'))).await;
    eventually("it waits for its next plan", async || {
        let record = server.store.environment(&ENVIRONMENT.into()).await.unwrap()?;
        (record.replans > 0 && record.live.is_none()).then_some(())
    })
    .await;
    server.stop().await;
    assert_ne!(serving(&rig), before, "the stale plan has left its change");

    rewrite(&rig, |record| (record.replans, record.retry_at) = (MAX_REPLANS, None)).await;
    let server = rig.start().await;
    becomes(&server, ENVIRONMENT, Phase::Failed).await;
    assert_eq!(serving(&rig), before);
    assert_eq!(told(&rig, NoticeKind::Updating), 1, "once for the request, not for each plan");
    server.stop().await;
}

/// A push is superseded half-way by one that fails: in its deployment, or before it has begun one.
#[tokio::test]
async fn a_failure_after_a_superseded_push_goes_back_to_what_served() {
    for early in [false, true] {
        let mut rig = rig();
        let server = rig.start().await;
        say(&server, "create", "d-1", &created(BRANCH)).await;
        becomes(&server, ENVIRONMENT, Phase::Ready).await;
        server.stop().await;
        let before = serving(&rig);

        serve(&mut rig, "app:2", "/healthz");
        rig.world.behave(|world| world.patience = 1_000_000);
        let server = rig.start().await;
        say(&server, "push", "d-2", &pushed(BRANCH, &commit('b'))).await;
        eventually("its deployment has begun", async || (rig.world.view().services != before.services).then_some(()))
            .await;
        rig.world.behave(|world| {
            world.patience = 0;
            world.crashing_images.insert("app:2".to_owned());
        });
        if early {
            always(&rig, "register_task_definition", &PortError::Denied("not allowed".to_owned()));
        }
        say(&server, "push", "d-3", &pushed(BRANCH, &commit('c'))).await;
        let failed = becomes(&server, ENVIRONMENT, Phase::Failed).await;
        assert_eq!(serving(&rig), before, "early: {early}, {:?}", failed.message);
        assert_eq!((told(&rig, NoticeKind::Superseded), told(&rig, NoticeKind::RolledBack)), (1, 1));
        server.stop().await;
    }
}

/// A push that is superseded while it only clears what is no longer used has served: that is what a failure goes back to,
/// since what served before it may be cleared already.
#[tokio::test]
async fn what_was_superseded_after_it_served_is_gone_back_to() {
    let mut rig = rig();
    let server = rig.start().await;
    say(&server, "create", "d-1", &created(BRANCH)).await;
    becomes(&server, ENVIRONMENT, Phase::Ready).await;
    server.stop().await;
    let before = serving(&rig);

    serve(&mut rig, "app:2", "/healthz");
    always(&rig, "list_owned", &PortError::Unavailable("later".to_owned()));
    let listed = rig.world.calls().get("list_owned").copied().unwrap_or(0);
    let server = rig.start().await;
    say(&server, "push", "d-2", &pushed(BRANCH, &commit('b'))).await;
    eventually("it clears", async || rig.world.calls().get("list_owned").filter(|calls| **calls > listed).map(|_| ()))
        .await;
    let second = serving(&rig);
    assert_ne!(second, before);
    rig.world.mend();
    always(&rig, "probe", &PortError::Denied("not allowed".to_owned()));
    say(&server, "push", "d-3", &pushed(BRANCH, &commit('c'))).await;
    becomes(&server, ENVIRONMENT, Phase::Failed).await;
    assert_eq!(serving(&rig), second);
    server.stop().await;
}
