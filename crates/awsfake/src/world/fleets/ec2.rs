//! EC2's calls on the groups' instances.

use serde_json::{Value, json};

use super::Instance;
use crate::world::error::{Answer, AwsError};
use crate::world::space::Space;
use crate::world::value::{iso, list, text, texts};

/// What each filter of a call has to be one of.
fn filters(input: &Value) -> Vec<(&str, Vec<String>)> {
    list(input, "Filter").iter().filter_map(|one| Some((text(one, "Name")?, texts(one, "Value")))).collect()
}

fn unknown(name: &str) -> AwsError {
    AwsError::new("InvalidParameterValue", format!("The filter '{name}' is invalid"))
}

impl Space {
    pub fn ec2_call(&mut self, operation: &str, input: &Value) -> Answer {
        match operation {
            "DescribeInstances" => self.describe_instances(input),
            "DescribeSpotInstanceRequests" => self.describe_spot_requests(input),
            _ => Err(AwsError::unknown_operation("ec2", operation)),
        }
    }

    /// In one reservation each.
    fn describe_instances(&self, input: &Value) -> Answer {
        let mut found: Vec<&Instance> = self.fleets.instances.values().collect();
        for (name, values) in filters(input) {
            match name {
                "instance-id" => found.retain(|one| values.contains(&one.id)),
                _ => return Err(unknown(name)),
            }
        }
        let view = |one: &Instance| {
            let plan = self.fleets.groups.get(&one.group).map(|group| &group.plan);
            json!({
                "instanceId": one.id,
                "instanceType": plan.map(|plan| &plan.kind),
                "instanceState": {"name": if one.ending { "shutting-down" } else { "running" }},
                "launchTime": iso(one.launched),
            })
        };
        let reservations: Vec<Value> = found.into_iter().map(|one| json!({"instancesSet": [view(one)]})).collect();
        Ok(json!({"reservationSet": reservations}))
    }

    /// Of those that have the notice; the others' requests are of no interest to anybody here.
    fn describe_spot_requests(&self, input: &Value) -> Answer {
        let marked = "marked-for-termination";
        for (name, values) in filters(input) {
            match name {
                "status-code" if values.iter().any(|value| value == marked) => {}
                "status-code" => return Ok(json!({"spotInstanceRequestSet": []})),
                _ => return Err(unknown(name)),
            }
        }
        let marked_now = self.rules.instances.iter().flat_map(|rules| &rules.interrupted);
        let there = marked_now.filter(|id| self.fleets.instances.contains_key(*id));
        let requests: Vec<Value> =
            there.map(|id| json!({"instanceId": id, "state": "active", "status": {"code": marked}})).collect();
        Ok(json!({"spotInstanceRequestSet": requests}))
    }
}
