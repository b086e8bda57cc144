//! Routes: a host rule on the shared listener of its port, or a listener of its own.

use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, Certificate, FixedResponseActionConfig, HostHeaderConditionConfig, Listener, ProtocolEnum,
    Rule, RuleCondition,
};
use landfall_model::inventory::{TAG_ENVIRONMENT, Tags};
use landfall_model::step::url;
use landfall_ports::load_balancer::Put;
use landfall_ports::{PortError, PortResult};
use tokio::sync::MutexGuard;

use super::calls::{sdk_tags, write};
use super::groups::{gone_is_fine, made_by_this, not_seen_yet};
use super::rules::{self, forwards_to, is_https, lowest_free, of_host, shadowing};
use super::{Elb, Owner, environment_of, limits};
use crate::budget::LONGEST_WAIT;
use crate::error::Failed;
use crate::http::NOBODY;

/// Looks at the rules again this often before somebody else's haste is the caller's business.
const RACES: u32 = 5;
/// TLS 1.2 and 1.3 with forward secrecy. Without a choice the API takes one of 2016, with TLS 1.0.
const SSL_POLICY: &str = "ELBSecurityPolicy-TLS13-1-2-2021-06";
/// On a listener that several environments share.
pub(super) const TAG_SHARED: &str = "landfall.shared";

fn forward(target_group: &str) -> Action {
    Action::builder().r#type(ActionTypeEnum::Forward).target_group_arn(target_group).build()
}

/// What a shared listener answers for a host that nobody has.
fn not_found() -> Action {
    let config = FixedResponseActionConfig::builder().status_code("404").content_type("text/plain");
    let config = config.message_body(format!("{NOBODY}\n")).build();
    Action::builder().r#type(ActionTypeEnum::FixedResponse).fixed_response_config(config).build()
}

pub(super) fn arn_of(listener: &Listener) -> &str {
    listener.listener_arn.as_deref().unwrap_or_default()
}

pub(super) fn rule_arn(rule: &Rule) -> &str {
    rule.rule_arn.as_deref().unwrap_or_default()
}

impl Elb {
    /// With the name of the load balancer or the region, where it is one of its limits.
    pub(super) fn full(&self, failed: Failed) -> PortError {
        let balancer = self.core.target.load_balancer.as_deref().unwrap_or_default();
        not_seen_yet(limits::port_error(failed, balancer, &self.core.region))
    }

    fn protocol(&self) -> ProtocolEnum {
        if self.core.target.certificate.is_some() { ProtocolEnum::Https } else { ProtocolEnum::Http }
    }

    fn certificates(&self) -> Option<Vec<Certificate>> {
        let arn = self.core.target.certificate.as_deref()?;
        Some(vec![Certificate::builder().certificate_arn(arn).build()])
    }

    fn ssl_policy(&self) -> Option<String> {
        self.core.target.certificate.as_ref().map(|_| SSL_POLICY.to_owned())
    }

    async fn create_listener(&self, port: u16, action: Action, tags: &Tags) -> Result<Listener, Failed> {
        let balancer = self.balancer().await?;
        let resource = format!("port {port} of load balancer {}", balancer.name);
        let send = || {
            let request = self.client().create_listener().load_balancer_arn(&balancer.arn).port(i32::from(port));
            let request = request.protocol(self.protocol()).set_certificates(self.certificates());
            let request = request.set_ssl_policy(self.ssl_policy());
            request.default_actions(action.clone()).set_tags(Some(sdk_tags(tags))).send()
        };
        let answer = self.core.caller.call(write("CreateListener", &resource), send).await?;
        let listener = answer.listeners.unwrap_or_default().into_iter().next();
        let listener = listener.ok_or_else(|| PortError::Bug(format!("{resource}: made, and the answer has none")))?;
        self.remember_tags(arn_of(&listener), tags);
        Ok(listener)
    }

    async fn listener_at(&self, port: u16) -> PortResult<Option<Listener>> {
        Ok(self.listeners().await?.into_iter().find(|listener| rules::port(listener) == Some(port)))
    }

    /// The shared listener of a port, found or made.
    async fn shared_listener(&self, port: u16) -> PortResult<Listener> {
        let found = match self.listener_at(port).await? {
            Some(listener) => listener,
            None => {
                let tags = self.core.tags(&Tags::from([(TAG_SHARED.to_owned(), "host-rules".to_owned())]));
                match self.create_listener(port, not_found(), &tags).await {
                    Ok(listener) => return Ok(listener),
                    Err(failed) if failed.is("DuplicateListener") => self
                        .listener_at(port)
                        .await?
                        .ok_or_else(|| PortError::Unavailable(format!("{} and is not seen yet", failed.error)))?,
                    Err(failed) => return Err(self.full(failed)),
                }
            }
        };
        // Somebody's own listener goes with its environment, and our rule would go with it.
        let arn = arn_of(&found);
        let mut known = self.known_tags(&[arn]).await.map_err(|failed| not_seen_yet(failed.error))?;
        let tags = known.remove(arn).unwrap_or_default();
        if tags.contains_key(TAG_ENVIRONMENT) {
            return Err(self.belongs(&format!("the listener of port {port}"), &tags));
        }
        Ok(found)
    }

