//! Arguments of `landfall iam`.

use clap::{Args, ValueEnum};

#[derive(Debug, Clone, Args)]
pub(crate) struct IamArgs {
    /// A long-lived environment or `previews`; or what takes rights of its own: `push`, `prune` (`landfall images prune`),
    /// `releases` (reading them: `landfall release`, `--release`), `verify` (finding the URLs of `landfall verify --probes`)
    #[arg(value_name = "ENV|previews|push|prune|releases|verify")]
    pub(crate) what: String,
    /// Account of the resources, where the manifest does not say
    #[arg(long, value_name = "ID", value_parser = account)]
    pub(crate) account: Option<String>,
    /// Role that tasks get from a base task definition or a document, which the manifest does not name; may be repeated
    #[arg(long = "pass-role", value_name = "ARN", value_parser = role)]
    pub(crate) pass_roles: Vec<String>,
    /// Also what `landfall doctor` and `landfall verify` look at; all of it is reading
    #[arg(long)]
    pub(crate) checks: bool,
    /// Also what `landfall secrets` reads and writes: values of the environment's secrets
    #[arg(long)]
    pub(crate) secrets: bool,
    /// With `push`: also what `landfall push --create-repository` needs
    #[arg(long)]
    pub(crate) create_repository: bool,
    /// Print the trust policy of the role instead: who may take it
    #[arg(long, value_enum, value_name = "WHERE")]
    pub(crate) trust: Option<Trust>,
    /// Whose jobs may take the role: OWNER/NAME on GitHub (the manifest's repository if not given), GROUP/NAME on GitLab, ORG-ID/PROJECT-ID
    /// on CircleCI
    #[arg(long, value_name = "WHO", requires = "trust")]
    pub(crate) subject: Option<String>,
    /// GitHub's environment that jobs must run in
    #[arg(long, value_name = "NAME", requires = "trust")]
    pub(crate) github_environment: Option<String>,
    /// Host of a GitLab of your own
    #[arg(long, value_name = "HOST", requires = "trust", default_value = "gitlab.com")]
    pub(crate) gitlab_host: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Trust {
    /// Jobs of GitHub Actions, by OpenID Connect
    Github,
    /// Jobs of GitLab CI, by OpenID Connect
    Gitlab,
    /// Jobs of CircleCI, by OpenID Connect
    Circleci,
    /// A server that runs as an ECS task
    Ecs,
    /// A server on an EC2 instance
    Ec2,
}

pub(super) fn account(text: &str) -> Result<String, String> {
    let right = text.len() == 12 && text.bytes().all(|c| c.is_ascii_digit());
    right.then(|| text.to_owned()).ok_or_else(|| "an account has twelve digits".to_owned())
}

pub(super) fn role(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let right = matches!(parts.as_slice(), ["arn", _, "iam", "", _, rest] if rest.starts_with("role/"));
    right.then(|| text.to_owned()).ok_or_else(|| "a role's ARN is arn:aws:iam::ACCOUNT:role/NAME".to_owned())
}
