//! Arguments of the commands that compare a lasting environment and change nothing.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use landfall_planner::plan::ImageOverride;

/// What would be deployed: as of `landfall deploy`.
#[derive(Debug, Clone, Args)]
pub(crate) struct DiffArgs {
    /// The environment, as under `environments`; the only one if not given
    pub(crate) environment: Option<String>,
    /// The commit that images are built from, or named after; without it what runs now stays
    #[arg(long, value_name = "COMMIT")]
    pub(crate) commit: Option<String>,
    /// An image instead of the manifest's; as often as there are some
    #[arg(long = "image", value_name = "[SERVICE/]CONTAINER=REF", value_parser = super::environment::image)]
    pub(crate) images: Vec<ImageOverride>,
    /// Images as CodePipeline's imagedefinitions.json has them
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) imagedefinitions: Option<PathBuf>,
    /// Look at this service only; may be repeated
    #[arg(long = "service", value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) what: DiffArgs,
    /// Instead, whether what is deployed answers: the environment's `verify.probes`, asked again until they are right
    #[arg(long, conflicts_with_all = ["commit", "images", "imagedefinitions", "services"])]
    pub(crate) probes: bool,
    /// Where to ask, instead of where the environment is reached
    #[arg(long, value_name = "URL", requires = "probes")]
    pub(crate) url: Option<String>,
    /// Seconds until a probe that is not right has failed [default: the manifest's]
    #[arg(long, value_name = "SECONDS", requires = "probes", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) deadline: Option<u32>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct DriftArgs {
    /// The environment; the only one if not given
    pub(crate) environment: Option<String>,
}
