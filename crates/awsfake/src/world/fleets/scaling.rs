//! Auto Scaling's calls that change a group.

use serde_json::{Value, json};

use super::Group;
use crate::world::error::{Answer, AwsError};
use crate::world::space::Space;
use crate::world::value::{boolean, list, needed, number, text, texts};

/// What Auto Scaling does of itself, and can be told to leave.
const PROCESSES: [&str; 9] = [
    "AZRebalance",
    "AddToLoadBalancer",
    "AlarmNotification",
    "HealthCheck",
    "InstanceRefresh",
    "Launch",
    "ReplaceUnhealthy",
    "ScheduledActions",
    "Terminate",
];

impl Space {
    pub(super) fn scale_call(&mut self, operation: &str, input: &Value) -> Answer {
        match operation {
            "SetDesiredCapacity" => self.set_desired_capacity(input),
            "TerminateInstanceInAutoScalingGroup" => self.terminate_in_group(input),
            "CreateOrUpdateTags" => self.tag_groups(input),
            "SuspendProcesses" => self.suspend(input, true),
            "ResumeProcesses" => self.suspend(input, false),
            "CompleteLifecycleAction" => {
                self.scaled_group(needed(input, "AutoScalingGroupName")?)?;
                // No group here has hooks.
                let instance = text(input, "InstanceId").unwrap_or_default();
                Err(AwsError::validation(format!("No active Lifecycle Action found with instance ID {instance}")))
            }
            _ => Err(AwsError::unknown_operation("autoscaling", operation)),
        }
    }

    fn scaled_group(&mut self, name: &str) -> Result<&mut Group, AwsError> {
        let group = self.fleets.groups.get_mut(name);
        let missing = || format!("AutoScalingGroup name not found - AutoScalingGroup '{name}' not found");
        group.ok_or_else(|| AwsError::validation(missing()))
    }

    fn set_desired_capacity(&mut self, input: &Value) -> Answer {
        let name = needed(input, "AutoScalingGroupName")?;
        let group = self.scaled_group(name)?;
        let Some(desired) = number(input, "DesiredCapacity") else {
            return Err(AwsError::validation("A DesiredCapacity must be specified"));
        };
        let beyond = |how: &str, bound: u64| {
            format!("New SetDesiredCapacity value {desired} is {how} value {bound} for the AutoScalingGroup.")
        };
        if desired > group.most {
            return Err(AwsError::validation(beyond("above max", group.most)));
        }
        if desired < group.least {
            return Err(AwsError::validation(beyond("below min", group.least)));
        }
        group.desired = desired;
        self.fit(name);
        Ok(json!({}))
    }

    fn terminate_in_group(&mut self, input: &Value) -> Answer {
        let id = needed(input, "InstanceId")?;
        let Some(instance) = self.fleets.instances.get(id).filter(|one| !one.ending) else {
            let message = format!("Instance Id not found - No managed instance found for instance ID {id}");
            return Err(AwsError::validation(message));
        };
        let name = instance.group.clone();
        let fewer = boolean(input, "ShouldDecrementDesiredCapacity").unwrap_or(false);
        let group = self.scaled_group(&name)?;
        if fewer {
            let weight = group.plan.weight.unwrap_or(1);
            if group.desired < group.least + weight {
                let message = format!(
                    "Currently, desiredSize equals minSize ({}). Terminating instance without replacement will violate group's min size \
                     constraint. Either set shouldDecrementDesiredCapacity flag to false or lower group's min size.",
                    group.least
                );
                return Err(AwsError::validation(message));
            }
            group.desired -= weight;
        }
        self.terminate(id);
        self.fit(&name);
        Ok(json!({"Activity": {
            "AutoScalingGroupName": name,
            "Description": format!("Terminating EC2 instance: {id}"),
            "StatusCode": "InProgress",
        }}))
    }

    fn tag_groups(&mut self, input: &Value) -> Answer {
        let tags = list(input, "Tags");
        for tag in tags {
            self.scaled_group(needed(tag, "ResourceId")?)?;
            needed(tag, "Key")?;
        }
        for tag in tags {
            let group = self.scaled_group(needed(tag, "ResourceId")?)?;
            let value = text(tag, "Value").unwrap_or_default().to_owned();
            let propagated = boolean(tag, "PropagateAtLaunch").unwrap_or(false);
            group.tags.insert(needed(tag, "Key")?.to_owned(), (value, propagated));
        }
        Ok(json!({}))
    }

    /// Without names it is about all of them.
    fn suspend(&mut self, input: &Value, on: bool) -> Answer {
        let (now, name) = (self.now, needed(input, "AutoScalingGroupName")?);
        let mut named = texts(input, "ScalingProcesses");
        if let Some(unknown) = named.iter().find(|own| !PROCESSES.contains(&own.as_str())) {
            return Err(AwsError::validation(format!("{unknown} is not a valid process type")));
        }
        if named.is_empty() {
            named = PROCESSES.map(str::to_owned).into();
        }
        let group = self.scaled_group(name)?;
        for process in named {
            match on {
                true => drop(group.suspended.entry(process).or_insert(now)),
                false => drop(group.suspended.remove(&process)),
            }
        }
        self.fit(name);
        Ok(json!({}))
    }
}
