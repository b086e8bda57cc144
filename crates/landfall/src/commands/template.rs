//! `template`: an environment as a template of CloudFormation. Nothing is asked of AWS.

use landfall_model::app::{App, LongLivedEnvironment};
use landfall_stack::{BODY, Unfit, excess, template};

use crate::cli::{Global, TemplateArgs};
use crate::commands::manifest;
use crate::error::{CliError, CliResult, not_found};
use crate::exit::ExitCode;
use crate::printer::Printer;

pub(crate) fn run(args: &TemplateArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    let app = manifest::load(&global.config, printer)?;
    let made = template(&app, &args.environment, args.commit.as_deref()).map_err(|unfit| {
        let message = unfit.to_string();
        match unfit {
            Unfit::NoEnvironment(name) => not_found("environment", &name, app.environments.keys().map(String::as_str)),
            Unfit::NoStack(name) => CliError::new(ExitCode::Usage, message)
                .hint(format!("add `stack: {{}}` to environments.{name}: docs/stacks.md")),
            Unfit::NoPlace(_) => CliError::new(ExitCode::Usage, message),
            Unfit::SameId(_) | Unfit::Unsupported(_) => CliError::new(ExitCode::InvalidManifest, message),
        }
    })?;
    let text = if printer.json() { made.json() } else { made.yaml() };
    excess(&made, &text).map_err(|excess| {
        CliError::new(ExitCode::InvalidManifest, excess.to_string())
            .hint("spread the services over several environments")
    })?;
    printer.raw(&text)?;
    let count = made.resources.len();
    printer.note(format_args!("{count} resources, {} parameters, {} bytes", made.parameters.len(), text.len()));
    if text.len() > BODY {
        printer.hint(format!(
            "over {BODY} bytes CloudFormation reads a template from S3: `landfall stack apply` puts it into `stack.template_bucket`, \
             `aws cloudformation deploy` into `--s3-bucket BUCKET`"
        ));
    }
    Ok(ExitCode::Ok)
}

/// Environments whose template is too long for a request, with its bytes, where the manifest does not say where it is put.
pub(crate) fn unplaced(app: &App) -> Vec<(&str, usize)> {
    let homeless =
        |one: &&LongLivedEnvironment| one.stack.as_ref().is_some_and(|stack| stack.template_bucket.is_none());
    let stacks = app.environments.values().filter(homeless);
    let bytes =
        stacks.filter_map(|one| Some((one.name.as_str(), template(app, &one.name, None).ok()?.compact().len())));
    bytes.filter(|(_, bytes)| *bytes > BODY).collect()
}
