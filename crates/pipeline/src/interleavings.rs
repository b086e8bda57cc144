//! Ten thousand random lives of a pipeline: approvals that come late, twice, forged or by the wrong people, runs that overtake each
//! other, targets that others change, deadlines, locks, deaths between an effect and its record. Nothing is ever deployed that was
//! not approved as shown, and no run is stuck. With the check of the fingerprint left out, the same lives must show it.

use std::collections::{BTreeMap, BTreeSet};

use landfall_model::Timestamp;
use landfall_model::pipeline::{
    Approval, OnDeadline, OnFailure, Pipeline, PipelineRelease, Requires, Stage, Trigger, Work,
};

use crate::{
    Action, Call, Context, Event, Input, Next, Outcome, Pause, Peer, Record, Report, Run, RunState, Shown, Signal,
    Standing, Surveyed, Via,
};

const LIVES: u64 = 10_000;
const STEPS: u32 = 45;

/// SplitMix64: a life is its seed.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit.max(1)).unwrap()).unwrap()
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.next().is_multiple_of(many)
    }
}

#[derive(Clone, Default)]
struct Target {
    images: String,
    /// Goes up with everything that changes it.
    version: u64,
    /// Scales by itself, and is nobody's business.
    tasks: u64,
    lock: Option<String>,
    /// The newest run that was deployed there.
    newest: u64,
}

struct Life {
    chance: Chance,
    now: Timestamp,
    unchecked: bool,
    pipeline: Pipeline,
    runs: Vec<(Run, Vec<Record>, Option<Timestamp>)>,
    targets: BTreeMap<String, Target>,
    /// What people have seen and are about to answer; answers may be sent again and again.
    letters: Vec<(usize, Signal, Shown)>,
    /// Run, who, what that person had really seen: of approvals that were taken.
    taken: Vec<(usize, String, Shown)>,
    done: BTreeSet<String>,
    /// Deployments that are past their pause.
    passed: BTreeSet<String>,
    deployed: u64,
}

fn pipeline() -> Pipeline {
    let approval = |count, deadline, self_approval| {
        Some(Approval {
            by: ["anna", "ben", "eve"].map(str::to_owned).to_vec(),
            count,
            deadline,
            on_deadline: if count == 2 { OnDeadline::Cancel } else { OnDeadline::Reject },
            self_approval,
            notify: Vec::new(),
        })
    };
    let stage = |environment: &str, bake, approval, on_failure| Stage {
        environment: environment.to_owned(),
        requires: Requires { bake, ..Requires::default() },
        approval,
        run: vec![Work::Deploy {}, Work::Verify {}],
        on_failure,
    };
    Pipeline {
        name: "main".to_owned(),
        on: Trigger::default(),
        stages: vec![
            stage("staging", 0, approval(1, None, true), OnFailure::Stop),
            stage("prod", 60, approval(2, Some(3_600), false), OnFailure::Rollback),
        ],
    }
}

impl Life {
    fn new(seed: u64, unchecked: bool) -> Self {
        let targets = ["staging", "prod"].map(|name| (name.to_owned(), Target::default()));
        Self {
            chance: Chance(seed),
            now: Timestamp::from_second(1_000_000).unwrap(),
            unchecked,
            pipeline: pipeline(),
            runs: Vec::new(),
            targets: targets.into(),
            letters: Vec::new(),
            taken: Vec::new(),
            done: BTreeSet::new(),
            passed: BTreeSet::new(),
            deployed: 0,
        }
    }

    fn shown(&self, run: usize, environment: &str) -> Shown {
        let target = &self.targets[environment];
        Shown {
            environment: environment.to_owned(),
            images: [("web/app".to_owned(), image(run))].into(),
            present: [("web/app".to_owned(), target.images.clone())].into(),
            state: [("web".to_owned(), target.version.to_string())].into(),
            from: Some(format!("{} tasks", target.tasks)),
            ..Shown::default()
        }
    }

    fn begin(&mut self) {
        let by = ["cli:anna", "github:dora", "cli:eve"][self.chance.below(3)];
        let event = Event::Created {
            pipeline: self.pipeline.clone(),
            release: PipelineRelease::default(),
            by: by.to_owned(),
            trigger: "asked".to_owned(),
        };
        let records = vec![Record { at: self.now, event }];
        let seq = u64::try_from(self.runs.len()).unwrap() + 1;
        let run = Run::fold(&format!("run_{seq}").into(), seq, &records).unwrap();
        self.runs.push((run, records, None));
    }

    fn peers(&self) -> Vec<Peer> {
        self.runs.iter().map(|(run, ..)| Peer::of(run)).collect()
    }

