//! Arguments of `landfall ci`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};

#[derive(Debug, Clone, Args)]
pub(crate) struct CiArgs {
    #[command(subcommand)]
    pub(crate) command: Option<CiCommand>,
}

#[derive(Debug, Clone, Subcommand)]
#[command(defer = true)]
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
    /// Write the file that makes a CI host run `landfall ci`, and the least IAM policies beside it
    #[command(
        after_help = "Examples:\n  landfall ci init github --role arn:aws:iam::111122223333:role/landfall --sha256 9f86d0…\n  landfall ci init gitlab --binary image --image registry.example/landfall@sha256:… --role arn:aws:iam::111122223333:role/landfall\n  landfall ci init travis --binary cargo --stdout"
    )]
    Init(CiInit),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct CiInit {
    /// For which host
    pub(crate) host: HostName,
    /// How a job gets the binary: a CI machine has none
    #[arg(long, value_enum, value_name = "HOW", default_value_t)]
    pub(crate) binary: BinaryFrom,
    /// SHA-256 of the release's archive, from the .sha256 file beside it; any other is refused
    #[arg(long, value_name = "HEX", value_parser = sha256)]
    pub(crate) sha256: Option<String>,
    /// Where the release is: a .tar.gz, or the bare program [default: this version's, for x86-64]; with `--binary cargo` the git repository
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// The image that has the binary at /usr/local/bin/landfall
    #[arg(long, value_name = "REFERENCE")]
    pub(crate) image: Option<String>,
    /// Commit or tag that `--binary cargo` compiles [default: this version's tag]
    #[arg(long, value_name = "REV")]
    pub(crate) rev: Option<String>,
    /// The role that jobs take on AWS, by OpenID Connect where the host has it
    #[arg(long, value_name = "ARN")]
    pub(crate) role: Option<String>,
    /// The region, where the manifest names none or several
    #[arg(long, value_name = "REGION")]
    pub(crate) region: Option<String>,
    /// Print the host's file and write nothing
    #[arg(long)]
    pub(crate) stdout: bool,
    /// Overwrite files that exist
    #[arg(long, conflicts_with = "stdout")]
    pub(crate) force: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum HostName {
    Github,
    Gitlab,
    Circleci,
    Travis,
    Codebuild,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum BinaryFrom {
    /// Downloaded, and checked against `--sha256`
    #[default]
    Release,
    /// Copied out of `--image`
    Image,
    /// Compiled, which takes minutes
    Cargo,
}

fn sha256(text: &str) -> Result<String, String> {
    let right = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    right.then(|| text.to_ascii_lowercase()).ok_or_else(|| "a SHA-256 has 64 hexadecimal digits".to_owned())
}

// Instead of what the host says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
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
