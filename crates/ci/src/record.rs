//! What became of a flow's steps: kept while it runs, so that a killed job is continued; told at its end.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use landfall_model::ci::CiAction;
use serde::{Deserialize, Serialize};

use crate::context::Host;
use crate::plan::{Flow, PlannedStep};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Done,
    /// With its exit code.
    Failed {
        code: u8,
    },
    TimedOut,
    /// The job was stopped from outside.
    Stopped,
    /// It never began: the name of what it waited for and did not get.
    NotRun {
        waited_for: String,
    },
    /// It ended well when the job ran before.
    DoneBefore,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    pub outcome: Outcome,
    pub milliseconds: u64,
    /// What it said last, of a step that did not end well; may be several lines.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cause: String,
}

/// A run of a flow, as its file has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub fingerprint: String,
    pub title: String,
    pub steps: BTreeMap<String, Ended>,
}

impl Record {
    pub fn new(flow: &Flow) -> Self {
        Self { fingerprint: flow.fingerprint(), title: flow.context.event.title(), steps: BTreeMap::new() }
    }

    /// The record before, of the same flow: only what ended well counts. Where anything is left to do images are looked at again,
    /// because they are not kept wherever this record is, and with them what a build needs, which may have made its files; what is unchanged is not built again. On a host of CI a run that ended
    /// well is over: who starts the same commit once more (a schedule, a person) wants it done.
    pub fn resumed(flow: &Flow, before: Option<Record>) -> Self {
        let mut record = Record::new(flow);
        let before = before.filter(|before| before.fingerprint == record.fingerprint);
        for (name, ended) in before.map(|before| before.steps).unwrap_or_default() {
            if matches!(ended.outcome, Outcome::Done | Outcome::DoneBefore) {
                record.steps.insert(name, Ended { outcome: Outcome::DoneBefore, ..ended });
            }
        }
        let is_done = |step: &PlannedStep| record.steps.contains_key(&step.name);
        if !flow.steps.iter().all(is_done) {
            let builds = flow.steps.iter().filter(|step| step.run == CiAction::Build);
            let mut again: Vec<&PlannedStep> = builds.collect();
            while let Some(step) = again.pop() {
                record.steps.remove(&step.name);
                again.extend(flow.steps.iter().filter(|other| step.needs.contains(&other.name)));
            }
        } else if flow.context.host != Host::Laptop {
            record.steps.clear();
        }
        record
    }

    pub fn is_done(&self, step: &str) -> bool {
        self.outcome(step).is_some_and(|outcome| matches!(outcome, Outcome::Done | Outcome::DoneBefore))
    }

    pub fn outcome(&self, step: &str) -> Option<&Outcome> {
        self.steps.get(step).map(|ended| &ended.outcome)
    }

    pub fn end(&mut self, step: &str, outcome: Outcome, milliseconds: u64) {
        self.steps.insert(step.to_owned(), Ended { outcome, milliseconds, cause: String::new() });
    }

    pub fn explain(&mut self, step: &str, cause: String) {
        if let Some(ended) = self.steps.get_mut(step) {
            ended.cause = cause;
        }
    }

    /// The steps that can begin now.
    pub fn ready(&self, flow: &Flow) -> Vec<usize> {
        let ready = |at: &usize| {
            let step = &flow.steps[*at];
            !self.steps.contains_key(&step.name) && step.needs.iter().all(|need| self.is_done(need))
        };
        (0..flow.steps.len()).filter(ready).collect()
    }

    /// The job is stopped from outside: what could have begun does not.
    pub fn stop(&mut self, flow: &Flow) {
        for at in self.ready(flow) {
            self.end(&flow.steps[at].name, Outcome::Stopped, 0);
        }
    }

    /// What has not begun and never will: something that it waits for did not end well.
    pub fn give_up(&mut self, flow: &Flow) {
        for step in &flow.steps {
            if self.steps.contains_key(&step.name) {
                continue;
            }
            if let Some(need) = step.needs.iter().find(|need| self.steps.contains_key(*need) && !self.is_done(need)) {
                // Of what was not run itself: the step that is at fault.
                let waited_for = match self.outcome(need) {
                    Some(Outcome::NotRun { waited_for }) => waited_for.clone(),
                    _ => need.clone(),
                };
                self.end(&step.name, Outcome::NotRun { waited_for }, 0);
            }
        }
    }

    /// The code of the first step, as written, that did not end well; 0 where all did.
    pub fn exit_code(&self, flow: &Flow, timed_out: u8, stopped: u8) -> u8 {
        let code = |outcome: &Outcome| match outcome {
            Outcome::Failed { code } => Some(*code),
            Outcome::TimedOut => Some(timed_out),
            Outcome::Stopped => Some(stopped),
            Outcome::Done | Outcome::DoneBefore | Outcome::NotRun { .. } => None,
        };
        flow.steps.iter().find_map(|step| self.outcome(&step.name).and_then(code)).unwrap_or(0)
    }

