//! A stage of an environment that is a stack: what applying it would do, as an approver is shown it, and the applying itself.
//!
//! **What was shown is what is done.** The change set that is about to be executed is compared with what the stage was entered for,
//! line by line: images, template, the stack's state, and every resource that it adds, changes, replaces or deletes. One line more, and
//! nothing is executed.
//!
//! **A death loses nothing.** The change set is found again by its name, which follows from what is wanted and from the stack's state.
//! Before it is executed the run's journal has its id and the stack's newest event; executing it a second time does nothing, and its
//! end is read from the events after that one.

mod apply;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use landfall_model::Timestamp;
use landfall_model::app::LongLivedEnvironment;
use landfall_model::cloudformation::StackState;
use landfall_model::ids::RunId;
use landfall_model::pipeline::Stage;
use landfall_model::stack::stack_name;
use landfall_pipeline::{Run, RunView, Shown, StageState, StageView};
use landfall_planner::plan::ImageOverride;
use landfall_ports::stacks::Stacks;
use landfall_ports::{PortError, PortResult};
use landfall_stack::live::{
    Before, ImageParameter, Phase, Plan, Unwanted, Wanted, Work as UnderWay, given, images as parameters, overwritten,
    phase, plan_name, protects, told, wanted,
};
use landfall_steps::stack::{Prepared, Purpose, discard, prepare, state_of};
use serde_json::json;
use sha2::{Digest as _, Sha256};

pub(super) use self::apply::{apply, back};
use super::{CurrentStack, look};
use crate::service::Inner;

/// A change set takes seconds; of a large stack a minute.
const PATIENCE: Duration = Duration::from_secs(60);
const FIRST_LOOK: Duration = Duration::from_millis(20);
const LONGEST_LOOK: Duration = Duration::from_secs(2);
/// Plans that are kept in mind: of each environment that is waited before, and a few more.
const PLANS: usize = 32;

/// Why something cannot be told.
enum Wrong {
    /// Perhaps it can later.
    Later(String),
    Never(String),
}

impl Wrong {
    fn why(self) -> String {
        match self {
            Self::Later(why) | Self::Never(why) => why,
        }
    }
}

impl From<PortError> for Wrong {
    fn from(error: PortError) -> Self {
        if error.passes() { Self::Later(error.to_string()) } else { Self::Never(error.to_string()) }
    }
}

/// A stage's stack, whatever it is like.
struct Place<'a> {
    stacks: &'a dyn Stacks,
    environment: &'a LongLivedEnvironment,
    name: String,
}

/// A stack, and what it shall be.
struct Scene<'a> {
    place: &'a Place<'a>,
    /// `None`: there is none, or one that was only planned.
    live: Option<StackState>,
    template: Option<String>,
    images: Vec<ImageOverride>,
    wanted: Wanted,
}

fn place<'a>(inner: &'a Inner, environment: &'a LongLivedEnvironment) -> Result<Place<'a>, Wrong> {
    let stacks = inner.stacks.get(&environment.name).map(AsRef::as_ref).ok_or_else(|| {
        Wrong::Never(format!("environment {} is a stack, and there is no CloudFormation here", environment.name))
    })?;
    Ok(Place { stacks, environment, name: stack_name(&inner.app.project, &environment.name) })
}

impl Place<'_> {
    async fn live(&self) -> PortResult<Option<StackState>> {
        Ok(there(self.stacks.describe(&self.name).await?))
    }

    /// What termination protection is to become.
    fn protects(&self, live: Option<&StackState>) -> Option<bool> {
        protects(live, self.environment.stack.as_ref().is_some_and(|stack| stack.termination_protection))
    }
}

fn there(stack: Option<StackState>) -> Option<StackState> {
    stack.filter(|stack| !matches!(phase(Some(stack)), Phase::Absent | Phase::Review))
}