    /// As a driver does: append, then give back what is no longer held.
    fn handle(&mut self, run: usize, input: Input) -> Result<Option<Result<String, crate::Refused>>, String> {
        let peers = self.peers();
        let mut cx = Context::new(self.now, &peers, self.runs[run].2);
        cx.unchecked = self.unchecked;
        let out = self.runs[run].0.handle(cx, input)?;
        let (folded, records, looked) = &mut self.runs[run];
        if !out.append.is_empty() {
            *looked = None;
        }
        for event in out.append {
            let record = Record { at: self.now, event };
            folded.apply(&record).map_err(|corrupt| corrupt.to_string())?;
            records.push(record);
        }
        let holds = folded.holds().map(str::to_owned);
        let id = folded.id().to_string();
        for (name, target) in &mut self.targets {
            if target.lock.as_ref() == Some(&id) && holds.as_ref() != Some(name) {
                target.lock = None;
            }
        }
        Ok(out.answer)
    }

    /// One thing of one run. `dies`: after the effect, before its record.
    fn drive(&mut self, run: usize, dies: bool) -> Result<(), String> {
        self.handle(run, Input::Look)?;
        let peers = self.peers();
        let cx = Context::new(self.now, &peers, self.runs[run].2);
        let Next::Do(action) = self.runs[run].0.next(&cx) else { return Ok(()) };
        let input = self.perform(run, &action)?;
        if dies {
            self.runs[run].2 = None;
            let (folded, records, _) = &self.runs[run];
            let again = Run::fold(folded.id(), folded.seq(), records).map_err(|corrupt| corrupt.to_string())?;
            if again != *folded {
                return Err("what is folded from the records is not what was there".to_owned());
            }
            return Ok(());
        }
        self.runs[run].2 = Some(self.now);
        self.handle(run, input)?;
        Ok(())
    }

    fn perform(&mut self, run: usize, action: &Action) -> Result<Input, String> {
        let id = self.runs[run].0.id().to_string();
        Ok(match action {
            Action::Resolve => {
                let images = [("app".to_owned(), image(run))].into();
                let known = PipelineRelease { images: [("web".to_owned(), images)].into(), ..Default::default() };
                Input::Resolved(Ok(if self.chance.one_in(4) { Err("not there".to_owned()) } else { Ok(known) }))
            }
            Action::Survey { stage } => {
                let environment = self.pipeline.stages[*stage].environment.clone();
                let other = self.targets[&environment].lock.as_ref().filter(|by| **by != id);
                match other {
                    Some(by) => Input::Surveyed(Surveyed { closed: vec![format!("locked by {by}")], shown: None }),
                    None => {
                        Input::Surveyed(Surveyed { closed: Vec::new(), shown: Some(self.shown(run, &environment)) })
                    }
                }
            }
            Action::Enter { stage } => {
                let environment = self.pipeline.stages[*stage].environment.clone();
                let shown = self.shown(run, &environment);
                let target = self.targets.get_mut(&environment).unwrap();
                match &target.lock {
                    Some(by) if *by != id => Input::Entered(Err(vec![format!("locked by {by}")])),
                    _ => {
                        target.lock = Some(id);
                        Input::Entered(Ok((shown, Some(target.images.clone()).filter(|image| !image.is_empty()))))
                    }
                }
            }
            Action::Begin => Input::Began,
            Action::Work(call) => {
                let deploys = call.work == Some(Work::Deploy {});
                if deploys && !self.done.contains(&call.key) && self.stands(run, call)? {
                    let report = match call.stop {
                        true => Report::Failed { message: "stopped".to_owned(), undone: true },
                        false => {
                            let pause = self.pause(call);
                            Report::Paused { token: "p".into(), after_ms: 1_000, note: None, pause }
                        }
                    };
                    return Ok(Input::Reported(report));
                }
                if deploys && !self.done.contains(&call.key) {
                    if self.chance.one_in(8) {
                        return Ok(Input::Reported(Report::Failed { message: "no".to_owned(), undone: true }));
                    }
                    self.deploy(run, &call.environment)?;
                    self.done.insert(call.key.clone());
                }
                if !deploys && self.chance.one_in(8) {
                    return Ok(Input::Reported(Report::Failed { message: "no".to_owned(), undone: false }));
                }
                if call.token.is_none() && self.chance.one_in(2) {
                    return Ok(Input::Reported(Report::Pending { token: "t".into(), after_ms: 1_000, note: None }));
                }
                Input::Reported(Report::Done { output: BTreeMap::new() })
            }
            Action::Rollback(call) => {
                if self.done.insert(call.key.clone()) {
                    let target = self.targets.get_mut(&call.environment).unwrap();
                    target.version += 1;
                    target.images = call.to.clone().unwrap_or_default();
                }
                Input::Reported(Report::Done { output: BTreeMap::new() })
            }
        })
    }

