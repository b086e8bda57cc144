//! What holds a run back that can be told without a look at the world: other runs, and time.

use landfall_model::Timestamp;

use crate::handle::Peer;
use crate::run::{At, Run, after};

impl Run {
    /// The newest run of the same pipeline that has got as far as where this one waits.
    pub(crate) fn superseded<'p>(&self, peers: &'p [Peer]) -> Option<&'p Peer> {
        let first = || self.state.pipeline.stages.first().map(|stage| stage.environment.as_str());
        let before = match self.state.at {
            At::Images => first()?,
            At::Gate(stage) => self.environment(stage),
            _ => return None,
        };
        let newer = |peer: &&Peer| peer.pipeline == self.state.pipeline.name && peer.seq > self.seq;
        let all = peers.iter().filter(newer).filter(|peer| peer.reached.iter().any(|reached| reached == before));
        all.max_by_key(|peer| peer.seq)
    }

    /// Why the stage cannot be entered yet, and when to look again, where that is known.
    pub(crate) fn closed(&self, stage: usize, now: Timestamp, peers: &[Peer]) -> Option<(String, Option<Timestamp>)> {
        let (own, record) = self.stage(stage)?;
        let environment = &own.environment;
        let holder = peers.iter().find(|peer| peer.id != self.id && peer.holds.as_ref() == Some(environment));
        if let Some(holder) = holder {
            return Some((format!("{} #{} is in {environment}", holder.pipeline, holder.seq), None));
        }
        let reached = record.reached_at.unwrap_or(self.state.created_at);
        let until = after(reached, own.requires.bake.saturating_mul(1_000));
        if now < until {
            return Some((format!("bakes until {until:.0}"), Some(until)));
        }
        None
    }
}
