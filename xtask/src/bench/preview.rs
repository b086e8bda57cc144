//! Time to preview: from the signed delivery to the first 200 through the load balancer, split by stage; beside it, in turn,
//! the engine itself starting the same containers (network, pause, two members) until they answer on the bridge.
//!
//! Both ways are split by the engine's own times: when it made the pause container and when it had started the one that
//! serves. What comes before, between and after on Landfall's side and not on the engine's is Landfall's own share.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::server::{self, Server};
use super::stats::median;
use super::workspace::{LABEL, Workspace, engine_cli};
use crate::http::Connection;

const ROUNDS: usize = 7;
const IMAGE: &str = "localhost/landfall-bench:1";
/// As the local platform builds it on first use.
const PAUSE: &str =
    if cfg!(target_arch = "aarch64") { "localhost/landfall-pause:1-arm64" } else { "localhost/landfall-pause:1-amd64" };

/// Milliseconds since the round began.
struct Landfall {
    answered: f64,
    first_step: f64,
    service_step: f64,
    containers: Containers,
}

struct Containers {
    made: f64,
    started: f64,
    /// The first 200.
    served: f64,
}

pub(crate) fn run() -> Result<()> {
    let binary = server::release_binary()?;
    let workspace = Workspace::new()?;
    let engine = engine_cli().context("no engine: apt-get install podman runc")?;
    build_image(engine, &workspace)?;
    let port = server::free_port()?;
    let server = Server::start(&binary, workspace.path(), &manifest(port))?;
    let socket = socket(&server.state)?;

    let (mut rounds, mut floors) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let branch = format!("bench{round}");
        let landfall = create(&server, &socket, &branch, port)?;
        destroy(&server, &branch)?;
        let floor = raw(&socket, &workspace, round)?;
        eprintln!("round {round}/{ROUNDS}: {:.0} ms, engine alone {:.0} ms", landfall.containers.served, floor.served);
        // The first one builds the pause image and starts the load balancer.
        if round > 0 {
            rounds.push(landfall);
            floors.push(floor);
        }
    }
    table(&rounds, &floors);
    Ok(())
}

fn table(rounds: &[Landfall], floors: &[Containers]) {
    let of = |ms: fn(&Landfall) -> f64| median(&rounds.iter().map(ms).collect::<Vec<_>>());
    let floor = |ms: fn(&Containers) -> f64| median(&floors.iter().map(ms).collect::<Vec<_>>());
    let own: Vec<f64> = rounds.iter().zip(floors).map(|(a, b)| a.containers.served - b.served).collect();
    println!("| time to preview, ms, medians of {ROUNDS} interleaved rounds | landfall | the engine alone |");
    println!("|---|---|---|");
    println!("| delivery sent → answered 202, durable | {:.1} | |", of(|r| r.answered));
    println!("| delivery sent → first step (decided, planned, journalled) | {:.1} | |", of(|r| r.first_step));
    println!(
        "| → service step (target group, route, task definition) | {:.1} | |",
        of(|r| r.service_step - r.first_step)
    );
    println!(
        "| → pause container made (network before it) | {:.1} | {:.1} |",
        of(|r| r.containers.made - r.service_step),
        floor(|f| f.made)
    );
    println!(
        "| → serving container started | {:.1} | {:.1} |",
        of(|r| r.containers.started - r.containers.made),
        floor(|f| f.started - f.made)
    );
    println!(
        "| → first 200 (landfall: health check, through the load balancer) | {:.1} | {:.1} |",
        of(|r| r.containers.served - r.containers.started),
        floor(|f| f.served - f.started)
    );
    println!("| delivery sent → first 200 | {:.0} | {:.0} |", of(|r| r.containers.served), floor(|f| f.served));
    println!("| Landfall's own share (difference, pair by pair) | {:.0} | |", median(&own));
}

/// Without the grace of 30 s on a stop, which nobody uses: a first process ignores SIGTERM unless it handles it.
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
        stop_timeout: 0
      side:
        image: {IMAGE}
        command: [/bin/busybox, sleep, '3600']
        stop_timeout: 0
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

