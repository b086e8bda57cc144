//! What a stack's status means
//! (<https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html#cfn-console-view-stack-data-resources-status-codes>).

use landfall_model::cloudformation::StackState;
use landfall_model::inventory::TAG_ENVIRONMENT;
use serde::Serialize;

/// Where a stack is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Absent,
    /// A change set waits to create it; it has nothing yet.
    Review,
    Busy(Work),
    /// It can be changed. `rolled_back`: the last change was taken back.
    Steady {
        rolled_back: bool,
    },
    /// Its creation failed: it can only be deleted.
    NeverCame,
    /// A change failed and so did taking it back.
    RollbackStuck,
    /// A change failed and was left as it is.
    HalfChanged,
    DeleteStuck,
    /// A status that CloudFormation did not have when this was written.
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    Create,
    Update,
    /// What a change has replaced is being removed.
    CleanUp,
    Rollback,
    Delete,
}

impl Work {
    /// "the stack is being …"
    pub fn said(self) -> &'static str {
        match self {
            Self::Create => "created",
            Self::Update => "changed",
            Self::CleanUp => "cleaned of what was replaced",
            Self::Rollback => "rolled back",
            Self::Delete => "deleted",
        }
    }
}

pub fn phase(stack: Option<&StackState>) -> Phase {
    stack.map_or(Phase::Absent, |stack| of_status(&stack.status))
}

fn of_status(status: &str) -> Phase {
    match status {
        "DELETE_COMPLETE" => Phase::Absent,
        "REVIEW_IN_PROGRESS" => Phase::Review,
        "CREATE_IN_PROGRESS" | "IMPORT_IN_PROGRESS" => Phase::Busy(Work::Create),
        "UPDATE_IN_PROGRESS" => Phase::Busy(Work::Update),
        "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS" => Phase::Busy(Work::CleanUp),
        "DELETE_IN_PROGRESS" => Phase::Busy(Work::Delete),
        status if status.ends_with("ROLLBACK_IN_PROGRESS") => Phase::Busy(Work::Rollback),
        "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS" => Phase::Busy(Work::Rollback),
        "CREATE_COMPLETE" | "UPDATE_COMPLETE" | "IMPORT_COMPLETE" => Phase::Steady { rolled_back: false },
        "UPDATE_ROLLBACK_COMPLETE" | "IMPORT_ROLLBACK_COMPLETE" => Phase::Steady { rolled_back: true },
        "ROLLBACK_COMPLETE" | "ROLLBACK_FAILED" | "CREATE_FAILED" => Phase::NeverCame,
        "UPDATE_ROLLBACK_FAILED" | "IMPORT_ROLLBACK_FAILED" => Phase::RollbackStuck,
        "UPDATE_FAILED" => Phase::HalfChanged,
        "DELETE_FAILED" => Phase::DeleteStuck,
        _ => Phase::Unknown,
    }
}

/// What may be done with a stack before it is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Before {
    Create,
    Update,
    /// Something is under way: it is watched to its end first.
    Watch(Work),
    /// Only `landfall stack recover` leads out of it.
    Stuck(Phase),
    /// It is not this environment's. The value of its tag, if it has one.
    Foreign(Option<String>),
}

impl Before {
    /// Why nothing is begun with the stack, or what may be. `environment`: what its tag should say.
    pub fn said(&self, stack: &str, environment: &str) -> String {
        let why = match self {
            Self::Foreign(Some(owner)) => return format!("stack {stack} belongs to {owner}: it is not touched"),
            Self::Foreign(None) => {
                return format!("stack {stack} was not made by Landfall for {environment}: it is not touched");
            }
            Self::Watch(work) => return format!("stack {stack} is being {}", work.said()),
            Self::Create => "can be made",
            Self::Update => "can be changed",
            Self::Stuck(Phase::Unknown) => "is in a state that this version does not know",
            Self::Stuck(Phase::NeverCame) => "could not be made, and cannot be changed",
            Self::Stuck(Phase::RollbackStuck) => "is stuck: a change failed, and so did its rollback",
            Self::Stuck(Phase::DeleteStuck) => "could not be deleted, and cannot be changed",
            Self::Stuck(Phase::Review) => "is not made yet, and change sets that Landfall did not make wait in it",
            Self::Stuck(_) => "cannot be changed",
        };
        format!("stack {stack} {why}")
    }

    /// What to do about it. `name`: the environment's in the manifest.
    pub fn remedy(&self, name: &str, environment: &str) -> String {
        match self {
            Self::Foreign(_) => format!(
                "if it is to be {name}'s from now on, say so in CloudFormation: give the stack the tag `{TAG_ENVIRONMENT}` = `{environment}`"
            ),
            Self::Stuck(Phase::Unknown) => format!("`landfall stack show {name}` shows it"),
            Self::Stuck(_) => format!("`landfall stack recover {name}` says why, and leads out of it"),
            Self::Watch(_) => format!("`landfall stack apply {name}` follows it to its end first"),
            Self::Create | Self::Update => format!("`landfall stack apply {name}` does it"),
        }
    }
}

