//! The model: accounts and regions with what is in them, on virtual time that comes in as a parameter. No clock, no
//! randomness, no I/O: the same calls at the same times give the same world, ids included. The lagging copy behind
//! eventually consistent reads rests on that (`consistency`).

pub mod change;
pub mod cloudformation;
pub mod dump;
pub mod ecs;
pub mod elb;
pub mod error;
pub mod fleets;
pub mod ids;
pub mod others;
pub mod rules;
pub mod space;
pub mod value;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use error::Answer;
use rules::Rules;
use space::Space;

/// Unix milliseconds of virtual time.
pub type Millis = u64;

/// Who calls, as the request's signature says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Caller {
    pub account: String,
    pub region: String,
    /// `arn:aws:iam::123456789012:user/fake`, or the session of an assumed role.
    pub arn: String,
}

#[derive(Debug, Clone)]
pub struct World {
    now: Millis,
    rules: Arc<Rules>,
    spaces: BTreeMap<(String, String), Space>,
}

impl World {
    pub fn new(rules: Rules, now: Millis) -> Self {
        Self { now, rules: Arc::new(rules), spaces: BTreeMap::new() }
    }

    pub fn now(&self) -> Millis {
        self.now
    }

    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = Arc::new(rules);
        for space in self.spaces.values_mut() {
            space.rules = Arc::clone(&self.rules);
        }
    }

    /// Lets everything happen that is due until `to`. Time never goes back.
    pub fn advance(&mut self, to: Millis) {
        self.now = self.now.max(to);
        for space in self.spaces.values_mut() {
            space.run_until(self.now);
        }
    }

    /// When the next thing happens by itself; `None`: nothing will.
    pub fn next_event(&self) -> Option<Millis> {
        self.spaces.values().filter_map(Space::next_event).min()
    }

    pub fn space(&mut self, account: &str, region: &str) -> &mut Space {
        let now = self.now;
        let rules = &self.rules;
        self.spaces
            .entry((account.to_owned(), region.to_owned()))
            .or_insert_with(|| Space::new(account, region, Arc::clone(rules), now))
    }

    /// Of what the caller's account has there.
    pub fn tags(&self, caller: &Caller, arn: &str) -> Vec<(String, String)> {
        let space = self.spaces.get(&(caller.account.clone(), caller.region.clone()));
        let found = space.and_then(|space| space.ecs.tags.get(arn).or_else(|| space.elb.tags.get(arn)));
        found.cloned().unwrap_or_default()
    }

    pub fn spaces(&self) -> impl Iterator<Item = &Space> {
        self.spaces.values()
    }

    /// One call. `service` is the name in the signature's scope.
    pub fn call(&mut self, now: Millis, caller: &Caller, service: &str, operation: &str, input: &Value) -> Answer {
        self.advance(now);
        let answer = self.space(&caller.account, &caller.region).call(caller, service, operation, input);
        // What begins at once is seen by the caller's next read, whatever the clock.
        self.advance(now);
        answer
    }
}

/// Whether the call changes nothing, by AWS's own naming.
pub fn is_read(operation: &str) -> bool {
    ["Describe", "List", "Get", "BatchGet", "Filter", "Search", "Simulate"]
        .iter()
        .any(|verb| operation.starts_with(verb))
}
