//! `landfall build`: the manifest's images, as far as they have changed, and pushed where that is asked for. Names and digests on stdout.

use std::sync::Arc;

use landfall_registry::watch::Quiet;
use landfall_registry::{Reference, Repository};

use crate::build::{Builder, Built, Images, Wishes};
use crate::cli::Global;
use crate::cli::images::{BuildArgs, BuilderName, PushOptions};
use crate::commands::publish::Desk;
use crate::commands::{manifest, port_error, publish, push};
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::paths;
use crate::printer::Printer;
use crate::stop::Stop;

pub(crate) async fn run(args: &BuildArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    if !args.push && args.how != PushOptions::default() {
        return Err(CliError::new(ExitCode::Usage, "what is told of a push needs --push beside it")
            .hint("landfall build --push, or landfall push afterwards"));
    }
    let app = manifest::load(&global.config, printer)?;
    let state = paths::State::of(global.state.clone())?;
    let mut platforms = args.platforms.clone();
    platforms.sort();
    let images = Images::look(&app, &global.config, state.directory(), Some(&platforms)).await?;
    let chosen = images.chosen(&args.what)?;
    let builder = args.builder.map(|name| match name {
        BuilderName::Docker => Builder::Docker,
        BuilderName::Podman => Builder::Podman,
        BuilderName::Buildah => Builder::Buildah,
    });
    let wishes = Wishes {
        builder,
        platforms,
        secrets: args.secrets.clone(),
        fresh: args.fresh,
        cache_from: repositories(&args.cache_from)?,
        cache_to: repositories(&args.cache_to)?,
    };
    if args.push {
        let desk = Desk::new(&app, &global.config, &args.how, printer);
        // What cannot be pushed is told before it is built.
        let plans = desk.plans(&images, &chosen)?;
        let work = async {
            let built = images.build(&chosen, &wishes, &desk.client, printer).await?;
            if built.iter().any(|one| one.built) {
                images.unchanged().await?;
                publish::of_its_commit(&images)?;
            }
            desk.publish(&images, plans).await
        };
        return publish::ended(desk.unless_interrupted(work).await?, printer);
    }
    // A build needs no registry: of one that does not answer less is said.
    let client = push::client_of(&app, Arc::new(Quiet));
    let mut stop = Stop::listen()?;
    let built = tokio::select! {
        built = images.build(&chosen, &wishes, &client, printer) => built?,
        () = stop.asked() => {
            printer.note("broken off: images that were done are there, and the next build goes on with the others");
            return Ok(ExitCode::Interrupted);
        }
    };
    printer.emit(&built, |built| {
        let line = |built: &Built| format!("{} {}", built.image, built.digest);
        built.iter().map(line).collect::<Vec<_>>().join("\n")
    })?;
    Ok(ExitCode::Ok)
}

fn repositories(names: &[String]) -> CliResult<Vec<Repository>> {
    let one = |name: &String| {
        let reference = Reference::parse(name).map_err(port_error)?;
        match (reference.tag, reference.digest) {
            (None, None) => Ok(reference.repository),
            _ => Err(CliError::new(
                ExitCode::Usage,
                format!("{name}: a cache is kept in a repository, under tags of its own"),
            )),
        }
    };
    names.iter().filter(|name| !name.is_empty()).map(one).collect()
}
