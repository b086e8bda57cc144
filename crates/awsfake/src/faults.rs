//! Faults between the caller and the model: throttling, errors, lost answers, slow and cut connections.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::protocol::speaks_query;
use crate::world::error::AwsError;
use crate::world::ids::Ids;
use crate::world::others::access::matches;

/// One rule. It fits calls of `service` and `operation` (patterns with `*`) whose input holds the text `contains`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fault {
    pub service: Option<String>,
    pub operation: Option<String>,
    pub contains: Option<String>,
    /// So many fitting calls pass first: `skip: 2, times: 1` is the third.
    pub skip: u32,
    /// `None`: from then on always.
    pub times: Option<u32>,
    /// Of the fitting calls, by a fixed sequence of chances.
    pub percent: Option<u32>,
    /// Answered instead of the effect.
    pub error: Option<FaultError>,
    /// The connection is cut before the effect.
    pub cut: bool,
    /// The effect happens and the answer is lost: the connection is cut.
    pub lose_response: bool,
    /// Real milliseconds before the answer.
    pub latency_ms: u64,
}

/// A rule with how often it fitted and struck.
#[derive(Debug, Clone, Serialize)]
pub struct Armed {
    pub rule: Fault,
    pub seen: u32,
    pub fired: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultError {
    /// As it is answered; but `ExpiredToken`, `AccessDenied` and `Throttling` are answered with each service's own name and
    /// status of it (`ExpiredTokenException` of the JSON services).
    pub code: String,
    #[serde(default)]
    pub message: String,
    #[serde(default = "bad_request")]
    pub status: u16,
}

fn bad_request() -> u16 {
    400
}

impl FaultError {
    pub fn to_error(&self, service: &str) -> AwsError {
        let common = matches!(self.code.as_str(), "ExpiredToken" | "AccessDenied" | "Throttling");
        let (code, status) = match (common, speaks_query(service)) {
            (true, false) => (format!("{}Exception", self.code), 400),
            (true, true) if self.code != "Throttling" => (self.code.clone(), 403),
            _ => (self.code.clone(), self.status),
        };
        AwsError::new(&code, self.message.clone()).status(status)
    }
}

#[derive(Debug, Clone)]
pub struct Faults {
    pub rules: Vec<Armed>,
    chance: Ids,
}

impl Default for Faults {
    fn default() -> Self {
        Self { rules: Vec::new(), chance: Ids::new("faults") }
    }
}

impl Faults {
    pub fn add(&mut self, rule: Fault) {
        self.rules.push(Armed { rule, seen: 0, fired: 0 });
    }

    /// What happens to this call: the first rule that fires.
    pub fn strike(&mut self, service: &str, operation: &str, input: &Value) -> Option<Fault> {
        let mut text = None;
        for armed in &mut self.rules {
            let rule = &armed.rule;
            let fits = rule.service.as_deref().is_none_or(|own| matches(own, service))
                && rule.operation.as_deref().is_none_or(|own| matches(own, operation))
                && rule
                    .contains
                    .as_deref()
                    .is_none_or(|own| text.get_or_insert_with(|| input.to_string()).contains(own));
            if !fits {
                continue;
            }
            armed.seen += 1;
            if armed.seen <= rule.skip || rule.times.is_some_and(|times| armed.fired >= times) {
                continue;
            }
            if rule.percent.is_some_and(|percent| self.chance.draw() % 100 >= u64::from(percent)) {
                continue;
            }
            armed.fired += 1;
            return Some(rule.clone());
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_third_update_of_one_service_fails_once() {
        let rule: Fault = serde_json::from_value(json!({
            "service": "ecs", "operation": "Update*", "contains": "\"web\"", "skip": 2, "times": 1,
            "error": {"code": "ThrottlingException"},
        }))
        .unwrap();
        let mut faults = Faults::default();
        faults.add(rule);
        let mut struck = Vec::new();
        for (operation, service) in
            [("UpdateService", "web"), ("UpdateService", "api"), ("UpdateService", "web"), ("DescribeServices", "web")]
        {
            struck.push(faults.strike("ecs", operation, &json!({"service": service})).is_some());
        }
        assert_eq!(struck, [false; 4]);
        let third = faults.strike("ecs", "UpdateService", &json!({"service": "web"})).unwrap();
        assert_eq!(third.error.unwrap().to_error("ecs").code, "ThrottlingException");
        assert!(faults.strike("ecs", "UpdateService", &json!({"service": "web"})).is_none());
    }

    #[test]
    fn what_all_services_say_each_says_in_its_own_words() {
        let error = FaultError { code: "ExpiredToken".to_owned(), message: String::new(), status: 400 };
        let own = |service| (error.to_error(service).code, error.to_error(service).status);
        assert_eq!(own("ecs"), ("ExpiredTokenException".to_owned(), 400));
        assert_eq!(own("elasticloadbalancing"), ("ExpiredToken".to_owned(), 403));
    }

    #[test]
    fn percent_is_about_that_many() {
        let mut faults = Faults::default();
        faults.add(Fault { percent: Some(10), cut: true, ..Fault::default() });
        let struck = (0..10_000).filter(|_| faults.strike("ecs", "X", &json!({})).is_some()).count();
        assert!((900..1_100).contains(&struck), "{struck}");
    }
}
