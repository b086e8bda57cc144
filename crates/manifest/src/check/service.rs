//! Services and their containers, against the rules of ECS, Fargate and Elastic Load Balancing.

use std::collections::BTreeMap;

use landfall_model::task::DependencyCondition::{Complete, Healthy, Success};
use landfall_model::task::LaunchType;

use super::{Checker, SERVICE_LENGTH, arn, known, shown_at, syntax};
use crate::authored::{Build, Container, HealthCheck, LoadBalancer, Manifest, Service};
use crate::codes;
use crate::diagnostic::{Diagnostic, did_you_mean};
use crate::resolve::{TargetTimes, binding, check_interval, ms, secs};
use crate::tree::{At, shorten};

impl Checker<'_, '_> {
    pub(super) fn service(&mut self, name: &str, service: &Service, at: At<'_>) {
        self.name("service", name, SERVICE_LENGTH, at);
        let on_aws = self.on_aws.contains(name);
        let containers_at = at.get("containers");
        if containers_at.is_map() && containers_at.keys().next().is_none() {
            let error = Diagnostic::error(codes::MISSING, format!("service `{}` has no containers", shorten(name)));
            self.push(error.label(containers_at.span(), "needs at least one"));
        }
        self.number(service.desired_count, at.get("desired_count"), 0, if on_aws { 5_000 } else { 1_000 });
        self.task_size(service, at);
        for (name, container) in &service.containers {
            self.container(name, container, service, on_aws, containers_at.get(name));
        }
        let based = at.get("base_task_definition").is_given();
        self.identifier(
            service.base_task_definition.as_ref(),
            at.get("base_task_definition"),
            "task definition",
            arn::task_definition,
        );
        if !based {
            self.essential(service, containers_at);
        }
        self.dependencies(&service.containers, based, containers_at);
        self.ports(&service.containers, containers_at);
        self.deployment(service, at.get("deployment"));
        if let Some(balancer) = &service.load_balancer {
            self.load_balancer(service, balancer, on_aws, at);
        }
    }

    fn container(&mut self, name: &str, container: &Container, service: &Service, on_aws: bool, at: At<'_>) {
        let as_on_aws = on_aws && arn::plain_name(name, 255);
        if !as_on_aws && !syntax::container_name(name) {
            let message = format!("`{}` cannot be the name of a container", shorten(name));
            let error = Diagnostic::error(codes::NAME, message);
            self.push(error.label(at.key_span(), "up to 63 letters, digits, `-` and `_`"));
        }
        self.image(name, container, service.base_task_definition.is_some(), at);
        self.variables(&container.environment, at.get("environment"));
        for (name, secret) in &container.secrets {
            let secret_at = at.get("secrets").get(name);
            self.variable_name(name, secret_at);
            self.secret_ref(secret, secret_at);
            if container.environment.contains_key(name) {
                let error = Diagnostic::error(codes::VARIABLE_NAME, format!("`{}` is set twice", shorten(name)))
                    .label(secret_at.key_span(), "here as a secret")
                    .label(at.get("environment").get(name).key_span(), "and here in the open")
                    .help("keep one of them");
                self.push(error);
            }
        }
        for (index, path) in container.secret_paths.iter().enumerate() {
            let legal = path.len() > 1 && path.starts_with('/') && !path.contains("//");
            if !legal || !path.bytes().all(|c| c.is_ascii_alphanumeric() || b"/._-{}".contains(&c)) {
                let at = at.get("secret_paths").item(index);
                self.error(codes::BAD_VALUE, at, "not a path of SSM", "such as `/my-project/{environment}`");
            }
        }
        if let Some(check) = &container.health_check {
            self.health_check(check, on_aws, at.get("health_check"));
        }
        let stop_at = at.get("stop_timeout");
        if service.launch_type == LaunchType::Fargate
            && let Some(stop) = container.stop_timeout
            && stop.0 > 120_000
        {
            let error = Diagnostic::error(codes::STOP_TIMEOUT, "Fargate waits at most 120s for a container to stop")
                .label(stop_at.span(), "more than 120s")
                .help("use 120s or less");
            self.push(error);
        } else {
            self.seconds(container.stop_timeout, stop_at, 0, 86_400);
        }
        if let Some(memory) = container.memory {
            self.number(Some(memory), at.get("memory"), 6, 4_194_304);
        }
        if let Some(directory) = &container.working_directory
            && !directory.starts_with('/')
        {
            let error = Diagnostic::error(codes::PATH, "`working_directory` is a path inside the container");
            self.push(error.label(at.get("working_directory").span(), "must begin with `/`"));
        }
    }

