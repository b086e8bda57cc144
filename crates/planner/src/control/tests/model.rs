//! A server and an engine in a few lines: intents are applied, decisions are done, executions end as the test says. What must
//! hold at every moment is asserted here; what must hold at rest, in `at_rest`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use landfall_model::Timestamp;
use landfall_model::app::App;
use landfall_model::environment::{AbsentReason, Desired, EnvironmentKey, EnvironmentRecord, Phase, SourceRef};
use landfall_model::event::{Ask, Intent, PreviewTrigger};
use landfall_model::ids::{EnvironmentId, ExecutionId, RepositoryKey};
use landfall_model::notice::NoticeKind;
use landfall_workflow::Outcome;

use crate::control::*;
use crate::{environment_names, fixture};

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

pub(super) fn branch(name: &str) -> EnvironmentKey {
    EnvironmentKey { repository: RepositoryKey::new("my-project"), source: SourceRef::Branch(name.to_owned()) }
}

pub(super) fn fork(number: u64) -> EnvironmentKey {
    EnvironmentKey { repository: RepositoryKey::new("my-project"), source: SourceRef::ForkPullRequest(number) }
}

pub(super) fn ask(commit: Option<&str>, trigger: PreviewTrigger) -> Ask {
    Ask::Preview { commit: commit.map(str::to_owned), pull_request: None, fork: false, trigger }
}

pub(super) fn gone(reason: AbsentReason) -> Ask {
    Ask::Destroy { reason }
}

#[derive(Debug, Clone)]
struct Run {
    environment: EnvironmentId,
    kind: PlanKind,
    generation: u64,
    seq: u64,
    commit: Option<String>,
    superseding: bool,
    finished: Option<Outcome>,
    in_journal: bool,
}

/// What exists of one environment. `commit: None`: bits and pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) generation: u64,
    pub(super) commit: Option<String>,
    /// Whether its tasks run; `None`: some, perhaps.
    pub(super) awake: Option<bool>,
}

#[derive(Clone)]
pub(super) struct Model {
    pub(super) app: App,
    pub(super) cap: Option<u32>,
    pub(super) ttl: Option<u64>,
    pub(super) now: Timestamp,
    pub(super) records: BTreeMap<EnvironmentId, EnvironmentRecord>,
    pub(super) world: BTreeMap<EnvironmentId, Made>,
    /// Tips of branches, for requests without a commit.
    pub(super) tips: BTreeMap<EnvironmentKey, String>,
    /// What the test made fail: environment, generation and `desired_seq`.
    pub(super) failed: BTreeSet<(EnvironmentId, u64, u64)>,
    /// Environments in the order of their creates.
    pub(super) created: Vec<EnvironmentId>,
    pub(super) told: Vec<(String, NoticeKind)>,
    runs: BTreeMap<ExecutionId, Run>,
    /// The next execution that starts is not journalled.
    pub(super) lose_next: bool,
    intents: u64,
    /// Previews answer nowhere.
    pub(super) workers_only: bool,
    /// Failures come from a choice gone stale.
    pub(super) stale: bool,
    /// What is superseded has served.
    pub(super) serves: bool,
    /// Seconds, and when the last request came.
    pub(super) idle: Option<(u64, Timestamp)>,
}

impl Model {
    pub(super) fn new() -> Self {
        Model {
            app: fixture::app(),
            cap: None,
            ttl: None,
            now: at(0),
            records: BTreeMap::new(),
            world: BTreeMap::new(),
            tips: BTreeMap::new(),
            failed: BTreeSet::new(),
            created: Vec::new(),
            told: Vec::new(),
            runs: BTreeMap::new(),
            lose_next: false,
            intents: 0,
            workers_only: false,
            stale: false,
            serves: false,
            idle: None,
        }
    }

    pub(super) fn pass(&mut self, seconds: i64) {
        self.now = self.now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
    }

    pub(super) fn get(&self, key: &EnvironmentKey) -> Option<&EnvironmentRecord> {
        self.records.values().find(|record| record.key == *key)
    }

    pub(super) fn record(&self, key: &EnvironmentKey) -> &EnvironmentRecord {
        self.get(key).unwrap()
    }

    pub(super) fn ask(&mut self, key: &EnvironmentKey, ask: Ask, event_at: Option<Timestamp>) -> Verdict {
        self.ask_as("github:octocat", key, ask, event_at)
    }

