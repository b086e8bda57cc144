//! Auto Scaling's calls that look.

use serde_json::{Value, json};

use super::{Activity, Group};
use crate::world::error::Answer;
use crate::world::space::Space;
use crate::world::value::{iso, needed, texts, trimmed};

impl Space {
    pub fn autoscaling_call(&mut self, operation: &str, input: &Value) -> Answer {
        match operation {
            "DescribeAutoScalingGroups" => {
                let names = texts(input, "AutoScalingGroupNames");
                let wanted = |group: &&Group| names.is_empty() || names.contains(&group.name);
                let groups = self.fleets.groups.values().filter(wanted).map(|group| self.scaled_group_view(group));
                Ok(json!({"AutoScalingGroups": groups.collect::<Vec<_>>()}))
            }
            "DescribeScalingActivities" => {
                let name = needed(input, "AutoScalingGroupName")?;
                let group = self.fleets.groups.get(name);
                let activities = group.into_iter().flat_map(|group| &group.activities);
                Ok(json!({"Activities": activities.take(100).map(|one| activity_view(name, one)).collect::<Vec<_>>()}))
            }
            _ => self.scale_call(operation, input),
        }
    }

    fn scaled_group_view(&self, group: &Group) -> Value {
        let plan = &group.plan;
        let members = self.fleets.instances.values().filter(|one| one.group == group.name);
        let members = members.map(|one| {
            trimmed(json!({
                "InstanceId": one.id,
                "InstanceType": plan.kind,
                "AvailabilityZone": plan.zones.first(),
                "LifecycleState": if one.ending { "Terminating" } else { "InService" },
                "HealthStatus": "Healthy",
                "WeightedCapacity": plan.weight.map(|weight| weight.to_string()),
            }))
        });
        let tags = group.tags.iter().map(|(key, (value, propagated))| {
            json!({
                "ResourceId": group.name,
                "ResourceType": "auto-scaling-group",
                "Key": key,
                "Value": value,
                "PropagateAtLaunch": propagated,
            })
        });
        let suspended = group.suspended.iter().map(
            |(name, at)| json!({"ProcessName": name, "SuspensionReason": format!("User suspended at {}", iso(*at))}),
        );
        json!({
            "AutoScalingGroupName": group.name,
            "MinSize": group.least,
            "MaxSize": group.most,
            "DesiredCapacity": group.desired,
            "AvailabilityZones": plan.zones,
            "Instances": members.collect::<Vec<_>>(),
            "SuspendedProcesses": suspended.collect::<Vec<_>>(),
            "Tags": tags.collect::<Vec<_>>(),
        })
    }
}

fn activity_view(group: &str, one: &Activity) -> Value {
    let (instance, why) = match &one.launched {
        Ok(id) => (id.as_str(), None),
        Err(why) => ("", Some(why)),
    };
    trimmed(json!({
        "AutoScalingGroupName": group,
        "Description": format!("Launching a new EC2 instance{}{instance}", if why.is_none() { ": " } else { "" }),
        "StartTime": iso(one.at),
        "EndTime": iso(one.at),
        "StatusCode": if why.is_none() { "Successful" } else { "Failed" },
        "StatusMessage": why,
    }))
}
