//! Listener ports of previews under port routing.

use std::collections::BTreeSet;

use landfall_model::ids::EnvironmentId;
use sha2::{Digest, Sha256};

use crate::plan::PlanError;

/// A free port of `first..=last`: starts at a place given by the environment's name and probes on from there, so that two
/// previews planned at once rarely want the same one. `busy` are ports that cannot be taken now, `taken` those of other
/// records, listening or not.
pub fn choose_port(
    environment: &EnvironmentId,
    first: u16,
    last: u16,
    busy: &BTreeSet<u16>,
    taken: &BTreeSet<u16>,
) -> Result<u16, PlanError> {
    let size = u32::from(last).saturating_sub(u32::from(first)) + 1;
    let digest = Sha256::digest(environment.as_str().as_bytes());
    let start = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]) % size;
    (0..size)
        .filter_map(|step| u16::try_from(u32::from(first) + (start + step) % size).ok())
        .find(|port| *port <= last && !busy.contains(port) && !taken.contains(port))
        .ok_or_else(|| {
            let previews = taken.range(first..=last.max(first)).count();
            let busy = busy.range(first..=last.max(first)).filter(|p| !taken.contains(p)).count();
            PlanError::PortRangeExhausted { first, last, busy, previews }
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn fills_the_whole_range_without_repeating_and_then_says_so() {
        let mut taken = BTreeSet::new();
        let busy = BTreeSet::from([8003, 8999]);
        for n in 0..9 {
            let port = choose_port(&format!("env-{n}").into(), 8000, 8009, &busy, &taken).unwrap();
            assert!((8000..=8009).contains(&port) && port != 8003);
            assert!(taken.insert(port), "{port} was given twice");
        }
        let error = choose_port(&"one-more".into(), 8000, 8009, &busy, &taken).unwrap_err();
        assert_eq!(error, PlanError::PortRangeExhausted { first: 8000, last: 8009, busy: 1, previews: 9 });
    }

    #[test]
    fn the_same_environment_gets_the_same_port_and_the_last_port_counts() {
        let none = BTreeSet::new();
        let a = choose_port(&"env".into(), 65000, 65535, &none, &none).unwrap();
        assert_eq!(a, choose_port(&"env".into(), 65000, 65535, &none, &none).unwrap());
        assert_eq!(choose_port(&"env".into(), 65535, 65535, &none, &none).unwrap(), 65535);
    }
}
