//! Arguments of `landfall ci`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

#[derive(Debug, Clone, Args)]
pub(crate) struct CiArgs {
    #[command(subcommand)]
    pub(crate) command: Option<CiCommand>,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum CiCommand {
    /// What would run for this job or a given event, and why each rule matches or does not
    #[command(
        after_help = "Examples:\n  landfall ci plan\n  landfall ci plan --branch master\n  landfall ci plan --tag v1.2-prod --output json\n  landfall ci plan --event payload.json"
    )]
    Plan(EventArgs),
    /// Run the steps of the rules that match; also plain `landfall ci`
    #[command(
        after_help = "Examples:\n  landfall ci run\n  landfall ci run --branch master\n\nEnds with the code of the first step that failed. docs/ci.md tells the rest."
    )]
    Run(EventArgs),
    /// Continue a job that was killed or failed: what ended well for this commit is not run again
    #[command(after_help = "Examples:\n  landfall ci resume")]
    Resume(EventArgs),
}

/// Instead of what the host says.
#[derive(Debug, Clone, Default, Args)]
#[group(multiple = false)]
pub(crate) struct EventArgs {
    /// As if this branch was pushed to
    #[arg(long, value_name = "BRANCH", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) branch: Option<String>,
    /// As if this tag was pushed
    #[arg(long, value_name = "TAG", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) tag: Option<String>,
    /// As if it was about this pull request of the repository itself
    #[arg(long, value_name = "NUMBER")]
    pub(crate) pull_request: Option<u64>,
    /// As a file says that holds a webhook's payload of GitHub: push, create or pull_request
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) event: Option<PathBuf>,
}
