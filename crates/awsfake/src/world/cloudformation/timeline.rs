//! What happens to a stack once an operation has begun, each thing at its time.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Event, Happening, Resource, Script, Wanted, differ};
use crate::world::Millis;
use crate::world::space::{Event as Due, Space};

const STEP_MS: Millis = 50;

/// Happenings one after the other.
struct Timeline {
    step: Millis,
    at: Millis,
    all: Vec<(Millis, Happening)>,
}

impl Timeline {
    fn new(now: Millis, script: &Script) -> Self {
        Self { step: script.step_ms.unwrap_or(STEP_MS), at: now, all: Vec::new() }
    }

    fn stack(&mut self, status: &str, reason: Option<&str>) {
        self.all.push((self.at, Happening::Status { status: status.to_owned(), reason: reason.map(str::to_owned) }));
    }

    fn resource(&mut self, name: &str, kind: &str, status: &str, reason: Option<&str>) {
        let (resource, kind) = (name.to_owned(), kind.to_owned());
        let (status, reason) = (status.to_owned(), reason.map(str::to_owned));
        self.all.push((self.at, Happening::Resource { resource, kind, status, reason }));
    }

    /// From IN_PROGRESS to its end; `Err`: it failed.
    fn step(&mut self, name: &str, kind: &str, verb: &str, fail: Option<&String>) -> Result<(), ()> {
        self.resource(name, kind, &format!("{verb}_IN_PROGRESS"), None);
        self.at += self.step;
        match fail {
            Some(reason) => {
                self.resource(name, kind, &format!("{verb}_FAILED"), Some(reason));
                Err(())
            }
            None => {
                self.resource(name, kind, &format!("{verb}_COMPLETE"), None);
                Ok(())
            }
        }
    }

    fn then(&mut self, happening: Happening) {
        self.all.push((self.at, happening));
    }

    fn forget(&mut self, name: &str) {
        self.then(Happening::Forget { resource: name.to_owned() });
    }
}

impl Space {
    fn script(&self, stack: &str) -> Script {
        self.cloudformation.scripts.get(stack).cloned().unwrap_or_default()
    }

    /// Creation from `wanted`.
    pub(super) fn begin_create(&mut self, name: &str, wanted: Wanted) {
        let script = self.script(name);
        let template: Value = serde_json::from_str(&wanted.template).unwrap_or_default();
        let mut line = Timeline::new(self.now, &script);
        line.stack("CREATE_IN_PROGRESS", Some("User Initiated"));
        let resources = differ::resources(&template, &wanted.parameters);
        let mut made: Vec<(String, String)> = Vec::new();
        let mut failed = false;
        for (at, (id, resource)) in resources.iter().enumerate() {
            let kind = differ::kind(resource);
            // The next one is under way already when one fails.
            let next = resources.get(at + 1).filter(|_| script.fail.contains_key(id));
            if let Some((next, resource)) = next {
                line.resource(next, &differ::kind(resource), "CREATE_IN_PROGRESS", None);
            }
            let ended = line.step(id, &kind, "CREATE", script.fail.get(id));
            made.push((id.clone(), kind));
            if ended.is_err() {
                if let Some((next, resource)) = next {
                    let kind = differ::kind(resource);
                    line.resource(next, &kind, "CREATE_FAILED", Some("Resource creation cancelled"));
                    made.push((next.clone(), kind));
                }
                line.stack(
                    "ROLLBACK_IN_PROGRESS",
                    Some(&format!("The following resource(s) failed to create: [{id}]. Rollback requested by user.")),
                );
                failed = true;
                break;
            }
        }
        if failed {
            let stuck = delete_all(&mut line, &made, &script.rollback_fails);
            line.stack(if stuck { "ROLLBACK_FAILED" } else { "ROLLBACK_COMPLETE" }, None);
        } else {
            line.then(Happening::Commit);
            line.stack("CREATE_COMPLETE", None);
        }
        self.begin(name, line, Some(wanted));
    }

