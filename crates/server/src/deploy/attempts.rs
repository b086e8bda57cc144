//! The journal's executions of one environment as [`Attempt`]s, newest first.

use std::collections::BTreeSet;

use landfall_engine::EngineError;
use landfall_model::ids::{EnvironmentId, ExecutionId};
use landfall_planner::plan::{self, Attempt, Release, release};
use landfall_ports::journal::{ExecutionSummary, JournalError};
use landfall_workflow::ExecutionView;

use super::Answer;
use crate::service::Inner;

/// Releases that are looked back on at most. What failed or scaled in between does not count, however much it is.
const FURTHEST: usize = 200;
/// Executions that are listed at first.
const LISTED: u32 = 100;

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
    mut enough: impl FnMut(&[Attempt]) -> bool,
) -> Answer<Vec<Seen>> {
    let mut all: Vec<Seen> = Vec::new();
    let mut attempts = Vec::new();
    let mut left = FURTHEST;
    let mut past = Past { inner, id, known: BTreeSet::new(), limit: LISTED / 2, ended: false };
    let mut listed = Vec::new().into_iter();
    while left > 0 {
        let Some(summary) = listed.next() else {
            listed = past.older().await?.into_iter();
            if listed.len() == 0 {
                break;
            }
            continue;
        };
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
        left -= usize::from(attempt.release.is_some());
        attempts.push(attempt.clone());
        all.push(Seen { attempt, view: recalled.view, by: recalled.intent });
        if enough(&attempts) {
            break;
        }
    }
    Ok(all)
}

/// An environment's executions, newest first. The journal lists from the newest on, so each listing is twice as long as the one before, and
/// what is known of it already is passed over; what has come since is not looked at.
struct Past<'a> {
    inner: &'a Inner,
    id: &'a EnvironmentId,
    known: BTreeSet<ExecutionId>,
    limit: u32,
    ended: bool,
}

impl Past<'_> {
    /// Empty: there are no more.
    async fn older(&mut self) -> Answer<Vec<ExecutionSummary>> {
        let mut older = Vec::new();
        while older.is_empty() && !self.ended {
            self.limit = self.limit.saturating_mul(2);
            older = self.inner.journal.list(Some(self.id), false, self.limit).await?;
            self.ended = older.len() < self.limit as usize;
            let first = older.iter().position(|one| self.known.contains(&one.id)).unwrap_or_default();
            older.drain(..first);
            older.retain(|one| self.known.insert(one.id.clone()));
        }
        Ok(older)
    }
}

/// As far back as it takes to know what each of `services` runs.
pub(super) async fn recent(inner: &Inner, id: &EnvironmentId, services: &[String]) -> Answer<Vec<Seen>> {
    read(inner, id, |attempts| {
        release::state(attempts).is_some_and(|state| services.iter().all(|name| state.services.contains_key(name)))
    })
    .await
}

pub(super) fn bare(seen: &[Seen]) -> Vec<Attempt> {
    seen.iter().map(|one| one.attempt.clone()).collect()
}
