//! `landfall import`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum ImportCommand {
    /// From ECS Deity's conf.yml: previews per branch with the same names, behaviour and messages
    #[command(
        after_help = "Examples:\n  landfall import deity conf.yml --stage dev --repository acme/my-project\n  landfall import deity conf.yml --stage dev --repository acme/my-project --to landfall.yml\n\ndocs/import.md explains what changes, by its number."
    )]
    Deity {
        /// The configuration, usually `conf.yml`
        #[arg(value_hint = ValueHint::FilePath)]
        conf: PathBuf,
        /// The top-level key of the configuration
        #[arg(long, value_name = "STAGE")]
        stage: String,
        /// A repository whose branches get previews; as often as there are some
        #[arg(long, value_name = "OWNER/NAME")]
        repository: Vec<String>,
        #[command(flatten)]
        to: ImportTo,
    },
    /// From a Copilot directory: environments, services, jobs and pipelines
    #[command(
        after_help = "Examples:\n  landfall import copilot copilot/\n  landfall import copilot . --to landfall.yml"
    )]
    Copilot {
        /// `copilot/`, or the directory that has it
        #[arg(default_value = ".", value_hint = ValueHint::DirPath)]
        directory: PathBuf,
        #[command(flatten)]
        to: ImportTo,
    },
    /// From the config.ts of cdk-ecs-cicd: dev, staging and prod as stacks, and both pipelines
    #[command(
        after_help = "Examples:\n  landfall import cdk-config cdk/config.ts\n  landfall import cdk-config cdk/config.ts --account 123456789012 --region eu-west-1 --to landfall.yml\n\nConstants are read and nothing is worked out: a variable or a call is refused with its place. docs/import.md\nexplains what changes, by its number."
    )]
    CdkConfig {
        /// The configuration, usually `cdk/config.ts`
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// The account of all environments
        #[arg(long, value_name = "DIGITS")]
        account: Option<String>,
        /// The region of all environments
        #[arg(long, value_name = "REGION")]
        region: Option<String>,
        #[command(flatten)]
        to: ImportTo,
    },
    /// From ecspresso.yml with its task and service definitions
    #[command(
        after_help = "Examples:\n  TAG=v1 landfall import ecspresso ecspresso.yml\n  TAG=v1 landfall import ecspresso ecspresso.yml --to landfall.yml\n\nVariables of templates stay variables; those without a default must be set. tfstate, ssm, cfn_output and\njsonnet are refused with their place."
    )]
    Ecspresso {
        /// The configuration; definitions are found relative to it
        #[arg(default_value = "ecspresso.yml", value_hint = ValueHint::FilePath)]
        file: PathBuf,
        #[command(flatten)]
        to: ImportTo,
    },
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ImportTo {
    /// Write it into this file instead of printing it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) to: Option<PathBuf>,
    /// Overwrite a file that exists
    #[arg(long, requires = "to")]
    pub(crate) force: bool,
}
