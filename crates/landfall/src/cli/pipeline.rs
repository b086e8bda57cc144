//! Arguments of `landfall pipeline`.

use clap::Subcommand;

use super::export::ExportCommand;

#[derive(Debug, Subcommand)]
pub(crate) enum PipelineCommand {
    /// The manifest's pipelines for those who let somebody else run them
    #[command(subcommand)]
    Export(ExportCommand),
}
