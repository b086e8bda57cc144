//! Everything that changes a world, as data: the lagging copy behind eventually consistent reads takes the same changes,
//! later, at the same virtual times.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::cloudformation::Script;
use super::error::{Answer, AwsError};
use super::others::access::matches;
use super::rules::Rules;
use super::{Caller, Millis, World};

#[derive(Debug, Clone)]
pub enum Change {
    Call {
        caller: Caller,
        service: String,
        operation: String,
        input: Value,
    },
    Rules(Box<Rules>),
    /// An ending of a service's deployment; see `Space::force`.
    Force {
        account: String,
        region: String,
        input: Value,
    },
    /// What the health checks of a group's targets find from now on.
    Target {
        account: String,
        region: String,
        group: String,
        id: Option<String>,
        fault: Option<String>,
    },
    Roles {
        account: String,
        region: String,
        roles: Vec<String>,
        denied: Vec<String>,
    },
    /// What a stack's operations do from now on.
    Stack {
        account: String,
        region: String,
        stack: String,
        script: Box<Script>,
    },
}

impl World {
    pub fn apply(&mut self, now: Millis, change: &Change) -> Answer {
        self.advance(now);
        let answer = match change {
            Change::Call { caller, service, operation, input } => self.call(now, caller, service, operation, input),
            Change::Rules(rules) => {
                self.set_rules((**rules).clone());
                Ok(json!({}))
            }
            Change::Force { account, region, input } => self.space(account, region).force(input),
            Change::Target { account, region, group, id, fault } => {
                self.space(account, region).set_target(group, id.as_deref(), fault.clone())
            }
            Change::Roles { account, region, roles, denied } => {
                let others = &mut self.space(account, region).others;
                others.roles.clone_from(roles);
                others.denied.clone_from(denied);
                Ok(json!({}))
            }
            Change::Stack { account, region, stack, script } => {
                self.space(account, region).set_script(stack, (**script).clone());
                Ok(json!({}))
            }
        };
        self.advance(now);
        answer
    }
}

/// A copy of a world that is behind by `lag`.
#[derive(Debug, Clone)]
pub struct Lagged {
    world: World,
    waiting: VecDeque<(Millis, Change)>,
    pub lag: Millis,
    /// Signing names of the services whose reads lag.
    pub services: Vec<String>,
    /// Patterns of the operations that do; empty: all.
    pub operations: Vec<String>,
}

impl Lagged {
    /// From here on: what was before is known at once.
    pub fn of(world: &World, lag: Millis, services: Vec<String>, operations: Vec<String>) -> Self {
        Self { world: world.clone(), waiting: VecDeque::new(), lag, services, operations }
    }

    pub fn covers(&self, service: &str, operation: &str) -> bool {
        self.services.iter().any(|own| own == service)
            && (self.operations.is_empty() || self.operations.iter().any(|own| matches(own, operation)))
    }

    pub fn note(&mut self, now: Millis, change: Change) {
        self.waiting.push_back((now, change));
    }

    /// The answer of a read as of `now - lag`.
    pub fn read(&mut self, now: Millis, caller: &Caller, service: &str, operation: &str, input: &Value) -> Answer {
        let then = now.saturating_sub(self.lag);
        while let Some((at, _)) = self.waiting.front() {
            if *at > then {
                break;
            }
            if let Some((at, change)) = self.waiting.pop_front() {
                // Refused then, refused now: the refusal changed nothing.
                let _: Result<Value, AwsError> = self.world.apply(at, &change);
            }
        }
        self.world.call(then, caller, service, operation, input)
    }
}
