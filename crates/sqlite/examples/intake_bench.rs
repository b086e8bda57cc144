//! Durable intake beside the plain loop: `SqliteStore::receive` from 1 and from 64 tasks, and a plain insert-and-commit loop,
//! taking turns on one disk. Prints the medians of five rounds: rates, latencies, and the rounds' own ratios.
//!
//! `cargo run --release -p landfall-sqlite --example intake_bench -- DIRECTORY [BODY_BYTES]`
#![allow(clippy::print_stdout)]

mod plain;

use std::error::Error;
use std::time::{Duration, Instant};

use landfall_model::Timestamp;
use landfall_model::ids::DeliveryId;
use landfall_ports::store::{NewDelivery, Received, Store, StoreError};
use landfall_sqlite::{OpenOptions, SqliteStore};

const ROUNDS: usize = 5;
const TURN: Duration = Duration::from_millis(1000);

type Failed = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("usage: intake_bench DIRECTORY [BODY_BYTES]")?;
    let bytes = arguments.next().map_or(Ok(11_000), |text| text.parse())?;
    let scratch = tempfile::tempdir_in(directory)?;
    let store = SqliteStore::open(&scratch.path().join("state"), OpenOptions::default())?;
    let mut plain = plain::Plain::create(&scratch.path().join("plain.db"))?;
    let body = vec![b'x'; bytes];

    let (mut floor, mut one, mut many) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        floor.push(plain.run(&body, TURN)?);
        one.push(receive(&store, &body, 1, round).await?);
        many.push(receive(&store, &body, 64, round).await?);
    }
    println!(
        "{bytes} B bodies, medians of {ROUNDS} interleaved rounds, deliveries per second (ratio to the plain loop)"
    );
    println!("plain loop  {:8.0}", median(floor.clone()));
    for (name, turns) in [("1 sender  ", one), ("64 senders", many)] {
        let ratio = median(turns.iter().zip(&floor).map(|(turn, floor)| turn.rate / floor).collect());
        let [rate, p50, p99] = [|t: &Turn| t.rate, |t: &Turn| t.p50_ms, |t: &Turn| t.p99_ms]
            .map(|field| median(turns.iter().map(field).collect()));
        println!("{name}  {rate:8.0}  ({ratio:.2})  p50 {p50:.2} ms, p99 {p99:.2} ms");
    }
    Ok(())
}

/// One turn of the store: deliveries acknowledged per second, and how long the acknowledgement took.
struct Turn {
    rate: f64,
    p50_ms: f64,
    p99_ms: f64,
}

async fn receive(store: &SqliteStore, body: &[u8], senders: u64, round: usize) -> Result<Turn, Failed> {
    let started = Instant::now();
    let tasks: Vec<_> = (0..senders)
        .map(|sender| {
            let (store, body) = (store.clone(), body.to_vec());
            tokio::spawn(async move {
                let (mut number, mut taken) = (0_u64, Vec::new());
                while started.elapsed() < TURN {
                    number += 1;
                    let spread = number.wrapping_mul(0x9E37_79B9) & 0xFFFF_FFFF;
                    let delivery = NewDelivery {
                        id: DeliveryId::new(format!(
                            "{spread:08x}-{round:04}-4000-{senders:04}-{sender:04}{number:08}"
                        )),
                        event: "push".to_owned(),
                        content_type: "application/json".to_owned(),
                        body: body.clone(),
                        received_at: Timestamp::now(),
                    };
                    let sent = Instant::now();
                    if store.receive(delivery).await? == Received::New {
                        taken.push(sent.elapsed().as_secs_f64() * 1000.0);
                    }
                }
                Ok::<_, StoreError>(taken)
            })
        })
        .collect();
    let mut taken = Vec::new();
    for task in tasks {
        taken.extend(task.await??);
    }
    let rate = taken.len() as f64 / started.elapsed().as_secs_f64();
    taken.sort_by(f64::total_cmp);
    let percentile = |p: usize| taken.get(taken.len() * p / 100).copied().unwrap_or(f64::NAN);
    Ok(Turn { rate, p50_ms: percentile(50), p99_ms: percentile(99) })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
