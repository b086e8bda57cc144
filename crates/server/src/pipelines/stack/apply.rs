//! Applying a stack, in looks that never wait: a change set, whether it is what was shown, its execution, its end.

use std::collections::BTreeMap;

use landfall_model::app::LongLivedEnvironment;
use landfall_model::pipeline::{Stage, Work};
use landfall_pipeline::{Call, Differs, Report, Run, Shown};
use landfall_ports::PortError;
use landfall_stack::live::{Act, Before, Cause, Ending, Phase, Plan, Seen, change_set_name, phase};
use landfall_steps::few;
use landfall_steps::stack::{
    Begun, Prepared, Purpose, Ready, discard, execute, follow, look_behind, mark, prepare, state_of,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::work::{RETRY_MS, failed};
use super::{Place, Scene, Wrong, place, scene, there, url_of};
use crate::service::Inner;

/// Between two looks at a change set, and at a stack that changes.
const SOONEST_MS: u64 = 100;
const LATEST_MS: u64 = 3_000;

/// How far applying is, as the run's journal keeps it before it goes on.
#[derive(Debug, Serialize, Deserialize)]
struct Token {
    begun: Begun,
    set: String,
    executed: bool,
    /// What is behind what failed so far: the rollback takes it away.
    #[serde(default, skip_serializing_if = "Seen::is_empty")]
    seen: Seen,
}

fn undone(message: impl Into<String>) -> Report {
    Report::Failed { message: message.into(), undone: true }
}

/// A short change is not told late, nor a long one asked for often.
fn pending(inner: &Inner, call: &Call, token: &serde_json::Value, note: Option<String>) -> Report {
    let age = inner.clock.now().as_millisecond().saturating_sub(call.started_at.as_millisecond());
    let after_ms = (u64::try_from(age).unwrap_or(0) / 8).clamp(SOONEST_MS, LATEST_MS);
    Report::Pending { token: token.clone(), after_ms, note }
}

/// Brings the stack to what the run's stage was entered for.
pub(crate) async fn apply(
    inner: &Inner,
    run: &Run,
    stage: &Stage,
    environment: &LongLivedEnvironment,
    call: &Call,
) -> Report {
    let may = match &call.work {
        _ if stage.approval.is_some() => May::Shown,
        Some(Work::Stack { allow_replacement, allow_deletion }) => {
            May::Only { replace: *allow_replacement, delete: *allow_deletion }
        }
        _ => May::Only { replace: false, delete: false },
    };
    stepped(inner, run, stage, environment, call, None, may).await
}

/// The images that ran before again; all else stays as the manifest says.
pub(crate) async fn back(
    inner: &Inner,
    run: &Run,
    stage: &Stage,
    environment: &LongLivedEnvironment,
    call: &Call,
) -> Report {
    let to = call.to.as_deref().and_then(|to| serde_json::from_str::<BTreeMap<String, String>>(to).ok());
    let Some(to) = to else { return failed("what ran before is not known") };
    stepped(inner, run, stage, environment, call, Some(&to), May::Only { replace: false, delete: false }).await
}

/// What a change set may do to what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum May {
    /// All that was shown: somebody has said yes to it.
    Shown,
    Only {
        replace: bool,
        delete: bool,
    },
}

async fn stepped(
    inner: &Inner,
    run: &Run,
    stage: &Stage,
    environment: &LongLivedEnvironment,
    call: &Call,
    back: Option<&BTreeMap<String, String>>,
    may: May,
) -> Report {
    let known = call.token.as_ref().and_then(|token| serde_json::from_value::<Token>(token.clone()).ok());
    let report = async {
        let place = place(inner, environment)?;
        match known {
            None => begin(inner, &scene(inner, run, stage, &place, back).await?, call, back.is_none(), may).await,
            Some(token) if token.executed => followed(inner, &place, call, token).await,
            Some(token) => begun(inner, &place, call, token).await,
        }
    };
    match report.await {
        Ok(report) => report,
        Err(Wrong::Later(why)) => {
            let token = call.token.clone().unwrap_or_else(|| json!({}));
            Report::Pending { token, after_ms: RETRY_MS, note: Some(why) }
        }
        Err(Wrong::Never(why)) => failed(why),
    }
}

/// Nothing is executed yet.
async fn begin(inner: &Inner, scene: &Scene<'_>, call: &Call, compare: bool, may: May) -> Result<Report, Wrong> {
    let stack = &scene.wanted.stack;
    if call.stop {
        let name = change_set_name(&scene.wanted, &state_of(scene.live.as_ref()));
        discard(scene.place.stacks, stack, &name).await?;
        return Ok(undone("stopped before it was begun"));
    }
    let ready = match prepare(scene.place.stacks, &scene.wanted, Purpose::Apply).await? {
        Prepared::Pending => {
            return Ok(pending(inner, call, &json!({}), Some("a change set is being made".to_owned())));
        }
        Prepared::Held(Before::Watch(work)) => {
            return Ok(pending(inner, call, &json!({}), Some(scene.held(&Before::Watch(work)))));
        }
        Prepared::Held(before) => return Ok(undone(scene.held(&before))),
        Prepared::Refused(reason) => return Ok(undone(scene.refused(&reason))),
        Prepared::Nothing => return done(scene.place, false).await,
        Prepared::Ready(ready) => ready,
    };
    let refused = match &call.shown {
        Some(shown) if compare => differs(inner, scene, shown, &ready),
        _ => None,
    };
    if let Some(why) = refused.or_else(|| forbidden(&scene.place.environment.name, &ready.plan, may)) {
        discard(scene.place.stacks, stack, &ready.set.name).await?;
        return Ok(undone(format!("{why}; nothing was changed")));
    }
    let begun = mark(scene.place.stacks, stack).await?;
    let token = Token { begun, set: ready.set.id, executed: false, seen: Seen::new() };
    Ok(Report::Pending { token: json!(token), after_ms: 0, note: None })
}

