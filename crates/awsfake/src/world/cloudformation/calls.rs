//! CloudFormation's calls.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{ChangeSet, Script, Stack, Wanted, differ};
use crate::world::error::{Answer, AwsError};
use crate::world::space::Space;
use crate::world::value::{boolean, iso, list, needed, page, text, texts, trimmed};

/// A change set is made in so many milliseconds.
const MAKING_MS: u64 = 40;
const EVENTS: usize = 25;

fn missing(name: &str) -> AwsError {
    AwsError::validation(format!("Stack with id {name} does not exist"))
}

fn no_change_set(name: &str) -> AwsError {
    AwsError::new("ChangeSetNotFound", format!("ChangeSet [{name}] does not exist")).status(404)
}

/// Of a name or an ARN.
fn name_of(stack: &str) -> &str {
    stack.split_once(":stack/").map_or(stack, |(_, rest)| rest.split('/').next().unwrap_or(rest))
}

impl Space {
    pub(crate) fn set_script(&mut self, stack: &str, script: Script) {
        self.cloudformation.imports.extend(script.imports.clone());
        self.cloudformation.scripts.insert(stack.to_owned(), script);
    }

    /// By ARN also one that is gone.
    fn stack(&self, stack: &str) -> Result<&Stack, AwsError> {
        let here = self.cloudformation.stacks.get(name_of(stack)).filter(|own| !stack.contains(':') || own.id == stack);
        let gone = || self.cloudformation.gone.iter().find(|own| own.id == stack);
        here.or_else(gone).ok_or_else(|| missing(stack))
    }

    fn stack_mut(&mut self, stack: &str) -> Result<&mut Stack, AwsError> {
        let name = self.stack(stack)?.name.clone();
        self.cloudformation.stacks.get_mut(&name).ok_or_else(|| missing(stack))
    }

    fn wanted(&self, input: &Value, stack: Option<&Stack>) -> Result<Wanted, AwsError> {
        let template = match (boolean(input, "UsePreviousTemplate"), stack.and_then(|stack| stack.template.clone())) {
            (Some(true), Some(template)) => template,
            _ => needed(input, "TemplateBody")?.to_owned(),
        };
        let parsed: Value = serde_json::from_str(&template)
            .map_err(|error| AwsError::validation(format!("Template format error: {error}")))?;
        let mut parameters = BTreeMap::new();
        for one in list(input, "Parameters") {
            let name = text(one, "ParameterKey").unwrap_or_default();
            let former = stack.and_then(|stack| stack.parameters.get(name)).cloned();
            let value = match boolean(one, "UsePreviousValue") {
                Some(true) => former.ok_or_else(|| {
                    AwsError::validation(format!("Invalid input for parameter key {name}. Cannot specify usePreviousValue as true for a parameter key not in the previous template"))
                })?,
                _ => text(one, "ParameterValue").unwrap_or_default().to_owned(),
            };
            parameters.insert(name.to_owned(), value);
        }
        let declared = parsed["Parameters"].as_object().cloned().unwrap_or_default();
        let unknown: Vec<&String> = parameters.keys().filter(|name| !declared.contains_key(*name)).collect();
        if !unknown.is_empty() {
            return Err(AwsError::validation(format!("Parameters: {unknown:?} do not exist in the template")));
        }
        let absent: Vec<&String> = (declared.iter())
            .filter(|(name, one)| !parameters.contains_key(*name) && one["Default"].is_null())
            .map(|(name, _)| name)
            .collect();
        if !absent.is_empty() {
            return Err(AwsError::validation(format!("Parameters: {absent:?} must have values")));
        }
        let has_roles =
            differ::resources(&parsed, &parameters).iter().any(|(_, one)| differ::kind(one).starts_with("AWS::IAM::"));
        if has_roles && texts(input, "Capabilities").is_empty() {
            return Err(AwsError::new("InsufficientCapabilitiesException", "Requires capabilities : [CAPABILITY_IAM]"));
        }
        let tags = list(input, "Tags").iter();
        let tags: Vec<(String, String)> = tags
            .filter_map(|tag| Some((text(tag, "Key")?.to_owned(), text(tag, "Value").unwrap_or_default().to_owned())))
            .collect();
        let tags = if tags.is_empty() { stack.map(|stack| stack.tags.clone()).unwrap_or_default() } else { tags };
        Ok(Wanted { template, parameters, tags })
    }

