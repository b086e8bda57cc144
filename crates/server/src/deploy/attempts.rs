//! The journal's executions of one environment as [`Attempt`]s, newest first.

use landfall_engine::EngineError;
use landfall_model::ids::EnvironmentId;
use landfall_planner::plan::{self, Attempt, Release, release};
use landfall_ports::journal::JournalError;
use landfall_workflow::ExecutionView;

use super::Answer;
use crate::service::Inner;

/// The furthest that is looked back.
const FURTHEST: u32 = 200;

pub(super) struct Seen {
    pub attempt: Attempt,
    pub view: ExecutionView,
    /// Who asked.
    pub by: String,
}

/// Until `enough` says so of what was read last, or there are no more.
pub(super) async fn read(
    inner: &Inner,
    id: &EnvironmentId,
    limit: u32,
    mut enough: impl FnMut(&[Attempt]) -> bool,
) -> Answer<Vec<Seen>> {
    let mut all: Vec<Seen> = Vec::new();
    let mut attempts = Vec::new();
    for summary in inner.journal.list(Some(id), false, limit.min(FURTHEST)).await? {
        if !matches!(summary.kind.as_str(), release::DEPLOY | release::ROLLBACK | release::SCALE) {
            continue;
        }
        let recalled = match inner.engine.recall(&summary.id).await {
            Ok(recalled) => recalled,
            // Pruned since it was listed.
            Err(EngineError::Journal(JournalError::NotFound(_))) => continue,
            Err(error) => return Err(error.into()),
        };
        let attempt = Attempt {
            execution: summary.id,
            plan: recalled.digest,
            parent: recalled.plan.parent.clone(),
            kind: summary.kind,
            outcome: recalled.view.outcome,
            release: Release::of(&recalled.view, &recalled.brought),
            registered: release::registered(&recalled.begun),
            touched: plan::touched(&recalled.plan, &recalled.begun),
        };
        attempts.push(attempt.clone());
        all.push(Seen { attempt, view: recalled.view, by: recalled.intent });
        if enough(&attempts) {
            break;
        }
    }
    Ok(all)
}

/// As far back as it takes to know what each of `services` runs.
pub(super) async fn recent(inner: &Inner, id: &EnvironmentId, services: &[String]) -> Answer<Vec<Seen>> {
    read(inner, id, FURTHEST, |attempts| {
        release::state(attempts).is_some_and(|state| services.iter().all(|name| state.services.contains_key(name)))
    })
    .await
}

pub(super) fn bare(seen: &[Seen]) -> Vec<Attempt> {
    seen.iter().map(|one| one.attempt.clone()).collect()
}
