//! Target groups: put, describe, delete, health.

use aws_sdk_ecs::types::NetworkMode;
use aws_sdk_elasticloadbalancingv2::types::{
    Matcher, ProtocolEnum, TargetGroup, TargetHealthDescription, TargetHealthStateEnum,
};
use landfall_model::inventory::{TAG_EXECUTION, Tags};
use landfall_model::step::EnsureTargetGroup;
use landfall_model::task::LaunchType;
use landfall_ports::load_balancer::{Put, TargetGroupDescription, TargetHealth, TargetState};
use landfall_ports::{PortError, PortResult};

use super::calls::{sdk_tags, write};
use super::target_group::{Check, Wanted, settings};
use super::{Elb, Owner, environment_of};
use crate::error::Failed;

impl Elb {
    pub(super) async fn put_group(&self, request: &EnsureTargetGroup) -> PortResult<Put> {
        self.core.caller.room(write("CreateTargetGroup", &format!("target group {}", request.name)))?;
        let wanted = Wanted::new(request, self.base_is_awsvpc(request).await?)?;
        if let Some(group) = self.target_group(&request.name).await? {
            return self.update_group(request, &wanted, &group).await;
        }
        match self.create_group(request, &wanted).await {
            Ok(group) => {
                self.set_attributes(&arn(&group), &wanted).await.map_err(not_seen_yet)?;
                Ok(Put { handle: arn(&group), created: true, url: None })
            }
            // Made meanwhile, or by an earlier call whose answer was lost.
            Err(failed) if failed.is("DuplicateTargetGroupName") => match self.target_group(&request.name).await? {
                Some(group) => self.update_group(request, &wanted, &group).await,
                None => Err(PortError::Unavailable(format!("{} and is not seen yet", failed.error))),
            },
            Err(failed) => Err(self.full(failed)),
        }
    }

    /// Asked on EC2 only, where a base may be in any mode.
    async fn base_is_awsvpc(&self, request: &EnsureTargetGroup) -> PortResult<bool> {
        let (LaunchType::Ec2, Some(base)) = (request.launch_type, &request.base) else { return Ok(false) };
        let found = self.ecs.read_definition(base).await?;
        let found = found.ok_or_else(|| PortError::NotFound(format!("task definition {base} does not exist")))?;
        Ok(found.definition.network_mode == Some(NetworkMode::Awsvpc))
    }

    async fn create_group(&self, request: &EnsureTargetGroup, wanted: &Wanted) -> Result<TargetGroup, Failed> {
        let vpc = self.vpc().await?;
        let tags = self.core.tags(&request.tags);
        crate::tags::check(&tags)?;
        let check = &wanted.check;
        let send = || {
            let request = self.client().create_target_group().name(&request.name);
            let request = request.protocol(ProtocolEnum::Http).port(wanted.port).set_vpc_id(vpc.clone());
            let request = request.target_type(wanted.target_type.clone());
            let request = request.health_check_enabled(true).health_check_protocol(check.protocol.clone());
            let request = request.health_check_port(&check.port).health_check_path(&check.path);
            let request = request.health_check_interval_seconds(check.interval);
            let request = request.health_check_timeout_seconds(check.timeout);
            let request = request.healthy_threshold_count(check.healthy).unhealthy_threshold_count(check.unhealthy);
            request.matcher(matcher(check)).set_tags(Some(sdk_tags(&tags))).send()
        };
        let resource = format!("target group {}", request.name);
        let answer = self.core.caller.call(write("CreateTargetGroup", &resource), send).await?;
        let group = answer.target_groups.unwrap_or_default().into_iter().next();
        let group = group.ok_or_else(|| PortError::Bug(format!("{resource} was made and the answer has none")))?;
        self.remember_tags(&arn(&group), &tags);
        Ok(group)
    }

