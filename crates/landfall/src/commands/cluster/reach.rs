//! The AWS that a cluster is on: its region as the variables say, as the SDK's profile says, or ecs-cluster-deployer's own.

use std::sync::Arc;

#[cfg(feature = "aws")]
use landfall_cluster::Network;
use landfall_cluster::{Around, Infra};
use landfall_ports::container_instances::ContainerInstances;
use landfall_ports::fleets::Fleets;
use landfall_ports::machine_images::MachineImages;
use landfall_ports::stacks::Stacks;

use super::infra::Open;
use crate::error::CliResult;
use crate::printer::Printer;
#[cfg(feature = "aws")]
use crate::{commands::port_error, env_vars, error::CliError, exit::ExitCode};

#[cfg_attr(not(feature = "aws"), allow(dead_code))]
pub(super) struct Reach {
    pub(super) stacks: Arc<dyn Stacks>,
    pub(super) instances: Arc<dyn ContainerInstances>,
    pub(super) fleets: Arc<dyn Fleets>,
    pub(super) images: Arc<dyn MachineImages>,
    #[cfg(feature = "aws")]
    platform: landfall_aws::AwsPlatform,
}

#[cfg(feature = "aws")]
impl Reach {
    /// What ecs-cluster-deployer's README takes where nobody says.
    const REGION: &str = "us-west-2";

    /// Nothing is asked of AWS yet.
    pub(super) async fn of(infra: &Infra, printer: &Printer) -> CliResult<Self> {
        Self::named(&infra.name, printer).await
    }

    pub(super) async fn named(name: &str, printer: &Printer) -> CliResult<Self> {
        let target = |region: Option<String>| landfall_model::aws::AwsTarget {
            name: name.to_owned(),
            region,
            cluster: name.to_owned(),
            ..landfall_model::aws::AwsTarget::default()
        };
        let options = || landfall_aws::AwsOptions { instance: "none".to_owned() };
        let given = env_vars::region();
        let mut connected = landfall_aws::AwsPlatform::connect(&target(given.clone()), options()).await;
        if given.is_none() && connected.is_err() {
            printer
                .note(format_args!("note: region {}, as nothing says another: AWS_DEFAULT_REGION does", Self::REGION));
            connected = landfall_aws::AwsPlatform::connect(&target(Some(Self::REGION.to_owned())), options()).await;
        }
        let platform = connected.map_err(|error| crate::places::refused(name, error))?;
        Ok(Self {
            stacks: platform.stacks(),
            instances: platform.container_instances(),
            fleets: platform.fleets(),
            images: platform.machine_images(),
            platform,
        })
    }

    /// The default VPC, and its subnets in zones that can be used, with the zone of each.
    pub(super) async fn default_network(&self) -> CliResult<(String, String, Vec<(String, String)>)> {
        let region = self.platform.region().to_owned();
        let none = |message: String| {
            CliError::new(ExitCode::NotFound, message)
                .hint("write infra.yml by hand, with a network of yours: `cluster: {name: web, vpc: vpc-…, subnets: [subnet-…, subnet-…]}`; docs/clusters.md has the rest")
                .hint("or let AWS make one, `aws ec2 create-default-vpc`, and call this again")
        };
        let Some(vpc) = self.platform.default_vpc().await.map_err(port_error)? else {
            return Err(none(format!("{region} has no default VPC")));
        };
        let zones = self.platform.zones().await.map_err(port_error)?;
        let subnets = self.platform.subnets(&vpc).await.map_err(port_error)?.into_iter();
        let subnets: Vec<(String, String)> =
            subnets.filter(|one| zones.contains(&one.zone)).map(|one| (one.id, one.zone)).collect();
        match subnets.is_empty() {
            true => Err(none(format!("the default VPC of {region}, {vpc}, has no subnet in a zone that can be used"))),
            false => Ok((region, vpc, subnets)),
        }
    }

    /// Of a VPC that the file names.
    async fn subnets(&self, vpc: &str) -> CliResult<Vec<(String, String)>> {
        let found = self.platform.subnets(vpc).await.map_err(port_error)?;
        let found: Vec<(String, String)> = found.into_iter().map(|subnet| (subnet.id, subnet.zone)).collect();
        if found.is_empty() {
            let message = format!("{vpc} has no subnets in {}", self.platform.region());
            return Err(
                CliError::new(ExitCode::InvalidManifest, message).hint("name another one in infra.yml: `cluster.vpc`")
            );
        }
        Ok(found)
    }

