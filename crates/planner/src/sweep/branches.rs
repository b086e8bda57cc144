//! Branches without a preview, previews without a branch, and pushes that nobody told us of.

use landfall_model::environment::{
    AbsentReason, Desired, EnvironmentKey, EnvironmentRecord, LiveExecution, Phase, SourceRef, Wanted,
};
use landfall_model::event::{Ask, PreviewTrigger};
use landfall_model::ids::{RepositoryKey, SYSTEM_ACTOR};
use landfall_model::names::short_commit;

use super::{BranchList, FindingAction, Sweep, intent_id};
use crate::plan::PlanKind;
use crate::route;

/// Intents of the command line begin with this.
const PERSON: &str = "cli:";

impl Sweep<'_> {
    pub(super) fn repository(&mut self, key: &RepositoryKey, list: Option<&BranchList>) {
        let list = match good(list) {
            Ok(list) => list,
            Err(why) => {
                // A repository without a source has nothing to list.
                let listed = self.app.repositories.get(key).is_some_and(|repository| repository.source.is_some());
                if listed {
                    self.freeze(key, format!("{why}; nothing is deleted because of it"));
                }
                return self.keep(key);
            }
        };
        let frozen = self.is_frozen(key, list.branches.len());
        let records: Vec<&EnvironmentRecord> =
            self.records.values().copied().filter(|record| record.key.repository == *key).collect();
        for record in &records {
            let SourceRef::Branch(branch) = &record.key.source else { continue };
            match (&record.desired, list.branches.get(branch)) {
                (Desired::Present(wanted), Some(tip)) => self.behind(record, wanted, branch, tip),
                (Desired::Present(_), None) => self.branch_gone(record, branch, frozen),
                (Desired::Absent { reason }, Some(tip)) => self.branch_back(record, *reason, branch, tip),
                (Desired::Absent { .. }, None) => {}
            }
        }
        for (branch, tip) in &list.branches {
            let environment = EnvironmentKey { repository: key.clone(), source: SourceRef::Branch(branch.clone()) };
            let known = records.iter().any(|record| record.key == environment);
            if let (false, Ok(why)) = (known, route::wanted(self.app, branch)) {
                let id = format!("{SYSTEM_ACTOR}:sweep/new/{key}/{branch}/{tip}").into();
                let action = self.intent(id, &environment, listed(tip));
                self.find(format!("branch `{branch}` of `{key}`"), format!("it has no preview, and {why}"), action);
            }
        }
    }

    fn freeze(&mut self, key: &RepositoryKey, why: String) {
        self.find(format!("branches of `{key}`"), why, FindingAction::Frozen);
    }

    /// A listing that is not to be trusted leaves what is known of the repository as it was.
    fn keep(&mut self, key: &RepositoryKey) {
        let before = self.before;
        let keep = |map: &std::collections::BTreeMap<RepositoryKey, usize>| map.get(key).copied();
        self.memory.sizes.extend(keep(&before.sizes).map(|size| (key.clone(), size)));
        self.memory.shrunk.extend(keep(&before.shrunk).map(|size| (key.clone(), size)));
        for record in self.records.values().filter(|record| record.key.repository == *key) {
            if before.absent.contains(&record.id) {
                self.memory.absent.insert(record.id.clone());
            }
            self.memory.tips.extend(before.tips.get(&record.id).map(|tip| (record.id.clone(), tip.clone())));
        }
    }

    /// Whether the listing shrank too much to delete by. One that is as small as the one held back before it is believed.
    fn is_frozen(&mut self, key: &RepositoryKey, size: usize) -> bool {
        let (before, held_back) = (self.before.sizes.get(key), self.before.shrunk.get(key));
        match before {
            Some(before) if shrank(*before, size) && held_back.is_none_or(|held| shrank(*held, size)) => {
                self.memory.sizes.insert(key.clone(), *before);
                self.memory.shrunk.insert(key.clone(), size);
                let why = format!(
                    "{size} branches, where {before} were before; nothing is deleted unless the next listing agrees"
                );
                self.freeze(key, why);
                true
            }
            _ => {
                self.memory.sizes.insert(key.clone(), size);
                false
            }
        }
    }

    /// Its branch is there: is it at the tip?
    fn behind(&mut self, record: &EnvironmentRecord, wanted: &Wanted, branch: &str, tip: &str) {
        let known = self.before.tips.get(&record.id);
        let Some(at) = commit_of(record, wanted) else {
            self.memory.tips.extend(known.map(|tip| (record.id.clone(), tip.clone())));
            return;
        };
        let chosen = record.cause.as_str().starts_with(PERSON) && known.is_none_or(|known| known == tip);
        if at == Some(tip) || chosen {
            self.memory.tips.insert(record.id.clone(), tip.to_owned());
            return;
        }
        self.memory.tips.extend(known.map(|tip| (record.id.clone(), tip.clone())));
        if self.is_news_to(record) {
            let why = format!(
                "`{branch}` is at {}, the preview at {}: a push was missed",
                short_commit(tip),
                at.map_or("no commit", short_commit)
            );
            let action = self.intent(intent_id(record, &format!("behind/{tip}")), &record.key, listed(tip));
            self.find(record.id.as_str(), why, action);
        }
    }

    fn branch_gone(&mut self, record: &EnvironmentRecord, branch: &str, frozen: bool) {
        let again = self.before.absent.contains(&record.id);
        if !self.is_news_to(record) || (frozen && !again) {
            return;
        }
        self.memory.absent.insert(record.id.clone());
        if frozen {
            return;
        }
        let (why, action) = if again {
            let ask = Ask::Destroy { reason: AbsentReason::BranchDeleted };
            let action = self.intent(intent_id(record, "gone"), &record.key, ask);
            (format!("branch `{branch}` does not exist any more"), action)
        } else {
            (format!("branch `{branch}` was not in the listing"), FindingAction::Watch)
        };
        self.find(record.id.as_str(), why, action);
    }

    /// Gone with its branch, which is there again.
    fn branch_back(&mut self, record: &EnvironmentRecord, reason: AbsentReason, branch: &str, tip: &str) {
        let with_branch = matches!(reason, AbsentReason::BranchDeleted | AbsentReason::Orphaned);
        let gone = record.phase == Phase::Destroyed && record.live.is_none();
        if !with_branch || !gone || !self.is_news_to(record) {
            return;
        }
        if let Ok(why) = route::wanted(self.app, branch) {
            let action = self.intent(intent_id(record, &format!("back/{tip}")), &record.key, listed(tip));
            self.find(record.id.as_str(), format!("its branch is there again, and {why}"), action);
        }
    }
}

