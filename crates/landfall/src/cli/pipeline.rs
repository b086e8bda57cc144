//! Pipelines and their runs.

use clap::{Args, Subcommand};

use super::export::ExportCommand;

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum PipelineCommand {
    /// Begin a run: one release by digest, from environment to environment
    #[command(
        after_help = "Examples:\n  landfall pipeline run                     the only pipeline, with the commit that is checked out\n  landfall pipeline run main --commit 1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d\n  landfall pipeline run main --release sha256:9f86d081 --detach\n\nEnds with 10 where somebody's approval is waited for. Without a server the run goes on with the next\n`landfall pipeline` command. docs/pipelines.md tells the rest."
    )]
    Run(RunArgs),
    /// What runs wait for or do now
    #[command(after_help = "Examples:\n  landfall pipeline status\n  landfall pipeline status main --output json")]
    Status(StatusArgs),
    /// Runs, newest first
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  landfall pipeline list\n  landfall pipeline list main --limit 50 --output json"
    )]
    List(ListArgs),
    /// One run: its stages, what there is to decide, and its time-line
    #[command(
        after_help = "Examples:\n  landfall pipeline show main            its newest run\n  landfall pipeline show main#12 --output json"
    )]
    Show(ShowArgs),
    /// Say yes to what would be deployed, exactly as it is shown
    #[command(
        after_help = "Examples:\n  landfall pipeline approve main#12\n  landfall pipeline approve main#12 --fingerprint sha256:9f86d081… --comment \"looked at staging\"\n\nWhat you say yes to is printed first. `--fingerprint` makes sure that it is what you saw before."
    )]
    Approve(DecideArgs),
    /// Say no: the run ends
    #[command(after_help = "Examples:\n  landfall pipeline reject main#12 --comment \"the basket is broken\"")]
    Reject(DecideArgs),
    /// End a run; what is under way in a stage is stopped and undone
    #[command(after_help = "Examples:\n  landfall pipeline cancel main#12")]
    Cancel(CancelArgs),
    /// A run that failed goes on before the stage that failed
    #[command(after_help = "Examples:\n  landfall pipeline retry main#12")]
    Retry(RetryArgs),
    /// The manifest's pipelines for those who let somebody else run them
    #[command(subcommand)]
    Export(ExportCommand),
    /// Print a link to a run's page, for whoever asks; it lives for twelve hours
    #[command(
        after_help = "Examples:\n  landfall pipeline open main            its newest run\n  xdg-open \"$(landfall pipeline open main#12)\""
    )]
    Open(OpenArgs),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct OpenArgs {
    /// By id, by number (`main#12`), or by its pipeline, which means its newest; the only pipeline if not given
    #[arg(value_name = "RUN", default_value = "")]
    pub(crate) run: String,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct RunArgs {
    /// The pipeline; the only one if not given
    pub(crate) pipeline: Option<String>,
    /// Full commit id that images are named after; the one that is checked out, if not given
    #[arg(long, value_name = "COMMIT", conflicts_with = "release")]
    pub(crate) commit: Option<String>,
    /// A release in the registry, by commit or id: its images by digest
    #[arg(long, value_name = "COMMIT|ID")]
    pub(crate) release: Option<String>,
    /// The branch that images are named after
    #[arg(long, value_name = "BRANCH")]
    pub(crate) branch: Option<String>,
    #[command(flatten)]
    pub(crate) waiting: FollowArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct FollowArgs {
    /// Return as soon as it is recorded (only with a running server)
    #[arg(long)]
    pub(crate) detach: bool,
    /// How long to follow it
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    pub(crate) timeout: u64,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct StatusArgs {
    /// A pipeline; all if not given
    pub(crate) pipeline: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ListArgs {
    /// A pipeline; all if not given
    pub(crate) pipeline: Option<String>,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) limit: usize,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ShowArgs {
    /// `main#12`, a run's id, or a pipeline for its newest
    pub(crate) run: String,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct DecideArgs {
    /// `main#12`, a run's id, or a pipeline for its newest
    pub(crate) run: String,
    /// Of what was looked at, as `landfall pipeline show` prints it; another one changes nothing
    #[arg(long, value_name = "SHA256")]
    pub(crate) fingerprint: Option<String>,
    /// Kept with the decision
    #[arg(long, value_name = "TEXT")]
    pub(crate) comment: Option<String>,
    #[command(flatten)]
    pub(crate) waiting: FollowArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct CancelArgs {
    /// `main#12`, a run's id, or a pipeline for its newest
    pub(crate) run: String,
    /// Kept with the decision
    #[arg(long, value_name = "TEXT")]
    pub(crate) comment: Option<String>,
    #[command(flatten)]
    pub(crate) waiting: FollowArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct RetryArgs {
    /// `main#12`, a run's id, or a pipeline for its newest
    pub(crate) run: String,
    #[command(flatten)]
    pub(crate) waiting: FollowArgs,
}
