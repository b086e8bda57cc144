//! Elastic Load Balancing v2: Application Load Balancers, target groups, listeners, rules, target health.

pub mod health;
pub mod limits;
pub mod listeners;
pub mod load_balancers;
pub mod rules;
pub mod target_groups;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

pub use self::health::TargetState;
use self::listeners::{Listener, Rule};
use self::load_balancers::LoadBalancer;
use self::target_groups::TargetGroup;
use super::error::{Answer, AwsError};
use super::space::Space;
use super::value::{list, text, texts};

/// All by ARN.
#[derive(Debug, Clone, Default)]
pub struct Elb {
    pub load_balancers: BTreeMap<String, LoadBalancer>,
    pub target_groups: BTreeMap<String, TargetGroup>,
    pub listeners: BTreeMap<String, Listener>,
    pub rules: BTreeMap<String, Rule>,
    pub tags: BTreeMap<String, Vec<(String, String)>>,
    /// Load balancers by target group that their rules forward to; follows `rules`.
    pub users: BTreeMap<String, BTreeSet<String>>,
}

impl Space {
    pub fn elb_call(&mut self, operation: &str, input: &Value) -> Answer {
        match operation {
            "CreateLoadBalancer" => self.create_load_balancer(input),
            "DescribeLoadBalancers" => self.describe_load_balancers(input),
            "DeleteLoadBalancer" => self.delete_load_balancer(input),
            "DescribeLoadBalancerAttributes" => self.describe_load_balancer_attributes(input),
            "ModifyLoadBalancerAttributes" => self.modify_load_balancer_attributes(input),
            "CreateTargetGroup" => self.create_target_group(input),
            "DescribeTargetGroups" => self.describe_target_groups(input),
            "ModifyTargetGroup" => self.modify_target_group(input),
            "DeleteTargetGroup" => self.delete_target_group(input),
            "DescribeTargetGroupAttributes" => self.describe_target_group_attributes(input),
            "ModifyTargetGroupAttributes" => self.modify_target_group_attributes(input),
            "RegisterTargets" => self.register_targets(input),
            "DeregisterTargets" => self.deregister_targets(input),
            "DescribeTargetHealth" => self.describe_target_health(input),
            "CreateListener" => self.create_listener(input),
            "DescribeListeners" => self.describe_listeners(input),
            "ModifyListener" => self.modify_listener(input),
            "DeleteListener" => self.delete_listener(input),
            "CreateRule" => self.create_rule(input),
            "DescribeRules" => self.describe_rules(input),
            "ModifyRule" => self.modify_rule(input),
            "DeleteRule" => self.delete_rule(input),
            "SetRulePriorities" => self.set_rule_priorities(input),
            "AddTags" => self.add_elb_tags(input),
            "RemoveTags" => self.remove_elb_tags(input),
            "DescribeTags" => self.describe_elb_tags(input),
            "DescribeAccountLimits" => Ok(self.account_limits()),
            _ => Err(AwsError::new(
                "InvalidAction",
                format!("Could not find operation {operation} for version 2015-12-01"),
            )),
        }
    }

    fn elb_resource(&self, arn: &str) -> Result<(), AwsError> {
        let elb = &self.elb;
        let (known, code, word) = match arn.split(':').nth(5).and_then(|rest| rest.split('/').next()) {
            Some("loadbalancer") => (elb.load_balancers.contains_key(arn), "LoadBalancerNotFound", "load balancer"),
            Some("targetgroup") => (elb.target_groups.contains_key(arn), "TargetGroupNotFound", "target group"),
            Some("listener") => (elb.listeners.contains_key(arn), "ListenerNotFound", "listener"),
            Some("listener-rule") => (elb.rules.contains_key(arn), "RuleNotFound", "rule"),
            _ => return Err(AwsError::validation(format!("'{arn}' is not a valid resource ARN"))),
        };
        if known { Ok(()) } else { Err(AwsError::new(code, format!("The specified {word} does not exist."))) }
    }

    fn add_elb_tags(&mut self, input: &Value) -> Answer {
        let tags = elb_tags_of(input);
        for arn in texts(input, "ResourceArns") {
            self.elb_resource(&arn)?;
            self.set_elb_tags(&arn, &tags)?;
        }
        Ok(json!({}))
    }