    fn new_stack(&mut self, name: &str, status: &str) -> Stack {
        let id = self.arn("cloudformation", &format!("stack/{name}/{}", self.ids.clone().uuid()));
        self.ids.uuid();
        Stack {
            id,
            name: name.to_owned(),
            status: status.to_owned(),
            reason: None,
            template: None,
            parameters: BTreeMap::new(),
            tags: Vec::new(),
            protected: false,
            created: self.now,
            updated: None,
            resources: BTreeMap::new(),
            events: Vec::new(),
            change_sets: BTreeMap::new(),
            coming: std::collections::VecDeque::new(),
            wanted: None,
            tokens: Vec::new(),
            generation: 0,
            drift: None,
        }
    }

    fn changeable(stack: &Stack) -> Result<(), AwsError> {
        let fine =
            ["CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE", "UPDATE_FAILED"];
        if fine.contains(&stack.status.as_str()) {
            return Ok(());
        }
        let message = format!("Stack:{} is in {} state and can not be updated.", stack.id, stack.status);
        Err(AwsError::validation(message))
    }

    #[allow(clippy::too_many_lines, reason = "one arm for each call")]
    pub(crate) fn cloudformation_call(&mut self, operation: &str, input: &Value) -> Answer {
        let name = || needed(input, "StackName");
        match operation {
            "DescribeStacks" => {
                let stacks: Vec<Value> = match text(input, "StackName") {
                    Some(name) => vec![self.stack_view(self.stack(name)?)],
                    None => self.cloudformation.stacks.values().map(|own| self.stack_view(own)).collect(),
                };
                Ok(json!({"Stacks": stacks}))
            }
            "GetTemplate" => {
                let stack = self.stack(name()?)?;
                Ok(json!({"TemplateBody": stack.template, "StagesAvailable": ["Original", "Processed"]}))
            }
            "CreateStack" => {
                let name = name()?.to_owned();
                if self.cloudformation.stacks.contains_key(&name) {
                    return Err(AwsError::new("AlreadyExistsException", format!("Stack [{name}] already exists")));
                }
                let wanted = self.wanted(input, None)?;
                let mut stack = self.new_stack(&name, "CREATE_IN_PROGRESS");
                stack.tags.clone_from(&wanted.tags);
                let id = stack.id.clone();
                self.cloudformation.stacks.insert(name.clone(), stack);
                self.begin_create(&name, wanted);
                Ok(json!({"StackId": id}))
            }
            "UpdateStack" => {
                let stack = self.stack(name()?)?.clone();
                Self::changeable(&stack)?;
                let wanted = self.wanted(input, Some(&stack))?;
                let changes = changes(&stack, &wanted);
                if changes.is_empty() && same_outputs(&stack, &wanted) {
                    return Err(AwsError::validation("No updates are to be performed."));
                }
                self.stack_mut(&stack.id)?.superseded(None);
                self.begin_update(&stack.name, wanted, &changes);
                Ok(json!({"StackId": stack.id}))
            }
            "CreateChangeSet" => self.create_change_set(name()?, input),
            "DescribeChangeSet" => {
                let (stack, set) = self.change_set(name()?, needed(input, "ChangeSetName")?)?;
                Ok(self.change_set_view(stack, set))
            }
            "ListChangeSets" => {
                let stack = self.stack(name()?)?;
                let row = |(name, own): (&String, &ChangeSet)| json!({"ChangeSetName": name, "ChangeSetId": own.id});
                // "each active change set"
                let active = stack.change_sets.iter().filter(|(_, own)| own.execution.is_none());
                Ok(json!({"Summaries": active.map(row).collect::<Vec<_>>()}))
            }
            "DeleteChangeSet" => {
                let wanted = needed(input, "ChangeSetName")?.to_owned();
                let stack = self.stack_mut(name()?)?;
                stack.change_sets.retain(|name, own| *name != wanted && own.id != wanted);
                Ok(json!({}))
            }
            "ExecuteChangeSet" => self.execute_change_set(name()?, input),
            "DescribeStackEvents" => {
                let stack = self.stack(name()?)?;
                let rows = stack.events.iter().rev().enumerate().map(|(at, own)| {
                    let view = trimmed(json!({
                        "StackId": stack.id, "StackName": stack.name, "EventId": own.id, "Timestamp": iso(own.at),
                        "LogicalResourceId": own.resource, "PhysicalResourceId": own.physical,
                        "ResourceType": own.kind, "ResourceStatus": own.status, "ResourceStatusReason": own.reason,
                    }));
                    (format!("{at:08}"), view)
                });
                let (rows, next) = page(rows.collect(), text(input, "NextToken"), EVENTS)?;
                Ok(trimmed(json!({"StackEvents": rows, "NextToken": next})))
            }
            "ListStackResources" => {
                let rows: Vec<Value> = (self.stack(name()?)?.resources.iter())
                    .map(|(id, own)| {
                        trimmed(json!({
                            "LogicalResourceId": id, "PhysicalResourceId": own.physical, "ResourceType": own.kind,
                            "ResourceStatus": own.status, "ResourceStatusReason": own.reason,
                            "LastUpdatedTimestamp": iso(own.at),
                        }))
                    })
                    .collect();
                Ok(json!({"StackResourceSummaries": rows}))
            }
            "DeleteStack" => {
                let Ok(stack) = self.stack(name()?).cloned() else { return Ok(json!({})) };
                if stack.protected {
                    let message =
                        format!("Stack [{}] cannot be deleted while TerminationProtection is enabled", stack.name);
                    return Err(AwsError::validation(message));
                }
                let retain = texts(input, "RetainResources");
                if !retain.is_empty() && stack.status != "DELETE_FAILED" {
                    let message = "Specify RetainResources only for stacks that are in the DELETE_FAILED state";
                    return Err(AwsError::validation(message));
                }
                self.begin_delete(&stack.name, &retain);
                Ok(json!({}))
            }
            "ContinueUpdateRollback" => {
                let stack = self.stack(name()?)?.clone();
                if stack.status != "UPDATE_ROLLBACK_FAILED" {
                    let message =
                        format!("Stack:{} is in {} state and can not continue rollback.", stack.id, stack.status);
                    return Err(AwsError::validation(message));
                }
                self.begin_continue(&stack.name, &texts(input, "ResourcesToSkip"));
                Ok(json!({}))
            }
            "UpdateTerminationProtection" => {
                let on = boolean(input, "EnableTerminationProtection") == Some(true);
                let stack = self.stack_mut(name()?)?;
                stack.protected = on;
                Ok(json!({"StackId": stack.id}))
            }
            "ListImports" => {
                let export = needed(input, "ExportName")?;
                match self.cloudformation.imports.get(export) {
                    Some(stacks) => Ok(json!({"Imports": stacks})),
                    None => {
                        let message = format!("Export '{export}' is not imported by any stack.");
                        Err(AwsError::validation(message))
                    }
                }
            }
            "DetectStackDrift" => {
                let name = self.stack(name()?)?.name.clone();
                let id = self.ids.uuid();
                self.cloudformation.detections.insert(id.clone(), name.clone());
                let drifted = self.cloudformation.scripts.get(&name).is_some_and(|own| !own.drifted.is_empty());
                self.stack_mut(&name)?.drift = Some(drifted);
                Ok(json!({"StackDriftDetectionId": id}))
            }
            "DescribeStackDriftDetectionStatus" => {
                let name = self.cloudformation.detections.get(needed(input, "StackDriftDetectionId")?);
                let name = name.ok_or_else(|| AwsError::validation("no such detection"))?;
                let drifted = self.stack(name)?.drift == Some(true);
                Ok(json!({
                    "DetectionStatus": "DETECTION_COMPLETE",
                    "StackDriftStatus": if drifted { "DRIFTED" } else { "IN_SYNC" },
                }))
            }
            "DescribeStackResourceDrifts" => {
                let stack = self.stack(name()?)?;
                let script = self.cloudformation.scripts.get(&stack.name);
                let rows: Vec<Value> = script
                    .into_iter()
                    .flat_map(|own| &own.drifted)
                    .map(|(resource, path, expected, actual)| {
                        let own = stack.resources.get(resource);
                        json!({
                            "LogicalResourceId": resource, "PhysicalResourceId": own.map(|own| &own.physical),
                            "ResourceType": own.map(|own| &own.kind), "StackResourceDriftStatus": "MODIFIED",
                            "PropertyDifferences": [{
                                "PropertyPath": path, "DifferenceType": "NOT_EQUAL",
                                "ExpectedValue": expected, "ActualValue": actual,
                            }],
                        })
                    })
                    .collect();
                Ok(json!({"StackResourceDrifts": rows}))
            }
            _ => Err(AwsError::unknown_operation("cloudformation", operation)),
        }
    }