    fn pause(&self, call: &Call) -> Pause {
        let standing = Standing { at: "POST_TEST_TRAFFIC_SHIFT".to_owned(), hooks: vec![call.key.clone()] };
        Pause { services: [("web".to_owned(), standing)].into(), ..Pause::default() }
    }

    /// Every second deployment to prod stands at a pause until enough people have said yes to just that; sometimes its time is up.
    fn stands(&mut self, run: usize, call: &Call) -> Result<bool, String> {
        let pauses = call.environment == "prod" && run.is_multiple_of(2);
        if !pauses || self.passed.contains(&call.key) {
            return Ok(false);
        }
        if call.go_on.is_some() {
            let asked: BTreeSet<&str> = self
                .taken
                .iter()
                .filter(|(of, _, seen)| *of == run && seen.pause == Some(self.pause(call)))
                .map(|(_, who, _)| who.as_str())
                .collect();
            if call.go_on != Some(self.pause(call)) || asked.len() < 2 {
                return Err(format!("{} goes on and {asked:?} only had said yes to that", call.key));
            }
            self.passed.insert(call.key.clone());
            return Ok(false);
        }
        if call.token.is_some() && self.chance.one_in(12) {
            self.passed.insert(call.key.clone());
            return Ok(false);
        }
        Ok(true)
    }

    /// The one place that matters.
    fn deploy(&mut self, run: usize, environment: &str) -> Result<(), String> {
        let is = self.shown(run, environment);
        let (folded, ..) = &self.runs[run];
        let stage = self.pipeline.stages.iter().find(|stage| stage.environment == environment).unwrap();
        let approval = stage.approval.as_ref().unwrap();
        let who: BTreeSet<&str> = self
            .taken
            .iter()
            .filter(|(of, who, seen)| {
                let own = !approval.self_approval && folded.by().ends_with(&format!(":{who}"));
                *of == run && seen.differs(&is).is_none() && approval.by.contains(who) && !own
            })
            .map(|(_, who, _)| who.as_str())
            .collect();
        if who.len() < usize::try_from(approval.count).unwrap() {
            return Err(format!(
                "{} is deployed to {environment} over version {} and that was approved by {who:?} only",
                folded.id(),
                is.state["web"]
            ));
        }
        let target = self.targets.get_mut(environment).unwrap();
        if target.lock.as_deref() != Some(folded.id().as_str()) {
            return Err(format!("{} deploys to {environment} without its lock", folded.id()));
        }
        if folded.seq() < target.newest {
            return Err(format!("{} deploys over a newer run", folded.id()));
        }
        target.newest = folded.seq();
        target.images = image(run);
        target.version += 1;
        self.deployed += 1;
        Ok(())
    }

    /// Somebody reads what there is to decide, and makes up an answer.
    fn read(&mut self, run: usize, honest: bool) {
        let view = self.runs[run].0.view();
        let asked = view.stages.iter().find_map(|stage| stage.approval.as_ref()?.asked.clone());
        let asked = view.stages.iter().rev().find_map(|stage| stage.approval.as_ref()?.asked.clone()).or(asked);
        let Some(asked) = asked else { return };
        for person in ["anna", "ben", "eve", "mallory"] {
            if !honest && !self.chance.one_in(2) {
                continue;
            }
            let by = format!("cli:{person}");
            let forged = !honest && self.chance.one_in(6);
            let fingerprint = if forged { "sha256:00".to_owned() } else { asked.fingerprint.clone() };
            let nonce = self.chance.one_in(2).then(|| format!("n{}", self.chance.below(9)));
            let (via, comment, nonce) = (Via::Link, None, nonce.filter(|_| !honest));
            let signal = match !honest && self.chance.one_in(12) {
                true => Signal::Reject { by, via, fingerprint, comment, nonce },
                false => Signal::Approve { by, via, fingerprint, comment, nonce },
            };
            self.letters.push((run, signal, asked.shown.clone()));
        }
    }

    fn send(&mut self, letter: usize) -> Result<(), String> {
        let (run, signal, seen) = self.letters[letter].clone();
        let folded = &self.runs[run].0;
        let before = (folded.holds().map(str::to_owned), folded.outcome(), self.runs[run].1.len());
        let answer = self.handle(run, Input::Signal(signal.clone()))?.ok_or("no answer to a signal")?;
        match (answer, &signal) {
            (Ok(_), Signal::Approve { by, .. }) => {
                let who = by.trim_start_matches("cli:").to_owned();
                self.taken.push((run, who, seen));
            }
            (Ok(_), _) => {}
            (Err(_), _) => {
                let added = &self.runs[run].1[before.2..];
                if !added.iter().all(|record| matches!(record.event, Event::SignalRefused { .. })) {
                    return Err(format!("a refused signal changed something: {added:?}"));
                }
                let folded = &self.runs[run].0;
                if folded.holds().map(str::to_owned) != before.0 || folded.outcome() != before.1 {
                    return Err("a refused signal moved its run".to_owned());
                }
            }
        }
        Ok(())
    }

