//! Why a change failed, out of all that CloudFormation tells: when one resource fails, every other that is under way is cancelled and
//! fails too, and what is rolled back may fail once more.

use std::collections::BTreeMap;

use landfall_model::cloudformation::StackEvent;
use serde::{Deserialize, Serialize};

/// A resource that failed, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    pub resource: String,
    pub kind: String,
    pub physical: Option<String>,
    /// As a person reads it.
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<Behind>,
}

/// What is behind a failure, where the stack's own events only say that something did not come up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Behind {
    /// Of a nested stack: what failed in it.
    Nested(Box<Cause>),
    /// Of a service of ECS.
    Service(Troubles),
}

/// Why a service does not come up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Troubles {
    /// Why its newest task stopped, or what ECS says of the service.
    pub why: String,
    /// Exit codes, reasons and last lines of that task's containers.
    pub lines: Vec<String>,
    /// What most likely helps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Cause {
    fn of(event: &StackEvent) -> Self {
        Self {
            resource: event.resource.clone(),
            kind: event.kind.clone(),
            physical: event.physical.clone(),
            reason: told(event.reason.as_deref().unwrap_or_default()),
            behind: None,
        }
    }

    /// From the resource down, a sentence for each.
    pub fn sentences(&self) -> Vec<String> {
        let mut all = vec![format!("{} ({}): {}", self.resource, self.kind, self.reason)];
        match &self.behind {
            Some(Behind::Nested(inner)) => all.extend(inner.sentences()),
            Some(Behind::Service(troubles)) => all.push(troubles.why.clone()),
            None => {}
        }
        all
    }

    /// What is known of the service that is behind it all.
    pub fn troubles(&self) -> Option<&Troubles> {
        match self.behind.as_ref()? {
            Behind::Nested(inner) => inner.troubles(),
            Behind::Service(troubles) => Some(troubles),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Causes {
    /// What failed first.
    pub root: Option<Cause>,
    /// What failed while it was rolled back, or deleted: why that did not come to an end.
    pub blocking: Vec<Cause>,
}

/// Of the newest operation: from where somebody began it. `newest_first`: as CloudFormation lists them. `stack`: its id.
pub fn of_operation<'a>(newest_first: &'a [StackEvent], stack: &str) -> &'a [StackEvent] {
    let end = newest_first.iter().position(|event| event.begins(stack)).map_or(newest_first.len(), |at| at + 1);
    &newest_first[..end]
}

impl Causes {
    /// `newest_first`: of one operation.
    pub fn of(newest_first: &[StackEvent], stack: &str) -> Self {
        let own = |event: &&StackEvent| event.is_of(stack);
        let mut causes = Self::default();
        let mut back = false;
        for event in newest_first.iter().rev() {
            if own(&event) {
                back |= event.status.contains("ROLLBACK_IN_PROGRESS") || event.status == "DELETE_IN_PROGRESS";
                continue;
            }
            let reason = event.reason.as_deref().unwrap_or_default();
            if !event.status.ends_with("_FAILED") || is_noise(reason) {
                continue;
            }
            let cause = Cause::of(event);
            if back {
                causes.blocking.retain(|known| known.resource != cause.resource);
                causes.blocking.push(cause);
            } else {
                causes.root.get_or_insert(cause);
            }
        }
        // An emulator tells of the stack only; AWS where nothing was begun.
        if causes.root.is_none() && causes.blocking.is_empty() {
            let failed = newest_first.iter().rev().find(|event| own(event) && says_why(event));
            causes.root = failed.map(|event| Cause { physical: None, ..Cause::of(event) });
        }
        causes
    }

    /// What failed first, and then what stood in the way.
    pub fn all(&self) -> impl Iterator<Item = &Cause> {
        self.root.iter().chain(&self.blocking)
    }

    /// With what was seen behind them, by logical id.
    #[must_use]
    pub fn with(mut self, seen: &Seen) -> Self {
        for cause in self.root.iter_mut().chain(&mut self.blocking) {
            cause.behind = seen.get(&cause.resource).cloned().flatten();
        }
        self
    }
}

/// Causes that were looked behind, by logical id; `None`: nothing was seen.
pub type Seen = BTreeMap<String, Option<Behind>>;

fn says_why(event: &StackEvent) -> bool {
    let failed = event.status.ends_with("_FAILED") || event.status.contains("ROLLBACK");
    failed && event.reason.as_deref().is_some_and(|reason| !is_noise(reason))
}

/// What only follows from another failure.
fn is_noise(reason: &str) -> bool {
    let reason = reason.to_ascii_lowercase();
    reason.is_empty()
        || ["creation cancelled", "update cancelled", "deletion cancelled", "user initiated"]
            .iter()
            .any(|noise| reason.contains(noise))
}

