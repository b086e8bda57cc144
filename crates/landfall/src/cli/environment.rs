//! Arguments of the commands for lasting environments.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};
use landfall_model::step::WaitUntil;
use landfall_planner::plan::{Following, ImageOverride};

// What a deployment brings, and what comparisons compare.
#[derive(Debug, Clone, Args)]
pub(crate) struct WhatArgs {
    /// The environment, as under `environments`; the only one if not given
    pub(crate) environment: Option<String>,
    /// The commit that images are built from, or named after; `plan`, `diff` and `verify` take what runs now without it
    #[arg(long, value_name = "COMMIT")]
    pub(crate) commit: Option<String>,
    /// The images of this release, by digest (docs/releases.md). With --commit too: where there is no such release, that commit's
    #[arg(long, value_name = "COMMIT|ID")]
    pub(crate) release: Option<String>,
    /// An image instead of the manifest's; as often as there are some
    #[arg(long = "image", value_name = "[SERVICE/]CONTAINER=REF", value_parser = image)]
    pub(crate) images: Vec<ImageOverride>,
    /// Images as CodePipeline's imagedefinitions.json has them
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) imagedefinitions: Option<PathBuf>,
    /// This service only; may be repeated
    #[arg(long = "service", value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct DeployArgs {
    #[command(flatten)]
    pub(crate) what: WhatArgs,
    /// A task definition (JSON or YAML, as ECS has it) instead of the service's own; nothing else of the service changes
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) task_definition: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) allow: super::stack::AllowArgs,
    #[command(flatten)]
    pub(crate) following: FollowingArgs,
    #[command(flatten)]
    pub(crate) waiting: WaitingArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct RollbackArgs {
    /// The environment; the only one if not given
    pub(crate) environment: Option<String>,
    /// A release, the beginning of its commit, or of an image's digest; the last that ended well before the present one if not given
    #[arg(long, value_name = "RELEASE|COMMIT|DIGEST")]
    pub(crate) to: Option<String>,
    #[command(flatten)]
    pub(crate) following: FollowingArgs,
    #[command(flatten)]
    pub(crate) waiting: WaitingArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ScaleArgs {
    pub(crate) environment: String,
    /// How many tasks each service shall run
    #[arg(required = true, value_name = "SERVICE=N", value_parser = count)]
    pub(crate) counts: Vec<(String, u32)>,
    #[command(flatten)]
    pub(crate) waiting: WaitingArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct FollowingArgs {
    /// New tasks also where nothing changed
    #[arg(long)]
    pub(crate) force: bool,
    /// How far a deployment is followed before it counts as done
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    pub(crate) wait_until: Until,
    /// Fail after so many tasks failed for the same reason, before the platform gives up [default without a number: 3]
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "3", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) fail_fast: Option<u32>,
}

impl FollowingArgs {
    pub(crate) fn following(&self) -> Following {
        let wait_until = match self.wait_until {
            Until::Started => WaitUntil::Started,
            Until::TrafficShifted => WaitUntil::TrafficShifted,
            Until::Stable => WaitUntil::Stable,
        };
        Following { force: self.force, wait_until, fail_fast: self.fail_fast }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Until {
    /// The platform took it
    Started,
    /// All traffic goes to the new tasks; as `stable` where traffic is not shifted
    TrafficShifted,
    /// The platform says it is completed
    #[default]
    Stable,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct WaitingArgs {
    /// Return as soon as it is recorded (only with a running server); `landfall wait` waits later
    #[arg(long)]
    pub(crate) detach: bool,
    /// Seconds to wait; then exit code 8, and it goes on
    #[arg(long, value_name = "SECONDS", default_value_t = 1800, conflicts_with = "detach")]
    pub(crate) timeout: u64,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct WaitArgs {
    /// An environment (its newest execution), or an execution
    #[arg(value_name = "ENV|EXECUTION")]
    pub(crate) what: String,
    /// Seconds to wait; then exit code 8, and it goes on
    #[arg(long, value_name = "SECONDS", default_value_t = 1800)]
    pub(crate) timeout: u64,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ReleasesArgs {
    /// The environment; the only one if not given
    pub(crate) environment: Option<String>,
    /// How many, newest first
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) limit: usize,
    /// What failed, scaled or is under way too
    #[arg(long, short)]
    pub(crate) all: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct LockArgs {
    pub(crate) environment: String,
    /// Why nobody may deploy now; shown to whoever tries
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) reason: String,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct UnlockArgs {
    pub(crate) environment: String,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct StatusArgs {
    /// Of this environment: its services, deployments, images and events
    pub(crate) environment: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct LogsArgs {
    pub(crate) environment: String,
    /// Go on until Ctrl-C
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Lines of each container from before
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) tail: usize,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct RunArgs {
    pub(crate) environment: String,
    /// The service whose task definition is run
    pub(crate) service: String,
    /// Whose command is replaced and whose exit code counts; the first essential one if not given
    #[arg(long, value_name = "CONTAINER")]
    pub(crate) container: Option<String>,
    /// A variable for it; may be repeated
    #[arg(long = "env", short, value_name = "KEY=VALUE", value_parser = variable)]
    pub(crate) variables: Vec<(String, String)>,
    /// Seconds until the task is stopped; then exit code 125
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    pub(crate) timeout: u64,
    /// The command; the task definition's if not given
    #[arg(last = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
}

impl RunArgs {
    pub(crate) fn variables(&self) -> BTreeMap<String, String> {
        self.variables.iter().cloned().collect()
    }
}

pub(crate) fn image(text: &str) -> Result<ImageOverride, String> {
    let wrong = || "write [SERVICE/]CONTAINER=REFERENCE".to_owned();
    let (who, image) =
        text.split_once('=').filter(|(who, image)| !who.is_empty() && !image.is_empty()).ok_or_else(wrong)?;
    let (service, container) = match who.split_once('/') {
        Some((service, container)) => (Some(service.to_owned()), container),
        None => (None, who),
    };
    if container.is_empty() || service.as_ref().is_some_and(String::is_empty) || image.contains(char::is_whitespace) {
        return Err(wrong());
    }
    Ok(ImageOverride { service, container: container.to_owned(), image: image.to_owned() })
}

fn count(text: &str) -> Result<(String, u32), String> {
    let wrong = || "write SERVICE=N".to_owned();
    let (service, count) = text.split_once('=').filter(|(service, _)| !service.is_empty()).ok_or_else(wrong)?;
    let count = count.parse::<u32>().ok().filter(|count| *count <= 5_000);
    Ok((service.to_owned(), count.ok_or_else(|| "a number of tasks, at most 5000".to_owned())?))
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| "write KEY=VALUE".to_owned())?;
    let legal = |(at, c): (usize, char)| c == '_' || c.is_ascii_alphabetic() || (at > 0 && c.is_ascii_digit());
    match !key.is_empty() && key.chars().enumerate().all(legal) {
        true => Ok((key.to_owned(), value.to_owned())),
        false => Err("a variable's name has letters, digits and `_`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn images_name_a_container_and_perhaps_a_service() {
        let one = image("web/app=registry:5000/team/app:v1@sha256:ab").unwrap();
        assert_eq!((one.service.as_deref(), one.container.as_str()), (Some("web"), "app"));
        assert_eq!(one.image, "registry:5000/team/app:v1@sha256:ab");
        assert_eq!(image("app=a/b=c").unwrap().image, "a/b=c");
        for wrong in ["app", "=x", "app=", "/app=x", "web/=x", "app=a b"] {
            assert!(image(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn counts_and_variables() {
        assert_eq!(count("web=3").unwrap(), ("web".to_owned(), 3));
        assert_eq!(variable("A_1=x=y").unwrap(), ("A_1".to_owned(), "x=y".to_owned()));
        assert!(
            count("web=-1").is_err() && count("web").is_err() && count("web=5001").is_err() && count("=1").is_err()
        );
        assert!(variable("1A=x").is_err() && variable("A").is_err() && variable("=x").is_err());
    }
}
