//! Elastic Load Balancing's calls, one by one, through the budget; listings read to the last page.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use aws_sdk_elasticloadbalancingv2::types::{
    Listener, LoadBalancerTypeEnum, Rule, Tag, TagDescription, TargetGroup, TargetGroupAttribute,
    TargetHealthDescription,
};
use landfall_model::inventory::Tags;
use landfall_ports::{PortError, PortResult};
use tokio::time::Instant;

use super::{Balancer, Elb};
use crate::budget::Family;
use crate::call::Call;
use crate::error::Failed;
use crate::tags;

/// Most that one page holds and one DescribeTags takes.
const PAGE: i32 = 400;
const TAG_BATCH: usize = 20;

pub(crate) fn read<'a>(action: &'static str, resource: &'a str) -> Call<'a> {
    Call { service: "elasticloadbalancing", action, family: Family::ElbRead, resource }
}

pub(super) fn write<'a>(action: &'static str, resource: &'a str) -> Call<'a> {
    Call { service: "elasticloadbalancing", action, family: Family::ElbModify, resource }
}

pub(super) fn sdk_tags(tags: &Tags) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

fn tags_of(description: TagDescription) -> (String, Tags) {
    let tags = description.tags.unwrap_or_default();
    let tags = tags::read(tags.iter().map(|tag| (tag.key.as_deref(), tag.value.as_deref())));
    (description.resource_arn.unwrap_or_default(), tags)
}

/// Calls a paged operation until its last page and gathers one field of its answers.
macro_rules! pages {
    ($elb:expr, $call:expr, $request:expr, $field:ident) => {{
        let (mut all, mut marker) = (Vec::new(), None);
        loop {
            let page = $elb.core.caller.call($call, || $request.set_marker(marker.clone()).send()).await?;
            all.extend(page.$field.unwrap_or_default());
            marker = page.next_marker.filter(|marker| !marker.is_empty());
            if marker.is_none() {
                break all;
            }
        }
    }};
}
pub(crate) use pages;

impl Elb {
    pub(super) fn client(&self) -> &aws_sdk_elasticloadbalancingv2::Client {
        &self.core.clients.elb
    }

    /// The shared load balancer, looked up once, and again once a listing does not find it.
    ///
    /// # Errors
    /// `Invalid` where the target names none or one that cannot route HTTP.
    pub(super) async fn balancer(&self) -> PortResult<Arc<Balancer>> {
        let mut known = self.balancer.lock().await;
        if let Some(known) = &*known {
            return Ok(Arc::clone(known));
        }
        Ok(Arc::clone(known.insert(Arc::new(self.look_up().await?))))
    }

    /// As `balancer`, where what is known may be gone.
    pub(super) async fn balancer_anew(&self) -> PortResult<Arc<Balancer>> {
        *self.balancer.lock().await = None;
        self.balancer().await
    }