/// `back`: the parameters that it is to have again, instead of the run's images.
async fn scene<'a>(
    inner: &Inner,
    run: &Run,
    stage: &Stage,
    place: &'a Place<'a>,
    back: Option<&BTreeMap<String, String>>,
) -> Result<Scene<'a>, Wrong> {
    let environment = place.environment;
    let live = place.live().await?;
    let template = match &live {
        Some(live) => place.stacks.template(&live.id).await?,
        None => None,
    };
    let images = look::images(stage, environment, run.release());
    let named: Vec<_> =
        images.iter().map(|one| (one.service.clone(), one.container.clone(), one.image.clone())).collect();
    let never = |unwanted: Unwanted| Wrong::Never(unwanted.to_string());
    let mut given = given(&inner.app, environment, &named).map_err(never)?;
    if let Some(back) = back {
        for (parameter, image) in &mut given.parameters {
            let before = back.get(parameter);
            image.clone_from(before.ok_or_else(|| Wrong::Never(format!("which image {parameter} was is not known")))?);
        }
    }
    let seen = live.as_ref().map(|live| (live, template.as_deref()));
    let wanted = wanted(&inner.app, environment, &given, seen).map_err(never)?;
    Ok(Scene { place, live, template, images, wanted })
}

impl Scene<'_> {
    /// What an approval is bound to. `plan`: none where no resource changes.
    fn shown(&self, inner: &Inner, live: Option<&StackState>, plan: Option<&Plan>) -> Shown {
        let name = &self.wanted.stack;
        let mut shown = Shown { environment: self.place.environment.name.clone(), ..Shown::default() };
        for one in &self.images {
            let who = format!("{}/{}", one.service.as_deref().unwrap_or_default(), one.container);
            shown.images.insert(who, one.image.clone());
        }
        for one in parameters(&inner.app, self.place.environment) {
            if let Some(image) = live.and_then(|live| live.parameters.get(&one.parameter)) {
                shown.present.insert(format!("{}/{}", one.service, one.container), image.clone());
            }
        }
        let role = self.wanted.role.as_deref().unwrap_or_default();
        let mut digest = Sha256::new();
        for part in [self.wanted.template.as_str(), role, if self.wanted.protected { "protected" } else { "" }] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        shown.config.insert(name.clone(), hex::encode(digest.finalize()));
        shown.state.insert(name.clone(), state_of(live));
        shown.changes = self.changes(live, plan);
        shown
    }

    /// What applying does, a line each; what may hurt comes last.
    fn changes(&self, live: Option<&StackState>, plan: Option<&Plan>) -> Vec<String> {
        let mut lines = Vec::new();
        if live.is_none() {
            lines.push(format!("stack {}: is made", self.wanted.stack));
        }
        for one in live.iter().flat_map(|live| overwritten(live, self.template.as_deref())) {
            lines
                .push(format!("{} was set to {} past Landfall, which set it to {}", one.parameter, one.found, one.set));
        }
        // Of one that is not there all are new.
        for one in live.iter().flat_map(|live| self.wanted.images_changed(Some(live))) {
            let from = one.from.map_or_else(String::new, |from| format!("{from} → "));
            lines.push(format!("{}: {from}{}", one.parameter, one.to));
        }
        if let Some(on) = self.place.protects(live) {
            lines.push(format!("termination protection → {}", if on { "on" } else { "off" }));
        }
        let width = plan.map(Plan::width).unwrap_or_default();
        lines.extend(plan.iter().flat_map(|plan| &plan.rows).map(|row| row.line(width)));
        lines
    }

    /// The plan of a change set that is made to be looked at, and taken away again.
    async fn planned(&self, inner: &Inner, afresh: bool) -> Result<Option<Plan>, Wrong> {
        let name = plan_name(&self.wanted, &state_of(self.live.as_ref()));
        if let Some(known) = inner.pipelines.plans().get(&name).filter(|_| !afresh) {
            return Ok(known.clone());
        }
        let plan = self.looked(inner).await?;
        let mut plans = inner.pipelines.plans();
        if plans.len() >= PLANS {
            plans.clear();
        }
        plans.insert(name, plan.clone());
        Ok(plan)
    }

    async fn looked(&self, inner: &Inner) -> Result<Option<Plan>, Wrong> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut pause = FIRST_LOOK;
        loop {
            match prepare(self.place.stacks, &self.wanted, Purpose::Look).await? {
                Prepared::Ready(ready) => {
                    discard(self.place.stacks, &self.wanted.stack, &ready.set.name).await?;
                    return Ok(Some(ready.plan));
                }
                Prepared::Nothing => return Ok(None),
                Prepared::Refused(reason) => return Err(Wrong::Never(self.refused(&reason))),
                // The empty stack of a change set that was looked at goes.
                Prepared::Pending | Prepared::Held(Before::Watch(UnderWay::Delete)) => {}
                Prepared::Held(before) => return Err(Wrong::Later(self.held(&before))),
            }
            if tokio::time::Instant::now() >= deadline || inner.shutdown.is_cancelled() {
                return Err(Wrong::Later(format!(
                    "CloudFormation makes no change set of {} in time",
                    self.wanted.stack
                )));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_LOOK);
        }
    }

    fn refused(&self, reason: &str) -> String {
        format!("CloudFormation refuses the template of {}: {}", self.wanted.stack, told(reason))
    }

    fn held(&self, before: &Before) -> String {
        let (wanted, name) = (&self.wanted, &self.place.environment.name);
        let said = before.said(&wanted.stack, &wanted.environment);
        match before {
            // What is under way is waited for.
            Before::Watch(_) => said,
            held => format!("{said}; {}", held.remedy(name, &wanted.environment)),
        }
    }
}

