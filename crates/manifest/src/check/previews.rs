//! Previews with their hooks, and notifications.

use landfall_model::redact::looks_secret;

use super::{Checker, arn, known, shown_at, syntax};
use crate::authored::{Hook, HookRun, Manifest, Previews, Routing};
use crate::codes;
use crate::diagnostic::{Diagnostic, did_you_mean};
use crate::place;
use crate::tree::{At, shorten};

impl Checker<'_, '_> {
    fn header(&mut self, header: &str, at: At<'_>) {
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if header.is_empty() || !header.bytes().all(token) {
            let message = format!("`{}` cannot be the name of a header", shorten(header));
            self.push(Diagnostic::error(codes::BAD_VALUE, message).label(at.key_span(), ""));
        }
    }

    pub(super) fn previews(&mut self, manifest: &Manifest, previews: &Previews, at: At<'_>) {
        let branches = previews.branches.as_deref().unwrap_or_default();
        for (key, patterns) in [("branches", branches), ("ignore", previews.ignore.as_slice())] {
            for (index, pattern) in patterns.iter().enumerate() {
                if let Err(rule) = syntax::glob(pattern) {
                    let item = at.get(key).item(index);
                    let message = format!("{} is no branch pattern", shown_at(item));
                    let error = Diagnostic::error(codes::GLOB, message)
                        .label(item.span(), rule)
                        .help("`*` stops at `/`, `**` does not, `{a,b}` is either, `[0-9]` is one of");
                    self.push(error);
                } else if let Some(short) = pattern.strip_prefix("refs/heads/") {
                    let item = at.get(key).item(index);
                    let warning = Diagnostic::warning(codes::NEVER_BUILT, "patterns match the short name of a branch")
                        .label(item.span(), "matches nothing")
                        .help(format!("use `{}`", shorten(short)));
                    self.push(warning);
                }
            }
        }
        if previews.branches.as_ref().is_some_and(Vec::is_empty) && !previews.pull_requests {
            let warning = Diagnostic::warning(codes::NEVER_BUILT, "no branch and no pull request gets a preview")
                .label(at.get("branches").key_span(), "empty")
                .help("remove `branches` for the default, or the whole section for no previews");
            self.push(warning);
        }
        if let Some(services) = &previews.services {
            self.service_refs(services, at.get("services"));
            if services.is_empty() {
                self.error(codes::BAD_VALUE, at.get("services"), "a preview without services", "empty");
            }
        }
        self.reachable(manifest, previews, at);
        self.number(previews.desired_count, at.get("desired_count"), 0, 1_000);
        self.variables(&previews.variables, at.get("variables"));
        self.routing(previews, at.get("routing"));
        if let Some(ttl) = previews.ttl
            && ttl.0 < 60_000
        {
            let error = Diagnostic::error(codes::OUT_OF_RANGE, "`ttl` is too short")
                .label(at.get("ttl").span(), "must be at least 1m")
                .help("leave it out for previews that live as long as their branch");
            self.push(error);
        }
        if let Some(limits) = &previews.limits {
            let at = at.get("limits");
            self.number(limits.max_previews, at.get("max_previews"), 1, 100_000);
            self.number(limits.concurrent_builds, at.get("concurrent_builds"), 1, 256);
            self.number(limits.concurrent_executions, at.get("concurrent_executions"), 1, 4_096);
        }
        self.sleep(previews, at.get("sleep"));
        for (name, hook) in &previews.hooks {
            self.hook(manifest, name, hook, at.get("hooks").get(name));
        }
    }