    fn named(&self, flow: &Flow, which: impl Fn(&Outcome) -> Option<String>) -> Vec<String> {
        let told = |name: &String| self.outcome(name).and_then(&which);
        let all = flow.steps.iter().filter_map(|step| Some(format!("{}{}", step.name, told(&step.name)?)));
        all.collect()
    }

    /// One line: what happened, and where to go on.
    pub fn last_line(&self, flow: &Flow, took: &str) -> String {
        let title = &self.title;
        let plain = |is: fn(&Outcome) -> bool| move |outcome: &Outcome| is(outcome).then(String::new);
        let failed = self.named(flow, |outcome| match outcome {
            Outcome::Failed { code } => Some(format!(" failed (exit code {code})")),
            Outcome::TimedOut => Some(" took too long".to_owned()),
            Outcome::Stopped => Some(" was stopped".to_owned()),
            _ => None,
        });
        let before = self.named(flow, plain(|outcome| *outcome == Outcome::DoneBefore));
        let before = if before.is_empty() { String::new() } else { format!("; done before: {}", before.join(", ")) };
        if failed.is_empty() {
            let done = self.named(flow, plain(|outcome| *outcome == Outcome::Done));
            let done = if done.is_empty() { "nothing was left to do".to_owned() } else { done.join(", ") };
            return format!("{title}: done in {took}: {done}{before}");
        }
        let began = |name: &str| !matches!(self.outcome(name), None | Some(Outcome::NotRun { .. }));
        let not_run: Vec<&str> = flow.steps.iter().map(|step| step.name.as_str()).filter(|name| !began(name)).collect();
        let not_run = if not_run.is_empty() { String::new() } else { format!("; not run: {}", not_run.join(", ")) };
        format!("{title}: {} after {took}{not_run}{before}; `landfall ci resume` goes on from there", failed.join(", "))
    }

