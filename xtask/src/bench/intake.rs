//! Webhook intake: signed 11 KB deliveries, durable before the answer, against the real server over loopback; beside it, in
//! turn, a plain SQLite insert-and-commit loop (WAL, FULL) and the raw fdatasync rate of the same disk. The inbox decides
//! deliveries while they come in; what it has left over is waited for before the next turn, or it would slow that down.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::server::{self, Server};
use super::stats::{median, paired_ratio, percentile};
use super::workspace::Workspace;
use crate::http::Connection;

const PAIRS: usize = 5;
const BODY: usize = 11_000;
static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// A push to a branch that no rule matches: accepted, stored, parsed and ignored while the load goes on.
const MANIFEST: &str = "project: bench
repositories:
  my-project: {}
services:
  app:
    containers:
      app: { image: scratch, ports: [8080] }
    load_balancer: { container: app, port: 8080 }
previews:
  branches: ['feature/*']
  services: [app]
";

struct Load {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
}

pub(crate) fn run() -> Result<()> {
    let binary = server::release_binary()?;
    let workspace = Workspace::new()?;
    let server = Server::start(&binary, workspace.path(), MANIFEST)?;
    let body = payload();
    let signature = server::sign(&body);
    load(&server, &body, &signature, 8, 400)?;

    let (mut plain, mut sync, mut one, mut many) = (vec![], vec![], vec![], vec![]);
    for round in 1..=PAIRS {
        server.settle()?;
        let (p, s) = floor(workspace.path())?;
        plain.push(p);
        sync.push(s);
        one.push(load(&server, &body, &signature, 1, 1_000)?);
        server.settle()?;
        many.push(load(&server, &body, &signature, 64, 9_600)?);
        if let (Some(one), Some(many)) = (one.last(), many.last()) {
            eprintln!(
                "round {round}/{PAIRS}: 1 sender {:.0}/s, 64 senders {:.0}/s p99 {:.1} ms; plain {p:.0}, fdatasync {s:.0}",
                one.per_second, many.per_second, many.p99_ms
            );
        }
    }
    let rate = |loads: &[Load]| loads.iter().map(|l| l.per_second).collect::<Vec<_>>();
    let row = |name: &str, loads: &[Load]| {
        println!(
            "| {name} | {:.0} | {:.2} | {:.2} | {:.2} | {:.2} |",
            median(&rate(loads)),
            median(&loads.iter().map(|l| l.p50_ms).collect::<Vec<_>>()),
            median(&loads.iter().map(|l| l.p99_ms).collect::<Vec<_>>()),
            paired_ratio(&rate(loads), &plain),
            paired_ratio(&rate(loads), &sync),
        );
    };
    println!(
        "| intake, {BODY} B bodies, medians of {PAIRS} interleaved rounds | per second | p50 ms | p99 ms | ÷ plain loop | ÷ fdatasync |"
    );
    println!("|---|---|---|---|---|---|");
    row("landfall, 1 sender", &one);
    row("landfall, 64 senders", &many);
    println!(
        "| plain SQLite insert and commit, WAL FULL, in process | {:.0} | | | 1 | {:.2} |",
        median(&plain),
        paired_ratio(&plain, &sync)
    );
    println!(
        "| fdatasync of an appended 11 KB record | {:.0} | | | {:.2} | 1 |",
        median(&sync),
        paired_ratio(&sync, &plain)
    );
    Ok(())
}

/// GitHub's own push payloads are about this size; the padding stands where commits would.
fn payload() -> Vec<u8> {
    let mut body = serde_json::json!({
        "ref": "refs/heads/unmatched", "before": "0".repeat(40), "after": "1".repeat(40), "deleted": false, "created": false,
        "repository": {"id": 1296269, "name": "my-project", "full_name": "acme/my-project", "pushed_at": 1_790_000_000},
        "sender": {"login": "octocat"}, "commits": []
    });
    let missing = BODY.saturating_sub(body.to_string().len() + 12);
    body["padding"] = serde_json::Value::String("x".repeat(missing));
    body.to_string().into_bytes()
}

/// Closed loop: `senders` connections send `total` deliveries between them.
fn load(server: &Server, body: &[u8], signature: &str, senders: usize, total: usize) -> Result<Load> {
    let started = Instant::now();
    let mut latencies: Vec<f64> = Vec::with_capacity(total);
    std::thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> =
            (0..senders).map(|_| scope.spawn(|| sender(server, body, signature, total / senders))).collect();
        for worker in workers {
            latencies.extend(worker.join().map_err(|_| anyhow::anyhow!("a sender panicked"))??);
        }
        Ok(())
    })?;
    let seconds = started.elapsed().as_secs_f64();
    Ok(Load {
        per_second: latencies.len() as f64 / seconds,
        p50_ms: percentile(&latencies, 50.0),
        p99_ms: percentile(&latencies, 99.0),
    })
}

fn sender(server: &Server, body: &[u8], signature: &str, count: usize) -> Result<Vec<f64>> {
    let mut connection = Connection::tcp(&server.address)?;
    let mut latencies = Vec::with_capacity(count);
    for _ in 0..count {
        let id = format!("bench-{}", NEXT_ID.fetch_add(1, Ordering::Relaxed));
        let head = server::delivery_head(&server.address, "push", &id, signature);
        let sent = Instant::now();
        let response = connection.send(&head, body)?;
        latencies.push(sent.elapsed().as_secs_f64() * 1e3);
        if response.status != 202 {
            bail!("{}: {}", response.status, String::from_utf8_lossy(&response.body));
        }
    }
    Ok(latencies)
}

/// Commits per second of the plain loop and fdatasyncs per second, from the example that links SQLite.
fn floor(directory: &Path) -> Result<(f64, f64)> {
    let output = Command::new("cargo")
        .args(["run", "--release", "--quiet", "-p", "landfall-sqlite", "--example", "intake_floor", "--"])
        .arg(directory)
        .arg(BODY.to_string())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut numbers = text.split_whitespace().filter_map(|word| word.parse::<f64>().ok());
    let plain = numbers
        .next()
        .with_context(|| format!("intake_floor printed {text:?} {}", String::from_utf8_lossy(&output.stderr)))?;
    let sync = numbers.next().context("intake_floor printed one number")?;
    Ok((plain, sync))
}