    pub(super) fn ask_as(
        &mut self,
        actor: &str,
        key: &EnvironmentKey,
        ask: Ask,
        event_at: Option<Timestamp>,
    ) -> Verdict {
        self.intents += 1;
        let id = format!("d-{}", self.intents).into();
        self.intent(&Intent { id, environment: key.clone(), ask, actor: actor.to_owned(), event_at })
    }

    /// Somebody asks for every preview: what sleeps is asked to wake.
    pub(super) fn request(&mut self) {
        self.idle = self.idle.map(|(after, _)| (after, self.now));
        for intent in self.records.values().filter_map(wake_intent).collect::<Vec<_>>() {
            let verdict = self.intent(&intent);
            assert!(matches!(verdict, Verdict::Applied { .. }), "{verdict:?}");
        }
    }

    fn intent(&mut self, intent: &Intent) -> Verdict {
        let names = environment_names(&self.app, &intent.environment);
        let existing = self.get(&intent.environment).or_else(|| self.records.get(&names.base.into()));
        let applied = apply(&self.app, intent, existing, self.now);
        if let Some(record) = applied.record {
            self.write(Settled { record, notices: applied.notices });
        } else {
            assert!(applied.notices.is_empty());
        }
        applied.verdict
    }

    fn write(&mut self, settled: Settled) {
        let record = settled.record;
        if let Some(before) = self.records.get(&record.id) {
            assert!(record.generation >= before.generation && record.desired_seq >= before.desired_seq);
            assert!(record.applied_seq >= before.applied_seq);
        }
        assert!(record.applied_seq <= record.desired_seq);
        for notice in settled.notices {
            assert_eq!(notice.environment, record.id);
            match self.told.iter().find(|(id, _)| *id == notice.id) {
                Some((_, kind)) => assert_eq!(*kind, notice.kind, "one id says two things"),
                None => self.told.push((notice.id, notice.kind)),
            }
        }
        self.records.insert(record.id.clone(), record);
        self.check();
    }

    fn check(&self) {
        for record in self.records.values() {
            let running: Vec<_> =
                self.runs.iter().filter(|(_, run)| run.environment == record.id && run.finished.is_none()).collect();
            assert!(running.len() <= 1, "two executions at once: {running:?}");
            for (id, _) in running {
                assert_eq!(record.live.as_ref().map(|live| &live.id), Some(id));
            }
            if let Some(made) = self.world.get(&record.id) {
                assert_eq!(record.made_generation, made.generation, "{record:?}");
            }
        }
        if let Some(cap) = self.cap {
            let held = self.records.values().filter(|record| holds_place(record)).count();
            assert!(held <= cap as usize, "{held} of {cap} places are held");
        }
    }

    fn context(&self, record: &EnvironmentRecord) -> DecideContext {
        let live = record.live.as_ref().map(|live| match self.runs.get(&live.id) {
            Some(Run { in_journal: false, .. }) | None => LiveStatus::Lost,
            Some(Run { finished: Some(outcome), .. }) => LiveStatus::Finished {
                outcome: *outcome,
                message: "why".to_owned(),
                cause: Some(Cause {
                    text: "Route: why\nfree it".to_owned(),
                    stale: self.stale || *outcome == Outcome::NeedsReplan,
                }),
                serves: self.serves,
            },
            Some(run) => LiveStatus::Running { superseding: run.superseding },
        });
        DecideContext {
            now: self.now,
            live,
            place: place(self.records.values(), &record.id, self.cap),
            ttl: self.ttl,
            url: Some(format!("http://{}/", record.names.host_label)).filter(|_| !self.workers_only),
            port: record.port,
            idle: self.idle.map(|(after, used)| Idle {
                after,
                seen_at: self.now,
                last_request: Some(used),
                in_use: false,
            }),
        }
    }

    /// Decides and does until no environment needs anything now. The earliest time that one wants to be looked at again.
    pub(super) fn settle(&mut self) -> Option<Timestamp> {
        for _ in 0..200 {
            let mut wake: Option<Timestamp> = None;
            let mut done = true;
            for id in self.records.keys().cloned().collect::<Vec<_>>() {
                match self.step(&id) {
                    Some(at) => wake = wake.into_iter().chain(at).min(),
                    None => done = false,
                }
            }
            if done {
                return wake;
            }
        }
        panic!("it never comes to rest: {:#?}", self.records);
    }

