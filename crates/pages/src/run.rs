//! The page of one run of a pipeline.

use askama::Template;
use landfall_model::Timestamp;
use landfall_model::notice::Sent;
use landfall_model::pipeline::OnDeadline;
use landfall_pipeline::{
    ApprovalView, AskedView, RunState, RunView, Shown, StageState, StageView, Via, Vote, WorkState, bare,
};

use crate::time::{Time, between, duration};

/// Who looks, and what they may do here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Viewer {
    /// As a decision would be recorded: `anna`, `cli:anna`.
    pub name: String,
    /// Of the link that they have, if it is one for a decision: stage and fingerprint.
    pub link: Option<(String, String)>,
    pub csrf: String,
}

pub struct RunPage<'a> {
    pub project: &'a str,
    pub run: &'a RunView,
    /// Where this page is, and where its form goes.
    pub path: &'a str,
    pub viewer: &'a Viewer,
    pub now: Timestamp,
}

#[derive(Template)]
#[template(path = "run.html")]
struct Html<'a> {
    project: &'a str,
    pipeline: &'a str,
    title: &'a str,
    message: &'a str,
    state: State,
    stages: Vec<Stage<'a>>,
    decision: Option<Decision<'a>>,
    commit: Option<&'a str>,
    branch: Option<&'a str>,
    by: &'a str,
    trigger: &'a str,
    created: Time,
    finished: Option<Time>,
    images: Vec<Image<'a>>,
    timeline: Vec<Moment<'a>>,
    now: Time,
    here: &'a str,
}

/// A word, and how it is drawn.
#[derive(Clone, Copy)]
struct State {
    word: &'static str,
    /// `good`, `bad`, `wait`, `busy` or `idle`
    class: &'static str,
    /// SVG of our own.
    icon: &'static str,
}

struct Stage<'a> {
    name: &'a str,
    state: State,
    took: Option<String>,
    why: Option<&'a str>,
    url: Option<&'a str>,
    work: Vec<Work<'a>>,
    is_open: bool,
}

struct Work<'a> {
    title: &'a str,
    word: &'static str,
    class: &'static str,
    icon: &'static str,
    took: Option<String>,
    note: Option<&'a str>,
}

struct Decision<'a> {
    question: String,
    needs: String,
    deadline: Option<Time>,
    left: String,
    look_at: Option<&'a str>,
    look_at_name: &'a str,
    sent: Vec<Line>,
    votes: Vec<Said<'a>>,
    environment: &'a str,
    instead: &'a str,
    changes: Vec<Change<'a>>,
    fingerprint: &'a str,
    form: Option<Form<'a>>,
    why_not: Option<String>,
}

struct Line {
    text: String,
    class: &'static str,
}

struct Form<'a> {
    action: &'a str,
    csrf: &'a str,
    who: &'a str,
}

struct Said<'a> {
    who: &'a str,
    word: &'static str,
    class: &'static str,
    at: Time,
    comment: Option<&'a str>,
}

struct Change<'a> {
    text: &'a str,
    class: &'static str,
}

struct Image<'a> {
    name: String,
    repository: &'a str,
    digest: &'a str,
}

struct Moment<'a> {
    at: Time,
    stage: Option<&'a str>,
    text: &'a str,
}

