//! Listener rules.

use serde_json::{Value, json};

use super::listeners::Rule;
use super::{elb_page, elb_tags_of};
use crate::world::error::{Answer, AwsError};
use crate::world::space::{Event, Space};
use crate::world::value::{list, needed, number, text, texts};

impl Rule {
    fn view(&self) -> Value {
        json!({
            "RuleArn": self.arn,
            "Priority": self.priority.map_or("default".to_owned(), |priority| priority.to_string()),
            "Conditions": self.conditions,
            "Actions": self.actions,
            "IsDefault": self.priority.is_none(),
        })
    }
}

/// Conditions as they are kept: both spellings of a host or path condition.
fn checked_conditions(given: &[Value]) -> Result<Value, AwsError> {
    if given.is_empty() {
        return Err(AwsError::validation("A condition must be specified"));
    }
    let mut conditions = Vec::new();
    let mut values = 0;
    for condition in given {
        let mut condition = condition.clone();
        let config = match text(&condition, "Field") {
            Some("host-header") => "HostHeaderConfig",
            Some("path-pattern") => "PathPatternConfig",
            Some("http-header") => "HttpHeaderConfig",
            Some("http-request-method") => "HttpRequestMethodConfig",
            Some("query-string") => "QueryStringConfig",
            Some("source-ip") => "SourceIpConfig",
            other => {
                let other = other.unwrap_or_default();
                return Err(AwsError::validation(format!(
                    "Condition field '{other}' must be one of '[path-pattern, host-header]'"
                )));
            }
        };
        let plain = list(&condition, "Values").to_vec();
        if plain.is_empty() && condition.get(config).is_none() {
            return Err(AwsError::validation("A condition value must be specified"));
        }
        if matches!(config, "HostHeaderConfig" | "PathPatternConfig") {
            let own = if plain.is_empty() { list(&condition[config], "Values").to_vec() } else { plain };
            condition[config] = json!({ "Values": own });
            condition["Values"] = own.into();
        }
        values += list(&condition[config], "Values").len();
        conditions.push(condition);
    }
    if values > 5 {
        return Err(AwsError::validation("Rules must have '5' condition values or less"));
    }
    Ok(conditions.into())
}

impl Space {
    pub fn create_rule(&mut self, input: &Value) -> Answer {
        let listener = self.listener(needed(input, "ListenerArn")?)?.clone();
        let priority = self.free_priority(&listener.arn, input)?;
        let conditions = checked_conditions(list(input, "Conditions"))?;
        let actions = self.checked_actions(list(input, "Actions"))?;
        self.room_for_rule(&listener.balancer)?;
        let rest = listener.arn.split_once(":listener/").map(|(_, rest)| rest.to_owned()).unwrap_or_default();
        let id = self.ids.hex16();
        let rule = Rule {
            arn: self.arn("elasticloadbalancing", &format!("listener-rule/{rest}/{id}")),
            listener: listener.arn,
            priority: Some(priority),
            conditions,
            actions,
        };
        self.room_for_groups(&listener.balancer, &rule.targets())?;
        let (arn, view, targets) = (rule.arn.clone(), rule.view(), rule.targets());
        self.elb.rules.insert(arn.clone(), rule);
        self.rule_added(&listener.balancer, &targets);
        self.set_elb_tags(&arn, &elb_tags_of(input))?;
        self.wake_targets(&targets);
        Ok(json!({"Rules": [view]}))
    }

    fn free_priority(&self, listener: &str, input: &Value) -> Result<u64, AwsError> {
        let priority = number(input, "Priority").filter(|priority| (1..=50_000).contains(priority));
        let priority = priority.ok_or_else(|| AwsError::validation("Rule priority must be between 1 and 50000"))?;
        if self.elb.rules.values().any(|rule| rule.listener == listener && rule.priority == Some(priority)) {
            return Err(AwsError::new("PriorityInUse", format!("Priority '{priority}' is currently in use")));
        }
        Ok(priority)
    }