    /// `None`: something was done.
    fn step(&mut self, id: &EnvironmentId) -> Option<Option<Timestamp>> {
        let record = self.records[id].clone();
        let cx = self.context(&record);
        assert_eq!(decide(&record, &cx), decide(&record, &cx));
        match decide(&record, &cx) {
            Decision::Nothing { wake_at } => return Some(wake_at),
            Decision::Start(kind) => self.start(&record, kind),
            Decision::Supersede { execution } => {
                let run = self.runs.get_mut(&execution).unwrap();
                assert!(run.kind != PlanKind::Destroy && !run.superseding);
                run.superseding = true;
            }
            Decision::Queue(settled) | Decision::Settle(settled) => self.write(settled),
            Decision::Expire(intent) | Decision::Doze(intent) => {
                let verdict = self.intent(&intent);
                assert!(matches!(verdict, Verdict::Applied { .. }), "{verdict:?}");
            }
        }
        None
    }

    fn start(&mut self, record: &EnvironmentRecord, kind: PlanKind) {
        let commit = match (&record.desired, kind) {
            (Desired::Present(wanted), PlanKind::Create | PlanKind::Update) => {
                wanted.commit.clone().or_else(|| self.tips.get(&record.key).cloned())
            }
            (_, PlanKind::Sleep | PlanKind::Wake) => record.commit.clone(),
            _ => None,
        };
        if kind != PlanKind::Destroy {
            let older = self.world.get(&record.id).is_some_and(|made| made.generation != record.generation);
            assert!(!older, "built upon what another generation left");
        }
        if matches!(kind, PlanKind::Create | PlanKind::Update) {
            assert!(!awaits_approval(record), "a fork's commit runs without approval");
        }
        if kind == PlanKind::Create {
            self.created.push(record.id.clone());
        }
        let id: ExecutionId = format!("exe_{}", self.runs.len()).into();
        let run = Run {
            environment: record.id.clone(),
            kind,
            generation: record.generation,
            seq: record.desired_seq,
            commit: commit.clone(),
            superseding: false,
            finished: None,
            in_journal: true,
        };
        let settled = started(record, kind, &id, commit.as_deref(), self.now);
        if std::mem::take(&mut self.lose_next) {
            // Died between the record and the journal.
            self.runs.insert(id, Run { in_journal: false, finished: Some(Outcome::Failed), ..run });
        } else {
            self.runs.insert(id, run);
        }
        self.write(settled);
    }

    /// Whether something runs.
    pub(super) fn running(&self) -> bool {
        self.runs.values().any(|run| run.finished.is_none())
    }

    /// Ends whatever runs, of all environments or of one.
    pub(super) fn finish(&mut self, outcome: Outcome) {
        for id in self.runs.keys().cloned().collect::<Vec<_>>() {
            if self.runs[&id].finished.is_none() {
                self.end(&id, outcome);
            }
        }
    }

    pub(super) fn finish_one(&mut self, nth: usize, outcome: Outcome) {
        let open: Vec<_> =
            self.runs.iter().filter(|(_, run)| run.finished.is_none()).map(|(id, _)| id.clone()).collect();
        if !open.is_empty() {
            self.end(&open[nth % open.len()], outcome);
        }
    }

    fn end(&mut self, id: &ExecutionId, outcome: Outcome) {
        let run = self.runs.get_mut(id).unwrap();
        // An engine never says that it was superseded when nobody asked it to.
        let outcome = match outcome {
            Outcome::Superseded if !run.superseding => Outcome::Succeeded,
            // The last plan fails instead.
            Outcome::NeedsReplan if self.records[&run.environment].replans >= MAX_REPLANS => Outcome::RolledBack,
            other => other,
        };
        run.finished = Some(outcome);
        let run = run.clone();
        let commit = match (run.kind, outcome) {
            (PlanKind::Destroy, Outcome::Succeeded) => {
                self.world.remove(&run.environment);
                return;
            }
            (PlanKind::Destroy, _) => None,
            (PlanKind::Sleep | PlanKind::Wake, _) => {
                let made = self.world.get_mut(&run.environment).unwrap();
                made.awake = (outcome == Outcome::Succeeded).then_some(run.kind == PlanKind::Wake);
                return;
            }
            (_, Outcome::Succeeded) => Some(run.commit.clone()),
            (_, Outcome::RolledBack | Outcome::Aborted) => match self.world.get(&run.environment) {
                Some(before) if run.kind == PlanKind::Update => Some(before.commit.clone()),
                _ => None,
            },
            (_, _) => Some(None),
        };
        if run.kind != PlanKind::Destroy
            && !matches!(outcome, Outcome::Succeeded | Outcome::Superseded | Outcome::NeedsReplan)
        {
            self.failed.insert((run.environment.clone(), run.generation, run.seq));
        }
        let before = self.world.get(&run.environment).and_then(|made| made.awake);
        let awake = match outcome {
            Outcome::Succeeded => Some(true),
            Outcome::RolledBack | Outcome::Aborted => before,
            _ => None,
        };
        match commit {
            Some(commit) => {
                self.world.insert(run.environment, Made { generation: run.generation, commit, awake });
            }
            None if run.kind != PlanKind::Destroy => {
                self.world.remove(&run.environment);
            }
            None => {}
        }
    }

