//! Arguments of `landfall template`.

use clap::Args;

#[derive(Debug, Clone, Args)]
pub(crate) struct TemplateArgs {
    /// A long-lived environment with a `stack`
    #[arg(value_name = "ENV")]
    pub(crate) environment: String,
    /// The commit whose images are the defaults of the template's parameters
    #[arg(long, value_name = "COMMIT")]
    pub(crate) commit: Option<String>,
}