/// What would be applied over what. `afresh`: CloudFormation is asked, whatever it said of the same before.
pub(super) async fn shown(
    inner: &Inner,
    run: &Run,
    stage: &Stage,
    environment: &LongLivedEnvironment,
    afresh: bool,
) -> Result<Shown, String> {
    let place = place(inner, environment).map_err(Wrong::why)?;
    let scene = scene(inner, run, stage, &place, None).await.map_err(Wrong::why)?;
    let plan = scene.planned(inner, afresh).await.map_err(Wrong::why)?;
    let live = scene.live.as_ref();
    let from = live.map(|live| {
        let at = live.updated.or(live.created).map_or_else(String::new, |at| format!(", changed at {at:.0}"));
        format!("stack {}{at}", live.name)
    });
    Ok(Shown { from, ..scene.shown(inner, live, plan.as_ref()) })
}

async fn live(inner: &Inner, environment: &LongLivedEnvironment) -> Result<Option<StackState>, String> {
    place(inner, environment).map_err(Wrong::why)?.live().await.map_err(|error| error.to_string())
}

/// What a rollback goes back to: the images that run, as the stack's parameters. `None`: nothing runs.
pub(super) async fn before(inner: &Inner, environment: &LongLivedEnvironment) -> Result<Option<String>, String> {
    Ok(live(inner, environment).await?.map(|live| json!(live.parameters).to_string()))
}

fn url_of(live: &StackState) -> Option<String> {
    live.outputs.iter().find(|output| output.key == "Url").map(|output| output.value.clone())
}

/// Where the stack's load balancer is reached.
pub(super) async fn url(inner: &Inner, environment: &LongLivedEnvironment) -> Option<String> {
    url_of(&live(inner, environment).await.ok()??)
}

/// `service/container` → image, of those that come with releases.
fn running(inner: &Inner, environment: &LongLivedEnvironment, live: &StackState) -> BTreeMap<String, String> {
    let image = |one: ImageParameter| {
        let found = live.parameters.get(&one.parameter)?;
        Some((format!("{}/{}", one.service, one.container), found.clone()))
    };
    parameters(&inner.app, environment).into_iter().filter_map(image).collect()
}

/// The run's stages that brought these very images there, whatever became of them since.
fn brought<'a>(
    view: &'a RunView,
    environment: &'a str,
    images: &'a BTreeMap<String, String>,
) -> impl Iterator<Item = (&'a StageView, &'a Shown)> {
    let stages = view.stages.iter().filter(move |stage| stage.environment == environment);
    let entered = stages.filter_map(|stage| Some((stage, stage.shown.as_ref()?)));
    entered.filter(|(_, shown)| images.iter().all(|(who, image)| shown.images.get(who) == Some(image)))
}