    fn create_change_set(&mut self, name: &str, input: &Value) -> Answer {
        let create = text(input, "ChangeSetType") == Some("CREATE");
        let set = needed(input, "ChangeSetName")?.to_owned();
        match self.stack(name).ok().map(|stack| stack.status.clone()) {
            None if !create => return Err(missing(name)),
            None => {
                let stack = self.new_stack(name, "REVIEW_IN_PROGRESS");
                self.cloudformation.stacks.insert(name.to_owned(), stack);
            }
            Some(status) if create && status != "REVIEW_IN_PROGRESS" => {
                return Err(AwsError::validation(format!(
                    "Stack [{name}] already exists and cannot be created again with the changeSet [{set}]."
                )));
            }
            Some(_) if create => {}
            Some(_) => Self::changeable(self.stack(name)?)?,
        }
        let stack = self.stack(name)?.clone();
        if stack.change_sets.contains_key(&set) {
            return Err(AwsError::new("AlreadyExistsException", format!("ChangeSet {set} already exists")));
        }
        let wanted = self.wanted(input, Some(&stack))?;
        let changes = changes(&stack, &wanted);
        let refuse = self.cloudformation.scripts.get(&stack.name).and_then(|script| script.refuse.clone());
        let same =
            || "The submitted information didn't contain changes. Submit different information to create a change set.";
        // With other outputs alone it can be executed, and lists no changes (<https://github.com/aws/aws-cdk/pull/2029>).
        let nothing = changes.is_empty() && same_outputs(&stack, &wanted);
        let failed = refuse.or_else(|| nothing.then(|| same().to_owned()));
        let id = self.arn("cloudformation", &format!("changeSet/{set}/{}", self.ids.clone().uuid()));
        self.ids.uuid();
        let ready = self.now + MAKING_MS;
        let made = ChangeSet { id: id.clone(), create, wanted, ready, changes, failed, execution: None };
        let stack = self.stack_mut(name)?;
        stack.change_sets.insert(set, made);
        Ok(json!({"Id": id, "StackId": stack.id}))
    }

