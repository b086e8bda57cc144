//! Listeners, and the data of rules: a listener's default actions are its rule without a priority.

use serde_json::{Value, json};

use super::{elb_page, elb_tags_of};
use crate::world::error::{Answer, AwsError};
use crate::world::space::Space;
use crate::world::value::{leaf, list, needed, number, text, texts};

#[derive(Debug, Clone)]
pub struct Listener {
    pub arn: String,
    /// ARN of its load balancer.
    pub balancer: String,
    pub port: u64,
    protocol: String,
    certificates: Value,
    policy: Option<String>,
    alpn: Value,
}

#[derive(Debug, Clone)]
pub struct Rule {
    pub arn: String,
    pub listener: String,
    /// `None`: the listener's default.
    pub priority: Option<u64>,
    pub conditions: Value,
    pub actions: Value,
}

impl Rule {
    /// Target groups of its forward actions, in both spellings.
    pub fn targets(&self) -> Vec<String> {
        let mut targets = Vec::new();
        for action in self.actions.as_array().into_iter().flatten() {
            targets.extend(text(action, "TargetGroupArn").map(str::to_owned));
            let groups = list(&action["ForwardConfig"], "TargetGroups");
            targets.extend(groups.iter().filter_map(|group| text(group, "TargetGroupArn")).map(str::to_owned));
        }
        targets
    }
}

impl Space {
    pub fn listener(&self, arn: &str) -> Result<&Listener, AwsError> {
        let missing = || AwsError::new("ListenerNotFound", "One or more listeners not found");
        self.elb.listeners.get(arn).ok_or_else(missing)
    }

    fn listener_view(&self, listener: &Listener) -> Value {
        let default = self.elb.rules.values().find(|rule| rule.listener == listener.arn && rule.priority.is_none());
        let mut view = json!({
            "ListenerArn": listener.arn,
            "LoadBalancerArn": listener.balancer,
            "Port": listener.port,
            "Protocol": listener.protocol,
            "DefaultActions": default.map(|rule| rule.actions.clone()).unwrap_or(json!([])),
        });
        if listener.protocol == "HTTPS" {
            view["Certificates"] = listener.certificates.clone();
            view["SslPolicy"] = listener.policy.clone().into();
            view["MutualAuthentication"] = json!({"Mode": "off"});
        }
        if listener.alpn.is_array() {
            view["AlpnPolicy"] = listener.alpn.clone();
        }
        view
    }

    /// Actions as they are kept: both spellings of one forward, numbers as numbers. Unknown target groups are refused.
    pub fn checked_actions(&self, given: &[Value]) -> Result<Value, AwsError> {
        if given.is_empty() {
            return Err(AwsError::validation("At least one action must be specified"));
        }
        let mut actions = Vec::new();
        for action in given {
            let mut action = action.clone();
            if let Some(order) = number(&action, "Order") {
                action["Order"] = order.into();
            }
            if text(&action, "Type") == Some("forward") {
                let single = text(&action, "TargetGroupArn").map(str::to_owned);
                let mut groups: Vec<Value> = list(&action["ForwardConfig"], "TargetGroups").to_vec();
                if groups.is_empty() {
                    groups.extend(single.map(|arn| json!({"TargetGroupArn": arn, "Weight": 1})));
                }
                if groups.is_empty() {
                    return Err(AwsError::validation("A target group ARN must be specified"));
                }
                for group in &mut groups {
                    self.target_group(text(group, "TargetGroupArn").unwrap_or_default())
                        .map_err(|_| AwsError::new("TargetGroupNotFound", "One or more target groups not found"))?;
                    group["Weight"] = number(group, "Weight").unwrap_or(1).into();
                }
                if let [one] = groups.as_slice() {
                    action["TargetGroupArn"] = one["TargetGroupArn"].clone();
                }
                let sticky = number(&action["ForwardConfig"]["TargetGroupStickinessConfig"], "DurationSeconds");
                let mut stickiness = json!({"Enabled": sticky.is_some()});
                if let Some(seconds) = sticky {
                    stickiness["DurationSeconds"] = seconds.into();
                }
                action["ForwardConfig"] = json!({"TargetGroups": groups, "TargetGroupStickinessConfig": stickiness});
            }
            actions.push(action);
        }
        Ok(actions.into())
    }

