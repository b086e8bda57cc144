//! Arguments of `landfall doctor`.

use clap::Args;

#[derive(Debug, Clone, Args)]
pub(crate) struct DoctorArgs {
    /// A long-lived environment, or `previews`; everything if not given
    #[arg(value_name = "ENV|previews")]
    pub(crate) what: Option<String>,
}
