//! Arguments of the commands for clusters of EC2 instances.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// What instances cost an hour and a month, beside the same vCPUs and memory on Fargate
    #[command(
        after_help = "Examples:\n  landfall cluster cost --instance-type t3.medium --count 3\n  landfall cluster cost --instance-type m5.large --count 10 --spot\n  landfall cluster cost --instance-type c6i.xlarge --prices prices.json --output json\n\nAWS is not asked: prices are a dated table in the binary, and --prices replaces it. docs/clusters.md tells the rest."
    )]
    Cost(CostArgs),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct CostArgs {
    /// Type of the instances
    #[arg(long, value_name = "TYPE")]
    pub(crate) instance_type: String,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) count: u32,
    /// Bought as Spot
    #[arg(long)]
    pub(crate) spot: bool,
    #[command(flatten)]
    pub(crate) prices: PricesArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct PricesArgs {
    /// Another table of prices, in the form that docs/clusters.md shows
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) prices: Option<PathBuf>,
}
