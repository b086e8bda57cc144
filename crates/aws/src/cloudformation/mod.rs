//! CloudFormation behind the port. Signed by hand: its SDK's client takes longer to compile than all else here that speaks to it.

mod read;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use landfall_model::Timestamp;
use landfall_model::cloudformation::{
    ChangeSet, DriftDetection, NewChangeSet, ResourceDrift, StackEvent, StackResource, StackState,
};
use landfall_ports::stacks::{Back, ServiceFailures, Stacks};
use landfall_ports::{PortError, PortResult};
use sha2::{Digest as _, Sha256};

use crate::budget::Family;
use crate::call::Call;
use crate::core::Core;
use crate::ecs::Ecs;
use crate::error::Failed;
use crate::s3;
use crate::signed::{self, Signer};
use crate::xml::Element;

/// Of the API.
const VERSION: &str = "2010-05-15";
/// A change of 500 resources tells a few thousand events, a hundred on a page; no listing of ours is longer.
const MOST_PAGES: usize = 200;

#[derive(Clone)]
pub(crate) struct CloudFormation {
    core: Arc<Core>,
    signer: Arc<Signer>,
    ecs: Ecs,
}

/// Names and values of a request, lists numbered from 1.
#[derive(Default)]
struct Form(Vec<(String, String)>);

impl Form {
    fn of(stack: &str) -> Self {
        Self::default().with("StackName", stack)
    }

    fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.push((name.into(), value.into()));
        self
    }

    fn list<'a>(mut self, name: &str, items: impl IntoIterator<Item = &'a String>) -> Self {
        let items = items.into_iter().enumerate();
        self.0.extend(items.map(|(at, item)| (format!("{name}.member.{}", at + 1), item.clone())));
        self
    }

    fn maybe(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }
}

impl CloudFormation {
    pub(crate) fn new(core: Arc<Core>, signer: Arc<Signer>, ecs: Ecs) -> Self {
        Self { core, signer, ecs }
    }

    /// One call: what is in `<ACTIONResult>`. An answer without it says nothing, not that there is nothing.
    async fn call(&self, action: &'static str, resource: &str, form: &Form) -> Result<Element, Failed> {
        let root = self.send(action, resource, form).await?;
        Ok(result(&root, action, resource)?)
    }

    /// One call: all that is answered.
    async fn send(&self, action: &'static str, resource: &str, form: &Form) -> Result<Element, Failed> {
        let reads = ["Describe", "Get", "List"].iter().any(|verb| action.starts_with(verb));
        let family = if reads { Family::CloudFormationRead } else { Family::CloudFormationWrite };
        let call = Call { service: "cloudformation", action, family, resource };
        let answer = signed::query(&self.signer, &self.core, call, &self.core.region, VERSION, &form.0).await;
        let root = Element::parse(&answer.map_err(told_apart)?);
        Ok(root.ok_or_else(|| PortError::Unavailable(format!("{}: the answer is no XML", call.what())))?)
    }

    /// Puts the template where CloudFormation reads it, with the rights of whoever asks for the change set, under a key that follows from
    /// it: the same one is the same object, however often it is sent. Its URL, as AWS has it: CloudFormation knows no endpoint of ours.
    async fn uploaded(&self, set: &NewChangeSet, place: &str) -> PortResult<String> {
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let digest = hex::encode(Sha256::digest(&set.template));
        let name = format!("templates/{}/{digest}.json", name_of(&set.stack));
        let key = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        let region = s3::put(&self.core, &self.signer, bucket, &key, &set.template).await?;
        Ok(s3::url(None, &region, bucket, &key))
    }

    /// As `call`, for what shall be done: nothing is read of the answer, and some have no result.
    async fn act(&self, action: &'static str, stack: &str, form: &Form) -> PortResult<()> {
        self.send(action, &of(stack), form).await?;
        Ok(())
    }

