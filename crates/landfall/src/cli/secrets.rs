//! Arguments of `landfall secrets`. No argument is ever a value.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

#[derive(Debug, Clone, Subcommand)]
#[command(defer = true)]
pub(crate) enum SecretsCommand {
    /// Give a secret of an environment its value: from a prompt, standard input, a file, or many from an env file
    #[command(
        after_help = "Examples:\n  landfall secrets set prod DATABASE_PASSWORD             asks, without showing what is typed\n  pass show shop/db | landfall secrets set prod DATABASE_PASSWORD\n  landfall secrets set prod TLS_KEY --file key.pem\n  landfall secrets set prod --env-file prod.env\n\nA value is never an argument: those are in the shell's history and in the list of processes."
    )]
    Set(SetArgs),
    /// What secrets an environment's containers take, where each is kept, and whether it is there; never a value
    #[command(after_help = "Examples:\n  landfall secrets list prod\n  landfall secrets list previews --output json")]
    List(ListArgs),
    /// Copy values from one environment to another; shows what would be done unless told to do it
    #[command(
        after_help = "Examples:\n  landfall secrets copy staging prod\n  landfall secrets copy staging prod API_KEY --yes\n  landfall secrets copy staging prod --overwrite --yes"
    )]
    Copy(CopyArgs),
    /// Which secrets of two environments are the same; never a value; 2 where something differs
    #[command(
        after_help = "Examples:\n  landfall secrets diff staging prod\n  landfall secrets diff staging prod --output json"
    )]
    Diff(DiffArgs),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct SetArgs {
    /// An environment, `previews`, or `local` for `landfall up`
    #[arg(value_name = "ENV")]
    pub(crate) environment: String,
    /// The variable, as under `secrets` in the manifest; with --env-file those of the file that are meant, all if none is named
    #[arg(value_name = "[SERVICE/CONTAINER:]NAME")]
    pub(crate) names: Vec<String>,
    /// Take the value from a file; one newline at its end is left out
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
    /// Take names and values from a file of NAME=VALUE lines
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "file")]
    pub(crate) env_file: Option<PathBuf>,
    /// Take the value from the variable of this name where the command runs: for CI, whose secrets are variables
    #[arg(long, conflicts_with_all = ["file", "env_file"])]
    pub(crate) from_env: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ListArgs {
    /// An environment, `previews`, or `local` for `landfall up`
    #[arg(value_name = "ENV")]
    pub(crate) environment: String,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct CopyArgs {
    /// Where the values come from
    #[arg(value_name = "FROM")]
    pub(crate) from: String,
    /// Where they go
    #[arg(value_name = "TO")]
    pub(crate) to: String,
    /// Only these
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Do it
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Also where there is another value already
    #[arg(long)]
    pub(crate) overwrite: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct DiffArgs {
    /// An environment, `previews`, or `local` for `landfall up`
    #[arg(value_name = "FROM")]
    pub(crate) from: String,
    /// The other one
    #[arg(value_name = "TO")]
    pub(crate) to: String,
}
