//! Which finished runs may be forgotten. Never one that is alive, never the newest of a pipeline (numbers go on from them, and older
//! runs that wait are superseded by them), and never one that says what an environment runs: the last that passed it, and whichever
//! brought what is live there, however it ended.

use std::collections::{BTreeMap, BTreeSet};

use landfall_model::Timestamp;
use landfall_model::ids::RunId;

use crate::run::Run;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Since the run has finished.
    pub days: u32,
    /// Of each pipeline, however old.
    pub newest: usize,
}

/// What of a run is needed to judge it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remains {
    pub id: RunId,
    pub pipeline: String,
    pub seq: u64,
    /// `None`: it is alive.
    pub finished_at: Option<Timestamp>,
    /// Environments whose stages it has passed, and when.
    pub passed: Vec<(String, Timestamp)>,
}

impl Remains {
    pub fn of(run: &Run) -> Self {
        let stages = run.state.pipeline.stages.iter().zip(&run.state.stages);
        let passed = stages.filter(|(_, record)| record.passed);
        let finished_at = run.state.finished_at.filter(|_| run.state.outcome.is_some() && !run.state.unknown);
        Self {
            id: run.id.clone(),
            pipeline: run.state.pipeline.name.clone(),
            seq: run.seq,
            finished_at,
            passed: passed.filter_map(|(own, record)| Some((own.environment.clone(), record.finished_at?))).collect(),
        }
    }
}

/// `all`: every run that there is. `live`: those that brought what environments run now.
pub fn gone(all: &[Remains], live: &BTreeSet<RunId>, now: Timestamp, retention: Retention) -> Vec<RunId> {
    let mut newest: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    let mut alive: BTreeMap<&str, u64> = BTreeMap::new();
    let mut runs: BTreeMap<&str, (Timestamp, &RunId)> = BTreeMap::new();
    for one in all {
        newest.entry(&one.pipeline).or_default().insert(one.seq);
        if one.finished_at.is_none() {
            let oldest = alive.entry(&one.pipeline).or_insert(one.seq);
            *oldest = one.seq.min(*oldest);
        }
        for (environment, at) in &one.passed {
            let last = runs.entry(environment).or_insert((*at, &one.id));
            if *at >= last.0 {
                *last = (*at, &one.id);
            }
        }
    }
    let stays: BTreeSet<&RunId> = runs.into_values().map(|(_, id)| id).collect();
    let lives = jiff::SignedDuration::from_hours(24 * i64::from(retention.days));
    let before = now.checked_sub(lives).unwrap_or(Timestamp::MIN);
    let may_go = |one: &&Remains| {
        let behind = newest[one.pipeline.as_str()].range(one.seq + 1..).count();
        one.finished_at.is_some_and(|at| at < before)
            && behind >= retention.newest.max(1)
            && alive.get(one.pipeline.as_str()).is_none_or(|oldest| one.seq < *oldest)
            && !stays.contains(&one.id)
            && !live.contains(&one.id)
    };
    all.iter().filter(may_go).map(|one| one.id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3_600;

    fn at(day: i64) -> Timestamp {
        Timestamp::from_second(day * DAY).unwrap()
    }

    /// `#seq`, finished on that day.
    fn run(pipeline: &str, seq: u64, finished: Option<i64>, passed: &[&str]) -> Remains {
        let environment = |name: &&str| ((*name).to_owned(), at(finished.unwrap_or(0)));
        Remains {
            id: RunId::new(format!("{pipeline}-{seq}")),
            pipeline: pipeline.to_owned(),
            seq,
            finished_at: finished.map(at),
            passed: passed.iter().map(environment).collect(),
        }
    }

    fn names(all: &[Remains], now: i64, days: u32, newest: usize) -> Vec<String> {
        names_but(&[], all, now, days, newest)
    }

    fn names_but(live: &[&str], all: &[Remains], now: i64, days: u32, newest: usize) -> Vec<String> {
        let live = live.iter().map(|id| RunId::new(*id)).collect();
        gone(all, &live, at(now), Retention { days, newest }).into_iter().map(|id| id.0).collect()
    }

    #[test]
    fn old_ones_go_but_for_the_newest() {
        let all: Vec<Remains> = (1..=6).map(|seq| run("main", seq, Some(i64::try_from(seq).unwrap()), &[])).collect();
        assert_eq!(names(&all, 100, 10, 2), ["main-1", "main-2", "main-3", "main-4"]);
        assert_eq!(names(&all, 100, 98, 2), ["main-1"], "young ones stay");
        assert_eq!(
            names(&all, 100, 10, 0).len(),
            5,
            "the last of a pipeline always stays: its number is not given again"
        );
        let other = [all.clone(), vec![run("other", 1, Some(1), &[])]].concat();
        assert_eq!(names(&other, 100, 10, 3), ["main-1", "main-2", "main-3"]);
    }

    #[test]
    fn what_an_environment_runs_is_remembered() {
        let all = [
            run("main", 1, Some(1), &["dev", "staging", "prod"]),
            run("main", 2, Some(2), &["dev", "staging"]),
            run("main", 3, Some(3), &["dev"]),
            run("hotfix", 1, Some(4), &["staging"]),
            run("main", 4, Some(5), &["dev"]),
            run("main", 5, Some(6), &[]),
        ];
        // prod has what #1 brought; staging what the hotfix did.
        assert_eq!(names(&all, 100, 10, 1), ["main-2", "main-3"]);
        // What #3 brought into staging is live there, although it came to a bad end.
        assert_eq!(names_but(&["main-3"], &all, 100, 10, 1), ["main-2"]);
    }

    #[test]
    fn nothing_alive_goes_nor_what_is_newer_than_that() {
        let all = [
            run("main", 1, Some(1), &[]),
            run("main", 2, None, &[]),
            run("main", 3, Some(3), &[]),
            run("main", 4, Some(4), &[]),
        ];
        assert_eq!(names(&all, 100, 10, 1), ["main-1"]);
    }
}
