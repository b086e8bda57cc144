//! `metric: compatible`: the original's numbers decide how much, Landfall still picks which and drains it.

use super::{Reason, Work};
use crate::compatible::{Step, active};

impl Work<'_> {
    pub(super) fn compatible(&mut self, fleet: usize) {
        let own = &self.cluster.fleets[fleet];
        if !self.changes[fleet].launch.is_empty() {
            return;
        }
        let from = self.weight(fleet);
        let running = self.cluster.instances.iter().map(|instance| instance.running()).sum();
        match active(own, from, running, self.cluster.now) {
            Step::Cooldown(until) => self.changes[fleet].reasons.push(Reason::Cooldown { until }),
            Step::NoData => self.changes[fleet].reasons.push(Reason::NoData),
            Step::Stay => self.stamp(fleet),
            Step::StillRunning => {
                self.changes[fleet].reasons.push(Reason::StillRunning { tasks: running });
                self.stamp(fleet);
            }
            Step::Target(to) => {
                let average = own.signal.unwrap_or_default();
                self.changes[fleet].reasons.push(Reason::Metric { average, from, to });
                if to > from {
                    self.grow(fleet, to - from, |_| true);
                } else {
                    // All the way down to the target what else could be scheduled is no matter.
                    self.shrink(fleet, Vec::new(), from - to, to);
                }
                self.stamp(fleet);
            }
        }
    }
}
