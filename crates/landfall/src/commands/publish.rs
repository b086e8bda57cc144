//! `landfall push` without a target: what `landfall build` made goes where the manifest awaits it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use landfall_model::app::App;
use landfall_ports::PortError;
use landfall_registry::source::Layout;
use landfall_registry::{Push, Pushed, Reference};
use serde::Serialize;

use crate::build::{Images, inputs_tag};
use crate::cli::Global;
use crate::cli::images::PushArgs;
use crate::commands::push::{client_of, legal, refused, summary};
use crate::commands::{manifest, port_error, release};
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::meter::Meter;
use crate::paths;
use crate::printer::Printer;
use crate::progress::{Mark, Progress};

#[derive(Serialize)]
struct Answer {
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
    let awaited: Vec<usize> = (0..images.items.len()).filter(|item| images.items[*item].target.is_some()).collect();
    if awaited.is_empty() {
        return Err(CliError::new(ExitCode::NotFound, "the manifest says of no image where it goes")
            .hint("`await` with `image` and `build` does (docs/images.md); or give --from and a target"));
    }
    // It would be found under a commit that it is not of, by deployments too.
    if let (Some(head), Some(commit)) = (images.other_commit(), &images.words.commit) {
        let message = format!("the commit is said to be {commit}, and {head} is checked out, whose files are others");
        return Err(CliError::new(ExitCode::Conflict, message)
            .hint(format!("git checkout {commit}, then landfall build"))
            .hint(
                "pull requests: CI may check out the merge with their base, and no commit of theirs (docs/images.md)",
            ));
    }
    // All of them are looked at before the first is sent.
    let mut plans = Vec::new();
    for item in awaited {
        plans.push((item, plan(&images, item, args, printer)?));
    }
    let (mut answers, mut known) = (Vec::new(), BTreeMap::new());
    for (item, plan) in plans {
        let since = Instant::now();
        let name = &images.items[item].name;
        let pushed = send(&app, &images, item, &plan, args, printer).await.map_err(|mut error| {
            error.message = format!("{name}: {}", error.message);
            error
        })?;
        let said = format!("Push {name}  {}:{}  {}", plan.target.repository, plan.tags.join(", :"), summary(&pushed));
        Progress::new(*printer).line(Mark::Done, &said, Some(since.elapsed()));
        let image = format!("{}@{}", plan.target.repository, pushed.digest);
        known.insert(plan.target.to_string(), pushed.digest.clone());
        answers.push(Answer { name: name.clone(), image, tags: plan.tags, pushed });
    }
    if !args.no_release {
        release::after_push(&app, &global.config, &known, args.immutable, printer).await?;
    }
    printer
        .emit(&answers, |answers| answers.iter().map(|answer| answer.image.clone()).collect::<Vec<_>>().join("\n"))?;
    Ok(ExitCode::Ok)
}

struct Plan {
    target: Reference,
    tags: Vec<String>,
    /// The repository has it already, under the tag of its inputs.
    there: bool,
}

fn plan(images: &Images, item: usize, args: &PushArgs, printer: &Printer) -> CliResult<Plan> {
    let own = &images.items[item];
    let Some(record) = images.record(item) else {
        return Err(CliError::new(
            ExitCode::Conflict,
            format!("{} is not built, or has changed since it was", own.name),
        )
        .hint("landfall build"));
    };
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
    for text in own.tags.iter().chain(&args.tags) {
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
    let there = match &record.found_in {
        Some(place) if *place != target.repository.to_string() => {
            let message = format!("{} was found in {place}, and goes to {} now", own.name, target.repository);
            return Err(CliError::new(ExitCode::Conflict, message).hint("landfall build"));
        }
        place => place.is_some(),
    };
    Ok(Plan { there, target, tags })
}

async fn send(
    app: &App,
    images: &Images,
    item: usize,
    plan: &Plan,
    args: &PushArgs,
    printer: &Printer,
) -> CliResult<Pushed> {
    let meter = Arc::new(Meter::new(*printer));
    let client = client_of(app, meter.clone());
    let push = Push {
        repository: &plan.target.repository,
        tags: &plan.tags,
        immutable: args.immutable,
        create_repository: args.create_repository,
        mounts: &args.mounts,
    };
    let inputs = inputs_tag(&images.inputs[item]);
    if plan.there {
        let tagged = client.retag(&push, &inputs).await.map_err(refused)?;
        return tagged.ok_or_else(|| {
            CliError::new(ExitCode::Conflict, format!("{}:{inputs} is gone since it was found", plan.target.repository))
                .hint("landfall build")
        });
    }
    let layout = Layout::open(&images.layout(item), None).map_err(port_error)?;
    let pushed = client.push(&push, &layout).await;
    meter.finish();
    let pushed = pushed.map_err(refused)?;
    // By this one the next build finds it. Where tags may not move, the first image of these inputs keeps it.
    let marks = [inputs];
    match client.push(&Push { tags: &marks, immutable: false, ..push }, &layout).await {
        Ok(_) | Err(PortError::Conflict(_)) => Ok(pushed),
        Err(error) => Err(refused(error)),
    }
}