    /// What can never come up as written: nothing to answer at the URL, nothing to build from.
    fn reachable(&mut self, manifest: &Manifest, previews: &Previews, at: At<'_>) {
        let services_at = self.root.get("services");
        let chosen: Vec<&str> = match &previews.services {
            Some(names) => names.iter().map(String::as_str).collect(),
            None if at.get("services").is_given() => return,
            None => services_at.keys().collect(),
        };
        if chosen.iter().any(|name| !manifest.services.contains_key(*name)) {
            return;
        }
        if !chosen.is_empty()
            && !chosen.iter().any(|name| {
                services_at.get(name).get("load_balancer").is_given()
                    || manifest.services[*name].load_balancer.is_some()
            })
        {
            let warning = Diagnostic::warning(codes::NEVER_BUILT, "no service of a preview has a `load_balancer`")
                .label(at.key_span(), "previews would have no URL")
                .help("add `load_balancer: {}` to the service that answers requests");
            self.push(warning);
        }
        let built = chosen.iter().find_map(|name| {
            let containers = &manifest.services[*name].containers;
            let container = containers.iter().find(|(_, container)| container.build.is_some())?.0;
            Some(services_at.get(name).get("containers").get(container).get("build"))
        });
        let repositories_at = self.root.get("repositories");
        let sources = repositories_at.keys().any(|key| repositories_at.get(key).get("source").is_given());
        if let Some(build_at) = built
            && !sources
            && previews.on.is_none()
        {
            let warning = Diagnostic::warning(codes::NEVER_BUILT, "no repository has a `source` to build from")
                .label(build_at.key_span(), "previews could not build this")
                .help(format!(
                    "add `repositories: {{{}: {{source: URL or path}}}}`",
                    if manifest.project.is_empty() { "NAME" } else { &manifest.project }
                ));
            self.push(warning);
        }
    }

    fn routing(&mut self, previews: &Previews, at: At<'_>) {
        match &previews.routing {
            Some(Routing::Host(host)) => {
                if let Some(domain) = &host.domain {
                    let at = at.get("host").get("domain");
                    if let Err(rule) = syntax::domain(domain) {
                        self.error(codes::DOMAIN, at, format!("{} is no legal host name", shown_at(at)), rule);
                    }
                }
            }
            Some(Routing::Ports(ports)) => {
                let Some(range) = ports.range else { return };
                let (first, last) = range.0;
                let at = at.get("ports").get("range");
                if first > last {
                    let error = Diagnostic::error(codes::PORT_RANGE, "the range ends before it begins")
                        .label(at.span(), "")
                        .help(format!("write `{}-{first}`", last.max(1024)));
                    self.push(error);
                } else if previews.on.is_some() && first == 0 {
                    let error = Diagnostic::error(codes::PORT_RANGE, "there is no port 0");
                    self.push(error.label(at.span(), "must be within 1-65535"));
                } else if previews.on.is_none() && first < 1024 {
                    let error = Diagnostic::error(codes::PORT_RANGE, "ports below 1024 are the system's")
                        .label(at.span(), "must be within 1024-65535");
                    self.push(error);
                }
            }
            None => {}
        }
    }

    fn hook(&mut self, manifest: &Manifest, name: &str, hook: &Hook, at: At<'_>) {
        self.name("hook", name, 40, at);
        self.seconds(hook.timeout, at.get("timeout"), 1, 86_400);
        let run_at = at.get("run");
        match &hook.run {
            None => {}
            Some(HookRun::Command(argv)) => self.argv(argv.len(), run_at.get("command")),
            Some(HookRun::Exec(exec)) => self.argv(exec.command.len(), run_at.get("exec").get("command")),
            Some(HookRun::Http(http)) => {
                let at = run_at.get("http");
                self.url(&http.url, at.get("url"));
                for (header, secret) in &http.secret_headers {
                    let at = at.get("secret_headers").get(header);
                    self.header(header, at);
                    self.secret_ref(secret, at);
                }
                for (header, value) in &http.headers {
                    let at = at.get("headers").get(header);
                    self.header(header, at);
                    if value.0.chars().any(|c| c.is_control() && c != '\t') {
                        self.error(codes::BAD_VALUE, at, "a header is one line", "holds a line break or the like");
                    }
                    if authorizes(header) && !value.0.is_empty() {
                        let message = format!("`{}` would be kept in plans", shorten(header));
                        let warning = Diagnostic::warning(codes::PLAIN_SECRET, message).label(at.key_span(), "").help(
                            "use `secret`, which is sent as `Authorization: Bearer …`, or name it under `secret_headers`",
                        );
                        self.push(warning);
                    }
                }
                if let Some(secret) = &http.secret {
                    self.secret_ref(secret, at.get("secret"));
                }
            }
            Some(HookRun::Circleci(hook)) => self.circleci(hook, run_at.get("circleci")),
            Some(HookRun::Lambda(lambda)) => {
                let at = run_at.get("lambda");
                self.identifier(Some(&lambda.function), at.get("function"), "Lambda function", arn::function);
                if manifest.previews.as_ref().is_some_and(|previews| previews.on.is_none()) {
                    let error = Diagnostic::error(codes::ONLY_ON_AWS, "a Lambda function needs previews on AWS")
                        .label(at.key_span(), "previews run on this machine")
                        .help("add `on: TARGET` to `previews`, or use a `command` or `http` hook");
                    self.push(error);
                }
            }
            Some(HookRun::Task(task)) => {
                let at = run_at.get("task");
                self.argv(task.command.len(), at.get("command"));
                if at.get("service").is_given() && self.service_ref(&task.service, at.get("service")) {
                    self.hook_container(manifest, &task.service, task.container.as_deref(), at);
                }
            }
        }
    }