/// Runs that retention keeps because stacks run what they brought, well or not: a failure that is forgotten would make its images look as if
/// somebody had applied them by hand. Of a stack that cannot be looked at, or changes and may yet go back, all that ever entered it.
pub(super) async fn spoken_for(inner: &Inner) -> BTreeSet<RunId> {
    let mut all = BTreeSet::new();
    for environment in inner.app.environments.values().filter(|one| one.stack.is_some()) {
        let name = environment.name.as_str();
        // Before and after, so that whoever was about to change it meanwhile is seen.
        let held = || inner.pipelines.runs().values().any(|known| known.run.holds() == Some(name));
        let before = held();
        let found = live(inner, environment).await;
        let is_held = before || held();
        let views = inner.pipelines.views();
        let entered = |images: &BTreeMap<String, String>| -> Vec<(bool, Timestamp, RunId)> {
            let own = |view: &RunView| {
                let passed = brought(view, name, images).map(|(stage, _)| stage.state == StageState::Passed).max()?;
                Some((passed, view.created_at, view.id.clone()))
            };
            views.iter().filter_map(own).collect()
        };
        match &found {
            Ok(None) if !is_held => {}
            Ok(Some(live)) if !is_held && matches!(phase(Some(live)), Phase::Steady { .. }) => {
                let images = running(inner, environment, live);
                // Of several the one that passed, else the last. Without any image as a parameter nothing is judged by what runs.
                all.extend(entered(&images).into_iter().max().filter(|_| !images.is_empty()).map(|(.., id)| id));
            }
            _ => all.extend(entered(&BTreeMap::new()).into_iter().map(|(.., id)| id)),
        }
    }
    all
}

/// What the stack says that it runs, and which run brought that.
pub(super) async fn current(inner: &Inner, environment: &LongLivedEnvironment) -> Result<Option<CurrentStack>, String> {
    let Some(live) = live(inner, environment).await? else { return Ok(None) };
    let images = running(inner, environment, &live);
    let passed =
        |view: &RunView| brought(view, &environment.name, &images).any(|(stage, _)| stage.state == StageState::Passed);
    let run = inner.pipelines.views().into_iter().filter(passed).max_by_key(|view| view.created_at);
    let commit = run.and_then(|view| view.release.commit);
    let changed = live.updated.or(live.created);
    Ok(Some(CurrentStack { name: live.name, status: live.status, changed, images, commit }))
}

/// Whether the stack is well and runs what is wanted (`service/container` → digest), and a stage that brought it has passed: what it
/// checked afterwards counts as well. Images that no run brought are somebody's who applied the stack by hand.
pub(super) async fn has_run(
    inner: &Inner,
    environment: &LongLivedEnvironment,
    wanted: &BTreeMap<String, &str>,
) -> Result<bool, String> {
    let Some(live) = live(inner, environment).await? else { return Ok(false) };
    let images = running(inner, environment, &live);
    let runs = |one: ImageParameter| {
        let who = format!("{}/{}", one.service, one.container);
        let found = images.get(&who).zip(wanted.get(&who));
        found.is_some_and(|(image, digest)| look::digest_of(image) == *digest)
    };
    let steady = phase(Some(&live)) == Phase::Steady { rolled_back: false };
    if !steady || !parameters(&inner.app, environment).into_iter().all(runs) {
        return Ok(false);
    }
    let views = inner.pipelines.views();
    let mut entered = views.iter().flat_map(|view| brought(view, &environment.name, &images)).peekable();
    if entered.peek().is_none() {
        return Ok(!images.is_empty());
    }
    // An image that stands in the template itself is known by what was shown only.
    let all = |shown: &Shown| {
        wanted.iter().all(|(who, digest)| shown.images.get(who).is_some_and(|image| look::digest_of(image) == *digest))
    };
    Ok(entered.any(|(stage, shown)| stage.state == StageState::Passed && all(shown)))
}
