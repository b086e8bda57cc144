//! Services of this installation scaled and deleted.
//!
//! Two installations of one manifest on one cluster name their environments and services alike, so neither a name nor the
//! environment's tag says whose a service is: only what is seen to carry this installation's tag is touched, or told at all.

use std::sync::Arc;

use aws_sdk_ecs::types as ecs;
use landfall_model::inventory::TAG_INSTANCE;
use landfall_ports::{PortError, PortResult};

use super::past::Watch;
use super::{Ecs, Memory, locked};
use crate::budget::Family;
use crate::call::Call;

impl Memory {
    /// Of a service that is gone, or was never ours. What a read may only be too old to show stays.
    pub(crate) fn forget_service(&self, name: &str) {
        {
            let mut watches = locked(&self.watches);
            if watches.get(name).is_none_or(Watch::may_be_unseen) {
                return;
            }
            watches.remove(name);
        }
        locked(&self.failures).retain(|_, failures| failures.service != name);
        // arn:…:service-revision/CLUSTER/SERVICE/NUMBER
        locked(&self.revisions).retain(|arn, _| arn.rsplit('/').nth(1) != Some(name));
    }
}

impl Ecs {
    /// As ECS has it now, if it is there and this installation's.
    pub(crate) async fn our_service(&self, name: &str) -> PortResult<Option<Arc<ecs::Service>>> {
        Ok(self.service(name).await?.filter(|service| self.is_ours(service)))
    }

    pub(crate) fn is_ours(&self, service: &ecs::Service) -> bool {
        service.status.as_deref() != Some("INACTIVE")
            && super::from_tags(service.tags()).get(TAG_INSTANCE) == Some(&self.core.options.instance)
    }

    /// # Errors
    /// `NotFound` where this installation has no service of that name, or it is being deleted.
    pub(crate) async fn scale(&self, name: &str, desired_count: u32) -> PortResult<()> {
        if self.our_service(name).await?.is_none() {
            return Err(PortError::NotFound(format!("this installation has no service {name}")));
        }
        locked(&self.found).take(name);
        let resource = format!("service {name}");
        let call = Call::ecs("UpdateService", Family::ServiceModify, &resource);
        let request = (self.core.clients.ecs.update_service())
            .cluster(&self.core.target.cluster)
            .service(name)
            .desired_count(super::definition::number(desired_count));
        match self.core.caller.call(call, || request.clone().send()).await {
            Ok(_) => Ok(()),
            // It drains: that comes to the same.
            Err(failed) if failed.is("ServiceNotActiveException") && desired_count == 0 => Ok(()),
            Err(failed) if failed.is("ServiceNotActiveException") => {
                Err(PortError::NotFound(format!("service {name} is being deleted")))
            }
            Err(failed) => Err(self.explained(failed)),
        }
    }

    /// With force, so that tasks that still run go as well. Nothing where this installation has no service of that name.
    pub(crate) async fn delete(&self, name: &str) -> PortResult<()> {
        if self.our_service(name).await?.is_none() {
            return Ok(());
        }
        locked(&self.found).take(name);
        let resource = format!("service {name}");
        let call = Call::ecs("DeleteService", Family::ServiceModify, &resource);
        let request =
            self.core.clients.ecs.delete_service().cluster(&self.core.target.cluster).service(name).force(true);
        if let Some(watch) = locked(&self.watches).get_mut(name) {
            watch.deleted();
        }
        match self.core.caller.call(call, || request.clone().send()).await {
            Ok(_) => Ok(()),
            Err(failed) if failed.is("ServiceNotFoundException") || failed.is("ServiceNotActiveException") => Ok(()),
            Err(failed) => Err(self.explained(failed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_is_gone_is_forgotten_and_one_that_is_not_seen_yet_is_not() {
        let memory = Memory::default();
        let arn = |service: &str| format!("arn:aws:ecs:eu-west-1:1:service-revision/main/{service}/7");
        let deployment = ecs::Deployment::builder().id("ecs-svc/7").build();
        for service in ["web", "web-2"] {
            memory.watch(service, &deployment);
            locked(&memory.revisions).insert(arn(service), "web:1".to_owned());
        }
        memory.forget_service("web");
        assert_eq!(locked(&memory.revisions).len(), 2, "just begun");
        if let Some(watch) = locked(&memory.watches).get_mut("web") {
            watch.deleted();
        }
        memory.forget_service("web");
        assert_eq!(locked(&memory.revisions).keys().cloned().collect::<Vec<_>>(), [arn("web-2")]);
        assert_eq!(locked(&memory.watches).keys().cloned().collect::<Vec<_>>(), ["web-2"]);
    }
}
