//! `awsfake [--port N] [--scale X] [--like-aws] [--rules FILE]`: the fake as a process of its own, for benchmarks and for
//! peers in other languages. Prints its URL and runs until it is killed.

use std::io::Write as _;

use landfall_awsfake::{Fake, Timing};

fn options() -> Result<Fake, String> {
    let mut fake = Fake::default();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--port" => fake.port = value()?.parse().map_err(|error| format!("--port: {error}"))?,
            "--scale" => fake.scale = value()?.parse().map_err(|error| format!("--scale: {error}"))?,
            "--like-aws" => fake.rules.timing = Timing::like_aws(),
            "--rules" => {
                let path = value()?;
                let text = std::fs::read(&path).map_err(|error| format!("{path}: {error}"))?;
                fake.rules = serde_json::from_slice(&text).map_err(|error| format!("{path}: {error}"))?;
            }
            other => return Err(format!("no option {other}; there are --port, --scale, --like-aws, --rules")),
        }
    }
    Ok(fake)
}

fn run() -> Result<(), String> {
    let fake = options()?;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let (url, _handle) = runtime.block_on(fake.run()).map_err(|error| format!("cannot listen: {error}"))?;
    let mut out = std::io::stdout();
    writeln!(out, "{url}").and_then(|()| out.flush()).map_err(|error| error.to_string())?;
    loop {
        std::thread::park();
    }
}

fn main() -> std::process::ExitCode {
    match run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "awsfake: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
