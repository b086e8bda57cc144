//! Sleep and wake: what is idle runs nothing, the first request wakes it once, and nothing else ever does.

use std::time::Duration;

use landfall_model::Timestamp;
use landfall_model::app::Sleep;
use landfall_model::environment::{EnvironmentRecord, EnvironmentWrite, Phase};
use landfall_model::event::Ask;
use landfall_ports::PortError;
use landfall_ports::journal::Journal;
use landfall_ports::store::{DeliveryOutcome, Store};
use landfall_server::Control;
use landfall_server::control::{ControlRequest, ControlResponse, Submitted, Target};
use landfall_testkit::platform::{Fault, When};

use crate::conversation::{BRANCH, becomes, commit, deleted, pushed, rig, say};
use crate::rig::{Rig, Server, created, eventually};

const ENVIRONMENT: &str = "my-project-test123";
const SERVICE: &str = "my-project-test123-service";

/// A rig whose previews fall asleep by themselves after `after` seconds, if they do.
fn sleepy(after: Option<u64>) -> Rig {
    let mut rig = rig();
    rig.reconcile_every = Some(Duration::from_secs(3_600));
    rig.app.previews.as_mut().unwrap().sleep = after.map(|after| Sleep { after, hold: 60 });
    rig
}

async fn up(rig: &Rig) -> Server {
    let server = rig.start().await;
    say(&server, "create", "d-1", &created(BRANCH)).await;
    becomes(&server, ENVIRONMENT, Phase::Ready).await;
    server
}

fn running(rig: &Rig) -> u32 {
    rig.world.view().services[SERVICE].2
}

async fn executions(rig: &Rig, kind: &str) -> usize {
    let all = rig.mem.list(Some(&ENVIRONMENT.into()), false, 1_000).await.unwrap();
    all.iter().filter(|execution| execution.kind == kind).count()
}

/// The next call to put the service goes wrong.
fn fail_next(rig: &Rig, when: When) {
    let nth = rig.world.calls()["put_service"] + 1;
    let error = PortError::Invalid("no capacity".to_owned());
    rig.world.fail(Fault { method: "put_service", nth, when, error });
}

async fn ask(server: &Server, ask: Ask) -> Submitted {
    let target = Target::Name(ENVIRONMENT.to_owned());
    let request = ControlRequest::Submit { target, ask, actor: "cli:test".to_owned() };
    match server.service.call(request).await.unwrap() {
        ControlResponse::Submit(submitted) => submitted,
        other => panic!("{other:?}"),
    }
}