    /// Every page of a listing; `more` says whether the next is wanted.
    async fn pages(
        &self,
        action: &'static str,
        resource: String,
        form: impl Fn() -> Form,
        mut page: impl FnMut(&Element) -> bool,
    ) -> Result<(), Failed> {
        let mut next = None;
        for _ in 0..MOST_PAGES {
            let answer = self.call(action, &resource, &form().maybe("NextToken", next.as_deref())).await?;
            next = answer.get("NextToken");
            if !page(&answer) || next.is_none() {
                return Ok(());
            }
        }
        Err(PortError::Unavailable(format!("cloudformation:{action} on {resource}: a listing without an end")).into())
    }

    /// Everything that stacks of the region export.
    pub(crate) async fn exports(&self) -> PortResult<BTreeMap<String, String>> {
        let mut all = BTreeMap::new();
        self.pages("ListExports", "exports".to_owned(), Form::default, |page| {
            all.extend(page.members("Exports").filter_map(|one| Some((one.get("Name")?, one.text("Value")))));
            true
        })
        .await?;
        Ok(all)
    }
}

fn result(root: &Element, action: &str, resource: &str) -> PortResult<Element> {
    let found = root.child(&format!("{action}Result")).cloned();
    found.ok_or_else(|| {
        PortError::Unavailable(format!("cloudformation:{action} on {resource}: the answer has no result"))
    })
}

/// CloudFormation has one code for most of what it refuses; its sentences tell the rest.
fn told_apart(failed: Failed) -> Failed {
    let said = failed.message.as_str();
    let text = || failed.error.to_string();
    let error = match failed.code.as_str() {
        "ValidationError" | "ResourceNotFoundException" if said.contains("does not exist") => {
            PortError::NotFound(text())
        }
        "ValidationError" if said.contains("_IN_PROGRESS") => PortError::Conflict(text()),
        "InvalidChangeSetStatus" | "OperationInProgressException" | "TokenAlreadyExistsException" => {
            PortError::Conflict(text())
        }
        _ => return failed,
    };
    Failed { error, ..failed }
}

/// `shop-prod` of `arn:aws:cloudformation:eu-west-1:1:stack/shop-prod/0a1b…`.
fn name_of(stack: &str) -> &str {
    match stack.split_once(":stack/") {
        Some((_, rest)) => rest.split('/').next().unwrap_or(rest),
        None => stack,
    }
}

fn of(stack: &str) -> String {
    format!("stack {}", name_of(stack))
}

/// What is not there is nothing.
fn if_there<T>(result: Result<T, Failed>) -> PortResult<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(failed) if failed.not_found() => Ok(None),
        Err(failed) => Err(failed.into()),
    }
}

#[async_trait]
impl Stacks for CloudFormation {
    async fn describe(&self, stack: &str) -> PortResult<Option<StackState>> {
        let answer = if_there(self.call("DescribeStacks", &of(stack), &Form::of(stack)).await)?;
        let found = answer.as_ref().and_then(|answer| answer.members("Stacks").next()).map(read::stack);
        Ok(found.filter(|found| !found.status.is_empty()))
    }

    async fn list(&self) -> PortResult<Vec<StackState>> {
        let mut all = Vec::new();
        let told = self.pages("DescribeStacks", "all stacks".to_owned(), Form::default, |page| {
            all.extend(page.members("Stacks").map(read::stack));
            true
        });
        told.await?;
        Ok(all)
    }

    async fn template(&self, stack: &str) -> PortResult<Option<String>> {
        let form = Form::of(stack).with("TemplateStage", "Original");
        let answer = if_there(self.call("GetTemplate", &of(stack), &form).await)?;
        Ok(answer.and_then(|answer| answer.get("TemplateBody")))
    }