    /// To change routes. Not waited for until the engine cuts it off: that would count as a failure.
    async fn turn(&self) -> PortResult<MutexGuard<'_, ()>> {
        tokio::time::timeout(LONGEST_WAIT, self.routing.lock()).await.map_err(|_| PortError::Throttled {
            message: "others are changing routes of the same load balancer".to_owned(),
            retry_after_ms: Some(1_000),
        })
    }

    pub(super) async fn put_rule(&self, host: &str, port: u16, target_group: &str, tags: &Tags) -> PortResult<Put> {
        self.core.caller.room(write("CreateRule", &format!("host {host} on port {port}")))?;
        let _one_at_a_time = self.turn().await?;
        let listener = self.shared_listener(port).await?;
        let reached = Some(url(is_https(&listener), host, port));
        let tags = self.core.tags(tags);
        crate::tags::check(&tags)?;
        let mut race = 0;
        loop {
            let all = self.rules(arn_of(&listener)).await.map_err(|failed| not_seen_yet(failed.error))?;
            if let Some((rule, created)) = self.rule_of(&all, host, target_group, &tags).await? {
                return Ok(Put { handle: rule, created, url: reached });
            }
            let priority = lowest_free(&all)
                .ok_or_else(|| PortError::Full(format!("every priority of the listener of port {port} is taken")))?;
            if let Some(other) = shadowing(&all, host, priority) {
                let (rule, before) = (rule_arn(other), other.priority.as_deref().unwrap_or_default());
                return Err(PortError::Conflict(format!(
                    "rule {rule} (priority {before}) on port {port} takes every request for {host} and no lower priority is \
                     free: give it a higher number"
                )));
            }
            let condition = HostHeaderConditionConfig::builder().values(host).build();
            let condition = RuleCondition::builder().field("host-header").host_header_config(condition).build();
            let resource = format!("host {host} on port {port}");
            let send = || {
                let request = self.client().create_rule().listener_arn(arn_of(&listener)).priority(priority);
                let request = request.conditions(condition.clone()).actions(forward(target_group));
                request.set_tags(Some(sdk_tags(&tags))).send()
            };
            match self.core.caller.call(write("CreateRule", &resource), send).await {
                Ok(answer) => {
                    let rule = answer.rules.unwrap_or_default().into_iter().next();
                    let rule =
                        rule.ok_or_else(|| PortError::Bug(format!("{resource}: made, and the answer has no rule")))?;
                    self.remember_tags(rule_arn(&rule), &tags);
                    return Ok(Put { handle: rule_arn(&rule).to_owned(), created: true, url: reached });
                }
                Err(failed) if failed.is("PriorityInUse") && race < RACES => race += 1,
                Err(failed) if failed.is("PriorityInUse") => {
                    return Err(PortError::Unavailable(failed.error.to_string()));
                }
                Err(failed) => return Err(self.full(failed)),
            }
        }
    }

    /// The rule that the host has already, made to forward to `target_group`; whether this execution made it. A second one of
    /// ours, which a lost answer may have left, is deleted.
    async fn rule_of(
        &self,
        all: &[Rule],
        host: &str,
        target_group: &str,
        tags: &Tags,
    ) -> PortResult<Option<(String, bool)>> {
        let mut kept: Option<(String, bool)> = None;
        for rule in of_host(all, host) {
            let arn = rule_arn(rule);
            // Gone meanwhile, or so new that not everyone knows of it: a second one must not be made.
            let theirs = self.tags(arn).await?;
            let theirs =
                theirs.ok_or_else(|| PortError::Unavailable(format!("rule {arn} of host {host} is not seen")))?;
            if self.owner(&theirs, environment_of(tags)) != Owner::Ours {
                let priority = rule.priority.as_deref().unwrap_or_default();
                return Err(self.belongs(&format!("host {host} (rule {arn}, priority {priority})"), &theirs));
            }
            if kept.is_some() {
                self.delete_rule_unasked(arn).await?;
                continue;
            }
            if forwards_to(rule.actions.as_deref()) != Some(target_group) {
                let send = || self.client().modify_rule().rule_arn(arn).actions(forward(target_group)).send();
                let resource = format!("host {host}");
                match self.core.caller.call(write("ModifyRule", &resource), send).await {
                    Err(failed) if failed.is("RuleNotFound") => continue,
                    other => other.map_err(|failed| self.full(failed))?,
                };
            }
            kept = Some((arn.to_owned(), made_by_this(&theirs, tags)));
        }
        Ok(kept)
    }

    pub(super) async fn put_listener(&self, port: u16, target_group: &str, tags: &Tags) -> PortResult<Put> {
        self.core.caller.room(write("CreateListener", &format!("port {port}")))?;
        let _one_at_a_time = self.turn().await?;
        let address = self.address().await?;
        let tags = self.core.tags(tags);
        crate::tags::check(&tags)?;
        let found = match self.listener_at(port).await? {
            Some(listener) => listener,
            None => match self.create_listener(port, forward(target_group), &tags).await {
                Ok(listener) => {
                    let reached = Some(url(is_https(&listener), &address, port));
                    return Ok(Put { handle: arn_of(&listener).to_owned(), created: true, url: reached });
                }
                // Ours by a call whose answer was lost, or somebody's: its tags tell. Not seen: asked again later.
                Err(failed) if failed.is("DuplicateListener") => match self.listener_at(port).await? {
                    Some(listener) => listener,
                    None => return Err(PortError::Unavailable(format!("{} and is not seen yet", failed.error))),
                },
                Err(failed) => return Err(self.full(failed)),
            },
        };
        let arn = arn_of(&found);
        let theirs = self.tags(arn).await?;
        let theirs =
            theirs.ok_or_else(|| PortError::Unavailable(format!("the listener of port {port} went meanwhile")))?;
        if self.owner(&theirs, environment_of(&tags)) != Owner::Ours {
            return Err(self.belongs(&format!("port {port} of the load balancer"), &theirs));
        }
        self.update_listener(&found, port, target_group).await?;
        let reached = Some(url(self.core.target.certificate.is_some(), &address, port));
        Ok(Put { handle: arn.to_owned(), created: made_by_this(&theirs, &tags), url: reached })
    }

    async fn update_listener(&self, listener: &Listener, port: u16, target_group: &str) -> PortResult<()> {
        let certificates = listener.certificates.as_deref().unwrap_or_default();
        let certificate = certificates.first().and_then(|certificate| certificate.certificate_arn.as_deref());
        if forwards_to(listener.default_actions.as_deref()) == Some(target_group)
            && listener.protocol == Some(self.protocol())
            && certificate == self.core.target.certificate.as_deref()
        {
            return Ok(());
        }
        let send = || {
            let request = self.client().modify_listener().listener_arn(arn_of(listener)).protocol(self.protocol());
            let request = request.set_certificates(self.certificates()).set_ssl_policy(self.ssl_policy());
            request.default_actions(forward(target_group)).send()
        };
        let resource = format!("port {port}");
        self.core.caller.call(write("ModifyListener", &resource), send).await.map_err(|failed| self.full(failed))?;
        Ok(())
    }

    pub(super) async fn delete_rule(&self, host: &str, port: u16, environment: &str) -> PortResult<()> {
        let listeners = self.listeners().await?;
        for listener in listeners.iter().filter(|listener| rules::port(listener) == Some(port)) {
            let all = match self.rules(arn_of(listener)).await {
                Err(failed) if failed.not_found() => continue,
                other => other?,
            };
            for rule in of_host(&all, host) {
                self.delete_rule_arn(rule_arn(rule), environment).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn delete_rule_arn(&self, arn: &str, environment: &str) -> PortResult<()> {
        let Some(tags) = self.tags(arn).await? else { return Ok(()) };
        if self.owner(&tags, Some(environment)) != Owner::Ours {
            return Ok(());
        }
        self.delete_rule_unasked(arn).await
    }

    async fn delete_rule_unasked(&self, arn: &str) -> PortResult<()> {
        let send = || self.client().delete_rule().rule_arn(arn).send();
        gone_is_fine(self.core.caller.call(write("DeleteRule", arn), send).await)
    }

    pub(super) async fn delete_listener(&self, port: u16, environment: &str) -> PortResult<()> {
        let listeners = self.listeners().await?;
        for listener in listeners.iter().filter(|listener| rules::port(listener) == Some(port)) {
            self.delete_listener_arn(arn_of(listener), environment).await?;
        }
        Ok(())
    }

    pub(super) async fn delete_listener_arn(&self, arn: &str, environment: &str) -> PortResult<()> {
        let Some(tags) = self.tags(arn).await? else { return Ok(()) };
        if self.owner(&tags, Some(environment)) != Owner::Ours {
            return Ok(());
        }
        let send = || self.client().delete_listener().listener_arn(arn).send();
        gone_is_fine(self.core.caller.call(write("DeleteListener", arn), send).await)
    }
}
