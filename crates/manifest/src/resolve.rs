//! Authored → resolved: defaults filled in, names in the order written. Runs only on a manifest without errors; anything a
//! check should have refused falls back to the default instead of failing.

mod aws;
mod chat;
mod ci;
mod environments;
mod pipeline;
mod stack;
mod strategy;
mod verify;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use landfall_model::app::{
    App, AwaitSource, BalancingAlgorithm, BuildSource, CircuitBreaker, ContainerTemplate, DeploymentConfiguration,
    Hook, HookAction, HookFailure, HookPoint, ImageSource, Limits, LoadBalancerBinding, Notification,
    NotificationTarget, Previews, Repository, Routing, Service, TargetHealthCheck, UrlOrSecret,
};
use landfall_model::ids::RepositoryKey;
use landfall_model::task::{ContainerSettings, Dependency, HealthCheck, SecretRef};

pub(crate) use self::aws::TargetTimes;
pub(crate) use self::ci::step as ci_step;
pub(crate) use self::stack::usual_container;
pub(crate) use self::strategy::{strategy, waits};
use crate::authored;
use crate::place;
use crate::scalar::{Duration, Text};
use crate::tree::At;

/// Every default in one place; docs/manifest.md and the schema's descriptions repeat them.
pub(crate) mod defaults {
    pub(crate) const BUILD_TIMEOUT: u32 = 900;
    pub(crate) const AWAIT_DEADLINE: u32 = 900;
    pub(crate) const STOP_TIMEOUT: u32 = 30;
    pub(crate) const CHECK_INTERVAL: u32 = 2;
    pub(crate) const CHECK_TIMEOUT: u32 = 2;
    pub(crate) const CHECK_RETRIES: u32 = 3;
    pub(crate) const DEPLOYMENT_TIMEOUT: u32 = 600;
    pub(crate) const DEREGISTRATION_DELAY: u32 = 5;
    pub(crate) const IDLE_TIMEOUT: u32 = 60;
    pub(crate) const TARGET_INTERVAL_MS: u32 = 2_000;
    pub(crate) const TARGET_TIMEOUT_MS: u32 = 1_000;
    pub(crate) const AWS_TARGET_INTERVAL_MS: u32 = 5_000;
    pub(crate) const AWS_TARGET_TIMEOUT_MS: u32 = 2_000;
    /// ECS runs a container's check no more often than this.
    pub(crate) const AWS_CHECK_INTERVAL: u32 = 5;
    pub(crate) const THRESHOLD: u32 = 2;
    pub(crate) const MATCHER: &str = "200-399";
    pub(crate) const BRANCHES: &str = "feature/*";
    pub(crate) const PORT: u16 = 8080;
    pub(crate) const HOOK_TIMEOUT: u32 = 300;
    pub(crate) const BUILDS: u32 = 2;
    /// On this machine each one starts containers.
    pub(crate) const EXECUTIONS: u32 = 8;
    /// On AWS nearly all of one is waiting.
    pub(crate) const EXECUTIONS_ON_AWS: u32 = 64;
    pub(crate) const HOLD: u32 = 60;
}

