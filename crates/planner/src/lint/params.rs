//! Names, tags, ports and owners in the parameters of steps. The limits are those of ECS and Elastic Load Balancing.
//!
//! What a step deletes is checked for its owner only: a name that is illegal today may be there all the same, and a destroy
//! must not be kept from running by it.

use landfall_model::inventory::{TAG_ENVIRONMENT, TAG_EXECUTION, TAG_GENERATION, TAG_INSTANCE, Tags};
use landfall_model::step::{RouteTarget, StepParams};
use landfall_workflow::Step;

use super::Lint;

/// The fields of a kind's output.
pub(super) fn outputs(kind: &str) -> &'static [&'static str] {
    match kind {
        "image.build" | "image.await" => &["image"],
        "task_definition.register" => &["task_definition", "created"],
        "target_group.ensure" => &["target_group", "created", "former"],
        "route.ensure" => &["url", "created"],
        "service.deploy" => &[
            "service",
            "created",
            "previous_task_definition",
            "previous_desired_count",
            "previous_settings",
            "previous_deployment",
        ],
        "hook.run" => &["exit", "status", "tail"],
        "task.run" => &["task", "tail"],
        _ => &[],
    }
}

impl Lint<'_> {
    pub(super) fn params(&mut self, step: &Step, params: &StepParams) {
        match params {
            StepParams::BuildImage(build) => self.tags(step, &build.tags),
            StepParams::RegisterTaskDefinition(definition) => {
                self.tags(step, &definition.tags);
                self.legal(step, "family", &definition.family, 255, |c| c.is_ascii_alphanumeric() || "-_".contains(c));
                if definition.containers.is_empty() {
                    self.wrong(step, "the task definition has no container");
                }
                for container in &definition.containers {
                    for port in &container.settings.ports {
                        self.port(step, *port);
                    }
                }
            }
            StepParams::EnsureTargetGroup(group) => {
                self.tags(step, &group.tags);
                self.legal(step, "target group", &group.name, 32, lower);
                self.port(step, group.port);
                self.port(step, group.health_check.port.unwrap_or(group.port));
            }
            StepParams::EnsureRoute(route) => {
                self.tags(step, &route.tags);
                self.route(step, &route.route);
            }
            StepParams::DeployService(deploy) => {
                self.tags(step, &deploy.tags);
                self.legal(step, "service", &deploy.name, 255, |c| c.is_ascii_alphanumeric() || "-_".contains(c));
                if let Some(target) = &deploy.target {
                    self.port(step, target.port);
                }
            }
            StepParams::RunTask(task) => self.tags(step, &task.tags),
            StepParams::StopService(stop) => self.named(step, &stop.name),
            StepParams::DeleteService(delete) => self.named(step, &delete.name),
            StepParams::DeleteRoute(delete) => self.owner(step, &delete.environment),
            StepParams::DeleteTargetGroup(delete) => {
                self.named(step, &delete.name);
                self.owner(step, &delete.environment);
            }
            StepParams::SweepResources(sweep) => self.owner(step, &sweep.environment),
            StepParams::VerifyGone(verify) => self.owner(step, &verify.environment),
            StepParams::AwaitImage(_)
            | StepParams::TargetsHealthy(_)
            | StepParams::ProbeUrl(_)
            | StepParams::RunHook(_) => {}
        }
    }

    fn tags(&mut self, step: &Step, tags: &Tags) {
        for tag in [TAG_ENVIRONMENT, TAG_INSTANCE, TAG_GENERATION, TAG_EXECUTION] {
            if tags.get(tag).is_none_or(String::is_empty) {
                self.wrong(step, format!("tag `{tag}` is missing: no sweep would find what it makes"));
            }
        }
        let expected = [
            (TAG_ENVIRONMENT, self.plan.environment.whole().to_string()),
            (TAG_GENERATION, self.plan.generation.to_string()),
        ];
        for (tag, expected) in expected {
            if let Some(is) = tags.get(tag).filter(|is| !is.is_empty() && **is != expected) {
                self.wrong(step, format!("tag `{tag}` is `{is}`, and the plan's is `{expected}`"));
            }
        }
    }

    fn owner(&mut self, step: &Step, environment: &str) {
        if environment != self.plan.environment.as_str() {
            let ours = &self.plan.environment;
            self.wrong(step, format!("it deletes what belongs to `{environment}`; the plan is of `{ours}`"));
        }
    }

    fn named(&mut self, step: &Step, name: &str) {
        if name.is_empty() {
            self.wrong(step, "what it deletes has no name");
        }
    }

    fn legal(&mut self, step: &Step, what: &str, name: &str, max: usize, allowed: impl Fn(char) -> bool) {
        if name.is_empty() || name.len() > max {
            self.wrong(step, format!("the name of the {what} has {} characters; legal are 1 to {max}", name.len()));
        }
        if !name.chars().all(allowed) {
            self.wrong(step, format!("the name of the {what} has an illegal character: {name:?}"));
        }
        if name.starts_with('-') || name.ends_with('-') {
            self.wrong(step, format!("the name of the {what} begins or ends with a hyphen: {name:?}"));
        }
    }

    fn route(&mut self, step: &Step, route: &RouteTarget) {
        match route {
            RouteTarget::Port { port } => self.port(step, *port),
            RouteTarget::Host { host, port } => {
                self.port(step, *port);
                if host.len() > 253 {
                    self.wrong(step, format!("the host has {} characters; 253 are legal", host.len()));
                }
                // The first label is ours, the rest is the manifest's domain.
                for (index, label) in host.split('.').enumerate() {
                    let allowed = |c: char| lower(c) || (index > 0 && (c.is_ascii_uppercase() || c == '_'));
                    self.legal(step, "host label", label, 63, allowed);
                }
            }
        }
    }

    fn port(&mut self, step: &Step, port: u16) {
        if port == 0 {
            self.wrong(step, "a port is 0");
        }
    }
}

fn lower(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
}
