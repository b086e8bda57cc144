//! The two floors of webhook intake on one disk, printed as two numbers: commits per second of a plain SQLite loop (WAL,
//! `synchronous=FULL`, one row with a blob and a unique text id each), and fdatasync calls per second of a file that
//! grows by as much each time.
//!
//! `cargo run --release -p landfall-sqlite --example intake_floor -- DIRECTORY BODY_BYTES`
#![allow(clippy::print_stdout)]

mod plain;

use std::error::Error;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(directory), Some(bytes)) = (arguments.next(), arguments.next()) else {
        return Err("usage: intake_floor DIRECTORY BODY_BYTES".into());
    };
    let body = vec![b'x'; bytes.parse()?];
    let scratch = tempfile::tempdir_in(directory)?;
    let commits = plain::Plain::create(&scratch.path().join("plain.db"))?.run(&body, Duration::from_millis(1500))?;
    let syncs = append_and_sync(&scratch.path().join("appended"), &body, Duration::from_secs(1))?;
    println!("{commits:.1} {syncs:.1}");
    Ok(())
}

fn append_and_sync(file: &Path, body: &[u8], time: Duration) -> std::io::Result<f64> {
    let mut file = OpenOptions::new().append(true).create_new(true).open(file)?;
    let (started, mut count) = (Instant::now(), 0_u32);
    while started.elapsed() < time {
        file.write_all(body)?;
        file.sync_data()?;
        count += 1;
    }
    Ok(f64::from(count) / started.elapsed().as_secs_f64())
}
