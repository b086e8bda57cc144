//! Amazon ECS: clusters, task definitions, services, deployments, tasks.

pub mod clusters;
pub mod definitions;
pub mod deployments;
pub mod forced;
pub mod lifecycle;
pub mod rollout;
pub mod scheduler;
pub mod service;
pub mod services;
pub mod stages;
pub mod task;
pub mod tasks;
pub mod views;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use self::clusters::Cluster;
use self::definitions::Definition;
use self::service::Service;
use self::task::Task;
use super::Caller;
use super::error::{Answer, AwsError};
use super::space::Space;
use super::value::{list, required, text, texts};

#[derive(Debug, Clone, Default)]
pub struct Ecs {
    /// By name.
    pub clusters: BTreeMap<String, Cluster>,
    /// By family, oldest first.
    pub families: BTreeMap<String, Vec<Definition>>,
    /// By ARN, which holds cluster and name.
    pub services: BTreeMap<String, Service>,
    /// By id.
    pub tasks: BTreeMap<String, Task>,
    /// What a RunTask with this token and cluster started, and what it asked for.
    pub tokens: BTreeMap<(String, String), (Value, Vec<String>)>,
    /// Tags of all of these, by ARN.
    pub tags: BTreeMap<String, Vec<(String, String)>>,
}

impl Space {
    pub fn ecs_call(&mut self, caller: &Caller, operation: &str, input: &Value) -> Answer {
        match operation {
            "CreateCluster" => self.create_cluster(input),
            "DescribeClusters" => self.describe_clusters(input),
            "ListClusters" => self.list_clusters(input),
            "DeleteCluster" => self.delete_cluster(input),
            "RegisterTaskDefinition" => self.register_task_definition(caller, input),
            "DescribeTaskDefinition" => self.describe_task_definition(input),
            "DeregisterTaskDefinition" => self.deregister_task_definition(input),
            "DeleteTaskDefinitions" => self.delete_task_definitions(input),
            "ListTaskDefinitions" => self.list_task_definitions(input),
            "ListTaskDefinitionFamilies" => self.list_task_definition_families(input),
            "CreateService" => self.create_service(caller, input),
            "UpdateService" => self.update_service(input),
            "DeleteService" => self.delete_service(input),
            "DescribeServices" => self.describe_services(input),
            "ListServices" => self.list_services(input),
            "ListServiceDeployments" => self.list_service_deployments(input),
            "DescribeServiceDeployments" => self.describe_service_deployments(input),
            "StopServiceDeployment" => self.stop_service_deployment(input),
            "ContinueServiceDeployment" => self.continue_service_deployment(input),
            "DescribeServiceRevisions" => self.describe_service_revisions(input),
            "RunTask" => self.run_task(input),
            "StopTask" => self.stop_task_call(input),
            "ListTasks" => self.list_tasks(input),
            "DescribeTasks" => self.describe_tasks(input),
            "ListContainerInstances" => self.list_container_instances(input),
            "DescribeContainerInstances" => self.describe_container_instances(input),
            "UpdateContainerInstancesState" => self.update_container_instances_state(input),
            "TagResource" => self.tag_resource(input),
            "UntagResource" => self.untag_resource(input),
            "ListTagsForResource" => {
                let arn = required(input, "resourceArn")?;
                Ok(json!({"tags": self.ecs_tags(arn)}))
            }
            "ListAccountSettings" => Ok(json!({"settings": []})),
            _ => Err(AwsError::unknown_operation("ecs", operation)),
        }
    }

    fn tag_resource(&mut self, input: &Value) -> Answer {
        let arn = required(input, "resourceArn")?.to_owned();
        self.taggable(&arn)?;
        let tags = tags_of(input);
        self.add_tags(&arn, tags)?;
        Ok(json!({}))
    }

    fn untag_resource(&mut self, input: &Value) -> Answer {
        let arn = required(input, "resourceArn")?.to_owned();
        self.taggable(&arn)?;
        let keys = texts(input, "tagKeys");
        if let Some(tags) = self.ecs.tags.get_mut(&arn) {
            tags.retain(|(key, _)| !keys.contains(key));
        }
        Ok(json!({}))
    }

    fn taggable(&self, arn: &str) -> Result<(), AwsError> {
        let known = self.ecs.services.contains_key(arn)
            || self.ecs.clusters.values().any(|cluster| cluster.arn == arn)
            || self.ecs.tasks.values().any(|task| task.arn == arn)
            || self.ecs.families.values().flatten().any(|definition| definition.arn == arn);
        if known {
            Ok(())
        } else {
            Err(AwsError::invalid("The specified resource is inactive. Specify an active resource and try again."))
        }
    }

    pub fn add_tags(&mut self, arn: &str, tags: Vec<(String, String)>) -> Result<(), AwsError> {
        let own = self.ecs.tags.entry(arn.to_owned()).or_default();
        for (key, value) in tags {
            own.retain(|(other, _)| *other != key);
            own.push((key, value));
        }
        if own.len() > 50 {
            return Err(AwsError::invalid("Tags can not be more than 50 per resource."));
        }
        Ok(())
    }

    pub fn ecs_tags(&self, arn: &str) -> Value {
        let tags = self.ecs.tags.get(arn).map_or(&[][..], Vec::as_slice);
        tags.iter().map(|(key, value)| json!({"key": key, "value": value})).collect()
    }
}

pub fn tags_of(input: &Value) -> Vec<(String, String)> {
    list(input, "tags")
        .iter()
        .filter_map(|tag| Some((text(tag, "key")?.to_owned(), text(tag, "value").unwrap_or_default().to_owned())))
        .collect()
}
