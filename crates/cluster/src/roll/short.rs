//! Services with fewer tasks than they should have, and which of them hold drains. While ECS moves tasks away from instances that drain it
//! keeps a service at its minimum healthy percent by itself
//! (<https://docs.aws.amazon.com/AmazonECS/latest/developerguide/container-instance-draining.html>): what is below that has no task to spare.

use std::collections::BTreeMap;

/// A service that may have fewer tasks running than it should.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Short {
    pub name: String,
    pub running: u32,
    pub desired: u32,
    /// That ECS keeps of them.
    pub least: u32,
    /// Since when it has fewer than that, and no more than ever since, as whoever looks has seen it.
    pub since: Option<i64>,
}

impl Short {
    /// `percent`: minimum healthy percent. Rounded up, as ECS does.
    pub fn new(name: &str, running: u32, desired: u32, percent: u32) -> Self {
        let least = (u64::from(desired) * u64::from(percent)).div_ceil(100);
        // Of more than it should have nobody waits for it.
        let least = u32::try_from(least).unwrap_or(desired).min(desired);
        Self { name: name.to_owned(), running, desired, least, since: None }
    }

    fn below(&self) -> bool {
        self.running < self.least
    }

    /// It has been so for too long to be waited for: what it has left ECS keeps.
    pub(super) fn given_up(&self, now: i64, recovers: i64) -> bool {
        self.below() && self.since.is_some_and(|since| now - since > recovers)
    }

    pub(super) fn holds(&self, now: i64, recovers: i64) -> bool {
        self.below() && !self.given_up(now, recovers)
    }
}

/// Seconds: what has enough tasks for so long has recovered. One whose tasks end again and again has enough for moments.
const RECOVERED: i64 = 60;

/// What was seen of services that had fewer tasks than their minimum.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shortages(BTreeMap<String, Shortage>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Shortage {
    since: i64,
    /// Tasks that it had at one time since.
    most: u32,
    /// Since when it has enough.
    enough: Option<i64>,
}

impl Shortages {
    /// A look at all services: those that have fewer tasks than they should, and since when. `counts`: there is something to drain, for which
    /// they are waited for.
    pub fn look(&mut self, services: Vec<Short>, counts: bool, now: i64) -> Vec<Short> {
        let mut before = std::mem::take(&mut self.0);
        let mut short = Vec::new();
        for mut service in services {
            if counts {
                let known = before.remove(&service.name);
                if let Some(own) = seen(known, &service, now) {
                    service.since = service.below().then_some(own.since);
                    self.0.insert(service.name.clone(), own);
                }
            }
            if service.running < service.desired {
                short.push(service);
            }
        }
        short
    }
}

/// `None`: nothing is to be remembered of it.
fn seen(known: Option<Shortage>, service: &Short, now: i64) -> Option<Shortage> {
    let new = || Shortage { since: now, most: service.running, enough: None };
    let mut own = known.or_else(|| service.below().then(new))?;
    if service.running > own.most {
        // It gets better.
        (own.most, own.since) = (service.running, now);
    }
    own.enough = (!service.below()).then(|| own.enough.unwrap_or(now));
    own.enough.is_none_or(|since| now - since < RECOVERED).then_some(own)
}
