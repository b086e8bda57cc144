//! Arguments of the commands that compare a lasting environment and change nothing.

use clap::Args;

use super::environment::WhatArgs;

#[derive(Debug, Clone, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) what: WhatArgs,
    /// Instead, whether what is deployed answers: the environment's `verify.probes`, asked again until they are right
    #[arg(long, conflicts_with_all = ["commit", "release", "images", "imagedefinitions", "services"])]
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
