//! `landfall push` without a target, and `landfall build --push`: what was built goes where the manifest awaits it.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use landfall_model::app::App;
use landfall_ports::PortError;
use landfall_registry::source::Layout;
use landfall_registry::{Client, Push, Pushed, Reference};
use serde::Serialize;

use crate::build::{Images, inputs_tag};
use crate::cli::Global;
use crate::cli::images::{PushArgs, PushOptions};
use crate::commands::push::{client_of, interrupted, legal, refused, summary};
use crate::commands::{manifest, port_error, release};
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::meter::Meter;
use crate::paths;
use crate::printer::Printer;
use crate::progress::{Mark, Progress};
use crate::stop::Stop;

#[derive(Serialize)]
pub(crate) struct Answer {
    /// Of the manifest: `web/app`.
    name: String,
    image: String,
    tags: Vec<String>,
    #[serde(flatten)]
    pushed: Pushed,
}

pub(crate) async fn run(args: &PushArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    let app = manifest::load(&global.config, printer)?;
    let state = paths::State::of(global.state.clone())?;
    let images = Images::look(&app, &global.config, state.directory(), None).await?;
    let all = (0..images.items.len()).collect();
    let desk = Desk::new(&app, &global.config, &args.how, printer);
    let plans = desk.plans(&images, &all)?;
    ended(desk.unless_interrupted(desk.publish(&images, plans)).await?, printer)
}

/// `None`: it was broken off.
pub(crate) fn ended(answers: Option<Vec<Answer>>, printer: &Printer) -> CliResult<ExitCode> {
    let Some(answers) = answers else { return Ok(ExitCode::Interrupted) };
    printer
        .emit(&answers, |answers| answers.iter().map(|answer| answer.image.clone()).collect::<Vec<_>>().join("\n"))?;
    Ok(ExitCode::Ok)
}

/// An image with what it is to be called.
pub(crate) struct Plan {
    item: usize,
    target: Reference,
    tags: Vec<String>,
}

/// An image would be found under a commit that it is not of, by deployments too.
pub(crate) fn of_its_commit(images: &Images) -> CliResult<()> {
    if let (Some(head), Some(commit)) = (images.other_commit(), &images.words.commit) {
        let message = format!("the commit is said to be {commit}, and {head} is checked out, whose files are others");
        return Err(CliError::new(ExitCode::Conflict, message)
            .hint(format!("git checkout {commit}, then landfall build"))
            .hint(
                "pull requests: CI may check out the merge with their base, and no commit of theirs (docs/images.md)",
            ));
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, Default)]
enum Reached {
    #[default]
    Nothing,
    Sending,
    Sent,
}

/// Where images of a manifest are sent from. One client for all that is asked and sent: one login, the same connections.
pub(crate) struct Desk<'a> {
    app: &'a App,
    config: &'a Path,
    how: &'a PushOptions,
    printer: &'a Printer,
    meter: Arc<Meter>,
    reached: Cell<Reached>,
    pub(crate) client: Client,
}

impl<'a> Desk<'a> {
    pub(crate) fn new(app: &'a App, config: &'a Path, how: &'a PushOptions, printer: &'a Printer) -> Self {
        let meter = Arc::new(Meter::new(*printer));
        let client = client_of(app, meter.clone());
        Self { app, config, how, printer, meter, reached: Cell::default(), client }
    }

    /// For those of `chosen` that the manifest awaits somewhere; nothing need be built yet.
    ///
    /// # Errors
    /// Whatever would keep them from being pushed once they are.
    pub(crate) fn plans(&self, images: &Images, chosen: &BTreeSet<usize>) -> CliResult<Vec<Plan>> {
        let awaited: Vec<usize> = chosen.iter().copied().filter(|item| images.items[*item].target.is_some()).collect();
        if awaited.is_empty() {
            let names = chosen.iter().map(|item| images.items[*item].name.as_str()).collect::<Vec<_>>().join(", ");
            let message = format!("the manifest says of none of these where it goes: {names}");
            return Err(CliError::new(ExitCode::NotFound, message).hint(
                "`await` with `image` and `build` does (docs/images.md); `landfall push --from` takes a target",
            ));
        }
        of_its_commit(images)?;
        awaited.into_iter().map(|item| plan(images, item, self.how, self.printer)).collect()
    }

    /// What `work` comes to; `None`: somebody broke it off, and what is left behind is said.
    pub(crate) async fn unless_interrupted<T>(&self, work: impl Future<Output = CliResult<T>>) -> CliResult<Option<T>> {
        let mut stop = Stop::listen()?;
        tokio::select! {
            done = work => return done.map(Some),
            () = stop.asked() => {}
        }
        match self.reached.get() {
            Reached::Nothing => {}
            Reached::Sending => interrupted(&self.meter, self.printer),
            Reached::Sent => {
                self.meter.finish();
                self.printer.note(release::UNRECORDED);
            }
        }
        Ok(None)
    }

