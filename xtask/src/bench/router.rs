//! The load balancer beside nginx and haproxy from Debian's packages.
//!
//! Proxy with one worker on CPU 0; wrk and the backend (nginx answering 63 bytes) on CPU 1. Processor time comes from
//! `/proc/PID/task/*/schedstat`, so a busy machine moves requests per second but hardly the cost of one. Rounds are
//! interleaved, and every ratio is the median of the pairs. `--example` measures the bare router instead of the product;
//! `--load` and `--routes` run one half.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::router_peers::{Haproxy, Nginx, Proxy, Router, start_backend};
use super::stats::{median, paired_ratio, percentile};

/// Many and short: whatever else the machine does then falls on both sides of a pair.
const ROUNDS: usize = 15;
const HOSTS: usize = 5_000;
const ROUTE_ROUNDS: usize = 400;

pub(crate) fn run(args: &[String]) -> Result<()> {
    let given = |flag: &str| args.iter().any(|arg| arg == flag);
    let command = router_command(given("--example"))?;
    for tool in ["nginx", "haproxy", "wrk", "taskset"] {
        let found = Command::new("sh").args(["-c", &format!("command -v {tool}")]).output()?.status.success();
        if !found {
            bail!("{tool} is missing: apt-get install nginx-light haproxy wrk util-linux");
        }
    }
    let directory = tempfile::tempdir()?;
    let backend = start_backend(directory.path())?;
    if !given("--routes") {
        throughput(&command, directory.path(), backend.1)?;
    }
    if !given("--load") {
        routes(&command, directory.path(), backend.1)?;
    }
    Ok(())
}

fn router_command(example: bool) -> Result<Vec<String>> {
    if !example {
        let binary = super::server::release_binary()?;
        return Ok(vec![
            binary.display().to_string(),
            "router".into(),
            "--workers".into(),
            "1".into(),
            "--state".into(),
        ]);
    }
    let build = ["build", "--release", "-p", "landfall-router", "--example", "router"];
    if !Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into())).args(build).status()?.success() {
        bail!("cargo {} failed", build.join(" "));
    }
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or("target".into());
    Ok(vec![format!("{target}/release/examples/router")])
}

/// One wrk run against one proxy.
struct Sample {
    cpu_us: f64,
    requests_per_second: f64,
    p99_ms: f64,
}

fn throughput(command: &[String], directory: &Path, backend: u16) -> Result<()> {
    let mut proxies: Vec<Box<dyn Proxy>> = vec![
        Box::new(Router::start(command, &directory.join("router"), backend, Some(0))?),
        Box::new(Nginx::start(&directory.join("nginx"), backend)?),
        Box::new(Haproxy::start(&directory.join("haproxy"), backend, 1, Some(0))?),
    ];
    println!(
        "| one worker on one core, 63-byte answers | connections | CPU µs/request | landfall ÷ this | requests/s | p99 ms |"
    );
    println!("|---|---|---|---|---|---|");
    for connections in [64, 256] {
        let mut samples: Vec<Vec<Sample>> = proxies.iter().map(|_| Vec::new()).collect();
        for round in 0..=ROUNDS {
            for (index, proxy) in proxies.iter_mut().enumerate() {
                let sample = load(proxy.as_ref(), connections, 1)?;
                if round > 0 {
                    samples[index].push(sample);
                }
            }
        }
        let column = |index: usize, of: fn(&Sample) -> f64| samples[index].iter().map(of).collect::<Vec<f64>>();
        for (index, proxy) in proxies.iter().enumerate() {
            println!(
                "| {} | {connections} | {:.1} | {:.2} | {:.0} | {:.2} |",
                proxy.name(),
                median(&column(index, |sample| sample.cpu_us)),
                paired_ratio(&column(0, |sample| sample.cpu_us), &column(index, |sample| sample.cpu_us)),
                median(&column(index, |sample| sample.requests_per_second)),
                median(&column(index, |sample| sample.p99_ms)),
            );
        }
    }
    println!();
    Ok(())
}

fn load(proxy: &dyn Proxy, connections: usize, seconds: u32) -> Result<Sample> {
    let before = proxy.cpu()?;
    let url = format!("http://127.0.0.1:{}/", proxy.port());
    let output = Command::new("taskset")
        .args(["-c", "1", "wrk", "-t1", "--timeout", "20s", "--latency", "-H", "Host: h0.test"])
        .args([format!("-c{connections}"), format!("-d{seconds}s"), url])
        .output()?;
    let cpu = proxy.cpu()?.saturating_sub(before);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let field = |name: &str| text.lines().find(|line| line.trim().starts_with(name)).map(str::trim);
    if let Some(bad) = field("Non-2xx").or(field("Socket errors")) {
        bail!("{}: {bad}", proxy.name());
    }
    let total =
        text.lines().find(|line| line.contains(" requests in ")).and_then(|line| line.split_whitespace().next());
    let total: f64 = total.and_then(|total| total.parse().ok()).with_context(|| format!("wrk said: {text}"))?;
    let rate = field("Requests/sec:").and_then(|line| line.split_whitespace().last()).unwrap_or_default();
    let p99 = field("99%").and_then(|line| line.split_whitespace().last()).unwrap_or_default();
    Ok(Sample {
        cpu_us: cpu.as_secs_f64() * 1e6 / total,
        requests_per_second: rate.parse().unwrap_or(f64::NAN),
        p99_ms: milliseconds(p99),
    })
}

