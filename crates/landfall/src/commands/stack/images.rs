//! The images that a stack is given: those that are named, those of a release, or those that are named after a commit; by digest.

use landfall_model::step::AwaitImage;
use landfall_stack::live::{Given, given as of_named, images};

use super::Open;
use crate::cli::Global;
use crate::cli::stack::StackImagesArgs;
use crate::commands::environment::image_definitions;
use crate::commands::{port_error, release};
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::printer::Printer;

pub(super) async fn given(open: &Open, args: &StackImagesArgs, global: &Global, printer: &Printer) -> CliResult<Given> {
    let mut named = Vec::new();
    let mut commit = args.commit.clone();
    if let Some(wanted) = &args.release {
        let deploy = args.to_deploy(&open.environment.name);
        if let Some((of, released)) = release::deployable(wanted, &deploy, global, printer).await? {
            // All of it is in the release; what is not there stays as it is.
            commit = None;
            let _ = of;
            named.extend(released);
        }
    }
    if let Some(file) = &args.imagedefinitions {
        named.extend(image_definitions(file)?);
    }
    named.extend(args.images.iter().cloned());
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
