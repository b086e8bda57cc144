//! Releases in registries.

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum ReleaseCommand {
    /// Record what this commit is: its images by digest, its configuration, and who made it where. `landfall push` does it by itself
    #[command(
        after_help = "Examples:\n  landfall release create\n  landfall release create --replace --output json\n\nThe images must be there, under the tags that the manifest awaits. The same release again is no error; another one\nof the same commit is refused. docs/releases.md tells the rest."
    )]
    Create(CreateArgs),
    /// One release with its images and where it comes from
    #[command(
        after_help = "Examples:\n  landfall release show                  of the commit that is checked out\n  landfall release show 1a2b3c4 --output json\n  landfall release show sha256:9f86d081 --in registry.example/team/app"
    )]
    Show(ShowArgs),
    /// The releases that the registry has, newest first. What was deployed to an environment: `landfall releases ENV`
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  landfall release list\n  landfall release list registry.example/team/app --limit 5 --output json"
    )]
    List(ListArgs),
    /// What is released in an environment, and what its parameters of SSM say
    #[command(
        after_help = "Examples:\n  landfall release current prod\n  landfall release current dev --output json\n\nA parameter that somebody else has written since is warned about."
    )]
    Current(CurrentArgs),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct CurrentArgs {
    pub(crate) environment: String,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct CreateArgs {
    /// Put it in the place of another one of the same commit
    #[arg(long)]
    pub(crate) replace: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ShowArgs {
    /// A commit or at least the first seven digits of one, or a release's id; the commit that is checked out, if not given
    #[arg(value_name = "COMMIT|ID")]
    pub(crate) release: Option<String>,
    /// Look into this repository, instead of those where the manifest's images go; may be given several times
    #[arg(long = "in", value_name = "REPOSITORY")]
    pub(crate) repositories: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ListArgs {
    /// [http[s]://]REGISTRY/REPOSITORY; those where the manifest's images go, if none is given
    #[arg(value_name = "REPOSITORY")]
    pub(crate) repositories: Vec<String>,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) limit: usize,
}
