//! The images that a stack is given: those that are named, those of a release, or those that are named after a commit; by digest.

use landfall_model::step::AwaitImage;
use landfall_stack::live::{Given, given as of_named, images};

use super::Open;
use crate::cli::Global;
use crate::cli::environment::WhatArgs;
use crate::commands::environment::commit_and_images;
use crate::commands::port_error;
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::printer::Printer;

pub(super) async fn given(open: &Open, args: &WhatArgs, global: &Global, printer: &Printer) -> CliResult<Given> {
    let (commit, named) = commit_and_images(args, global, printer).await?;
    let named: Vec<_> = named.into_iter().map(|one| (one.service, one.container, one.image)).collect();
    let mut given = of_named(&open.app, &open.environment, &named).map_err(|unwanted| open.unwanted(unwanted))?;
    let Some(commit) = commit else { return Ok(given) };
    for image in images(&open.app, &open.environment) {
        if given.parameters.contains_key(&image.parameter) {
            continue;
        }
        let Some(awaited) = &image.awaited else { continue };
        let who = format!("{}/{}", image.service, image.container);
        let filled = landfall_stack::filled(awaited, &open.app.project, &commit).ok_or_else(|| {
            CliError::new(ExitCode::Usage, format!("the image of {who} is not named after its commit alone: {awaited}"))
                .hint(format!("say it: --image {who}=REFERENCE"))
        })?;
        let found =
            open.images.resolve(&AwaitImage { image: filled.clone(), label: None }).await.map_err(port_error)?;
        let found = found.ok_or_else(|| {
            CliError::new(ExitCode::NotFound, format!("there is no image {filled} for {who}"))
                .hint("`landfall push` sends it; nothing was deployed")
        })?;
        given.parameters.insert(image.parameter, found);
    }
    Ok(given)
}
