//! Services as documents: created with all of it, updated with those of its keys that differ from what is there.
//!
//! Keys that the document does not name stay as they are, as UpdateService itself has it; so does the count of a document
//! without `desiredCount`, and any count that is somebody else's (`keep_count`). What CreateService takes and UpdateService
//! does not can only be had by a new service.

use std::collections::BTreeSet;

use aws_sdk_ecs::types as ecs;
use landfall_deploy::diff::{Change, Kind, diff, service_settings};
use landfall_model::inventory::{TAG_ENVIRONMENT, TAG_EXECUTION, Tags};
use landfall_ports::orchestrator::{PutService, PutServiceOutcome};
use landfall_ports::{PortError, PortResult};
use serde_json::{Value, json};

use super::change::{self, TAG_TIMEOUT};
use super::raw::{Document, Instead, tags_of, with_tags};
use super::register::same_revision;
use super::{Ecs, locked, service as typed};
use crate::budget::Family;
use crate::call::Call;
use crate::tags;
use crate::wire::Answered;

/// CreateService takes them, UpdateService does not.
const CREATE_ONLY: [&str; 3] = ["launchType", "schedulingStrategy", "role"];
/// What the request itself says, and what a describe calls it.
const SAID_BESIDE: [&str; 4] = ["cluster", "clusterArn", "roleArn", "taskDefinition"];

/// In a describe, and in no request.
const DESCRIBED: &str = "serviceArn";

/// The document as it is to be created, but for cluster, task definition and our tags. Takes a describe too.
pub(crate) fn service(request: &PutService, document: &Value) -> PortResult<Document> {
    let what = format!("service {}", request.name);
    let Value::Object(document) = document else {
        return Err(PortError::Invalid(format!("{what}: the document is no JSON object")));
    };
    let mut wanted = document.clone();
    service_settings(&mut wanted);
    SAID_BESIDE.iter().for_each(|key| drop(wanted.remove(*key)));
    wanted.insert("serviceName".to_owned(), json!(request.name));
    match wanted.get("deploymentController").and_then(|controller| controller["type"].as_str()) {
        None | Some("ECS") => Ok(wanted),
        Some(other) => Err(PortError::Invalid(format!(
            "{what}: the deployment controller {other} is not supported: use ECS, with `deploymentConfiguration.strategy` \
             BLUE_GREEN, LINEAR or CANARY where traffic shall be shifted"
        ))),
    }
}

/// What of a describe an undo needs, and its `serviceArn` as the sign that all there is was told. Neither Landfall's tags, which
/// say whose it is by then, nor AWS's own, which nobody may set.
fn to_restore(told: Value) -> Value {
    let Value::Object(mut fields) = told else { return told };
    let described = fields.get(DESCRIBED).cloned();
    service_settings(&mut fields);
    SAID_BESIDE.iter().for_each(|key| drop(fields.remove(*key)));
    if let Some(tags) = fields.get_mut("tags").and_then(Value::as_array_mut) {
        let own = |key: &str| key == TAG_ENVIRONMENT || key.starts_with("landfall.") || key.starts_with("aws:");
        tags.retain(|tag| !tag["key"].as_str().is_some_and(own));
    }
    fields.extend(described.map(|arn| (DESCRIBED.to_owned(), arn)));
    Value::Object(fields)
}

/// What a describe does not tell was not set, and goes where the service has it now.
fn with_what_goes(document: Option<&Value>, wanted: &Document, live: &Value) -> Document {
    let mut wanted = wanted.clone();
    if document.is_none_or(|document| document.get(DESCRIBED).is_none()) {
        return wanted;
    }
    let some = |value: &Value| value.as_array().is_some_and(|all| !all.is_empty());
    if some(&live["loadBalancers"]) {
        wanted.entry("loadBalancers").or_insert(json!([]));
    }
    let there = &live["deploymentConfiguration"];
    if let Some(Value::Object(configuration)) = wanted.get_mut("deploymentConfiguration") {
        if some(&there["lifecycleHooks"]) {
            configuration.entry("lifecycleHooks").or_insert(json!([]));
        }
        if some(&there["alarms"]["alarmNames"]) {
            let none = json!({"alarmNames": [], "enable": false, "rollback": false});
            configuration.entry("alarms").or_insert(none);
        }
    }
    wanted
}