    fn pass(&mut self, seconds: i64) {
        self.now = self.now.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap();
    }

    fn step(&mut self) -> Result<(), String> {
        if self.runs.is_empty() || self.runs.len() < 4 && self.chance.one_in(12) {
            self.begin();
        }
        let run = self.chance.below(self.runs.len());
        let name = if self.chance.one_in(2) { "staging" } else { "prod" };
        match self.chance.below(20) {
            0..=9 => self.drive(run, false)?,
            10 => self.drive(run, true)?,
            11..=12 => self.read(run, false),
            13..=15 if !self.letters.is_empty() => {
                let letter = self.chance.below(self.letters.len());
                self.send(letter)?;
            }
            16 => {
                let target = self.targets.get_mut(name).unwrap();
                // Whoever comes through Landfall is kept out by the lock.
                if target.lock.is_none() {
                    target.version += 1;
                }
                target.tasks += 1;
            }
            17 => {
                let seconds = [1, 5, 61, 3_700][self.chance.below(4)];
                self.pass(seconds);
            }
            18 => {
                let target = self.targets.get_mut(name).unwrap();
                match target.lock.as_deref() {
                    None => target.lock = Some("somebody".to_owned()),
                    Some("somebody") => target.lock = None,
                    Some(_) => {}
                }
            }
            19 if self.chance.one_in(3) => {
                let by = "cli:dora".to_owned();
                let signal = match self.chance.one_in(2) {
                    true => Signal::Cancel { by, comment: None },
                    false => Signal::Retry { by },
                };
                self.letters.push((run, signal, Shown::default()));
                self.send(self.letters.len() - 1)?;
            }
            _ => self.pass(2),
        }
        Ok(())
    }

    /// People answer, nobody is in the way, time passes: every run must end.
    fn settle(&mut self) -> Result<(), String> {
        for target in self.targets.values_mut().filter(|target| target.lock.as_deref() == Some("somebody")) {
            target.lock = None;
        }
        for _ in 0..80 {
            if self.runs.iter().all(|(run, ..)| run.outcome().is_some()) {
                return Ok(());
            }
            for run in 0..self.runs.len() {
                if self.runs[run].0.outcome().is_some() {
                    continue;
                }
                self.drive(run, false)?;
                self.letters.clear();
                if self.runs[run].0.summary().state != RunState::AwaitingApproval {
                    continue;
                }
                self.read(run, true);
                for letter in 0..self.letters.len() {
                    self.send(letter)?;
                }
            }
            self.pass(31);
        }
        let stuck = self.runs.iter().find(|(run, ..)| run.outcome().is_none());
        Err(format!("stuck: {:#?}", stuck.map(|(run, ..)| run.view())))
    }
}

fn image(run: usize) -> String {
    format!("r/app@sha256:{run:064x}")
}

/// How often something was deployed, and how its runs ended.
fn life(seed: u64, unchecked: bool) -> Result<(u64, Vec<Outcome>), String> {
    let mut life = Life::new(seed, unchecked);
    for _ in 0..STEPS {
        life.step()?;
    }
    life.settle()?;
    Ok((life.deployed, life.runs.iter().filter_map(|(run, ..)| run.outcome()).collect()))
}

#[test]
fn nothing_is_deployed_that_was_not_approved_as_shown_and_no_run_is_stuck() {
    let (mut deployed, mut ends) = (0, BTreeMap::new());
    for seed in 0..LIVES {
        let (times, outcomes) = life(seed, false).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        deployed += times;
        for outcome in outcomes {
            *ends.entry(outcome).or_insert(0_u64) += 1;
        }
    }
    // Otherwise the lives were not worth living.
    assert!(deployed > LIVES / 2, "{deployed} deployments");
    for outcome in [
        Outcome::Passed,
        Outcome::Failed,
        Outcome::RolledBack,
        Outcome::Rejected,
        Outcome::Superseded,
        Outcome::Cancelled,
    ] {
        assert!(ends.get(&outcome).is_some_and(|times| *times > 100), "{outcome:?} of {ends:?}");
    }
}

#[test]
fn without_the_check_of_the_fingerprint_the_same_lives_show_it() {
    let found = (0..LIVES).find_map(|seed| life(seed, true).err());
    let why = found.expect("a deployment of something that nobody approved as it was");
    assert!(why.contains("was approved by"), "{why}");
}
