//! What a stack makes in the other services: of a cluster of instances the cluster, the task definitions for EC2 and the Auto Scaling groups.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Happening, Stack};
use crate::world::Caller;
use crate::world::fleets::{Agent, GroupPlan};
use crate::world::space::Space;
use crate::world::value::{leaf, list, text, texts};

const CLUSTER: &str = "AWS::ECS::Cluster";
const DEFINITION: &str = "AWS::ECS::TaskDefinition";
const GROUP: &str = "AWS::AutoScaling::AutoScalingGroup";

/// A template with its parameters' values.
struct Filled {
    template: Value,
    parameters: BTreeMap<String, String>,
}

impl Filled {
    /// What the operation under way makes of the stack; while it is rolled back what was there before.
    fn of(stack: &Stack) -> Option<Self> {
        let back = stack.status.contains("ROLLBACK");
        let (template, parameters) = match stack.wanted.as_ref().filter(|_| !back) {
            Some(wanted) => (&wanted.template, &wanted.parameters),
            None => (stack.template.as_ref()?, &stack.parameters),
        };
        Some(Self { template: serde_json::from_str(template).ok()?, parameters: parameters.clone() })
    }

    fn properties(&self, resource: &str) -> Value {
        self.value(&self.template["Resources"][resource]["Properties"])
    }

    /// With values in the place of references to parameters, and names in that of references to all else.
    fn value(&self, value: &Value) -> Value {
        match value {
            Value::Object(map) => match map.iter().next() {
                Some((key, Value::String(name))) if key == "Ref" && map.len() == 1 => {
                    let default = &self.template["Parameters"][name]["Default"];
                    let given = self.parameters.get(name).map(|value| json!(value));
                    given.or_else(|| Some(default.clone()).filter(|it| !it.is_null())).unwrap_or_else(|| json!(name))
                }
                Some((key, inner)) if key == "Fn::Base64" => self.value(inner),
                _ => map.iter().map(|(key, value)| (key.clone(), self.value(value))).collect(),
            },
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            other => other.clone(),
        }
    }

    /// What a group is made of. Of several types it launches the first.
    fn plan(&self, group: &Value) -> GroupPlan {
        let mixed = &group["MixedInstancesPolicy"]["LaunchTemplate"];
        let launch = if mixed.is_null() { &group["LaunchTemplate"] } else { &mixed["LaunchTemplateSpecification"] };
        let template = self.properties(text(launch, "LaunchTemplateId").unwrap_or_default());
        let data = &template["LaunchTemplateData"];
        let first = list(mixed, "Overrides").first();
        let kind = first.and_then(|first| text(first, "InstanceType")).or_else(|| text(data, "InstanceType"));
        let zones = texts(group, "AvailabilityZones");
        GroupPlan {
            bounds: (size(group, "MinSize"), size(group, "MaxSize")),
            kind: kind.unwrap_or("t3.medium").to_owned(),
            weight: first.map(|first| size(first, "WeightedCapacity")).filter(|weight| *weight > 0),
            zones: if zones.is_empty() { vec!["us-east-1a".to_owned()] } else { zones },
            agent: Self::agent(data),
        }
    }

    /// What its instances are told, by the user data of its launch template.
    fn agent(data: &Value) -> Agent {
        let script = text(data, "UserData").unwrap_or_default().to_owned();
        let said = |key: &str| script.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let attributes = said("ECS_INSTANCE_ATTRIBUTES").and_then(|text| serde_json::from_str(text).ok());
        Agent {
            cluster: said("ECS_CLUSTER").unwrap_or_default().to_owned(),
            attributes: attributes.unwrap_or_default(),
        }
    }
}

/// As ECS's own API has it: `containerDefinitions` of `ContainerDefinitions`.
fn lower(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| {
                let mut name = key.clone();
                if let Some(first) = name.get_mut(..1) {
                    first.make_ascii_lowercase();
                }
                (name, lower(value))
            })
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().map(lower).collect(),
        other => other.clone(),
    }
}

fn size(group: &Value, key: &str) -> u64 {
    let value = &group[key];
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(0)
}

impl Space {
    /// What happens to a resource happens in its service. Its physical id, where that has given it another one.
    pub(super) fn made(&mut self, stack: &str, happening: &Happening) -> Option<String> {
        self.rules.instances.as_ref()?;
        let Happening::Resource { resource, kind, status, .. } = happening else { return None };
        let own = self.cloudformation.stacks.get(stack)?;
        let there = own.resources.get(resource).map(|one| one.physical.clone());
        if status == "DELETE_COMPLETE" {
            self.unmade(kind, &there?);
            return None;
        }
        if !matches!(status.as_str(), "CREATE_COMPLETE" | "UPDATE_COMPLETE") {
            return None;
        }
        let filled = Filled::of(own)?;
        let properties = filled.properties(resource);
        match kind.as_str() {
            CLUSTER => {
                let name = text(&properties, "ClusterName")?.to_owned();
                self.create_cluster(&json!({"clusterName": name})).ok()?;
                Some(name)
            }
            DEFINITION if properties["RequiresCompatibilities"] == json!(["EC2"]) => {
                let (account, region) = (self.account.clone(), self.region.clone());
                let arn = "arn:aws:sts::0:assumed-role/cloudformation".to_owned();
                let caller = Caller { account, region, arn };
                let made = self.register_task_definition(&caller, &lower(&properties)).ok()?;
                if let Some(former) = there.filter(|former| former.starts_with("arn:")) {
                    self.unmade(kind, &former);
                }
                text(&made["taskDefinition"], "taskDefinitionArn").map(str::to_owned)
            }
            GROUP => {
                let name = there.filter(|_| status == "UPDATE_COMPLETE");
                let name = name.unwrap_or_else(|| format!("{stack}-{resource}-{}", &self.ids.hex16()[..8]));
                self.put_group(&name, stack, filled.plan(&properties));
                Some(name)
            }
            _ => None,
        }
    }

    fn unmade(&mut self, kind: &str, physical: &str) {
        match kind {
            // Refused before it began, where it cannot be (`in_the_way`).
            CLUSTER => drop(self.delete_cluster(&json!({"cluster": physical}))),
            DEFINITION => drop(self.deregister_task_definition(&json!({"taskDefinition": leaf(physical)}))),
            GROUP => self.delete_group(physical),
            _ => {}
        }
    }

    /// Resources of a stack that their services will not delete, and why.
    pub(super) fn in_the_way(&self, stack: &str) -> BTreeMap<String, String> {
        let own = self.cloudformation.stacks.get(stack).filter(|_| self.rules.instances.is_some());
        let clusters = own.into_iter().flat_map(|own| &own.resources).filter(|(_, one)| one.kind == CLUSTER);
        let refused = clusters.filter_map(|(id, one)| {
            let cluster = self.cluster(Some(&one.physical)).ok()?;
            let services = self.ecs.services.values().any(|own| own.cluster == cluster.arn && own.exists());
            let what = match (services, self.container_instances(&cluster.arn) > 0) {
                (true, _) => "Services are active",
                (_, true) => "Container Instances are active or draining",
                _ => return None,
            };
            Some((id.clone(), format!("The Cluster cannot be deleted while {what}.")))
        });
        refused.collect()
    }
}