    fn change_set(&self, stack: &str, name: &str) -> Result<(&Stack, (&String, &ChangeSet)), AwsError> {
        let stack = self.stack(stack)?;
        let found = stack.change_sets.iter().find(|(own, set)| *own == name || set.id == name);
        found.map(|found| (stack, found)).ok_or_else(|| no_change_set(name))
    }

    fn change_set_view(&self, stack: &Stack, (name, set): (&String, &ChangeSet)) -> Value {
        let (status, execution) = match &set.failed {
            _ if set.ready > self.now => ("CREATE_IN_PROGRESS", "UNAVAILABLE"),
            Some(_) => ("FAILED", "UNAVAILABLE"),
            None => ("CREATE_COMPLETE", set.execution.unwrap_or("AVAILABLE")),
        };
        let done = set.ready <= self.now;
        trimmed(json!({
            "ChangeSetName": name, "ChangeSetId": set.id, "StackName": stack.name, "StackId": stack.id,
            "Status": status, "ExecutionStatus": execution, "StatusReason": set.failed.clone().filter(|_| done),
            "Changes": if done { set.changes.clone() } else { Vec::new() },
        }))
    }

    fn execute_change_set(&mut self, stack: &str, input: &Value) -> Answer {
        let token = text(input, "ClientRequestToken").unwrap_or_default().to_owned();
        let own = self.stack(stack)?;
        if !token.is_empty() && own.tokens.contains(&token) {
            return Ok(json!({}));
        }
        let (own, (name, set)) = self.change_set(stack, needed(input, "ChangeSetName")?)?;
        if set.failed.is_some() || set.ready > self.now {
            let message = format!("ChangeSet [{name}] cannot be executed in its current status");
            return Err(AwsError::new("InvalidChangeSetStatus", message));
        }
        if let Some(execution) = set.execution {
            let message =
                format!("ChangeSet [{}] cannot be executed in its current execution status of [{execution}]", set.id);
            return Err(AwsError::new("InvalidChangeSetStatus", message));
        }
        if !set.create {
            Self::changeable(own)?;
        }
        let name = name.clone();
        let (set, stack) = (set.clone(), own.name.clone());
        let own = self.stack_mut(&stack)?;
        own.tokens.push(token);
        own.superseded(Some(&name));
        own.tags.clone_from(&set.wanted.tags);
        match set.create {
            true => self.begin_create(&stack, set.wanted),
            false => self.begin_update(&stack, set.wanted, &set.changes),
        }
        Ok(json!({}))
    }

