//! Arguments of the commands for clusters of EC2 instances.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};

use crate::env_vars;

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Check infra.yml: every problem with its place, and what is taken where it says nothing
    #[command(
        after_help = "Examples:\n  landfall cluster check\n  VALUES_FILE=infra.prod.yml landfall cluster check --output json\n\nEvery infra.yml of ecs-cluster-deployer is read as it is. docs/clusters.md lists the keys."
    )]
    Check(ValuesArgs),
    /// Print the cluster's stacks as templates of CloudFormation; AWS is not asked
    #[command(
        disable_version_flag = true,
        after_help = "Examples:\n  landfall cluster template\n  landfall cluster template compute --version 1a2b3c4 --output json\n  landfall cluster template cluster --values infra.prod.yml > cluster.yml\n\nWithout a name: all three, as documents of one file; with --output json an object of stacks by name."
    )]
    Template(ClusterTemplateArgs),
    /// What instances cost an hour and a month, beside the same vCPUs and memory on Fargate
    #[command(
        after_help = "Examples:\n  landfall cluster cost                                          what infra.yml describes\n  landfall cluster cost --instance-type t3.medium --count 3\n  landfall cluster cost --instance-type m5.large --count 10 --spot\n  landfall cluster cost --instance-type c6i.xlarge --prices prices.json --output json\n\nAWS is not asked: prices are a dated table in the binary, and --prices replaces it. docs/clusters.md tells the rest."
    )]
    Cost(CostArgs),
    /// Replay a workload against Landfall's scaler, ecs-cluster-deployer's and ECS managed scaling: cost, waiting, utilisation
    #[command(
        after_help = "Examples:\n  landfall cluster simulate\n  landfall cluster simulate --generate batch --seed 7 --write plots/\n  landfall cluster simulate workload.csv --instance-type c6i.xlarge --output json\n\nAWS is not asked. The form of a workload, and what the others are taken to do: docs/clusters.md."
    )]
    Simulate(SimulateArgs),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct SimulateArgs {
    /// The workload, as CSV; without one, those that are generated
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "generate")]
    pub(crate) trace: Option<PathBuf>,
    /// A day of this; may be given several times [default: all]
    #[arg(long, value_name = "WORKLOAD")]
    pub(crate) generate: Vec<Workload>,
    /// Another day of the same kind, and other instances that are interrupted
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Type of the instances
    #[arg(long, value_name = "TYPE", default_value = "m5.large")]
    pub(crate) instance_type: String,
    /// Bought on demand, not as Spot: only the cost differs
    #[arg(long)]
    pub(crate) on_demand: bool,
    /// Seconds from a launch until tasks are placed
    #[arg(long, value_name = "SECONDS", default_value_t = 90, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) boot: u64,
    /// Instances at most
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) max: u64,
    /// Directory for every workload as CSV and, as a plot, as SVG
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) write: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) prices: PricesArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// Services that follow the sun
    Diurnal,
    /// Many tasks at once, now and then
    Batch,
    /// Services deployed again and again
    Deploys,
    /// Spot instances interrupted many at a time
    Storm,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ValuesArgs {
    /// The file that says what the cluster is
    #[arg(long, value_name = "FILE", default_value = "infra.yml", env = env_vars::VALUES_FILE, value_hint = ValueHint::FilePath, hide_env_values = true)]
    pub(crate) values: PathBuf,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct VersionArgs {
    #[command(flatten)]
    pub(crate) values: ValuesArgs,
    /// What tells this version's instances from others'; another one for each change [default: the commit that is checked out]
    #[arg(long, value_name = "VERSION", env = env_vars::VERSION, hide_env_values = true)]
    pub(crate) version: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClusterPart {
    /// The cluster, what its instances may do, and the groups that load balancers and databases wear
    Cluster,
    /// The instances of a version
    Compute,
    /// The task that proves them
    Health,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ClusterTemplateArgs {
    /// One of the stacks
    #[arg(value_name = "STACK", value_enum)]
    pub(crate) part: Option<ClusterPart>,
    #[command(flatten)]
    pub(crate) version: VersionArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct CostArgs {
    #[command(flatten)]
    pub(crate) values: ValuesArgs,
    /// Type of the instances, in the place of what the file describes
    #[arg(long, value_name = "TYPE")]
    pub(crate) instance_type: Option<String>,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 1, requires = "instance_type")]
    pub(crate) count: u32,
    /// Bought as Spot
    #[arg(long, requires = "instance_type")]
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