impl Ecs {
    /// What the service is now, whoever's it is, so that an undo can put all of it back.
    pub(crate) async fn document_to_restore(&self, name: &str) -> PortResult<Option<Value>> {
        let found = locked(&self.found).told(name);
        if let Some(told) = found {
            return Ok(Some(to_restore(told)));
        }
        let found = self.as_it_is(name).await?.filter(|(service, _)| service.status.as_deref() != Some("INACTIVE"));
        Ok(found.map(|(_, told)| to_restore(told)))
    }

    pub(crate) async fn put_document(&self, request: &PutService, document: &Value) -> PortResult<PutServiceOutcome> {
        let wanted = service(request, document)?;
        let mut tags = self.core.tags(&request.tags);
        tags.insert(TAG_TIMEOUT.to_owned(), request.deployment.timeout.to_string());
        tags::check(&tags)?;
        let formerly = match self.as_it_is(&request.name).await? {
            Some((there, _)) if there.status.as_deref() == Some("INACTIVE") => there.created_at,
            Some((there, live)) => return self.update_document(&there, &live, request, &wanted, &tags).await,
            None => None,
        };
        let formerly = formerly.map(|at| at.to_string()).unwrap_or_default();
        if let Some(outcome) = self.create_document(request, wanted.clone(), &tags, &formerly).await? {
            return Ok(outcome);
        }
        // Made in between: by a call of ours whose answer was lost, or by somebody else.
        match self.as_it_is(&request.name).await? {
            Some((there, live)) if there.status.as_deref() != Some("INACTIVE") => {
                self.update_document(&there, &live, request, &wanted, &tags).await
            }
            _ => Err(PortError::Unavailable(format!("service {} exists and cannot be read yet", request.name))),
        }
    }

    /// The service in the SDK's words and in ECS's own; INACTIVE ones too.
    pub(super) async fn as_it_is(&self, name: &str) -> PortResult<Option<(ecs::Service, Value)>> {
        let resource = format!("service {name}");
        let call = Call::ecs("DescribeServices", Family::ServiceRead, &resource);
        let answered = Answered::default();
        let request = (self.core.clients.ecs.describe_services())
            .cluster(&self.core.target.cluster)
            .services(name)
            .include(ecs::ServiceField::Tags);
        let send = || request.clone().customize().interceptor(answered.clone()).send();
        let answer = self.ecs(call, send).await?;
        super::only_missing(&call, answer.failures())?;
        let mut body = answered.json(&call.what())?;
        let told = body["services"].as_array_mut().map(std::mem::take).unwrap_or_default();
        let mut pairs: Vec<_> = answer.services.unwrap_or_default().into_iter().zip(told).collect();
        // Of one name there may be several, all but one INACTIVE.
        pairs.sort_by_key(|(service, _)| service.status.as_deref() == Some("INACTIVE"));
        let found = pairs.into_iter().next();
        Ok(found.map(|(mut service, told)| {
            self.add_put_on(&mut service);
            (service, told)
        }))
    }

    async fn update_document(
        &self,
        there: &ecs::Service,
        live: &Value,
        request: &PutService,
        wanted: &Document,
        tags: &Tags,
    ) -> PortResult<PutServiceOutcome> {
        let name = &request.name;
        if there.status.as_deref() == Some("DRAINING") {
            return Err(PortError::Unavailable(format!("service {name} is still draining")));
        }
        let before = super::from_tags(there.tags());
        self.adopt(there, name, tags, request.adopt).await?;
        let mut own = tags_of(wanted)?;
        own.extend(tags.get(TAG_TIMEOUT).map(|timeout| (TAG_TIMEOUT.to_owned(), timeout.clone())));
        own.retain(|key, value| before.get(key) != Some(value));
        if !own.is_empty() {
            self.tag(there, &own).await?;
        }
        let primary = change::primary(there);
        let replace = request.replace.is_some()
            && request.replace.as_deref() == primary.and_then(|primary| primary.id.as_deref())
            && !self.has_begun_after(name, primary);
        let failed =
            primary.and_then(|primary| primary.rollout_state.as_ref()) == Some(&ecs::DeploymentRolloutState::Failed);
        let wanted = &with_what_goes(request.document.as_ref(), wanted, live);
        let updated;
        let after = match update(live, wanted, request, replace, failed)? {
            None => there,
            Some(mut body) => {
                body.insert("cluster".to_owned(), json!(self.core.target.cluster));
                body.insert("service".to_owned(), json!(name));
                updated = self.send_update(name, &body).await?;
                &updated
            }
        };
        let execution = tags.get(TAG_EXECUTION);
        Ok(PutServiceOutcome {
            created: execution.is_some() && before.get(TAG_EXECUTION) == execution,
            deployment: self.watched(name, after)?,
        })
    }