/// A listing that proves something.
fn good(list: Option<&BranchList>) -> Result<&BranchList, &'static str> {
    match list {
        None => Err("they could not be listed"),
        Some(list) if !list.complete => Err("the listing is not complete"),
        Some(list) if list.branches.is_empty() => Err("the listing is empty"),
        Some(list) => Ok(list),
    }
}

fn shrank(before: usize, now: usize) -> bool {
    let fewer = before.saturating_sub(now);
    fewer >= 3 && fewer.saturating_mul(10) > before.saturating_mul(3)
}

fn listed(tip: &str) -> Ask {
    Ask::Preview { commit: Some(tip.to_owned()), pull_request: None, fork: false, trigger: PreviewTrigger::Listed }
}

/// The commit that the environment has or is to have. `None`: it is yet to be looked up.
fn commit_of<'a>(record: &'a EnvironmentRecord, wanted: &'a Wanted) -> Option<Option<&'a str>> {
    match (&wanted.commit, &record.live) {
        (Some(commit), _) => Some(Some(commit)),
        (None, Some(LiveExecution { kind, .. })) if kind == PlanKind::Destroy.as_str() => None,
        (None, Some(live)) => live.commit.as_deref().map(Some),
        (None, None) if record.applied_seq != record.desired_seq => None,
        (None, None) => Some(record.commit.as_deref()),
    }
}