impl RunPage<'_> {
    pub fn html(&self) -> String {
        let run = self.run;
        let environment = |stage: usize| run.stages.get(stage).map(|stage| stage.environment.as_str());
        let images = run.release.images.iter().flat_map(|(service, images)| {
            images.iter().map(move |(container, image)| {
                let (repository, digest) = image.rsplit_once('@').unwrap_or((image, ""));
                Image { name: format!("{service}/{container}"), repository, digest }
            })
        });
        let timeline = run.timeline.iter().rev().map(|moment| Moment {
            at: Time::of(moment.at),
            stage: moment.stage.and_then(environment),
            text: &moment.text,
        });
        crate::rendered(&Html {
            project: self.project,
            pipeline: &run.pipeline,
            title: &run.title,
            message: &run.message,
            state: run_state(run.state),
            stages: run.stages.iter().map(|one| self.stage(one)).collect(),
            decision: self.decision(),
            commit: run.release.commit.as_deref(),
            branch: run.release.branch.as_deref(),
            by: &run.by,
            trigger: &run.trigger,
            created: Time::of(run.created_at),
            finished: run.finished_at.map(Time::of),
            images: images.collect(),
            timeline: timeline.collect(),
            now: Time::of(self.now),
            here: self.path,
        })
    }

    fn stage<'s>(&self, one: &'s StageView) -> Stage<'s> {
        let took = match (one.reached_at, one.entered_at, one.finished_at) {
            (_, Some(from), Some(to)) => Some(duration(between(from, to))),
            (_, Some(from), None) => Some(format!("for {}", duration(between(from, self.now)))),
            (Some(from), None, None) if !self.run.state.is_finished() => {
                Some(format!("for {}", duration(between(from, self.now))))
            }
            _ => None,
        };
        let work = one.work.iter().map(|work| {
            let (word, class, icon) = match work.state {
                WorkState::Ahead => ("ahead", "idle", DOT),
                WorkState::Running => ("running", "busy", DOTS),
                WorkState::Done => ("done", "good", CHECK),
                WorkState::Failed => ("failed", "bad", CROSS),
            };
            let took = match (work.started_at, work.finished_at) {
                (Some(from), Some(to)) => Some(duration(between(from, to))),
                (Some(from), None) => Some(format!("for {}", duration(between(from, self.now)))),
                _ => None,
            };
            Work { title: &work.title, word, class, icon, took, note: work.note.as_deref() }
        });
        let is_open = matches!(one.state, StageState::Running | StageState::Failed | StageState::RollingBack);
        Stage {
            name: &one.environment,
            state: stage_state(one.state),
            took,
            why: one.why.as_deref(),
            url: one.url.as_deref().filter(|url| is_web(url)),
            work: if one.entered_at.is_some() { work.collect() } else { Vec::new() },
            is_open,
        }
    }

    /// What is asked now; of a run that has ended, nothing.
    fn decision(&self) -> Option<Decision<'_>> {
        if self.run.state != RunState::AwaitingApproval {
            return None;
        }
        let index = self.run.stages.iter().position(|stage| stage.state == StageState::AwaitingApproval)?;
        let stage = &self.run.stages[index];
        let approval = stage.approval.as_ref()?;
        let asked = approval.asked.as_ref()?;
        let shown: &Shown = &asked.shown;
        let why_not = self.why_not(&stage.environment, approval, asked);
        let before = index.checked_sub(1).and_then(|index| self.run.stages.get(index));
        let who = approval.by.join(", ");
        let needs = match (approval.count, asked.missing) {
            (1, _) => format!("One of these decides: {who}."),
            (count, missing) => format!("{count} of these decide: {who}. {missing} more to come."),
        };
        let left = asked.deadline.map_or_else(String::new, |deadline| {
            let then = match approval.on_deadline {
                OnDeadline::Reject => "rejected",
                OnDeadline::Cancel => "cancelled",
            };
            format!(" ({} left; then the run is {then})", duration(between(self.now, deadline)))
        });
        Some(Decision {
            question: format!("Shall {} go to {}?", self.run.release.short(), stage.environment),
            needs,
            deadline: asked.deadline.map(Time::of),
            left,
            look_at: shown.look_at.as_deref().filter(|url| is_web(url)),
            look_at_name: before.map_or("the stage before", |stage| &stage.environment),
            sent: asked.sent.iter().map(sent).collect(),
            votes: asked.votes.iter().map(said).collect(),
            environment: &stage.environment,
            instead: shown.from.as_deref().unwrap_or("nothing: it was never deployed"),
            changes: shown.changes.iter().map(|text| Change { text, class: kind(text) }).collect(),
            fingerprint: &asked.fingerprint,
            form: why_not.is_none().then(|| Form {
                action: self.path,
                csrf: &self.viewer.csrf,
                who: bare(&self.viewer.name),
            }),
            why_not,
        })
    }

    /// The run says so again when it is asked; here people are spared a form that leads nowhere.
    fn why_not(&self, stage: &str, approval: &ApprovalView, asked: &AskedView) -> Option<String> {
        let me = bare(&self.viewer.name);
        let is_me = |name: &str| bare(name).eq_ignore_ascii_case(me);
        if let Some((of, fingerprint)) = &self.viewer.link
            && (of != stage || *fingerprint != asked.fingerprint)
        {
            return Some("What your link was for has changed since. Whoever decides was sent a new link.".to_owned());
        }
        if !approval.by.iter().any(|name| is_me(name)) {
            return Some(format!("You are {me}, and this is not yours to decide."));
        }
        if !approval.self_approval && is_me(&self.run.by) {
            return Some("You have begun this run, so somebody else decides.".to_owned());
        }
        asked.votes.iter().any(|vote| is_me(&vote.by)).then(|| "You have approved this.".to_owned())
    }
}

