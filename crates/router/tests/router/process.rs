//! The router as a process of its own: it outlives those who control it, and its own death costs no route.

use std::time::Duration;

use landfall_router::client::RouterClient;
use tokio::io::AsyncReadExt;

use crate::support::*;

fn signal(pid: u32, name: &str) {
    assert!(std::process::Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

/// Kills the router when the test ends early.
struct Guard(u32);

impl Drop for Guard {
    fn drop(&mut self) {
        // Gone already, where the test went well.
        let _ = std::process::Command::new("kill")
            .args(["-9", &self.0.to_string()])
            .stderr(std::process::Stdio::null())
            .status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_restarted_it_serves_the_same_routes_at_once() {
    let state = tempfile::tempdir().unwrap();
    let client = RouterClient::ensure_running(state.path(), || router_command(state.path())).await.unwrap();
    let info = client.ping().await.unwrap();
    let _guard = Guard(info.pid);
    let again = RouterClient::ensure_running(state.path(), || panic!("it runs already")).await.unwrap();
    assert_eq!(again.ping().await.unwrap().pid, info.pid);

    let backend = Backend::start("a").await;
    let port = serve_on_port(&client, &group("tg", "env"), &[backend.addr]).await;
    let shared = put_on_free_port(&client, |port| host_route("h0.test", port, "tg", "env")).await;
    for number in 1..50 {
        client.put_route(&host_route(&format!("h{number}.test"), shared, "tg", "env")).await.unwrap();
    }
    let route = landfall_model::step::RouteTarget::Host { host: "h7.test".into(), port: shared };
    client.delete_route(&route, "env").await.unwrap();
    let (routes, groups) = (client.routes().await.unwrap(), client.target_groups().await.unwrap());

    signal(info.pid, "-9");
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while std::path::Path::new(&format!("/proc/{}", info.pid)).exists() {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let client = RouterClient::ensure_running(state.path(), || router_command(state.path())).await.unwrap();
    let second = client.ping().await.unwrap();
    let _guard = Guard(second.pid);
    assert_ne!(second.pid, info.pid);
    // At once: the target's last state was healthy, so nobody waits for a check.
    assert_eq!(get(port, "x", "/").await.body, "a");
    assert_eq!(get(shared, "h49.test", "/").await.body, "a");
    assert_eq!(get(shared, "h7.test", "/").await.status, 404);
    assert_eq!(client.routes().await.unwrap(), routes);
    let restored = client.target_groups().await.unwrap();
    assert_eq!(restored[0].spec, groups[0].spec);
    assert_eq!(restored[0].targets[0].target, backend.addr);
    client.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn long_downloads_and_websockets_survive_the_controlling_process() {
    let state = tempfile::tempdir().unwrap();
    // A shell starts the router and dies; the router's own pid is not its child's.
    let command = || {
        let inner = router_command(state.path());
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "\"$@\" & wait", "sh"]).arg(inner.get_program()).args(inner.get_args());
        shell.envs(inner.get_envs().filter_map(|(key, value)| Some((key, value?))));
        shell
    };
    let client = RouterClient::ensure_running(state.path(), command).await.unwrap();
    let pid = client.ping().await.unwrap().pid;
    let _guard = Guard(pid);
    let backend = Backend::start("a").await;
    let port = serve_on_port(&client, &group("tg", "env"), &[backend.addr]).await;
    let mut download = Client::connect(port).await;
    download.send("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n").await;
    download.head().await;
    let mut socket = Client::connect(port).await;
    socket.send("GET /ws HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    socket.head().await;
    // A client in the middle of a call, too.
    let mut raw = tokio::net::UnixStream::connect(landfall_router::client::socket_path(state.path())).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut raw, &[0, 0, 1, 0, b'{']).await.unwrap();
    drop((raw, client));
    let parent = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let parent: u32 = parent.rsplit(") ").next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    assert_ne!(parent, std::process::id());
    signal(parent, "-9");
    signal(pid, "-HUP");
    for _ in 0..3 {
        backend.release.add_permits(1);
        while !String::from_utf8_lossy(&download.buffer).contains("chunk") {
            assert!(download.stream.read_buf(&mut download.buffer).await.unwrap() > 0);
        }
        download.buffer.clear();
        socket.buffer.clear();
        socket.send("ping").await;
        while !String::from_utf8_lossy(&socket.buffer).contains("ping") {
            assert!(socket.stream.read_buf(&mut socket.buffer).await.unwrap() > 0);
        }
    }
    assert_eq!(get(port, "x", "/").await.body, "a");
    RouterClient::new(state.path()).shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_finishes_requests_and_leaves_a_snapshot() {
    let state = tempfile::tempdir().unwrap();
    let client = RouterClient::ensure_running(state.path(), || router_command(state.path())).await.unwrap();
    let pid = client.ping().await.unwrap().pid;
    let _guard = Guard(pid);
    let backend = Backend::start("a").await;
    let port = serve_on_port(&client, &group("tg", "env"), &[backend.addr]).await;
    let mut slow = Client::connect(port).await;
    slow.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await;
    backend.held(1).await;
    signal(pid, "-TERM");
    let socket = landfall_router::client::socket_path(state.path());
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
        assert!(tokio::time::Instant::now() < deadline);
    }
    backend.release.add_permits(1);
    assert_eq!(slow.answer().await.body, "a");
    until("the process ends", || !socket.exists()).await;
    assert!(std::fs::read_to_string(state.path().join("router/routes.json")).unwrap().contains("\"tg\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_cannot_start_shows_its_log() {
    let state = tempfile::tempdir().unwrap();
    std::fs::create_dir(state.path().join("router")).unwrap();
    std::fs::write(state.path().join("router/routes.json"), "{").unwrap();
    let error = RouterClient::ensure_running(state.path(), || router_command(state.path())).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("ended with") && text.contains("routes.json is damaged"), "{text}");
}