    /// Targets of groups that are in use from now on are checked.
    pub fn wake_targets(&mut self, groups: &[String]) {
        let mut due = Vec::new();
        for arn in groups {
            let Some(group) = self.elb.target_groups.get(arn) else { continue };
            due.extend(group.targets.iter().map(|target| target.wake(arn)));
        }
        for event in due {
            self.at(self.now, event);
        }
    }

    fn rule(&self, arn: &str) -> Result<&Rule, AwsError> {
        let missing = || AwsError::new("RuleNotFound", "One or more rules not found");
        self.elb.rules.get(arn).ok_or_else(missing)
    }

    pub fn describe_rules(&mut self, input: &Value) -> Answer {
        let arns = texts(input, "RuleArns");
        let listener = text(input, "ListenerArn");
        if arns.is_empty() == listener.is_none() {
            return Err(AwsError::validation("You must specify either listener rule ARNs or a listener ARN"));
        }
        for arn in &arns {
            self.rule(arn)?;
        }
        if let Some(listener) = listener {
            self.listener(listener)?;
        }
        let rows = self
            .elb
            .rules
            .values()
            .filter(|rule| arns.contains(&rule.arn) || arns.is_empty() && listener == Some(rule.listener.as_str()));
        // By priority, the default last.
        let mut rows: Vec<(String, Value)> =
            rows.map(|rule| (format!("{:06}/{}", rule.priority.unwrap_or(999_999), rule.arn), rule.view())).collect();
        rows.sort_by(|one, other| one.0.cmp(&other.0));
        elb_page("Rules", rows, input)
    }

    pub fn modify_rule(&mut self, input: &Value) -> Answer {
        let arn = needed(input, "RuleArn")?.to_owned();
        let mut rule = self.rule(&arn)?.clone();
        if rule.priority.is_none() {
            return Err(AwsError::new("OperationNotPermitted", "Default rule cannot be modified"));
        }
        if !list(input, "Conditions").is_empty() {
            rule.conditions = checked_conditions(list(input, "Conditions"))?;
        }
        if !list(input, "Actions").is_empty() {
            rule.actions = self.checked_actions(list(input, "Actions"))?;
        }
        let (view, targets) = (rule.view(), rule.targets());
        let balancer = self.listener(&rule.listener)?.balancer.clone();
        self.room_for_groups(&balancer, &targets)?;
        self.elb.rules.insert(arn, rule);
        self.rules_changed();
        self.wake_targets(&targets);
        Ok(json!({"Rules": [view]}))
    }

    pub fn delete_rule(&mut self, input: &Value) -> Answer {
        let arn = needed(input, "RuleArn")?.to_owned();
        if self.rule(&arn)?.priority.is_none() {
            return Err(AwsError::new("OperationNotPermitted", "Default rule cannot be deleted"));
        }
        self.elb.rules.remove(&arn);
        self.rules_changed();
        self.untag(&arn);
        Ok(json!({}))
    }

    pub fn set_rule_priorities(&mut self, input: &Value) -> Answer {
        let pairs = list(input, "RulePriorities").to_vec();
        let moved: Vec<&str> = pairs.iter().filter_map(|pair| text(pair, "RuleArn")).collect();
        for pair in &pairs {
            let rule = self.rule(needed(pair, "RuleArn")?)?;
            let priority = number(pair, "Priority");
            let taken = |other: &Rule| {
                other.listener == rule.listener && other.priority == priority && !moved.contains(&other.arn.as_str())
            };
            if self.elb.rules.values().any(taken) {
                let message = format!("Priority '{}' is currently in use", priority.unwrap_or_default());
                return Err(AwsError::new("PriorityInUse", message));
            }
        }
        let mut views = Vec::new();
        for pair in &pairs {
            if let Some(rule) = text(pair, "RuleArn").and_then(|arn| self.elb.rules.get_mut(arn)) {
                rule.priority = number(pair, "Priority");
                views.push(rule.view());
            }
        }
        Ok(json!({"Rules": views}))
    }
}

impl super::health::Target {
    fn wake(&self, group: &str) -> Event {
        Event::Target { group: group.to_owned(), id: self.id.clone(), port: self.port, generation: self.generation() }
    }
}