fn sent(one: &Sent) -> Line {
    let said = one.said();
    let (first, rest) = said.split_at(1);
    let class = if one.error.is_some() || one.reaches_nobody() { "why" } else { "quiet" };
    Line { text: format!("{}{rest}.", first.to_uppercase()), class }
}

fn said(vote: &Vote) -> Said<'_> {
    let word = match vote.via {
        Via::Command => "approved by command,",
        Via::Link => "approved by link,",
        Via::Page => "approved here,",
    };
    Said { who: bare(&vote.by), word, class: "good", at: Time::of(vote.at), comment: vote.comment.as_deref() }
}

/// An address that a browser may open from here: nothing that runs.
fn is_web(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}

fn kind(change: &str) -> &'static str {
    match change.trim_start().chars().next() {
        Some('+') => "plus",
        // `±`: replaced, by what a stack's template changes.
        Some('-' | '−' | '±') => "minus",
        _ => "",
    }
}

const CHECK: &str = r#"<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M5 12.5l4.5 4.5L19 7.5"/></svg>"#;
const CROSS: &str = r#"<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M6.5 6.5l11 11M17.5 6.5l-11 11"/></svg>"#;
const CLOCK: &str =
    r#"<svg viewBox="0 0 24 24" aria-hidden="true"><circle cx="12" cy="12" r="8.5"/><path d="M12 7.5V12l3 2"/></svg>"#;
const HAND: &str = r#"<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M9 9.2a3 3 0 1 1 4.3 2.7c-.9.4-1.3 1-1.3 2M12 17.6v.1"/></svg>"#;
const DOTS: &str = r#"<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M6 12h.01M12 12h.01M18 12h.01"/></svg>"#;
const DOT: &str = r#"<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M12 12h.01"/></svg>"#;
const BACK: &str =
    r#"<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M9 6L4.5 10.5 9 15M5 10.5h9a5 5 0 0 1 0 10"/></svg>"#;
const SKIP: &str = r#"<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M6 12h12"/></svg>"#;

const fn state(word: &'static str, class: &'static str, icon: &'static str) -> State {
    State { word, class, icon }
}

fn run_state(one: RunState) -> State {
    match one {
        RunState::Queued => state(one.word(), "idle", CLOCK),
        RunState::Waiting => state(one.word(), "wait", CLOCK),
        RunState::AwaitingApproval => state(one.word(), "wait", HAND),
        RunState::Running => state(one.word(), "busy", DOTS),
        RunState::RollingBack => state(one.word(), "busy", BACK),
        RunState::Passed => state(one.word(), "good", CHECK),
        RunState::Failed => state(one.word(), "bad", CROSS),
        RunState::RolledBack => state(one.word(), "bad", BACK),
        RunState::Rejected => state(one.word(), "bad", CROSS),
        RunState::Superseded | RunState::Cancelled => state(one.word(), "idle", SKIP),
    }
}

fn stage_state(one: StageState) -> State {
    match one {
        StageState::Ahead => state("not reached", "idle", DOT),
        StageState::Waiting => state("waiting", "wait", CLOCK),
        StageState::AwaitingApproval => state("awaiting approval", "wait", HAND),
        StageState::Entering => state("entering", "busy", DOTS),
        StageState::Running => state("running", "busy", DOTS),
        StageState::RollingBack => state("rolling back", "busy", BACK),
        StageState::Passed => state("passed", "good", CHECK),
        StageState::Failed => state("failed", "bad", CROSS),
        StageState::RolledBack => state("rolled back", "bad", BACK),
        StageState::Rejected => state("rejected", "bad", CROSS),
        StageState::Superseded => state("superseded", "idle", SKIP),
        StageState::Cancelled => state("cancelled", "idle", SKIP),
    }
}