pub(crate) fn resolve(manifest: authored::Manifest, at: At<'_>, directory: &Path) -> App {
    let usual_target = place::usual_target(&manifest).map(str::to_owned);
    let preview_target = place::preview_target(&manifest).cloned();
    let here = Here { directory, on_aws: place::on_aws(&manifest), usual_target, preview_target };
    let project = manifest.project.clone();
    let mut repositories: BTreeMap<_, _> = manifest
        .repositories
        .into_iter()
        .map(|(key, repository)| (RepositoryKey::from(key.clone()), here.repository(key, repository)))
        .collect();
    if repositories.is_empty() {
        let key = RepositoryKey::from(project.clone());
        let repository = Repository { key: key.clone(), github: None, github_id: None, source: None, omit: None };
        repositories.insert(key, repository);
    }
    let services_at = at.get("services");
    let ordered: Vec<String> = services_at.keys().map(str::to_owned).collect();
    let hooks_at = at.get("previews").get("hooks");
    let previews = manifest.previews.map(|previews| here.previews(previews, &project, &ordered, hooks_at));
    let certified: BTreeSet<String> =
        manifest.aws.iter().filter(|(_, target)| target.certificate.is_some()).map(|(name, _)| name.clone()).collect();
    let environments_at = at.get("environments");
    let environments = manifest.environments.into_iter().map(|(name, environment)| {
        let at = environments_at.get(&name);
        let own = environments::environment(
            name.clone(),
            environment,
            &project,
            &ordered,
            &certified,
            &manifest.services,
            at,
        );
        (name, own)
    });
    let environments = environments.collect();
    let notifications_at = at.get("notifications");
    let mut notifications: Vec<_> =
        manifest.notifications.into_iter().filter_map(|(name, one)| here.notification(name, one)).collect();
    notifications.sort_by_key(|one| notifications_at.position(&one.name));
    let services = manifest
        .services
        .into_iter()
        .map(|(name, service)| {
            let at = services_at.get(&name);
            (name.clone(), here.service(name, service, at))
        })
        .collect();
    let pipelines_at = at.get("pipelines");
    let pipelines = manifest.pipelines.into_iter().map(|(name, one)| {
        let at = pipelines_at.get(&name);
        (name.clone(), pipeline::pipeline(name, one, &project, at))
    });
    let pipelines = pipelines.collect();
    let webhook_secrets = manifest.webhook.unwrap_or_default().secrets;
    let webhook_secrets = webhook_secrets.into_iter().map(|secret| here.secret(secret)).collect();
    App {
        project,
        repositories,
        services,
        environments,
        previews,
        notifications,
        webhook_secrets,
        aws: aws::targets(manifest.aws),
        chatops: manifest.chatops.map(|chatops| chat::chatops(&here, chatops)),
        ci: manifest.ci.map(|ci| ci::ci(ci, at.get("ci"))),
        pipelines,
    }
}

struct Here<'d> {
    directory: &'d Path,
    /// Services that run on AWS somewhere.
    on_aws: BTreeSet<String>,
    usual_target: Option<String>,
    preview_target: Option<authored::AwsTarget>,
}