    async fn create_change_set(&self, set: &NewChangeSet) -> PortResult<()> {
        let mut form = Form::of(&set.stack)
            .with("ChangeSetName", &set.name)
            .with("ChangeSetType", if set.create { "CREATE" } else { "UPDATE" })
            .with("Capabilities.member.1", "CAPABILITY_IAM")
            .with("Capabilities.member.2", "CAPABILITY_NAMED_IAM")
            .maybe("RoleARN", set.role.as_deref());
        form = match &set.upload {
            Some(place) => form.with("TemplateURL", self.uploaded(set, place).await?),
            None => form.with("TemplateBody", &set.template),
        };
        for (at, (name, value)) in (1..).zip(&set.parameters) {
            let key = |what: &str| format!("Parameters.member.{at}.{what}");
            form = form.with(key("ParameterKey"), name);
            form = match value {
                Some(value) => form.with(key("ParameterValue"), value),
                None => form.with(key("UsePreviousValue"), "true"),
            };
        }
        for (at, (key, value)) in (1..).zip(&set.tags) {
            form = form.with(format!("Tags.member.{at}.Key"), key).with(format!("Tags.member.{at}.Value"), value);
        }
        self.act("CreateChangeSet", &set.stack, &form).await
    }

    async fn change_set(&self, stack: &str, name: &str) -> PortResult<Option<ChangeSet>> {
        let form = || Form::of(stack).with("ChangeSetName", name);
        let mut found: Option<ChangeSet> = None;
        let told = self.pages("DescribeChangeSet", of(stack), form, |page| {
            let more = read::change_set(page);
            match &mut found {
                Some(found) => found.changes.extend(more.changes),
                None => found = Some(more),
            }
            true
        });
        if_there(told.await)?;
        Ok(found.filter(|found| !found.status.is_empty()))
    }

    async fn change_sets(&self, stack: &str) -> PortResult<Vec<String>> {
        let mut names = Vec::new();
        let told = self.pages(
            "ListChangeSets",
            of(stack),
            || Form::of(stack),
            |page| {
                names.extend(page.members("Summaries").map(|one| one.text("ChangeSetName")));
                true
            },
        );
        if_there(told.await)?;
        Ok(names)
    }

    async fn delete_change_set(&self, stack: &str, name: &str) -> PortResult<()> {
        let form = Form::of(stack).with("ChangeSetName", name);
        if_there(self.send("DeleteChangeSet", &of(stack), &form).await).map(|_| ())
    }

    async fn execute(&self, stack: &str, change_set: &str, token: &str) -> PortResult<()> {
        let form = Form::of(stack).with("ChangeSetName", change_set).with("ClientRequestToken", token);
        self.act("ExecuteChangeSet", stack, &form).await
    }

    async fn events(&self, stack: &str, back: Back<'_>) -> PortResult<Vec<StackEvent>> {
        let mut events = Vec::new();
        let told = self.pages(
            "DescribeStackEvents",
            of(stack),
            || Form::of(stack),
            |page| {
                events.extend(page.members("StackEvents").filter_map(read::event));
                !back.reached(stack, &mut events)
            },
        );
        if_there(told.await)?;
        Ok(events)
    }

    async fn resources(&self, stack: &str) -> PortResult<Vec<StackResource>> {
        let mut all = Vec::new();
        let told = self.pages(
            "ListStackResources",
            of(stack),
            || Form::of(stack),
            |page| {
                all.extend(page.members("StackResourceSummaries").map(read::resource));
                true
            },
        );
        if_there(told.await)?;
        Ok(all)
    }

    async fn delete(&self, stack: &str, retain: &[String], role: Option<&str>, token: &str) -> PortResult<()> {
        let form = Form::of(stack).list("RetainResources", retain);
        let form = form.maybe("RoleARN", role).with("ClientRequestToken", token);
        self.act("DeleteStack", stack, &form).await
    }

    async fn continue_rollback(&self, stack: &str, skip: &[String], role: Option<&str>, token: &str) -> PortResult<()> {
        let form = Form::of(stack).list("ResourcesToSkip", skip);
        let form = form.maybe("RoleARN", role).with("ClientRequestToken", token);
        self.act("ContinueUpdateRollback", stack, &form).await
    }

    async fn protect(&self, stack: &str, on: bool) -> PortResult<()> {
        let form = Form::of(stack).with("EnableTerminationProtection", if on { "true" } else { "false" });
        self.act("UpdateTerminationProtection", stack, &form).await
    }

