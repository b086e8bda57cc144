//! A stack brought to what is wanted, in looks that never wait: each asks CloudFormation how far things are, and begins at most one
//! thing. A command that follows on a terminal and a stage of a pipeline that is polled for days call the same.
//!
//! Whoever is cut off between two looks loses nothing. The change set is found again by its name, which follows from what is wanted and
//! from the state of the stack; it is executed under a token that follows from the change set. Two at once are told apart by
//! CloudFormation itself: with the first change set that is executed all others of the stack are obsolete, and whoever was about to
//! execute one is told so.

mod behind;

use std::collections::BTreeMap;

use landfall_model::cloudformation::{ChangeSet, NewChangeSet, StackEvent, StackState};
use landfall_ports::stacks::{Back, Stacks};
use landfall_ports::{PortError, PortResult};
use landfall_stack::live::{
    Before, Causes, Ending, Phase, Plan, Seen, Wanted, before, change_set_name, ending, is_ours, of_operation, phase,
    plan, plan_name, token,
};
use serde::{Deserialize, Serialize};

pub use self::behind::{behind, look_behind};

/// What a change set is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It is shown and goes; it stands in the way of none that is to be executed.
    Look,
    Apply,
}

/// How far a change set is.
#[derive(Debug, Clone, PartialEq)]
pub enum Prepared {
    /// Look again.
    Pending,
    /// The stack is as it is wanted.
    Nothing,
    Ready(Box<Ready>),
    /// No change set can be made now: something is under way, the stack is stuck, or it is not ours.
    Held(Before),
    /// CloudFormation refuses what is wanted, and why.
    Refused(String),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Ready {
    pub set: ChangeSet,
    pub plan: Plan,
    /// The stack is made by it.
    pub create: bool,
    /// As it was when the change set was made.
    pub stack: Option<StackState>,
}

/// Makes the change set, or finds it again.
///
/// # Errors
/// AWS's.
pub async fn prepare(stacks: &dyn Stacks, wanted: &Wanted, purpose: Purpose) -> PortResult<Prepared> {
    let stack = stacks.describe(&wanted.stack).await?;
    prepare_at(stacks, wanted, purpose, stack).await
}

/// As `prepare`, of a stack that was just looked at.
///
/// # Errors
/// AWS's.
pub async fn prepare_at(
    stacks: &dyn Stacks,
    wanted: &Wanted,
    purpose: Purpose,
    stack: Option<StackState>,
) -> PortResult<Prepared> {
    let create = match before(stack.as_ref(), &wanted.environment) {
        Before::Create => true,
        Before::Update => false,
        held => return Ok(Prepared::Held(held)),
    };
    // Executing ours would take theirs away, with whatever they were to make.
    if phase(stack.as_ref()) == Phase::Review
        && !stacks.change_sets(&wanted.stack).await?.iter().all(|set| is_ours(set))
    {
        return Ok(Prepared::Held(Before::Stuck(Phase::Review)));
    }
    let at = state_of(stack.as_ref());
    let name = match purpose {
        Purpose::Look => plan_name(wanted, &at),
        Purpose::Apply => change_set_name(wanted, &at),
    };
    let Some(set) = stacks.change_set(&wanted.stack, &name).await? else {
        let new = NewChangeSet {
            stack: wanted.stack.clone(),
            name,
            create,
            template: wanted.template.clone(),
            upload: wanted.upload.clone(),
            parameters: wanted.parameters.clone(),
            tags: wanted.tags(),
            role: wanted.role.clone(),
        };
        return match stacks.create_change_set(&new).await {
            // Somebody has made it since we looked, or changes the stack: the next look tells which.
            Ok(()) | Err(PortError::Conflict(_)) => Ok(Prepared::Pending),
            // CloudFormation says so of the change set that it made; emulators at once.
            Err(PortError::Invalid(reason)) if changes_nothing(&reason) => Ok(Prepared::Nothing),
            Err(error) => Err(error),
        };
    };
    match (set.status.as_str(), set.execution.as_str()) {
        ("CREATE_COMPLETE", "AVAILABLE") => {
            let plan = plan(&set.changes);
            Ok(Prepared::Ready(Box::new(Ready { set, plan, create, stack })))
        }
        ("CREATE_COMPLETE", "OBSOLETE" | "EXECUTE_FAILED") => {
            stacks.delete_change_set(&wanted.stack, &name).await?;
            Ok(Prepared::Pending)
        }
        ("FAILED", _) => {
            discard(stacks, &wanted.stack, &name).await?;
            let reason = set.reason.unwrap_or_default();
            Ok(if changes_nothing(&reason) { Prepared::Nothing } else { Prepared::Refused(reason) })
        }
        _ => Ok(Prepared::Pending),
    }
}

/// Takes a change set away, and the empty stack that was made for it, where nothing else waits in that.
///
/// # Errors
/// AWS's.
pub async fn discard(stacks: &dyn Stacks, stack: &str, change_set: &str) -> PortResult<()> {
    stacks.delete_change_set(stack, change_set).await?;
    let found = stacks.describe(stack).await?;
    if phase(found.as_ref()) == Phase::Review
        && let Some(found) = found
        && stacks.change_sets(stack).await?.iter().all(|other| other == change_set)
    {
        match stacks.delete(&found.id, &[], None, &token("discard", &[&found.id])).await {
            // Who may apply may not always delete: an empty stack is left, which the next change set takes.
            Err(PortError::Denied(_)) => {}
            told => return told,
        }
    }
    Ok(())
}

/// What CloudFormation says of a change set that would change nothing, in its two ways.
fn changes_nothing(reason: &str) -> bool {
    reason.contains("didn't contain changes") || reason.contains("No updates are to be performed")
}

/// What tells a stack's state from its others. Before it exists it has one only, reviewed or not.
pub fn state_of(stack: Option<&StackState>) -> String {
    match (phase(stack), stack) {
        (Phase::Absent | Phase::Review, _) | (_, None) => "new".to_owned(),
        (_, Some(stack)) => {
            let at = stack.updated.or(stack.created).map(|at| at.to_string()).unwrap_or_default();
            format!("{} {at} {}", stack.id, stack.status)
        }
    }
}

/// A change that was begun, for those who look how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// The stack's ARN.
    pub stack: String,
    /// The newest event before it.
    pub since: Option<String>,
}

