//! Arguments of the commands that tell a deployment under way what to do.

use clap::Args;

#[derive(Debug, Clone, Args)]
pub(crate) struct ContinueArgs {
    /// The environment, as under `environments`
    pub(crate) environment: String,
    /// Only this service
    pub(crate) service: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct AbortArgs {
    /// The environment, as under `environments`
    pub(crate) environment: String,
    /// Only this service; without it the whole execution is stopped and undone
    pub(crate) service: Option<String>,
    /// End the deployment as it is instead of rolling it back, where the platform knows such an end
    #[arg(long)]
    pub(crate) no_rollback: bool,
}
