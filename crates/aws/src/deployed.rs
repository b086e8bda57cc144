//! Where a service answers: from the service to its target group, its load balancer, and that one's name.

use aws_sdk_elasticloadbalancingv2::types::{Action, Listener, Rule};
use landfall_ports::PortResult;

use crate::budget::Family;
use crate::call::Call;
use crate::elb::calls::pages;
use crate::platform::AwsPlatform;

impl AwsPlatform {
    /// Where requests get to the service's first target group: the load balancer's name where a listener forwards to it by default, else the host
    /// and the path of a rule. `None`: the service is not there, or nothing forwards to it.
    pub async fn service_url(&self, service: &str) -> PortResult<Option<String>> {
        let live = self.ecs.service(service).await?.filter(|live| live.status.as_deref() != Some("INACTIVE"));
        let bound = live.as_ref().map(|live| live.load_balancers()).unwrap_or_default();
        let Some(group) = bound.iter().find_map(|one| one.target_group_arn.as_deref()) else { return Ok(None) };
        let call =
            |action, resource| Call { service: "elasticloadbalancing", action, family: Family::ElbRead, resource };
        let elb = &self.core.clients.elb;
        let request = elb.describe_target_groups().target_group_arns(group);
        let groups = self.core.caller.call(call("DescribeTargetGroups", group), || request.clone().send()).await?;
        let found = groups.target_groups.unwrap_or_default().into_iter().next();
        let Some(balancer) = found.and_then(|group| group.load_balancer_arns.unwrap_or_default().into_iter().next())
        else {
            return Ok(None);
        };
        let request = elb.describe_load_balancers().load_balancer_arns(&balancer);
        let balancers =
            self.core.caller.call(call("DescribeLoadBalancers", &balancer), || request.clone().send()).await?;
        let Some(name) = balancers.load_balancers.unwrap_or_default().into_iter().find_map(|one| one.dns_name) else {
            return Ok(None);
        };
        let request = elb.describe_listeners().load_balancer_arn(&balancer);
        let listeners = self.core.caller.call(call("DescribeListeners", &balancer), || request.clone().send()).await?;
        let listeners = listeners.listeners.unwrap_or_default();
        let usual = |listener: &&Listener| forwards(listener.default_actions(), group);
        // No certificate has the load balancer's own name.
        if let Some(plain) = listeners.iter().filter(usual).find(|listener| !is_tls(listener)) {
            return Ok(Some(url(plain, &name, "/")));
        }
        let mut ruled = Vec::new();
        for listener in &listeners {
            let arn = listener.listener_arn.clone().unwrap_or_default();
            let rules = pages!(self, call("DescribeRules", &balancer), elb.describe_rules().listener_arn(&arn), rules);
            let own = rules.into_iter().filter(|rule| rule.is_default != Some(true) && forwards(rule.actions(), group));
            ruled.extend(own.filter_map(|rule| reached(&rule)).map(|(host, path)| (listener, host, path)));
        }
        // A host's name is what people use; over TLS first, as the other most likely leads there.
        ruled.sort_by_key(|(listener, host, path)| (host.is_none(), !is_tls(listener), path.len()));
        let by_rule = ruled.iter().find(|(listener, host, _)| host.is_some() || !is_tls(listener)).or(ruled.first());
        let by_rule = by_rule.map(|(listener, host, path)| url(listener, host.as_deref().unwrap_or(&name), path));
        Ok(by_rule.or_else(|| listeners.iter().find(usual).map(|listener| url(listener, &name, "/"))))
    }
}

/// The host and the path that a rule asks for, where requests can be made up for it: what has wildcards within is no name.
fn reached(rule: &Rule) -> Option<(Option<String>, String)> {
    let (mut host, mut path) = (None, "/".to_owned());
    for condition in rule.conditions() {
        let values = condition.values();
        let plain = |value: &&String| !value.contains(['*', '?']);
        match condition.field.as_deref() {
            Some("host-header") => {
                let named = condition.host_header_config.as_ref().map(|config| config.values()).unwrap_or_default();
                host = Some(values.iter().chain(named).find(plain)?.clone());
            }
            Some("path-pattern") => {
                let named = condition.path_pattern_config.as_ref().map(|config| config.values()).unwrap_or_default();
                let begins = |value: &String| value.trim_end_matches('*').to_owned();
                path = values.iter().chain(named).map(begins).find(|value| plain(&value))?;
            }
            // Headers, methods and addresses are the caller's.
            _ => return None,
        }
    }
    Some((host, path))
}

fn is_tls(listener: &Listener) -> bool {
    listener.protocol.as_ref().is_some_and(|protocol| matches!(protocol.as_str(), "HTTPS" | "TLS"))
}

fn forwards(actions: &[Action], group: &str) -> bool {
    let to = |action: &Action| {
        let weighted = action.forward_config.as_ref().and_then(|config| config.target_groups.as_ref());
        let mut weighted = weighted.into_iter().flatten().filter_map(|one| one.target_group_arn.as_deref());
        action.target_group_arn.as_deref() == Some(group) || weighted.any(|one| one == group)
    };
    actions.iter().any(to)
}

/// `path` begins with `/`.
fn url(listener: &Listener, host: &str, path: &str) -> String {
    let (scheme, usual) = if is_tls(listener) { ("https", 443) } else { ("http", 80) };
    match listener.port.unwrap_or(usual) {
        port if port == usual => format!("{scheme}://{host}{path}"),
        port => format!("{scheme}://{host}:{port}{path}"),
    }
}
