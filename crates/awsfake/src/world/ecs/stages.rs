//! The lifecycle stages of blue/green, linear and canary deployments, and their hooks.

use serde_json::Value;

use super::service::{Hook, Rolling, RolloutStatus, Service, Stage};
use crate::world::Millis;
use crate::world::space::Space;
use crate::world::value::{leaf, list, number, text, texts};

const MINUTE: Millis = 60_000;
const PRE_PRODUCTION: &str = "PRE_PRODUCTION_TRAFFIC_SHIFT";

fn fraction(value: &Value, key: &str) -> Option<f64> {
    value.get(key).and_then(Value::as_f64)
}

impl Space {
    /// Sets the stage's weights and starts its hooks.
    pub fn enter_stage(&mut self, arn: &str) {
        let now = self.now;
        let Some(rollout) = self.ecs.services.get_mut(arn).and_then(Service::rollout) else { return };
        let Some(stage) = rollout.stage else { return };
        rollout.stage_since = now;
        rollout.updated = now;
        match stage {
            Stage::TestTrafficShift => rollout.test_weight = 100.0,
            Stage::ProductionTrafficShift => rollout.weight = first_weight(&rollout.configuration),
            Stage::CleanUp => rollout.test_weight = 0.0,
            _ => {}
        }
        let mut words = vec![stage.word()];
        if stage == Stage::ProductionTrafficShift {
            words.insert(0, PRE_PRODUCTION);
        }
        for word in words {
            self.start_hooks(arn, word);
        }
        self.look_later(arn, self.rules.timing.stage);
    }

    fn start_hooks(&mut self, arn: &str, stage: &str) {
        let now = self.now;
        let Some(rollout) = self.ecs.services.get_mut(arn).and_then(Service::rollout) else { return };
        let configured: Vec<Value> = list(&rollout.configuration, "lifecycleHooks")
            .iter()
            .filter(|hook| texts(hook, "lifecycleStages").iter().any(|word| word == stage))
            .cloned()
            .collect();
        for hook in configured {
            let pause = text(&hook, "targetType") == Some("PAUSE");
            let timeout = &hook["timeoutConfiguration"];
            // A day where nothing is said.
            let minutes = number(timeout, "timeoutInMinutes").unwrap_or(24 * 60);
            let id = self.ids.uuid();
            let hook = Hook {
                id,
                pause,
                target: text(&hook, "hookTargetArn").map(str::to_owned),
                status: if pause { "AWAITING_ACTION" } else { "IN_PROGRESS" },
                done_at: None,
                expires: pause.then_some(now + minutes * MINUTE),
                timeout_action: if text(timeout, "action") == Some("CONTINUE") { "CONTINUE" } else { "ROLLBACK" },
                stage: stage.to_owned(),
            };
            let wait = if pause { minutes * MINUTE } else { self.rules.timing.hook };
            if let Some(rollout) = self.ecs.services.get_mut(arn).and_then(Service::rollout) {
                rollout.hooks.push(hook);
            }
            self.look_later(arn, wait);
        }
    }

    /// On to the next stage once this one has had its time, its hooks are through and its condition holds.
    pub fn move_stage(&mut self, arn: &str) {
        if self.settle_hooks(arn) {
            return;
        }
        let Some(service) = self.ecs.services.get(arn) else { return };
        let Some(rollout) = service.rollouts.first() else { return };
        let Some(stage) = rollout.stage else { return };
        if let Some(wait) = rollout.hooks.iter().filter(|hook| hook.done_at.is_none()).map(|hook| hook.expires).min() {
            if let Some(expires) = wait {
                self.look_later(arn, expires.saturating_sub(self.now));
            }
            return;
        }
        let least = self.rules.timing.stage;
        let (held, weight) = match stage {
            Stage::ProductionTrafficShift => shift(&rollout.configuration, rollout.weight, least),
            Stage::BakeTime => (number(&rollout.configuration, "bakeTimeInMinutes").unwrap_or(0) * MINUTE, None),
            _ => (least, None),
        };
        let due = rollout.stage_since + held;
        if self.now < due {
            self.look_later(arn, due - self.now);
            return;
        }
        if stage == Stage::CleanUp || stage == Stage::ScaleUp && !self.target_is_well(service) {
            return;
        }
        let now = self.now;
        let Some(rollout) = self.ecs.services.get_mut(arn).and_then(Service::rollout) else { return };
        if let Some(weight) = weight {
            rollout.weight = weight;
            rollout.stage_since = now;
            rollout.updated = now;
            self.look_later(arn, least.max(1));
            return;
        }
        rollout.stage = stage.next();
        self.enter_stage(arn);
    }