/// Where a change begins that is about to be executed: its events are those after this.
///
/// # Errors
/// AWS's.
pub async fn mark(stacks: &dyn Stacks, stack: &str) -> PortResult<Begun> {
    let found = stacks.describe(stack).await?;
    let found = found.ok_or_else(|| PortError::NotFound(format!("there is no stack {stack}")))?;
    let newest = stacks.events(&found.id, Back::Newest).await?.into_iter().next();
    Ok(Begun { stack: found.id, since: newest.map(|event| event.id) })
}

/// Executes what was shown. A second time it does nothing.
///
/// # Errors
/// `Conflict`: the stack was changed since, and the change set went with it.
pub async fn execute(stacks: &dyn Stacks, begun: &Begun, change_set: &str) -> PortResult<()> {
    let told = stacks.execute(&begun.stack, change_set, &token("apply", &[change_set])).await;
    match told {
        Err(error @ (PortError::NotFound(_) | PortError::Conflict(_))) => {
            // Ours, if an answer was lost: then it is the change set that was executed. After another's update it is there too, but obsolete.
            let set = stacks.change_set(&begun.stack, change_set).await?;
            if set.is_some_and(|set| set.execution.starts_with("EXECUTE_")) {
                return Ok(());
            }
            Err(PortError::Conflict(format!(
                "the change set is not there any more, or not to be executed: somebody else has changed the stack since ({error})"
            )))
        }
        told => told,
    }
}

/// How far a change is.
#[derive(Debug, Clone, PartialEq)]
pub struct Followed {
    /// Newest first, since the mark.
    pub events: Vec<StackEvent>,
    /// `None`: under way.
    pub ending: Option<Ending>,
}

impl Followed {
    /// Why it failed; `seen`: what was seen behind it.
    pub fn causes(&self, stack: &str, seen: &Seen) -> Causes {
        Causes::of(&self.events, stack).with(seen)
    }

    /// Resources that have begun and not ended, by name.
    pub fn busy(&self, stack: &str) -> Vec<&str> {
        let mut last: BTreeMap<&str, &str> = BTreeMap::new();
        for event in self.events.iter().filter(|event| !event.is_of(stack)) {
            last.entry(&event.resource).or_insert(&event.status);
        }
        last.into_iter().filter(|(_, status)| status.ends_with("_IN_PROGRESS")).map(|(name, _)| name).collect()
    }
}

/// Its end is read from the stack's own events: they are those after the mark, so that what the stack was before cannot be taken for
/// it.
///
/// # Errors
/// AWS's.
pub async fn follow(stacks: &dyn Stacks, begun: &Begun) -> PortResult<Followed> {
    let events = stacks.events(&begun.stack, begun.since.as_deref().map_or(Back::All, Back::After)).await?;
    let own = events.iter().find(|event| event.is_of(&begun.stack));
    let mut end = own.and_then(|event| ending(&event.status));
    if events.is_empty() && phase(stacks.describe(&begun.stack).await?.as_ref()) == Phase::Absent {
        end = Some(Ending::Gone);
    }
    Ok(Followed { events, ending: end })
}

/// Finds what is under way, whoever began it. `None`: the stack is gone.
///
/// # Errors
/// AWS's.
pub async fn under_way(stacks: &dyn Stacks, stack: &str) -> PortResult<Option<Begun>> {
    let Some(found) = stacks.describe(stack).await? else { return Ok(None) };
    let events = stacks.events(&found.id, Back::Operation).await?;
    let of = of_operation(&events, &found.id).len();
    let since = events.get(of).map(|event| event.id.clone());
    Ok(Some(Begun { stack: found.id, since }))
}