    fn hook_container(&mut self, manifest: &Manifest, service: &str, container: Option<&str>, at: At<'_>) {
        let containers = self.root.get("services").get(service).get("containers");
        let based = self.root.get("services").get(service).get("base_task_definition").is_given();
        let Some(name) = container else {
            let balanced = manifest.services.get(service).is_none_or(|service| service.load_balancer.is_some());
            if containers.keys().count() > 1 && !balanced && !at.get("container").is_given() {
                let error = Diagnostic::error(codes::UNKNOWN_SERVICE, "whose command is replaced?")
                    .label(at.get("service").span(), "several containers and no load balancer")
                    .help("add `container: NAME`");
                self.push(error);
            }
            return;
        };
        if !based && !containers.keys().any(|known| known == name) {
            let message = format!("service `{}` has no container {}", shorten(service), shown_at(at.get("container")));
            let error = Diagnostic::error(codes::UNKNOWN_SERVICE, message)
                .label(at.get("container").span(), "not one of its containers")
                .help(known("container", containers.keys()))
                .maybe_help(did_you_mean(name, containers.keys()));
            self.push(error);
        }
    }

    fn argv(&mut self, length: usize, at: At<'_>) {
        if length == 0 && at.node.is_some_and(|node| node.items().is_empty()) && at.is_given() {
            self.error(codes::BAD_VALUE, at, "a command without a program", "empty");
        }
    }

    pub(super) fn notifications(&mut self, manifest: &Manifest) {
        let at = self.root.get("notifications");
        for (name, one) in &manifest.notifications {
            let at = at.get(name);
            self.exactly_one(&format!("notification `{}`", shorten(name)), at, &["log", "webhook", "slack", "sns"]);
            if let Some(webhook) = &one.webhook {
                let at = at.get("webhook");
                self.url(&webhook.url, at.get("url"));
                if let Some(secret) = &webhook.secret {
                    self.secret_ref(secret, at.get("secret"));
                }
            }
            if let Some(sns) = &one.sns {
                let at = at.get("sns");
                self.identifier(Some(&sns.topic), at.get("topic"), "topic", arn::topic);
                match &sns.on {
                    Some(on) => {
                        self.target_ref(&on.0, at.get("on"));
                    }
                    None if place::usual_target(manifest).is_none() && !at.get("on").is_given() => {
                        let targets = self.root.get("aws");
                        let error = Diagnostic::error(codes::AWS_NEEDS, "through which target is the topic reached?")
                            .label(at.key_span(), "no `on`, and no usual target")
                            .help(known("target", targets.keys()));
                        self.push(error);
                    }
                    None => {}
                }
                if let Some(envelope) = &sns.envelope {
                    let at = at.get("envelope");
                    if envelope.channel.0.trim().is_empty() && at.get("channel").is_given() {
                        self.error(codes::BAD_VALUE, at.get("channel"), "`channel` names nothing", "empty");
                    }
                    if let Some(url) = &envelope.icon_url {
                        self.url(url, at.get("icon_url"));
                    }
                }
            }
            if let Some(slack) = &one.slack {
                let at = at.get("slack");
                self.exactly_one("`slack`", at, &["url", "url_secret"]);
                if let Some(url) = &slack.url {
                    self.url(url, at.get("url"));
                    if url.contains("hooks.slack.com/services/") {
                        let warning = Diagnostic::warning(codes::PLAIN_SECRET, "a Slack webhook URL is a secret")
                            .label(at.get("url").key_span(), "whoever has it can post")
                            .help("use `url_secret: {env: SLACK_WEBHOOK_URL}`");
                        self.push(warning);
                    }
                }
                if let Some(secret) = &slack.url_secret {
                    self.secret_ref(secret, at.get("url_secret"));
                }
            }
        }
    }
}

/// Headers by which a caller proves who it is.
fn authorizes(header: &str) -> bool {
    let known = ["authorization", "proxy-authorization", "cookie", "x-api-key"];
    known.iter().any(|known| header.eq_ignore_ascii_case(known)) || looks_secret(header)
}