    pub(super) fn begin_update(&mut self, name: &str, wanted: Wanted, changes: &[Value]) {
        let script = self.script(name);
        let mut line = Timeline::new(self.now, &script);
        line.stack("UPDATE_IN_PROGRESS", Some("User Initiated"));
        let rows: Vec<(String, String, String)> = changes
            .iter()
            .map(|row| {
                let of = |key: &str| row["ResourceChange"][key].as_str().unwrap_or_default().to_owned();
                (of("Action"), of("LogicalResourceId"), of("ResourceType"))
            })
            .collect();
        let mut done: Vec<&(String, String, String)> = Vec::new();
        let mut failed = None;
        for row in rows.iter().filter(|(action, ..)| action != "Remove") {
            let (action, id, kind) = row;
            let verb = if action == "Add" { "CREATE" } else { "UPDATE" };
            let ended = line.step(id, kind, verb, script.fail.get(id));
            done.push(row);
            if ended.is_err() {
                failed = Some(id);
                break;
            }
        }
        match failed {
            Some(id) => {
                let reason = format!("The following resource(s) failed to update: [{id}]. ");
                line.stack("UPDATE_ROLLBACK_IN_PROGRESS", Some(&reason));
                take_back(&mut line, &done, &script);
            }
            None => {
                line.stack("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", None);
                line.then(Happening::Commit);
                for (_, id, kind) in rows.iter().filter(|(action, ..)| action == "Remove") {
                    let _ = line.step(id, kind, "DELETE", None);
                    line.forget(id);
                }
                line.stack("UPDATE_COMPLETE", None);
            }
        }
        self.begin(name, line, Some(wanted));
    }

    pub(super) fn begin_continue(&mut self, name: &str, skip: &[String]) {
        let script = self.script(name);
        let mut line = Timeline::new(self.now, &script);
        line.stack("UPDATE_ROLLBACK_IN_PROGRESS", Some("User Initiated"));
        let failed = self.in_status(name, "UPDATE_FAILED");
        let mut back = Vec::new();
        for (id, kind) in failed {
            if skip.contains(&id) {
                line.resource(&id, &kind, "UPDATE_COMPLETE", Some("Resource was skipped"));
            } else {
                back.push(("Modify".to_owned(), id, kind));
            }
        }
        take_back(&mut line, &back.iter().collect::<Vec<_>>(), &script);
        self.begin(name, line, None);
    }

    pub(super) fn begin_delete(&mut self, name: &str, retain: &[String]) {
        let script = self.script(name);
        let mut line = Timeline::new(self.now, &script);
        line.stack("DELETE_IN_PROGRESS", Some("User Initiated"));
        let Some(stack) = self.cloudformation.stacks.get(name) else { return };
        let template: Value =
            stack.template.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let keeps = |id: &String| template["Resources"][id]["DeletionPolicy"] == "Retain";
        let mut all = Vec::new();
        for (id, resource) in &stack.resources {
            if retain.contains(id) || keeps(id) {
                line.resource(id, &resource.kind, "DELETE_SKIPPED", None);
                line.forget(id);
            } else {
                all.push((id.clone(), resource.kind.clone()));
            }
        }
        let mut fails = script.delete_fails.clone();
        fails.extend(self.in_the_way(name));
        if delete_all(&mut line, &all, &fails) {
            line.stack("DELETE_FAILED", Some("The following resource(s) failed to delete."));
        } else {
            line.stack("DELETE_COMPLETE", None);
            line.then(Happening::Gone);
        }
        self.begin(name, line, None);
    }

    fn in_status(&self, name: &str, status: &str) -> Vec<(String, String)> {
        let stack = self.cloudformation.stacks.get(name);
        let resources = stack.into_iter().flat_map(|stack| &stack.resources);
        resources.filter(|(_, one)| one.status == status).map(|(id, one)| (id.clone(), one.kind.clone())).collect()
    }

