//! Tags that listings have seen. Tags are given at creation and stay; an ARN is never used twice.
//!
//! An answer without tags may be one that has not heard of the creation yet, so it counts only once the same has been
//! answered for longer than reads lag. Then it is remembered as any other: most of what a load balancer carries may be
//! somebody else's without tags, and each would cost its part of a call in every listing.

use std::collections::HashMap;
use std::time::Duration;

use landfall_model::inventory::Tags;
use tokio::time::Instant;

/// Somebody may change tags by hand.
const KEEP: Duration = Duration::from_secs(600);
/// Elastic Load Balancing answers reads from copies that may be seconds old.
const LAG: Duration = Duration::from_secs(60);

struct Seen {
    tags: Tags,
    at: Instant,
    /// Whether it may be told: not so without tags until it was answered again.
    settled: bool,
}

/// By ARN.
#[derive(Default)]
pub(super) struct SeenTags(HashMap<String, Seen>);

impl SeenTags {
    pub(super) fn forget_old(&mut self, now: Instant) {
        self.0.retain(|_, seen| now.duration_since(seen.at) < KEEP);
    }

    pub(super) fn get(&self, arn: &str) -> Option<&Tags> {
        self.0.get(arn).filter(|seen| seen.settled).map(|seen| &seen.tags)
    }

    /// `now`: when the answer was asked for.
    pub(super) fn learn(&mut self, arn: &str, tags: &Tags, now: Instant) {
        if tags.is_empty()
            && let Some(seen) = self.0.get_mut(arn)
            && seen.tags.is_empty()
        {
            if now.duration_since(seen.at) >= LAG {
                (seen.at, seen.settled) = (now, true);
            }
            return;
        }
        self.0.insert(arn.to_owned(), Seen { tags: tags.clone(), at: now, settled: !tags.is_empty() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_tags_is_known_at_once_and_what_has_none_only_when_it_has_stayed_so() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let ours = Tags::from([("a".to_owned(), "b".to_owned())]);
        let mut seen = SeenTags::default();
        seen.learn("ours", &ours, at(0));
        assert_eq!(seen.get("ours"), Some(&ours));
        for (second, known) in [(0, false), (30, false), (59, false), (61, true)] {
            seen.learn("bare", &Tags::new(), at(second));
            assert_eq!(seen.get("bare").is_some(), known, "{second}");
        }
        // So new that its tags were not known yet.
        seen.learn("late", &Tags::new(), at(0));
        seen.learn("late", &ours, at(2));
        assert_eq!(seen.get("late"), Some(&ours));
        seen.forget_old(at(605));
        assert!(seen.get("ours").is_none() && seen.get("bare").is_some());
        seen.forget_old(at(700));
        assert!(seen.get("bare").is_none(), "asked again: tags may be changed by hand");
    }
}
