//! How a stack that is stuck is led out.

use landfall_model::cloudformation::{StackEvent, StackResource, StackState};
use serde::Serialize;

use super::cause::{Cause, Causes, of_operation};
use super::phase::{Phase, phase};

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "way")]
pub enum Way {
    Absent,
    /// Nothing to do.
    Healthy {
        rolled_back: bool,
    },
    /// It was reviewed and never created: it goes, with its change sets. `foreign`: those that Landfall did not make.
    Discard {
        foreign: Vec<String>,
    },
    /// Its creation failed: it is deleted, and made anew by `apply`. `failed`: what came first, where the newest operation still tells.
    Delete {
        #[serde(skip_serializing_if = "Option::is_none")]
        failed: Option<Cause>,
        blocking: Vec<Cause>,
    },
    /// What stopped the way back is mended, or skipped.
    ContinueRollback {
        blocking: Vec<Cause>,
    },
    /// A change that failed was left as it is: the next one goes on from there.
    Apply,
    /// What could not be deleted is mended, or left where it is.
    DeleteAgain {
        blocking: Vec<Cause>,
    },
    /// Something is under way. `on`: what it waits for, the longest first.
    Wait {
        on: Vec<StackResource>,
    },
    /// Nobody here knows that status.
    Ask {
        status: String,
    },
}

impl Way {
    /// What went wrong: whoever shows it may look behind each.
    pub fn causes_mut(&mut self) -> impl Iterator<Item = &mut Cause> {
        let (failed, blocking) = match self {
            Self::Delete { failed, blocking } => (failed.as_mut(), blocking.as_mut_slice()),
            Self::ContinueRollback { blocking } | Self::DeleteAgain { blocking } => (None, blocking.as_mut_slice()),
            _ => (None, Default::default()),
        };
        failed.into_iter().chain(blocking)
    }
}

/// `newest_first`: the stack's events. `change_sets`: those that are not ours.
pub fn way(
    stack: Option<&StackState>,
    resources: &[StackResource],
    newest_first: &[StackEvent],
    change_sets: &[String],
) -> Way {
    let Some(found) = stack else { return Way::Absent };
    match phase(stack) {
        Phase::Absent => Way::Absent,
        Phase::Steady { rolled_back } => Way::Healthy { rolled_back },
        Phase::Review => {
            let foreign = change_sets.iter().filter(|name| !super::name::is_ours(name));
            Way::Discard { foreign: foreign.cloned().collect() }
        }
        Phase::NeverCame => Way::Delete {
            failed: Causes::of(of_operation(newest_first, &found.id), &found.id).root,
            blocking: blocking(resources, newest_first, &found.id, "DELETE_FAILED"),
        },
        Phase::RollbackStuck => {
            Way::ContinueRollback { blocking: blocking(resources, newest_first, &found.id, "UPDATE_FAILED") }
        }
        Phase::HalfChanged => Way::Apply,
        Phase::DeleteStuck => {
            Way::DeleteAgain { blocking: blocking(resources, newest_first, &found.id, "DELETE_FAILED") }
        }
        Phase::Busy(_) => {
            let mut on: Vec<StackResource> =
                resources.iter().filter(|one| one.status.ends_with("_IN_PROGRESS")).cloned().collect();
            on.sort_by(|a, b| (a.at, &a.resource).cmp(&(b.at, &b.resource)));
            Way::Wait { on }
        }
        Phase::Unknown => Way::Ask { status: found.status.clone() },
    }
}

/// Resources in this status; why, as the newest operation's events say.
fn blocking(resources: &[StackResource], newest_first: &[StackEvent], stack: &str, status: &str) -> Vec<Cause> {
    let causes = Causes::of(of_operation(newest_first, stack), stack);
    let told = |name: &str| {
        let mut all = causes.blocking.iter().chain(&causes.root);
        all.find(|cause| cause.resource == name).map(|cause| cause.reason.clone())
    };
    let failed = resources.iter().filter(|one| one.status == status);
    failed
        .map(|one| Cause {
            resource: one.resource.clone(),
            kind: one.kind.clone(),
            physical: one.physical.clone(),
            reason: told(&one.resource)
                .or_else(|| one.reason.as_deref().map(super::cause::told))
                .unwrap_or_else(|| "CloudFormation does not say why".to_owned()),
            behind: None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(status: &str) -> StackState {
        StackState { id: "arn:s".to_owned(), status: status.to_owned(), ..StackState::default() }
    }

    fn resource(name: &str, status: &str, at: i64) -> StackResource {
        StackResource {
            resource: name.to_owned(),
            physical: None,
            kind: "AWS::EC2::VPC".to_owned(),
            status: status.to_owned(),
            reason: Some("it has dependencies".to_owned()),
            at: landfall_model::Timestamp::from_second(at).ok(),
        }
    }

    #[test]
    fn each_state_has_its_way() {
        let resources = [
            resource("Vpc", "DELETE_FAILED", 5),
            resource("Service", "UPDATE_FAILED", 4),
            resource("Late", "CREATE_IN_PROGRESS", 9),
            resource("Early", "CREATE_IN_PROGRESS", 3),
        ];
        let of = |status: &str| way(Some(&stack(status)), &resources, &[], &["landfall-1".into(), "mine".into()]);
        assert_eq!(way(None, &[], &[], &[]), Way::Absent);
        assert_eq!(of("UPDATE_ROLLBACK_COMPLETE"), Way::Healthy { rolled_back: true });
        assert_eq!(of("REVIEW_IN_PROGRESS"), Way::Discard { foreign: vec!["mine".into()] });
        let names = |all: &[Cause]| all.iter().map(|one| one.resource.clone()).collect::<Vec<_>>();
        assert!(matches!(of("ROLLBACK_FAILED"), Way::Delete { blocking, .. } if names(&blocking) == ["Vpc"]));
        let stuck = of("UPDATE_ROLLBACK_FAILED");
        assert!(matches!(&stuck, Way::ContinueRollback { blocking } if names(blocking) == ["Service"]), "{stuck:?}");
        assert!(
            matches!(of("DELETE_FAILED"), Way::DeleteAgain { blocking } if blocking[0].reason == "it has dependencies")
        );
        assert_eq!(of("UPDATE_FAILED"), Way::Apply);
        let Way::Wait { on } = of("CREATE_IN_PROGRESS") else { panic!() };
        assert_eq!(on.iter().map(|one| one.resource.as_str()).collect::<Vec<_>>(), ["Early", "Late"]);
        assert_eq!(of("NEW"), Way::Ask { status: "NEW".into() });
    }
}
