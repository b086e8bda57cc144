//! Calls to AWS by API family, as AWS counts them for its quotas: how many, how many of them failed on the way, and how many
//! of these were carried out all the same.

use std::collections::BTreeMap;

use landfall_awsfake::quota::family;

#[derive(Debug, Default)]
pub(crate) struct Tally(BTreeMap<&'static str, [u32; 3]>);

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Answered,
    /// Refused, failed or cut off before its effect.
    Failed,
    /// The effect is there, and the answer was lost.
    Lost,
}

impl Tally {
    pub(crate) fn add(&mut self, service: &str, operation: &str, fate: Fate, times: u32) {
        let counts = self.0.entry(family(service, operation)).or_default();
        counts[0] += times;
        counts[1] += if fate == Fate::Answered { 0 } else { times };
        counts[2] += if fate == Fate::Lost { times } else { 0 };
    }

    /// Prints it, and holds that about one call in ten has failed, some of them after their effect.
    pub(crate) fn one_in_ten(&self, what: &str) {
        let sum = self.0.values().fold([0; 3], |sum, counts| [0, 1, 2].map(|n| sum[n] + counts[n]));
        eprintln!("{what}: calls, failed, of them carried out");
        for (family, [all, failed, lost]) in self.0.iter().chain([(&"all", &sum)]) {
            eprintln!("{family:>32} {all:>6} {failed:>5} {lost:>5}");
        }
        let [all, failed, lost] = sum;
        assert!(
            failed * 20 > all && failed * 5 < all && lost > 0,
            "{failed} of {all} calls failed, {lost} after their effect"
        );
    }
}
