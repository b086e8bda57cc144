//! A router without the rest of Landfall: `router STATE [WORKERS]`. Benchmarks use it.

use std::net::Ipv4Addr;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let mut config = landfall_router::ServeConfig::new(args.next().ok_or("usage: router STATE [WORKERS]")?);
    if let Some(workers) = args.next() {
        config.workers = workers.parse()?;
    }
    config.bind = vec![Ipv4Addr::LOCALHOST.into()];
    landfall_router::run_blocking(config)?;
    Ok(())
}
