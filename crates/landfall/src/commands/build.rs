//! `landfall build`: the manifest's images, as far as they have changed. Names and digests on stdout.

use std::sync::Arc;

use landfall_registry::watch::Quiet;
use landfall_registry::{Reference, Repository};

use crate::build::{Builder, Built, Images, Wishes};
use crate::cli::Global;
use crate::cli::images::{BuildArgs, BuilderName};
use crate::commands::{manifest, port_error, push};
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::paths;
use crate::printer::Printer;

pub(crate) async fn run(args: &BuildArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
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
    let client = push::client_of(&app, Arc::new(Quiet));
    let built = tokio::select! {
        built = images.build(&chosen, &wishes, &client, printer) => built?,
        _ = tokio::signal::ctrl_c() => return Ok(ExitCode::Interrupted),
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