    async fn send_update(&self, name: &str, body: &Document) -> PortResult<ecs::Service> {
        let resource = format!("service {name}");
        let call = Call::ecs("UpdateService", Family::ServiceModify, &resource);
        let request = self.core.clients.ecs.update_service().service(name);
        let body = Instead::of(body);
        match self.core.caller.call(call, || request.clone().customize().interceptor(body.clone()).send()).await {
            Ok(answer) => {
                answer.service.ok_or_else(|| PortError::Unavailable(format!("{}: an empty answer", call.what())))
            }
            Err(failed) => Err(self.not_updated(&call, failed)),
        }
    }

    /// `None`: a service of that name exists.
    async fn create_document(
        &self,
        request: &PutService,
        mut body: Document,
        tags: &Tags,
        formerly: &str,
    ) -> PortResult<Option<PutServiceOutcome>> {
        with_tags(&mut body, tags)?;
        body.insert("cluster".to_owned(), json!(self.core.target.cluster));
        body.insert("taskDefinition".to_owned(), json!(request.task_definition));
        body.insert("clientToken".to_owned(), json!(typed::client_token(request, tags, formerly)));
        // A daemon has no count; anything else must have one to begin with.
        if body.get("schedulingStrategy").and_then(Value::as_str) != Some("DAEMON") {
            body.entry("desiredCount").or_insert(json!(request.desired_count));
        }
        let resource = format!("service {}", request.name);
        let call = Call::ecs("CreateService", Family::ServiceModify, &resource);
        let create = self.core.clients.ecs.create_service().service_name(&request.name);
        let body = Instead::of(&body);
        let send = || create.clone().customize().interceptor(body.clone()).send();
        let made = match self.core.caller.call(call, send).await {
            Ok(answer) => answer.service,
            Err(failed) => return self.not_created(failed).map(|()| None),
        };
        let made = made.ok_or_else(|| PortError::Unavailable(format!("{}: an empty answer", call.what())))?;
        Ok(Some(PutServiceOutcome { created: true, deployment: self.watched(&request.name, &made)? }))
    }
}

/// What UpdateService must say, but for cluster and name. `None`: nothing.
fn update(
    live: &Value,
    wanted: &Document,
    request: &PutService,
    replace: bool,
    failed: bool,
) -> PortResult<Option<Document>> {
    let mut compared = wanted.clone();
    compared.remove("tags");
    if request.keep_count {
        compared.remove("desiredCount");
    }
    let changes = diff(Kind::Service, live, &Value::Object(compared));
    possible(live, &changes, request)?;
    let keys: BTreeSet<&str> = changes.iter().map(|change| top(&change.path)).collect();
    let mut body = Document::new();
    for key in &keys {
        if let Some(value) = wanted.get(*key) {
            body.insert((*key).to_owned(), value.clone());
        }
    }
    let same = live["taskDefinition"].as_str().is_some_and(|there| same_revision(there, &request.task_definition));
    if !same {
        body.insert("taskDefinition".to_owned(), json!(request.task_definition));
    }
    // Moving to other capacity is a new deployment or nothing; so is what failed, and what shall be done again.
    if keys.contains("capacityProviderStrategy") || same && (replace || failed) {
        body.insert("forceNewDeployment".to_owned(), json!(true));
    }
    Ok(Some(body).filter(|body| !body.is_empty()))
}

/// `loadBalancers` of `loadBalancers[web:80].targetGroupArn`.
fn top(path: &str) -> &str {
    path.split(['.', '[']).next().unwrap_or(path)
}

fn possible(live: &Value, changes: &[Change], request: &PutService) -> PortResult<()> {
    let keys = changes.iter().map(|change| top(&change.path));
    // With capacity providers a service has no launch type of its own: nothing contradicts.
    let impossible = keys.filter(|key| CREATE_ONLY.contains(key)).find(|key| !live[*key].is_null() || *key == "role");
    let Some(key) = impossible else { return Ok(()) };
    let change = changes.iter().find(|change| top(&change.path) == key);
    let word = |value: Option<&Value>| match value {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => "not set".to_owned(),
    };
    let (from, to) = (word(change.and_then(|c| c.from.as_ref())), word(change.and_then(|c| c.to.as_ref())));
    Err(PortError::Conflict(format!(
        "service {}: `{key}` is {from} and cannot become {to}: ECS sets it at creation only; keep {from} in the document, delete the \
         service first, or give it another name",
        request.name
    )))
}

#[cfg(test)]
#[path = "raw_service_tests.rs"]
mod tests;