    fn begin(&mut self, name: &str, line: Timeline, wanted: Option<Wanted>) {
        let Some(stack) = self.cloudformation.stacks.get_mut(name) else { return };
        stack.generation += 1;
        stack.coming = line.all.into();
        stack.wanted = wanted;
        stack.updated = Some(self.now);
        let due = stack.coming.front().map(|(at, _)| *at);
        let generation = stack.generation;
        if let Some(at) = due {
            self.at(at, Due::Stack { name: name.to_owned(), generation });
        }
    }

    /// The next thing of a stack happens.
    pub(crate) fn stack_event(&mut self, name: &str, generation: u64) {
        let now = self.now;
        let uuid = self.ids.uuid();
        let physical = self.ids.hex16();
        let script = self.script(name);
        let next = self.cloudformation.stacks.get_mut(name).filter(|stack| stack.generation == generation);
        let Some((_, happening)) = next.and_then(|stack| stack.coming.pop_front()) else { return };
        let made = self.made(name, &happening);
        let Some(stack) = self.cloudformation.stacks.get_mut(name) else { return };
        let mut gone = false;
        match happening {
            Happening::Resource { resource, kind, status, reason } => {
                let one = stack.resources.entry(resource.clone()).or_insert_with(|| Resource {
                    physical: (script.physical.get(&resource).cloned())
                        .unwrap_or_else(|| format!("{name}-{resource}-{}", &physical[..8])),
                    kind: kind.clone(),
                    status: String::new(),
                    reason: None,
                    at: now,
                });
                if kind == "AWS::ECS::TaskDefinition" && status == "UPDATE_COMPLETE" {
                    one.physical = format!("{name}-{resource}-{}", &physical[..8]);
                }
                one.physical = made.unwrap_or_else(|| one.physical.clone());
                one.status.clone_from(&status);
                one.reason.clone_from(&reason);
                one.at = now;
                let physical = one.physical.clone();
                stack.events.push(Event { id: uuid, at: now, resource, physical, kind, status, reason });
            }
            Happening::Forget { resource } => {
                stack.resources.remove(&resource);
            }
            Happening::Status { status, reason } => {
                stack.status.clone_from(&status);
                stack.reason.clone_from(&reason);
                stack.events.push(Event {
                    id: uuid,
                    at: now,
                    resource: name.to_owned(),
                    physical: stack.id.clone(),
                    kind: "AWS::CloudFormation::Stack".to_owned(),
                    status,
                    reason,
                });
            }
            Happening::Commit => {
                if let Some(wanted) = stack.wanted.take() {
                    stack.template = Some(wanted.template);
                    stack.parameters = wanted.parameters;
                    stack.tags = wanted.tags;
                }
            }
            Happening::Gone => gone = true,
        }
        let due = stack.coming.front().map(|(at, _)| *at);
        if let Some(at) = due {
            self.at(at, Due::Stack { name: name.to_owned(), generation });
        }
        if gone && let Some(stack) = self.cloudformation.stacks.remove(name) {
            self.cloudformation.gone.push(stack);
        }
    }
}

fn take_back(line: &mut Timeline, done: &[&(String, String, String)], script: &Script) {
    let mut stuck = Vec::new();
    for (action, id, kind) in done {
        if action == "Add" {
            let _ = line.step(id, kind, "DELETE", None);
            line.forget(id);
        } else if line.step(id, kind, "UPDATE", script.rollback_fails.get(id)).is_err() {
            stuck.push(id.as_str());
        }
    }
    if stuck.is_empty() {
        line.stack("UPDATE_ROLLBACK_COMPLETE", None);
    } else {
        let reason = format!("The following resource(s) failed to update: [{}]. ", stuck.join(", "));
        line.stack("UPDATE_ROLLBACK_FAILED", Some(&reason));
    }
}

/// Backwards; whether something could not be deleted.
fn delete_all(line: &mut Timeline, all: &[(String, String)], fails: &BTreeMap<String, String>) -> bool {
    let mut stuck = false;
    for (id, kind) in all.iter().rev() {
        match line.step(id, kind, "DELETE", fails.get(id)) {
            Ok(()) => line.forget(id),
            Err(()) => stuck = true,
        }
    }
    stuck
}