    pub(crate) async fn publish(&self, images: &Images, plans: Vec<Plan>) -> CliResult<Vec<Answer>> {
        // All of them are looked at before the first is sent.
        let there = plans.iter().map(|plan| there(images, plan)).collect::<CliResult<Vec<bool>>>()?;
        self.reached.set(Reached::Sending);
        let (mut answers, mut known) = (Vec::new(), BTreeMap::new());
        for (plan, there) in plans.into_iter().zip(there) {
            let since = Instant::now();
            let name = &images.items[plan.item].name;
            let pushed = self.send(images, &plan, there).await;
            self.meter.finish();
            let pushed = pushed.map_err(|mut error| {
                error.message = format!("{name}: {}", error.message);
                error
            })?;
            let said =
                format!("Push {name}  {}:{}  {}", plan.target.repository, plan.tags.join(", :"), summary(&pushed));
            Progress::new(*self.printer).line(Mark::Done, &said, Some(since.elapsed()));
            let image = format!("{}@{}", plan.target.repository, pushed.digest);
            known.insert(plan.target.to_string(), pushed.digest.clone());
            answers.push(Answer { name: name.clone(), image, tags: plan.tags, pushed });
        }
        if !self.how.no_release {
            self.reached.set(Reached::Sent);
            let recorded =
                release::after_push(self.app, self.config, &self.client, &known, self.how.immutable, self.printer);
            recorded.await?;
        }
        Ok(answers)
    }

    /// `there`: the repository has it already, under the tag of its inputs.
    async fn send(&self, images: &Images, plan: &Plan, there: bool) -> CliResult<Pushed> {
        let push = Push {
            repository: &plan.target.repository,
            tags: &plan.tags,
            immutable: self.how.immutable,
            create_repository: self.how.create_repository,
            mounts: &self.how.mounts,
        };
        let inputs = inputs_tag(&images.inputs[plan.item]);
        if there {
            let tagged = self.client.retag(&push, &inputs).await.map_err(refused)?;
            return tagged.ok_or_else(|| {
                let gone = format!("{}:{inputs} is gone since it was found", plan.target.repository);
                CliError::new(ExitCode::Conflict, gone).hint("landfall build")
            });
        }
        let layout = Layout::open(&images.layout(plan.item), None).map_err(port_error)?;
        let pushed = self.client.push(&push, &layout).await.map_err(refused)?;
        // By this one the next build finds it. Where tags may not move, the first image of these inputs keeps it.
        let marks = [inputs];
        match self.client.push(&Push { tags: &marks, immutable: false, ..push }, &layout).await {
            Ok(_) | Err(PortError::Conflict(_)) => Ok(pushed),
            Err(error) => Err(refused(error)),
        }
    }
}

/// Whether the repository has it already. It has to be built, and not to have changed since.
fn there(images: &Images, plan: &Plan) -> CliResult<bool> {
    let name = &images.items[plan.item].name;
    let not_built = || {
        CliError::new(ExitCode::Conflict, format!("{name} is not built, or has changed since it was"))
            .hint("landfall build")
    };
    match images.record(plan.item).ok_or_else(not_built)?.found_in {
        Some(place) if place != plan.target.repository.to_string() => {
            let message = format!("{name} was found in {place}, and goes to {} now", plan.target.repository);
            Err(CliError::new(ExitCode::Conflict, message).hint("landfall build"))
        }
        place => Ok(place.is_some()),
    }
}

fn plan(images: &Images, item: usize, how: &PushOptions, printer: &Printer) -> CliResult<Plan> {
    let own = &images.items[item];
    let unknown = |name: &str| {
        CliError::new(ExitCode::Usage, format!("{}: nothing is known for {name} of its image's name", own.name))
            .hint("in CI `landfall ci` tells it; by hand: LANDFALL_COMMIT, LANDFALL_BRANCH, LANDFALL_TAG, or a git repository")
    };
    let target = images.words.fill(own.target.as_deref().unwrap_or_default()).map_err(unknown)?;
    let target = Reference::parse(&target).map_err(port_error)?;
    if target.digest.is_some() {
        return Err(CliError::new(ExitCode::InvalidManifest, format!("{}: a digest comes out of a push", own.name)));
    }
    let mut tags: Vec<String> = vec![target.version()];
    for text in own.tags.iter().chain(&how.tags) {
        match images.words.fill(text) {
            Ok(tag) if !tags.contains(&tag) => tags.push(tag),
            Ok(_) => {}
            Err(name) => printer.note(format!("{}: tag {text} is left out: nothing is known for {name}", own.name)),
        }
    }
    legal(&tags).map_err(|mut error| {
        error.message = format!("{}: {}", own.name, error.message);
        error
    })?;
    Ok(Plan { item, target, tags })
}