/// `environment`: what the tag of a stack of ours says. A stack under review has nothing, and so nobody's.
pub fn before(stack: Option<&StackState>, environment: &str) -> Before {
    let at = phase(stack);
    if let Some(stack) = stack
        && !matches!(at, Phase::Absent | Phase::Review)
    {
        let owner = stack.tags.get(TAG_ENVIRONMENT);
        if owner.map(String::as_str) != Some(environment) {
            return Before::Foreign(owner.cloned());
        }
    }
    match at {
        Phase::Absent | Phase::Review => Before::Create,
        Phase::Busy(work) => Before::Watch(work),
        Phase::Steady { .. } | Phase::HalfChanged => Before::Update,
        Phase::NeverCame | Phase::RollbackStuck | Phase::DeleteStuck | Phase::Unknown => Before::Stuck(at),
    }
}

/// How a change ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    Done,
    RolledBack,
    /// What was there before is not whole either.
    RollbackFailed,
    /// Left as it was when it failed.
    Failed,
    Gone,
}

/// `None`: it is still under way.
pub fn ending(status: &str) -> Option<Ending> {
    match of_status(status) {
        Phase::Busy(_) | Phase::Review => None,
        Phase::Absent => Some(Ending::Gone),
        Phase::Steady { rolled_back: false } => Some(Ending::Done),
        Phase::Steady { rolled_back: true } => Some(Ending::RolledBack),
        Phase::NeverCame if status == "ROLLBACK_COMPLETE" => Some(Ending::RolledBack),
        Phase::NeverCame if status == "ROLLBACK_FAILED" => Some(Ending::RollbackFailed),
        Phase::RollbackStuck => Some(Ending::RollbackFailed),
        Phase::NeverCame | Phase::HalfChanged | Phase::DeleteStuck | Phase::Unknown => Some(Ending::Failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(status: &str, owner: Option<&str>) -> StackState {
        let tags = owner.map(|owner| (TAG_ENVIRONMENT.to_owned(), owner.to_owned()));
        StackState { status: status.to_owned(), tags: tags.into_iter().collect(), ..StackState::default() }
    }

    /// Every status of CloudFormation's, and what is done about it.
    #[test]
    fn every_status_leads_somewhere() {
        let rows = [
            ("CREATE_IN_PROGRESS", Before::Watch(Work::Create), None),
            ("CREATE_FAILED", Before::Stuck(Phase::NeverCame), Some(Ending::Failed)),
            ("CREATE_COMPLETE", Before::Update, Some(Ending::Done)),
            ("ROLLBACK_IN_PROGRESS", Before::Watch(Work::Rollback), None),
            ("ROLLBACK_FAILED", Before::Stuck(Phase::NeverCame), Some(Ending::RollbackFailed)),
            ("ROLLBACK_COMPLETE", Before::Stuck(Phase::NeverCame), Some(Ending::RolledBack)),
            ("DELETE_IN_PROGRESS", Before::Watch(Work::Delete), None),
            ("DELETE_FAILED", Before::Stuck(Phase::DeleteStuck), Some(Ending::Failed)),
            ("DELETE_COMPLETE", Before::Create, Some(Ending::Gone)),
            ("UPDATE_IN_PROGRESS", Before::Watch(Work::Update), None),
            ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", Before::Watch(Work::CleanUp), None),
            ("UPDATE_COMPLETE", Before::Update, Some(Ending::Done)),
            ("UPDATE_FAILED", Before::Update, Some(Ending::Failed)),
            ("UPDATE_ROLLBACK_IN_PROGRESS", Before::Watch(Work::Rollback), None),
            ("UPDATE_ROLLBACK_FAILED", Before::Stuck(Phase::RollbackStuck), Some(Ending::RollbackFailed)),
            ("UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS", Before::Watch(Work::Rollback), None),
            ("UPDATE_ROLLBACK_COMPLETE", Before::Update, Some(Ending::RolledBack)),
            ("REVIEW_IN_PROGRESS", Before::Create, None),
            ("IMPORT_IN_PROGRESS", Before::Watch(Work::Create), None),
            ("IMPORT_COMPLETE", Before::Update, Some(Ending::Done)),
            ("IMPORT_ROLLBACK_IN_PROGRESS", Before::Watch(Work::Rollback), None),
            ("IMPORT_ROLLBACK_FAILED", Before::Stuck(Phase::RollbackStuck), Some(Ending::RollbackFailed)),
            ("IMPORT_ROLLBACK_COMPLETE", Before::Update, Some(Ending::RolledBack)),
            ("SOMETHING_NEW", Before::Stuck(Phase::Unknown), Some(Ending::Failed)),
        ];
        for (status, wanted, end) in rows {
            let own = stack(status, Some("shop@prod"));
            assert_eq!(before(Some(&own), "shop@prod"), wanted, "{status}");
            assert_eq!(ending(status), end, "{status}");
        }
        assert_eq!(before(None, "shop@prod"), Before::Create);
    }

    #[test]
    fn a_stack_without_our_tag_is_never_touched() {
        let other = Before::Foreign(Some("shop@dev".to_owned()));
        for status in ["CREATE_COMPLETE", "UPDATE_IN_PROGRESS", "ROLLBACK_COMPLETE", "DELETE_FAILED", "SOMETHING_NEW"] {
            assert_eq!(before(Some(&stack(status, None)), "shop@prod"), Before::Foreign(None), "{status}");
            assert_eq!(before(Some(&stack(status, Some("shop@dev"))), "shop@prod"), other, "{status}");
        }
    }
}
