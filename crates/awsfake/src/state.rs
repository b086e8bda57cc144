//! One fake: the world, its clock, what goes wrong on the way, and the record of calls.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::faults::{Fault, Faults};
use crate::iam::{Needed, Policy, needed};
use crate::protocol::Call;
use crate::quota::{Quotas, family};
use crate::world::change::{Change, Lagged};
use crate::world::error::{Answer, AwsError};
use crate::world::{Millis, World, is_read};

/// A call as it is recorded.
#[derive(Debug, Clone, Serialize)]
pub struct Recorded {
    /// Virtual and real Unix milliseconds.
    pub at: Millis,
    pub wall: Millis,
    pub account: String,
    pub region: String,
    pub service: String,
    pub operation: String,
    pub family: &'static str,
    pub actions: Vec<Needed>,
    /// Of an error.
    pub code: Option<String>,
    /// The answer did not reach the caller.
    pub lost: bool,
    pub input: Value,
}

pub(crate) struct State {
    pub world: World,
    pub clock: Clock,
    pub faults: Faults,
    pub quotas: Quotas,
    pub policy: Option<Policy>,
    pub calls: Vec<Recorded>,
    pub lagged: Option<Lagged>,
}

/// What comes of a call.
pub(crate) struct Outcome {
    pub answer: Answer,
    /// Real milliseconds before the answer.
    pub latency_ms: u64,
    /// The connection is cut instead of an answer.
    pub cut: bool,
}

impl State {
    pub(crate) fn new(world: World, clock: Clock) -> Self {
        Self {
            world,
            clock,
            faults: Faults::default(),
            quotas: Quotas::default(),
            policy: None,
            calls: Vec::new(),
            lagged: None,
        }
    }

    /// In the order of AWS's front: throttled, denied, then the model. Faults strike first of all.
    pub(crate) fn call(&mut self, wall: Millis, call: &Call) -> Outcome {
        let now = self.clock.now(wall);
        let mut actions = needed(&call.caller, &call.service, &call.operation, &call.input);
        if let Some(policy) = &self.policy {
            let tags = |arn: &str| self.world.tags(&call.caller, arn);
            for own in &mut actions {
                own.allowed_by = policy.granting(own, &tags);
            }
        }
        let fault = self.faults.strike(&call.service, &call.operation, &call.input).unwrap_or_default();
        let answer = self.answer(now, call, &actions, &fault);
        let lost = fault.cut || fault.lose_response;
        self.calls.push(Recorded {
            at: now,
            wall,
            account: call.caller.account.clone(),
            region: call.caller.region.clone(),
            service: call.service.clone(),
            operation: call.operation.clone(),
            family: family(&call.service, &call.operation),
            actions,
            code: answer.as_ref().err().map(|error| error.code.clone()),
            lost,
            input: call.input.clone(),
        });
        Outcome { answer, latency_ms: fault.latency_ms, cut: lost }
    }

    fn answer(&mut self, now: Millis, call: &Call, actions: &[Needed], fault: &Fault) -> Answer {
        if fault.cut {
            return Err(AwsError::new("ConnectionCut", "cut before the effect"));
        }
        if let Some(error) = &fault.error {
            return Err(error.to_error(&call.service));
        }
        self.quotas.take(now, &call.caller, &call.service, &call.operation)?;
        if let Some(policy) = &self.policy {
            let tags = |arn: &str| self.world.tags(&call.caller, arn);
            policy.check(&call.caller, &call.service, actions, &tags)?;
        }
        if is_read(&call.operation) {
            self.world.advance(now);
            if let Some(lagged) = self.lagged.as_mut().filter(|lagged| lagged.covers(&call.service, &call.operation)) {
                return lagged.read(now, &call.caller, &call.service, &call.operation, &call.input);
            }
            return self.world.call(now, &call.caller, &call.service, &call.operation, &call.input);
        }
        let change = Change::Call {
            caller: call.caller.clone(),
            service: call.service.clone(),
            operation: call.operation.clone(),
            input: call.input.clone(),
        };
        self.change(now, change)
    }

    pub(crate) fn change(&mut self, now: Millis, change: Change) -> Answer {
        let answer = self.world.apply(now, &change);
        if let Some(lagged) = &mut self.lagged {
            lagged.note(now, change);
        }
        answer
    }

    /// Counts by service, operation and family, with the calls that got an error in brackets of their own.
    pub(crate) fn summary(&self) -> Value {
        let (mut operations, mut families) = (BTreeMap::<String, u64>::new(), BTreeMap::<&str, u64>::new());
        let mut errors = BTreeMap::<String, u64>::new();
        for call in &self.calls {
            *operations.entry(format!("{}:{}", call.service, call.operation)).or_default() += 1;
            *families.entry(call.family).or_default() += 1;
            if let Some(code) = &call.code {
                *errors.entry(code.clone()).or_default() += 1;
            }
        }
        json!({"total": self.calls.len(), "operations": operations, "families": families, "errors": errors})
    }
}
