//! What runs where, against the rules of the place: ECS and Elastic Load Balancing, or this machine. What cannot work is
//! said before anything is made; what AWS would take is not refused.

use std::collections::BTreeSet;

use landfall_model::app::HealthCheckProtocol;
use landfall_model::task::{LaunchType, SecretRef};

use super::{Checker, known, shown_at};
use crate::authored::{AwsTarget, Container, LoadBalancer, Manifest, Previews, Routing, Service};
use crate::codes;
use crate::diagnostic::{Diagnostic, did_you_mean};
use crate::place::{self, Placement, placements};
use crate::scalar::Duration;
use crate::tree::{At, shorten};

/// Elastic Load Balancing's quota of listeners for one Application Load Balancer, where nobody had it raised.
/// <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html>
const LISTENERS: u32 = 50;

impl<'t> Checker<'_, 't> {
    /// A reference to a target by name.
    pub(super) fn target_ref(&mut self, name: &str, at: At<'_>) -> bool {
        let targets = self.root.get("aws");
        if targets.keys().any(|known| known == name) {
            return true;
        }
        let error = Diagnostic::error(codes::UNKNOWN_TARGET, format!("there is no target {}", shown_at(at)))
            .label(at.span(), "not defined under `aws`")
            .help(known("target", targets.keys()))
            .maybe_help(did_you_mean(name, targets.keys()));
        self.push(error);
        false
    }

    pub(super) fn placed(&mut self, manifest: &Manifest) {
        let placements = placements(manifest);
        let mut said = BTreeSet::new();
        for placement in &placements {
            let Some(on) = placement.on else { continue };
            if !self.target_ref(on, self.on_at(placement)) {
                continue;
            }
            let Some(target) = manifest.aws.get(on).filter(|_| !placement.stack) else { continue };
            for name in &placement.services {
                self.target_has(on, target, name, &manifest.services[*name], &mut said);
            }
        }
        for (name, service) in &manifest.services {
            let uses: Vec<_> = placements.iter().filter(|one| one.services.contains(name.as_str())).collect();
            let at = self.root.get("services").get(name);
            if let Some(there) = uses.iter().find(|one| one.on.is_some()) {
                self.service_on_aws(service, at, self.on_at(there));
            }
            let here = uses.iter().find(|one| one.on.is_none());
            if here.is_some() || uses.is_empty() {
                self.service_here(name, service, at, here.map(|here| self.holder_at(here)));
            }
        }
        if let Some(previews) = &manifest.previews {
            self.previews_on_aws(manifest, previews);
        }
    }

    fn holder_at(&self, placement: &Placement<'_>) -> At<'t> {
        match placement.environment {
            None => self.root.get("previews"),
            Some(name) => self.root.get("environments").get(name),
        }
    }

    fn on_at(&self, placement: &Placement<'_>) -> At<'t> {
        self.holder_at(placement).get("on")
    }

    /// What the target must give for this service; each once, however many services need it.
    fn target_has(
        &mut self,
        on: &str,
        target: &AwsTarget,
        name: &str,
        service: &Service,
        said: &mut BTreeSet<(String, &'static str)>,
    ) {
        let target_at = self.root.get("aws").get(on);
        let at = self.root.get("services").get(name);
        let mut lacks = |checker: &mut Self, key: &'static str, why: &str, why_at: At<'_>, help: &str| {
            if said.insert((on.to_owned(), key)) {
                let error = Diagnostic::error(codes::AWS_NEEDS, format!("target `{}` needs `{key}`", shorten(on)))
                    .label(target_at.key_span(), format!("`{key}` is missing"))
                    .label(why_at.key_span(), why)
                    .help(help);
                checker.push(error);
            }
        };
        let network = target_at.get("network");
        let subnets_at = network.get("subnets");
        // A `network` without its required key was reported by the shape.
        let no_subnets = match network.is_map() {
            true => subnets_at.is_given() && subnets_at.node.is_some_and(|node| node.items().is_empty()),
            false => !network.is_given(),
        };
        if service.launch_type == LaunchType::Fargate && no_subnets {
            let why_at = if at.get("launch_type").is_given() { at.get("launch_type") } else { at };
            let help = "add `network: {subnets: [subnet-…]}`, with `public_ip: true` where the subnets are public";
            lacks(self, "network.subnets", "runs on Fargate, which needs subnets", why_at, help);
        }
        if at.get("load_balancer").is_given() && !target_at.get("load_balancer").is_given() {
            let help = "add the name or ARN of an Application Load Balancer that exists";
            lacks(self, "load_balancer", "receives traffic", at.get("load_balancer"), help);
        }
        if service.base_task_definition.is_none() && !target_at.get("execution_role").is_given() {
            let fargate = service.launch_type == LaunchType::Fargate;
            let secrets = service.containers.iter().find(|(_, container)| !container.secrets.is_empty());
            let private = service.containers.iter().find(|(_, container)| from_ecr(container));
            let help = "add the name or ARN of the role, usually `ecsTaskExecutionRole`";
            if let Some((container, _)) = secrets {
                let at = at.get("containers").get(container).get("secrets");
                lacks(self, "execution_role", "ECS reads secrets with that role", at, help);
            } else if let Some((container, _)) = private.filter(|_| fargate) {
                let at = at.get("containers").get(container);
                lacks(self, "execution_role", "Fargate pulls from ECR with that role", at, help);
            } else if target.log_group.is_some() && fargate {
                let at = target_at.get("log_group");
                lacks(self, "execution_role", "Fargate writes logs with that role", at, help);
            }
        }
    }

    fn service_on_aws(&mut self, service: &Service, at: At<'_>, on_at: At<'_>) {
        if service.launch_type == LaunchType::Local {
            let error = Diagnostic::error(codes::NOT_ON_AWS, "`launch_type: local` does not exist on AWS")
                .label(at.get("launch_type").span(), "this machine only")
                .label(on_at.span(), "runs on AWS from here")
                .help("use `fargate` or `ec2`");
            self.push(error);
        }
        let based = at.get("base_task_definition").is_given();
        self.size_on_aws(service, based, at);
        for (name, container) in &service.containers {
            self.container_on_aws(container, based, at.get("containers").get(name), on_at);
        }
        if let Some(balancer) = &service.load_balancer {
            self.balancer_on_aws(balancer, at.get("load_balancer"));
        }
        let threshold_at = at.get("deployment").get("circuit_breaker").get("threshold");
        if threshold_at.is_given() {
            self.no_effect(threshold_at, "`threshold`", "ECS computes it: half of `desired_count`, 3 to 200");
        }
    }

    /// Task definitions that ECS would not register.
    fn size_on_aws(&mut self, service: &Service, based: bool, at: At<'_>) {
        if based {
            return;
        }
        let given = |key| at.get(key).is_given();
        match service.launch_type {
            LaunchType::Fargate if !given("cpu") && !given("memory") => {
                let error = Diagnostic::error(codes::AWS_NEEDS, "a task on Fargate needs `cpu` and `memory`")
                    .label(at.key_span(), "neither is given")
                    .help("the least is `cpu: 256` and `memory: 512`");
                self.push(error);
            }
            LaunchType::Ec2 if !given("memory") => {
                let containers_at = at.get("containers");
                let without = containers_at.keys().find(|name| !containers_at.get(name).get("memory").is_given());
                if let Some(name) = without.filter(|name| service.containers.contains_key(*name)) {
                    let message = format!("container `{}` needs `memory`, or the service does", shorten(name));
                    let error = Diagnostic::error(codes::AWS_NEEDS, message)
                        .label(containers_at.get(name).key_span(), "ECS registers no task without a limit of memory")
                        .help("add `memory` in MiB to one of the two");
                    self.push(error);
                }
            }
            _ => {}
        }
    }

    fn container_on_aws(&mut self, container: &Container, based: bool, at: At<'_>, on_at: At<'_>) {
        if container.build.is_some() {
            let help = "let CI push to ECR and wait for it: \
                        `await: {image: \"ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME:{commit}\"}`";
            let error = Diagnostic::error(codes::NOT_ON_AWS, "images for AWS are not built by Landfall yet")
                .label(at.get("build").key_span(), "built on this machine only")
                .label(on_at.span(), "runs on AWS from here")
                .help(help);
            self.push(error);
        }
        for (name, secret) in &container.secrets {
            let (key, what) = match secret {
                SecretRef::Env(_) => ("env", "a variable of Landfall's process"),
                SecretRef::File(_) => ("file", "a file of Landfall's host"),
                SecretRef::Ssm(_) | SecretRef::SecretsManager(_) => continue,
            };
            let error = Diagnostic::error(codes::NOT_ON_AWS, format!("{what} never reaches a container on AWS"))
                .label(at.get("secrets").get(name).get(key).key_span(), format!("`{key}` is for this machine"))
                .label(on_at.span(), "runs on AWS from here")
                .help("keep it in AWS: `{ssm: NAME}` or `{secrets_manager: ID}`");
            self.push(error);
        }
        if let Some(check) = &container.health_check {
            let at = at.get("health_check");
            self.at_least(
                check.interval,
                at.get("interval"),
                5_000,
                "ECS checks a container no more often than every 5s",
            );
            self.at_least(check.timeout, at.get("timeout"), 2_000, "ECS waits at least 2s for a container's check");
        }
        if based {
            for key in ["essential", "stop_timeout"] {
                let at = at.get(key);
                if at.is_given() {
                    self.no_effect(
                        at,
                        &format!("`{key}`"),
                        "the base task definition's stays where it has the container",
                    );
                }
            }
        }
    }

    fn balancer_on_aws(&mut self, balancer: &LoadBalancer, at: At<'_>) {
        if at.get("idle_timeout").is_given() {
            let why = "it belongs to the load balancer, which many share";
            self.no_effect(at.get("idle_timeout"), "`idle_timeout`", why);
        }
        let Some(check) = &balancer.health_check else { return };
        let at = at.get("health_check");
        self.seconds_on_aws(check.interval, at.get("interval"), 5, 300);
        self.seconds_on_aws(check.timeout, at.get("timeout"), 2, 120);
        self.number(check.healthy_threshold, at.get("healthy_threshold"), 2, 10);
        self.number(check.unhealthy_threshold, at.get("unhealthy_threshold"), 2, 10);
    }

    fn seconds_on_aws(&mut self, value: Option<Duration>, at: At<'_>, least: u64, most: u64) {
        if value.is_some_and(|value| !(least * 1_000..=most * 1_000).contains(&value.0) || value.0 % 1_000 != 0) {
            let message = "Elastic Load Balancing does not take this duration";
            self.error(codes::OUT_OF_RANGE, at, message, format!("must be {least}s to {most}s in whole seconds"));
        }
    }

    fn at_least(&mut self, value: Option<Duration>, at: At<'_>, least: u64, message: &str) {
        if value.is_some_and(|value| value.0 < least) {
            self.error(codes::OUT_OF_RANGE, at, message, format!("must be at least {}s on AWS", least / 1_000));
        }
    }

    fn no_effect(&mut self, at: At<'_>, what: &str, why: &str) {
        let warning = Diagnostic::warning(codes::NO_EFFECT, format!("{what} has no effect on AWS"));
        self.push(warning.label(at.span(), why));
    }

    /// `used`: what makes it run on this machine; `None` where nothing uses it but `landfall up`.
    fn service_here(&mut self, name: &str, service: &Service, at: At<'_>, used: Option<At<'_>>) {
        let here = |error: Diagnostic| match used {
            Some(used) => error.label(used.key_span(), "runs on this machine, without `on`"),
            None => error,
        };
        if service.base_task_definition.is_some() {
            let message = format!("`base_task_definition` of service `{}` is registered on AWS", shorten(name));
            let error = Diagnostic::error(codes::ONLY_ON_AWS, message)
                .label(at.get("base_task_definition").span(), "this machine has none")
                .help("say `on: TARGET` there, or leave the service out of it");
            self.push(here(error));
        }
        let check_at = at.get("load_balancer").get("health_check").get("protocol");
        let check = service.load_balancer.as_ref().and_then(|balancer| balancer.health_check.as_ref());
        if check.and_then(|check| check.protocol) == Some(HealthCheckProtocol::Https) {
            let error = Diagnostic::error(codes::ONLY_ON_AWS, "targets on this machine are checked over http only")
                .label(check_at.span(), "works on AWS only");
            self.push(here(error));
        }
    }

    fn previews_on_aws(&mut self, manifest: &Manifest, previews: &Previews) {
        if previews.on.is_none() {
            return;
        }
        let at = self.root.get("previews");
        let routing_at = at.get("routing");
        match &previews.routing {
            None if routing_at.is_given() => {}
            None => {
                let error = Diagnostic::error(codes::AWS_NEEDS, "previews on AWS need `routing`")
                    .label(at.get("on").span(), "the usual `*.localhost` is this machine")
                    .help("`ports: {range: 8000-8049}` on the load balancer's own name, or `host: {domain: DOMAIN}`");
                self.push(error);
            }
            Some(Routing::Host(host)) => {
                let domain_at = routing_at.get("host").get("domain");
                let local = host.domain.as_deref().is_none_or(is_local);
                // An emulator on this machine is a load balancer on this machine.
                let emulated = place::preview_target(manifest).is_some_and(|target| target.endpoint.is_some());
                let unsound = host.domain.is_none() && domain_at.is_given();
                if local && !unsound && !(emulated && host.domain.is_some()) {
                    let message = match host.domain {
                        Some(_) => format!("{} is this machine", shown_at(domain_at)),
                        None => "host routing on AWS needs a `domain`".to_owned(),
                    };
                    let error = Diagnostic::error(codes::AWS_NEEDS, message)
                        .label(domain_at.span(), "previews would not be found there")
                        .label(at.get("on").span(), "previews run on AWS")
                        .help("use a domain whose wildcard `*.DOMAIN` points to the load balancer");
                    self.push(error);
                }
            }
            Some(Routing::Ports(ports)) => {
                let Some((first, last)) = ports.range.map(|range| range.0) else { return };
                let count = u32::from(last.saturating_sub(first)) + 1;
                if count > LISTENERS {
                    let message = format!("a range of {count} ports, but a load balancer has {LISTENERS} listeners");
                    let warning = Diagnostic::warning(codes::AWS_QUOTA, message)
                        .label(routing_at.get("ports").get("range").span(), "unless its quota was raised")
                        .help(format!("use `{first}-{}`, or have the quota raised", first.saturating_add(49)));
                    self.push(warning);
                }
            }
        }
    }
}

/// Whether the container's image is, or may be, in a private registry of AWS.
fn from_ecr(container: &Container) -> bool {
    let awaited = container.r#await.as_ref().map(|awaited| awaited.image.as_str());
    [container.image.as_deref(), awaited].into_iter().flatten().any(|image| image.contains(".dkr.ecr."))
}

fn is_local(domain: &str) -> bool {
    let domain = domain.trim_end_matches('.').to_ascii_lowercase();
    domain == "localhost" || domain.ends_with(".localhost")
}