fn build_image(engine: &str, workspace: &Workspace) -> Result<()> {
    let context = workspace.path().join("image");
    std::fs::create_dir_all(context.join("www"))?;
    let busybox = ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .find(|p| Path::new(p).exists())
        .context("apt-get install busybox-static")?;
    std::fs::copy(busybox, context.join("busybox"))?;
    std::fs::write(context.join("www/index.html"), "bench\n")?;
    std::fs::write(context.join("Dockerfile"), "FROM scratch\nCOPY busybox /bin/busybox\nCOPY www /www\n")?;
    let build = ["build", "-q", "-t", IMAGE, "--label", &workspace.label()];
    let output = Command::new(engine).args(build).arg(&context).output()?;
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

fn create(server: &Server, socket: &Path, branch: &str, port: u16) -> Result<Landfall> {
    let host = format!("{branch}.my-project.localhost");
    let (began, started) = (Timestamp::now(), Instant::now());
    deliver(server, "create", branch)?;
    let answered = ms(started);
    let deadline = started + Duration::from_secs(60);
    loop {
        let answer = Connection::tcp(&format!("127.0.0.1:{port}")).and_then(|mut c| c.get(&host, "/"));
        if answer.is_ok_and(|r| r.status == 200) {
            break;
        }
        if Instant::now() > deadline {
            bail!("no 200 from {host} in a minute");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let served = ms(started);
    let steps = steps(server, branch, began)?;
    let first_step = steps.iter().map(|(_, at)| *at).fold(f64::INFINITY, f64::min);
    let service_step = steps.iter().find(|(id, _)| id == "service.app").context("no step service.app")?.1;
    let containers = times(socket, &format!("landfall=my-project-{branch}"), began, served)?;
    Ok(Landfall { answered, first_step, service_step, containers })
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

fn ms_since(began: Timestamp, text: &str) -> Result<f64> {
    let at: Timestamp = text.parse().with_context(|| format!("not a time: {text:?}"))?;
    Ok((at.as_microsecond() - began.as_microsecond()) as f64 / 1e3)
}

/// When the engine made the pause container and had started the serving one, of those that carry `label`.
fn times(socket: &Path, label: &str, began: Timestamp, served: f64) -> Result<Containers> {
    let filters: String = json!({"label": [label]}).to_string().bytes().map(|byte| format!("%{byte:02X}")).collect();
    let mut engine = Connection::unix(socket)?;
    let listed = call(&mut engine, "GET", &format!("/containers/json?all=1&filters={filters}"), &Value::Null)?;
    let (mut made, mut started) = (None, None);
    for container in listed.as_array().context("no list of containers")? {
        let id = container["Id"].as_str().context("a container without an id")?;
        let inspected = call(&mut engine, "GET", &format!("/containers/{id}/json"), &Value::Null)?;
        let name = inspected["Name"].as_str().unwrap_or_default();
        if name.ends_with("-app") {
            started = Some(ms_since(began, inspected["State"]["StartedAt"].as_str().unwrap_or_default())?);
        } else if !name.ends_with("-side") {
            made = Some(ms_since(began, inspected["Created"].as_str().unwrap_or_default())?);
        }
    }
    let (Some(made), Some(started)) = (made, started) else { bail!("not the containers expected: {listed}") };
    Ok(Containers { made, started, served })
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

/// When each step of the environment's execution began, in milliseconds after `began`.
fn steps(server: &Server, branch: &str, began: Timestamp) -> Result<Vec<(String, f64)>> {
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
    let mut steps = Vec::new();
    for step in find(&view, "steps").and_then(Value::as_array).context("no steps")? {
        if let (Some(id), Some(at)) = (step["id"].as_str(), step["started_at"].as_str()) {
            steps.push((id.to_owned(), ms_since(began, at)?));
        }
    }
    Ok(steps)
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
/// GET until it answers. Cleans up outside the measured time.
fn raw(socket: &Path, workspace: &Workspace, round: usize) -> Result<Containers> {
    let name = format!("bench-{}-{round}", std::process::id());
    let label = json!({LABEL: workspace.path()});
    let mut engine = Connection::unix(socket)?;
    let (began, started) = (Timestamp::now(), Instant::now());
    call(&mut engine, "POST", "/networks/create", &json!({"Name": name, "Driver": "bridge", "Labels": label}))?;
    let pause = json!({"Image": PAUSE, "Labels": label, "HostConfig": {"NetworkMode": name}});
    let pause = run_container(&mut engine, &format!("{name}-pause"), &pause)?;
    let shared = format!("container:{pause}");
    let member = |command: &[&str]| json!({"Image": IMAGE, "Labels": label, "Cmd": command, "HostConfig": {"NetworkMode": shared}});
    let app = member(&["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/www"]);
    let side = member(&["/bin/busybox", "sleep", "3600"]);
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
    let served = ms(started);
    let times = times(socket, &workspace.label(), began, served)?;
    for member in ["app", "side", "pause"] {
        call(&mut engine, "DELETE", &format!("/containers/{name}-{member}?force=true"), &Value::Null)?;
    }
    call(&mut engine, "DELETE", &format!("/networks/{name}"), &Value::Null)?;
    Ok(times)
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
