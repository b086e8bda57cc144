//! Arguments of the commands for environments that are stacks of CloudFormation.

use clap::{Args, Subcommand};
use landfall_planner::plan::Following;

use super::environment::{DeployArgs, WhatArgs};

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum StackCommand {
    /// What applying would do to each resource, by a change set that goes again; 2 where something differs
    #[command(
        after_help = "Examples:\n  landfall stack plan prod\n  landfall stack plan prod --release 1a2b3c4 --output json\n\nReplacements and deletions come last, in red: `apply` asks for them. Images that are not given stay."
    )]
    Plan(WhatArgs),
    /// Make or change the stack: show the plan, ask for what may hurt, execute just that, and follow it to its end
    #[command(
        after_help = "Examples:\n  landfall stack apply prod --release 1a2b3c4\n  landfall stack apply dev --image web/app=registry.example/app@sha256:…\n  landfall stack apply prod --allow-replacement --allow-deletion       where nobody can be asked\n\nInterrupted, it goes on; called again, it follows what is under way. What was rolled back ends with 3, and its cause is\nthe last thing printed. docs/stacks.md tells the rest."
    )]
    Apply(StackApplyArgs),
    /// The stack's state, outputs, parameters, and resources that are not well
    #[command(
        visible_alias = "status",
        after_help = "Examples:\n  landfall stack show prod\n  landfall stack show prod --output json"
    )]
    Show(StackNameArgs),
    /// Lead a stuck stack out: a creation that failed, a rollback that failed, a deletion that failed
    #[command(
        after_help = "Examples:\n  landfall stack recover prod                          say what is wrong and what would be done\n  landfall stack recover prod --yes\n  landfall stack recover prod --yes --skip WebService  roll back without it: it stays as it is\n  landfall stack recover prod --yes --retain Vpc       delete without it: it stays, and is nobody's"
    )]
    Recover(StackRecoverArgs),
    /// Delete the stack and all that is in it, but for what is kept (file systems)
    #[command(
        after_help = "Examples:\n  landfall stack destroy dev\n  landfall stack destroy dev --yes\n\nTermination protection is respected: take `stack.termination_protection` off and apply first."
    )]
    Destroy(StackDestroyArgs),
    /// What was changed past CloudFormation; 2 where something was
    #[command(after_help = "Examples:\n  landfall stack drift prod || echo 'somebody was there'")]
    Drift(StackDriftArgs),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct StackNameArgs {
    /// A lasting environment with a `stack`
    #[arg(value_name = "ENV")]
    pub(crate) environment: String,
}

/// Of `landfall deploy`'s arguments those that mean nothing to a stack.
pub(crate) fn meaningless(args: &DeployArgs) -> Option<&'static str> {
    let usual = Following::default();
    let following = args.following.following();
    let given = [
        ("--task-definition", args.task_definition.is_some()),
        ("--force", following.force),
        ("--wait-until", following.wait_until != usual.wait_until),
        ("--fail-fast", following.fail_fast.is_some()),
        ("--detach", args.waiting.detach),
    ];
    given.into_iter().find(|(_, given)| *given).map(|(name, _)| name)
}

#[derive(Debug, Clone, Args)]
pub(crate) struct StackApplyArgs {
    #[command(flatten)]
    pub(crate) what: WhatArgs,
    #[command(flatten)]
    pub(crate) allow: AllowArgs,
    /// Seconds to follow it; then exit code 8, and it goes on
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    pub(crate) timeout: u64,
}

// What nobody is asked for.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct AllowArgs {
    /// Of an environment with a `stack`: resources may be replaced, which may cut what they serve; asked on a terminal
    #[arg(long)]
    pub(crate) allow_replacement: bool,
    /// Of an environment with a `stack`: resources may be deleted; asked on a terminal
    #[arg(long)]
    pub(crate) allow_deletion: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct StackRecoverArgs {
    /// A lasting environment with a `stack`
    #[arg(value_name = "ENV")]
    pub(crate) environment: String,
    /// Do it; without, it is asked on a terminal and only said elsewhere
    #[arg(long)]
    pub(crate) yes: bool,
    /// A resource that cannot be rolled back: CloudFormation takes it for rolled back, whatever it is; may be repeated
    #[arg(long, value_name = "RESOURCE")]
    pub(crate) skip: Vec<String>,
    /// A resource that cannot be deleted: it stays where it is and is no stack's any more; may be repeated
    #[arg(long, value_name = "RESOURCE")]
    pub(crate) retain: Vec<String>,
    /// Seconds to follow it; then exit code 8, and it goes on
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    pub(crate) timeout: u64,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct StackDestroyArgs {
    /// A lasting environment with a `stack`
    #[arg(value_name = "ENV")]
    pub(crate) environment: String,
    /// Do it; without, it is asked on a terminal and only said elsewhere
    #[arg(long)]
    pub(crate) yes: bool,
    /// Seconds to follow it; then exit code 8, and it goes on
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    pub(crate) timeout: u64,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct StackDriftArgs {
    /// A lasting environment with a `stack`
    #[arg(value_name = "ENV")]
    pub(crate) environment: String,
    /// Seconds until it is given up
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub(crate) timeout: u64,
}
