//! Places on AWS, authored → resolved; and the defaults that differ there.

use std::collections::BTreeMap;

use landfall_model::app::{ChatEnvelope, NotificationTarget};
use landfall_model::aws::{AssumeRole, AwsTarget};

use super::defaults;
use crate::authored;
use crate::scalar::Text;

/// The sender of a message that names none.
const SENDER: &str = "landfall";

pub(super) fn targets(aws: BTreeMap<String, authored::AwsTarget>) -> BTreeMap<String, AwsTarget> {
    aws.into_iter().map(|(name, target)| (name.clone(), self::target(name, target))).collect()
}

fn target(name: String, target: authored::AwsTarget) -> AwsTarget {
    let network = target.network.unwrap_or_default();
    AwsTarget {
        name,
        region: target.region,
        profile: text(target.profile),
        endpoint: target.endpoint,
        account: text(target.account),
        role: target.role.map(|role| AssumeRole { arn: role.arn.0, external_id: text(role.external_id) }),
        cluster: target.cluster.0,
        load_balancer: text(target.load_balancer),
        address: text(target.address),
        probe_through: text(target.probe_through),
        vpc: text(target.vpc),
        subnets: network.subnets.into_iter().map(|id| id.0).collect(),
        security_groups: network.security_groups.into_iter().map(|id| id.0).collect(),
        public_ip: network.public_ip,
        execution_role: text(target.execution_role),
        task_role: text(target.task_role),
        log_group: text(target.log_group),
        certificate: text(target.certificate),
    }
}

/// `usual`: the target of topics that name none.
pub(super) fn sns(sns: authored::SnsTarget, usual: Option<&str>) -> Option<NotificationTarget> {
    let envelope = sns.envelope.map(|envelope| ChatEnvelope {
        channel: envelope.channel.0,
        username: text(envelope.username).unwrap_or_else(|| SENDER.to_owned()),
        icon_url: envelope.icon_url,
    });
    let on = text(sns.on).or_else(|| usual.map(str::to_owned))?;
    Some(NotificationTarget::Sns { topic: sns.topic.0, on, envelope })
}

pub(super) fn text(text: Option<Text>) -> Option<String> {
    text.map(|text| text.0)
}

/// How often a target is checked unless the manifest says. AWS takes neither less than 5s between checks nor less than 2s
/// for one (<https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html>).
pub(crate) struct TargetTimes {
    pub interval_ms: u32,
    aws: bool,
}

impl TargetTimes {
    pub(crate) fn of(aws: bool) -> Self {
        Self { interval_ms: if aws { defaults::AWS_TARGET_INTERVAL_MS } else { defaults::TARGET_INTERVAL_MS }, aws }
    }

    pub(crate) fn timeout_ms(&self, interval_ms: u32) -> u32 {
        if self.aws {
            defaults::AWS_TARGET_TIMEOUT_MS
        } else {
            defaults::TARGET_TIMEOUT_MS.min((interval_ms / 2).max(1))
        }
    }
}