    fn target_is_well(&self, service: &Service) -> bool {
        let Some(primary) = service.deployments.first() else { return false };
        let tasks = self.service_tasks(&service.arn);
        let own = tasks.iter().filter(|task| task.deployment.as_deref() == Some(primary.id.as_str()));
        own.filter(|task| self.is_well(task)).count() as u64 == service.desired
    }

    /// Ends the hooks that are due. Whether one of them ended the deployment.
    fn settle_hooks(&mut self, arn: &str) -> bool {
        let now = self.now;
        let rules = std::sync::Arc::clone(&self.rules);
        let Some(rollout) = self.ecs.services.get_mut(arn).and_then(Service::rollout) else { return true };
        let since = rollout.stage_since;
        let mut failed = None;
        let mut waiting = None;
        for hook in rollout.hooks.iter_mut().filter(|hook| hook.done_at.is_none()) {
            if hook.pause {
                if hook.expires.is_some_and(|expires| expires <= now) {
                    hook.status = "TIMED_OUT";
                    hook.done_at = Some(now);
                    if hook.timeout_action == "ROLLBACK" {
                        failed = Some(format!("{} lifecycle hook(s) timed out.", hook.stage));
                    }
                }
                continue;
            }
            if now < since + rules.timing.hook {
                waiting = Some(since + rules.timing.hook - now);
                continue;
            }
            let target = hook.target.clone().unwrap_or_default();
            let rule = rules
                .functions
                .iter()
                .rev()
                .find(|rule| rule.name == target || target.ends_with(&format!(":function:{}", leaf(&rule.name))));
            hook.done_at = Some(now);
            hook.status = "SUCCEEDED";
            if rule.is_some_and(|rule| rule.hook_status.as_deref() == Some("FAILED")) {
                hook.status = "FAILED";
                let stage = &hook.stage;
                failed = Some(format!(
                    "{stage} lifecycle hook(s) failed. Lifecycle hook target {target} returned FAILED status."
                ));
            }
        }
        if let Some(wait) = waiting {
            self.look_later(arn, wait);
        }
        match failed {
            Some(reason) => {
                self.roll_back(arn, &format!("Service deployment rolled back because {reason}"), Rolling::Failed);
                true
            }
            None => false,
        }
    }

    /// `ContinueServiceDeployment` on a paused hook.
    pub fn continue_hook(&mut self, arn: &str, hook: &str, roll_back: bool) -> bool {
        let now = self.now;
        let Some(rollout) = self.ecs.services.get_mut(arn).and_then(Service::rollout) else { return false };
        let found = rollout.hooks.iter_mut().find(|own| own.id == hook && own.status == "AWAITING_ACTION");
        let Some(found) = found else { return false };
        found.done_at = Some(now);
        found.status = if roll_back { "FAILED" } else { "SUCCEEDED" };
        if roll_back {
            rollout.status = RolloutStatus::RollbackRequested;
        }
        rollout.updated = now;
        self.look_at_service(arn);
        true
    }
}

fn first_weight(configuration: &Value) -> f64 {
    match text(configuration, "strategy") {
        Some("CANARY") => fraction(&configuration["canaryConfiguration"], "canaryPercent").unwrap_or(5.0),
        Some("LINEAR") => fraction(&configuration["linearConfiguration"], "stepPercent").unwrap_or(10.0),
        _ => 100.0,
    }
}

/// How long a weight is held, and the one that follows; `None`: production traffic is shifted.
fn shift(configuration: &Value, weight: f64, least: Millis) -> (Millis, Option<f64>) {
    if weight >= 100.0 {
        return (least, None);
    }
    match text(configuration, "strategy") {
        Some("CANARY") => {
            let minutes = number(&configuration["canaryConfiguration"], "canaryBakeTimeInMinutes").unwrap_or(10);
            (minutes * MINUTE, Some(100.0))
        }
        Some("LINEAR") => {
            let linear = &configuration["linearConfiguration"];
            let minutes = number(linear, "stepBakeTimeInMinutes").unwrap_or(6);
            (minutes * MINUTE, Some((weight + fraction(linear, "stepPercent").unwrap_or(10.0)).min(100.0)))
        }
        _ => (least, None),
    }
}
