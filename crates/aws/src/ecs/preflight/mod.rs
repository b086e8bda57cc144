//! Whether what would be sent can run, looked at without sending it: everything that the two documents name is asked for where it
//! is. Only metadata is read, never a secret's value. What may not be read, or does not answer, is told as not checked.

mod account;
mod network;

use landfall_model::task::TaskDefinition;
use landfall_ports::orchestrator::{Documents, Found, Looked, Orchestrator as _, PutService};
use landfall_ports::{PortError, PortResult};
use serde_json::Value;

use super::Ecs;
use crate::budget::Family;
use crate::call::Call;

/// What a look ends in: `Ok(None)` where all is well.
type Look = PortResult<Option<(String, String)>>;

fn fine() -> Look {
    Ok(None)
}

fn wrong(message: impl Into<String>, hint: impl Into<String>) -> Look {
    Ok(Some((message.into(), hint.into())))
}

/// Whoever may not look is no fault of what is looked at.
fn looked(what: impl Into<String>, look: Look) -> Looked {
    let found = match look {
        Ok(None) => Found::Ok,
        Ok(Some((message, hint))) => Found::Wrong { message, hint },
        Err(error) => Found::NotChecked { why: error.to_string() },
    };
    Looked { what: what.into(), found }
}

fn not_checked(what: impl Into<String>, why: impl Into<String>) -> Looked {
    Looked { what: what.into(), found: Found::NotChecked { why: why.into() } }
}

impl Ecs {
    pub(crate) async fn look(&self, definition: &TaskDefinition, request: &PutService) -> PortResult<Vec<Looked>> {
        let mut all = vec![self.cluster_is_active(request).await];
        let no_cluster = matches!(all[0].found, Found::Wrong { .. });
        let documents = match self.desired_documents(definition, request).await {
            Ok(documents) => documents,
            Err(PortError::NotFound(_) | PortError::Invalid(_)) if no_cluster => return Ok(all),
            // A base or a secret that is not there, a setting that ECS does not take: nothing else can be looked at without.
            Err(PortError::NotFound(message) | PortError::Invalid(message)) => {
                let hint = "correct the manifest, or make what is missing";
                all.push(looked(format!("task definition {}", definition.family), wrong(message, hint)));
                return Ok(all);
            }
            Err(error) => return Err(error),
        };
        let (images, secrets, roles, logs, network) = tokio::join!(
            self.images_exist(&documents),
            self.secrets_exist(&documents),
            self.roles_are_trusted(&documents),
            self.log_groups_exist(&documents),
            self.network_fits(&documents),
        );
        for part in [images, secrets, roles, logs, network] {
            all.extend(part);
        }
        Ok(all)
    }

    async fn cluster_is_active(&self, request: &PutService) -> Looked {
        let cluster = &self.core.target.cluster;
        let what = format!("cluster {cluster}");
        let call = Call::ecs("DescribeClusters", Family::ClusterRead, &what);
        let describe = self.core.clients.ecs.describe_clusters().clusters(cluster);
        let answer = match self.ecs(call, || describe.clone().send()).await {
            Ok(answer) => answer,
            Err(error) => return looked(&what, Err(error)),
        };
        let found = answer.clusters().first();
        let status = found.and_then(|found| found.status()).unwrap_or("MISSING");
        let region = &self.core.region;
        if status != "ACTIVE" {
            let hint = format!("correct `cluster` or `region` of target {}, or create it", self.core.target.name);
            return looked(&what, wrong(format!("in {region} it is {status}"), hint));
        }
        let providers: Vec<&str> =
            found.map(|found| found.capacity_providers()).unwrap_or_default().iter().map(String::as_str).collect();
        let strategy = request.document.as_ref().and_then(|document| document["capacityProviderStrategy"].as_array());
        let asked = strategy.into_iter().flatten().filter_map(|part| part["capacityProvider"].as_str());
        let missing: Vec<&str> = asked.filter(|asked| !providers.contains(asked)).collect();
        if !missing.is_empty() {
            let message = format!("it has no capacity provider {}", missing.join(", "));
            return looked(&what, wrong(message, "`aws ecs put-cluster-capacity-providers` adds one"));
        }
        let instances = found.map_or(0, |found| found.registered_container_instances_count());
        let on_instances = request.launch_type == landfall_model::task::LaunchType::Ec2 && request.document.is_none();
        if on_instances && instances == 0 && request.desired_count > 0 && providers.is_empty() {
            let message = "no instance is registered in it, and tasks of launch type ec2 need one";
            return looked(&what, wrong(message, account::NO_INSTANCE));
        }
        looked(&what, fine())
    }
}

/// The containers of a task definition, with their names.
fn containers(documents: &Documents) -> impl Iterator<Item = (&str, &Value)> {
    let all = documents.task_definition["containerDefinitions"].as_array().into_iter().flatten();
    all.map(|container| (container["name"].as_str().unwrap_or_default(), container))
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}
