//! The load balancer: what it is, how much room its limits leave, and whether the certificate will do.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_elasticloadbalancingv2::types::{LoadBalancer, LoadBalancerStateEnum, LoadBalancerTypeEnum};
use jiff::Timestamp;

use super::{Check, Examiner};
use crate::elb::calls::{pages, read};
use crate::error::Failed;

/// Below this, a word about it.
const LITTLE: usize = 5;

impl Examiner {
    /// Its VPC, for what must be in the same.
    pub(crate) async fn balancer(&self, hosts: &[String]) -> (Option<String>, Vec<Check>) {
        let target = &self.core.target;
        let certificate = async {
            match &target.certificate {
                Some(arn) => Some(self.certificate_of(arn, hosts).await),
                None => None,
            }
        };
        let Some(name) = &target.load_balancer else {
            return (None, certificate.await.into_iter().collect());
        };
        let (found, certificate) = tokio::join!(self.find(name), certificate);
        let (vpc, mut checks) = match found {
            Ok(Some(found)) => {
                let room = self.room(&found).await;
                (found.vpc_id.clone(), std::iter::once(usable(name, &found)).chain(room).collect())
            }
            Ok(None) => (None, vec![self.missing(name)]),
            Err(failed) if failed.not_found() => (None, vec![self.missing(name)]),
            Err(failed) => (None, vec![Check::failed("load balancer", &failed, true)]),
        };
        checks.extend(certificate);
        (vpc, checks)
    }

    fn missing(&self, name: &str) -> Check {
        let detail = format!("{name} is not in {}", self.core.region);
        Check::wrong(
            "load balancer",
            detail,
            format!("correct `aws.{}`: region or load_balancer", self.core.target.name),
        )
    }

    async fn find(&self, name: &str) -> Result<Option<LoadBalancer>, Failed> {
        let request = self.core.clients.elb.describe_load_balancers();
        let request = if name.starts_with("arn:") { request.load_balancer_arns(name) } else { request.names(name) };
        let found = self.core.caller.call(read("DescribeLoadBalancers", name), || request.clone().send()).await?;
        Ok(found.load_balancers.unwrap_or_default().into_iter().next())
    }

    /// How many there are beside how many there may be.
    async fn room(&self, balancer: &LoadBalancer) -> Vec<Check> {
        let arn = balancer.load_balancer_arn.clone().unwrap_or_default();
        let (limits, used) = tokio::join!(self.limits(), self.used(&arn));
        let used = match used {
            Ok(used) => used,
            Err(failed) => return vec![Check::failed("room", &failed, false)],
        };
        let (limits, known) = match limits {
            Ok(limits) => (limits, true),
            Err(_) => (BTreeMap::new(), false),
        };
        let kinds = [
            ("listeners", used.listeners, "listeners-per-application-load-balancer", 50),
            ("rules", used.rules, "rules-per-application-load-balancer", 100),
            ("target groups", used.groups, "target-groups-per-application-load-balancer", 100),
            ("targets", used.targets, "targets-per-application-load-balancer", 1000),
        ];
        kinds
            .iter()
            .map(|(kind, used, name, usual)| room(kind, *used, limits.get(*name).copied(), *usual, known))
            .collect()
    }

    async fn limits(&self) -> Result<BTreeMap<String, usize>, Failed> {
        let request = self.core.clients.elb.describe_account_limits().page_size(400);
        let call = read("DescribeAccountLimits", "the account's limits");
        let found = self.core.caller.call(call, || request.clone().send()).await?;
        let limit = |limit: &aws_sdk_elasticloadbalancingv2::types::Limit| {
            Some((limit.name.clone()?, limit.max.as_deref()?.parse().ok()?))
        };
        Ok(found.limits().iter().filter_map(limit).collect())
    }

    async fn used(&self, balancer: &str) -> Result<Used, Failed> {
        let elb = &self.core.clients.elb;
        let mut used = Used::default();
        let request = elb.describe_listeners().load_balancer_arn(balancer).page_size(400);
        let listeners = pages!(self, read("DescribeListeners", balancer), request.clone(), listeners);
        used.listeners = listeners.len();
        for listener in listeners.iter().filter_map(|listener| listener.listener_arn.as_deref()) {
            let request = elb.describe_rules().listener_arn(listener).page_size(400);
            let rules = pages!(self, read("DescribeRules", listener), request.clone(), rules);
            // Default rules do not count.
            used.rules += rules.iter().filter(|rule| rule.is_default != Some(true)).count();
        }
        let request = elb.describe_target_groups().load_balancer_arn(balancer).page_size(400);
        let groups = pages!(self, read("DescribeTargetGroups", balancer), request.clone(), target_groups);
        let groups: BTreeSet<_> = groups.into_iter().filter_map(|group| group.target_group_arn).collect();
        used.groups = groups.len();
        for group in &groups {
            let request = elb.describe_target_health().target_group_arn(group);
            match self.core.caller.call(read("DescribeTargetHealth", group), || request.clone().send()).await {
                Ok(found) => used.targets += found.target_health_descriptions().len(),
                // It went meanwhile.
                Err(failed) if failed.not_found() => {}
                Err(failed) => return Err(failed),
            }
        }
        Ok(used)
    }

