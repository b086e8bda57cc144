//! The script side, under `/_fake/`: what a test sets, forces and looks at. JSON in, JSON out.
//!
//! | Path | |
//! |---|---|
//! | `GET calls` | the recorded calls and their counts; `DELETE` forgets them |
//! | `GET summary` | the counts alone |
//! | `GET state` | a dump of everything, by account and region |
//! | `GET now` | virtual time, and when the next thing happens by itself |
//! | `POST clock` | `{"advance": ms}`, `{"scale": x}` (0: time stands), `{"until_idle": ms}` |
//! | `POST rules` | `world::rules::Rules`, merged into what holds |
//! | `POST images` | one `ImageRule`, or a list, before those that hold |
//! | `POST faults` | one `Fault`, or a list, added; `DELETE` takes all away |
//! | `POST quotas` | `{"documented": true}`, or buckets by family; `DELETE` ends throttling |
//! | `POST policy` | an IAM policy that calls are held to; `DELETE` ends that |
//! | `POST consistency` | `{"lag_ms": n, "services": ["ecs", "elasticloadbalancing"], "operations": ["*"]}`; 0 ends it |
//! | `POST force` | an ending; see `world::ecs::forced` |
//! | `POST target` | `{"group": ARN, "id": …, "fault": "502" \| "timeout" \| "refused" \| null}` |
//! | `POST roles` | `{"roles": [names that exist], "denied": [patterns a simulation denies]}` |
//! | `POST stack` | `{"stack": NAME, "script": {"fail": {RESOURCE: REASON}, …}}`; see `world::cloudformation::Script` |
//! | `POST reset` | an empty world with the rules as they were at the start |

use serde_json::{Value, json};

use crate::faults::Fault;
use crate::iam::Policy;
use crate::protocol::{ACCOUNT, REGION};
use crate::quota::{Bucket, documented};
use crate::state::State;
use crate::world::change::{Change, Lagged};
use crate::world::error::{Answer, AwsError};
use crate::world::rules::{ImageRule, Rules};
use crate::world::value::{boolean, number, text, texts};
use crate::world::{Millis, World};

fn read<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T, AwsError> {
    serde_json::from_value(value.clone()).map_err(|error| AwsError::new("BadScript", error.to_string()))
}

