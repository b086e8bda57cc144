//! Target groups and their settings.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::health::Target;
use super::load_balancers::check_name;
use super::{attributes_view, change_attributes, elb_page, elb_tags_of};
use crate::world::error::{Answer, AwsError};
use crate::world::space::Space;
use crate::world::value::{needed, number, text, texts};

#[derive(Debug, Clone)]
pub struct TargetGroup {
    pub arn: String,
    pub name: String,
    pub kind: String,
    protocol: String,
    version: String,
    pub port: u64,
    vpc: Option<String>,
    address_type: String,
    /// By the API's names.
    pub check: BTreeMap<String, Value>,
    pub attributes: BTreeMap<String, String>,
    pub targets: Vec<Target>,
}

const CHECK: &[&str] = &[
    "HealthCheckProtocol",
    "HealthCheckPort",
    "HealthCheckEnabled",
    "HealthCheckIntervalSeconds",
    "HealthCheckTimeoutSeconds",
    "HealthyThresholdCount",
    "UnhealthyThresholdCount",
    "HealthCheckPath",
];

impl TargetGroup {
    fn from(input: &Value, arn: String) -> Result<Self, AwsError> {
        let kind = text(input, "TargetType").unwrap_or("instance").to_owned();
        let protocol = text(input, "Protocol").unwrap_or("HTTP").to_owned();
        let mut group = Self {
            arn,
            name: needed(input, "Name")?.to_owned(),
            kind,
            protocol: protocol.clone(),
            version: text(input, "ProtocolVersion").unwrap_or("HTTP1").to_owned(),
            port: number(input, "Port").unwrap_or(80),
            vpc: text(input, "VpcId").map(str::to_owned),
            address_type: text(input, "IpAddressType").unwrap_or("ipv4").to_owned(),
            check: BTreeMap::new(),
            attributes: ATTRIBUTES.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            targets: Vec::new(),
        };
        let defaults = json!({
            "HealthCheckProtocol": protocol,
            "HealthCheckPort": "traffic-port",
            "HealthCheckEnabled": true,
            "HealthCheckIntervalSeconds": 30,
            "HealthCheckTimeoutSeconds": 5,
            "HealthyThresholdCount": 5,
            "UnhealthyThresholdCount": 2,
            "HealthCheckPath": "/",
            "Matcher": {"HttpCode": "200"},
        });
        if let Value::Object(defaults) = defaults {
            group.check.extend(defaults);
        }
        group.change(input)?;
        Ok(group)
    }

    fn change(&mut self, input: &Value) -> Result<(), AwsError> {
        let mut check = self.check.clone();
        for key in CHECK {
            let Some(given) = text(input, key) else { continue };
            let value = match (given.parse::<u64>(), *key) {
                (Ok(number), "HealthCheckPort") => json!(number.to_string()),
                (Ok(number), _) => json!(number),
                (Err(_), "HealthCheckEnabled") => json!(given == "true"),
                (Err(_), _) => json!(given),
            };
            check.insert((*key).to_owned(), value);
        }
        if let Some(code) = text(&input["Matcher"], "HttpCode") {
            check.insert("Matcher".to_owned(), json!({"HttpCode": code}));
        }
        let own = |key: &str| check.get(key).and_then(Value::as_u64).unwrap_or_default();
        let bounds = [
            ("HealthCheckIntervalSeconds", "Health check interval", 5, 300),
            ("HealthCheckTimeoutSeconds", "Health check timeout", 2, 120),
            ("HealthyThresholdCount", "Healthy threshold count", 2, 10),
            ("UnhealthyThresholdCount", "Unhealthy threshold count", 2, 10),
        ];
        for (key, words, least, most) in bounds {
            if !(least..=most).contains(&own(key)) {
                return Err(AwsError::validation(format!("{words} must be between {least} and {most}")));
            }
        }
        if own("HealthCheckTimeoutSeconds") >= own("HealthCheckIntervalSeconds") {
            let message = "Health check timeout must be smaller than the interval";
            return Err(AwsError::validation(message));
        }
        self.check = check;
        Ok(())
    }

    pub fn seconds(&self, key: &str) -> u64 {
        self.check.get(key).and_then(Value::as_u64).unwrap_or_default()
    }

