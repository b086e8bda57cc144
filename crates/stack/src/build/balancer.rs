//! One Application Load Balancer for all services that receive traffic: listeners, who gets which request, the certificate, and the
//! names that lead to it.

use std::collections::BTreeMap;

use landfall_model::app::{BalancingAlgorithm, HealthCheckProtocol, LoadBalancerBinding, Service};
use landfall_model::stack::Rule;
use landfall_model::step::{RouteTarget, url};
use landfall_model::task::LaunchType;

use super::Build;
use super::network::{ANYWHERE, Network};
use crate::expr::{Expr, Id};
use crate::resources::around::{Alias, Certificate, RecordSet, Validation};
use crate::resources::balancer::{
    Action, Answer, Condition, Listener, ListenerCertificate, ListenerRule, LoadBalancer, Matcher, Redirect,
    TargetGroup, Values,
};
use crate::resources::network::{Egress, Ingress, SecurityGroup};
use crate::resources::{KeyValue, Properties};

/// TLS 1.3 and 1.2, what AWS recommends
/// (<https://docs.aws.amazon.com/elasticloadbalancing/latest/application/describe-ssl-policies.html>).
const TLS: &str = "ELBSecurityPolicy-TLS13-1-2-2021-06";
/// Between the priorities of services' rules.
const APART: u32 = 10;

pub(super) struct Balancer {
    /// By service.
    pub groups: BTreeMap<String, Id>,
    /// By service: the listener or rule that leads to it; ECS refuses target groups that nothing leads to.
    pub leads: BTreeMap<String, Id>,
}

pub(super) fn group_id() -> Id {
    Id::of(&["LoadBalancerSecurityGroup"])
}

