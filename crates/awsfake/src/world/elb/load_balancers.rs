//! Load balancers.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{attributes_view, change_attributes, elb_page, elb_tags_of};
use crate::world::Millis;
use crate::world::error::{Answer, AwsError};
use crate::world::space::{Event, Space};
use crate::world::value::{iso, list, needed, text, texts};

#[derive(Debug, Clone)]
pub struct LoadBalancer {
    pub arn: String,
    pub name: String,
    pub dns: String,
    pub kind: String,
    scheme: String,
    vpc: String,
    subnets: Vec<String>,
    groups: Vec<String>,
    address_type: String,
    active: bool,
    created: Millis,
    attributes: BTreeMap<String, String>,
}

impl LoadBalancer {
    fn view(&self) -> Value {
        let zones: Vec<Value> = (self.subnets.iter().enumerate())
            .map(|(place, subnet)| {
                let letter = char::from(b'a' + u8::try_from(place % 6).unwrap_or(0));
                let region = self.arn.split(':').nth(3).unwrap_or_default();
                json!({"ZoneName": format!("{region}{letter}"), "SubnetId": subnet, "LoadBalancerAddresses": []})
            })
            .collect();
        json!({
            "LoadBalancerArn": self.arn,
            "DNSName": self.dns,
            "CanonicalHostedZoneId": "Z35SXDOTRQ7X7K",
            "CreatedTime": iso(self.created),
            "LoadBalancerName": self.name,
            "Scheme": self.scheme,
            "VpcId": self.vpc,
            "State": {"Code": if self.active { "active" } else { "provisioning" }},
            "Type": self.kind,
            "AvailabilityZones": zones,
            "SecurityGroups": self.groups,
            "IpAddressType": self.address_type,
        })
    }

    fn same(&self, other: &Self) -> bool {
        self.scheme == other.scheme
            && self.subnets == other.subnets
            && self.groups == other.groups
            && self.kind == other.kind
    }
}

impl Space {
    pub fn create_load_balancer(&mut self, input: &Value) -> Answer {
        let name = needed(input, "Name")?.to_owned();
        check_name("Load balancer", &name)?;
        let mut subnets = texts(input, "Subnets");
        subnets.extend(list(input, "SubnetMappings").iter().filter_map(|own| text(own, "SubnetId")).map(str::to_owned));
        let kind = text(input, "Type").unwrap_or("application").to_owned();
        if kind == "application" && subnets.len() < 2 {
            let message = "At least two subnets in two different Availability Zones must be specified";
            return Err(AwsError::validation(message));
        }
        let id = self.ids.hex16();
        let scheme = text(input, "Scheme").unwrap_or("internet-facing").to_owned();
        let word = if kind == "network" { "net" } else { "app" };
        let internal = if scheme == "internal" { "internal-" } else { "" };
        let groups = texts(input, "SecurityGroups");
        let number = u64::from_str_radix(&id, 16).unwrap_or_default() % 1_000_000_000;
        let balancer = LoadBalancer {
            arn: self.arn("elasticloadbalancing", &format!("loadbalancer/{word}/{name}/{id}")),
            dns: format!("{internal}{name}-{number}.{}.elb.amazonaws.com", self.region),
            name: name.clone(),
            kind,
            scheme,
            vpc: "vpc-0fake000000000000".to_owned(),
            subnets,
            groups: if groups.is_empty() { vec!["sg-0fake000000000000".to_owned()] } else { groups },
            address_type: text(input, "IpAddressType").unwrap_or("ipv4").to_owned(),
            active: self.rules.timing.load_balancer == 0,
            created: self.now,
            attributes: ATTRIBUTES.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        };
        if let Some(former) = self.elb.load_balancers.values().find(|former| former.name == name) {
            if former.same(&balancer) {
                return Ok(json!({"LoadBalancers": [former.view()]}));
            }
            let message = format!("A load balancer with the same name '{name}' exists, but with different settings");
            return Err(AwsError::new("DuplicateLoadBalancerName", message));
        }
        if self.elb.load_balancers.len() >= self.rules.limits.load_balancers {
            return Err(AwsError::new("TooManyLoadBalancers", "The maximum number of load balancers has been reached"));
        }
        let arn = balancer.arn.clone();
        let view = balancer.view();
        self.elb.load_balancers.insert(arn.clone(), balancer);
        self.set_elb_tags(&arn, &elb_tags_of(input))?;
        self.at(self.now + self.rules.timing.load_balancer, Event::LoadBalancer { arn });
        Ok(json!({"LoadBalancers": [view]}))
    }

