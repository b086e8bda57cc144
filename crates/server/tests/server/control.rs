//! The control socket.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use landfall_model::event::{Ask, PreviewTrigger};
use landfall_ports::store::DeliveryOutcome;
use landfall_server::control::{Target, socket};
use landfall_server::{Control, ControlClient, ControlError, ControlRequest, ControlResponse};
use tokio_util::sync::CancellationToken;

use crate::rig::{Rig, eventually};

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
    let serving = tokio::spawn(async move { socket::serve(service, listener, &at, CancellationToken::new()).await });
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