    async fn update_group(&self, request: &EnsureTargetGroup, wanted: &Wanted, group: &TargetGroup) -> PortResult<Put> {
        let arn = arn(group);
        let name = &request.name;
        let tags = self.tags(&arn).await?;
        let tags = tags.ok_or_else(|| PortError::Unavailable(format!("target group {name} was deleted meanwhile")))?;
        if self.owner(&tags, environment_of(&request.tags)) != Owner::Ours {
            return Err(self.belongs(&format!("target group {name}"), &tags));
        }
        if let Some(why) = wanted.unchangeable(group, self.vpc().await?.as_deref()) {
            let message =
                format!("target group {name} cannot be changed: {why}; destroy the environment and create it anew");
            return Err(PortError::Conflict(message));
        }
        if Check::of(group) != wanted.check {
            let check = &wanted.check;
            let send = || {
                let request = self.client().modify_target_group().target_group_arn(&arn).health_check_enabled(true);
                let request = request.health_check_protocol(check.protocol.clone()).health_check_port(&check.port);
                let request = request.health_check_path(&check.path).health_check_interval_seconds(check.interval);
                let request = request.health_check_timeout_seconds(check.timeout);
                let request = request.healthy_threshold_count(check.healthy);
                request.unhealthy_threshold_count(check.unhealthy).matcher(matcher(check)).send()
            };
            let resource = format!("target group {name}");
            let sent = self.core.caller.call(write("ModifyTargetGroup", &resource), send).await;
            sent.map_err(|failed| not_seen_yet(failed.error))?;
        }
        self.set_attributes(&arn, wanted).await.map_err(not_seen_yet)?;
        Ok(Put { handle: arn, created: made_by_this(&tags, &request.tags), url: None })
    }

    async fn set_attributes(&self, arn: &str, wanted: &Wanted) -> PortResult<()> {
        let changed = wanted.changed(&self.attributes(arn).await?);
        if changed.is_empty() {
            return Ok(());
        }
        let send = || {
            let request = self.client().modify_target_group_attributes().target_group_arn(arn);
            request.set_attributes(Some(changed.clone())).send()
        };
        self.core.caller.call(write("ModifyTargetGroupAttributes", arn), send).await?;
        Ok(())
    }

    async fn vpc(&self) -> PortResult<Option<String>> {
        match &self.core.target.vpc {
            Some(vpc) => Ok(Some(vpc.clone())),
            None => Ok(self.balancer().await?.vpc.clone()),
        }
    }

    pub(super) async fn describe_group(&self, name: &str) -> PortResult<Option<TargetGroupDescription>> {
        let Some(group) = self.target_group(name).await? else { return Ok(None) };
        let arn = arn(&group);
        let Some(tags) = self.tags(&arn).await? else { return Ok(None) };
        let attributes = match self.attributes(&arn).await {
            Err(failed) if failed.not_found() => return Ok(None),
            other => other?,
        };
        let settings = settings(&group, &attributes, self.idle_timeout().await?);
        Ok(Some(TargetGroupDescription { settings, tags }))
    }

    /// By name or ARN.
    pub(super) async fn delete_group(&self, name: &str, environment: &str) -> PortResult<()> {
        let Some(group) = self.target_group(name).await? else { return Ok(()) };
        let arn = arn(&group);
        let Some(tags) = self.tags(&arn).await? else { return Ok(()) };
        if self.owner(&tags, Some(environment)) != Owner::Ours {
            tracing::warn!(name, environment, "target group is another's and is left alone");
            return Ok(());
        }
        let send = || self.client().delete_target_group().target_group_arn(&arn).send();
        let resource = format!("target group {name}");
        gone_is_fine(self.core.caller.call(write("DeleteTargetGroup", &resource), send).await)
    }

    /// By ARN or name.
    pub(super) async fn group_health(&self, target_group: &str) -> PortResult<Vec<TargetHealth>> {
        let arn = if target_group.starts_with("arn:") {
            target_group.to_owned()
        } else {
            let group = self.target_group(target_group).await?;
            arn(&group.ok_or_else(|| PortError::NotFound(format!("target group {target_group} does not exist")))?)
        };
        Ok(self.health(&arn).await?.into_iter().map(target_health).collect())
    }
}

pub(super) fn arn(group: &TargetGroup) -> String {
    group.target_group_arn.clone().unwrap_or_default()
}

fn matcher(check: &Check) -> Matcher {
    Matcher::builder().http_code(&check.matcher).build()
}

/// What has just been made, or just been seen, is not everywhere known yet, or not any more: another try tells.
pub(super) fn not_seen_yet(error: PortError) -> PortError {
    match error {
        PortError::NotFound(text) => PortError::Unavailable(text),
        other => other,
    }
}

pub(super) fn gone_is_fine<T>(result: Result<T, Failed>) -> PortResult<()> {
    match result {
        Ok(_) => Ok(()),
        Err(failed) if failed.not_found() => Ok(()),
        Err(failed) => Err(failed.error),
    }
}