    fn stack_view(&self, stack: &Stack) -> Value {
        let template: Value =
            stack.template.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let parameter = |(key, value): (&String, &String)| json!({"ParameterKey": key, "ParameterValue": value});
        let tag = |(key, value): &(String, String)| json!({"Key": key, "Value": value});
        let drift = match stack.drift {
            None => "NOT_CHECKED",
            Some(true) => "DRIFTED",
            Some(false) => "IN_SYNC",
        };
        trimmed(json!({
            "StackId": stack.id, "StackName": stack.name, "StackStatus": stack.status,
            "StackStatusReason": stack.reason, "CreationTime": iso(stack.created),
            "LastUpdatedTime": stack.updated.map(iso), "EnableTerminationProtection": stack.protected,
            "Parameters": stack.parameters.iter().map(parameter).collect::<Vec<_>>(),
            "Outputs": differ::outputs(&template, &stack.parameters, &stack.resources),
            "Tags": stack.tags.iter().map(tag).collect::<Vec<_>>(),
            "DriftInformation": {"StackDriftStatus": drift},
        }))
    }
}

fn same_outputs(stack: &Stack, wanted: &Wanted) -> bool {
    let of = |template: &str, parameters| {
        differ::outputs(&serde_json::from_str(template).unwrap_or_default(), parameters, &stack.resources)
    };
    let before = stack.template.as_deref().map(|template| of(template, &stack.parameters)).unwrap_or_default();
    before == of(&wanted.template, &wanted.parameters)
}

fn changes(stack: &Stack, wanted: &Wanted) -> Vec<Value> {
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    let old = stack.template.as_deref().map(parse).unwrap_or_default();
    let new = parse(&wanted.template);
    differ::changes((&old, &stack.parameters), (&new, &wanted.parameters), &stack.resources)
}
