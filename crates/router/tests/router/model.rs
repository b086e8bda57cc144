//! Ownership, conflicts, natural operations.

use landfall_model::step::RouteTarget;
use landfall_router::api::{Op, Reply, TargetGroupDescription};
use landfall_router::client::{RouterClient, socket_path};
use landfall_router::{LocalRouter, RouterError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::*;

fn conflict<T: std::fmt::Debug>(result: Result<T, RouterError>, text: &str) {
    match result {
        Err(RouterError::Conflict(message)) => assert!(message.contains(text), "{message}"),
        other => panic!("no conflict: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_environment_owns_is_a_conflict() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    assert!(client.put_target_group(&group("tg", "a")).await.unwrap().created);
    assert!(!client.put_target_group(&group("tg", "a")).await.unwrap().created);
    conflict(client.put_target_group(&group("tg", "b")).await, "belongs to a");
    let mut foreign = group("tg", "a");
    foreign.tags.insert("landfall.instance".into(), "another".into());
    conflict(client.put_target_group(&foreign).await, "installation i-test");

    client.put_target_group(&group("tg-b", "b")).await.unwrap();
    let shared = put_on_free_port(client, |port| host_route("h.test", port, "tg", "a")).await;
    assert!(!client.put_route(&host_route("H.test", shared, "tg", "a")).await.unwrap().created);
    conflict(client.put_route(&host_route("h.TEST", shared, "tg-b", "b")).await, "belongs to a");
    conflict(client.put_route(&host_route("g.test", shared, "tg-b", "a")).await, "target group tg-b belongs to b");
    conflict(client.put_route(&port_route(shared, "tg-b", "b")).await, "shared by host rules");
    let own = put_on_free_port(client, |port| port_route(port, "tg-b", "b")).await;
    conflict(client.put_route(&port_route(own, "tg", "a")).await, "belongs to b");
    conflict(client.put_route(&host_route("g.test", own, "tg", "a")).await, "listener of b's own");

    conflict(client.delete_target_group("tg", "a").await, "used by the route h.test");
    let route = RouteTarget::Host { host: "h.test".into(), port: shared };
    client.delete_route(&route, "b").await.unwrap();
    assert_eq!(client.routes().await.unwrap().len(), 2, "left alone");
    client.delete_route(&route, "a").await.unwrap();
    client.delete_route(&route, "a").await.unwrap();
    client.delete_target_group("tg", "b").await.unwrap();
    assert_eq!(client.target_groups().await.unwrap().len(), 2, "left alone");
    client.delete_target_group("tg", "a").await.unwrap();
    client.delete_target_group("tg", "a").await.unwrap();
    assert_eq!(client.target_groups().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_leaves_the_tags_of_creation() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    let by = |execution: &str| {
        let mut spec = group("tg", "a");
        spec.tags.insert("landfall.execution".into(), execution.into());
        spec
    };
    client.put_target_group(&by("exe_1")).await.unwrap();
    client.put_target_group(&by("exe_2")).await.unwrap();
    assert_eq!(client.target_groups().await.unwrap()[0].spec.tags["landfall.execution"], "exe_1");
    let routed = |port, execution: &str| {
        let mut route = host_route("h.test", port, "tg", "a");
        route.tags.insert("landfall.execution".into(), execution.into());
        route
    };
    let port = put_on_free_port(client, |port| routed(port, "exe_1")).await;
    client.put_route(&routed(port, "exe_2")).await.unwrap();
    assert_eq!(client.routes().await.unwrap()[0].tags["landfall.execution"], "exe_1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_of_another_process_is_a_conflict_and_closed_ports_are_free_at_once() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    client.put_target_group(&group("tg", "a")).await.unwrap();
    let other = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = other.local_addr().unwrap().port();
    conflict(client.put_route(&port_route(port, "tg", "a")).await, "taken by another process");
    assert_eq!(client.busy_ports(port, port).await.unwrap(), [port]);
    assert!(client.routes().await.unwrap().is_empty());
    drop(other);
    for _ in 0..20 {
        client.put_route(&port_route(port, "tg", "a")).await.unwrap();
        assert_eq!(get(port, "x", "/").await.status, 503);
        assert_eq!(client.busy_ports(port, port).await.unwrap(), [port]);
        client.delete_route(&RouteTarget::Port { port }, "a").await.unwrap();
        assert_eq!(client.busy_ports(port, port).await.unwrap(), [] as [u16; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_invalid() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    let invalid =
        |result: Result<_, RouterError>| assert!(matches!(result, Err(RouterError::Invalid(_))), "{result:?}");
    let mut spec = group("tg", "");
    invalid(client.put_target_group(&spec).await);
    spec = group("tg", "a");
    spec.health_check.matcher = "2xx".into();
    invalid(client.put_target_group(&spec).await);
    spec = group("tg", "a");
    spec.health_check.path = "/x HTTP/1.1\r\nEvil: 1".into();
    invalid(client.put_target_group(&spec).await);
    client.put_target_group(&group("tg", "a")).await.unwrap();
    for host in ["", "a b", "a/b", "a:80", "ü.test"] {
        invalid(client.put_route(&host_route(host, 20000, "tg", "a")).await);
    }
    invalid(client.put_route(&port_route(0, "tg", "a")).await);
    let missing = client.put_route(&port_route(20000, "none", "a")).await;
    assert!(matches!(missing, Err(RouterError::NotFound(_))), "{missing:?}");
    assert!(matches!(client.target_health("none").await, Err(RouterError::NotFound(_))));
    client.deregister_targets("none", &["127.0.0.1:1".parse().unwrap()]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_runs_in_order_and_past_failures() {
    let fixture = Fixture::start().await;
    let ops = vec![
        Op::PutRoute(port_route(1, "tg", "a")),
        Op::PutTargetGroup(group("tg", "a")),
        Op::RegisterTargets { target_group: "tg".into(), targets: vec!["127.0.0.1:1".parse().unwrap()] },
        Op::TargetGroups,
    ];
    let results = fixture.client().batch(ops).await.unwrap();
    assert!(matches!(results[0], Err(RouterError::NotFound(_))));
    assert!(matches!(&results[1], Ok(Reply::Put(put)) if put.created));
    assert!(matches!(&results[3], Ok(Reply::TargetGroups(groups)) if groups[0].targets.len() == 1), "{results:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_router_on_the_same_state_is_refused() {
    let fixture = Fixture::start().await;
    let second = tokio::task::spawn_blocking({
        let config = config(fixture.state.path());
        move || landfall_router::run_blocking(config)
    });
    conflict(second.await.unwrap(), "another router holds");
    use std::os::unix::fs::PermissionsExt;
    let socket = landfall_router::client::socket_path(fixture.state.path());
    assert_eq!(std::fs::metadata(socket).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_opens_taken_ports_later() {
    let fixture = Fixture::start().await;
    let backend = Backend::start("a").await;
    let port = serve_on_port(fixture.client(), &group("tg", "a"), &[backend.addr]).await;
    let Fixture { router, state } = fixture;
    router.stop().await.unwrap();
    let thief = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let router = LocalRouter::start(config(state.path())).await.unwrap();
    let info = router.client().ping().await.unwrap();
    assert!(info.failed[&port].contains("taken by another process"), "{info:?}");
    drop(thief);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !router.client().ping().await.unwrap().failed.is_empty() {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(get(port, "x", "/").await.body, "a");
    router.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_group_is_described_alone() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    let backend = Backend::start("b1").await;
    for name in ["tg-a", "tg-b", "tg-c"] {
        client.put_target_group(&group(name, "env")).await.unwrap();
    }
    client.register_targets("tg-b", &[backend.addr]).await.unwrap();
    healthy(client, "tg-b", 1).await;
    let one = client.target_group("tg-b").await.unwrap().unwrap();
    assert_eq!(one.spec, group("tg-b", "env"));
    assert_eq!(one.targets.iter().map(|target| target.target).collect::<Vec<_>>(), [backend.addr]);
    assert!(client.target_groups().await.unwrap().contains(&one));
    assert_eq!(client.target_group("tg").await.unwrap(), None);
}

/// A router from before `Op::TargetGroup` cannot read the message and hangs up.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_router_is_asked_for_all_groups() {
    let state = tempfile::tempdir().unwrap();
    let path = socket_path(state.path());
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let socket = tokio::net::UnixListener::bind(&path).unwrap();
    let groups = ["tg-a", "tg-b"].map(|name| TargetGroupDescription { spec: group(name, "env"), targets: Vec::new() });
    let known = groups.clone();
    let served = tokio::spawn(async move {
        let mut hung_up = 0;
        loop {
            let (mut stream, _) = socket.accept().await.unwrap();
            let mut message = vec![0; stream.read_u32().await.unwrap() as usize];
            stream.read_exact(&mut message).await.unwrap();
            if message == br#"{"ops":["target_groups"]}"# {
                let reply = serde_json::json!({"results": [{"Ok": Reply::TargetGroups(known.to_vec())}]}).to_string();
                stream.write_u32(reply.len() as u32).await.unwrap();
                stream.write_all(reply.as_bytes()).await.unwrap();
                return hung_up;
            }
            hung_up += 1;
        }
    });
    let found = RouterClient::new(state.path()).target_group("tg-b").await.unwrap();
    assert_eq!(found.as_ref(), Some(&groups[1]));
    assert_eq!(served.await.unwrap(), 1);
}