/// One, or a list of them.
fn several<T: serde::de::DeserializeOwned>(value: &Value) -> Result<Vec<T>, AwsError> {
    match value {
        Value::Array(_) => read(value),
        one => Ok(vec![read(one)?]),
    }
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

fn place(input: &Value) -> (String, String) {
    let of = |key, default: &str| text(input, key).unwrap_or(default).to_owned();
    (of("account", ACCOUNT), of("region", REGION))
}

impl State {
    /// `start`: the rules of the fake's start, for `reset`.
    pub(crate) fn control(&mut self, wall: Millis, start: &Rules, method: &str, path: &str, input: &Value) -> Answer {
        let now = self.clock.now(wall);
        self.world.advance(now);
        match (method, path) {
            ("GET", "calls") => {
                let calls = serde_json::to_value(&self.calls).unwrap_or_default();
                Ok(json!({"summary": self.summary(), "calls": calls}))
            }
            ("GET", "summary") => Ok(self.summary()),
            ("DELETE", "calls") => {
                self.calls.clear();
                Ok(json!({}))
            }
            ("GET", "state") => Ok(self.dump()),
            ("GET", "now") => Ok(json!({"now": now, "next": self.world.next_event(), "scale": self.clock.scale()})),
            ("POST", "clock") => {
                if let Some(scale) = input.get("scale").and_then(Value::as_f64) {
                    self.clock.set_scale(wall, scale.max(0.0));
                }
                if let Some(by) = number(input, "advance") {
                    self.clock.advance(by);
                }
                if let Some(most) = number(input, "until_idle") {
                    self.settle(wall, most);
                }
                let now = self.clock.now(wall);
                self.world.advance(now);
                Ok(json!({"now": now, "next": self.world.next_event()}))
            }
            ("POST", "rules") => {
                let mut rules = serde_json::to_value(self.world.rules()).unwrap_or_default();
                merge(&mut rules, input);
                let rules: Rules = read(&rules)?;
                self.change(now, Change::Rules(Box::new(rules)))
            }
            ("POST", "images") => {
                let mut rules = self.world.rules().clone();
                rules.images.extend(several::<ImageRule>(input)?);
                self.change(now, Change::Rules(Box::new(rules)))
            }
            ("POST", "faults") => {
                several::<Fault>(input)?.into_iter().for_each(|fault| self.faults.add(fault));
                Ok(json!({}))
            }
            ("GET", "faults") => {
                serde_json::to_value(&self.faults.rules).map_err(|e| AwsError::new("Bug", e.to_string()))
            }
            ("DELETE", "faults") => {
                self.faults.rules.clear();
                Ok(json!({}))
            }
            ("POST", "quotas") => {
                let buckets = match boolean(input, "documented") {
                    Some(true) => documented(),
                    _ => read::<std::collections::BTreeMap<String, Bucket>>(input)?,
                };
                self.quotas.buckets.extend(buckets);
                Ok(json!({}))
            }
            ("DELETE", "quotas") => {
                self.quotas = crate::quota::Quotas::default();
                Ok(json!({}))
            }
            ("POST", "policy") => {
                self.policy = Some(read::<Policy>(input)?);
                Ok(json!({}))
            }
            ("DELETE", "policy") => {
                self.policy = None;
                Ok(json!({}))
            }
            ("POST", "consistency") => {
                let lag = number(input, "lag_ms").unwrap_or(0);
                let mut services = texts(input, "services");
                if services.is_empty() {
                    services = vec!["ecs".to_owned(), "elasticloadbalancing".to_owned()];
                }
                self.lagged = (lag > 0).then(|| Lagged::of(&self.world, lag, services, texts(input, "operations")));
                Ok(json!({}))
            }
            ("POST", "force") => {
                let (account, region) = place(input);
                self.change(now, Change::Force { account, region, input: input.clone() })
            }
            ("POST", "target") => {
                let (account, region) = place(input);
                let own = |key| text(input, key).map(str::to_owned);
                let group = own("group").unwrap_or_default();
                self.change(now, Change::Target { account, region, group, id: own("id"), fault: own("fault") })
            }
            ("POST", "roles") => {
                let (account, region) = place(input);
                let (roles, denied) = (texts(input, "roles"), texts(input, "denied"));
                self.change(now, Change::Roles { account, region, roles, denied })
            }
            ("POST", "stack") => {
                let (account, region) = place(input);
                let stack = text(input, "stack").unwrap_or_default().to_owned();
                let script = Box::new(read(&input["script"])?);
                self.change(now, Change::Stack { account, region, stack, script })
            }
            ("POST", "reset") => {
                *self = Self::new(World::new(start.clone(), now), self.clock);
                Ok(json!({}))
            }
            _ => Err(AwsError::new("NoSuchScript", format!("no {method} /_fake/{path}")).status(404)),
        }
    }

    /// Lets virtual time run from event to event until nothing is due within `most`, but not past `most`.
    fn settle(&mut self, wall: Millis, most: Millis) {
        let end = self.clock.now(wall) + most;
        while let Some(next) = self.world.next_event().filter(|next| *next <= end) {
            let now = self.clock.now(wall);
            self.clock.advance(next.saturating_sub(now));
            self.world.advance(next);
        }
    }

    fn dump(&mut self) -> Value {
        let mut all = serde_json::Map::new();
        for space in self.world.spaces() {
            all.insert(format!("{}/{}", space.account, space.region), space.dump());
        }
        Value::Object(all)
    }
}
