//! Clusters. INACTIVE ones are described for a while, as AWS does.

use serde_json::{Value, json};

use super::tags_of;
use crate::world::error::{Answer, AwsError};
use crate::world::space::Space;
use crate::world::value::{leaf, number, page, text, texts};

#[derive(Debug, Clone)]
pub struct Cluster {
    pub arn: String,
    pub name: String,
    pub active: bool,
    settings: Value,
    providers: Value,
    strategy: Value,
}

impl Space {
    /// The active cluster that a request means by name, by ARN or by leaving it out.
    pub fn cluster(&self, name: Option<&str>) -> Result<&Cluster, AwsError> {
        let given = name.unwrap_or("default");
        let found = self.ecs.clusters.get(leaf(given)).filter(|cluster| cluster.active);
        match found {
            Some(cluster) if !given.starts_with("arn:") || cluster.arn == given => Ok(cluster),
            _ => Err(AwsError::new("ClusterNotFoundException", "Cluster not found.")),
        }
    }

    pub fn create_cluster(&mut self, input: &Value) -> Answer {
        let name = text(input, "clusterName").unwrap_or("default").to_owned();
        let arn = self.arn("ecs", &format!("cluster/{name}"));
        if self.cluster(Some(&name)).is_err() {
            let keep = |key: &str| input.get(key).cloned().unwrap_or(json!([]));
            let cluster = Cluster {
                arn: arn.clone(),
                name: name.clone(),
                active: true,
                settings: input
                    .get("settings")
                    .cloned()
                    .unwrap_or(json!([{"name": "containerInsights", "value": "disabled"}])),
                providers: keep("capacityProviders"),
                strategy: keep("defaultCapacityProviderStrategy"),
            };
            self.ecs.clusters.insert(name.clone(), cluster);
            self.add_tags(&arn, tags_of(input))?;
        }
        let cluster = self.cluster(Some(&name))?;
        Ok(json!({"cluster": self.cluster_view(cluster, true)}))
    }

    fn cluster_view(&self, cluster: &Cluster, tags: bool) -> Value {
        let of_cluster = |arn: &str| arn == cluster.arn;
        let tasks = self.ecs.tasks.values().filter(|task| of_cluster(&task.cluster));
        let (mut running, mut pending) = (0, 0);
        for task in tasks {
            running += u32::from(task.counts_as_running());
            pending += u32::from(task.counts_as_pending());
        }
        let services =
            self.ecs.services.values().filter(|service| of_cluster(&service.cluster) && service.exists()).count();
        json!({
            "clusterArn": cluster.arn,
            "clusterName": cluster.name,
            "status": if cluster.active { "ACTIVE" } else { "INACTIVE" },
            "registeredContainerInstancesCount": self.container_instances(&cluster.arn),
            "runningTasksCount": running,
            "pendingTasksCount": pending,
            "activeServicesCount": services,
            "statistics": [],
            "tags": if tags { self.ecs_tags(&cluster.arn) } else { json!([]) },
            "settings": cluster.settings,
            "capacityProviders": cluster.providers,
            "defaultCapacityProviderStrategy": cluster.strategy,
        })
    }

    pub fn describe_clusters(&mut self, input: &Value) -> Answer {
        let mut names = texts(input, "clusters");
        if names.is_empty() {
            names.push("default".to_owned());
        }
        if names.len() > 100 {
            return Err(AwsError::invalid("Clusters cannot have more than 100 elements."));
        }
        let tags = texts(input, "include").iter().any(|word| word == "TAGS");
        let (mut clusters, mut failures) = (Vec::new(), Vec::new());
        for name in names {
            match self.ecs.clusters.get(leaf(&name)) {
                Some(cluster) => clusters.push(self.cluster_view(cluster, tags)),
                None => {
                    let arn = self.arn("ecs", &format!("cluster/{}", leaf(&name)));
                    failures.push(json!({"arn": arn, "reason": "MISSING"}));
                }
            }
        }
        Ok(json!({"clusters": clusters, "failures": failures}))
    }

    pub fn list_clusters(&mut self, input: &Value) -> Answer {
        let size = page_size(input, 100)?;
        let arns = self.ecs.clusters.values().filter(|cluster| cluster.active);
        let arns = arns.map(|cluster| (cluster.arn.clone(), cluster.arn.clone())).collect();
        let (arns, next) = page(arns, text(input, "nextToken"), size)?;
        Ok(listing("clusterArns", arns, next))
    }

    pub fn delete_cluster(&mut self, input: &Value) -> Answer {
        let cluster = self.cluster(text(input, "cluster"))?.clone();
        if self.ecs.services.values().any(|service| service.cluster == cluster.arn && service.exists()) {
            let message = "The Cluster cannot be deleted while Services are active.";
            return Err(AwsError::new("ClusterContainsServicesException", message));
        }
        if self.container_instances(&cluster.arn) > 0 {
            let message = "The Cluster cannot be deleted while Container Instances are active or draining.";
            return Err(AwsError::new("ClusterContainsContainerInstancesException", message));
        }
        if self.ecs.tasks.values().any(|task| task.cluster == cluster.arn && task.is_live()) {
            let message = "The Cluster cannot be deleted while Tasks are active.";
            return Err(AwsError::new("ClusterContainsTasksException", message));
        }
        if let Some(own) = self.ecs.clusters.get_mut(&cluster.name) {
            own.active = false;
        }
        let gone = crate::world::ecs::clusters::Cluster { active: false, ..cluster };
        Ok(json!({"cluster": self.cluster_view(&gone, false)}))
    }
}

/// `maxResults`, within 1 and `most`.
pub fn page_size(input: &Value, most: u64) -> Result<usize, AwsError> {
    match number(input, "maxResults") {
        None => Ok(most as usize),
        Some(size) if (1..=most).contains(&size) => Ok(size as usize),
        Some(_) => Err(AwsError::invalid(format!("maxResults must be between 1 and {most}."))),
    }
}

pub fn listing(key: &str, items: impl Into<Value>, next: Option<String>) -> Value {
    let mut answer = json!({ key: items.into() });
    if let Some(next) = next {
        answer["nextToken"] = next.into();
    }
    answer
}
