//! Environments that are stacks of CloudFormation: what CloudFormation would refuse only after half of it was made is said here.

mod around;

use std::collections::BTreeMap;

use landfall_model::stack::cidr;
use landfall_model::strategy::StrategyKind;
use landfall_model::task::LaunchType;

use super::{Checker, arn, shown_at, syntax};
use crate::authored::{AwsTarget, Environment, EnvironmentRouting, Manifest, Stack, StackCluster, StackNetwork};
use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::scalar::Text;
use crate::tree::{At, shorten};

/// Values in the conditions of one rule
/// (<https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html>).
const VALUES: usize = 5;

/// An environment with its stack and the place where that is.
struct Whole<'m> {
    manifest: &'m Manifest,
    environment: &'m Environment,
    stack: &'m Stack,
    target: Option<&'m AwsTarget>,
}

impl Whole<'_> {
    fn services(&self) -> impl Iterator<Item = (&String, &crate::authored::Service)> {
        self.manifest.services.iter().filter(|(name, _)| self.environment.runs(name))
    }
}

impl<'t> Checker<'_, 't> {
    pub(super) fn stacks(&mut self, manifest: &Manifest) {
        let mut clusters: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, environment) in &manifest.environments {
            let Some(stack) = &environment.stack else { continue };
            let at = self.root.get("environments").get(name);
            let stack_at = at.get("stack");
            let Some(on) = &environment.on else {
                let error = Diagnostic::error(codes::ONLY_ON_AWS, "a stack is on AWS")
                    .label(stack_at.key_span(), "the environment is on this machine, without `on`")
                    .help("add `on: TARGET`, the name of a place under `aws`");
                self.push(error);
                continue;
            };
            let target = manifest.aws.get(&on.0);
            let whole = Whole { manifest, environment, stack, target };
            self.stack_network(&whole, on, stack_at);
            self.stack_cluster(&whole, on, stack_at);
            if !matches!(stack.cluster, Some(StackCluster::Existing(_)))
                && let Some(other) = clusters.insert(&on.0, name)
            {
                let message =
                    format!("environments `{}` and `{}` would both make one cluster", shorten(other), shorten(name));
                let error = Diagnostic::error(codes::STACK, message)
                    .label(at.get("on").span(), "again here")
                    .label(self.root.get("environments").get(other).get("on").span(), "made here")
                    .help("give each a target with a `cluster` of its own, or one of them `cluster: {existing: {}}`");
                self.push(error);
            }
            self.stack_services(&whole, stack_at);
            self.stack_rules(&whole, at);
            self.stack_scaling(&whole, at);
            self.stack_volumes(&whole, stack_at);
            self.stack_permissions(&whole, stack_at);
            self.stack_logs(&whole, stack_at);
            self.identifier(stack.role.as_ref(), stack_at.get("role"), "role's ARN", arn::role_arn);
            let bucket_at = stack_at.get("template_bucket");
            self.identifier(stack.template_bucket.as_ref(), bucket_at, "bucket", arn::bucket);
            if at.get("target_groups").is_given() {
                self.idle(at.get("target_groups").key_span(), "`target_groups`", "a stack makes its own");
            }
        }
    }

    fn idle(&mut self, span: crate::diagnostic::Span, what: &str, why: &str) {
        self.push(Diagnostic::warning(codes::NO_EFFECT, format!("{what} has no effect in a stack")).label(span, why));
    }

    fn stack_network(&mut self, whole: &Whole<'_>, on: &Text, at: At<'_>) {
        let at = at.get("network");
        match &whole.stack.network {
            Some(StackNetwork::New(new)) => {
                let at = at.get("new").get("cidr");
                if let Some(block) = &new.cidr
                    && cidr(block).is_none()
                {
                    let rule = "an address and a length from /16 to /26, like `10.0.0.0/16`";
                    self.error(codes::BAD_VALUE, at, format!("{} is no block of a VPC", shown_at(at)), rule);
                }
            }
            Some(StackNetwork::Existing(existing)) => {
                let subnets_at = at.get("existing").get("load_balancer_subnets");
                for (index, id) in existing.load_balancer_subnets.iter().enumerate() {
                    self.identifier(Some(id), subnets_at.item(index), "subnet", |text| arn::id(text, "subnet"));
                }
                let Some(target) = whole.target else { return };
                let of_tasks = target.network.as_ref().map_or(0, |network| network.subnets.len());
                let lacks = [("vpc", target.vpc.is_none()), ("network.subnets", of_tasks == 0)];
                for (key, _) in lacks.into_iter().filter(|(_, lacks)| *lacks) {
                    let target_at = self.root.get("aws").get(&on.0);
                    let error =
                        Diagnostic::error(codes::AWS_NEEDS, format!("target `{}` needs `{key}`", shorten(&on.0)))
                            .label(target_at.key_span(), format!("`{key}` is missing"))
                            .label(at.get("existing").key_span(), "the stack is put there")
                            .help("or let the stack make its network: `network: {new: {}}`");
                    self.push(error);
                }
                let of_balancer = existing.load_balancer_subnets.len();
                let count = if of_balancer == 0 { of_tasks } else { of_balancer };
                let balanced = whole.services().any(|(_, service)| service.load_balancer.is_some());
                if balanced && count == 1 {
                    let error = Diagnostic::error(codes::AWS_NEEDS, "a load balancer needs subnets in two zones");
                    self.push(error.label(at.span(), "only one is given"));
                }
            }
            None => {}
        }
    }

    fn stack_cluster(&mut self, whole: &Whole<'_>, on: &Text, at: At<'_>) {
        let at = at.get("cluster");
        let instances = match &whole.stack.cluster {
            Some(StackCluster::Existing(_)) => return,
            Some(StackCluster::New(new)) => new.instances.as_ref(),
            None => None,
        };
        if whole.target.is_some_and(|target| target.cluster.0.starts_with("arn:")) {
            let target_at = self.root.get("aws").get(&on.0).get("cluster");
            let error = Diagnostic::error(codes::STACK, "a cluster that the stack makes has a name, and no ARN yet")
                .label(target_at.span(), "an ARN")
                .help("write its name, or `stack: {cluster: {existing: {}}}`");
            self.push(error);
        }
        if let Some(instances) = instances {
            let at = at.get("new").get("instances");
            let kind = &instances.r#type.0;
            let legal = |part: &str| {
                !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            };
            if at.get("type").is_given() && !kind.split_once('.').is_some_and(|(a, b)| legal(a) && legal(b)) {
                let at = at.get("type");
                self.error(codes::BAD_VALUE, at, format!("{} is no type of instance", shown_at(at)), "like `t3.small`");
            }
            self.limits(instances.min.unwrap_or(0), instances.max, 1_000, at);
        } else if let Some((name, _)) = whole.services().find(|(_, service)| service.launch_type == LaunchType::Ec2) {
            let error = Diagnostic::error(codes::AWS_NEEDS, "a new cluster has no instances")
                .label(self.root.get("services").get(name).get("launch_type").span(), "runs on EC2")
                .help("`stack: {cluster: {new: {instances: {type: t3.small, max: 2}}}}`, or `{existing: {}}`");
            self.push(error);
        }
    }

    /// Most is given, at most `highest`, and not less than the least.
    fn limits(&mut self, min: u32, max: Option<u32>, highest: u32, at: At<'_>) {
        self.number(max, at.get("max"), 1, highest);
        if let Some(max) = max
            && min > max
        {
            let error = Diagnostic::error(codes::OUT_OF_RANGE, "`min` is more than `max`");
            self.push(error.label(at.get("min").span(), format!("more than {max}")));
        }
    }

    /// What a service has that no stack can hold.
    fn stack_services(&mut self, whole: &Whole<'_>, at: At<'_>) {
        for (name, service) in whole.services() {
            let service_at = self.root.get("services").get(name);
            let mut unfit = |key_at: At<'_>, message: String, help: &str| {
                let error = Diagnostic::error(codes::STACK, message)
                    .label(key_at.span(), "not in a stack")
                    .label(at.key_span(), "the environment is one")
                    .help(help);
                self.push(error);
            };
            if service.base_task_definition.is_some() {
                let message = "a stack holds the whole of its task definitions, and lays them over none".to_owned();
                unfit(service_at.get("base_task_definition"), message, "describe the containers in full");
            }
            for (container, one) in &service.containers {
                let container_at = service_at.get("containers").get(container);
                let later = [
                    ("secret_paths", !one.secret_paths.is_empty(), "name each one under `secrets`"),
                    ("ci_variables", !one.ci_variables.is_empty(), "write `environment: {NAME: \"${NAME}\"}`"),
                ];
                for (key, _, help) in later.into_iter().filter(|(_, given, _)| *given) {
                    let message =
                        format!("what `{key}` stand for is looked up at a deployment, and a template is made before");
                    unfit(container_at.get(key), message, help);
                }
            }
            let strategy = service.deployment.as_ref().and_then(|deployment| deployment.strategy);
            if let Some(kind) = strategy.filter(|kind| *kind != StrategyKind::Rolling) {
                let message = format!("a stack does not deploy by `{}`", kind.name());
                unfit(
                    service_at.get("deployment").get("strategy"),
                    message,
                    "use `rolling`, or an environment without `stack`",
                );
            }
        }
    }

    fn stack_rules(&mut self, whole: &Whole<'_>, at: At<'_>) {
        let rules_at = at.get("stack").get("rules");
        let mut priorities: BTreeMap<u32, &str> = BTreeMap::new();
        let mut hosts = usize::from(matches!(whole.environment.routing, Some(EnvironmentRouting::Host(_))));
        for (service, rule) in &whole.stack.rules {
            let rule_at = rules_at.get(service);
            if !self.runs_there(whole.manifest, whole.environment, service, rule_at) {
                continue;
            }
            if whole.manifest.services[service].load_balancer.is_none() {
                let message = format!("service `{}` receives no traffic", shorten(service));
                let error = Diagnostic::error(codes::LOAD_BALANCER, message)
                    .label(rule_at.key_span(), "a rule leads to nowhere")
                    .help(format!("add `load_balancer: {{}}` to service `{}`", shorten(service)));
                self.push(error);
            }
            hosts += rule.hosts.len();
            for (index, host) in rule.hosts.iter().enumerate() {
                let at = rule_at.get("hosts").item(index);
                if let Err(rule) = syntax::domain(host.0.strip_prefix("*.").unwrap_or(&host.0)) {
                    self.error(codes::DOMAIN, at, format!("{} is no legal host name", shown_at(at)), rule);
                }
            }
            for (index, path) in rule.paths.iter().enumerate() {
                let at = rule_at.get("paths").item(index);
                let legal = |c: char| c.is_ascii_alphanumeric() || "_-.$/~\"'@:+&*?".contains(c);
                if !path.0.starts_with('/') || path.0.len() > 128 || !path.0.chars().all(legal) {
                    let message = format!("{} is no path of a rule", shown_at(at));
                    self.error(
                        codes::BAD_VALUE,
                        at,
                        message,
                        "begins with `/`, up to 128 characters; `*` and `?` stand for others",
                    );
                }
            }
            let values = rule.hosts.len() + rule.paths.len();
            if values == 0 || values > VALUES {
                let message = if values == 0 { "a rule without hosts and paths" } else { "a rule of too many values" };
                self.error(codes::OUT_OF_RANGE, rule_at, message, format!("1 to {VALUES} hosts and paths together"));
            }
            self.number(rule.priority, rule_at.get("priority"), 1, 50_000);
            if let Some(other) = rule.priority.and_then(|priority| priorities.insert(priority, service)) {
                let message = format!("services `{}` and `{}` have one priority", shorten(other), shorten(service));
                self.error(codes::STACK, rule_at.get("priority"), message, "again here");
            }
        }
        let without = |(name, service): &(&String, &crate::authored::Service)| {
            service.load_balancer.is_some() && !whole.stack.rules.contains_key(*name)
        };
        let rest: Vec<&String> = whole.services().filter(without).map(|(name, _)| name).collect();
        if let [first, second, ..] = rest.as_slice() {
            let message =
                format!("services `{}` and `{}` would get the same requests", shorten(first), shorten(second));
            let error = Diagnostic::error(codes::STACK, message)
                .label(at.get("stack").key_span(), "one load balancer for all of them")
                .help(format!(
                    "say which are whose: `rules: {{{}: {{paths: [\"/{}/*\"]}}}}`",
                    shorten(second),
                    shorten(second)
                ));
            self.push(error);
        }
        let zone_at = at.get("stack").get("zone");
        if let Some(zone) = &whole.stack.zone {
            let sound = zone.0.len() <= 32
                && zone.0.starts_with('Z')
                && zone.0.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
            if !sound {
                let message = format!("{} is no id of a hosted zone", shown_at(zone_at));
                self.error(codes::AWS_ID, zone_at, message, "like `Z0123456789ABCDEFGHIJ`");
            } else if hosts == 0 {
                let error = Diagnostic::error(codes::STACK, "a zone, but no name for it")
                    .label(zone_at.span(), "nothing to put there")
                    .help("add `routing: {host: {name: HOST}}` to the environment, or `hosts` to a rule");
                self.push(error);
            }
        }
    }
}
