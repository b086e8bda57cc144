//! Time to preview: from the signed delivery to the first 200 through the load balancer, split by step; beside it, in turn,
//! the engine itself starting the same containers (network, pause, two members) until they answer on the bridge.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::server::{self, Server};
use super::stats::median;
use crate::http::Connection;

const ROUNDS: usize = 7;
const IMAGE: &str = "localhost/landfall-bench:1";
/// As the local platform builds it on first use.
const PAUSE: &str =
    if cfg!(target_arch = "aarch64") { "localhost/landfall-pause:1-arm64" } else { "localhost/landfall-pause:1-amd64" };

pub(crate) fn run() -> Result<()> {
    let binary = server::release_binary()?;
    let directory = tempfile::tempdir()?;
    let engine = engine_cli()?;
    build_image(engine, directory.path())?;
    let port = server::free_port()?;
    let server = Server::start(&binary, directory.path(), &manifest(port))?;
    let socket = socket(&server.state)?;

    let (mut landfall, mut floor) = (Vec::new(), Vec::new());
    let mut steps: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for round in 0..=ROUNDS {
        let branch = format!("bench{round}");
        let total = create(&server, &branch, port)?;
        let stages = stages(&server, &branch)?;
        destroy(&server, &branch)?;
        let engine_alone = raw(&socket, round)?;
        if round > 0 {
            landfall.push(total);
            floor.push(engine_alone);
            for (step, ms) in stages {
                steps.entry(step).or_default().push(ms);
            }
        }
    }
    let own: Vec<f64> = landfall.iter().zip(&floor).map(|(a, b)| a - b).collect();
    println!("| time to preview, medians of {ROUNDS} interleaved rounds | ms |");
    println!("|---|---|");
    println!("| delivery sent → first 200 through the load balancer | {:.0} |", median(&landfall));
    println!("| the engine alone: same network and containers until they answer | {:.0} |", median(&floor));
    println!("| Landfall's own share (difference, pair by pair) | {:.0} |", median(&own));
    let mut rows: Vec<(String, f64)> = steps.into_iter().map(|(step, ms)| (step, median(&ms))).collect();
    rows.sort_by(|a, b| b.1.total_cmp(&a.1));
    for (step, ms) in rows {
        println!("| of which step `{step}` | {ms:.0} |");
    }
    Ok(())
}

fn manifest(port: u16) -> String {
    format!(
        "project: my-project
repositories:
  my-project: {{}}
services:
  app:
    containers:
      app:
        image: {IMAGE}
        command: [/bin/busybox, httpd, -f, -p, '8080', -h, /www]
        ports: [8080]
      side:
        image: {IMAGE}
        command: [/bin/busybox, sleep, '3600']
        stop_timeout: 2
    load_balancer:
      container: app
      port: 8080
previews:
  branches: ['feature/*']
  services: [app]
  routing:
    host: {{ domain: my-project.localhost, port: {port} }}
"
    )
}

fn engine_cli() -> Result<&'static str> {
    ["podman", "docker"]
        .into_iter()
        .find(|cli| Command::new(cli).arg("info").output().is_ok_and(|output| output.status.success()))
        .context("no engine: apt-get install podman runc")
}

