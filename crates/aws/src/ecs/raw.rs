//! Documents in ECS's own JSON, sent as they are: the SDK's own operation with another body, so that budgets, retries, errors
//! and answers are those of every other call, and keys that the SDK does not know arrive too.

use aws_sdk_ecs::types as ecs;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextMut;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use landfall_deploy::diff::{Kind, diff};
use landfall_model::inventory::Tags;
use landfall_model::task::TaskDefinition;
use landfall_ports::orchestrator::{Documents, PutService, Registered};
use landfall_ports::{PortError, PortResult};
use serde_json::{Map, Value, json};

use super::change::TAG_TIMEOUT;
use super::{Ecs, raw_service};
use crate::budget::Family;
use crate::call::Call;
use crate::tags;
use crate::wire::Answered;

pub(crate) type Document = Map<String, Value>;

/// Replaces what an operation would send. What is signed is the new body.
#[derive(Debug, Clone)]
pub(crate) struct Instead(String);

impl Instead {
    pub(crate) fn of(body: &Document) -> Self {
        Self(Value::Object(body.clone()).to_string())
    }
}

#[dyn_dispatch_hint]
impl Intercept for Instead {
    fn name(&self) -> &'static str {
        "Instead"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        *request.body_mut() = SdkBody::from(self.0.as_str());
        request.headers_mut().try_insert("content-length", self.0.len().to_string())?;
        Ok(())
    }
}

impl Ecs {
    /// The family's newest active revision is taken where it is the same, whoever registered it; a new one otherwise.
    pub(crate) async fn register_document(
        &self,
        definition: &TaskDefinition,
        document: &Value,
        tags: &Tags,
    ) -> PortResult<Registered> {
        let mut wanted = task_definition(definition, document)?;
        let ours = self.core.tags(tags);
        let newest =
            self.definition_as_it_is(&definition.family).await?.filter(|newest| newest["status"] != "INACTIVE");
        if let Some(newest) = newest.map(|newest| without(newest, &ours))
            && diff(Kind::TaskDefinition, &newest, &Value::Object(wanted.clone())).is_empty()
            && let Some(arn) = newest["taskDefinitionArn"].as_str()
        {
            return Ok(Registered { handle: arn.to_owned(), created: false });
        }
        let tags = with_tags(&mut wanted, &ours)?;
        let resource = format!("task definition {}", definition.family);
        let call = Call::ecs("RegisterTaskDefinition", Family::TaskDefinitionModify, &resource);
        let request = self.core.clients.ecs.register_task_definition().family(&definition.family);
        let body = Instead::of(&wanted);
        let send = || request.clone().customize().interceptor(body.clone()).send();
        let answer = self.core.caller.call(call, send).await?;
        let registered = answer.task_definition.filter(|definition| definition.task_definition_arn.is_some());
        let registered = registered
            .ok_or_else(|| PortError::Unavailable(format!("{}: the answer names no revision", call.what())))?;
        let revision = self.keep(registered, tags);
        Ok(Registered { handle: revision.arn.clone(), created: true })
    }

    /// A revision, or a family's newest active one, word for word, with its tags. `None`: it is not known.
    pub(super) async fn definition_as_it_is(&self, handle: &str) -> PortResult<Option<Value>> {
        let resource = format!("task definition {handle}");
        let call = Call::ecs("DescribeTaskDefinition", Family::TaskDefinitionRead, &resource);
        let answered = Answered::default();
        let request = (self.core.clients.ecs.describe_task_definition())
            .task_definition(handle)
            .include(ecs::TaskDefinitionField::Tags);
        let send = || request.clone().customize().interceptor(answered.clone()).send();
        match self.core.caller.call(call, send).await {
            Ok(_) => {
                let mut body = answered.json(&call.what())?;
                let mut definition = body["taskDefinition"].take();
                definition["tags"] = body["tags"].take();
                Ok(Some(definition))
            }
            // ECS's answer for what it does not know; a bad name is an InvalidParameterException.
            Err(failed) if failed.is("ClientException") && matches!(failed.error, PortError::Invalid(_)) => Ok(None),
            Err(failed) if failed.not_found() => Ok(None),
            Err(failed) => Err(failed.into()),
        }
    }

    /// What would be sent; of the service's tags also those that it has and keeps.
    pub(crate) async fn given_documents(
        &self,
        definition: &TaskDefinition,
        document: &Value,
        request: &PutService,
        service: &Value,
    ) -> PortResult<Documents> {
        let mut task_definition = task_definition(definition, document)?;
        let mut service = raw_service::service(request, service)?;
        let mut tags = self.core.tags(&request.tags);
        with_tags(&mut task_definition, &tags)?;
        tags.insert(TAG_TIMEOUT.to_owned(), request.deployment.timeout.to_string());
        let there = self.service(&request.name).await?;
        let mut kept = there.map(|service| super::from_tags(service.tags())).unwrap_or_default();
        kept.extend(tags_of(&service)?);
        kept.extend(tags);
        with_tags(&mut service, &kept)?;
        service.insert("cluster".to_owned(), json!(self.core.target.cluster));
        service.insert("taskDefinition".to_owned(), json!(definition.family));
        Ok(Documents { task_definition: Value::Object(task_definition), service: Value::Object(service) })
    }
}