    async fn certificate_of(&self, arn: &str, hosts: &[String]) -> Check {
        match self.certificate(arn).await {
            Ok(found) => valid(arn, &found["Certificate"], hosts, Timestamp::now()),
            Err(failed) if failed.not_found() => {
                let hint = "a listener takes certificates of its own region only";
                Check::wrong("certificate", format!("{arn} does not exist"), hint)
            }
            Err(failed) => Check::failed("certificate", &failed, false),
        }
    }
}

#[derive(Debug, Default)]
struct Used {
    listeners: usize,
    rules: usize,
    groups: usize,
    targets: usize,
}

fn usable(name: &str, found: &LoadBalancer) -> Check {
    if found.r#type.as_ref().is_some_and(|kind| *kind != LoadBalancerTypeEnum::Application) {
        return Check::wrong("load balancer", format!("{name} is no Application Load Balancer"), "name another one");
    }
    let state = found.state.as_ref().and_then(|state| state.code.as_ref());
    match state {
        Some(state) if !matches!(state, LoadBalancerStateEnum::Active | LoadBalancerStateEnum::ActiveImpaired) => {
            Check::wrong("load balancer", format!("{name} is {}", state.as_str()), "wait until it is active")
        }
        _ => {
            let (address, vpc) =
                (found.dns_name.as_deref().unwrap_or_default(), found.vpc_id.as_deref().unwrap_or_default());
            Check::good("load balancer", format!("{name} at {address} in {vpc}"))
        }
    }
}

/// `known`: whether the account's own limits were to be read.
fn room(kind: &str, used: usize, limit: Option<usize>, usual: usize, known: bool) -> Check {
    let most = limit.unwrap_or(usual);
    let source = if known { "" } else { " unless raised" };
    let detail = format!("{used} of {most}{source}");
    let name = format!("room for {kind}");
    let hint = "destroy a preview, have the quota raised or use another load balancer";
    match most.saturating_sub(used) {
        // Without the account's own limit it may be raised.
        0 if known => Check::wrong(&name, detail, hint),
        left if left < LITTLE => Check { hint: Some(hint.to_owned()), ..Check::good(&name, detail) },
        _ => Check::good(&name, detail),
    }
}

/// `found`: as of DescribeCertificate; times are seconds.
fn valid(arn: &str, found: &serde_json::Value, hosts: &[String], now: Timestamp) -> Check {
    let name = "certificate";
    let status = found["Status"].as_str().unwrap_or_default();
    if status != "ISSUED" {
        let hint = "a listener takes none but issued ones: is its validation record in the DNS?";
        return Check::wrong(name, format!("{arn} is {status}"), hint);
    }
    #[allow(clippy::cast_precision_loss, reason = "seconds of this millennium")]
    let left = found["NotAfter"].as_f64().map(|end| (end - now.as_second() as f64) / 86_400.0);
    if left.is_some_and(|left| left <= 0.0) {
        return Check::wrong(name, format!("{arn} has expired"), "renew it");
    }
    let names = found["SubjectAlternativeNames"].as_array().into_iter().flatten().chain([&found["DomainName"]]);
    let names: BTreeSet<&str> = names.filter_map(serde_json::Value::as_str).collect();
    let missed: Vec<&str> =
        hosts.iter().map(String::as_str).filter(|host| !names.iter().any(|name| covers(name, host))).collect();
    let covered: Vec<&str> = names.into_iter().collect();
    if !missed.is_empty() {
        let detail = format!("{arn} is for {}, and not for {}", covered.join(", "), missed.join(", "));
        return Check::wrong(name, detail, "browsers will refuse it: request one that has these names");
    }
    let left = left.map(|left| format!(", for another {left:.0} days")).unwrap_or_default();
    Check::good(name, format!("issued for {}{left}", covered.join(", ")))
}

/// A wildcard stands for one label.
fn covers(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(domain) => host.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(domain)),
        None => name.eq_ignore_ascii_case(host),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::doctor::Finding;

    #[test]
    fn room_is_what_the_limit_leaves() {
        let of = |used, limit, known| room("rules", used, limit, 100, known);
        assert_eq!(
            (of(3, Some(200), true).finding, of(3, Some(200), true).detail.as_str()),
            (Finding::Good, "3 of 200")
        );
        assert!(of(96, None, true).hint.is_some());
        assert_eq!(of(100, Some(100), true).finding, Finding::Wrong);
        let unknown = of(100, None, false);
        assert_eq!((unknown.finding, unknown.detail.as_str()), (Finding::Good, "100 of 100 unless raised"));
    }

    #[test]
    fn a_certificate_must_be_issued_last_and_cover_the_hosts() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let hosts = ["a.p.example.com".to_owned()];
        let of = |certificate| valid("arn:c", &certificate, &hosts, now);
        let certificate = |status, name, end: i64| json!({"Status": status, "DomainName": name, "NotAfter": end});
        let good = of(certificate("ISSUED", "*.p.example.com", 1_700_864_000));
        assert_eq!(
            (good.finding, good.detail.as_str()),
            (Finding::Good, "issued for *.p.example.com, for another 10 days")
        );
        assert!(of(certificate("PENDING_VALIDATION", "*.p.example.com", 1_800_000_000)).detail.contains("PENDING"));
        assert!(of(certificate("ISSUED", "*.p.example.com", 1_600_000_000)).detail.contains("expired"));
        let other = of(certificate("ISSUED", "*.example.com", 1_800_000_000));
        assert_eq!(other.finding, Finding::Wrong, "{other:?}");
        assert!(other.detail.contains("not for a.p.example.com"));
    }
}
