//! SIGKILL in the middle of intake: whatever was acknowledged is there afterwards.
//!
//! The test runs this very binary again as the server-to-be-killed: the test below that finds the variable set takes
//! deliveries from many tasks and prints each id once it is acknowledged. Its parent reads, kills it at a random moment and
//! opens the directory itself. `LANDFALL_KILL_SEED` repeats a run.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use landfall_ports::store::Store;
use landfall_sqlite::DATABASE_FILE;
use landfall_testkit::SimClock;
use landfall_testkit::conformance::fixtures::delivery;
use rusqlite::Connection;

use crate::common::open;

const VICTIM: &str = "LANDFALL_KILL_VICTIM";
const ROUNDS: u64 = 6;
const SENDERS: u64 = 32;

/// Does nothing unless it is the child.
#[tokio::test(flavor = "multi_thread")]
async fn victim() {
    let Ok(order) = std::env::var(VICTIM) else { return };
    let (round, dir) = order.split_once(' ').unwrap();
    let store = open(Path::new(dir));
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let (store, round) = (store.clone(), round.to_owned());
            tokio::spawn(async move {
                for n in 0.. {
                    let id = format!("d-{round}-{sender}-{n}");
                    let mut delivery = delivery(&id, 1);
                    delivery.body.resize(11_000, b'x');
                    store.receive(delivery).await.unwrap();
                    // One write of a whole line: the pipe takes it at once or not at all.
                    std::io::stdout().write_all(format!("acked {id}\n").as_bytes()).unwrap();
                }
            })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap();
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let seed = std::env::var("LANDFALL_KILL_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 =
        seed.unwrap_or_else(|| u64::from(std::process::id()) ^ jiff::Timestamp::now().as_second().cast_unsigned());
    eprintln!("LANDFALL_KILL_SEED={seed}");
    let random = SimClock::seeded(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeSet::new();
    for round in 0..ROUNDS {
        // Both a moment and a count: early in a group, between groups, during a checkpoint.
        let entropy = landfall_ports::clock::Clock::entropy(&random);
        let (after_acks, pause) = (entropy % 1500, Duration::from_micros((entropy >> 32) % 20_000));
        let before = acknowledged.len();
        acknowledged.extend(run_and_kill(dir.path(), round, usize::try_from(after_acks).unwrap(), pause));
        let store = open(dir.path());
        let mut kept = BTreeSet::new();
        for pending in store.pending_deliveries(u32::MAX).await.unwrap() {
            assert_eq!(pending.delivery.body.len(), 11_000, "{}: half a body", pending.delivery.id);
            kept.insert(pending.delivery.id.0);
        }
        let lost: Vec<_> = acknowledged.difference(&kept).collect();
        assert!(lost.is_empty(), "seed {seed}, round {round}: lost {lost:?}");
        eprintln!("round {round}: {} acknowledged, {} kept in all", acknowledged.len() - before, kept.len());
        drop(store);
        let check: String = Connection::open(dir.path().join(DATABASE_FILE))
            .unwrap()
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(check, "ok", "seed {seed}, round {round}");
    }
}

/// Ids that the child printed, whole lines only.
fn run_and_kill(dir: &Path, round: u64, after_acks: usize, pause: Duration) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::victim", "--nocapture"])
        .env(VICTIM, format!("{round} {}", dir.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&seen);
    let reader = std::thread::spawn(move || {
        let mut ids = Vec::new();
        for line in stdout.split(b'\n') {
            let line = String::from_utf8(line.unwrap()).unwrap();
            // The harness prints its own words, the first id perhaps behind them.
            if let Some((_, id)) = line.split_once("acked ") {
                ids.push(id.to_owned());
                counter.fetch_add(1, Ordering::SeqCst);
            }
        }
        ids
    });
    let deadline = Instant::now() + Duration::from_secs(60);
    while seen.load(Ordering::SeqCst) <= after_acks {
        if Instant::now() > deadline || child.try_wait().unwrap().is_some() {
            let _ = child.kill();
            panic!("the child acknowledged {} deliveries and no more", seen.load(Ordering::SeqCst));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(pause);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}
