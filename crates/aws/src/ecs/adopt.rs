//! Services that Landfall did not make, taken over where a long-lived environment asks for it.

use std::time::Duration;

use aws_sdk_ecs::types as ecs;
use landfall_model::inventory::{TAG_ENVIRONMENT, TAG_EXECUTION, TAG_INSTANCE, TAKEN_OVER, Tags};
use landfall_ports::orchestrator::ServiceDescription;
use landfall_ports::{PortError, PortResult};
use tokio::time::Instant;

use super::{Ecs, Memory, locked};
use crate::budget::Family;
use crate::call::Call;
use crate::tags;

/// ECS answers reads from copies that may be seconds old: for so long what was put on is believed without being seen.
const LAG: Duration = Duration::from_secs(60);

/// Tags that this process has put on, by the service's ARN.
pub(crate) struct PutOn {
    tags: Tags,
    /// Whose it was. A read that shows neither this one nor us is newer than what was put on.
    former: Option<String>,
    at: Instant,
}

impl Memory {
    /// Tags that a read may be too old to show.
    pub(crate) fn add_put_on(&self, service: &mut ecs::Service) {
        let mut adopted = locked(&self.adopted);
        if adopted.is_empty() {
            return;
        }
        adopted.retain(|_, put_on| put_on.at.elapsed() <= LAG);
        let Some(put_on) = service.service_arn.as_ref().and_then(|arn| adopted.get(arn)) else { return };
        let mut all = super::from_tags(service.tags());
        let instance = all.get(TAG_INSTANCE);
        if instance != put_on.former.as_ref() && instance != put_on.tags.get(TAG_INSTANCE) {
            return;
        }
        all.extend(put_on.tags.clone());
        service.tags = Some(super::to_tags(&all));
    }
}

impl Ecs {
    /// As ECS has it now, with our tags on it.
    pub(crate) async fn take_over(&self, name: &str, wanted: &Tags) -> PortResult<Option<ServiceDescription>> {
        let wanted = self.core.tags(wanted);
        let Some(service) = self.service(name).await? else { return Ok(None) };
        match service.status.as_deref() {
            Some("INACTIVE") => return Ok(None),
            Some("DRAINING") => return Err(PortError::Unavailable(format!("service {name} is still draining"))),
            _ => {}
        }
        self.adopt(&service, name, &wanted, true).await?;
        let mut service = ecs::Service::clone(&service);
        self.add_put_on(&mut service);
        Ok(Some(self.shown(name, &service)))
    }

    /// Puts our tags on what may be taken over. Nothing where it is ours.
    pub(crate) async fn adopt(&self, service: &ecs::Service, name: &str, wanted: &Tags, may: bool) -> PortResult<()> {
        let there = super::from_tags(service.tags());
        if !must_adopt(name, &there, wanted, may)? {
            return Ok(());
        }
        // An undo deletes what its execution made: this one has not, and whichever has is not to find it again.
        let mut put_on = wanted.clone();
        match there.contains_key(TAG_EXECUTION) {
            true => drop(put_on.insert(TAG_EXECUTION.to_owned(), TAKEN_OVER.to_owned())),
            false => drop(put_on.remove(TAG_EXECUTION)),
        }
        let former = there.get(TAG_INSTANCE).cloned();
        tags::check(&there.into_iter().chain(put_on.clone()).collect())?;
        self.tag(service, &put_on).await?;
        if let Some(arn) = service.service_arn.clone() {
            locked(&self.adopted).insert(arn, PutOn { tags: put_on, former, at: Instant::now() });
        }
        Ok(())
    }

    pub(crate) async fn tag(&self, service: &ecs::Service, tags: &Tags) -> PortResult<()> {
        let resource = format!("service {}", service.service_name.as_deref().unwrap_or_default());
        let call = Call::ecs("TagResource", Family::EcsTagModify, &resource);
        let request = (self.core.clients.ecs.tag_resource())
            .set_resource_arn(service.service_arn.clone())
            .set_tags(Some(super::to_tags(tags)));
        self.ecs(call, || request.clone().send()).await?;
        Ok(())
    }
}

/// Only what the same installation made for the same environment is updated; with `may` also what nobody of Landfall's made,
/// or another installation for the same environment. Whether it has to be taken over first.
fn must_adopt(name: &str, there: &Tags, wanted: &Tags, may: bool) -> PortResult<bool> {
    let same = |key: &str| there.get(key) == wanted.get(key);
    if same(TAG_INSTANCE) && same(TAG_ENVIRONMENT) {
        return Ok(false);
    }
    let nobody_s = !there.contains_key(TAG_INSTANCE) && !there.contains_key(TAG_ENVIRONMENT);
    if may && (nobody_s || same(TAG_ENVIRONMENT)) {
        return Ok(true);
    }
    let owner = match (there.get(TAG_ENVIRONMENT), there.get(TAG_INSTANCE)) {
        (Some(environment), Some(instance)) => {
            format!("belongs to environment {environment} of installation {instance}")
        }
        _ => "was not made by Landfall".to_owned(),
    };
    Err(PortError::Conflict(format!("service {name} {owner}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(pairs: &[(&str, &str)]) -> Tags {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn nobody_s_service_and_the_same_environment_s_may_be_taken_over_and_no_other() {
        let wanted = tags(&[(TAG_INSTANCE, "i1"), (TAG_ENVIRONMENT, "app@prod")]);
        let ask = |there: &[(&str, &str)], may| must_adopt("web", &tags(there), &wanted, may);
        assert!(!ask(&[(TAG_INSTANCE, "i1"), (TAG_ENVIRONMENT, "app@prod")], false).unwrap());
        assert!(ask(&[("team", "shop")], true).unwrap());
        assert!(ask(&[(TAG_INSTANCE, "i2"), (TAG_ENVIRONMENT, "app@prod")], true).unwrap());
        for (there, may) in [
            (vec![("team", "shop")], false),
            (vec![(TAG_INSTANCE, "i2"), (TAG_ENVIRONMENT, "app@prod")], false),
            (vec![(TAG_INSTANCE, "i1"), (TAG_ENVIRONMENT, "app@dev")], true),
            (vec![(TAG_ENVIRONMENT, "app@dev")], true),
        ] {
            assert!(matches!(ask(&there, may), Err(PortError::Conflict(_))), "{there:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn tags_that_were_put_on_count_until_reads_must_show_them() {
        let memory = Memory::default();
        let put_on = PutOn { tags: tags(&[(TAG_INSTANCE, "i1")]), former: None, at: Instant::now() };
        locked(&memory.adopted).insert("arn:web".to_owned(), put_on);
        let shown = |there: &[(&str, &str)]| {
            let there = super::super::to_tags(&tags(there));
            let mut service = ecs::Service::builder().service_arn("arn:web").set_tags(Some(there)).build();
            memory.add_put_on(&mut service);
            super::super::from_tags(service.tags())
        };
        let read = || shown(&[]);
        assert_eq!(read(), tags(&[(TAG_INSTANCE, "i1")]));
        let newer = [(TAG_INSTANCE, "i2")];
        assert_eq!(shown(&newer), tags(&newer), "taken over by another since");
        tokio::time::advance(LAG + Duration::from_secs(1)).await;
        assert_eq!(read(), Tags::new());
    }
}
