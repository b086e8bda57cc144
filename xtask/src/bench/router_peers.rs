//! The processes of `bench router`: our router, nginx, haproxy and the backend, each with the least configuration that
//! does the same work (keep-alive to the backend, forwarding headers, no access log).

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::server::free_port;

/// A proxy under load.
pub(crate) trait Proxy {
    fn name(&self) -> &'static str;
    fn port(&self) -> u16;
    /// Processor time so far, all its processes and threads.
    fn cpu(&self) -> Result<Duration>;
}

/// A child and its children; killed on drop.
pub(crate) struct Process {
    child: Child,
}

impl Drop for Process {
    fn drop(&mut self) {
        for pid in self.pids() {
            // Gone already is fine.
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).stderr(Stdio::null()).status();
        }
        let _ = self.child.wait();
    }
}

impl Process {
    fn start(command: &mut Command, cpu: Option<usize>) -> Result<Self> {
        let mut pinned = match cpu {
            Some(cpu) => {
                let mut pinned = Command::new("taskset");
                pinned.args(["-c", &cpu.to_string()]).arg(command.get_program()).args(command.get_args());
                pinned
            }
            None => {
                let mut plain = Command::new(command.get_program());
                plain.args(command.get_args());
                plain
            }
        };
        let child = pinned.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Ok(Self { child: child.with_context(|| format!("cannot start {:?}", command.get_program()))? })
    }

    fn pids(&self) -> Vec<u32> {
        let own = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap_or_default();
        std::iter::once(own).chain(children.split_whitespace().filter_map(|pid| pid.parse().ok())).collect()
    }

    fn cpu(&self) -> Result<Duration> {
        let mut nanoseconds = 0u64;
        for pid in self.pids() {
            for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
                let text = std::fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
                nanoseconds += text.split_whitespace().next().and_then(|first| first.parse::<u64>().ok()).unwrap_or(0);
            }
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    pub(crate) fn resident_mb(&self) -> Result<f64> {
        let mut kilobytes = 0.0;
        for pid in self.pids() {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
            kilobytes += line.trim().trim_end_matches(" kB").parse::<f64>()?;
        }
        Ok(kilobytes / 1e3)
    }
}

/// nginx that answers 63 bytes, on CPU 1. Returns its port.
pub(crate) fn start_backend(directory: &Path) -> Result<(Process, u16)> {
    let port = free_port()?;
    let body = "x".repeat(63);
    let process = nginx(
        &directory.join("backend"),
        &format!(
            "server {{ listen 127.0.0.1:{port} reuseport backlog=4096; location / {{ return 200 \"{body}\"; }} }}"
        ),
        1,
    )?;
    answers(port, "h0.test")?;
    Ok((process, port))
}

fn nginx(directory: &Path, http: &str, cpu: usize) -> Result<Process> {
    std::fs::create_dir_all(directory)?;
    let path = directory.join("nginx.conf");
    let dir = directory.display();
    std::fs::write(
        &path,
        format!(
            "daemon off; worker_processes 1; pid {dir}/pid; error_log {dir}/error.log;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ access_log off; keepalive_requests 100000000; client_body_temp_path {dir}/b; proxy_temp_path {dir}/p;\n\
             fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;\n{http}\n}}\n"
        ),
    )?;
    Process::start(Command::new("nginx").arg("-c").arg(&path), Some(cpu))
}

pub(crate) struct Nginx {
    process: Process,
    port: u16,
}

impl Nginx {
    pub(crate) fn start(directory: &Path, backend: u16) -> Result<Self> {
        let port = free_port()?;
        let http = format!(
            "upstream b {{ server 127.0.0.1:{backend}; keepalive 512; keepalive_requests 100000000; }}\n\
             server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ proxy_pass http://b; proxy_http_version 1.1;\n\
             proxy_set_header Connection \"\"; proxy_set_header Host $http_host;\n\
             proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;\n\
             proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Forwarded-Port $server_port; }} }}"
        );
        let process = nginx(directory, &http, 0)?;
        answers(port, "h0.test")?;
        Ok(Self { process, port })
    }
}

impl Proxy for Nginx {
    fn name(&self) -> &'static str {
        "nginx"
    }

    fn port(&self) -> u16 {
        self.port
    }

    fn cpu(&self) -> Result<Duration> {
        self.process.cpu()
    }
}

pub(crate) struct Haproxy {
    pub(crate) process: Process,
    pub(crate) port: u16,
    socket: PathBuf,
    map: PathBuf,
}

