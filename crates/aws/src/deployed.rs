//! Where a service answers: from the service to its target group, its load balancer, and that one's name.

use aws_sdk_elasticloadbalancingv2::types::{Action, Listener};
use landfall_ports::PortResult;

use crate::budget::Family;
use crate::call::Call;
use crate::platform::AwsPlatform;

impl AwsPlatform {
    /// `http://NAME:PORT/` of the listener that forwards to the service's first target group by default, else of the load balancer's first;
    /// `None`: the service is not there, or nothing forwards to it.
    pub async fn service_url(&self, service: &str) -> PortResult<Option<String>> {
        let Some(documents) = self.orchestrator().documents(service).await? else { return Ok(None) };
        let bound = documents.service["loadBalancers"].as_array().into_iter().flatten();
        let Some(group) = bound.filter_map(|one| one["targetGroupArn"].as_str()).next() else { return Ok(None) };
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
        let chosen = listeners.iter().find(|listener| forwards(listener, group)).or_else(|| listeners.first());
        Ok(chosen.map(|listener| url(listener, &name)))
    }
}

fn forwards(listener: &Listener, group: &str) -> bool {
    let to = |action: &Action| {
        let weighted = action.forward_config.as_ref().and_then(|config| config.target_groups.as_ref());
        let mut weighted = weighted.into_iter().flatten().filter_map(|one| one.target_group_arn.as_deref());
        action.target_group_arn.as_deref() == Some(group) || weighted.any(|one| one == group)
    };
    listener.default_actions.iter().flatten().any(to)
}

fn url(listener: &Listener, name: &str) -> String {
    let is_tls = listener.protocol.as_ref().is_some_and(|protocol| matches!(protocol.as_str(), "HTTPS" | "TLS"));
    let port = listener.port.unwrap_or(if is_tls { 443 } else { 80 });
    match (is_tls, port) {
        (false, 80) => format!("http://{name}/"),
        (true, 443) => format!("https://{name}/"),
        (false, port) => format!("http://{name}:{port}/"),
        (true, port) => format!("https://{name}:{port}/"),
    }
}
