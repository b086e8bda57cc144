//! Which executions outlive a journal's retention: the releases that a lasting environment can go back to. What failed, scaled
//! or is of a preview never does by this rule.

use std::collections::BTreeMap;

use crate::{Event, Outcome, Record};

/// Plan kinds that leave a release, when they succeed. Only lasting environments have them.
pub const DEPLOY: &str = "environment.deploy";
pub const ROLLBACK: &str = "environment.rollback";

/// So many of the newest releases of an environment stay, however old they are and however much came after them.
pub const KEPT: usize = 20;

/// Whether an execution of this kind that ended with this record left a release.
pub fn is_release(kind: &str, last: &Record) -> bool {
    matches!(kind, DEPLOY | ROLLBACK) && matches!(last.event, Event::Finished { outcome: Outcome::Succeeded, .. })
}

/// Goes over releases from the newest to the oldest.
#[derive(Debug, Default)]
pub struct Kept(BTreeMap<String, usize>);

impl Kept {
    /// Whether the next release, of this environment, stays.
    pub fn stays(&mut self, environment: &str) -> bool {
        let seen = self.0.entry(environment.to_owned()).or_default();
        *seen += 1;
        *seen <= KEPT
    }
}