    /// Lets everything run to its end, with success, and time pass as far as somebody waits for it.
    pub(super) fn rest(&mut self) {
        for _ in 0..200 {
            let wake = self.settle();
            if self.running() {
                self.finish(Outcome::Superseded);
            } else if let (Some(at), true) = (wake, self.waits()) {
                self.now = self.now.max(at);
            } else {
                return self.at_rest();
            }
        }
        panic!("it never comes to rest: {:#?}", self.records);
    }

    fn waits(&self) -> bool {
        self.records.values().any(|record| record.retry_at.is_some_and(|at| at > self.now))
    }

    fn at_rest(&self) {
        for record in self.records.values() {
            assert!(record.live.is_none(), "{record:?}");
            let made = self.world.get(&record.id);
            let present = matches!(record.desired, Desired::Present(_));
            if let Some(made) = made.filter(|_| present && record.ready_generation == record.generation) {
                let sleeps = record.asleep.as_ref().is_some_and(|asleep| asleep.whole);
                assert_eq!(record.sleep, sleeps, "{record:?}");
                assert!(sleeps || record.asleep.is_none(), "{record:?}");
                // After a failure nobody knows what there is; where it was asked for, it was looked at.
                assert!(!sleeps || made.awake == Some(false), "said to be asleep: {made:?} {record:?}");
                assert!(sleeps || made.awake != Some(false), "said to be awake: {made:?} {record:?}");
            }
            let failed = self.failed.contains(&(record.id.clone(), record.generation, record.desired_seq));
            match &record.desired {
                Desired::Absent { .. } => {
                    assert_eq!((record.phase, record.made_generation), (Phase::Destroyed, 0), "{record:?}");
                    assert_eq!(
                        (made, &record.url, record.applied_seq),
                        (None, &None, record.desired_seq),
                        "{record:?}"
                    );
                }
                Desired::Present(_) if matches!(record.phase, Phase::AwaitingApproval | Phase::Queued) => {
                    assert!(awaits_approval(record) || self.cap.is_some(), "{record:?}");
                }
                Desired::Present(_) if failed => match &record.asleep {
                    Some(asleep) if record.phase == Phase::Asleep => {
                        assert_eq!(asleep.was, Phase::Failed, "{record:?}")
                    }
                    _ => assert_eq!(record.phase, Phase::Failed, "{record:?}"),
                },
                Desired::Present(wanted) => {
                    let phase = if record.sleep { Phase::Asleep } else { Phase::Ready };
                    assert_eq!((record.phase, record.applied_seq), (phase, record.desired_seq), "{record:?}");
                    assert_eq!(record.made_generation, record.generation);
                    let made = made.unwrap();
                    assert_eq!((made.generation, &made.commit), (record.generation, &record.commit), "{record:?}");
                    assert!(wanted.commit.is_none() || wanted.commit == record.commit, "{record:?}");
                    assert!(record.url.is_some() || self.workers_only);
                }
            }
        }
        for id in self.runs.keys() {
            let ends = self.told.iter().filter(|(told, _)| told.contains(&format!("/{id}/"))).count();
            assert!(ends <= 1, "{id} ended once: {:?}", self.told);
        }
        // Looking again, however often, tells nobody anything.
        let mut again = self.clone();
        let told = again.told.len();
        again.settle();
        assert_eq!(again.told.len(), told);
    }
}