/// A reason without what only AWS's support reads: `Resource handler returned message: "…" (RequestToken: …, HandlerErrorCode: …)`, and in
/// it `(Service: Ecs, Status Code: 400, Request ID: …)`.
pub fn told(reason: &str) -> String {
    let inner = match reason.split_once("returned message: \"") {
        Some((_, rest)) => rest.rsplit_once("\" (RequestToken:").map_or(rest.trim_end_matches('"'), |(inner, _)| inner),
        None => reason,
    };
    let mut out = inner.to_owned();
    while let Some(from) = out.find("(Service: ") {
        let Some(to) = out[from..].find(')') else { break };
        out.replace_range(from..=from + to, "");
    }
    let words: Vec<&str> = out.split_whitespace().collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const STACK: &str = "arn:aws:cloudformation:eu-west-1:1:stack/shop-prod/1";

    /// Oldest first here; CloudFormation lists the newest first.
    fn events(rows: &[(&str, &str, &str)]) -> Vec<StackEvent> {
        let row = |(at, (resource, status, reason)): (usize, &(&str, &str, &str))| StackEvent {
            id: at.to_string(),
            at: landfall_model::Timestamp::from_second(i64::try_from(at).unwrap()).unwrap(),
            resource: (*resource).to_owned(),
            physical: Some(if *resource == "shop-prod" { STACK } else { "p" }.to_owned()),
            kind: "AWS::ECS::Service".to_owned(),
            status: (*status).to_owned(),
            reason: Some((*reason).to_owned()).filter(|reason| !reason.is_empty()),
        };
        rows.iter().enumerate().map(row).rev().collect()
    }

    #[test]
    fn the_first_that_failed_by_itself_is_the_root() {
        let all = events(&[
            ("shop-prod", "CREATE_IN_PROGRESS", "User Initiated"),
            ("Old", "CREATE_FAILED", "of another time"),
            ("shop-prod", "UPDATE_IN_PROGRESS", "User Initiated"),
            ("ApiService", "UPDATE_IN_PROGRESS", ""),
            ("WebService", "UPDATE_IN_PROGRESS", ""),
            ("Bucket", "CREATE_FAILED", "Resource creation cancelled"),
            (
                "WebService",
                "UPDATE_FAILED",
                "Resource handler returned message: \"Error occurred during operation 'ECS Deployment Circuit Breaker was \
                 triggered'.\" (RequestToken: 0a1b-2c, HandlerErrorCode: GeneralServiceException)",
            ),
            ("ApiService", "UPDATE_FAILED", "Resource update cancelled"),
            ("Later", "UPDATE_FAILED", "something else"),
            ("shop-prod", "UPDATE_ROLLBACK_IN_PROGRESS", "The following resource(s) failed to update: [WebService]. "),
            ("ApiService", "UPDATE_FAILED", "Cannot go back"),
            ("ApiService", "UPDATE_FAILED", "Cannot go back at all"),
            ("shop-prod", "UPDATE_ROLLBACK_FAILED", "The following resource(s) failed to update: [ApiService]. "),
        ]);
        let of = of_operation(&all, STACK);
        assert_eq!(of.len(), 11);
        let causes = Causes::of(of, STACK);
        let root = causes.root.unwrap();
        assert_eq!(
            (root.resource.as_str(), root.reason.as_str()),
            ("WebService", "Error occurred during operation 'ECS Deployment Circuit Breaker was triggered'.")
        );
        let blocking: Vec<_> = causes.blocking.iter().map(|one| (one.resource.as_str(), one.reason.as_str())).collect();
        assert_eq!(blocking, [("ApiService", "Cannot go back at all")]);
    }

    #[test]
    fn where_only_the_stack_is_told_of_its_reason_counts() {
        let all = events(&[
            ("shop-prod", "CREATE_IN_PROGRESS", "User Initiated"),
            ("shop-prod", "ROLLBACK_IN_PROGRESS", "No such role"),
            ("shop-prod", "ROLLBACK_COMPLETE", ""),
        ]);
        assert_eq!(Causes::of(&all, STACK).root.unwrap().reason, "No such role");
        let cancelled = events(&[("A", "CREATE_FAILED", "Resource creation cancelled")]);
        assert_eq!(Causes::of(&cancelled, STACK), Causes::default());
    }

    #[test]
    fn what_blocks_a_deletion_is_told_as_such() {
        let all = events(&[
            ("shop-prod", "DELETE_IN_PROGRESS", "User Initiated"),
            (
                "Vpc",
                "DELETE_FAILED",
                "The vpc 'vpc-1' has dependencies and cannot be deleted. (Service: Ec2, Status Code: 400, Request ID: 1)",
            ),
            ("shop-prod", "DELETE_FAILED", "The following resource(s) failed to delete: [Vpc]. "),
        ]);
        let causes = Causes::of(of_operation(&all, STACK), STACK);
        assert_eq!(causes.root, None);
        assert_eq!(causes.blocking[0].reason, "The vpc 'vpc-1' has dependencies and cannot be deleted.");
    }
}
