//! Arguments of `landfall cluster put-pipeline` and `landfall cluster iam`.

use clap::{Args, ValueEnum};

use super::cluster::ValuesArgs;
use super::iam::{account, role};

#[derive(Debug, Clone, Args)]
pub(crate) struct PutPipelineArgs {
    #[command(flatten)]
    pub(crate) values: ValuesArgs,
    /// Connection by which CodePipeline reads the repository, in the state Available
    #[arg(long, value_name = "ARN", value_parser = connection)]
    pub(crate) connection: Option<String>,
    /// Secret of Secrets Manager with a personal access token of GitHub, instead of a connection; after a colon the key of its JSON
    #[arg(long, value_name = "NAME[:KEY]", conflicts_with = "connection", value_parser = secret)]
    pub(crate) github_token_secret: Option<String>,
    /// The repository on GitHub [default: that of `origin`]
    #[arg(long, value_name = "OWNER/NAME")]
    pub(crate) repository: Option<String>,
    /// The branch whose pushes begin it [default: the one that is checked out]
    #[arg(long, value_name = "BRANCH")]
    pub(crate) branch: Option<String>,
    /// Build no image: deployments take the one that the file names, or AWS's newest
    #[arg(long)]
    pub(crate) no_ami: bool,
    /// Role that instances get by the file's `instance_profile_arn`; may be repeated
    #[arg(long = "pass-role", value_name = "ARN", value_parser = role)]
    pub(crate) pass_roles: Vec<String>,
    /// Where jobs get landfall: a .tar.gz, or the bare program [default: this version's, for x86-64; without --sha256 the one that the pipeline has]
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// SHA-256 of that file; jobs refuse any other. Needed with --url, and the first time
    #[arg(long, value_name = "HEX")]
    pub(crate) sha256: Option<String>,
    /// Print the template instead; AWS is not asked
    #[arg(long, conflicts_with = "yes")]
    pub(crate) print: bool,
    /// Nobody is asked
    #[arg(long)]
    pub(crate) yes: bool,
    /// Seconds to follow it; then exit code 8, and CloudFormation goes on
    #[arg(long, value_name = "SECONDS", default_value_t = 1800)]
    pub(crate) timeout: u64,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ClusterIamArgs {
    /// What is done with the cluster
    #[arg(value_name = "WHAT", value_enum, default_value_t = ClusterRight::Deploy)]
    pub(crate) what: ClusterRight,
    #[command(flatten)]
    pub(crate) values: ValuesArgs,
    /// The cluster's account; without it ARNs hold `*`
    #[arg(long, value_name = "ID", value_parser = account)]
    pub(crate) account: Option<String>,
    /// Role that instances get by the file's `instance_profile_arn`; may be repeated
    #[arg(long = "pass-role", value_name = "ARN", value_parser = role)]
    pub(crate) pass_roles: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClusterRight {
    /// `plan`, `deploy`, `status`, `activate`, `deactivate`
    Deploy,
    /// `scale`, and `serve --scale`
    Scale,
    /// `destroy`
    Destroy,
    /// `init`
    Init,
    /// `ami build`
    Ami,
}

fn connection(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let right = matches!(parts.as_slice(), ["arn", _, "codeconnections" | "codestar-connections", _, _, rest] if rest.starts_with("connection/"));
    right
        .then(|| text.to_owned())
        .ok_or_else(|| "a connection's ARN is arn:aws:codeconnections:REGION:ACCOUNT:connection/ID".to_owned())
}

/// What may stand in a dynamic reference of CloudFormation.
fn secret(text: &str) -> Result<String, String> {
    let (name, key) = text.split_once(':').unwrap_or((text, "key"));
    let plain = |word: &str, more: &str| {
        !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    let right = plain(name, "/_+=.@-") && plain(key, "_.-");
    right.then(|| text.to_owned()).ok_or_else(|| "a secret's name, or NAME:KEY".to_owned())
}
