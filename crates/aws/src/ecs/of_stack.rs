//! Services that a stack of CloudFormation made: why one of them does not come up.

use landfall_model::Timestamp;
use landfall_ports::PortResult;
use landfall_ports::stacks::ServiceFailures;

use super::rollout::time;
use super::tasks::task_id;
use super::{Ecs, service};

impl Ecs {
    /// `service`: its ARN, or its name. Whoever it is owned by: that a stack of ours has it is known already.
    pub(crate) async fn failures_of(&self, service: &str, since: Timestamp) -> PortResult<ServiceFailures> {
        let Some(name) = in_cluster(service, &self.core.target.cluster) else { return Ok(ServiceFailures::default()) };
        let found = self.describe_services(vec![name.to_owned()]).await?.remove(name).flatten();
        let Some(found) = found else { return Ok(ServiceFailures::default()) };
        let mut events = service::events(&found);
        events.retain(|event| event.at >= since);
        // Of a service that is gone since, ECS may list none.
        let mut failed = self.failed_tasks(name).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "no stopped tasks of a stack's service");
            Vec::new()
        });
        failed.retain(|task| time(task.created_at.as_ref()) >= since);
        Ok(ServiceFailures { tasks: self.described(failed.iter()).await, events })
    }
}

/// The service's name, where it is in that cluster. An ARN in the old form does not say.
fn in_cluster<'a>(service: &'a str, cluster: &str) -> Option<&'a str> {
    let Some((_, path)) = service.split_once(":service/") else { return Some(service) };
    match path.split_once('/') {
        Some((own, name)) => (own == task_id(cluster)).then_some(name),
        None => Some(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_services_of_the_own_cluster_are_asked_for() {
        let arn = "arn:aws:ecs:eu-west-1:1:service/shop-prod/shop-prod-web";
        assert_eq!(in_cluster(arn, "shop-prod"), Some("shop-prod-web"));
        assert_eq!(in_cluster(arn, "arn:aws:ecs:eu-west-1:1:cluster/shop-prod"), Some("shop-prod-web"));
        assert_eq!(in_cluster(arn, "other"), None);
        assert_eq!(in_cluster("arn:aws:ecs:eu-west-1:1:service/web", "other"), Some("web"));
        assert_eq!(in_cluster("web", "other"), Some("web"));
    }
}