async fn settled(server: &Server) -> EnvironmentRecord {
    let request = ControlRequest::Settled { environment: ENVIRONMENT.into(), timeout_ms: 20_000 };
    match server.service.call(request).await.unwrap() {
        ControlResponse::Settled(report) if report.settled => report.record,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_nobody_uses_sleeps_until_it_is_asked_for_and_wakes_once() {
    let rig = sleepy(Some(4));
    let server = up(&rig).await;
    let told = server.store.notices().len();
    let asleep = becomes(&server, ENVIRONMENT, Phase::Asleep).await;
    assert_eq!((running(&rig), asleep.url.as_deref()), (0, Some("http://test123.my-project.localhost:8080/")));
    assert!(asleep.asleep.unwrap().whole);
    // Many at once.
    assert_eq!(rig.world.request(ENVIRONMENT, Timestamp::now()), Err(true), "held");
    for _ in 0..20 {
        assert_ne!(rig.world.request(ENVIRONMENT, Timestamp::now()), Err(false), "held or answered, and never refused");
    }
    eventually("it answers", async || rig.world.request(ENVIRONMENT, Timestamp::now()).ok()).await;
    becomes(&server, ENVIRONMENT, Phase::Ready).await;
    assert_eq!((executions(&rig, "preview.sleep").await, executions(&rig, "preview.wake").await), (1, 1));
    assert_eq!(server.store.notices().len(), told, "nobody wants to hear of every nap");
    // It is not torn down, and goes to sleep again.
    becomes(&server, ENVIRONMENT, Phase::Asleep).await;
    say(&server, "delete", "d-2", &deleted(BRANCH)).await;
    becomes(&server, ENVIRONMENT, Phase::Destroyed).await;
    assert!(rig.world.view().is_empty(), "{:?}", rig.world.view());
    server.stop().await;
}

#[tokio::test]
async fn what_is_used_stays_awake() {
    let rig = sleepy(Some(4));
    let server = up(&rig).await;
    let until = std::time::Instant::now() + Duration::from_secs(6);
    while std::time::Instant::now() < until {
        assert_eq!(rig.world.request(ENVIRONMENT, Timestamp::now()), Ok(()));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(executions(&rig, "preview.sleep").await, 0);
    becomes(&server, ENVIRONMENT, Phase::Asleep).await;
    server.stop().await;
}

#[tokio::test]
async fn a_person_puts_it_to_sleep_and_a_push_does_not_wake_it_for_good() {
    let rig = sleepy(None);
    let server = up(&rig).await;
    let early = ask(&server, Ask::Wake).await;
    assert_eq!(early.outcome, Some(DeliveryOutcome::Ignored { why: "it is awake".to_owned() }));
    ask(&server, Ask::Sleep).await;
    assert_eq!(settled(&server).await.phase, Phase::Asleep);
    say(&server, "push", "d-2", &pushed(BRANCH, &commit('b'))).await;
    eventually("the push is deployed, and it sleeps again", async || {
        let record = server.store.environment(&ENVIRONMENT.into()).await.unwrap()?;
        (record.commit == Some(commit('b')) && record.phase == Phase::Asleep && record.live.is_none()).then_some(())
    })
    .await;
    assert_eq!((running(&rig), executions(&rig, "preview.update").await), (0, 1));
    ask(&server, Ask::Wake).await;
    let woken = settled(&server).await;
    assert_eq!((woken.phase, woken.commit, running(&rig)), (Phase::Ready, Some(commit('b')), 1));
    server.stop().await;
}

#[tokio::test]
async fn an_update_that_fails_leaves_it_asleep_with_what_it_had() {
    let rig = sleepy(None);
    let server = up(&rig).await;
    let before = rig.world.definition_of(SERVICE);
    ask(&server, Ask::Sleep).await;
    settled(&server).await;
    fail_next(&rig, When::After);
    say(&server, "push", "d-2", &pushed(BRANCH, &commit('b'))).await;
    eventually("it failed", async || {
        let record = server.store.environment(&ENVIRONMENT.into()).await.unwrap()?;
        (executions(&rig, "preview.update").await == 1
            && record.live.is_none()
            && record.asleep.is_some_and(|a| a.whole))
        .then_some(())
    })
    .await;
    let record = settled(&server).await;
    assert_eq!((record.phase, running(&rig)), (Phase::Asleep, 0));
    assert_eq!(record.asleep.as_ref().unwrap().was, Phase::Failed, "{record:?}");
    ask(&server, Ask::Wake).await;
    let woken = settled(&server).await;
    assert_eq!((woken.phase, running(&rig), rig.world.definition_of(SERVICE)), (Phase::Failed, 1, before));
    assert!(woken.message.is_some(), "why the update failed is not forgotten");
    server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_woken_says_so_and_the_next_request_tries_again() {
    let rig = sleepy(None);
    let server = up(&rig).await;
    ask(&server, Ask::Sleep).await;
    settled(&server).await;
    fail_next(&rig, When::Before);
    assert_eq!(rig.world.request(ENVIRONMENT, Timestamp::now()), Err(true));
    eventually("the attempt failed", async || {
        let record = server.store.environment(&ENVIRONMENT.into()).await.unwrap()?;
        record.asleep.is_some_and(|asleep| asleep.failed_wakes == 1).then_some(())
    })
    .await;
    let record = server.store.environment(&ENVIRONMENT.into()).await.unwrap().unwrap();
    assert_eq!(record.phase, Phase::Asleep);
    assert!(record.message.unwrap().contains("could not be woken"), "it says why");
    assert!(server.store.notices().iter().any(|notice| notice.text.contains("could not be woken")));
    // A person is not kept waiting.
    ask(&server, Ask::Wake).await;
    eventually("it is awake", async || {
        let record = server.store.environment(&ENVIRONMENT.into()).await.unwrap()?;
        (record.phase == Phase::Ready && record.asleep.is_none() && record.message.is_none()).then_some(())
    })
    .await;
    assert_eq!(running(&rig), 1);
    server.stop().await;
}

/// Long after it fell asleep the journal has forgotten with which parameters it served: then it wakes as the manifest has it.
#[tokio::test]
async fn it_wakes_also_when_nobody_remembers_how_it_served() {
    let rig = sleepy(None);
    let server = up(&rig).await;
    ask(&server, Ask::Sleep).await;
    let mut record = settled(&server).await;
    server.kill(&rig).await;
    let expected = record.revision;
    record.good_execution = Some("exe_forgotten".into());
    rig.mem.write_environments(vec![EnvironmentWrite { expected, record }], vec![]).await.unwrap();
    let server = rig.start().await;
    ask(&server, Ask::Wake).await;
    let woken = settled(&server).await;
    assert_eq!((woken.phase, woken.commit, running(&rig)), (Phase::Ready, Some(commit('a')), 1));
    server.stop().await;
}

/// Killed at moments all over falling asleep and waking: it ends as it was asked to, and nothing is left over.
#[tokio::test]
async fn killed_anywhere_it_ends_as_it_was_asked_to() {
    for nth in 0..12u64 {
        let rig = sleepy(None);
        rig.world.behave(|world| world.patience = 3);
        let server = up(&rig).await;
        assert_eq!(executions(&rig, "preview.create").await, 1);
        ask(&server, Ask::Sleep).await;
        tokio::time::sleep(Duration::from_millis(nth * 3)).await;
        server.kill(&rig).await;
        let server = rig.start().await;
        assert_eq!(becomes(&server, ENVIRONMENT, Phase::Asleep).await.asleep.map(|asleep| asleep.whole), Some(true));
        assert_eq!(running(&rig), 0, "kill {nth}");
        ask(&server, Ask::Wake).await;
        tokio::time::sleep(Duration::from_millis(nth * 3)).await;
        server.kill(&rig).await;
        let server = rig.start().await;
        becomes(&server, ENVIRONMENT, Phase::Ready).await;
        assert_eq!(running(&rig), 1, "kill {nth}");
        say(&server, "delete", "d-2", &deleted(BRANCH)).await;
        becomes(&server, ENVIRONMENT, Phase::Destroyed).await;
        assert!(rig.world.view().is_empty(), "kill {nth}: {:?}", rig.world.view());
        server.stop().await;
    }
}