impl<'a> Build<'a> {
    /// Services that receive traffic, in the environment's order.
    pub(super) fn balanced(&self) -> Vec<&'a Service> {
        self.services.iter().copied().filter(|service| service.load_balancer.is_some()).collect()
    }

    /// Names that lead to the load balancer: the environment's, then those of rules.
    fn hosts(&self) -> Vec<String> {
        let own = match &self.environment.routing {
            Some(RouteTarget::Host { host, .. }) => Some(host),
            _ => None,
        };
        let rules = self.balanced().into_iter().filter_map(|service| self.stack.rules.get(&service.name));
        let mut hosts: Vec<String> = Vec::new();
        for host in own.into_iter().chain(rules.flat_map(|rule| &rule.hosts)) {
            if !hosts.contains(host) {
                hosts.push(host.clone());
            }
        }
        hosts
    }

    fn encrypted(&self) -> bool {
        self.target.certificate.is_some() || self.stack.zone.is_some()
    }

    fn port(&self) -> u16 {
        match &self.environment.routing {
            Some(RouteTarget::Host { port, .. } | RouteTarget::Port { port }) => *port,
            None if self.encrypted() => 443,
            None => 80,
        }
    }

    /// Where the environment answers under a name; `None`: at the load balancer's own.
    pub(super) fn named_url(&self) -> Option<String> {
        match &self.environment.routing {
            Some(RouteTarget::Host { host, port }) => Some(url(self.encrypted(), host, *port)),
            _ => None,
        }
    }

    pub(super) fn balancer(&mut self, network: &Network) -> Option<Balancer> {
        let balanced = self.balanced();
        if balanced.is_empty() {
            return None;
        }
        let port = self.port();
        let redirected = self.encrypted() && port == 443;
        let group = self.balancer_group(network, port, redirected);
        let balancer = LoadBalancer {
            r#type: "application",
            scheme: if self.stack.internal { "internal" } else { "internet-facing" },
            subnets: network.balancer_subnets.clone(),
            security_groups: vec![Expr::from(&group)],
            load_balancer_attributes: vec![attribute("routing.http.drop_invalid_header_fields.enabled", "true")],
            tags: self.tags(),
        };
        let ways = network.way_in.iter().cloned().collect();
        let balancer = self.draft.add_after(Id::of(&["LoadBalancer"]), Properties::LoadBalancer(balancer), ways);
        let groups: BTreeMap<String, Id> = balanced
            .iter()
            .filter_map(|service| {
                let binding = service.load_balancer.as_ref()?;
                Some((service.name.clone(), self.target_group(service, binding, network)))
            })
            .collect();
        let rest = balanced.iter().find(|service| !self.stack.rules.contains_key(&service.name));
        let answer = match rest.and_then(|service| groups.get(&service.name)) {
            Some(group) => forward(group),
            None => Action::Answer {
                fixed_response_config: Answer {
                    status_code: "404",
                    content_type: "text/plain",
                    message_body: "Nothing is here.",
                },
            },
        };
        let certificate = self.certificate();
        let listener = Listener {
            load_balancer_arn: Expr::from(&balancer),
            port,
            protocol: if certificate.is_some() { "HTTPS" } else { "HTTP" },
            ssl_policy: certificate.is_some().then_some(TLS),
            certificates: certificate.into_iter().map(|arn| ListenerCertificate { certificate_arn: arn }).collect(),
            default_actions: vec![answer],
        };
        let listener = self.draft.add(Id::of(&["Listener"]), Properties::Listener(listener));
        if redirected {
            let redirect = Redirect { protocol: "HTTPS", port: "443".to_owned(), status_code: "HTTP_301" };
            let plain = Listener {
                load_balancer_arn: Expr::from(&balancer),
                port: 80,
                protocol: "HTTP",
                ssl_policy: None,
                certificates: Vec::new(),
                default_actions: vec![Action::Redirect { redirect_config: redirect }],
            };
            self.draft.add(Id::of(&["HttpListener"]), Properties::Listener(plain));
        }
        let mut leads = BTreeMap::new();
        for (index, service) in (1..).zip(&balanced) {
            let Some(group) = groups.get(&service.name) else { continue };
            let lead = match self.stack.rules.get(&service.name) {
                Some(rule) => self.rule(&service.name, rule, rule.priority.unwrap_or(index * APART), &listener, group),
                None => listener.clone(),
            };
            leads.insert(service.name.clone(), lead);
        }
        self.names(&balancer);
        let address = Expr::Attribute(balancer, "DNSName");
        let shown = match self.named_url() {
            Some(url) => Expr::Text(url),
            None => Expr::sub(url(self.encrypted(), &address.within(), port)),
        };
        self.draft.output("Url", "Where it answers", shown);
        self.draft.output("LoadBalancerDnsName", "The load balancer's own name", address);
        if balanced.iter().any(|service| service.launch_type == LaunchType::Ec2) {
            let who = "Who must be let in by instances that the stack does not make";
            self.draft.output("LoadBalancerSecurityGroup", who, Expr::Attribute(group, "GroupId"));
        }
        Some(Balancer { groups, leads })
    }

    fn balancer_group(&mut self, network: &Network, port: u16, redirected: bool) -> Id {
        let ports = if redirected { vec![80, 443] } else { vec![port] };
        // What is reached from within only is reached from within its own network, where that is known.
        let from = match &network.block {
            Some(block) if self.stack.internal => block.clone(),
            _ => Expr::text(ANYWHERE),
        };
        let ingress = |port: u16| Ingress {
            description: format!("Requests to port {port}"),
            ip_protocol: "tcp",
            from_port: port,
            to_port: port,
            cidr_ip: Some(from.clone()),
            source_security_group_id: None,
        };
        let egress = network.block.iter().map(|block| Egress {
            description: "Tasks".to_owned(),
            ip_protocol: "tcp",
            from_port: 1,
            to_port: 65_535,
            cidr_ip: block.clone(),
        });
        let group = SecurityGroup {
            group_description: format!("Load balancer of {}", self.prefix()),
            vpc_id: Some(network.vpc.clone()),
            security_group_ingress: ports.into_iter().map(ingress).collect(),
            security_group_egress: egress.collect(),
            tags: self.named("load balancer"),
        };
        self.draft.add(group_id(), Properties::SecurityGroup(group))
    }

    fn target_group(&mut self, service: &Service, binding: &LoadBalancerBinding, network: &Network) -> Id {
        let check = &binding.health_check;
        let seconds = |ms: u32| ms.div_ceil(1_000);
        let algorithm = match binding.algorithm {
            BalancingAlgorithm::RoundRobin => "round_robin",
            BalancingAlgorithm::LeastOutstandingRequests => "least_outstanding_requests",
        };
        let group = TargetGroup {
            vpc_id: network.vpc.clone(),
            target_type: if service.launch_type == LaunchType::Ec2 { "instance" } else { "ip" },
            protocol: "HTTP",
            port: binding.port,
            health_check_protocol: match check.protocol {
                HealthCheckProtocol::Http => "HTTP",
                HealthCheckProtocol::Https => "HTTPS",
            },
            health_check_path: check.path.clone(),
            health_check_port: check.port.map_or_else(|| "traffic-port".to_owned(), |port| port.to_string()),
            health_check_interval_seconds: seconds(check.interval_ms),
            health_check_timeout_seconds: seconds(check.timeout_ms),
            healthy_threshold_count: check.healthy_threshold,
            unhealthy_threshold_count: check.unhealthy_threshold,
            matcher: Matcher { http_code: check.matcher.clone() },
            target_group_attributes: vec![
                attribute("deregistration_delay.timeout_seconds", &binding.deregistration_delay.to_string()),
                attribute("load_balancing.algorithm.type", algorithm),
            ],
            tags: self.tags(),
        };
        self.draft.add(Id::of(&[&service.name, "TargetGroup"]), Properties::TargetGroup(group))
    }

    fn rule(&mut self, service: &str, rule: &Rule, priority: u32, listener: &Id, group: &Id) -> Id {
        let mut conditions = Vec::new();
        if !rule.hosts.is_empty() {
            conditions.push(Condition::Host { host_header_config: Values { values: rule.hosts.clone() } });
        }
        if !rule.paths.is_empty() {
            conditions.push(Condition::Path { path_pattern_config: Values { values: rule.paths.clone() } });
        }
        let rule =
            ListenerRule { listener_arn: Expr::from(listener), priority, conditions, actions: vec![forward(group)] };
        self.draft.add(Id::of(&[service, "Rule"]), Properties::ListenerRule(rule))
    }

    /// The target's, or one that is made and validated in the zone.
    fn certificate(&mut self) -> Option<Expr> {
        if let Some(arn) = &self.target.certificate {
            return Some(Expr::text(arn));
        }
        let zone = self.stack.zone.clone()?;
        let hosts = self.hosts();
        let (first, others) = hosts.split_first()?;
        let validation = |host: &String| Validation { domain_name: host.clone(), hosted_zone_id: zone.clone() };
        let certificate = Certificate {
            domain_name: first.clone(),
            subject_alternative_names: others.to_vec(),
            validation_method: "DNS",
            domain_validation_options: hosts.iter().map(validation).collect(),
            tags: self.tags(),
        };
        let id = self.draft.add(Id::of(&["Certificate"]), Properties::Certificate(certificate));
        Some(Expr::from(&id))
    }

    fn names(&mut self, balancer: &Id) {
        let Some(zone) = self.stack.zone.clone() else { return };
        for host in self.hosts() {
            let record = RecordSet {
                hosted_zone_id: zone.clone(),
                name: format!("{host}."),
                r#type: "A",
                alias_target: Alias {
                    dns_name: Expr::Attribute(balancer.clone(), "DNSName"),
                    hosted_zone_id: Expr::Attribute(balancer.clone(), "CanonicalHostedZoneID"),
                },
            };
            let whole = host.replace('*', "any");
            self.draft.add(Id::of(&[&whole, "Record"]), Properties::RecordSet(record));
        }
    }
}

fn forward(group: &Id) -> Action {
    Action::Forward { target_group_arn: Expr::from(group) }
}

fn attribute(key: &'static str, value: &str) -> KeyValue {
    KeyValue { key, value: value.to_owned() }
}
