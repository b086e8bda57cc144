//! Which executions outlive a journal's retention: the releases that a lasting environment can go back to, and what was tried since
//! the newest of them, because what was cut short knows what served before it. Scalings and previews never do by this rule.

use std::collections::BTreeMap;

use crate::{Event, Outcome, Record};

/// Plan kinds that leave a release, when they succeed. Only lasting environments have them.
pub const DEPLOY: &str = "environment.deploy";
pub const ROLLBACK: &str = "environment.rollback";

/// So many of the newest releases of an environment stay, however old they are and however much came after them; and so many of
/// the newest attempts since.
pub const KEPT: usize = 20;

/// Whether an execution of this kind that ended with this record left a release.
pub fn is_release(kind: &str, last: &Record) -> bool {
    matches!(kind, DEPLOY | ROLLBACK) && matches!(last.event, Event::Finished { outcome: Outcome::Succeeded, .. })
}

/// Goes over finished executions from the newest to the oldest.
#[derive(Debug, Default)]
pub struct Kept(BTreeMap<String, Seen>);

#[derive(Debug, Default)]
struct Seen {
    releases: usize,
    attempts: usize,
}

impl Kept {
    /// Whether the next one, of this environment and plan kind, stays.
    pub fn stays(&mut self, environment: &str, kind: &str, is_release: bool) -> bool {
        if !matches!(kind, DEPLOY | ROLLBACK) {
            return false;
        }
        let seen = self.0.entry(environment.to_owned()).or_default();
        if is_release {
            seen.releases += 1;
            return seen.releases <= KEPT;
        }
        seen.attempts += 1;
        seen.releases == 0 && seen.attempts <= KEPT
    }
}
