//! The service deployments API.

use serde_json::{Value, json};

use super::clusters::{listing, page_size};
use super::rollout::breaker_view;
use super::service::{Rollout, RolloutStatus, Service};
use crate::world::error::{Answer, AwsError};
use crate::world::space::Space;
use crate::world::value::{boolean, required, seconds, text, texts, trimmed};

impl Space {
    fn supported(&self) -> Result<(), AwsError> {
        if self.rules.no_service_deployments {
            return Err(AwsError::new("UnsupportedFeatureException", "Service deployments are not supported here."));
        }
        Ok(())
    }

    pub fn list_service_deployments(&mut self, input: &Value) -> Answer {
        self.supported()?;
        let cluster = self.cluster(text(input, "cluster"))?.arn.clone();
        let arn = self.service_arn(&cluster, required(input, "service")?);
        let service = self.ecs.services.get(&arn);
        let service = service.ok_or_else(|| AwsError::new("ServiceNotFoundException", "Service not found."))?;
        let statuses = texts(input, "status");
        let bound = |key: &str| input["createdAt"].get(key).and_then(Value::as_f64);
        let (after, before) = (bound("after"), bound("before"));
        let mut rows = Vec::new();
        for (place, rollout) in service.rollouts.iter().enumerate() {
            let created = seconds(rollout.created).as_f64().unwrap_or_default();
            if !statuses.is_empty() && !statuses.iter().any(|word| word == rollout.status.word())
                || after.is_some_and(|after| created < after)
                || before.is_some_and(|before| created > before)
            {
                continue;
            }
            // Newest first. The key counts down, so that a deployment that begins between two pages moves none.
            let key = format!("{:09}", 999_999_999 - (service.rollouts.len() - place));
            rows.push((key, brief_view(service, rollout)));
        }
        let (rows, next) = page_of(rows, input)?;
        Ok(listing("serviceDeployments", rows, next))
    }

    fn rollout_at(&self, arn: &str) -> Option<(&Service, &Rollout)> {
        // arn:…:service-deployment/CLUSTER/SERVICE/ID
        let mut parts = arn.rsplit('/');
        let (_, name, cluster) = (parts.next()?, parts.next()?, parts.next()?);
        let service = self.ecs.services.get(&self.service_arn(cluster, name))?;
        Some((service, service.rollouts.iter().find(|rollout| rollout.arn == arn)?))
    }

    pub fn describe_service_deployments(&mut self, input: &Value) -> Answer {
        self.supported()?;
        let arns = texts(input, "serviceDeploymentArns");
        if arns.is_empty() || arns.len() > 20 {
            return Err(AwsError::invalid("serviceDeploymentArns must have between 1 and 20 elements."));
        }
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        for arn in arns {
            match self.rollout_at(&arn) {
                Some((service, rollout)) => found.push(self.rollout_view(service, rollout)),
                None => failures.push(json!({"arn": arn, "reason": "MISSING"})),
            }
        }
        Ok(json!({"serviceDeployments": found, "failures": failures}))
    }

    fn rollout_mut(&mut self, arn: &str) -> Result<(String, &mut Rollout), AwsError> {
        let found = self.rollout_at(arn).map(|(service, _)| service.arn.clone());
        let service = found.and_then(|found| self.ecs.services.get_mut(&found));
        let missing = || AwsError::new("ServiceDeploymentNotFoundException", "Service deployment not found.");
        let service = service.ok_or_else(missing)?;
        let name = service.arn.clone();
        let rollout = service.rollouts.iter_mut().find(|rollout| rollout.arn == arn).ok_or_else(missing)?;
        Ok((name, rollout))
    }

    pub fn stop_service_deployment(&mut self, input: &Value) -> Answer {
        self.supported()?;
        let arn = required(input, "serviceDeploymentArn")?.to_owned();
        let abort = text(input, "stopType") == Some("ABORT");
        let now = self.now;
        let (service, rollout) = self.rollout_mut(&arn)?;
        if rollout.status.is_over() || rollout.rollback.is_some() {
            let message = format!("Service deployment is in {} and cannot be stopped.", rollout.status.word());
            return Err(AwsError::new("ConflictException", message));
        }
        rollout.status = if abort { RolloutStatus::StopRequested } else { RolloutStatus::RollbackRequested };
        rollout.updated = now;
        self.look_at_service(&service);
        Ok(json!({"serviceDeploymentArn": arn}))
    }

    pub fn continue_service_deployment(&mut self, input: &Value) -> Answer {
        self.supported()?;
        let arn = required(input, "serviceDeploymentArn")?.to_owned();
        let hook = required(input, "hookId")?.to_owned();
        let roll_back = text(input, "action") == Some("ROLLBACK");
        let (service, _) = self.rollout_mut(&arn)?;
        if !self.continue_hook(&service, &hook, roll_back) {
            return Err(AwsError::invalid(format!("The lifecycle hook {hook} is not awaiting an action.")));
        }
        Ok(json!({"serviceDeploymentArn": arn}))
    }

