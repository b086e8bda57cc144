//! The command line, as data. Nothing here decides or does anything; `commands` does.

pub(crate) mod ci;
pub(crate) mod cluster;
pub(crate) mod diff;
pub(crate) mod environment;
pub(crate) mod export;
pub(crate) mod notifications;
pub(crate) mod pipeline;
pub(crate) mod put_pipeline;
pub(crate) mod secrets;
pub(crate) mod shim;
pub(crate) mod stack;
pub(crate) mod strategy;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;

use crate::env_vars;
use crate::printer::{Color, OutputFormat};

mod doctor;
mod iam;
pub(crate) mod images;
mod import;
pub(crate) mod release;
mod template;

pub(crate) use doctor::DoctorArgs;
pub(crate) use iam::{IamArgs, Trust};
pub(crate) use import::{ImportCommand, ImportTo};
pub(crate) use template::TemplateArgs;

#[derive(Debug, Parser)]
#[command(
    name = "landfall",
    version,
    about = "A git branch becomes a running environment behind a URL, and goes away again",
    long_about = "Landfall takes a git branch to a running environment with a URL of its own, and takes it away again when the \
                  branch goes. One binary: a server for GitHub's webhooks, a load balancer, and the commands to look into both.",
    after_help = "Start here:\n  \
                  landfall demo                      see all of it work on this machine\n  \
                  landfall init                      write a first landfall.yml\n  \
                  landfall serve --listen 127.0.0.1:8400\n\n\
                  Exit codes are in docs/exit-codes.md; error codes (LF-…) are in docs/errors/.",
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 120
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Directory that holds the journal, the lock and the sockets, or s3://BUCKET/PREFIX, which machines share [default:
    /// $XDG_STATE_HOME/landfall or ~/.local/state/landfall]
    #[arg(long, global = true, value_name = "DIR", env = env_vars::STATE, value_hint = ValueHint::DirPath, hide_env_values = true, help_heading = "Global options")]
    pub(crate) state: Option<PathBuf>,
    /// The manifest; a command that finds a running server needs none
    #[arg(long, short, global = true, value_name = "FILE", default_value = "landfall.yml", env = env_vars::CONFIG, value_hint = ValueHint::FilePath, hide_env_values = true, help_heading = "Global options")]
    pub(crate) config: PathBuf,
    /// How data is printed on stdout
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT", help_heading = "Global options")]
    pub(crate) output: OutputFormat,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN", help_heading = "Global options")]
    pub(crate) color: Color,
    /// How logs are written on stderr; LANDFALL_LOG says what is logged
    #[arg(long, global = true, value_enum, value_name = "FORMAT", env = env_vars::LOG_FORMAT, hide_env_values = true, help_heading = "Global options")]
    pub(crate) log_format: Option<LogFormat>,
    /// Print data and errors only
    #[arg(long, short, global = true, help_heading = "Global options")]
    pub(crate) quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// Show the main job on this machine: a branch comes up behind a URL, changes, and goes away again
    #[command(
        after_help = "Examples:\n  landfall demo\n  landfall demo --keep      leave it running and say how to play with it"
    )]
    Demo(DemoArgs),
    /// Receive GitHub's webhooks and keep previews in step with branches
    #[command(
        after_help = "Examples:\n  LANDFALL_WEBHOOK_SECRET=… landfall serve --config landfall.yml --listen 127.0.0.1:8400\n  \
                      landfall serve --state /var/lib/landfall --log-format json\n\nThe listener serves POST /webhooks/github, GET /healthz and GET /metrics, and Slack's\ncommands where the manifest takes them (docs/chatops.md). Control goes over STATE/control.sock.\ndocs/github.md says how to set up the webhook."
    )]
    Serve(ServeArgs),
    /// The load balancer process; started on demand by the others
    #[command(hide = true)]
    Router(RouterArgs),
    /// Run a service of this manifest in the foreground, built from the working tree or as it was pushed, until Ctrl-C
    #[command(
        after_help = "Examples:\n  landfall up                the only service, or the first one with a URL\n  landfall up web --port 8080\n  landfall up web --from highest --env-file local.env --debug-port 9229\n\nWith --from the images are pulled from where `landfall push` sends them; docs/images.md tells the rest."
    )]
    Up(UpArgs),
    /// Previews: one environment per branch
    #[command(subcommand)]
    Preview(PreviewCommand),
    /// Check a manifest and print every problem in it
    #[command(after_help = "Examples:\n  landfall check\n  landfall check --config other.yml --output json")]
    Check,
    /// Print the JSON Schema of landfall.yml
    #[command(
        after_help = "Examples:\n  landfall schema > landfall.schema.json\n\nEditors use it through a first line in landfall.yml:\n  # yaml-language-server: $schema=landfall.schema.json"
    )]
    Schema,
    /// Write a first landfall.yml from the Dockerfiles and compose file found here
    #[command(
        after_help = "Examples:\n  landfall init\n  landfall init --flow       with the rules of a CI flow: docs/ci.md\n  landfall init --flow --image 111122223333.dkr.ecr.eu-west-1.amazonaws.com/shop\n  landfall init --stdout services/web"
    )]
    Init(InitArgs),
    /// Look at everything that a deployment needs, here and on AWS, and say what is missing and what helps
    #[command(
        after_help = "Examples:\n  landfall doctor\n  landfall doctor prod\n  landfall doctor previews --output json\n\nExits with 1 where something is wrong. What could not be looked at is said and is not wrong."
    )]
    Doctor(DoctorArgs),
    /// Print the least policy for what the manifest can do on AWS, or who may take its role
    #[command(
        after_help = "Examples:\n  landfall iam previews\n  landfall iam push\n  landfall iam prod --checks --pass-role arn:aws:iam::111122223333:role/web-task\n  landfall iam prod --trust github --github-environment prod"
    )]
    Iam(IamArgs),
    /// Build the manifest's images, side by side, those that have changed
    #[command(
        after_help = "Examples:\n  landfall build\n  landfall build web --platform linux/amd64,linux/arm64\n  landfall build worker/app --secret id=npm,src=.npmrc --output json\n  landfall build --push --tag latest\n\nThrough docker buildx, docker, Podman or Buildah, whichever is there. `landfall push` sends what was built;\nwith `--push` it is sent at once, and stdout has what a push prints.\ndocs/images.md tells the rest."
    )]
    Build(images::BuildArgs),
    /// Send an image to a registry: only what is missing there, and its tags last
    #[command(
        after_help = "Examples:\n  landfall push                   what `landfall build` made, to where the manifest awaits it\n  landfall push --from out/ registry.example/team/app:v1\n  landfall push --from image.tar --tag 1a2b3c4 --tag latest 111122223333.dkr.ecr.eu-west-1.amazonaws.com/app\n  landfall push --from localhost/app:v1 http://127.0.0.1:5000/app:v1\n\nThe image with its digest is printed on stdout. docs/images.md tells the rest."
    )]
    Push(images::PushArgs),
    /// Images in registries: list them, copy them, give them tags, and remove those that nothing needs
    #[command(subcommand)]
    Images(images::ImagesCommand),
    /// Releases in the registry: what a commit is, in images by digest, and where it comes from
    #[command(subcommand)]
    Release(release::ReleaseCommand),
    /// Take one release from environment to environment, with people's approval: runs of the manifest's pipelines
    #[command(subcommand)]
    Pipeline(pipeline::PipelineCommand),
    /// Who is told of what happens, and whether what SNS mails reaches anybody
    #[command(subcommand)]
    Notifications(notifications::NotificationsCommand),
    /// Print a lasting environment as a template of CloudFormation: network, cluster, load balancer, services and all around them
    #[command(
        after_help = "Examples:\n  landfall template prod\n  landfall template prod --commit 1a2b3c4 --output json > prod.json\n\nYAML, or JSON with --output json. docs/stacks.md tells the rest."
    )]
    Template(TemplateArgs),
    /// Environments that are stacks of CloudFormation: plan, apply, look, and lead out of where they are stuck
    #[command(subcommand)]
    Stack(stack::StackCommand),
    /// Clusters of EC2 and Spot instances that tasks run on, of one file, infra.yml: what they are, what they cost
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Write a manifest from another tool's files, and say what changes with it
    #[command(subcommand)]
    Import(ImportCommand),
    /// The one line of a CI job: know the event, and do what the manifest's rules say for it
    #[command(
        after_help = "Examples:\n  landfall ci                          what this job's event asks for\n  landfall ci plan --tag v1.2-prod\n  landfall ci resume\n\nKnows GitHub Actions, GitLab CI, CircleCI, Travis CI, Buildkite, Jenkins and CodeBuild by their variables;\nelsewhere git's branch counts. Ends with the code of the first step that failed: docs/ci.md."
    )]
    Ci(ci::CiArgs),
    /// Do what another tool's program does, by its own variables
    #[command(subcommand)]
    Shim(shim::ShimCommand),
    /// Bring a lasting environment to the manifest's services, and follow it to its end
    #[command(
        after_help = "Examples:\n  landfall deploy prod --commit 1a2b3c4\n  landfall deploy prod --image web/app=registry.example/app:v2 --fail-fast\n  landfall deploy prod --imagedefinitions imagedefinitions.json --wait-until traffic-shifted\n\nWhat failed is undone: then the exit code is 3, and the last thing printed is the cause. docs/deploy.md tells the rest."
    )]
    Deploy(environment::DeployArgs),
    /// What a deployment would change, and the steps that it would take; 2 where something differs
    #[command(after_help = "Examples:\n  landfall plan prod --commit 1a2b3c4\n  landfall plan prod --output json")]
    Plan(environment::WhatArgs),
    /// What a deployment would change in task definitions and services; 2 where something differs
    #[command(
        after_help = "Examples:\n  landfall diff prod\n  landfall diff prod --image app=registry.example/app:v2\n\nWhat AWS fills in by itself is no difference: docs/diff.md lists it."
    )]
    Diff(environment::WhatArgs),
    /// What was changed since the last release, by somebody else; 2 where something differs
    #[command(after_help = "Examples:\n  landfall drift prod || echo 'somebody was there'")]
    Drift(diff::DriftArgs),
    /// Whether a deployment can work: images, secrets, roles, log groups, network; or whether it answers; 1 where something is wrong
    #[command(
        after_help = "Examples:\n  landfall verify prod --commit 1a2b3c4\n  landfall verify prod --output json\n  landfall verify prod --probes                  once it is deployed: docs/ci.md\n  landfall verify prod --probes --url \"$(landfall preview open --print feature/login)\""
    )]
    Verify(diff::VerifyArgs),
    /// Bring back an earlier release of a lasting environment
    #[command(
        after_help = "Examples:\n  landfall rollback prod\n  landfall rollback prod --to 1a2b3c4\n\nImages are those of the release, by digest. `landfall releases` lists what there is."
    )]
    Rollback(environment::RollbackArgs),
    /// What was deployed to a lasting environment, newest first; what commits are in the registry: `landfall release list`
    #[command(after_help = "Examples:\n  landfall releases prod\n  landfall releases prod --all --output json")]
    Releases(environment::ReleasesArgs),
    /// Change how many tasks services of a lasting environment run
    #[command(after_help = "Examples:\n  landfall scale prod web=4 worker=0")]
    Scale(environment::ScaleArgs),
    /// Wait until an environment's newest execution, or any other, has ended; exits with its code
    #[command(after_help = "Examples:\n  landfall wait prod\n  landfall wait exe_01KAHW… --timeout 600")]
    Wait(environment::WaitArgs),
    /// Let a deployment go on that waits at a pause hook
    #[command(
        after_help = "Examples:\n  landfall continue prod\n  landfall continue prod web\n\nFrom any terminal, also while another one follows the deployment. docs/strategies.md tells the rest."
    )]
    Continue(strategy::ContinueArgs),
    /// Stop a deployment that is under way, and go back to what ran before
    #[command(after_help = "Examples:\n  landfall abort prod\n  landfall abort prod web --no-rollback")]
    Abort(strategy::AbortArgs),
    /// Secrets that containers take: give them values, see which are missing, compare and copy environments; never shows a value
    #[command(subcommand)]
    Secrets(secrets::SecretsCommand),
    /// Keep everybody from deploying to a lasting environment
    #[command(after_help = "Examples:\n  landfall lock prod --reason 'until the sale is over'")]
    Lock(environment::LockArgs),
    /// Let deployments to a lasting environment go on
    #[command(after_help = "Examples:\n  landfall unlock prod")]
    Unlock(environment::UnlockArgs),
    /// Run a one-off task of a service's current task definition; exits with its container's code, and 125 where it could not be run
    #[command(
        after_help = "Examples:\n  landfall run prod web -- bin/migrate\n  landfall run prod web --container app --env VERBOSE=1 -- sh -c 'env | sort'"
    )]
    Run(environment::RunArgs),
    /// Logs of a lasting environment's containers
    #[command(after_help = "Examples:\n  landfall logs prod --follow\n  landfall logs prod --tail 20")]
    Logs(environment::LogsArgs),
    /// What there is: server, load balancer, previews, work in progress; or all of one lasting environment
    #[command(after_help = "Examples:\n  landfall status\n  landfall status prod\n  landfall status --output json")]
    Status(environment::StatusArgs),
    /// Runs of plans: look into them, and help those that wait for a person
    #[command(subcommand)]
    Executions(ExecutionsCommand),
    /// Compare what exists with what should, and repair the difference
    #[command(after_help = "Examples:\n  landfall gc --dry-run      say what would be done\n  landfall gc")]
    Gc(GcArgs),
    /// Webhook deliveries received, and what became of each
    #[command(after_help = "Examples:\n  landfall deliveries\n  landfall deliveries --limit 5 --output json")]
    Deliveries(DeliveriesArgs),
    /// Copy the state into one file, while everything runs
    #[command(after_help = "Examples:\n  landfall backup landfall-$(date +%F).db")]
    Backup(BackupArgs),
    /// Put a backup in the place of the state; the server must not run
    #[command(
        after_help = "Examples:\n  landfall restore landfall-2026-11-21.db\n  landfall restore --force landfall-2026-11-21.db"
    )]
    Restore(RestoreArgs),
    /// Print a completion script
    #[command(
        after_help = "Examples:\n  landfall completions bash > /etc/bash_completion.d/landfall\n  landfall completions zsh > ~/.zfunc/_landfall"
    )]
    Completions { shell: Shell },
    /// The tiny application and reverse proxy that the demonstration and the tests run in containers
    #[command(hide = true, subcommand)]
    DemoApp(crate::demo_app::DemoApp),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct DemoArgs {
    /// What is shown
    #[arg(value_enum, default_value_t = DemoKind::Preview)]
    pub(crate) what: DemoKind,
    /// Leave server, load balancer and preview running, and say how to use and stop them
    #[arg(long)]
    pub(crate) keep: bool,
    /// Seconds that one stage may take
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub(crate) timeout: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum DemoKind {
    /// A branch comes up behind a URL, changes, and goes without a trace
    Preview,
    /// One release goes through dev and staging, waits for a person's yes, and goes to prod
    Pipeline,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ServeArgs {
    /// Address for webhooks, health and metrics
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8400")]
    pub(crate) listen: std::net::SocketAddr,
    /// An infra.yml whose cluster is scaled as well, with a look every 10 seconds; may be given several times
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) scale: Vec<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct RouterArgs {
    /// Threads that serve requests; one per core up to four if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) workers: Option<u16>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct UpArgs {
    /// The service to run
    pub(crate) service: Option<String>,
    /// Port of the URL; any free one if not given. With --repository what the container listens at, too: HOST:CONTAINER
    #[arg(long, short, value_name = "PORT[:PORT]", value_parser = ports)]
    pub(crate) port: Option<(u16, u16)>,
    /// Run what was pushed instead of the working tree: latest, the highest version among tags, a commit or a tag
    #[arg(long, value_name = "latest|highest|COMMIT|TAG")]
    pub(crate) from: Option<String>,
    /// Run this repository's image, without a manifest
    #[arg(long, value_name = "REPOSITORY", requires = "from", conflicts_with = "service")]
    pub(crate) repository: Option<String>,
    /// Variables for the service's own containers, as NAME=VALUE lines; over the manifest's. May be given several times
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) env_file: Vec<PathBuf>,
    /// A port of the container on 127.0.0.1, under the same number or HOST:CONTAINER, as a debugger attaches to. May be given several times
    #[arg(long = "debug-port", value_name = "PORT[:PORT]", value_parser = ports)]
    pub(crate) debug_ports: Vec<(u16, u16)>,
}

/// The host's port, and the container's.
fn ports(text: &str) -> Result<(u16, u16), String> {
    let (host, container) = text.split_once(':').unwrap_or((text, text));
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    port(host).zip(port(container)).ok_or_else(|| "write PORT, or HOST:CONTAINER".to_owned())
}

/// `HOST/NAME`, as a registry has it.
fn repository(text: &str) -> Result<String, String> {
    landfall_manifest::init::legal(text).map(|()| text.to_owned()).map_err(|rule| format!("write HOST/NAME: {rule}"))
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum PreviewCommand {
    /// Bring up a branch's preview, or update it
    #[command(
        after_help = "Examples:\n  landfall preview create feature/login\n  landfall preview create feature/login --commit 1a2b3c4 --timeout 300\n  landfall preview create feature/login --no-wait"
    )]
    Create(PreviewCreate),
    /// List previews
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  landfall preview list\n  landfall preview list --all --output json"
    )]
    List {
        /// Destroyed ones too
        #[arg(long, short)]
        all: bool,
    },
    /// Everything known of one preview
    #[command(
        after_help = "Examples:\n  landfall preview show feature/login\n  landfall preview show my-project-login --output json"
    )]
    Show { preview: String },
    /// Logs of a preview's containers
    #[command(
        after_help = "Examples:\n  landfall preview logs feature/login --follow\n  landfall preview logs my-project-login --tail 20"
    )]
    Logs {
        preview: String,
        /// Go on until Ctrl-C or until the preview is gone
        #[arg(long, short)]
        follow: bool,
        /// Lines of each container to begin with
        #[arg(long, value_name = "LINES", default_value_t = 100)]
        tail: usize,
    },
    /// Open a preview's URL in the browser; without one, print it
    #[command(
        after_help = "Examples:\n  landfall preview open feature/login\n  curl \"$(landfall preview open --print feature/login)\""
    )]
    Open {
        preview: String,
        /// Only print the URL
        #[arg(long)]
        print: bool,
    },
    /// Take a preview away, whether its branch exists or not
    #[command(visible_alias = "rm", after_help = "Examples:\n  landfall preview destroy feature/login")]
    Destroy {
        preview: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// Allow one commit of a fork's pull request to run
    #[command(after_help = "Examples:\n  landfall preview approve '#7' 1a2b3c4d5e6f7a8b9c0d1e2f3a4b5c6d7e8f9a0b")]
    Approve {
        preview: String,
        /// The full commit id: exactly this one may run, and no later one
        commit: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// Exempt a preview from its time limit
    #[command(
        after_help = "Examples:\n  landfall preview pin feature/login\n  landfall preview pin --off feature/login"
    )]
    Pin {
        preview: String,
        /// Let the time limit apply again
        #[arg(long)]
        off: bool,
    },
    /// Run none of a preview's tasks until it is asked for
    #[command(after_help = "Examples:\n  landfall preview sleep feature/login")]
    Sleep {
        preview: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// Run the tasks of a preview that sleeps
    #[command(after_help = "Examples:\n  landfall preview wake feature/login")]
    Wake {
        preview: String,
        #[command(flatten)]
        wait: Wait,
    },
}