    pub fn create_listener(&mut self, input: &Value) -> Answer {
        let balancer = needed(input, "LoadBalancerArn")?.to_owned();
        self.load_balancer(&balancer)?;
        let port = number(input, "Port").ok_or_else(|| AwsError::validation("A port must be specified"))?;
        let protocol = text(input, "Protocol").ok_or_else(|| AwsError::validation("A protocol must be specified"))?;
        if !(1..=65_535).contains(&port) {
            return Err(AwsError::validation("Port must be between 1 and 65535"));
        }
        let certificates = list(input, "Certificates").to_vec();
        if protocol == "HTTPS" && certificates.is_empty() {
            return Err(AwsError::validation("A certificate must be specified for HTTPS listeners"));
        }
        let actions = self.checked_actions(list(input, "DefaultActions"))?;
        let rest = balancer.split_once(":loadbalancer/").map(|(_, rest)| rest.to_owned()).unwrap_or_default();
        let id = self.ids.hex16();
        let listener = Listener {
            arn: self.arn("elasticloadbalancing", &format!("listener/{rest}/{id}")),
            balancer: balancer.clone(),
            port,
            protocol: protocol.to_owned(),
            certificates: certificates.into(),
            policy: (protocol == "HTTPS")
                .then(|| text(input, "SslPolicy").unwrap_or("ELBSecurityPolicy-2016-08").to_owned()),
            alpn: input.get("AlpnPolicy").cloned().unwrap_or_default(),
        };
        if let Some(former) = self.elb.listeners.values().find(|own| own.balancer == balancer && own.port == port) {
            // The API reference: creating a listener with the same settings again succeeds.
            let default = self.elb.rules.values().find(|rule| rule.listener == former.arn && rule.priority.is_none());
            let same = former.protocol == listener.protocol
                && former.certificates == listener.certificates
                && default.is_some_and(|rule| rule.actions == actions);
            if same {
                return Ok(json!({"Listeners": [self.listener_view(former)]}));
            }
            let message = format!("A listener already exists on this port for this load balancer '{balancer}'");
            return Err(AwsError::new("DuplicateListener", message));
        }
        self.room_for_listener(&balancer)?;
        let default_id = self.ids.hex16();
        let default = Rule {
            arn: self.arn("elasticloadbalancing", &format!("listener-rule/{rest}/{id}/{default_id}")),
            listener: listener.arn.clone(),
            priority: None,
            conditions: json!([]),
            actions,
        };
        self.room_for_groups(&balancer, &default.targets())?;
        let arn = listener.arn.clone();
        let targets = default.targets();
        self.elb.rules.insert(default.arn.clone(), default);
        self.elb.listeners.insert(arn.clone(), listener);
        self.rule_added(&balancer, &targets);
        self.wake_targets(&targets);
        self.set_elb_tags(&arn, &elb_tags_of(input))?;
        Ok(json!({"Listeners": [self.listener_view(self.listener(&arn)?)]}))
    }

    pub fn describe_listeners(&mut self, input: &Value) -> Answer {
        let arns = texts(input, "ListenerArns");
        let balancer = text(input, "LoadBalancerArn");
        if arns.is_empty() && balancer.is_none() {
            return Err(AwsError::validation("You must specify either listener ARNs or a load balancer ARN"));
        }
        for arn in &arns {
            self.listener(arn)?;
        }
        if let Some(balancer) = balancer {
            self.load_balancer(balancer)?;
        }
        let rows = self
            .elb
            .listeners
            .values()
            .filter(|own| arns.contains(&own.arn) || arns.is_empty() && balancer == Some(own.balancer.as_str()));
        elb_page("Listeners", rows.map(|own| (own.arn.clone(), self.listener_view(own))).collect(), input)
    }

    pub fn modify_listener(&mut self, input: &Value) -> Answer {
        let arn = needed(input, "ListenerArn")?.to_owned();
        let mut listener = self.listener(&arn)?.clone();
        if let Some(port) = number(input, "Port") {
            let taken = |own: &Listener| own.balancer == listener.balancer && own.port == port && own.arn != arn;
            if self.elb.listeners.values().any(taken) {
                let message =
                    format!("A listener already exists on this port for this load balancer '{}'", listener.balancer);
                return Err(AwsError::new("DuplicateListener", message));
            }
            listener.port = port;
        }
        if let Some(protocol) = text(input, "Protocol") {
            listener.protocol = protocol.to_owned();
        }
        if !list(input, "Certificates").is_empty() {
            listener.certificates = input["Certificates"].clone();
        }
        if let Some(policy) = text(input, "SslPolicy") {
            listener.policy = Some(policy.to_owned());
        }
        let given = list(input, "DefaultActions");
        if !given.is_empty() {
            let actions = self.checked_actions(given)?;
            let default = self.elb.rules.values_mut().find(|rule| rule.listener == arn && rule.priority.is_none());
            if let Some(default) = default {
                default.actions = actions;
                let targets = default.targets();
                self.rules_changed();
                self.wake_targets(&targets);
            }
        }
        self.elb.listeners.insert(arn.clone(), listener);
        self.rules_changed();
        Ok(json!({"Listeners": [self.listener_view(self.listener(&arn)?)]}))
    }

    pub fn delete_listener(&mut self, input: &Value) -> Answer {
        let arn = needed(input, "ListenerArn")?.to_owned();
        self.elb
            .listeners
            .get(&arn)
            .ok_or_else(|| AwsError::new("ListenerNotFound", format!("Listener '{}' not found", leaf(&arn))))?;
        self.remove_listener(&arn);
        Ok(json!({}))
    }

    pub fn remove_listener(&mut self, arn: &str) {
        let rules: Vec<String> =
            self.elb.rules.values().filter(|rule| rule.listener == arn).map(|rule| rule.arn.clone()).collect();
        for rule in rules {
            self.elb.rules.remove(&rule);
            self.untag(&rule);
        }
        self.elb.listeners.remove(arn);
        self.rules_changed();
        self.untag(arn);
    }
}