    pub fn load_balancer_event(&mut self, arn: &str) {
        if let Some(balancer) = self.elb.load_balancers.get_mut(arn) {
            balancer.active = true;
        }
    }

    pub fn load_balancer(&self, arn: &str) -> Result<&LoadBalancer, AwsError> {
        let missing = || AwsError::new("LoadBalancerNotFound", format!("Load balancer '{arn}' not found"));
        self.elb.load_balancers.get(arn).ok_or_else(missing)
    }

    pub fn describe_load_balancers(&mut self, input: &Value) -> Answer {
        let (arns, names) = (texts(input, "LoadBalancerArns"), texts(input, "Names"));
        if !arns.is_empty() && !names.is_empty() {
            return Err(AwsError::validation(
                "Load balancer names and load balancer ARNs cannot be specified at the same time",
            ));
        }
        for arn in &arns {
            self.load_balancer(arn)
                .map_err(|_| AwsError::new("LoadBalancerNotFound", "One or more load balancers not found"))?;
        }
        let all = &self.elb.load_balancers;
        if let Some(missing) = names.iter().find(|name| !all.values().any(|own| own.name == **name)) {
            return Err(AwsError::new("LoadBalancerNotFound", format!("Load balancers '[{missing}]' not found")));
        }
        let rows = all.values().filter(|own| {
            (arns.is_empty() || arns.contains(&own.arn)) && (names.is_empty() || names.contains(&own.name))
        });
        elb_page("LoadBalancers", rows.map(|own| (own.arn.clone(), own.view())).collect(), input)
    }

    pub fn delete_load_balancer(&mut self, input: &Value) -> Answer {
        let arn = needed(input, "LoadBalancerArn")?.to_owned();
        let Some(balancer) = self.elb.load_balancers.get(&arn) else { return Ok(json!({})) };
        if balancer.attributes.get("deletion_protection.enabled").is_some_and(|value| value == "true") {
            let message = format!("Load balancer '{arn}' cannot be deleted because deletion protection is enabled");
            return Err(AwsError::new("OperationNotPermitted", message));
        }
        let listeners: Vec<String> =
            self.elb.listeners.values().filter(|own| own.balancer == arn).map(|own| own.arn.clone()).collect();
        for listener in listeners {
            self.remove_listener(&listener);
        }
        self.elb.load_balancers.remove(&arn);
        self.untag(&arn);
        Ok(json!({}))
    }

    pub fn describe_load_balancer_attributes(&mut self, input: &Value) -> Answer {
        let balancer = self.load_balancer(needed(input, "LoadBalancerArn")?)?;
        Ok(json!({"Attributes": attributes_view(&balancer.attributes)}))
    }

    pub fn modify_load_balancer_attributes(&mut self, input: &Value) -> Answer {
        let arn = needed(input, "LoadBalancerArn")?;
        self.load_balancer(arn)?;
        let Some(balancer) = self.elb.load_balancers.get_mut(arn) else { return Ok(json!({})) };
        change_attributes(&mut balancer.attributes, input, &[])?;
        Ok(json!({"Attributes": attributes_view(&balancer.attributes)}))
    }
}

const ATTRIBUTES: &[(&str, &str)] = &[
    ("access_logs.s3.enabled", "false"),
    ("access_logs.s3.bucket", ""),
    ("access_logs.s3.prefix", ""),
    ("deletion_protection.enabled", "false"),
    ("idle_timeout.timeout_seconds", "60"),
    ("routing.http2.enabled", "true"),
    ("routing.http.drop_invalid_header_fields.enabled", "false"),
    ("routing.http.xff_client_port.enabled", "false"),
    ("routing.http.desync_mitigation_mode", "defensive"),
    ("load_balancing.cross_zone.enabled", "true"),
    ("client_keep_alive.seconds", "3600"),
];

/// Names of load balancers and target groups: at most 32 letters, digits and hyphens, none of them first or last.
pub fn check_name(kind: &str, name: &str) -> Result<(), AwsError> {
    if name.len() > 32 {
        return Err(AwsError::validation(format!("{kind} name '{name}' cannot be longer than '32' characters")));
    }
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        return Err(AwsError::validation(format!(
            "{kind} name '{name}' can only contain characters that are alphanumeric characters and hyphens(-)"
        )));
    }
    if name.starts_with('-') || name.ends_with('-') {
        return Err(AwsError::validation(format!("{kind} name '{name}' cannot begin or end with a hyphen(-)")));
    }
    Ok(())
}