    /// Milliseconds.
    pub fn deregistration_delay(&self) -> u64 {
        let delay = self.attributes.get("deregistration_delay.timeout_seconds");
        delay.and_then(|value| value.parse::<u64>().ok()).unwrap_or(300) * 1000
    }

    fn same(&self, other: &Self) -> bool {
        (&self.kind, &self.protocol, &self.version, self.port, &self.vpc, &self.check)
            == (&other.kind, &other.protocol, &other.version, other.port, &other.vpc, &other.check)
    }
}

impl Space {
    pub fn target_group(&self, arn: &str) -> Result<&TargetGroup, AwsError> {
        let missing = || AwsError::new("TargetGroupNotFound", format!("Target groups '{arn}' not found"));
        self.elb.target_groups.get(arn).ok_or_else(missing)
    }

    pub fn target_group_kind(&self, arn: &str) -> Option<&str> {
        self.elb.target_groups.get(arn).map(|group| group.kind.as_str())
    }

    /// Load balancers whose listeners or rules forward to the group.
    pub fn balancers_of(&self, group: &str) -> BTreeSet<String> {
        self.elb.users.get(group).cloned().unwrap_or_default()
    }

    pub fn target_group_is_used(&self, group: &str) -> bool {
        self.elb.users.contains_key(group)
    }

    /// Target groups that a load balancer's listeners and rules forward to.
    pub fn groups_of(&self, balancer: &str) -> BTreeSet<String> {
        let own = self.elb.users.iter().filter(|(_, balancers)| balancers.contains(balancer));
        own.map(|(group, _)| group.clone()).collect()
    }

    fn group_view(&self, group: &TargetGroup) -> Value {
        let mut view = json!({
            "TargetGroupArn": group.arn,
            "TargetGroupName": group.name,
            "LoadBalancerArns": self.balancers_of(&group.arn),
            "TargetType": group.kind,
            "IpAddressType": group.address_type,
        });
        if group.kind != "lambda" {
            view["Protocol"] = group.protocol.clone().into();
            view["Port"] = group.port.into();
            view["ProtocolVersion"] = group.version.clone().into();
        }
        if let Some(vpc) = &group.vpc {
            view["VpcId"] = vpc.clone().into();
        }
        if let Value::Object(map) = &mut view {
            map.extend(group.check.clone());
        }
        view
    }

    pub fn create_target_group(&mut self, input: &Value) -> Answer {
        let name = needed(input, "Name")?.to_owned();
        check_name("Target group", &name)?;
        if text(input, "TargetType") != Some("lambda") {
            for key in ["Protocol", "Port", "VpcId"] {
                let word = if key == "VpcId" { "VPC ID" } else { key };
                if text(input, key).is_none() {
                    return Err(AwsError::validation(format!(
                        "A {} must be specified",
                        word.to_lowercase().replace("vpc id", "VPC ID")
                    )));
                }
            }
        }
        let id = self.ids.hex16();
        let group = TargetGroup::from(input, self.arn("elasticloadbalancing", &format!("targetgroup/{name}/{id}")))?;
        if let Some(former) = self.elb.target_groups.values().find(|former| former.name == name) {
            if former.same(&group) {
                return Ok(json!({"TargetGroups": [self.group_view(former)]}));
            }
            let message = format!("A target group with the same name '{name}' exists, but with different settings");
            return Err(AwsError::new("DuplicateTargetGroupName", message));
        }
        if self.elb.target_groups.len() >= self.rules.limits.target_groups {
            return Err(AwsError::new("TooManyTargetGroups", "The maximum number of target groups has been reached"));
        }
        let view = self.group_view(&group);
        let arn = group.arn.clone();
        self.elb.target_groups.insert(arn.clone(), group);
        self.set_elb_tags(&arn, &elb_tags_of(input))?;
        Ok(json!({"TargetGroups": [view]}))
    }

