//! Lasting environments: their own keys. What runs there is held against the place's rules by `placed`.

use std::collections::{BTreeMap, BTreeSet};

use super::{Checker, arn, known, shown_at, syntax};
use crate::authored::{Environment, EnvironmentRouting, Manifest};
use crate::codes;
use crate::diagnostic::{Diagnostic, did_you_mean};
use crate::tree::{At, shorten};

/// ECS's limit for a service's name.
/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CreateService.html>
const SERVICE_NAME: usize = 255;

impl<'t> Checker<'_, 't> {
    pub(super) fn environments(&mut self, manifest: &Manifest) {
        let at = self.root.get("environments");
        for (name, environment) in &manifest.environments {
            let at = at.get(name);
            self.name("environment", name, 40, at);
            if let Some(services) = &environment.services {
                self.service_refs(services, at.get("services"));
                if services.is_empty() {
                    self.error(codes::BAD_VALUE, at.get("services"), "an environment without services", "empty");
                }
            }
            self.variables(&environment.variables, at.get("variables"));
            self.existing_names(manifest, environment, at);
            self.target_groups(manifest, environment, at);
            for (service, count) in &environment.desired_count {
                let at = at.get("desired_count").get(service);
                if self.runs_there(manifest, environment, service, at) {
                    self.number(Some(*count), at, 0, 5_000);
                }
            }
            self.schedules(manifest, environment, at);
            self.environment_routing(manifest, environment, at);
            if let Some(verify) = &environment.verify {
                self.verify(verify, at.get("verify"));
            }
        }
    }

    /// A key that names a service of the environment.
    pub(super) fn runs_there(
        &mut self,
        manifest: &Manifest,
        environment: &Environment,
        service: &str,
        at: At<'_>,
    ) -> bool {
        let runs = |name: &str| environment.runs(name);
        if manifest.services.contains_key(service) && runs(service) {
            return true;
        }
        let there = || manifest.services.keys().map(String::as_str).filter(|name| runs(name));
        let error = Diagnostic::error(codes::UNKNOWN_SERVICE, format!("no service `{}` here", shorten(service)))
            .label(at.key_span(), "not one of the environment's services")
            .help(known("service", there()))
            .maybe_help(did_you_mean(service, there()));
        self.push(error);
        false
    }

    /// The service and container are there.
    pub(super) fn container_there(
        &mut self,
        manifest: &Manifest,
        environment: &Environment,
        service: &str,
        container: Option<&String>,
        at: At<'_>,
    ) {
        let service_at = at.get("service");
        if !service_at.is_given() {
            return;
        }
        let runs = |name: &str| environment.runs(name);
        let Some(found) = manifest.services.get(service).filter(|_| runs(service)) else {
            let there = || manifest.services.keys().map(String::as_str).filter(|name| runs(name));
            let error = Diagnostic::error(codes::UNKNOWN_SERVICE, format!("no service {} here", shown_at(service_at)))
                .label(service_at.span(), "not one of the environment's services")
                .help(known("service", there()))
                .maybe_help(did_you_mean(service, there()));
            self.push(error);
            return;
        };
        let names = || found.containers.keys().map(String::as_str);
        match container {
            Some(name) if !found.containers.contains_key(name) => {
                let at = at.get("container");
                let error =
                    Diagnostic::error(codes::UNKNOWN_SERVICE, format!("there is no container {}", shown_at(at)))
                        .label(at.span(), format!("not one of service `{}`", shorten(service)))
                        .help(known("container", names()))
                        .maybe_help(did_you_mean(name, names()));
                self.push(error);
            }
            None if crate::resolve::usual_container(found).is_none() => {
                let error = Diagnostic::error(codes::MISSING, "which container?")
                    .label(service_at.span(), "has several")
                    .help(format!("add `container`: {}", known("container", names())));
                self.push(error);
            }
            _ => {}
        }
    }

    fn schedules(&mut self, manifest: &Manifest, environment: &Environment, at: At<'_>) {
        let all_at = at.get("schedules");
        for (name, schedule) in &environment.schedules {
            let at = all_at.get(name);
            self.name("schedule", name, 40, at);
            self.container_there(manifest, environment, &schedule.service, schedule.container.as_ref(), at);
            self.cron(&schedule.cron, schedule.time_zone.as_ref(), at);
        }
        if !environment.schedules.is_empty() && environment.on.is_some() && environment.stack.is_none() {
            let error = Diagnostic::error(codes::STACK, "nobody would run these tasks")
                .label(all_at.key_span(), "on AWS EventBridge Scheduler does, and its schedules are made by a stack")
                .help("`stack: {}` makes the environment one");
            self.push(error);
        }
    }

    fn existing_names(&mut self, manifest: &Manifest, environment: &Environment, at: At<'_>) {
        let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
        for (service, name) in &environment.names {
            let at = at.get("names").get(service);
            if !self.runs_there(manifest, environment, service, at) {
                continue;
            }
            let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
            if name.0.is_empty() || name.0.len() > SERVICE_NAME || !name.0.bytes().all(legal) {
                let message = format!("{} cannot be the name of an ECS service", shown_at(at));
                self.error(codes::NAME, at, message, "up to 255 letters, digits, `-` and `_`");
            } else if let Some(other) = seen.insert(&name.0, service) {
                let message = format!("services `{}` and `{}` have one name", shorten(other), shorten(service));
                self.error(codes::NAME, at, message, "again here");
            }
        }
    }

    fn target_groups(&mut self, manifest: &Manifest, environment: &Environment, at: At<'_>) {
        for (service, group) in &environment.target_groups {
            let at = at.get("target_groups").get(service);
            if !self.runs_there(manifest, environment, service, at) {
                continue;
            }
            self.identifier(Some(group), at, "target group", arn::target_group);
            if environment.on.is_none() {
                let error = Diagnostic::error(codes::ONLY_ON_AWS, "target groups that exist are on AWS")
                    .label(at.key_span(), "the environment is on this machine, without `on`");
                self.push(error);
            } else if manifest.services[service].load_balancer.is_none() && !self.balanced_at(service).is_given() {
                let message = format!("service `{}` receives no traffic", shorten(service));
                let error = Diagnostic::error(codes::LOAD_BALANCER, message)
                    .label(at.key_span(), "which container and port belong to the target group?")
                    .help(format!("add `load_balancer: {{}}` to service `{}`", shorten(service)));
                self.push(error);
            }
        }
    }

    fn balanced_at(&self, service: &str) -> At<'t> {
        self.root.get("services").get(service).get("load_balancer")
    }

    fn environment_routing(&mut self, manifest: &Manifest, environment: &Environment, at: At<'_>) {
        let routing_at = at.get("routing");
        match &environment.routing {
            Some(EnvironmentRouting::Host(host)) if !host.name.is_empty() => {
                let at = routing_at.get("host").get("name");
                if let Err(rule) = syntax::domain(&host.name) {
                    self.error(codes::DOMAIN, at, format!("{} is no legal host name", shown_at(at)), rule);
                }
            }
            Some(EnvironmentRouting::Port(port)) if environment.on.is_none() && port.0 < 1024 => {
                let at = routing_at.get("port");
                let error = Diagnostic::error(codes::PORT_RANGE, "ports below 1024 are the system's");
                self.push(error.label(at.span(), "must be within 1024-65535"));
            }
            _ => {}
        }
        let chosen: BTreeSet<&str> = match &environment.services {
            Some(named) => named.iter().map(String::as_str).collect(),
            None => manifest.services.keys().map(String::as_str).collect(),
        };
        let balanced: Vec<&str> = chosen.into_iter().filter(|name| self.balanced_at(name).is_given()).collect();
        let attached = balanced.iter().any(|name| environment.target_groups.contains_key(*name));
        if environment.stack.is_some() {
            return;
        }
        if environment.on.is_some() && !routing_at.is_given() && !attached && !at.get("target_groups").is_given() {
            let Some(first) = balanced.first() else { return };
            let warning = Diagnostic::warning(codes::NEVER_BUILT, "nothing routes to this environment")
                .label(at.get("on").span(), format!("service `{}` would get no traffic from Landfall", shorten(first)))
                .help(format!(
                    "`routing: {{host: {{name: HOST}}}}` makes a target group and a rule; `target_groups: {{{}: ARN}}` uses \
                     one that exists",
                    shorten(first)
                ));
            self.push(warning);
        }
        if attached && routing_at.is_given() && balanced.len() == environment.target_groups.len() {
            let why = "every service that receives traffic has its own target group";
            let warning = Diagnostic::warning(codes::NO_EFFECT, "`routing` has no effect on AWS");
            self.push(warning.label(routing_at.key_span(), why));
        }
    }
}
