//! Deployment strategies, against what ECS takes:
//! <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentConfiguration.html>

use landfall_model::strategy::{LifecycleStage, Percent, StrategyKind};

use super::{Checker, arn, shown_at};
use crate::authored::{Alternate, Deployment, LifecycleHook, Manifest, Service};
use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::resolve::{secs, strategy, waits};
use crate::scalar::Duration;
use crate::tree::{At, shorten};

/// Minutes: ECS's most for bake times, and for a pause.
const BAKE: u64 = 1_440;
const PAUSE: u64 = 14 * 1_440;

impl<'t> Checker<'_, 't> {
    pub(super) fn strategy(&mut self, service: &Service, deployment: &Deployment, at: At<'_>) {
        let kind = deployment.strategy.unwrap_or_default();
        let stepped = matches!(kind, StrategyKind::Linear | StrategyKind::Canary);
        for key in ["percent", "step_bake_time"] {
            if !stepped && at.get(key).is_given() {
                self.only_with(at.get(key), key, "linear and canary deployments");
            }
        }
        for key in ["bake_time", "alternate"] {
            if kind == StrategyKind::Rolling && at.get(key).is_given() {
                self.only_with(at.get(key), key, "blue_green, linear and canary deployments");
            }
        }
        if let Some(text) = deployment.percent.as_ref().filter(|_| stepped) {
            let least = if kind == StrategyKind::Linear { 3.0 } else { 0.1 };
            let percent = text.0.trim().parse().ok().and_then(Percent::new).map(Percent::get);
            if percent.is_none_or(|percent| percent < least) {
                let rule = format!("must be {least} to 100, with one decimal at most");
                self.error(codes::OUT_OF_RANGE, at.get("percent"), "a percentage out of range", rule);
            }
        }
        self.minutes(deployment.step_bake_time, at.get("step_bake_time"), 0, BAKE);
        self.minutes(deployment.bake_time, at.get("bake_time"), 0, BAKE);
        for (index, hook) in deployment.lifecycle_hooks.iter().enumerate() {
            self.lifecycle_hook(hook, at.get("lifecycle_hooks").item(index));
        }
        if let Some(alternate) = &deployment.alternate {
            self.alternate(alternate, at.get("alternate"));
        } else if kind != StrategyKind::Rolling && service.load_balancer.is_some() {
            let error = Diagnostic::error(codes::AWS_NEEDS, "two versions at once need a second target group")
                .label(at.get("strategy").span(), "the service receives traffic")
                .help("give `alternate` with `target_group`, `production_listener_rule` and `role`");
            self.push(error);
        }
        if let Some(alarms) = &deployment.alarms
            && alarms.names.is_empty()
            && at.get("alarms").get("names").is_given()
        {
            self.error(codes::BAD_VALUE, at.get("alarms").get("names"), "alarms without a name", "empty");
        }
        let (needed, given) = (waits(&strategy(deployment)), secs(deployment.timeout, u32::MAX));
        if given <= needed {
            let warning = Diagnostic::warning(codes::NEVER_BUILT, "the deployment may take longer than its time limit")
                .label(at.get("timeout").span(), format!("bake times and pauses alone take up to {needed}s"))
                .help("raise `timeout`, or leave it out: then it leaves room for them");
            self.push(warning);
        }
    }

    fn only_with(&mut self, at: At<'_>, key: &str, with: &str) {
        let message = format!("`{key}` belongs to {with}");
        let error = Diagnostic::error(codes::BAD_VALUE, message).label(at.key_span(), "not with this `strategy`");
        self.push(error);
    }

    fn minutes(&mut self, value: Option<Duration>, at: At<'_>, least: u64, most: u64) {
        let Some(Duration(ms)) = value else { return };
        if ms % 60_000 != 0 || !(least..=most).contains(&(ms / 60_000)) {
            let rule = format!("must be {least}m to {most}m in whole minutes");
            self.error(codes::OUT_OF_RANGE, at, "ECS does not take this duration", rule);
        }
    }

    fn lifecycle_hook(&mut self, hook: &LifecycleHook, at: At<'_>) {
        self.exactly_one("a lifecycle hook", at, &["pause", "function"]);
        let stages_at = at.get("stages");
        if hook.stages.is_empty() && stages_at.is_given() {
            self.error(codes::BAD_VALUE, stages_at, "a hook without stages", "empty");
        }
        if let Some(pause) = &hook.pause {
            self.minutes(pause.timeout, at.get("pause").get("timeout"), 1, PAUSE);
            for (index, stage) in hook.stages.iter().enumerate() {
                if !stage.may_pause() {
                    let can = LifecycleStage::ALL.into_iter().filter(|stage| stage.may_pause());
                    let can: Vec<String> = can.map(|stage| format!("`{}`", stage.name())).collect();
                    let error =
                        Diagnostic::error(codes::BAD_VALUE, "ECS does not pause while traffic is being shifted")
                            .label(stages_at.item(index).span(), "not for a `pause`")
                            .help(format!("stages that can: {}", can.join(", ")));
                    self.push(error);
                }
            }
        }
        if let Some(function) = &hook.function {
            let at = at.get("function");
            self.identifier(Some(&function.arn), at.get("arn"), "Lambda function", arn::function);
            self.identifier(Some(&function.role), at.get("role"), "role's ARN", arn::role_arn);
        }
    }

    fn alternate(&mut self, alternate: &Alternate, at: At<'_>) {
        self.identifier(Some(&alternate.target_group), at.get("target_group"), "target group", arn::target_group);
        let rules = [
            ("production_listener_rule", Some(&alternate.production_listener_rule)),
            ("test_listener_rule", alternate.test_listener_rule.as_ref()),
        ];
        for (key, rule) in rules {
            self.identifier(rule, at.get(key), "listener's rule", arn::listener_rule);
        }
        self.identifier(Some(&alternate.role), at.get("role"), "role's ARN", arn::role_arn);
    }

    /// Of lasting environments; previews are always updated rolling.
    pub(super) fn strategies(&mut self, manifest: &Manifest) {
        self.strategies_here(manifest);
        for (name, environment) in &manifest.environments {
            if environment.on.is_none() || environment.routing.is_none() {
                continue;
            }
            for (service, own) in &manifest.services {
                let kind = own.deployment.as_ref().and_then(|deployment| deployment.strategy).unwrap_or_default();
                let runs = environment.runs(service);
                let balanced = own.load_balancer.is_some() && !environment.target_groups.contains_key(service);
                if !runs || !balanced || kind == StrategyKind::Rolling {
                    continue;
                }
                let environment_at = self.root.get("environments").get(name);
                let message = format!("ECS itself shifts the traffic of a {} deployment", kind.name());
                let error = Diagnostic::error(codes::AWS_NEEDS, message)
                    .label(environment_at.get("routing").key_span(), "a rule of Landfall's would be set back each time")
                    .help(format!("name the service's own target group in `target_groups` of `{}`", shorten(name)));
                self.push(error);
            }
        }
    }

    /// This machine knows rolling deployments only.
    fn strategies_here(&mut self, manifest: &Manifest) {
        for (name, environment) in manifest.environments.iter().filter(|(_, environment)| environment.on.is_none()) {
            for (service, own) in &manifest.services {
                let runs = environment.runs(service);
                let at = self.root.get("services").get(service).get("deployment");
                let keys = ["strategy", "lifecycle_hooks", "alarms"];
                let rolling = |deployment: &Deployment| {
                    deployment.strategy.unwrap_or_default() == StrategyKind::Rolling
                        && deployment.lifecycle_hooks.is_empty()
                        && deployment.alarms.is_none()
                };
                if !runs || own.deployment.as_ref().is_none_or(rolling) {
                    continue;
                }
                let key_at = keys.into_iter().map(|key| at.get(key)).find(|at| at.is_given()).unwrap_or(at);
                let environment_at = self.root.get("environments").get(name);
                let message =
                    format!("environment `{}` is on this machine, where deployments are rolling", shorten(name));
                let error = Diagnostic::error(codes::ONLY_ON_AWS, message)
                    .label(key_at.span(), format!("{} exists on AWS only", shown_at(key_at)))
                    .label(environment_at.key_span(), "without `on`")
                    .help(format!("run another service there, or give `{}` a place with `on`", shorten(name)));
                self.push(error);
            }
        }
    }
}