    pub fn describe_target_groups(&mut self, input: &Value) -> Answer {
        let (arns, names) = (texts(input, "TargetGroupArns"), texts(input, "Names"));
        let balancer = text(input, "LoadBalancerArn");
        if [!arns.is_empty(), !names.is_empty(), balancer.is_some()].iter().filter(|given| **given).count() > 1 {
            let message =
                "Target group ARNs, target group names and a load balancer ARN cannot be specified at the same time";
            return Err(AwsError::validation(message));
        }
        if let Some(balancer) = balancer {
            self.load_balancer(balancer)?;
        }
        let all = &self.elb.target_groups;
        let missing = |_: &&String| AwsError::new("TargetGroupNotFound", "One or more target groups not found");
        if let Some(arn) = arns.iter().find(|arn| !all.contains_key(*arn)) {
            return Err(missing(&arn));
        }
        if let Some(name) = names.iter().find(|name| !all.values().any(|own| own.name == **name)) {
            return Err(missing(&name));
        }
        let of_balancer = balancer.map(|balancer| self.groups_of(balancer));
        let rows = all.values().filter(|own| {
            (arns.is_empty() || arns.contains(&own.arn))
                && (names.is_empty() || names.contains(&own.name))
                && of_balancer.as_ref().is_none_or(|groups| groups.contains(&own.arn))
        });
        elb_page("TargetGroups", rows.map(|own| (own.arn.clone(), self.group_view(own))).collect(), input)
    }

    pub fn modify_target_group(&mut self, input: &Value) -> Answer {
        let arn = needed(input, "TargetGroupArn")?.to_owned();
        self.target_group(&arn)?;
        if let Some(group) = self.elb.target_groups.get_mut(&arn) {
            group.change(input)?;
        }
        Ok(json!({"TargetGroups": [self.group_view(self.target_group(&arn)?)]}))
    }

    pub fn delete_target_group(&mut self, input: &Value) -> Answer {
        let arn = needed(input, "TargetGroupArn")?.to_owned();
        if self.target_group_is_used(&arn) {
            let message = format!("Target group '{arn}' is currently in use by a listener or a rule");
            return Err(AwsError::new("ResourceInUse", message));
        }
        // Deleting what is gone is no error.
        self.elb.target_groups.remove(&arn);
        self.untag(&arn);
        Ok(json!({}))
    }

    pub fn describe_target_group_attributes(&mut self, input: &Value) -> Answer {
        let group = self.target_group(needed(input, "TargetGroupArn")?)?;
        Ok(json!({"Attributes": attributes_view(&group.attributes)}))
    }

    pub fn modify_target_group_attributes(&mut self, input: &Value) -> Answer {
        let arn = needed(input, "TargetGroupArn")?;
        self.target_group(arn)?;
        let Some(group) = self.elb.target_groups.get_mut(arn) else { return Ok(json!({})) };
        let mut attributes = group.attributes.clone();
        change_attributes(&mut attributes, input, &[])?;
        let delay = attributes.get("deregistration_delay.timeout_seconds");
        if delay.and_then(|value| value.parse::<u64>().ok()).is_none_or(|delay| delay > 3600) {
            let message =
                "Target group attribute key 'deregistration_delay.timeout_seconds' must be between 0 and 3600";
            return Err(AwsError::validation(message));
        }
        group.attributes = attributes;
        Ok(json!({"Attributes": attributes_view(&group.attributes)}))
    }
}

const ATTRIBUTES: &[(&str, &str)] = &[
    ("deregistration_delay.timeout_seconds", "300"),
    ("load_balancing.algorithm.type", "round_robin"),
    ("load_balancing.algorithm.anomaly_mitigation", "off"),
    ("load_balancing.cross_zone.enabled", "use_load_balancer_configuration"),
    ("slow_start.duration_seconds", "0"),
    ("stickiness.enabled", "false"),
    ("stickiness.type", "lb_cookie"),
    ("stickiness.lb_cookie.duration_seconds", "86400"),
    ("stickiness.app_cookie.cookie_name", ""),
    ("stickiness.app_cookie.duration_seconds", "86400"),
    ("target_group_health.dns_failover.minimum_healthy_targets.count", "1"),
    ("target_group_health.dns_failover.minimum_healthy_targets.percentage", "off"),
    ("target_group_health.unhealthy_state_routing.minimum_healthy_targets.count", "1"),
    ("target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage", "off"),
];