    /// Those that an instance of the cluster may be in.
    pub(super) async fn places(&self, infra: &Infra) -> CliResult<Vec<String>> {
        let network = &infra.network;
        if !network.subnets.is_empty() {
            return Ok(network.subnets.clone());
        }
        let all = match &network.vpc {
            Some(vpc) => self.subnets(vpc).await?,
            None => self.default_network().await?.2,
        };
        in_zones(network, all)
    }

    /// The region, and whether the secret is there. Its value is not read.
    pub(super) async fn has_secret(&self, name: &str) -> CliResult<(&str, bool)> {
        let there = match self.platform.secret_arn(name).await {
            Err(landfall_ports::PortError::NotFound(_)) => false,
            told => told.map(|_| true).map_err(port_error)?,
        };
        Ok((self.platform.region(), there))
    }

    /// What is not in `infra.yml`: a script's text, and subnets that AWS knows.
    pub(super) async fn around(&self, open: &Open, printer: &Printer) -> CliResult<Around> {
        let network = &open.infra.network;
        let subnets = match &network.vpc {
            Some(vpc) if network.subnets.is_empty() => {
                let found = in_zones(network, self.subnets(vpc).await?)?;
                let which =
                    if network.zones.is_empty() { String::new() } else { format!(" in {}", network.zones.join(", ")) };
                printer.note(format_args!("note: subnets {}: all of {vpc}{which}", found.join(", ")));
                found
            }
            _ => Vec::new(),
        };
        Ok(Around { subnets, user_data: open.user_data(printer)? })
    }

    /// The image of a new version: the one that is given, else the one of the file, else the newest of AWS's.
    pub(super) async fn image(&self, infra: &Infra, given: Option<&String>) -> CliResult<String> {
        if let Some(given) = given.filter(|given| !given.is_empty()) {
            return Ok(given.clone());
        }
        let Some(parameter) = infra.image_parameter() else {
            let landfall_cluster::Image::Ami(id) = &infra.image else { return Ok(String::new()) };
            return Ok(id.clone());
        };
        match self.platform.parameter(parameter).await.map_err(port_error)? {
            landfall_aws::ParameterValue::Text(id) => Ok(id),
            landfall_aws::ParameterValue::List(_) => {
                let message = format!("parameter {parameter} is a list, and no image");
                Err(CliError::new(ExitCode::Failed, message).hint("name an image: --ami, AMI, or `image` in infra.yml"))
            }
        }
    }
}

#[cfg(not(feature = "aws"))]
#[allow(clippy::unused_async, reason = "as with AWS")]
impl Reach {
    pub(super) async fn of(infra: &Infra, printer: &Printer) -> CliResult<Self> {
        Self::named(&infra.name, printer).await
    }

    pub(super) async fn named(name: &str, _: &Printer) -> CliResult<Self> {
        Err(crate::places::without(name, "the cluster"))
    }

    pub(super) async fn default_network(&self) -> CliResult<(String, String, Vec<(String, String)>)> {
        Ok(Default::default())
    }

    pub(super) async fn places(&self, _: &Infra) -> CliResult<Vec<String>> {
        Ok(Vec::new())
    }

    pub(super) async fn has_secret(&self, _: &str) -> CliResult<(&str, bool)> {
        Ok(("", false))
    }

    pub(super) async fn around(&self, open: &Open, printer: &Printer) -> CliResult<Around> {
        Ok(Around { user_data: open.user_data(printer)?, ..Around::default() })
    }

    pub(super) async fn image(&self, _: &Infra, given: Option<&String>) -> CliResult<String> {
        Ok(given.cloned().unwrap_or_default())
    }
}

/// Ids of those that are in a zone of the file, where it names any.
#[cfg(feature = "aws")]
fn in_zones(network: &Network, mut all: Vec<(String, String)>) -> CliResult<Vec<String>> {
    all.retain(|(_, zone)| network.zones.is_empty() || network.zones.contains(zone));
    match all.is_empty() {
        true => Err(CliError::new(ExitCode::NotFound, format!("no subnet is in any of {}", network.zones.join(", ")))
            .hint("name others in infra.yml: `cluster.availability_zones`")),
        false => Ok(all.into_iter().map(|(id, _)| id).collect()),
    }
}
