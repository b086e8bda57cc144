//! Durable intake beside the plain loop: `SqliteStore::receive` from 1 and from 64 tasks, and a plain insert-and-commit loop,
//! taking turns on one disk. Prints the medians of five rounds, and of the rounds' own ratios.
//!
//! `cargo run --release -p landfall-sqlite --example intake_bench -- DIRECTORY [BODY_BYTES]`
#![allow(clippy::print_stdout)]

mod plain;

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
    let ratios = |rates: &[f64]| median(rates.iter().zip(&floor).map(|(rate, floor)| rate / floor).collect());
    println!(
        "{bytes} B bodies, medians of {ROUNDS} interleaved rounds, deliveries per second (ratio to the plain loop)"
    );
    println!("plain loop  {:8.0}", median(floor.clone()));
    println!("1 sender    {:8.0}  ({:.2})", median(one.clone()), ratios(&one));
    println!("64 senders  {:8.0}  ({:.2})", median(many.clone()), ratios(&many));
    Ok(())
}

/// Deliveries acknowledged per second.
async fn receive(store: &SqliteStore, body: &[u8], senders: u64, round: usize) -> Result<f64, Failed> {
    let (started, acknowledged) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let tasks: Vec<_> = (0..senders)
        .map(|sender| {
            let (store, body, acknowledged) = (store.clone(), body.to_vec(), Arc::clone(&acknowledged));
            tokio::spawn(async move {
                let mut number = 0_u64;
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
                    if store.receive(delivery).await? == Received::New {
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Ok::<(), StoreError>(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(acknowledged.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
