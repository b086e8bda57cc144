//! Arguments of the commands for clusters of EC2 instances.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};

use super::put_pipeline::{ClusterIamArgs, PutPipelineArgs};
use crate::env_vars;

/// Where nobody names another file.
pub(crate) const INFRA: &str = "infra.yml";

#[derive(Debug, Subcommand)]
#[command(defer = true)]
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
    #[command(flatten)]
    OnAws(ClusterOnAwsCommand),
    /// Print the least rights on AWS that deploying the cluster takes, or scaling or destroying it; AWS is not asked
    #[command(
        after_help = "Examples:\n  landfall cluster iam\n  landfall cluster iam scale --account 111122223333\n  aws iam put-role-policy --role-name clusters --policy-name web --policy-document \"$(landfall cluster iam)\"\n\ndocs/iam.md tells what is granted, and how far it reaches."
    )]
    Iam(ClusterIamArgs),
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
    /// Landfall adds instances where fewer tasks than this have room
    #[arg(long, value_name = "TASKS", default_value_t = 1)]
    pub(crate) task_threshold_out: u64,
    /// Landfall takes instances away where more tasks than this have room
    #[arg(long, value_name = "TASKS", default_value_t = 3)]
    pub(crate) task_threshold_in: u64,
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

/// Those that ask AWS.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum ClusterOnAwsCommand {
    /// Write a first infra.yml, for the account's default VPC, its subnets and zones
    #[command(
        after_help = "Examples:\n  landfall cluster init\n  landfall cluster init --name web --values infra.prod.yml\n  AWS_REGION=eu-west-1 landfall cluster init --stdout\n\nAWS is only read: ec2:DescribeVpcs, DescribeSubnets and DescribeAvailabilityZones."
    )]
    Init(ClusterInitArgs),
    /// What deploying would do: to each stack, and to the versions that are used; 2 where something differs
    #[command(
        disable_version_flag = true,
        after_help = "Examples:\n  landfall cluster plan\n  landfall cluster plan --version 1a2b3c4 --output json"
    )]
    Plan(ClusterPlanArgs),
    /// Roll a new version in: make it, prove it by a task, use it, and drain and delete what was used before
    #[command(
        disable_version_flag = true,
        after_help = "Examples:\n  landfall cluster deploy\n  landfall cluster deploy --version 1a2b3c4 --ami ami-0123456789abcdef0\n\nInterrupted or killed, it goes on when it is called again. A version that does not work leaves what is used as it is, and\nends with 1. docs/clusters.md tells the rest."
    )]
    Deploy(ClusterDeployArgs),
    /// Scale the fleets to what runs and waits: once, or again and again
    #[command(
        after_help = "Examples:\n  landfall cluster scale --dry-run\n  landfall cluster scale\n  landfall cluster scale --every 10\n\nWhole tasks on whole instances; what goes is drained first. Called by any scheduler, or left running: nothing is remembered\nbut what is written down with the fleets. docs/clusters.md tells what is decided, and why."
    )]
    Scale(ClusterScaleArgs),
    /// Images of your own for the instances
    #[command(subcommand)]
    Ami(AmiCommand),
    /// Versions, their instances and tasks
    #[command(after_help = "Examples:\n  landfall cluster status\n  landfall cluster status --output json")]
    Status(ValuesArgs),
    /// Use a version that is there: it is drained no more
    #[command(disable_version_flag = true, after_help = "Examples:\n  landfall cluster activate 1a2b3c4")]
    Activate(ClusterVersionArgs),
    /// Drain a version, a few instances at a time, and delete it
    #[command(disable_version_flag = true, after_help = "Examples:\n  landfall cluster deactivate 1a2b3c4")]
    Deactivate(ClusterVersionArgs),
    /// A pipeline of AWS CodePipeline that rolls the cluster with each push: shown, asked for, made or changed
    #[command(
        name = "put-pipeline",
        after_help = "Examples:\n  landfall cluster put-pipeline --connection arn:aws:codeconnections:… --sha256 9f86d0…\n  landfall cluster put-pipeline --github-token-secret GithubToken --sha256 9f86d0… --yes\n  AWS_REGION=eu-west-1 landfall cluster put-pipeline --connection arn:aws:codeconnections:…\n  landfall cluster put-pipeline --connection arn:aws:codeconnections:… --print > pipeline.yml\n\nOwner and repository are those of `origin`, and the branch is the one that is checked out. docs/clusters.md tells the rest."
    )]
    PutPipeline(PutPipelineArgs),
    /// Delete every version, and the cluster; not while services run on it
    #[command(after_help = "Examples:\n  landfall cluster destroy\n  landfall cluster destroy --yes")]
    Destroy(ClusterDestroyArgs),
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum AmiCommand {
    /// An image with your script in it, by its id: the one that is there, or a new one
    #[command(
        after_help = "Examples:\n  landfall cluster ami build\n  AMI=$(landfall cluster ami build) && export AMI && landfall cluster deploy\n  landfall cluster ami build --script bake.sh --instance-type g5.xlarge\n\nThe script is run on one instance of the image that infra.yml says, and the instance becomes the image. An image of the same\nsource (tag source_ami) and the same script (tag landfall:recipe) is used as it is: take its source_ami away, and another one is\nmade. Interrupted or killed, it goes on when it is called again. docs/clusters.md tells the rest."
    )]
    Build(AmiBuildArgs),
    /// Images of the account that say what they were made from, and instances that make some
    #[command(
        after_help = "Examples:\n  landfall cluster ami list\n  landfall cluster ami list --output json\n\n`*` marks the one that `landfall cluster ami build` would use."
    )]
    List(AmiArgs),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct AmiArgs {
    #[command(flatten)]
    pub(crate) values: ValuesArgs,
    /// What is run to make the image, beginning with `#!` [default: ecs_userdata.sh beside the file]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) script: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct AmiBuildArgs {
    #[command(flatten)]
    pub(crate) what: AmiArgs,
    /// Of the instance that the script is run on [default: t3.small, and t4g.small for ARM]
    #[arg(long, value_name = "TYPE")]
    pub(crate) instance_type: Option<String>,
    /// Name or ARN of an instance profile, for what the script fetches from AWS [default: none]
    #[arg(long, value_name = "PROFILE")]
    pub(crate) instance_profile: Option<String>,
    /// Seconds that the script may take
    #[arg(long, value_name = "SECONDS", default_value_t = 2700, value_parser = clap::value_parser!(i64).range(1..=landfall_cluster::ami::LONGEST_SCRIPT))]
    pub(crate) limit: i64,
    #[command(flatten)]
    pub(crate) patience: PatienceArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ValuesArgs {
    /// The file that says what the cluster is: an infra.yml, or a manifest with a `cluster`; without either name, the one that is there
    #[arg(long, value_name = "FILE", default_value = INFRA, env = env_vars::VALUES_FILE, value_hint = ValueHint::FilePath, hide_env_values = true)]
    pub(crate) values: PathBuf,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ClusterInitArgs {
    #[command(flatten)]
    pub(crate) values: ValuesArgs,
    /// The cluster's [default: the directory's]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Print it instead of writing the file
    #[arg(long)]
    pub(crate) stdout: bool,
    /// Overwrite a file that exists
    #[arg(long, conflicts_with = "stdout")]
    pub(crate) force: bool,
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
pub(crate) struct ClusterPlanArgs {
    #[command(flatten)]
    pub(crate) version: VersionArgs,
    /// The instances' image [default: `image` of infra.yml, else the newest of AWS's]
    #[arg(long, value_name = "ID", env = env_vars::AMI, hide_env_values = true)]
    pub(crate) ami: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ClusterDeployArgs {
    #[command(flatten)]
    pub(crate) what: ClusterPlanArgs,
    /// Seconds for which the task that proves a version must run
    #[arg(long, value_name = "SECONDS", default_value_t = 16)]
    pub(crate) prove: u16,
    /// Seconds that instances have to register
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    pub(crate) register: u16,
    /// Seconds for which a service below its minimum healthy percent, with no task more meanwhile, holds drains
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub(crate) recover: u16,
    #[command(flatten)]
    pub(crate) patience: PatienceArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ClusterVersionArgs {
    /// A version that is there, as `landfall cluster status` shows it
    #[arg(value_name = "VERSION")]
    pub(crate) version: String,
    #[command(flatten)]
    pub(crate) values: ValuesArgs,
    #[command(flatten)]
    pub(crate) patience: PatienceArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ClusterScaleArgs {
    #[command(flatten)]
    pub(crate) values: ValuesArgs,
    /// Say what would be done, and do nothing; ends with 2 where something would be
    #[arg(long, conflicts_with = "every")]
    pub(crate) dry_run: bool,
    /// Look every so many seconds, until it is interrupted
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) every: Option<u64>,
    /// Publish no metrics: CloudWatch bills them
    #[arg(long)]
    pub(crate) no_metrics: bool,
    #[command(flatten)]
    pub(crate) prices: PricesArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ClusterDestroyArgs {
    #[command(flatten)]
    pub(crate) values: ValuesArgs,
    /// Nobody is asked
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) patience: PatienceArgs,
}

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct PatienceArgs {
    /// Seconds until it ends with exit code 8; called again, it goes on
    #[arg(long, value_name = "SECONDS", default_value_t = 7200)]
    pub(crate) timeout: u64,
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