/// In what the change set is not what the stage was entered for.
fn differs(inner: &Inner, scene: &Scene<'_>, shown: &Shown, ready: &Ready) -> Option<String> {
    let live = there(ready.stack.clone());
    let now = scene.shown(inner, live.as_ref(), Some(&ready.plan));
    shown.differs(&now).map(|Differs(why)| why)
}

/// What would be replaced or deleted, and how that is allowed.
fn forbidden(environment: &str, plan: &Plan, may: May) -> Option<String> {
    let May::Only { replace, delete } = may else { return None };
    let named = |of: fn(Act) -> bool| {
        few(&plan.rows.iter().filter(|row| of(row.act)).map(|row| row.resource.as_str()).collect::<Vec<_>>())
    };
    let replaces = plan.replaces() && !replace;
    let deletes = plan.deletes() && !delete;
    let (what, keys) = match (replaces, deletes) {
        (false, false) => return None,
        (true, false) => (format!("{} would be replaced", named(Act::replaces)), "allow_replacement: true"),
        (false, true) => (format!("{} would be deleted", named(Act::deletes)), "allow_deletion: true"),
        (true, true) => (
            format!("{} would be replaced, and {} deleted", named(Act::replaces), named(Act::deletes)),
            "allow_replacement: true, allow_deletion: true",
        ),
    };
    Some(format!(
        "{what}, and nobody has approved that. If it is meant, give the stage an `approval`, or `run: [{{ stack: {{ {keys} }} }}]`, or \
         apply it once by `landfall stack apply {environment}`"
    ))
}

/// The journal has what is about to be executed, and perhaps was.
async fn begun(inner: &Inner, place: &Place<'_>, call: &Call, token: Token) -> Result<Report, Wrong> {
    if call.stop && follow(place.stacks, &token.begun).await?.events.is_empty() {
        discard(place.stacks, &place.name, &token.set).await?;
        return Ok(undone("stopped before it was begun"));
    }
    match execute(place.stacks, &token.begun, &token.set).await {
        Ok(()) => Ok(pending(inner, call, &json!(Token { executed: true, ..token }), None)),
        Err(PortError::Conflict(why)) => Ok(undone(why)),
        Err(error) => Err(error.into()),
    }
}

async fn followed(inner: &Inner, place: &Place<'_>, call: &Call, mut token: Token) -> Result<Report, Wrong> {
    let (stack, name) = (&place.name, &place.environment.name);
    let look = follow(place.stacks, &token.begun).await?;
    look_behind(place.stacks, &token.begun, &look, &mut token.seen).await;
    let Some(ending) = look.ending else {
        let busy = look.busy(&token.begun.stack);
        return Ok(pending(inner, call, &json!(token), (!busy.is_empty()).then(|| few(&busy))));
    };
    let causes = look.causes(&token.begun.stack, &token.seen);
    let why = causes.all().next().map_or_else(|| "no reason was given".to_owned(), said);
    Ok(match ending {
        Ending::Done => return done(place, true).await,
        Ending::RolledBack if phase(place.live().await?.as_ref()) == Phase::NeverCame => {
            undone(format!("{why}; nothing is left of it: `landfall stack recover {name}` clears it away"))
        }
        Ending::RolledBack => undone(why),
        Ending::Gone => failed(format!("stack {stack} is gone: somebody deleted it")),
        Ending::RollbackFailed | Ending::Failed => {
            failed(format!("{why}; `landfall stack recover {name}` leads out of it"))
        }
    })
}

/// In one line, with the last thing that was logged.
fn said(cause: &Cause) -> String {
    let mut all = cause.sentences();
    if let Some(troubles) = cause.troubles() {
        let logged = troubles.lines.iter().rev().filter_map(|line| Some(line.split_once(" | ")?.1.trim()));
        all.extend(logged.into_iter().find(|line| !line.is_empty()).map(|line| format!("its last line: {line}")));
        all.extend(troubles.fix.iter().map(|fix| format!("what most likely helps: {fix}")));
    }
    all.join("; ")
}

async fn done(place: &Place<'_>, changed: bool) -> Result<Report, Wrong> {
    let live = place.live().await?;
    if let Some(on) = place.protects(live.as_ref()) {
        place.stacks.protect(&place.name, on).await?;
    }
    let mut output = BTreeMap::from([("stack".to_owned(), place.name.clone())]);
    if !changed {
        output.insert("changed".to_owned(), "nothing".to_owned());
    }
    output.extend(live.as_ref().and_then(url_of).map(|url| ("url".to_owned(), url)));
    Ok(Report::Done { output })
}
