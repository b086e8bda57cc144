//! What people are told of a run. The deployments in it tell of themselves.

use landfall_model::Timestamp;
use landfall_model::ids::RunId;
use landfall_model::notice::NoticeKind;
use landfall_model::pipeline::Approval;

use crate::event::Outcome;
use crate::run::{Run, same_person};
use crate::shown::Shown;

/// Its key is unique in the run and the same after a replay. Whoever sends it adds links: only they have the key that signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeDraft {
    pub key: String,
    pub kind: NoticeKind,
    /// The one that it is about.
    pub environment: String,
    /// One line.
    pub text: String,
    /// More lines: what there is to know before somebody decides.
    pub details: Option<String>,
    /// Notifications by name; empty: all.
    pub to: Vec<String>,
    /// Who gets a link.
    pub approvers: Vec<String>,
    pub fingerprint: Option<String>,
    pub expires: Option<Timestamp>,
}

impl NoticeDraft {
    fn new(key: String, kind: NoticeKind, environment: &str, text: String) -> Self {
        Self {
            key,
            kind,
            environment: environment.to_owned(),
            text,
            details: None,
            to: Vec::new(),
            approvers: Vec::new(),
            fingerprint: None,
            expires: None,
        }
    }
}

/// The question that the notice of this id asks: run, stage and round.
pub fn asked_by(notice: &str) -> Option<(RunId, usize, u32)> {
    let mut parts = notice.split('/');
    let (run, what) = (parts.next()?, parts.next()?);
    let (stage, round) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    (what == "asked" && parts.next().is_none()).then(|| (RunId::new(run), stage, round))
}

pub(crate) fn asked(
    run: &Run,
    stage: usize,
    round: u32,
    approval: &Approval,
    shown: &Shown,
    deadline: Option<Timestamp>,
) -> NoticeDraft {
    let environment = run.environment(stage);
    let release = run.release();
    let again = if round > 1 { " again" } else { "" };
    let text = match &shown.pause {
        Some(_) => format!(
            "{} is paused in {environment} and asks for approval: {} goes on, or back",
            run.title(),
            release.short()
        ),
        None => format!("{} asks for approval{again}: {} to {environment}", run.title(), release.short()),
    };
    let mut lines = Vec::new();
    let mut line = |name: &str, value: &str| lines.push(format!("{name:<12}{value}"));
    if let Some(commit) = &release.commit {
        let branch = release.branch.as_ref().map_or_else(String::new, |branch| format!(" of {branch}"));
        line("release", &format!("{commit}{branch}"));
    }
    line("begun by", run.by());
    if let Some(url) = &shown.look_at {
        line("look at", url);
    }
    line("instead of", shown.from.as_deref().unwrap_or("nothing: it was never deployed"));
    let who: Vec<&str> = approval.by.iter().map(String::as_str).collect();
    line("needs", &format!("{} of {}", approval.count, who.join(", ")));
    if let Some(deadline) = deadline {
        line("by", &format!("{deadline:.0}"));
    }
    lines.push(String::new());
    match shown.changes.as_slice() {
        [] => lines.push("nothing differs".to_owned()),
        changes => lines.extend(changes.iter().cloned()),
    }
    let not_self = |name: &&String| approval.self_approval || !same_person(name, run.by());
    NoticeDraft {
        details: Some(lines.join("\n")),
        to: approval.notify.clone(),
        approvers: approval.by.iter().filter(not_self).cloned().collect(),
        fingerprint: Some(shown.fingerprint()),
        expires: deadline,
        ..NoticeDraft::new(format!("asked/{stage}/{round}"), NoticeKind::AwaitingApproval, environment, text)
    }
}

pub(crate) fn void(run: &Run, stage: usize, round: u32, why: &str) -> NoticeDraft {
    let environment = run.environment(stage);
    let text = format!("{}: approvals for {environment} are void: {why}", run.title());
    NoticeDraft::new(format!("void/{stage}/{round}"), NoticeKind::Warning, environment, text)
}

pub(crate) fn finished(run: &Run, stage: Option<usize>, outcome: Outcome, message: &str) -> NoticeDraft {
    let kind = match outcome {
        Outcome::Passed => NoticeKind::Deployed,
        Outcome::Failed => NoticeKind::Failed,
        Outcome::RolledBack => NoticeKind::RolledBack,
        Outcome::Superseded => NoticeKind::Superseded,
        Outcome::Rejected | Outcome::Cancelled => NoticeKind::Warning,
    };
    let environment = run.environment(stage.unwrap_or_default());
    let text = format!("{}: {message}", run.title());
    NoticeDraft::new(format!("finished/{}", run.state.retries), kind, environment, text)
}