    async fn importers(&self, export: &str) -> PortResult<Vec<String>> {
        let mut names = Vec::new();
        let resource = format!("export {export}");
        let form = || Form::default().with("ExportName", export);
        let told = self.pages("ListImports", resource, form, |page| {
            names.extend(page.texts("Imports"));
            true
        });
        match told.await {
            Ok(()) => Ok(names),
            // CloudFormation's way to say that there is none.
            Err(failed) if failed.message.contains("is not imported by any stack") => Ok(names),
            Err(failed) => Err(failed.into()),
        }
    }

    async fn detect_drift(&self, stack: &str) -> PortResult<String> {
        let answer = self.call("DetectStackDrift", &of(stack), &Form::of(stack)).await?;
        let id = answer.get("StackDriftDetectionId");
        id.ok_or_else(|| PortError::Unavailable(format!("cloudformation:DetectStackDrift on {}: no id", of(stack))))
    }

    async fn drift_detection(&self, id: &str) -> PortResult<DriftDetection> {
        let form = Form::default().with("StackDriftDetectionId", id);
        let answer = self.call("DescribeStackDriftDetectionStatus", "drift detection", &form).await?;
        Ok(read::detection(&answer))
    }

    async fn drifts(&self, stack: &str) -> PortResult<Vec<ResourceDrift>> {
        let mut all = Vec::new();
        let states = ["MODIFIED".to_owned(), "DELETED".to_owned()];
        let form = || Form::of(stack).list("StackResourceDriftStatusFilters", &states);
        self.pages("DescribeStackResourceDrifts", of(stack), form, |page| {
            all.extend(page.members("StackResourceDrifts").map(read::drift));
            true
        })
        .await?;
        Ok(all)
    }

    async fn service_failures(&self, service: &str, since: Timestamp) -> PortResult<ServiceFailures> {
        self.ecs.failures_of(service, since).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::answered;

    #[test]
    fn refusals_are_told_apart_by_what_they_say() {
        let of = |code, message| told_apart(answered("x", 400, code, message)).error;
        assert!(matches!(of("ValidationError", "Stack with id x does not exist"), PortError::NotFound(_)));
        assert!(matches!(of("ChangeSetNotFound", "ChangeSet [x] does not exist"), PortError::NotFound(_)));
        let busy = "Stack:arn:x is in UPDATE_IN_PROGRESS state and can not be updated.";
        assert!(matches!(of("ValidationError", busy), PortError::Conflict(_)));
        assert!(matches!(of("AlreadyExistsException", "ChangeSet x already exists"), PortError::Conflict(_)));
        assert!(matches!(of("InvalidChangeSetStatus", "it is OBSOLETE"), PortError::Conflict(_)));
        assert!(matches!(of("ValidationError", "Template format error"), PortError::Invalid(_)));
        assert!(matches!(of("AccessDenied", "no"), PortError::Denied(_)));
    }

    #[test]
    fn an_answer_without_a_result_says_nothing() {
        let read = |text: &str| result(&Element::parse(text).unwrap(), "DescribeStacks", "stack shop");
        assert!(read("<DescribeStacksResponse><DescribeStacksResult/></DescribeStacksResponse>").is_ok());
        for other in ["<DescribeStacksResponse/>", "<html><body/></html>", "<R><ListStacksResult/></R>"] {
            assert!(matches!(read(other), Err(PortError::Unavailable(_))), "{other}");
        }
    }

    #[test]
    fn stacks_are_named_without_their_arn() {
        assert_eq!(of("arn:aws:cloudformation:eu-west-1:1:stack/shop-prod/0a1b"), "stack shop-prod");
        assert_eq!(of("shop-prod"), "stack shop-prod");
    }

    #[test]
    fn lists_are_numbered() {
        let form = Form::of("s").list("Skip", &["A".to_owned(), "B".to_owned()]).maybe("Role", None);
        let pairs: Vec<String> = form.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(pairs, ["StackName=s", "Skip.member.1=A", "Skip.member.2=B"]);
    }
}