    async fn look_up(&self) -> PortResult<Balancer> {
        let target = &self.core.target;
        let Some(name) = &target.load_balancer else {
            return Err(PortError::Invalid(format!(
                "aws.{0}.load_balancer is not set: give its name or ARN",
                target.name
            )));
        };
        let resource = format!("load balancer {name}");
        let request = || {
            let request = self.client().describe_load_balancers();
            if name.starts_with("arn:") { request.load_balancer_arns(name) } else { request.names(name) }
        };
        let call = read("DescribeLoadBalancers", &resource);
        let answer = self.core.caller.call(call, || request().send()).await.map_err(|failed| {
            if !failed.not_found() {
                return failed.error;
            }
            let (region, at) = (&self.core.region, &target.name);
            PortError::NotFound(format!("{} (region {region}: is aws.{at}.load_balancer right?)", failed.error))
        })?;
        let found = answer.load_balancers.unwrap_or_default().into_iter().next();
        let found =
            found.ok_or_else(|| PortError::NotFound(format!("{resource} is not in region {}", self.core.region)))?;
        if found.r#type.as_ref().is_some_and(|kind| *kind != LoadBalancerTypeEnum::Application) {
            return Err(PortError::Invalid(format!("{resource} is no Application Load Balancer")));
        }
        Ok(Balancer {
            arn: found.load_balancer_arn.unwrap_or_default(),
            name: found.load_balancer_name.unwrap_or_else(|| name.clone()),
            dns_name: found.dns_name.unwrap_or_default(),
            vpc: found.vpc_id,
        })
    }

    /// Seconds; of the load balancer as a whole.
    pub(super) async fn idle_timeout(&self) -> PortResult<u32> {
        let ask = || async {
            let balancer = self.balancer().await?;
            let resource = format!("load balancer {}", balancer.name);
            let request = || self.client().describe_load_balancer_attributes().load_balancer_arn(&balancer.arn).send();
            let answer = self.core.caller.call(read("DescribeLoadBalancerAttributes", &resource), request).await?;
            let attributes = answer.attributes.unwrap_or_default().into_iter();
            let mut timeout = attributes.filter(|a| a.key.as_deref() == Some("idle_timeout.timeout_seconds"));
            Ok::<_, PortError>(timeout.next().and_then(|a| a.value?.parse().ok()).unwrap_or(60))
        };
        self.idle_timeout.get_or_try_init(ask).await.copied()
    }

    pub(super) async fn listeners(&self) -> PortResult<Vec<Listener>> {
        let balancer = self.balancer().await?;
        let resource = format!("load balancer {}", balancer.name);
        let call = read("DescribeListeners", &resource);
        let request = || self.client().describe_listeners().load_balancer_arn(&balancer.arn).page_size(PAGE);
        Ok(pages!(self, call, request(), listeners))
    }

    /// Its default rule among them.
    pub(super) async fn rules(&self, listener: &str) -> Result<Vec<Rule>, Failed> {
        let call = read("DescribeRules", listener);
        Ok(pages!(self, call, self.client().describe_rules().listener_arn(listener).page_size(PAGE), rules))
    }

    /// All of the region.
    pub(super) async fn target_groups(&self) -> Result<Vec<TargetGroup>, Failed> {
        let call = read("DescribeTargetGroups", "all target groups");
        Ok(pages!(self, call, self.client().describe_target_groups().page_size(PAGE), target_groups))
    }

    pub(super) async fn target_group(&self, name: &str) -> Result<Option<TargetGroup>, Failed> {
        let resource = format!("target group {name}");
        let request = || {
            let request = self.client().describe_target_groups();
            let request = if name.starts_with("arn:") { request.target_group_arns(name) } else { request.names(name) };
            request.send()
        };
        match self.core.caller.call(read("DescribeTargetGroups", &resource), request).await {
            Ok(answer) => Ok(answer.target_groups.unwrap_or_default().into_iter().next()),
            Err(failed) if failed.not_found() => Ok(None),
            Err(failed) => Err(failed),
        }
    }

    pub(super) async fn attributes(&self, group: &str) -> Result<Vec<TargetGroupAttribute>, Failed> {
        let request = || self.client().describe_target_group_attributes().target_group_arn(group).send();
        let answer = self.core.caller.call(read("DescribeTargetGroupAttributes", group), request).await?;
        Ok(answer.attributes.unwrap_or_default())
    }

    pub(super) async fn health(&self, group: &str) -> Result<Vec<TargetHealthDescription>, Failed> {
        let request = || self.client().describe_target_health().target_group_arn(group).send();
        let answer = self.core.caller.call(read("DescribeTargetHealth", group), request).await?;
        Ok(answer.target_health_descriptions.unwrap_or_default())
    }

    /// As they are now, for whoever is about to change or delete. `None`: it is gone.
    pub(super) async fn tags(&self, arn: &str) -> Result<Option<Tags>, Failed> {
        match self.describe_tags(&[arn]).await {
            Ok(mut found) => Ok(found.remove(arn)),
            Err(failed) if failed.not_found() => Ok(None),
            Err(failed) => Err(failed),
        }
    }

    /// For listings: tags seen before are not asked for again. `NotFound` where one vanished meanwhile.
    ///
    /// What was read is remembered at once, so that a listing that is cut off goes on where it was.
    pub(super) async fn known_tags(&self, arns: &[&str]) -> Result<BTreeMap<String, Tags>, Failed> {
        let mut known = BTreeMap::new();
        {
            let mut seen = super::locked(&self.seen_tags);
            seen.forget_old(Instant::now());
            for arn in arns {
                if let Some(tags) = seen.get(arn) {
                    known.insert((*arn).to_owned(), tags.clone());
                }
            }
        }
        let unknown: Vec<&str> = arns.iter().copied().filter(|arn| !known.contains_key(*arn)).collect();
        for batch in unknown.chunks(TAG_BATCH) {
            let asked = Instant::now();
            for (arn, tags) in self.describe_tags(batch).await? {
                super::locked(&self.seen_tags).learn(&arn, &tags, asked);
                known.insert(arn, tags);
            }
        }
        Ok(known)
    }

    pub(super) fn remember_tags(&self, arn: &str, tags: &Tags) {
        super::locked(&self.seen_tags).learn(arn, tags, Instant::now());
    }

    async fn describe_tags(&self, arns: &[&str]) -> Result<HashMap<String, Tags>, Failed> {
        let resource = match arns {
            [arn] => (*arn).to_owned(),
            arns => format!("{} resources", arns.len()),
        };
        let arns: Vec<String> = arns.iter().map(|arn| (*arn).to_owned()).collect();
        let request = || self.client().describe_tags().set_resource_arns(Some(arns.clone())).send();
        let answer = self.core.caller.call(read("DescribeTags", &resource), request).await?;
        Ok(answer.tag_descriptions.unwrap_or_default().into_iter().map(tags_of).collect())
    }
}
