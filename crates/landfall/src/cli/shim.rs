//! Arguments of `landfall shim`.

use std::path::PathBuf;

use clap::{Subcommand, ValueHint};

#[derive(Debug, Clone, Subcommand)]
#[command(defer = true)]
pub(crate) enum ShimCommand {
    /// Deploy as travis-ecs-deploy does, by its variables: build, push, deploy, from the first job of a push to a branch of DEPLOY_BRANCHES
    #[command(
        name = "travis-ecs-deploy",
        after_help = "Examples:\n  landfall shim travis-ecs-deploy\n  landfall shim travis-ecs-deploy --install node_modules/.bin\n  DRYRUN=1 landfall shim travis-ecs-deploy\n\ndocs/travis.md lists the variables and what differs from the original."
    )]
    TravisEcsDeploy {
        /// Write a program called travis-ecs-deploy into this directory instead, so that package.json need not change
        #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
        install: Option<PathBuf>,
    },
}
