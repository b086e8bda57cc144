//! Endings that a test brings about: what somebody else, an alarm or bad luck would.

use serde_json::{Value, json};

use super::rollout::BREAKER;
use super::service::{Hook, Rolling, Service};
use crate::world::error::{Answer, AwsError};
use crate::world::space::Space;
use crate::world::value::{boolean, required, text, texts};

impl Space {
    /// `{"cluster": …, "service": …, "event": …}` with one of: `superseded` (by `taskDefinition`, or the same again),
    /// `stopped` (somebody asks for a rollback), `aborted`, `rolled_back` (the breaker trips now), `rollback_failed`,
    /// `failed` (the breaker trips and there is no rollback), `alarm` (`alarms`), `paused`, `deleted`, `task_killed`.
    pub fn force(&mut self, input: &Value) -> Answer {
        let cluster = self.cluster(text(input, "cluster"))?.arn.clone();
        let arn = self.service_arn(&cluster, required(input, "service")?);
        let event = required(input, "event")?.to_owned();
        let service = self.ecs.services.get(&arn).filter(|service| service.exists());
        let service = service.ok_or_else(|| AwsError::new("ServiceNotFoundException", "Service not found."))?;
        let current = service.rollouts.first().filter(|rollout| !rollout.status.is_over()).map(|own| own.arn.clone());
        let under_way = || current.clone().ok_or_else(|| AwsError::invalid("No service deployment is under way."));
        match event.as_str() {
            "superseded" => {
                let mut request = json!({"cluster": cluster, "service": arn, "forceNewDeployment": true});
                if let Some(definition) = text(input, "taskDefinition") {
                    request["taskDefinition"] = definition.into();
                }
                self.update_service(&request)?;
            }
            "stopped" | "aborted" => {
                let kind = if event == "aborted" { "ABORT" } else { "ROLLBACK" };
                self.stop_service_deployment(&json!({"serviceDeploymentArn": under_way()?, "stopType": kind}))?;
            }
            "rolled_back" => {
                under_way()?;
                if let Some(rollout) = self.ecs.services.get_mut(&arn).and_then(Service::rollout) {
                    rollout.breaker_tripped = true;
                }
                self.roll_back(&arn, BREAKER, Rolling::Failed);
            }
            "rollback_failed" => {
                under_way()?;
                if let Some(rollout) = self.ecs.services.get_mut(&arn).and_then(Service::rollout) {
                    rollout.doomed = true;
                    rollout.breaker_tripped = true;
                }
                self.roll_back(&arn, BREAKER, Rolling::Failed);
            }
            "failed" => {
                under_way()?;
                let reason = text(input, "reason").unwrap_or("Service deployment failed.").to_owned();
                self.fail_without_rollback(&arn, &reason);
            }
            "alarm" => {
                under_way()?;
                let rollout = self.ecs.services.get_mut(&arn).and_then(Service::rollout);
                let configured = rollout.and_then(|own| boolean(&own.configuration["alarms"], "rollback"));
                self.end_by_alarm(&arn, texts(input, "alarms"), configured != Some(false));
            }
            "paused" => {
                under_way()?;
                let (id, expires) = (self.ids.uuid(), self.now + 14 * 24 * 3_600_000);
                let rollout = self.ecs.services.get_mut(&arn).and_then(Service::rollout);
                if let Some(rollout) = rollout {
                    rollout.hooks.push(Hook {
                        id,
                        pause: true,
                        target: None,
                        status: "AWAITING_ACTION",
                        done_at: None,
                        expires: Some(expires),
                        timeout_action: "ROLLBACK",
                        stage: rollout.stage.map_or("POST_SCALE_UP", |stage| stage.word()).to_owned(),
                    });
                }
            }
            "deleted" => self.begin_draining(&arn),
            "task_killed" => {
                let code =
                    if text(input, "code") == Some("SpotInterruption") { "SpotInterruption" } else { "UserInitiated" };
                let reason = text(input, "reason").unwrap_or("Task stopped by user").to_owned();
                let first = self.service_tasks(&arn).iter().find(|task| task.is_wanted()).map(|task| task.id.clone());
                let first = first.ok_or_else(|| AwsError::invalid("No task of the service runs."))?;
                self.end_task(&first, code, &reason);
            }
            other => return Err(AwsError::invalid(format!("no event {other}"))),
        }
        self.look_at_service(&arn);
        Ok(json!({}))
    }

    /// An alarm went off: deployments under way that watch it fail.
    pub fn alarm_fired(&mut self, name: &str) {
        let mut struck = Vec::new();
        for service in self.ecs.services.values() {
            let Some(rollout) = service.rollouts.first() else { continue };
            let alarms = &rollout.configuration["alarms"];
            let watched =
                boolean(alarms, "enable") == Some(true) && texts(alarms, "alarmNames").iter().any(|own| own == name);
            if watched && !rollout.status.is_over() && rollout.rollback.is_none() {
                struck.push((service.arn.clone(), boolean(alarms, "rollback") == Some(true)));
            }
        }
        for (arn, roll_back) in struck {
            self.end_by_alarm(&arn, vec![name.to_owned()], roll_back);
            self.look_at_service(&arn);
        }
    }

    fn end_by_alarm(&mut self, arn: &str, alarms: Vec<String>, roll_back: bool) {
        if let Some(rollout) = self.ecs.services.get_mut(arn).and_then(Service::rollout) {
            rollout.alarms = alarms;
        }
        // AWS does not document these texts.
        if roll_back {
            let reason = "Service deployment rolled back because a CloudWatch alarm was triggered.";
            self.roll_back(arn, reason, Rolling::Failed);
        } else {
            self.fail_without_rollback(arn, "Service deployment failed because a CloudWatch alarm was triggered.");
        }
    }
}
