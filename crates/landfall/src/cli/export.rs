//! Arguments of `landfall pipeline export`.

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum ExportCommand {
    /// CloudFormation for AWS CodePipeline and CodeBuild, which run this same program
    #[command(
        after_help = "Examples:\n  landfall pipeline export codepipeline > pipelines.yml\n  landfall pipeline export codepipeline main --sha256 9f86d0… --output json\n  landfall --state s3://acme-landfall/shop pipeline export codepipeline\n\nYAML, or JSON with --output json. Nothing is asked of AWS. docs/codepipeline.md tells the rest."
    )]
    Codepipeline(CodepipelineArgs),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct CodepipelineArgs {
    /// Pipelines of the manifest; all if not given
    #[arg(value_name = "PIPELINE")]
    pub(crate) pipelines: Vec<String>,
    /// The account, where the manifest does not say it
    #[arg(long, value_name = "DIGITS")]
    pub(crate) account: Option<String>,
    /// Where jobs get landfall: a .tar.gz, or the bare program [default: this version's, for x86-64]
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// SHA-256 of that file; jobs refuse any other. Without it the stack's parameter asks for it
    #[arg(long, value_name = "HEX")]
    pub(crate) sha256: Option<String>,
}
