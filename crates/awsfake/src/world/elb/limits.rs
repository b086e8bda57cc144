//! How many there may be of each, and the errors that say so.

use serde_json::{Value, json};

use crate::world::error::AwsError;
use crate::world::space::Space;

impl Space {
    pub fn account_limits(&self) -> Value {
        let limits = &self.rules.limits;
        let rows = [
            ("application-load-balancers", limits.load_balancers),
            ("listeners-per-application-load-balancer", limits.listeners_per_load_balancer),
            ("rules-per-application-load-balancer", limits.rules_per_load_balancer),
            ("target-groups", limits.target_groups),
            ("target-groups-per-application-load-balancer", limits.target_groups_per_load_balancer),
            ("target-groups-per-action-on-application-load-balancer", 5),
            ("targets-per-application-load-balancer", limits.targets_per_target_group),
            ("condition-values-per-alb-rule", 5),
            ("condition-wildcards-per-alb-rule", 6),
        ];
        let rows: Vec<Value> = rows.iter().map(|(name, max)| json!({"Name": name, "Max": max.to_string()})).collect();
        json!({"Limits": rows})
    }

    pub fn room_for_listener(&self, balancer: &str) -> Result<(), AwsError> {
        let used = self.elb.listeners.values().filter(|listener| listener.balancer == balancer).count();
        if used >= self.rules.limits.listeners_per_load_balancer {
            let message = format!("The maximum number of listeners has been reached on load balancer '{balancer}'");
            return Err(AwsError::new("TooManyListeners", message));
        }
        Ok(())
    }

    /// Counted over all listeners of the load balancer, default rules left out.
    pub fn room_for_rule(&self, balancer: &str) -> Result<(), AwsError> {
        let listeners = &self.elb.listeners;
        let of = |listener: &str| listeners.get(listener).is_some_and(|listener| listener.balancer == balancer);
        let used = self.elb.rules.values().filter(|rule| rule.priority.is_some() && of(&rule.listener)).count();
        if used >= self.rules.limits.rules_per_load_balancer {
            let message = format!("The maximum number of rules has been reached on load balancer '{balancer}'");
            return Err(AwsError::new("TooManyRules", message));
        }
        Ok(())
    }

    pub fn room_for_groups(&self, balancer: &str, groups: &[String]) -> Result<(), AwsError> {
        let elsewhere = |group: &&String| self.elb.users.get(*group).is_some_and(|users| !users.contains(balancer));
        if let Some(group) = groups.iter().find(elsewhere) {
            let message =
                format!("The following target groups cannot be associated with more than one load balancer: {group}");
            return Err(AwsError::new("TargetGroupAssociationLimit", message));
        }
        let mut used = self.groups_of(balancer);
        used.extend(groups.iter().cloned());
        if used.len() > self.rules.limits.target_groups_per_load_balancer {
            let message = "The maximum number of unique target groups has been reached on the load balancer";
            return Err(AwsError::new("TooManyUniqueTargetGroupsPerLoadBalancer", message));
        }
        Ok(())
    }
}
