//! `pipeline export`: the manifest's pipelines for those who let AWS run them. Nothing is asked of AWS.

use landfall_iam::StateBucket;
use landfall_stack::delivery::{Ask, Undeliverable, codepipeline};
use landfall_stack::{BODY, excess};

use crate::cli::Global;
use crate::cli::export::{CodepipelineArgs, ExportCommand};
use crate::commands::{manifest, release_url};
use crate::env_vars;
use crate::error::{CliError, CliResult, not_found};
use crate::exit::ExitCode;
use crate::printer::Printer;

pub(crate) fn run(command: &ExportCommand, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    let ExportCommand::Codepipeline(args) = command;
    let app = manifest::load(&global.config, printer)?;
    let region = env_vars::region();
    let url = args.url.clone().unwrap_or_else(release_url);
    check(args)?;
    let ask = Ask {
        app: &app,
        pipelines: &args.pipelines,
        account: args.account.as_deref(),
        region: region.as_deref(),
        state: global.state.as_deref().and_then(|state| StateBucket::parse(state.to_str()?)),
        url: Some(&url),
        sha256: args.sha256.as_deref(),
    };
    let made = codepipeline(&ask).map_err(|fault| {
        let message = fault.to_string();
        match fault {
            Undeliverable::NoPipeline(name) => not_found("pipeline", &name, app.pipelines.keys().map(String::as_str)),
            Undeliverable::NoPipelines => {
                CliError::new(ExitCode::Usage, message).hint("docs/pipelines.md tells what `pipelines` holds")
            }
            _ => CliError::new(ExitCode::InvalidManifest, message),
        }
    })?;
    let text = if printer.json() { made.template.json() } else { made.template.yaml() };
    excess(&made.template, &text).map_err(|excess| {
        CliError::new(ExitCode::InvalidManifest, excess.to_string()).hint("export fewer pipelines")
    })?;
    printer.raw(&text)?;
    made.notes.iter().for_each(|note| printer.hint(note));
    printer.note(format_args!(
        "{} resources, {} parameters, {} bytes",
        made.template.resources.len(),
        made.template.parameters.len(),
        text.len()
    ));
    if text.len() > BODY {
        printer.hint(format!(
            "over {BODY} bytes a template is uploaded first: `aws cloudformation deploy --s3-bucket BUCKET`"
        ));
    }
    Ok(ExitCode::Ok)
}

fn check(args: &CodepipelineArgs) -> CliResult<()> {
    program(args.url.as_deref(), args.sha256.as_deref())?;
    match args.account.as_deref().is_some_and(|text| !digits(text, 12, 10)) {
        true => Err(CliError::new(ExitCode::Usage, "--account: twelve digits")),
        false => Ok(()),
    }
}

fn digits(text: &str, length: usize, radix: u32) -> bool {
    text.len() == length && text.chars().all(|c| c.is_digit(radix) && !c.is_ascii_uppercase())
}

/// Where jobs get this program.
pub(crate) fn program(url: Option<&str>, sha256: Option<&str>) -> CliResult<()> {
    let wrong = |what: &str, takes: &str| Err(CliError::new(ExitCode::Usage, format!("{what}: {takes}")));
    if sha256.is_some_and(|text| !digits(text, 64, 16)) {
        return wrong("--sha256", "64 hexadecimal digits in lower case");
    }
    if url.is_some_and(|text| !text.starts_with("https://")) {
        return wrong("--url", "an address that begins with https://");
    }
    Ok(())
}
