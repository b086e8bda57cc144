//! The control socket.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use landfall_model::environment::Phase;
use landfall_model::event::{Ask, PreviewTrigger};
use landfall_ports::orchestrator::LogLine;
use landfall_ports::store::{DeliveryOutcome, Store};
use landfall_server::control::socket::Access;
use landfall_server::control::{LogLines, Target, socket};
use landfall_server::{Control, ControlClient, ControlError, ControlRequest, ControlResponse};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::conversation::{self, BRANCH, ENVIRONMENT, becomes, deleted, pushed, say};
use crate::rig::{Rig, Server, created, eventually};

fn ask() -> ControlRequest {
    ControlRequest::Submit {
        target: Target::Branch { repository: None, branch: "feature/x".to_owned() },
        ask: Ask::Preview { commit: None, pull_request: None, fork: false, trigger: PreviewTrigger::Requested },
        actor: "cli:test".to_owned(),
    }
}

#[tokio::test]
async fn the_socket_answers_as_the_service_does_and_ends_with_it() {
    let rig = Rig::new();
    let server = rig.start().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    let listener = socket::bind(&path).await.unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let (service, at) = (server.service.clone(), path.clone());
    let serving =
        tokio::spawn(async move { socket::serve(service, Access::All, listener, &at, CancellationToken::new()).await });
    let client = ControlClient::connect(&path).await.expect("it listens");

    // The listener says where it is when it begins to serve.
    let mut looks = 0;
    let status = loop {
        let ControlResponse::Status(status) = client.call(ControlRequest::Status).await.unwrap() else { panic!() };
        looks += 1;
        if status.listen.is_some() || looks > 500 {
            break status;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    };
    assert_eq!(status.project, "my-project");
    assert_eq!(status.listen, Some(server.address.to_string()));
    let ControlResponse::Submit(submitted) = client.call(ask()).await.unwrap() else { panic!() };
    let Some(DeliveryOutcome::Rejected { why }) = submitted.outcome else { panic!("{submitted:?}") };
    assert!(why.contains("previews"), "{why}");
    let missing = client.call(ControlRequest::Preview { name: "feature/x".to_owned() }).await;
    assert!(matches!(missing, Err(ControlError::NotFound(_))), "{missing:?}");
    let unknown = client.call(ControlRequest::Execution { id: "exe_none".into(), history: false }).await;
    assert!(matches!(unknown, Err(ControlError::NotFound(_))), "{unknown:?}");
    let ControlResponse::Deliveries(list) = client.call(ControlRequest::Deliveries { limit: 5 }).await.unwrap() else {
        panic!()
    };
    assert_eq!(list.len(), 1);
    assert_eq!(client.call(ControlRequest::Shutdown).await, Ok(ControlResponse::Shutdown));
    tokio::time::timeout(Duration::from_secs(10), serving).await.expect("it ends").unwrap().unwrap();
    assert!(!path.exists(), "the socket is taken away");
    let gone = client.call(ControlRequest::Status).await;
    assert!(matches!(gone, Err(ControlError::Unavailable(_))), "{gone:?}");
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    let first = socket::bind(&path).await.unwrap();
    assert_eq!(socket::bind(&path).await.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    drop(first);
    assert!(path.exists(), "as a crash leaves it");
    drop(socket::bind(&path).await.unwrap());
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "precious").unwrap();
    assert_eq!(socket::bind(&path).await.unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn a_request_waits_for_the_inbox_and_is_told_the_outcome() {
    let server = Rig::new().start().await;
    let answers = futures_util::future::join_all((0..20).map(|_| server.service.call(ask()))).await;
    for answer in answers {
        let Ok(ControlResponse::Submit(submitted)) = answer else { panic!("{answer:?}") };
        assert!(submitted.outcome.is_some(), "{submitted:?}");
    }
    eventually("every delivery is decided", async || {
        let Ok(ControlResponse::Status(status)) = server.service.call(ControlRequest::Status).await else { panic!() };
        (status.inbox == 0).then_some(())
    })
    .await;
}

/// A server with one preview, and its control socket.
async fn with_preview(rig: &Rig, directory: &std::path::Path) -> (Server, ControlClient, JoinHandle<()>) {
    let server = rig.start().await;
    say(&server, "create", "d-1", &created(BRANCH)).await;
    becomes(&server, ENVIRONMENT, Phase::Ready).await;
    let path = directory.join("control.sock");
    let listener = socket::bind(&path).await.unwrap();
    let (service, at) = (server.service.clone(), path.clone());
    let serving = tokio::spawn(async move {
        socket::serve(service, Access::All, listener, &at, CancellationToken::new()).await.unwrap();
    });
    (server, ControlClient::connect(&path).await.expect("it listens"), serving)
}

fn line(text: &str) -> LogLine {
    LogLine { task: "t".to_owned(), container: "app".to_owned(), line: text.to_owned() }
}

/// As soon as as many follow, a line goes to each.
async fn written(rig: &Rig, text: &str, followers: usize) {
    eventually(&format!("{followers} follow"), async || {
        (rig.world.write_log(ENVIRONMENT, line(text)) == followers).then_some(())
    })
    .await;
}

async fn next(lines: &mut LogLines) -> Option<Result<LogLine, ControlError>> {
    tokio::time::timeout(Duration::from_secs(20), lines.recv()).await.expect("nothing comes")
}

#[tokio::test]
async fn log_lines_come_as_they_are_written_until_the_environment_is_gone() {
    let rig = conversation::rig();
    let directory = tempfile::tempdir().unwrap();
    let (server, client, _serving) = with_preview(&rig, directory.path()).await;
    let mut staying = client.follow_logs(ENVIRONMENT.into(), 10).await;
    written(&rig, "to one", 1).await;
    assert_eq!(next(&mut staying).await, Some(Ok(line("to one"))));

    // Who goes away ends what was done for it, on the other side of the socket too.
    let mut leaving = client.follow_logs(ENVIRONMENT.into(), 10).await;
    eventually("both are told", async || (rig.world.write_log(ENVIRONMENT, line("to both")) == 2).then_some(())).await;
    assert_eq!(next(&mut leaving).await, Some(Ok(line("to both"))));
    drop(leaving);
    written(&rig, "to one again", 1).await;

    // More than the socket holds, with nobody reading meanwhile: all of it, in order.
    let numbered = |n: u32| line(&format!("{n} {}", "x".repeat(100)));
    for n in 0..5_000 {
        rig.world.write_log(ENVIRONMENT, numbered(n));
    }
    while next(&mut staying).await != Some(Ok(numbered(0))) {}
    for n in 1..5_000 {
        assert_eq!(next(&mut staying).await, Some(Ok(numbered(n))));
    }

    say(&server, "delete", "d-2", &deleted(BRANCH)).await;
    assert_eq!(next(&mut staying).await, None);
    becomes(&server, ENVIRONMENT, Phase::Destroyed).await;
    assert_eq!(next(&mut client.follow_logs(ENVIRONMENT.into(), 10).await).await, None);
    let unknown = next(&mut client.follow_logs("nobody".into(), 10).await).await;
    assert!(matches!(unknown, Some(Err(ControlError::NotFound(_)))), "{unknown:?}");
    eventually("nobody follows", async || (rig.world.write_log(ENVIRONMENT, line("")) == 0).then_some(())).await;
}

#[tokio::test]
async fn who_follows_the_logs_of_a_preview_that_is_gone_is_let_go_on_a_busy_server() {
    let rig = conversation::rig();
    let directory = tempfile::tempdir().unwrap();
    let (server, client, _serving) = with_preview(&rig, directory.path()).await;
    let mut lines = client.follow_logs(ENVIRONMENT.into(), 10).await;
    written(&rig, "one", 1).await;
    assert_eq!(next(&mut lines).await, Some(Ok(line("one"))));
    // Another preview is pushed to all the time.
    let busy = async {
        for n in 0u64.. {
            let event = pushed("feature/busy", &format!("{n:040x}"));
            say(&server, "push", &format!("d-busy-{n}"), &event).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let end = async {
        say(&server, "delete", "d-gone", &deleted(BRANCH)).await;
        next(&mut lines).await
    };
    tokio::select! {
        () = busy => unreachable!(),
        end = end => assert_eq!(end, None),
    }
    let other = server.store.environment(&"my-project-busy".into()).await.unwrap();
    assert!(other.is_some_and(|record| record.revision > 3), "it was busy");
}

#[tokio::test]
async fn who_follows_logs_is_told_that_the_server_stops_and_does_not_hold_it_up() {
    let rig = conversation::rig();
    let directory = tempfile::tempdir().unwrap();
    let (_server, client, serving) = with_preview(&rig, directory.path()).await;
    let mut lines = client.follow_logs(ENVIRONMENT.into(), 10).await;
    written(&rig, "one", 1).await;
    assert_eq!(next(&mut lines).await, Some(Ok(line("one"))));
    assert_eq!(client.call(ControlRequest::Shutdown).await, Ok(ControlResponse::Shutdown));
    let last = next(&mut lines).await;
    assert!(matches!(last, Some(Err(ControlError::Unavailable(_)))), "{last:?}");
    assert_eq!(next(&mut lines).await, None);
    tokio::time::timeout(Duration::from_secs(10), serving).await.expect("it ends").unwrap();
    let after = next(&mut client.follow_logs(ENVIRONMENT.into(), 10).await).await;
    assert!(matches!(after, Some(Err(ControlError::Unavailable(_)))), "{after:?}");
}