    pub fn describe_service_revisions(&mut self, input: &Value) -> Answer {
        self.supported()?;
        let arns = texts(input, "serviceRevisionArns");
        if arns.is_empty() || arns.len() > 20 {
            return Err(AwsError::invalid("serviceRevisionArns must have between 1 and 20 elements."));
        }
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        for arn in arns {
            let all = self.ecs.services.values();
            let revision = all.flat_map(|service| service.revisions.iter().map(move |revision| (service, revision)));
            match revision.into_iter().find(|(_, revision)| revision.arn == arn) {
                Some((service, revision)) => {
                    let definition = self.definition(&revision.definition);
                    let images: Vec<Value> = (definition.iter().flat_map(|definition| definition.containers()))
                        .map(|own| json!({"containerName": own["name"], "image": own["image"]}))
                        .collect();
                    let mut view = json!({
                        "serviceRevisionArn": revision.arn,
                        "serviceArn": service.arn,
                        "clusterArn": service.cluster,
                        "taskDefinition": revision.definition,
                        "containerImages": images,
                        "guardDutyEnabled": false,
                        "createdAt": seconds(revision.created),
                    });
                    if let Value::Object(map) = &mut view {
                        map.extend(revision.spec.clone());
                    }
                    found.push(view);
                }
                None => failures.push(json!({"arn": arn, "reason": "MISSING"})),
            }
        }
        Ok(json!({"serviceRevisions": found, "failures": failures}))
    }

    fn rollout_view(&self, service: &Service, rollout: &Rollout) -> Value {
        let time = |at: Option<u64>| at.map_or(Value::Null, seconds);
        let summary = |arn: &str, weight: f64, test: f64| {
            let (running, pending) = self.revision_counts(service, arn);
            let target = arn == rollout.target;
            let requested = if target && rollout.rollback.is_none() { service.desired } else { running + pending };
            json!({
                "arn": arn,
                "requestedTaskCount": requested,
                "runningTaskCount": running,
                "pendingTaskCount": pending,
                "requestedProductionTrafficWeight": weight,
                "requestedTestTrafficWeight": test,
            })
        };
        let rest = 100.0 - rollout.weight;
        let sources = rollout.source.iter().enumerate();
        let sources: Vec<Value> =
            sources.map(|(place, arn)| summary(arn, if place == 0 { rest } else { 0.0 }, 0.0)).collect();
        let hooks: Vec<Value> = (rollout.hooks.iter())
            .map(|hook| {
                trimmed(json!({
                    "hookId": hook.id,
                    "targetType": if hook.pause { "PAUSE" } else { "AWS_LAMBDA" },
                    "targetArn": hook.target,
                    "status": hook.status,
                    "expiresAt": time(hook.expires),
                    "timeoutAction": hook.pause.then_some(hook.timeout_action),
                }))
            })
            .collect();
        let rollback = rollout.rollback.as_ref().map(|rollback| {
            json!({
                "reason": rollback.reason,
                "startedAt": seconds(rollback.started),
                "serviceRevisionArn": rollback.revision,
            })
        });
        trimmed(json!({
            "serviceDeploymentArn": rollout.arn,
            "serviceArn": service.arn,
            "clusterArn": service.cluster,
            "createdAt": seconds(rollout.created),
            "startedAt": time(rollout.started),
            "finishedAt": time(rollout.finished),
            "stoppedAt": time(rollout.stopped),
            "updatedAt": seconds(rollout.updated),
            "sourceServiceRevisions": sources,
            "targetServiceRevision": summary(&rollout.target, rollout.weight, rollout.test_weight),
            "status": rollout.status.word(),
            "statusReason": rollout.reason,
            "lifecycleStage": rollout.stage.filter(|_| !rollout.status.is_over()).map(|stage| stage.word()),
            "lifecycleHookDetails": if hooks.is_empty() { Value::Null } else { hooks.into() },
            "deploymentConfiguration": rollout.configuration,
            "rollback": rollback,
            "deploymentCircuitBreaker": breaker_view(service, rollout),
            "alarms": alarms_view(rollout),
        }))
    }
}

fn page_of(rows: Vec<(String, Value)>, input: &Value) -> Result<(Vec<Value>, Option<String>), AwsError> {
    crate::world::value::page(rows, text(input, "nextToken"), page_size(input, 100)?)
}

fn alarms_view(rollout: &Rollout) -> Value {
    let alarms = &rollout.configuration["alarms"];
    let enabled = boolean(alarms, "enable") == Some(true);
    let status = match (enabled, rollout.alarms.is_empty(), rollout.status.is_over()) {
        (false, true, _) => "DISABLED",
        (_, false, _) => "TRIGGERED",
        (true, true, true) => "MONITORING_COMPLETE",
        (true, true, false) => "MONITORING",
    };
    json!({"status": status, "alarmNames": texts(alarms, "alarmNames"), "triggeredAlarmNames": rollout.alarms})
}

fn brief_view(service: &Service, rollout: &Rollout) -> Value {
    let time = |at: Option<u64>| at.map_or(Value::Null, seconds);
    trimmed(json!({
        "serviceDeploymentArn": rollout.arn,
        "serviceArn": service.arn,
        "clusterArn": service.cluster,
        "startedAt": time(rollout.started),
        "createdAt": seconds(rollout.created),
        "finishedAt": time(rollout.finished),
        "targetServiceRevisionArn": rollout.target,
        "status": rollout.status.word(),
        "statusReason": rollout.reason,
    }))
}