    fn image(&mut self, name: &str, container: &Container, based: bool, at: At<'_>) {
        let keys = ["image", "build", "await"];
        if !based || at.keys().any(|key| keys.contains(&key)) {
            self.exactly_one(&format!("container `{}`", shorten(name)), at, &keys);
        }
        if let Some(image) = &container.image
            && let Err(rule) = syntax::image(image, false)
        {
            self.error(codes::IMAGE, at.get("image"), "not a legal image reference", rule);
        }
        if let Some(build) = &container.build {
            self.build(build, at.get("build"));
        }
        if let Some(awaited) = &container.r#await {
            let at = at.get("await");
            if at.get("image").is_given()
                && let Err(rule) = syntax::image(&awaited.image, true)
            {
                self.error(codes::IMAGE, at.get("image"), "not a legal image to wait for", rule);
            }
            let label_at = at.get("label");
            if awaited.label.len() > 1 {
                self.error(codes::EXACTLY_ONE, label_at, "`label` is one `name: value`", "more than one");
            }
            for (label, value) in &awaited.label {
                if let Err(rule) = syntax::substituted(&value.0, "x") {
                    self.error(codes::IMAGE, label_at.get(label), "not a legal label to wait for", rule);
                }
            }
            self.seconds(awaited.deadline, at.get("deadline"), 1, 7 * 86_400);
            if let Some(build) = &awaited.build {
                self.build(build, at.get("build"));
            }
            for (index, tag) in awaited.tags.iter().enumerate() {
                if let Err(rule) = syntax::tag(tag) {
                    self.error(codes::IMAGE, at.get("tags").item(index), "not a legal tag", rule);
                }
            }
        }
    }

    fn build(&mut self, build: &Build, at: At<'_>) {
        for (key, path) in [("context", &build.context), ("dockerfile", &build.dockerfile)] {
            if let Some(path) = path
                && let Err(rule) = syntax::inner_path(path)
            {
                let error = Diagnostic::error(codes::PATH, format!("`{key}` {rule}"))
                    .label(at.get(key).span(), rule)
                    .help("it is relative to the root of the checked-out repository");
                self.push(error);
            }
        }
        self.variables(&build.args, at.get("args"));
        self.seconds(build.timeout, at.get("timeout"), 1, 86_400);
    }

    fn health_check(&mut self, check: &HealthCheck, on_aws: bool, at: At<'_>) {
        if let Some(command) = &check.command {
            let sound = match command.0.first().map(String::as_str) {
                Some("CMD") => command.0.len() > 1,
                Some("CMD-SHELL") => command.0.len() == 2 && !command.0[1].trim().is_empty(),
                _ => false,
            };
            if !sound {
                let error = Diagnostic::error(codes::BAD_VALUE, "a health check is a shell line or ECS's list")
                    .label(at.get("command").span(), "must begin with \"CMD\" or \"CMD-SHELL\"")
                    .help("write `[\"CMD\", program, arg]`, or a shell line without brackets");
                self.push(error);
            }
        }
        self.seconds(check.interval, at.get("interval"), 1, 300);
        self.seconds(check.timeout, at.get("timeout"), 1, 60);
        self.seconds(check.start_period, at.get("start_period"), 0, 300);
        self.number(check.retries, at.get("retries"), 1, 10);
        let interval = secs(check.interval, check_interval(on_aws));
        // ECS itself does not mind; here the next check would begin before the last one ended.
        if let Some(timeout) = check.timeout
            && !on_aws
            && secs(Some(timeout), 0) > interval
        {
            let error = Diagnostic::error(codes::HEALTH_TIMES, "the timeout is longer than the interval")
                .label(at.get("timeout").span(), "longer")
                .label(at.get("interval").span(), format!("the interval is {interval}s"))
                .help("make the interval at least as long as the timeout");
            self.push(error);
        }
    }

    fn essential(&mut self, service: &Service, at: At<'_>) {
        let written = at.keys().count();
        if written > 0
            && written == service.containers.len()
            && service.containers.values().all(|container| container.essential == Some(false))
        {
            let error = Diagnostic::error(codes::ESSENTIAL, "no container of the task is essential")
                .label(at.key_span(), "nothing would keep the task running")
                .help("remove `essential: false` from the container that does the work");
            self.push(error);
        }
    }

    /// `based`: the base task definition may have what is not here.
    fn dependencies(&mut self, containers: &BTreeMap<String, Container>, based: bool, at: At<'_>) {
        for (name, container) in containers {
            for (other, condition) in &container.depends_on {
                let edge_at = at.get(name).get("depends_on").get(other);
                if other == name {
                    let message = format!("container `{}` waits for itself", shorten(name));
                    let error = Diagnostic::error(codes::DEPENDENCY, message).label(edge_at.key_span(), "itself");
                    self.push(error);
                    continue;
                }
                if !at.keys().any(|known| known == other) {
                    if based {
                        continue;
                    }
                    let message = format!("`{}` waits for an unknown container `{}`", shorten(name), shorten(other));
                    let error = Diagnostic::error(codes::DEPENDENCY, message)
                        .label(edge_at.key_span(), "no such container in this service")
                        .help(known("container", at.keys().filter(|known| known != name)))
                        .maybe_help(did_you_mean(other, at.keys()));
                    self.push(error);
                    continue;
                }
                let Some(target) = containers.get(other) else { continue };
                let target_at = at.get(other);
                if based {
                    continue;
                }
                if *condition == Healthy && !target_at.get("health_check").is_given() {
                    let error = Diagnostic::error(
                        codes::HEALTHY_WITHOUT_CHECK,
                        format!(
                            "`{}` waits for `{}` to be healthy, which has no health check",
                            shorten(name),
                            shorten(other)
                        ),
                    )
                    .label(edge_at.span(), "would wait for ever")
                    .label(target_at.key_span(), "no `health_check` here")
                    .help(format!("give `{}` a `health_check`, or wait for START", shorten(other)));
                    self.push(error);
                }
                if matches!(condition, Complete | Success) && target.essential != Some(false) {
                    let message =
                        format!("`{}` waits for the essential container `{}` to exit", shorten(name), shorten(other));
                    let warning = Diagnostic::warning(codes::ESSENTIAL_EXITS, message)
                        .label(edge_at.span(), "the task stops when it exits")
                        .label(target_at.key_span(), "essential unless it says otherwise")
                        .help(format!("set `essential: false` on `{}`", shorten(other)));
                    self.push(warning);
                }
            }
        }
        self.cycles(containers, at);
    }

    /// Removes what waits for nothing until only circles (and what waits for them) are left, then follows one.
    fn cycles(&mut self, containers: &BTreeMap<String, Container>, at: At<'_>) {
        let mut edges: BTreeMap<&str, Vec<&str>> = containers
            .iter()
            .map(|(name, container)| {
                let targets =
                    container.depends_on.keys().filter(|other| *other != name && containers.contains_key(*other));
                (name.as_str(), targets.map(String::as_str).collect())
            })
            .collect();
        loop {
            let free: Vec<&str> = edges.iter().filter(|(_, to)| to.is_empty()).map(|(name, _)| *name).collect();
            if free.is_empty() {
                break;
            }
            edges.retain(|name, _| !free.contains(name));
            edges.values_mut().for_each(|targets| targets.retain(|target| !free.contains(target)));
        }
        let Some(start) = edges.keys().next() else { return };
        let mut path = vec![*start];
        let circle = loop {
            let Some(next) = path.last().and_then(|last| edges[last].first()) else { return };
            if let Some(seen) = path.iter().position(|name| name == next) {
                break path.split_off(seen);
            }
            path.push(*next);
        };
        let round = circle.iter().chain(circle.first()).map(|name| format!("`{}`", shorten(name))).collect::<Vec<_>>();
        let message = format!("containers wait for each other: {}", round.join(" → "));
        let mut error = Diagnostic::error(codes::CYCLE, message).help("remove one of these");
        for (index, name) in circle.iter().enumerate().take(8) {
            let next = circle[(index + 1) % circle.len()];
            error = error.label(at.get(name).get("depends_on").get(next).key_span(), "");
        }
        self.push(error);
    }

    fn ports(&mut self, containers: &BTreeMap<String, Container>, at: At<'_>) {
        let mut seen: BTreeMap<u16, (&str, usize)> = BTreeMap::new();
        let mut order: Vec<&str> = at.keys().collect();
        order.retain(|name| containers.contains_key(*name));
        for name in order {
            for (index, port) in containers[name].ports.iter().enumerate() {
                let Some((other, first)) = seen.insert(port.0, (name, index)) else { continue };
                let error =
                    Diagnostic::error(codes::DUPLICATE_PORT, format!("port {} is taken twice in one task", port.0))
                        .label(at.get(name).get("ports").item(index).span(), "taken again")
                        .label(at.get(other).get("ports").item(first).span(), "taken here")
                        .help("the containers of a task share one network namespace: let one listen on another port");
                self.push(error);
            }
        }
    }

    fn deployment(&mut self, service: &Service, at: At<'_>) {
        let Some(deployment) = &service.deployment else { return };
        self.number(deployment.minimum_healthy_percent, at.get("minimum_healthy_percent"), 0, 100);
        self.number(deployment.maximum_percent, at.get("maximum_percent"), 100, 200);
        self.seconds(
            deployment.health_check_grace_period,
            at.get("health_check_grace_period"),
            0,
            u64::from(i32::MAX as u32),
        );
        self.seconds(deployment.timeout, at.get("timeout"), 1, 7 * 86_400);
        let breaker = deployment.circuit_breaker.as_ref();
        self.number(breaker.and_then(|b| b.threshold), at.get("circuit_breaker").get("threshold"), 1, 200);
        self.strategy(service, deployment, at);
        if deployment.minimum_healthy_percent.unwrap_or(100) == 100 && deployment.maximum_percent == Some(100) {
            let error = Diagnostic::error(codes::OUT_OF_RANGE, "no task may be added and none taken away")
                .label(at.get("maximum_percent").span(), "a deployment could never begin")
                .help("raise `maximum_percent` or lower `minimum_healthy_percent`");
            self.push(error);
        }
    }

    /// Percentages of few tasks may round to no room at all: then an update can neither start a task nor stop one. ECS rounds
    /// the least up and the most down, and so does this machine:
    /// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentConfiguration.html
    pub(super) fn can_be_updated(&mut self, manifest: &Manifest, service: &Service, at: At<'_>) {
        let Some(deployment) = &service.deployment else { return };
        let least = u64::from(deployment.minimum_healthy_percent.unwrap_or(100));
        let most = u64::from(deployment.maximum_percent.unwrap_or(200));
        // Refused already.
        if (least, most) == (100, 100) || least > 100 || !(100..=200).contains(&most) {
            return;
        }
        let of_previews = manifest.previews.as_ref().and_then(|previews| previews.desired_count);
        let own = of_previews.is_none() || !manifest.environments.is_empty();
        let own = own.then_some((service.desired_count.unwrap_or(1), at.get("desired_count")));
        let of_previews = of_previews.map(|count| (count, self.root.get("previews").get("desired_count")));
        for (count, count_at) in own.into_iter().chain(of_previews) {
            let tasks = u64::from(count);
            if tasks == 0 || (tasks * least).div_ceil(100) < tasks || tasks * most / 100 > tasks {
                continue;
            }
            let message = match count {
                1 => "an update of one task could neither start a task nor stop one".to_owned(),
                _ => format!("an update of {count} tasks could neither start a task nor stop one"),
            };
            let percent_at = [at.get("deployment").get("maximum_percent"), at.get("deployment")];
            let percent_at = percent_at.into_iter().find(|at| at.is_given()).unwrap_or(at);
            let mut warning = Diagnostic::warning(codes::NEVER_BUILT, message)
                .label(percent_at.span(), format!("{least}% to {most}% of {count} leaves no room"));
            if count_at.is_given() {
                warning = warning.label(count_at.span(), "the number of tasks");
            }
            self.push(warning.help("raise `maximum_percent` to 200, or set `minimum_healthy_percent: 0`"));
            return;
        }
    }

    fn load_balancer(&mut self, service: &Service, balancer: &LoadBalancer, on_aws: bool, service_at: At<'_>) {
        let at = service_at.get("load_balancer");
        let containers_at = service_at.get("containers");
        if !containers_at.is_map() {
            return;
        }
        // The ports may stand in the base task definition.
        let based = service.base_task_definition.is_some();
        let complete = containers_at.keys().all(|name| service.containers.contains_key(name));
        match &balancer.container {
            Some(name) if !containers_at.keys().any(|known| known == name) => {
                let message =
                    format!("the load balancer points to an unknown container {}", shown_at(at.get("container")));
                let error = Diagnostic::error(codes::LOAD_BALANCER, message)
                    .label(at.get("container").span(), "no such container in this service")
                    .help(match based {
                        true => format!("name it there too: `containers: {{{}: {{}}}}`", shorten(name)),
                        false => known("container", containers_at.keys()),
                    })
                    .maybe_help(did_you_mean(name, containers_at.keys()));
                self.push(error);
            }
            Some(name) => {
                if let Some(container) = service.containers.get(name) {
                    self.traffic_port(name, container, balancer, at, based, containers_at.get(name));
                }
            }
            None if at.get("container").is_given() || !complete => {}
            None => match binding(service) {
                Some((name, _)) => {
                    if let Some(container) = service.containers.get(&name) {
                        self.traffic_port(&name, container, balancer, at, based, containers_at.get(&name));
                    }
                }
                None => {
                    let mut with_ports = service.containers.iter().filter(|(_, container)| !container.ports.is_empty());
                    match (with_ports.next(), with_ports.next()) {
                        (Some((name, container)), None) => {
                            self.traffic_port(name, container, balancer, at, based, containers_at.get(name));
                        }
                        (Some(_), Some(_)) => {
                            let error = Diagnostic::error(codes::LOAD_BALANCER, "several containers have ports")
                                .label(at.key_span(), "which one receives traffic?")
                                .help("add `container: NAME`");
                            self.push(error);
                        }
                        _ if based => {
                            let error = Diagnostic::error(codes::LOAD_BALANCER, "which container receives traffic?")
                                .label(at.key_span(), "no container here has a port")
                                .help("add `container: NAME` and `port: PORT` as the base task definition has them");
                            self.push(error);
                        }
                        _ if service.containers.keys().all(|name| !containers_at.get(name).get("ports").is_given()) => {
                            let error = Diagnostic::error(codes::LOAD_BALANCER, "no container has a port")
                                .label(at.key_span(), "nothing could receive traffic")
                                .help("add `ports: [PORT]` to the container that serves");
                            self.push(error);
                        }
                        _ => {}
                    }
                }
            },
        }
        if let Some(check) = &balancer.health_check {
            let at = at.get("health_check");
            if let Some(path) = &check.path
                && (!path.starts_with('/')
                    || path.chars().any(|c| c.is_whitespace() || c.is_control())
                    || path.len() > 1_024)
            {
                self.error(codes::BAD_VALUE, at.get("path"), "not the path of a request", "must begin with `/`");
            }
            if let Some(matcher) = &check.matcher
                && let Err(rule) = syntax::matcher(&matcher.0)
            {
                let message = format!("{} is no list of status codes", shown_at(at.get("matcher")));
                self.error(codes::MATCHER, at.get("matcher"), message, rule);
            }
            for (key, value) in [("interval", check.interval), ("timeout", check.timeout)] {
                if let Some(value) = value
                    && !(10..=300_000).contains(&value.0)
                {
                    self.error(codes::OUT_OF_RANGE, at.get(key), "a duration out of range", "must be 10ms to 300s");
                }
            }
            let times = TargetTimes::of(on_aws);
            let interval = ms(check.interval, times.interval_ms);
            if ms(check.timeout, times.timeout_ms(interval)) >= interval {
                let error = Diagnostic::error(codes::HEALTH_TIMES, "the timeout is not shorter than the interval")
                    .label(at.get("timeout").span(), "too long")
                    .label(at.get("interval").span(), format!("the interval is {interval}ms"))
                    .help("make the timeout shorter or the interval longer");
                self.push(error);
            }
            self.number(check.healthy_threshold, at.get("healthy_threshold"), 1, 10);
            self.number(check.unhealthy_threshold, at.get("unhealthy_threshold"), 1, 10);
        }
        self.seconds(balancer.deregistration_delay, at.get("deregistration_delay"), 0, 3_600);
        self.seconds(balancer.idle_timeout, at.get("idle_timeout"), 1, 4_000);
    }

    fn traffic_port(
        &mut self,
        name: &str,
        container: &Container,
        balancer: &LoadBalancer,
        at: At<'_>,
        based: bool,
        container_at: At<'_>,
    ) {
        let ports_at = container_at.get("ports");
        if ports_at.is_given() && container.ports.is_empty() && !ports_at.node.is_some_and(|n| n.items().is_empty()) {
            return;
        }
        if based && container.ports.is_empty() && balancer.port.is_some() {
            return;
        }
        let has = container.ports.iter().map(|port| port.0.to_string()).collect::<Vec<_>>().join(", ");
        match balancer.port {
            Some(port) if !container.ports.contains(&port) => {
                let message = format!("container `{}` has no port {}", shorten(name), port.0);
                let error = Diagnostic::error(codes::LOAD_BALANCER, message)
                    .label(at.get("port").span(), "not among its ports")
                    .label(
                        ports_at.key_span(),
                        if has.is_empty() { "no `ports` here".to_owned() } else { format!("it has {has}") },
                    )
                    .help(format!("add {} to its `ports`, or use another port", port.0));
                self.push(error);
            }
            None if !at.get("port").is_given() && container.ports.len() != 1 => {
                let message = format!("which port of container `{}` receives traffic?", shorten(name));
                let error = Diagnostic::error(codes::LOAD_BALANCER, message)
                    .label(
                        at.key_span(),
                        if has.is_empty() { "it has no `ports`".to_owned() } else { format!("it has {has}") },
                    )
                    .help("add `port: PORT`");
                self.push(error);
            }
            _ => {}
        }
    }
}