impl Here<'_> {
    /// A relative path is relative to the manifest.
    fn path(&self, path: String) -> String {
        if self.directory.as_os_str().is_empty() || Path::new(&path).is_absolute() {
            return path;
        }
        // Lexical, so that `.` and `..` do not end up in names and logs; no file system is asked.
        let mut out = self.directory.to_path_buf();
        for part in Path::new(&path).components() {
            match part {
                std::path::Component::ParentDir => {
                    out.pop();
                }
                std::path::Component::Normal(part) => out.push(part),
                _ => {}
            }
        }
        out.to_string_lossy().into_owned()
    }

    fn secret(&self, secret: SecretRef) -> SecretRef {
        match secret {
            SecretRef::File(path) => SecretRef::File(self.path(path)),
            other => other,
        }
    }

    fn repository(&self, key: String, repository: authored::Repository) -> Repository {
        let source = repository.source.map(|source| if is_remote(&source) { source } else { self.path(source) });
        let authored::Repository { github, github_id, omit, .. } = repository;
        Repository { key: key.into(), github, github_id, source, omit: omit.filter(|omit| !omit.is_empty()) }
    }

    fn service(&self, name: String, service: authored::Service, at: At<'_>) -> Service {
        let on_aws = self.on_aws.contains(&name);
        let binding = binding(&service);
        let load_balancer = service.load_balancer.zip(binding).map(|(authored, (container, port))| {
            let check = authored.health_check.unwrap_or_default();
            let times = TargetTimes::of(on_aws);
            let interval_ms = ms(check.interval, times.interval_ms);
            LoadBalancerBinding {
                container,
                port,
                health_check: TargetHealthCheck {
                    protocol: check.protocol.unwrap_or_default(),
                    path: check.path.unwrap_or_else(|| "/".to_owned()),
                    port: check.port.map(|port| port.0),
                    interval_ms,
                    timeout_ms: ms(check.timeout, times.timeout_ms(interval_ms)),
                    healthy_threshold: check.healthy_threshold.unwrap_or(defaults::THRESHOLD),
                    unhealthy_threshold: check.unhealthy_threshold.unwrap_or(defaults::THRESHOLD),
                    matcher: check.matcher.map_or_else(|| defaults::MATCHER.to_owned(), |text| text.0.replace(' ', "")),
                },
                deregistration_delay: secs(authored.deregistration_delay, defaults::DEREGISTRATION_DELAY),
                algorithm: authored.algorithm.unwrap_or(BalancingAlgorithm::RoundRobin),
                idle_timeout: secs(authored.idle_timeout, defaults::IDLE_TIMEOUT),
            }
        });
        let deployment = service.deployment.unwrap_or_default();
        let strategy = strategy(&deployment);
        let breaker = deployment.circuit_breaker.unwrap_or_default();
        let containers_at = at.get("containers");
        let mut containers: Vec<_> = service
            .containers
            .into_iter()
            .map(|(name, container)| {
                let depends_at = containers_at.get(&name).get("depends_on");
                self.container(name, container, on_aws, depends_at)
            })
            .collect();
        containers.sort_by_key(|container| containers_at.position(&container.name));
        Service {
            name,
            launch_type: service.launch_type,
            base_task_definition: aws::text(service.base_task_definition),
            documents: None,
            cpu: service.cpu,
            memory: service.memory,
            containers,
            desired_count: service.desired_count.unwrap_or(1),
            deployment: DeploymentConfiguration {
                minimum_healthy_percent: deployment.minimum_healthy_percent.unwrap_or(100),
                maximum_percent: deployment.maximum_percent.unwrap_or(200),
                circuit_breaker: CircuitBreaker {
                    enable: breaker.enable.unwrap_or(true),
                    rollback: breaker.rollback.unwrap_or(true),
                    threshold: breaker.threshold,
                },
                health_check_grace_period: secs(deployment.health_check_grace_period, 0),
                timeout: secs(deployment.timeout, defaults::DEPLOYMENT_TIMEOUT.saturating_add(waits(&strategy))),
                strategy,
                alarms: deployment.alarms.as_ref().map(strategy::alarms),
            },
            load_balancer,
        }
    }

    fn container(
        &self,
        name: String,
        container: authored::Container,
        on_aws: bool,
        depends_at: At<'_>,
    ) -> ContainerTemplate {
        let image = match (container.build, container.r#await) {
            (Some(source), _) => ImageSource::Build(build(source)),
            (None, Some(awaited)) => ImageSource::Await(AwaitSource {
                image: awaited.image,
                label: awaited.label.into_iter().next().map(|(label, value)| (label, value.0)),
                deadline: secs(awaited.deadline, defaults::AWAIT_DEADLINE),
                build: awaited.build.map(build),
                tags: awaited.tags,
            }),
            (None, None) => container.image.map_or(ImageSource::Base, ImageSource::Reference),
        };
        let mut depends_on: Vec<_> = container
            .depends_on
            .into_iter()
            .map(|(container, condition)| Dependency { container, condition })
            .collect();
        depends_on.sort_by_key(|dependency| depends_at.position(&dependency.container));
        let settings = ContainerSettings {
            entry_point: list(container.entry_point),
            command: list(container.command),
            working_directory: container.working_directory,
            user: container.user.map(|user| user.0),
            ports: container.ports.into_iter().map(|port| port.0).collect(),
            environment: texts(container.environment),
            secrets: container.secrets.into_iter().map(|(name, secret)| (name, self.secret(secret))).collect(),
            secret_paths: container.secret_paths,
            ci_variables: container.ci_variables,
            depends_on,
            health_check: container.health_check.map(|check| HealthCheck {
                command: check.command.unwrap_or_default().0,
                interval: secs(check.interval, check_interval(on_aws)),
                timeout: secs(check.timeout, default_check_timeout(check.interval, on_aws)),
                retries: check.retries.unwrap_or(defaults::CHECK_RETRIES),
                start_period: secs(check.start_period, 0),
            }),
            essential: container.essential.unwrap_or(true),
            stop_timeout: secs(container.stop_timeout, defaults::STOP_TIMEOUT),
            cpu: container.cpu,
            memory: container.memory,
            readonly_root_filesystem: container.readonly_root_filesystem,
        };
        ContainerTemplate { name, image, settings }
    }

    fn previews(&self, previews: authored::Previews, project: &str, services: &[String], hooks_at: At<'_>) -> Previews {
        let routing = match previews.routing {
            Some(authored::Routing::Ports(authored::PortsRouting { range: Some(range) })) => {
                Routing::Ports { first: range.0.0, last: range.0.1 }
            }
            Some(authored::Routing::Host(host)) => self.host_routing(host, project),
            _ => self.host_routing(authored::HostRouting::default(), project),
        };
        let limits = previews.limits.unwrap_or_default();
        let mut hooks: Vec<_> = previews.hooks.into_iter().filter_map(|(name, hook)| self.hook(name, hook)).collect();
        hooks.sort_by_key(|hook| hooks_at.position(&hook.name));
        let on = aws::text(previews.on);
        let executions = if on.is_some() { defaults::EXECUTIONS_ON_AWS } else { defaults::EXECUTIONS };
        Previews {
            on,
            branches: previews.branches.unwrap_or_else(|| vec![defaults::BRANCHES.to_owned()]),
            ignore: previews.ignore,
            pull_requests: previews.pull_requests,
            services: previews.services.unwrap_or_else(|| services.to_vec()),
            desired_count: previews.desired_count,
            variables: texts(previews.variables),
            routing,
            ttl: previews.ttl.map(|ttl| ttl.0 / 1_000),
            limits: Limits {
                max_previews: limits.max_previews,
                concurrent_builds: limits.concurrent_builds.unwrap_or(defaults::BUILDS),
                concurrent_executions: limits.concurrent_executions.unwrap_or(executions),
            },
            hooks,
            sleep: previews.sleep.as_ref().and_then(chat::sleep),
        }
    }

    fn host_routing(&self, host: authored::HostRouting, project: &str) -> Routing {
        let domain = host.domain.map(|domain| domain.trim_end_matches('.').to_ascii_lowercase());
        let usual_port = match &self.preview_target {
            Some(target) if target.certificate.is_some() => 443,
            Some(_) => 80,
            None => defaults::PORT,
        };
        Routing::Host {
            domain: domain.unwrap_or_else(|| format!("{project}.localhost")),
            port: host.port.map_or(usual_port, |port| port.0),
        }
    }

    fn hook(&self, name: String, hook: authored::Hook) -> Option<Hook> {
        let run = match hook.run? {
            authored::HookRun::Command(argv) => HookAction::Command { argv: list(argv), directory: None },
            authored::HookRun::Exec(exec) => HookAction::Command {
                argv: list(exec.command),
                directory: exec.working_directory.map(|directory| self.path(directory)),
            },
            authored::HookRun::Http(http) => HookAction::Http {
                url: http.url,
                method: method(http.method).to_owned(),
                headers: texts(http.headers),
                secret: http.secret.map(|secret| self.secret(secret)),
                secret_headers: http
                    .secret_headers
                    .into_iter()
                    .map(|(name, secret)| (name, self.secret(secret)))
                    .collect(),
            },
            authored::HookRun::Task(task) => {
                HookAction::Task { service: task.service, container: task.container, command: list(task.command) }
            }
            authored::HookRun::Lambda(lambda) => HookAction::Lambda { function: lambda.function.0 },
            authored::HookRun::Circleci(hook) => HookAction::CircleCi(chat::circleci(self, hook)),
        };
        Some(Hook {
            name,
            when: hook.when.unwrap_or(HookPoint::AfterCreate),
            run,
            timeout: secs(hook.timeout, defaults::HOOK_TIMEOUT),
            on_failure: hook.on_failure.unwrap_or(HookFailure::Fail),
            rerunnable: hook.rerunnable,
        })
    }

    fn notification(&self, name: String, one: authored::Notification) -> Option<Notification> {
        let to = if one.log.is_some() {
            NotificationTarget::Log
        } else if let Some(webhook) = one.webhook {
            let secret = webhook.secret.map(|secret| self.secret(secret));
            NotificationTarget::Webhook { url: webhook.url, secret }
        } else if let Some(sns) = one.sns {
            aws::sns(sns, self.usual_target.as_deref())?
        } else {
            let slack = one.slack?;
            let url = match (slack.url, slack.url_secret) {
                (Some(url), _) => UrlOrSecret::Url(url),
                (None, secret) => UrlOrSecret::Secret(self.secret(secret?)),
            };
            NotificationTarget::Slack { url, channel: slack.channel }
        };
        Some(Notification { name, to, on: one.on })
    }
}

