//! A service and its task definition as ECS's own JSON: what there is, word for word as ECS tells it, and what we would send, as
//! the SDK writes it. The latter goes through the very mapping that registers and creates, and is stopped before it leaves.

use std::error::Error as StdError;

use aws_sdk_ecs::types as ecs;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use landfall_model::task::{LaunchType, TaskDefinition};
use landfall_ports::orchestrator::{Documents, PutService};
use landfall_ports::{PortError, PortResult, chain};
use serde_json::{Value, json};

use super::Ecs;
use super::change::{self, TAG_TIMEOUT};
use crate::budget::Family;
use crate::call::Call;
use crate::signed;
use crate::wire::Unsent;

/// What an update may say, and where it belongs. What a service was made with besides stays: launch type, how tags spread.
const UPDATED: [&str; 8] = [
    "cluster",
    "serviceName",
    "taskDefinition",
    "desiredCount",
    "deploymentConfiguration",
    "loadBalancers",
    "healthCheckGracePeriodSeconds",
    "networkConfiguration",
];

impl Ecs {
    /// Of any owner: reading takes nothing over.
    pub(crate) async fn live_documents(&self, name: &str) -> PortResult<Option<Documents>> {
        let found = self.as_it_is(name).await?.filter(|(service, _)| service.status.as_deref() != Some("INACTIVE"));
        let Some((_, mut service)) = found else { return Ok(None) };
        let handle = service["taskDefinition"].as_str().unwrap_or_default().to_owned();
        if let Some(target) = self.scalable_target(name).await? {
            service["scalableTarget"] = target;
        }
        let task_definition = match handle.as_str() {
            "" => Value::Null,
            handle => {
                let found = self.definition_as_it_is(handle).await?;
                found.ok_or_else(|| PortError::NotFound(format!("task definition {handle} of service {name}")))?
            }
        };
        Ok(Some(Documents { task_definition, service }))
    }

    /// The limits within which Application Auto Scaling sets the desired count. `None`: it does not, or may not be asked.
    async fn scalable_target(&self, name: &str) -> PortResult<Option<Value>> {
        let cluster = self.core.target.cluster.rsplit('/').next().unwrap_or_default();
        let id = format!("service/{cluster}/{name}");
        let call = Call {
            service: "application-autoscaling",
            action: "DescribeScalableTargets",
            family: Family::ScalingRead,
            resource: &id,
        };
        let body =
            json!({"ServiceNamespace": "ecs", "ResourceIds": [id], "ScalableDimension": "ecs:service:DesiredCount"});
        let target = "AnyScaleFrontendService.DescribeScalableTargets";
        match signed::json(&self.signer, &self.core, call, &self.core.region, target, &body).await {
            Ok(answer) => {
                let found = answer["ScalableTargets"].as_array().and_then(|all| all.first());
                Ok(found.map(|it| json!({"minCapacity": it["MinCapacity"], "maxCapacity": it["MaxCapacity"]})))
            }
            Err(error @ PortError::Throttled { .. }) => Err(error),
            Err(error) => {
                tracing::debug!(%error, "whether the service is scaled automatically is not known");
                Ok(None)
            }
        }
    }

    pub(crate) async fn wanted_documents(
        &self,
        definition: &TaskDefinition,
        request: &PutService,
    ) -> PortResult<Documents> {
        let mut tags = self.core.tags(&request.tags);
        let made = self.made(definition).await?.made;
        let awsvpc = request.launch_type == LaunchType::Fargate || made.network_mode == Some(ecs::NetworkMode::Awsvpc);
        let unsent = Unsent::default();
        let registration = self.registration(made, &tags).customize().interceptor(unsent.clone());
        stopped(registration.send().await)?;
        let task_definition = unsent.json(&format!("task definition {}", definition.family))?;

        let there = self.service(&request.name).await?;
        let there = there.filter(|service| service.status.as_deref() != Some("INACTIVE"));
        let network = self.network_for(request, awsvpc, there.is_some())?;
        tags.insert(TAG_TIMEOUT.to_owned(), request.deployment.timeout.to_string());
        let configuration = there.as_ref().and_then(|service| service.deployment_configuration.as_ref());
        let unsent = Unsent::default();
        let creation = self.creation(request, &tags, network, "", configuration)?;
        stopped(creation.customize().interceptor(unsent.clone()).send().await)?;
        let mut service = unsent.json(&format!("service {}", request.name))?;
        if there.is_some()
            && request.document.is_none()
            && let Some(fields) = service.as_object_mut()
        {
            fields.retain(|name, _| UPDATED.contains(&name.as_str()));
        }
        if let Some(live) = &there
            && request.document.is_none()
            && change::balancing(live, request)?.is_none()
            && let Some(fields) = service.as_object_mut()
        {
            fields.remove("loadBalancers");
        }
        // An update says so, where a creation says nothing; what was taken over keeps its own.
        if request.document.is_none() && !request.adopt && service["loadBalancers"].is_null() {
            service["loadBalancers"] = json!([]);
        }
        Ok(Documents { task_definition, service })
    }
}

/// The operation failed as it should; anything else than our own stop is told.
fn stopped<T, E: StdError + Send + Sync + 'static>(result: Result<T, SdkError<E, HttpResponse>>) -> PortResult<()> {
    match result {
        Err(error) if Unsent::is(&error) => Ok(()),
        Err(error) => Err(PortError::Invalid(chain(&error))),
        Ok(_) => Err(PortError::Bug("a request that was to be looked at was sent".to_owned())),
    }
}