    pub fn set_elb_tags(&mut self, arn: &str, tags: &[(String, String)]) -> Result<(), AwsError> {
        let own = self.elb.tags.entry(arn.to_owned()).or_default();
        for (key, value) in tags {
            own.retain(|(other, _)| other != key);
            own.push((key.clone(), value.clone()));
        }
        if own.len() > 50 {
            return Err(AwsError::new("TooManyTags", "The maximum number of tags per resource is 50."));
        }
        Ok(())
    }

    fn remove_elb_tags(&mut self, input: &Value) -> Answer {
        let keys = texts(input, "TagKeys");
        for arn in texts(input, "ResourceArns") {
            self.elb_resource(&arn)?;
            self.elb.tags.entry(arn).or_default().retain(|(key, _)| !keys.contains(key));
        }
        Ok(json!({}))
    }

    fn describe_elb_tags(&mut self, input: &Value) -> Answer {
        let arns = texts(input, "ResourceArns");
        if arns.is_empty() || arns.len() > 20 {
            return Err(AwsError::validation("ResourceArns must have between 1 and 20 elements"));
        }
        let mut all = Vec::new();
        for arn in arns {
            self.elb_resource(&arn)?;
            let tags = self.elb.tags.get(&arn).map_or(&[][..], Vec::as_slice);
            let tags: Vec<Value> = tags.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect();
            all.push(json!({"ResourceArn": arn, "Tags": tags}));
        }
        Ok(json!({"TagDescriptions": all}))
    }

    /// A new rule only adds.
    pub fn rule_added(&mut self, balancer: &str, groups: &[String]) {
        for group in groups {
            self.elb.users.entry(group.clone()).or_default().insert(balancer.to_owned());
        }
    }

    /// Every other change of a rule or a listener ends here: who uses which target group is asked at every look at a task.
    pub fn rules_changed(&mut self) {
        let elb = &mut self.elb;
        elb.users.clear();
        for rule in elb.rules.values() {
            let Some(listener) = elb.listeners.get(&rule.listener) else { continue };
            for group in rule.targets() {
                elb.users.entry(group).or_default().insert(listener.balancer.clone());
            }
        }
    }

    /// Forgets a resource's tags with it.
    pub fn untag(&mut self, arn: &str) {
        self.elb.tags.remove(arn);
    }
}

pub fn elb_tags_of(input: &Value) -> Vec<(String, String)> {
    list(input, "Tags")
        .iter()
        .filter_map(|tag| Some((text(tag, "Key")?.to_owned(), text(tag, "Value").unwrap_or_default().to_owned())))
        .collect()
}

/// A page of a describe call, by Marker and PageSize.
pub fn elb_page(key: &str, rows: Vec<(String, Value)>, input: &Value) -> Answer {
    let size = super::value::number(input, "PageSize").unwrap_or(400);
    if !(1..=400).contains(&size) {
        return Err(AwsError::validation("PageSize must be between 1 and 400"));
    }
    let (rows, next) = super::value::page(rows, text(input, "Marker"), size as usize)
        .map_err(|_| AwsError::validation("Invalid marker"))?;
    let mut answer = json!({ key: rows });
    if let Some(next) = next {
        answer["NextMarker"] = next.into();
    }
    Ok(answer)
}

/// Attributes as a list of keys and values.
pub fn attributes_view(attributes: &BTreeMap<String, String>) -> Value {
    attributes.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect()
}

/// Changes attributes; unknown ones are refused, as AWS does.
pub fn change_attributes(
    attributes: &mut BTreeMap<String, String>,
    input: &Value,
    known: &[&str],
) -> Result<(), AwsError> {
    for entry in list(input, "Attributes") {
        let key = text(entry, "Key").unwrap_or_default();
        let value = text(entry, "Value").unwrap_or_default();
        if !attributes.contains_key(key) && !known.contains(&key) {
            return Err(AwsError::validation(format!("Attribute '{key}' is not recognized")));
        }
        attributes.insert(key.to_owned(), value.to_owned());
    }
    Ok(())
}