fn build_image(engine: &str, directory: &Path) -> Result<()> {
    let context = directory.join("image");
    std::fs::create_dir_all(context.join("www"))?;
    let busybox = ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .find(|p| Path::new(p).exists())
        .context("apt-get install busybox-static")?;
    std::fs::copy(busybox, context.join("busybox"))?;
    std::fs::write(context.join("www/index.html"), "bench\n")?;
    std::fs::write(context.join("Dockerfile"), "FROM scratch\nCOPY busybox /bin/busybox\nCOPY www /www\n")?;
    let output = Command::new(engine).args(["build", "-q", "-t", IMAGE]).arg(&context).output()?;
    if !output.status.success() {
        bail!("{engine} build: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// The engine that the server found or started.
fn socket(state: &Path) -> Result<PathBuf> {
    ["/var/run/docker.sock", "/run/podman/podman.sock"]
        .into_iter()
        .map(PathBuf::from)
        .chain([state.join("engine/engine.sock")])
        .find(|path| Connection::unix(path).and_then(|mut c| c.get("engine", "/_ping")).is_ok_and(|r| r.status == 200))
        .context("no engine socket answers")
}

fn create(server: &Server, branch: &str, port: u16) -> Result<f64> {
    let host = format!("{branch}.my-project.localhost");
    let started = Instant::now();
    deliver(server, "create", branch)?;
    let deadline = started + Duration::from_secs(60);
    loop {
        let answer = Connection::tcp(&format!("127.0.0.1:{port}")).and_then(|mut c| c.get(&host, "/"));
        if answer.is_ok_and(|r| r.status == 200) {
            return Ok(started.elapsed().as_secs_f64() * 1e3);
        }
        if Instant::now() > deadline {
            bail!("no 200 from {host} in a minute");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn destroy(server: &Server, branch: &str) -> Result<()> {
    deliver(server, "delete", branch)?;
    let deadline = Instant::now() + Duration::from_secs(60);
    while phase(server, branch)?.as_deref() != Some("destroyed") {
        if Instant::now() > deadline {
            bail!("{branch} was not destroyed in a minute");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn deliver(server: &Server, event: &str, branch: &str) -> Result<()> {
    let body = json!({"ref": format!("feature/{branch}"), "ref_type": "branch", "repository": {"id": 1, "name": "my-project", "full_name": "acme/my-project"}});
    let body = body.to_string().into_bytes();
    let head = server::delivery_head(&server.address, event, &format!("{event}-{branch}"), &server::sign(&body));
    let response = Connection::tcp(&server.address)?.send(&head, &body)?;
    if response.status != 202 {
        bail!("{event}: {} {}", response.status, String::from_utf8_lossy(&response.body));
    }
    Ok(())
}

fn landfall_json(server: &Server, args: &[&str]) -> Result<Value> {
    let output =
        Command::new(&server.binary).args(args).args(["--output", "json", "--state"]).arg(&server.state).output()?;
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("landfall {args:?}: {}", String::from_utf8_lossy(&output.stderr)))
}

fn phase(server: &Server, branch: &str) -> Result<Option<String>> {
    let shown = landfall_json(server, &["preview", "show", &format!("feature/{branch}")])?;
    Ok(find(&shown, "phase").and_then(|v| v.as_str().map(str::to_owned)))
}

/// Milliseconds between each step's start and end in the environment's last execution.
fn stages(server: &Server, branch: &str) -> Result<Vec<(String, f64)>> {
    let deadline = Instant::now() + Duration::from_secs(30);
    while phase(server, branch)?.as_deref() != Some("ready") {
        if Instant::now() > deadline {
            bail!("{branch} answers but did not become ready");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let shown = landfall_json(server, &["preview", "show", &format!("feature/{branch}")])?;
    let execution = find(&shown, "last_execution").and_then(Value::as_str).context("no last_execution")?.to_owned();
    let view = landfall_json(server, &["executions", "show", &execution])?;
    let mut stages = Vec::new();
    for step in find(&view, "steps").and_then(Value::as_array).context("no steps")? {
        let time = |key: &str| step.get(key).and_then(Value::as_str).and_then(|t| t.parse::<jiff::Timestamp>().ok());
        if let (Some(name), Some(start), Some(end)) =
            (step.get("id").and_then(Value::as_str), time("started_at"), time("finished_at"))
        {
            stages.push((name.to_owned(), (end.as_microsecond() - start.as_microsecond()) as f64 / 1e3));
        }
    }
    Ok(stages)
}

/// The first value under `key`, depth first.
fn find<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    match value {
        Value::Object(map) => map.get(key).or_else(|| map.values().find_map(|v| find(v, key))),
        Value::Array(items) => items.iter().find_map(|v| find(v, key)),
        _ => None,
    }
}

/// What a person would do by hand with the engine's API, as fast as it goes: network, pause, two members side by side, then
/// GET until it answers. Returns milliseconds; cleans up outside the measured time.
fn raw(socket: &Path, round: usize) -> Result<f64> {
    let name = format!("bench-floor-{round}");
    let mut engine = Connection::unix(socket)?;
    let started = Instant::now();
    call(&mut engine, "POST", "/networks/create", &json!({"Name": name, "Driver": "bridge"}))?;
    let pause = run_container(
        &mut engine,
        &format!("{name}-pause"),
        &json!({"Image": PAUSE, "HostConfig": {"NetworkMode": name}}),
    )?;
    let shared = format!("container:{pause}");
    let app = json!({"Image": IMAGE, "Cmd": ["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/www"], "HostConfig": {"NetworkMode": shared}});
    let side = json!({"Image": IMAGE, "Cmd": ["/bin/busybox", "sleep", "3600"], "HostConfig": {"NetworkMode": shared}});
    std::thread::scope(|scope| -> Result<()> {
        let beside = scope.spawn(|| run_container(&mut Connection::unix(socket)?, &format!("{name}-side"), &side));
        run_container(&mut engine, &format!("{name}-app"), &app)?;
        beside.join().map_err(|_| anyhow::anyhow!("panicked"))??;
        Ok(())
    })?;
    let inspected = call(&mut engine, "GET", &format!("/containers/{pause}/json"), &Value::Null)?;
    let networks = inspected["NetworkSettings"]["Networks"].clone();
    let ip = find(&networks, "IPAddress").and_then(Value::as_str).context("no address")?.to_owned();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !Connection::tcp(&format!("{ip}:8080")).and_then(|mut c| c.get("bench", "/")).is_ok_and(|r| r.status == 200) {
        if Instant::now() > deadline {
            bail!("the engine's own containers do not answer");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let elapsed = started.elapsed().as_secs_f64() * 1e3;
    for member in ["app", "side", "pause"] {
        call(&mut engine, "DELETE", &format!("/containers/{name}-{member}?force=true"), &Value::Null)?;
    }
    call(&mut engine, "DELETE", &format!("/networks/{name}"), &Value::Null)?;
    Ok(elapsed)
}

fn run_container(engine: &mut Connection, name: &str, spec: &Value) -> Result<String> {
    let mut spec = spec.clone();
    spec["HostConfig"]["Ulimits"] = json!([
        {"Name": "nofile", "Soft": 4096, "Hard": 4096}, {"Name": "nproc", "Soft": 4096, "Hard": 4096}
    ]);
    let created = call(engine, "POST", &format!("/containers/create?name={name}"), &spec)?;
    let id = created["Id"].as_str().with_context(|| format!("create {name}: {created}"))?.to_owned();
    call(engine, "POST", &format!("/containers/{id}/start"), &Value::Null)?;
    Ok(id)
}

fn call(engine: &mut Connection, method: &str, path: &str, body: &Value) -> Result<Value> {
    let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let response =
        engine.send(&format!("{method} {path} HTTP/1.1\r\nHost: engine\r\nContent-Type: application/json"), &bytes)?;
    if response.status >= 400 {
        bail!("{method} {path}: {} {}", response.status, String::from_utf8_lossy(&response.body));
    }
    Ok(serde_json::from_slice(&response.body).unwrap_or(Value::Null))
}