#[derive(Debug, Clone, Args)]
pub(crate) struct PreviewCreate {
    /// The branch
    pub(crate) branch: String,
    /// Key of the repository in the manifest, where it names more than one
    #[arg(long, value_name = "KEY")]
    pub(crate) repository: Option<String>,
    /// The commit to run; the branch's tip if not given
    #[arg(long, value_name = "COMMIT")]
    pub(crate) commit: Option<String>,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Wait {
    /// Return as soon as the request is recorded (only with a running server)
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Seconds to wait; then exit code 8, and the work goes on
    #[arg(long, value_name = "SECONDS", default_value_t = 900, conflicts_with = "no_wait")]
    pub(crate) timeout: u64,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct InitArgs {
    /// Where to look
    #[arg(default_value = ".", value_hint = ValueHint::DirPath)]
    pub(crate) directory: PathBuf,
    /// With environments and the rules of a CI flow: branches are tested, master is deployed, tags promote
    #[arg(long)]
    pub(crate) flow: bool,
    /// Where images go that are built: a repository without a tag (with --flow that of GitHub or GitLab beside the code, if not given)
    #[arg(long, value_name = "REPOSITORY", value_parser = repository)]
    pub(crate) image: Option<String>,
    /// Print it instead of writing DIRECTORY/landfall.yml
    #[arg(long)]
    pub(crate) stdout: bool,
    /// Overwrite a landfall.yml that exists
    #[arg(long, conflicts_with = "stdout")]
    pub(crate) force: bool,
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum ExecutionsCommand {
    /// List executions, newest first
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  landfall executions list\n  landfall executions list --preview my-project-login --limit 5"
    )]
    List {
        /// Of one preview only
        #[arg(long, value_name = "PREVIEW")]
        preview: Option<String>,
        /// Unfinished ones only
        #[arg(long)]
        unfinished: bool,
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: u32,
    },
    /// Steps of an execution, with their state, times and errors; exits with the execution's own code
    #[command(
        after_help = "Examples:\n  landfall executions show exe_01KAHW…\n  landfall executions show exe_01KAHW… --output json"
    )]
    Show { execution: String },
    /// Run a failed step of a paused execution again
    #[command(after_help = "Examples:\n  landfall executions retry exe_01KAHW… hook.migrate")]
    Retry {
        execution: String,
        /// The step; the one it is paused at if not given
        step: Option<String>,
    },
    /// Treat a failed step of a paused execution as done
    #[command(after_help = "Examples:\n  landfall executions skip exe_01KAHW… hook.migrate")]
    Skip {
        execution: String,
        /// The step; the one it is paused at if not given
        step: Option<String>,
    },
    /// Stop an execution at the next step boundary and undo what it did
    #[command(after_help = "Examples:\n  landfall executions abort exe_01KAHW…")]
    Abort { execution: String },
}

#[derive(Debug, Clone, Args)]
pub(crate) struct GcArgs {
    /// Say what would be done and do nothing
    #[arg(long, short = 'n')]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct DeliveriesArgs {
    /// How many, newest first
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) limit: u32,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct BackupArgs {
    /// The file to write; it must not exist
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct RestoreArgs {
    /// A file that `landfall backup` wrote
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Replace a state that is there; it is kept beside the new one
    #[arg(long)]
    pub(crate) force: bool,
}