    /// The job's page.
    pub fn markdown(&self, flow: &Flow, took: impl Fn(u64) -> String) -> String {
        let mut out = format!("### Landfall: {}\n\n| step | result | time |\n|---|---|---|\n", cell(&self.title));
        for step in &flow.steps {
            let Some(Ended { outcome, milliseconds, .. }) = self.steps.get(&step.name) else {
                let _ = writeln!(out, "| {} | not run | |", cell(&step.name));
                continue;
            };
            let result = match outcome {
                Outcome::Done => "✓ done".to_owned(),
                Outcome::DoneBefore => "✓ done before".to_owned(),
                Outcome::Failed { code } => format!("✗ exit code {code}"),
                Outcome::TimedOut => "✗ took too long".to_owned(),
                Outcome::Stopped => "✗ stopped".to_owned(),
                Outcome::NotRun { waited_for } => format!("not run: waits for {}", cell(waited_for)),
            };
            let time = match outcome {
                Outcome::NotRun { .. } | Outcome::DoneBefore => String::new(),
                _ => took(*milliseconds),
            };
            let _ = writeln!(out, "| {} | {result} | {time} |", cell(&step.name));
        }
        for one in &flow.left_out {
            let _ = writeln!(out, "| {} | left out: {} | |", cell(&one.step), cell(&one.why));
        }
        let causes = flow.steps.iter().filter_map(|step| Some((&step.name, &self.steps.get(&step.name)?.cause)));
        for (name, cause) in causes.filter(|(_, cause)| !cause.is_empty()) {
            // Indented: whatever it holds ends no fence.
            let _ = write!(out, "\n{}:\n\n    {}\n", cell(name), cause.replace('\n', "\n    "));
        }
        out
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use landfall_model::ci::{Ci, CiAction, CiRule, CiStep};

    use super::*;
    use crate::context::{CiContext, Event, Host};
    use crate::plan::{Changed, plan};

    fn flow(commit: &str) -> Flow {
        let step = |run: CiAction| CiStep { name: run.usual_name(), run, args: Vec::new(), needs: None, timeout: None };
        let environment = || "prod".to_owned();
        let steps = vec![
            step(CiAction::Test { commands: vec!["true".to_owned()] }),
            step(CiAction::Build),
            step(CiAction::Push),
            step(CiAction::Deploy { environment: environment() }),
            step(CiAction::Verify { environment: environment() }),
        ];
        let rule = CiRule { name: "r".to_owned(), branches: vec!["master".to_owned()], steps, ..CiRule::default() };
        let context = CiContext {
            host: Host::Laptop,
            event: Event::Push { branch: "master".to_owned() },
            repository: None,
            commit: Some(commit.to_owned()),
            compare: None,
            job: None,
            url: None,
            actor: None,
        };
        plan(&Ci { rules: vec![rule], mask: Vec::new() }, context, &Changed::Paths(Vec::new())).unwrap()
    }

    #[test]
    fn a_failed_step_stops_what_depends_on_it_and_the_line_says_so() {
        let flow = flow("c1");
        let mut record = Record::new(&flow);
        assert_eq!(record.ready(&flow), [0, 1]);
        record.end("test", Outcome::Done, 10);
        record.end("build", Outcome::Failed { code: 2 }, 20);
        record.give_up(&flow);
        assert_eq!(record.ready(&flow), [0_usize; 0]);
        assert_eq!(
            record.last_line(&flow, "1 s"),
            "push to master: build failed (exit code 2) after 1 s; not run: push, deploy prod, verify prod; `landfall ci resume` \
             goes on from there"
        );
        assert_eq!(record.exit_code(&flow, 8, 130), 2);
        let text = record.markdown(&flow, |ms| format!("{ms} ms"));
        assert!(text.contains("| verify prod | not run: waits for build |  |"), "{text}");
        record.explain("build", "error: a\n  because: b".to_owned());
        let text = record.markdown(&flow, |ms| format!("{ms} ms"));
        assert!(text.ends_with("|\n\nbuild:\n\n    error: a\n      because: b\n"), "{text}");
    }

    #[test]
    fn only_the_same_flow_of_the_same_commit_goes_on() {
        let first = flow("c1");
        let mut record = Record::new(&first);
        record.end("test", Outcome::Done, 10);
        record.end("build", Outcome::Stopped, 20);
        let again = Record::resumed(&first, Some(record.clone()));
        assert_eq!(again.outcome("test"), Some(&Outcome::DoneBefore));
        assert_eq!(again.ready(&first), [1]);
        // Images may be gone with the machine: what is unchanged is not built again.
        record.end("build", Outcome::Done, 20);
        assert_eq!(Record::resumed(&first, Some(record.clone())).ready(&first), [1]);
        let other = Record::resumed(&flow("c2"), Some(record));
        assert!(other.steps.is_empty());
    }

    #[test]
    fn a_run_that_ended_well_is_over() {
        let mut flow = flow("c1");
        let mut record = Record::new(&flow);
        for step in &flow.steps {
            record.end(&step.name, Outcome::Done, 1);
        }
        let again = |flow: &Flow| Record::resumed(flow, Some(record.clone())).steps.len();
        flow.context.host = Host::CodeBuild;
        assert_eq!(again(&flow), 0, "a schedule starts it once more");
        flow.context.host = Host::Laptop;
        assert_eq!(again(&flow), flow.steps.len(), "nothing is left to go on with");
    }

    #[test]
    fn what_a_build_needs_is_done_again_with_it() {
        let mut flow = flow("c1");
        let mut record = Record::new(&flow);
        for step in ["test", "build"] {
            record.end(step, Outcome::Done, 1);
        }
        let again = |flow: &Flow, record: &Record| Record::resumed(flow, Some(record.clone())).ready(flow);
        assert_eq!(again(&flow, &record), [1], "the test made nothing for it");
        flow.steps[1].needs = vec!["test".to_owned()];
        record.fingerprint.clone_from(&Record::new(&flow).fingerprint);
        assert_eq!(again(&flow, &record), [0], "a fresh checkout has not what it made");
    }

    #[test]
    fn a_job_that_is_stopped_between_two_steps_has_not_ended_well() {
        let flow = flow("c1");
        let mut record = Record::new(&flow);
        record.end("test", Outcome::Done, 10);
        record.end("build", Outcome::Done, 20);
        record.stop(&flow);
        record.give_up(&flow);
        assert_eq!(record.outcome("push"), Some(&Outcome::Stopped));
        assert_eq!(record.exit_code(&flow, 8, 130), 130);
        assert!(record.last_line(&flow, "1 s").contains("not run: deploy prod, verify prod"));
    }

    #[test]
    fn what_went_well_is_one_line_too() {
        let flow = flow("c1");
        let mut record = Record::new(&flow);
        record.end("test", Outcome::DoneBefore, 0);
        for step in &flow.steps[1..] {
            record.end(&step.name, Outcome::Done, 1);
        }
        assert_eq!(
            record.last_line(&flow, "2 s"),
            "push to master: done in 2 s: build, push, deploy prod, verify prod; done before: test"
        );
        assert_eq!(record.exit_code(&flow, 8, 130), 0);
    }
}
