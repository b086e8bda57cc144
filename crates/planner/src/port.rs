//! Listener ports of previews under port routing.
use std::collections::BTreeSet;

use landfall_model::ids::EnvironmentId;

use crate::plan::PlanError;

/// A free port of `first..=last`: starts at a place given by the environment's name and probes on from there. `busy` are
/// ports that cannot be taken now, `taken` those of other records, made or not.
pub fn choose_port(
    environment: &EnvironmentId,
    first: u16,
    last: u16,
    busy: &BTreeSet<u16>,
    taken: &BTreeSet<u16>,
) -> Result<u16, PlanError> {
    let _ = (environment, busy, taken);
    Err(PlanError::PortRangeExhausted { first, last, busy: 0, previews: 0 })
}