/// The container and port behind the load balancer: as given, else the only candidate.
pub(crate) fn binding(service: &authored::Service) -> Option<(String, u16)> {
    let balancer = service.load_balancer.as_ref()?;
    let name = match &balancer.container {
        Some(name) => name.clone(),
        None => {
            let mut with_ports = service.containers.iter().filter(|(_, container)| !container.ports.is_empty());
            // With a base task definition the ports may stand there; the only container is meant all the same.
            let only = match service.base_task_definition {
                Some(_) if service.containers.len() == 1 => service.containers.iter().next(),
                _ => None,
            };
            let (name, _) = with_ports.next().or(only)?;
            if with_ports.next().is_some() {
                return None;
            }
            name.clone()
        }
    };
    let port = match (balancer.port, service.containers.get(&name)?.ports.as_slice()) {
        (Some(port), _) => port.0,
        (None, [only]) => only.0,
        _ => return None,
    };
    Some((name, port))
}

/// Does `git clone` reach this over a network or by URL, rather than as a local path?
pub(crate) fn is_remote(source: &str) -> bool {
    source.contains("://") || source.split_once(':').is_some_and(|(host, _)| !host.is_empty() && !host.contains('/'))
}

/// No longer than the interval, which may be set below the usual timeout.
fn default_check_timeout(interval: Option<Duration>, on_aws: bool) -> u32 {
    defaults::CHECK_TIMEOUT.min(secs(interval, check_interval(on_aws)).max(1))
}

