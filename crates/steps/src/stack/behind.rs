//! What is behind a stack's failure: of a service its stopped tasks, of a nested stack what failed in that.

use landfall_deploy::fix::{Stopped, likely_fix};
use landfall_model::cloudformation::StackEvent;
use landfall_ports::orchestrator::TaskDescription;
use landfall_ports::stacks::{Back, ServiceFailures, Stacks};
use landfall_stack::live::{Behind, Cause, Causes, Seen, Troubles, of_operation};

use super::{Begun, Followed};
use crate::deployment::{container_lines, reason};

/// Stacks within stacks that are looked into.
const DEEPEST: u32 = 8;

/// Looks behind each cause when it is first told: what is rolled back is soon gone, and its tasks with it. Where nothing was seen then,
/// the end is another chance. Whatever goes wrong leaves it out: it explains a failure, and is never the reason for another.
pub async fn look_behind(stacks: &dyn Stacks, begun: &Begun, look: &Followed, seen: &mut Seen) {
    for cause in Causes::of(&look.events, &begun.stack).all() {
        let again = look.ending.is_some();
        if seen.get(&cause.resource).is_none_or(|found| found.is_none() && again) {
            let found = behind(stacks, cause, &look.events).await;
            seen.insert(cause.resource.clone(), found);
        }
    }
}

/// `newest_first`: of the operation that the cause is of.
pub async fn behind(stacks: &dyn Stacks, cause: &Cause, newest_first: &[StackEvent]) -> Option<Behind> {
    let mut nested = Vec::new();
    let (mut cause, mut events) = (cause.clone(), newest_first.to_vec());
    let found = loop {
        let physical = cause.physical.clone()?;
        match cause.kind.as_str() {
            "AWS::ECS::Service" => {
                let told = stacks.service_failures(&physical, events.last()?.at).await;
                break told.ok().and_then(|told| troubles(&told)).map(Behind::Service);
            }
            "AWS::CloudFormation::Stack" if nested.len() < DEEPEST as usize => {
                let Ok(told) = stacks.events(&physical, Back::Operation).await else { break None };
                let told = of_operation(&told, &physical).to_vec();
                let Some(inner) = Causes::of(&told, &physical).all().next().cloned() else { break None };
                nested.push(inner.clone());
                if inner.physical.is_none() {
                    break None;
                }
                (cause, events) = (inner, told);
            }
            _ => break None,
        }
    };
    nested.into_iter().rev().fold(found, |behind, inner| Some(Behind::Nested(Box::new(Cause { behind, ..inner }))))
}

/// `None`: ECS says nothing of it.
fn troubles(told: &ServiceFailures) -> Option<Troubles> {
    match told.tasks.first() {
        Some(task) => {
            let fix = told.events.iter().find_map(|event| of_event(&event.message));
            let fix = of_task(task).or(fix).map(str::to_owned);
            Some(Troubles { why: reason(task), lines: container_lines(task), fix })
        }
        None => {
            let worst = told.events.iter().find(|event| of_event(&event.message).is_some());
            let bad = |message: &str| BAD.iter().any(|word| message.contains(word));
            let event = worst.or_else(|| told.events.iter().find(|event| bad(&event.message)))?;
            let fix = of_event(&event.message).map(str::to_owned);
            Some(Troubles { why: event.message.clone(), lines: Vec::new(), fix })
        }
    }
}

/// What ECS's events say of a service that is not well.
const BAD: [&str; 4] = ["unable to", "unhealthy", "failed", "error"];

fn of_event(message: &str) -> Option<&'static str> {
    likely_fix(&Stopped { reason: Some(message), ..Stopped::default() })
}

fn of_task(task: &TaskDescription) -> Option<&'static str> {
    let culprit =
        task.containers.iter().find(|one| one.reason.is_some() || one.exit_code.is_some_and(|code| code != 0));
    likely_fix(&Stopped {
        stop_code: task.stop_code.as_deref(),
        reason: task.stopped_reason.as_deref(),
        exit_code: culprit.and_then(|one| one.exit_code),
        container_reason: culprit.and_then(|one| one.reason.as_deref()),
        tail: culprit.map(|one| one.tail.as_slice()).unwrap_or_default(),
    })
}