/// A put repeated after a lost answer still made what it finds.
pub(super) fn made_by_this(found: &Tags, request: &Tags) -> bool {
    found.get(TAG_EXECUTION).is_some_and(|execution| request.get(TAG_EXECUTION) == Some(execution))
}

/// `unused` and `unavailable` receive no traffic and will not by waiting alone: unhealthy, with their reason.
fn target_health(health: TargetHealthDescription) -> TargetHealth {
    let target =
        health.target.unwrap_or_else(|| aws_sdk_elasticloadbalancingv2::types::TargetDescription::builder().build());
    let id = target.id.unwrap_or_default();
    let target = target.port.map_or(id.clone(), |port| format!("{id}:{port}"));
    let Some(health) = health.target_health else {
        return TargetHealth { target, state: TargetState::Initial, reason: None };
    };
    let state = match &health.state {
        Some(TargetHealthStateEnum::Healthy) => TargetState::Healthy,
        Some(TargetHealthStateEnum::Draining | TargetHealthStateEnum::UnhealthyDraining) => TargetState::Draining,
        Some(TargetHealthStateEnum::Initial) | None => TargetState::Initial,
        Some(_) => TargetState::Unhealthy,
    };
    let word = health.state.as_ref().filter(|_| state == TargetState::Unhealthy).map(TargetHealthStateEnum::as_str);
    let word = word.filter(|word| *word != "unhealthy");
    let code = health.reason.as_ref().map(|reason| reason.as_str());
    let reason = match (health.description.filter(|text| !text.is_empty()), code) {
        (Some(text), Some(code)) => Some(format!("{text} ({code})")),
        (Some(text), None) => Some(text),
        (None, code) => code.map(str::to_owned),
    };
    let reason = match (word, reason) {
        (Some(word), Some(reason)) => Some(format!("{word}: {reason}")),
        (word, reason) => reason.or(word.map(str::to_owned)),
    };
    TargetHealth { target, state, reason: reason.filter(|_| state != TargetState::Healthy) }
}

#[cfg(test)]
mod tests {
    use aws_sdk_elasticloadbalancingv2::types::{TargetDescription, TargetHealth as Health, TargetHealthReasonEnum};

    use super::*;

    fn health(state: &str, reason: Option<&str>, description: Option<&str>) -> TargetHealth {
        let target = TargetDescription::builder().id("10.0.0.7").port(4567).build();
        let health = Health::builder()
            .state(TargetHealthStateEnum::from(state))
            .set_reason(reason.map(TargetHealthReasonEnum::from))
            .set_description(description.map(str::to_owned));
        target_health(TargetHealthDescription::builder().target(target).target_health(health.build()).build())
    }

    #[test]
    fn states_and_reasons_of_targets() {
        let bad = health(
            "unhealthy",
            Some("Target.ResponseCodeMismatch"),
            Some("Health checks failed with these codes: [500]"),
        );
        assert_eq!((bad.target.as_str(), bad.state), ("10.0.0.7:4567", TargetState::Unhealthy));
        assert_eq!(
            bad.reason.as_deref(),
            Some("Health checks failed with these codes: [500] (Target.ResponseCodeMismatch)")
        );
        let unused =
            health("unused", Some("Target.NotInUse"), Some("Target group is not configured to receive traffic"));
        assert_eq!(unused.state, TargetState::Unhealthy);
        assert!(unused.reason.unwrap().starts_with("unused: Target group is not configured"));
        let first = health("initial", Some("Elb.RegistrationInProgress"), None);
        assert_eq!((first.state, first.reason.as_deref()), (TargetState::Initial, Some("Elb.RegistrationInProgress")));
        assert_eq!(health("draining", None, None).state, TargetState::Draining);
        assert_eq!(health("unhealthy.draining", None, None).state, TargetState::Draining);
        assert_eq!(health("unavailable", None, None).reason.as_deref(), Some("unavailable"));
        let good = health("healthy", None, None);
        assert_eq!((good.state, good.reason), (TargetState::Healthy, None));
    }

    #[test]
    fn what_this_execution_made_is_its_own_after_a_lost_answer() {
        let tags = |execution: &str| Tags::from([(TAG_EXECUTION.to_owned(), execution.to_owned())]);
        assert!(made_by_this(&tags("exe_1"), &tags("exe_1")));
        assert!(!made_by_this(&tags("exe_1"), &tags("exe_2")));
        assert!(!made_by_this(&Tags::new(), &Tags::new()));
    }
}