impl Haproxy {
    /// `hosts` backends of one server each, chosen by a map from the Host header.
    pub(crate) fn start(directory: &Path, backend: u16, hosts: usize, cpu: Option<usize>) -> Result<Self> {
        std::fs::create_dir_all(directory)?;
        let port = free_port()?;
        let (socket, map, path) = (directory.join("sock"), directory.join("hosts.map"), directory.join("haproxy.cfg"));
        let entries: String = (0..hosts).map(|number| format!("h{number}.test b{number}\n")).collect();
        std::fs::write(&map, entries)?;
        let mut config = format!(
            "global\n  nbthread 1\n  maxconn 4096\n  stats socket {} level admin\n\
             defaults\n  mode http\n  timeout connect 3s\n  timeout client 60s\n  timeout server 60s\n  option forwardfor\n  http-reuse always\n\
             frontend f\n  bind 127.0.0.1:{port} backlog 4096\n  http-request set-header X-Forwarded-Proto http\n\
             \x20 http-request set-header X-Forwarded-Port {port}\n  http-request set-header X-Forwarded-Host %[req.hdr(host)]\n\
             \x20 use_backend %[req.hdr(host),lower,map({})]\n",
            socket.display(),
            map.display()
        );
        for number in 0..hosts {
            config.push_str(&format!("backend b{number}\n  server s 127.0.0.1:{backend}\n"));
        }
        std::fs::write(&path, config)?;
        let process = Process::start(Command::new("haproxy").arg("-db").arg("-f").arg(&path), cpu)?;
        answers(port, "h0.test")?;
        Ok(Self { process, port, socket, map })
    }

    pub(crate) fn add_map(&self, host: &str) -> Result<()> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.write_all(format!("add map {} {host} b0\n", self.map.display()).as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        if !answer.trim().is_empty() {
            bail!("haproxy: {answer}");
        }
        Ok(())
    }
}

impl Proxy for Haproxy {
    fn name(&self) -> &'static str {
        "haproxy"
    }

    fn port(&self) -> u16 {
        self.port
    }

    fn cpu(&self) -> Result<Duration> {
        self.process.cpu()
    }
}

pub(crate) struct Router {
    pub(crate) process: Process,
    pub(crate) port: u16,
    pub(crate) control: Control,
}

impl Router {
    /// With one host, `h0.test`. `command` gets the state directory as its last argument.
    pub(crate) fn start(command: &[String], state: &Path, backend: u16, cpu: Option<usize>) -> Result<Self> {
        let port = free_port()?;
        let (program, args) = command.split_first().context("no command")?;
        std::fs::create_dir_all(state)?;
        let mut command = Command::new(program);
        command.args(args).arg(state);
        if args.is_empty() {
            command.arg("1");
        }
        let process = Process::start(&mut command, cpu)?;
        let socket = state.join("router/control.sock");
        let deadline = Instant::now() + Duration::from_secs(10);
        let stream = loop {
            match UnixStream::connect(&socket) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() > deadline => bail!("{program}: {}: {error}", socket.display()),
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let mut control = Control { stream };
        control.hosts(0, 1, backend, port)?;
        answers(port, "h0.test")?;
        Ok(Self { process, port, control })
    }
}

impl Proxy for Router {
    fn name(&self) -> &'static str {
        "landfall"
    }

    fn port(&self) -> u16 {
        self.port
    }

    fn cpu(&self) -> Result<Duration> {
        self.process.cpu()
    }
}

/// The router's control socket, as docs/load-balancer.md describes it.
pub(crate) struct Control {
    stream: UnixStream,
}

impl Control {
    fn call(&mut self, ops: &[Value]) -> Result<()> {
        let body = serde_json::to_vec(&json!({ "ops": ops }))?;
        let mut message = u32::try_from(body.len())?.to_be_bytes().to_vec();
        message.extend(body);
        self.stream.write_all(&message)?;
        let mut length = [0u8; 4];
        self.stream.read_exact(&mut length)?;
        let mut answer = vec![0u8; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut answer)?;
        let answer: Value = serde_json::from_slice(&answer)?;
        let failed =
            answer["results"].as_array().and_then(|results| results.iter().find(|one| one.get("Err").is_some()));
        match failed {
            Some(failed) => bail!("the router: {failed}"),
            None => Ok(()),
        }
    }

    /// Hosts `h{first}.test` and on, each an environment with a target group and a target of its own.
    pub(crate) fn hosts(&mut self, first: usize, count: usize, backend: u16, port: u16) -> Result<()> {
        for number in first..first + count {
            let name = format!("tg{number}");
            let check = json!({"path": "/", "port": null, "interval_ms": 30_000, "timeout_ms": 5_000,
                "healthy_threshold": 5, "unhealthy_threshold": 2, "matcher": "200"});
            let group = json!({"put_target_group": {"name": name, "tags": {"landfall": "bench"}, "health_check": check,
                "deregistration_delay": 5, "algorithm": "round_robin", "idle_timeout": 60}});
            let target =
                json!({"register_targets": {"target_group": name, "targets": [format!("127.0.0.1:{backend}")]}});
            self.call(&[group, target, route(&format!("h{number}.test"), &name, port)])?;
        }
        Ok(())
    }

    pub(crate) fn route(&mut self, host: &str, group: &str, port: u16) -> Result<()> {
        self.call(&[route(host, group, port)])
    }
}

fn route(host: &str, group: &str, port: u16) -> Value {
    json!({"put_route": {"route": {"host": {"host": host, "port": port}}, "target_group": group,
        "tags": {"landfall": "bench"}}})
}

/// The status of a GET on a connection of its own.
pub(crate) fn get(port: u16, host: &str) -> Result<u16> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    text.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no answer")
}

fn answers(port: u16, host: &str) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !matches!(get(port, host), Ok(200)) {
        if Instant::now() > deadline {
            bail!("port {port} does not answer");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