/// The document as it is to be registered: under this family, with these images.
fn task_definition(definition: &TaskDefinition, document: &Value) -> PortResult<Document> {
    let what = format!("task definition {}", definition.family);
    let Value::Object(document) = document else {
        return Err(PortError::Invalid(format!("{what}: the document is no JSON object")));
    };
    let mut document = document.clone();
    document.insert("family".to_owned(), json!(definition.family));
    let containers = document.get_mut("containerDefinitions").and_then(Value::as_array_mut);
    let containers = containers.map(Vec::as_mut_slice).unwrap_or_default();
    for ours in definition.containers.iter().filter(|container| !container.image.is_empty()) {
        let named = containers.iter_mut().find(|container| container["name"] == *ours.name);
        let Some(container) = named.and_then(Value::as_object_mut) else {
            return Err(PortError::Invalid(format!("{what}: the document has no container {}", ours.name)));
        };
        container.insert("image".to_owned(), json!(ours.image));
    }
    Ok(document)
}

/// Takes our tags off: they say who made it, not what it is.
fn without(mut document: Value, ours: &Tags) -> Value {
    if let Some(tags) = document["tags"].as_array_mut() {
        tags.retain(|tag| !tag["key"].as_str().is_some_and(|key| ours.contains_key(key)));
    }
    document
}

/// The document's own tags and ours, ours first where both say something. Returns all of them.
pub(crate) fn with_tags(document: &mut Document, ours: &Tags) -> PortResult<Tags> {
    let mut all = tags_of(document)?;
    all.extend(ours.clone());
    tags::check(&all)?;
    let list = all.iter().map(|(key, value)| json!({"key": key, "value": value}));
    document.insert("tags".to_owned(), list.collect());
    Ok(all)
}

pub(crate) fn tags_of(document: &Document) -> PortResult<Tags> {
    let list = document.get("tags").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let tag = |tag: &Value| {
        let key = tag["key"].as_str().ok_or_else(|| PortError::Invalid("a tag without a key".to_owned()))?;
        Ok((key.to_owned(), tag["value"].as_str().unwrap_or_default().to_owned()))
    };
    list.iter().map(tag).collect()
}

#[cfg(test)]
mod tests {
    use landfall_model::task::{ContainerDefinition, ContainerSettings};

    use super::*;

    fn definition(images: &[(&str, &str)]) -> TaskDefinition {
        let container = |(name, image): &(&str, &str)| ContainerDefinition {
            name: (*name).to_owned(),
            image: (*image).to_owned(),
            settings: ContainerSettings::default(),
        };
        TaskDefinition {
            family: "web".to_owned(),
            containers: images.iter().map(container).collect(),
            ..TaskDefinition::default()
        }
    }

    #[test]
    fn images_are_put_in_by_name_and_the_rest_stays() {
        let document = json!({"family": "old", "futureKey": {"a": [1]}, "containerDefinitions": [
            {"name": "app", "image": "app:1", "cpu": 10}, {"name": "proxy", "image": "envoy:1"}]});
        let made = task_definition(&definition(&[("app", "app@sha256:1"), ("proxy", "")]), &document).unwrap();
        assert_eq!(
            Value::Object(made),
            json!({"family": "web", "futureKey": {"a": [1]}, "containerDefinitions": [
                {"name": "app", "image": "app@sha256:1", "cpu": 10}, {"name": "proxy", "image": "envoy:1"}]})
        );
        let error = task_definition(&definition(&[("gone", "x")]), &document).unwrap_err();
        assert!(matches!(&error, PortError::Invalid(text) if text.contains("gone")), "{error}");
        assert!(task_definition(&definition(&[]), &json!([])).is_err());
    }

    #[test]
    fn tags_are_merged_and_checked() {
        let mut document = Document::new();
        document.insert("tags".to_owned(), json!([{"key": "team", "value": "shop"}, {"key": "a"}]));
        let ours = Tags::from([("a".to_owned(), "ours".to_owned())]);
        let all = with_tags(&mut document, &ours).unwrap();
        assert_eq!(all, Tags::from([("a".to_owned(), "ours".to_owned()), ("team".to_owned(), "shop".to_owned())]));
        assert_eq!(document["tags"], json!([{"key": "a", "value": "ours"}, {"key": "team", "value": "shop"}]));
        document.insert("tags".to_owned(), json!([{"value": "x"}]));
        assert!(with_tags(&mut document, &ours).is_err());
    }
}