pub(crate) fn check_interval(on_aws: bool) -> u32 {
    if on_aws { defaults::AWS_CHECK_INTERVAL } else { defaults::CHECK_INTERVAL }
}

fn method(method: Option<authored::HttpMethod>) -> &'static str {
    use authored::HttpMethod::{Delete, Get, Patch, Post, Put};
    match method {
        None | Some(Post) => "POST",
        Some(Get) => "GET",
        Some(Put) => "PUT",
        Some(Patch) => "PATCH",
        Some(Delete) => "DELETE",
    }
}

pub(crate) fn ms(duration: Option<Duration>, default: u32) -> u32 {
    duration.map_or(default, |duration| u32::try_from(duration.0).unwrap_or(u32::MAX))
}

pub(crate) fn secs(duration: Option<Duration>, default: u32) -> u32 {
    duration.map_or(default, |duration| u32::try_from(duration.0 / 1_000).unwrap_or(u32::MAX))
}

fn build(source: authored::Build) -> BuildSource {
    BuildSource {
        context: source.context.unwrap_or_else(|| ".".to_owned()),
        dockerfile: source.dockerfile.unwrap_or_else(|| "Dockerfile".to_owned()),
        args: texts(source.args),
        target: source.target,
        timeout: secs(source.timeout, defaults::BUILD_TIMEOUT),
    }
}

fn texts(map: BTreeMap<String, Text>) -> BTreeMap<String, String> {
    map.into_iter().map(|(name, text)| (name, text.0)).collect()
}

fn list(texts: Vec<Text>) -> Vec<String> {
    texts.into_iter().map(|text| text.0).collect()
}
