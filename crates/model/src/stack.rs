//! What a stack of CloudFormation holds beside the services of its environment: the network and load balancer around them, and what
//! makes them grow, start at a time, and keep files.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    pub network: Network,
    pub cluster: Cluster,
    /// The load balancer is reached from within the VPC only.
    #[serde(default)]
    pub internal: bool,
    /// Route 53's hosted zone that gets the names of hosts; the certificate is made and validated in it where the target has none.
    #[serde(default)]
    pub zone: Option<String>,
    /// By service: which requests are its. The first service with a load balancer that has none gets all others.
    #[serde(default)]
    pub rules: BTreeMap<String, Rule>,
    #[serde(default)]
    pub scaling: BTreeMap<String, Scaling>,
    /// By name.
    #[serde(default)]
    pub volumes: BTreeMap<String, Volume>,
    /// By service: what its containers may do.
    #[serde(default)]
    pub permissions: BTreeMap<String, Vec<Permission>>,
    /// Days.
    pub log_retention: u32,
    /// ARN of the role that CloudFormation acts as; `None`: as whoever applies.
    #[serde(default)]
    pub role: Option<String>,
    /// It cannot be deleted before this is taken off.
    #[serde(default)]
    pub termination_protection: bool,
    /// `BUCKET` or `BUCKET/PREFIX`: where a template goes that is too long for a request. `None`: to the state, where that is on S3.
    #[serde(default)]
    pub template_bucket: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// A VPC in two zones. `cidr`: its block, `10.0.0.0/16`.
    New { cidr: String, nat: Nat },
    /// The target's VPC and subnets. Of the load balancer: these, or else the target's.
    Existing { load_balancer_subnets: Vec<String> },
}

/// How tasks reach the internet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Nat {
    /// Private subnets with a gateway in each zone: the loss of a zone stops nothing in the other.
    #[default]
    PerZone,
    /// Private subnets with one gateway.
    One,
    /// No gateway: tasks are in public subnets and have public addresses.
    None,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cluster {
    /// Made under the target's name for it. `instances`: for services on EC2.
    New { instances: Option<Instances> },
    /// The target's.
    Existing,
}

/// An Auto Scaling group that ECS scales by what tasks need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instances {
    /// `t3.small`
    pub kind: String,
    pub min: u32,
    pub max: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    pub hosts: Vec<String>,
    pub paths: Vec<String>,
    /// 1 to 50,000; lower ones are asked first. `None`: by the service's place in the environment's list, ten apart.
    pub priority: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scaling {
    pub min: u32,
    pub max: u32,
    /// Percent of CPU that the tasks are kept near.
    pub cpu: u32,
    /// Seconds.
    pub scale_in_cooldown: u32,
    pub scale_out_cooldown: u32,
    /// By name.
    pub schedules: BTreeMap<String, ScalingSchedule>,
}

/// From then on these limits count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScalingSchedule {
    /// As [`crate::cron::Cron`] reads it.
    pub cron: String,
    /// `Europe/Berlin`; `None`: UTC.
    pub time_zone: Option<String>,
    pub min: Option<u32>,
    pub max: Option<u32>,
}

/// A file system of EFS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// `fs-…`; `None`: made with the stack, and kept when the stack goes.
    pub file_system: Option<String>,
    pub mounts: Vec<Mount>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub service: String,
    pub container: String,
    /// Absolute.
    pub path: String,
    pub read_only: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permission {
    /// `s3:GetObject`
    pub actions: Vec<String>,
    /// ARNs, or `*`.
    pub resources: Vec<String>,
}

/// What the stack of an environment is called, `project-environment`: letters, digits and hyphens, from a letter on.
pub fn stack_name(project: &str, environment: &str) -> String {
    let name = format!("{project}-{environment}");
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    match name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        true => name,
        false => format!("s-{name}"),
    }
}

/// The network's address and the length of its prefix; `None` where it is no block that a VPC can have and be cut into four: /16 to
/// /26, its address the block's first.
/// <https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html>
pub fn cidr(text: &str) -> Option<(Ipv4Addr, u8)> {
    let (address, length) = text.split_once('/')?;
    let address: Ipv4Addr = address.parse().ok()?;
    let length: u8 = length.parse().ok().filter(|length| (16..=26).contains(length))?;
    let rest = u32::MAX >> length;
    (u32::from(address) & rest == 0).then_some((address, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_that_a_vpc_can_have() {
        assert_eq!(cidr("10.1.0.0/20"), Some((Ipv4Addr::new(10, 1, 0, 0), 20)));
        for text in ["10.1.0.0", "10.1.0.0/15", "10.1.0.0/27", "10.1.0.1/20", "10.1.0.256/20", "x/20", "10.1.0.0/"] {
            assert_eq!(cidr(text), None, "{text}");
        }
    }

    #[test]
    fn stacks_have_names_that_cloudformation_takes() {
        assert_eq!(stack_name("shop", "prod"), "shop-prod");
        assert_eq!(stack_name("my_shop.de", "prod"), "my-shop-de-prod");
        assert_eq!(stack_name("1shop", "prod"), "s-1shop-prod");
    }
}
