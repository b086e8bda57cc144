//! Probes, authored → resolved.

use landfall_model::probe::{DEADLINE, Probe, Verify};

use super::{ms, secs, texts};
use crate::authored;
use crate::tree::At;

pub(super) fn verify(verify: authored::Verify, at: At<'_>) -> Verify {
    let probes_at = at.get("probes");
    let mut probes: Vec<Probe> = verify.probes.into_iter().map(|(name, probe)| resolved(name, probe)).collect();
    probes.sort_by_key(|probe| probes_at.position(&probe.name));
    if probes.is_empty() {
        probes.push(Probe::default());
    }
    Verify { url: verify.url, deadline: secs(verify.deadline, DEADLINE), probes }
}

fn resolved(name: String, probe: authored::Probe) -> Probe {
    let usual = Probe::default();
    Probe {
        name,
        path: probe.path.unwrap_or(usual.path),
        status: probe.status.map_or(usual.status, |status| status.0.replace(' ', "")),
        body: probe.body.map(|body| body.0),
        headers: texts(probe.headers),
        within: probe.within.map(|within| ms(Some(within), 0)),
    }
}