/// wrk's `1.50ms`, `900.00us`, `1.02s`.
fn milliseconds(text: &str) -> f64 {
    for (unit, factor) in [("us", 1e-3), ("ms", 1.0), ("s", 1e3)] {
        if let Some(number) = text.strip_suffix(unit) {
            return number.parse::<f64>().map_or(f64::NAN, |number| number * factor);
        }
    }
    f64::NAN
}

/// 5,000 hosts with a target group each: how long until one more answers, and memory.
fn routes(command: &[String], directory: &Path, backend: u16) -> Result<()> {
    let mut router = Router::start(command, &directory.join("router-hosts"), backend, None)?;
    router.control.hosts(1, HOSTS, backend, router.port)?;
    let haproxy = Haproxy::start(&directory.join("haproxy-hosts"), backend, HOSTS, None)?;

    let stop = std::sync::atomic::AtomicBool::new(false);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let (asked, failed) = std::thread::scope(|scope| -> Result<(usize, usize)> {
        let watcher = scope.spawn(|| continuous([router.port, haproxy.port], &stop));
        let measured = (|| -> Result<()> {
            for round in 0..ROUTE_ROUNDS + 5 {
                let host = format!("new{round}.test");
                let mut add_ours = |host: &str| router.control.route(host, "tg0", router.port);
                let mut add_theirs = |host: &str| haproxy.add_map(host);
                // Who goes second finds the machine awake: take turns.
                let (a, b);
                if round % 2 == 0 {
                    a = new_route(&host, &mut add_ours, router.port)?;
                    b = new_route(&host, &mut add_theirs, haproxy.port)?;
                } else {
                    b = new_route(&host, &mut add_theirs, haproxy.port)?;
                    a = new_route(&host, &mut add_ours, router.port)?;
                }
                if round >= 5 {
                    ours.push(a);
                    theirs.push(b);
                }
            }
            Ok(())
        })();
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        let counts = watcher.join().map_err(|_| anyhow::anyhow!("the watching client failed"))?;
        measured.map(|()| counts)
    })?;
    println!(
        "| {HOSTS} hosts | change accepted, median ms | new route → first 200, median ms | p99 ms | resident MB |"
    );
    println!("|---|---|---|---|---|");
    let total = |times: &[Live]| times.iter().map(|live| live.total).collect::<Vec<f64>>();
    let megabytes = [router.process.resident_mb()?, haproxy.process.resident_mb()?];
    for (name, times, megabytes) in
        [("landfall", &ours, megabytes[0]), ("haproxy, runtime `add map`", &theirs, megabytes[1])]
    {
        let accepted: Vec<f64> = times.iter().map(|live| live.accepted).collect();
        let (all, p99) = (median(&total(times)), percentile(&total(times), 99.0));
        println!("| {name} | {:.3} | {all:.3} | {p99:.3} | {megabytes:.1} |", median(&accepted));
    }
    let (live, memory) = (paired_ratio(&total(&ours), &total(&theirs)), megabytes[0] / megabytes[1]);
    println!("| landfall ÷ haproxy | | {live:.2} | | {memory:.2} |");
    println!("\nDuring the changes {asked} requests to an old host were answered, {failed} failed.");
    Ok(())
}

/// Milliseconds from asking for the route: to the answer of the control socket, and to the first 200.
struct Live {
    accepted: f64,
    total: f64,
}

fn new_route(host: &str, add: &mut dyn FnMut(&str) -> Result<()>, port: u16) -> Result<Live> {
    let started = Instant::now();
    add(host)?;
    let accepted = started.elapsed().as_secs_f64() * 1e3;
    while super::router_peers::get(port, host)? != 200 {}
    Ok(Live { accepted, total: started.elapsed().as_secs_f64() * 1e3 })
}

/// Asks for an old host without pause, each proxy in its turn, so that both are measured under the same load; (asked,
/// failed) of the first.
fn continuous(ports: [u16; 2], stop: &std::sync::atomic::AtomicBool) -> (usize, usize) {
    let (mut asked, mut failed) = (0, 0);
    while !stop.load(std::sync::atomic::Ordering::SeqCst) {
        let [ours, theirs] = ports.map(|port| {
            let answer = super::router_peers::get(port, "h0.test");
            std::thread::sleep(Duration::from_millis(1));
            matches!(answer, Ok(200))
        });
        asked += 1;
        failed += usize::from(!ours);
        // Nothing is claimed of the peer; it only has to be asked as often.
        let _ = theirs;
    }
    (asked, failed)
}
