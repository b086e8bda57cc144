//! What `infra.yml` says, with every default filled in.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::price::Price;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Infra {
    /// Of the ECS cluster, and what every stack's name begins with.
    pub name: String,
    pub network: Network,
    /// Worn by every instance beside its own.
    pub security_groups: Vec<String>,
    /// Let in by every instance, on every TCP port.
    pub ingress: Vec<String>,
    /// Of an SSH key that is there; `None`: sessions of SSM only.
    pub keypair: Option<String>,
    /// As it is written: `${AWS::AccountId}` and its like are filled in by CloudFormation. `None`: one is made.
    pub instance_profile: Option<String>,
    /// Whether the scaler changes the fleets' weights.
    pub autoscaling: bool,
    /// Auto Scaling replaces Spot Instances that are at risk, and what it ends of itself the scaler drains before.
    pub capacity_rebalance: bool,
    pub metric: Metric,
    /// Path of a script that runs on each instance before ECS's agent starts, relative to `infra.yml`.
    pub user_data: Option<String>,
    pub image: Image,
    pub capacity: Capacity,
    pub compatibility: Compatibility,
    pub efs: Vec<Efs>,
    pub ebs: Vec<Ebs>,
    pub groups: Vec<Group>,
    pub fleets: Vec<Fleet>,
    /// Of the pipeline.
    pub environments: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Network {
    /// `None`: the region's default VPC.
    pub vpc: Option<String>,
    /// Empty: all of the VPC.
    pub subnets: Vec<String>,
    /// Empty: all that the subnets are in.
    pub zones: Vec<String>,
}

/// What the scaler looks at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Whole tasks on whole instances.
    #[default]
    Packed,
    /// The sum of fractions that ecs-cluster-deployer made.
    Compatible,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Image {
    AmazonLinux2023,
    Bottlerocket,
    Ami(String),
}

/// Who decides how many instances there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capacity {
    /// Landfall's scaler.
    #[default]
    Landfall,
    /// ECS: capacity providers with managed scaling and managed draining.
    EcsManaged,
}

/// What a `spot_fleets` entry becomes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Compatibility {
    /// An Auto Scaling group of mixed instances.
    #[default]
    None,
    /// A request for a Spot Fleet, as ecs-cluster-deployer made it.
    SpotFleets,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Efs {
    pub name: String,
    pub id: String,
    pub path: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ebs {
    pub name: String,
    pub device: String,
    /// GiB.
    pub size: u32,
}

/// An Auto Scaling group of one type, on demand: instances that are reserved, usually.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    pub name: String,
    pub instance_type: String,
    pub desired: u32,
    pub min: u32,
    pub max: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fleet {
    pub name: String,
    /// How long a task may take to stop, in the agent's words: `2m`.
    pub timeout: String,
    pub desired: u32,
    pub min: u32,
    pub max: u32,
    /// Fewer schedulable tasks: scale out.
    pub threshold_out: u32,
    /// More schedulable tasks: scale in.
    pub threshold_in: u32,
    pub on_demand: OnDemand,
    /// What no Spot is to be had for is launched on demand.
    pub on_demand_fallback: bool,
    /// One for each instance type, in the file's order.
    pub bids: Vec<Bid>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bid {
    pub instance_type: String,
    pub price: Price,
    pub weight: u32,
}

/// How much of a fleet is not on Spot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct OnDemand {
    /// Weight that always is.
    pub base: u32,
    /// Of what is above it.
    pub percent: u32,
}

impl Infra {
    /// Whether anything here can run a task.
    pub fn has_capacity(&self) -> bool {
        !self.fleets.is_empty() || !self.groups.is_empty()
    }

    /// What the file says because of which its fleets are not Landfall's to scale.
    pub fn left_alone(&self) -> Option<&'static str> {
        match self.capacity {
            _ if !self.autoscaling => Some("autoscaling: false"),
            Capacity::EcsManaged => Some("capacity: ecs-managed"),
            Capacity::Landfall => None,
        }
    }

    /// The most that is paid on Spot for a unit of weight of a fleet's bid: what that bid says in a Spot Fleet, and the fleet's
    /// highest bid in an Auto Scaling group, which has one highest price for all its types.
    pub fn spot_limit(&self, fleet: &Fleet, bid: &Bid) -> Price {
        match self.compatibility {
            Compatibility::SpotFleets => bid.price,
            Compatibility::None => fleet.bids.iter().map(|other| other.price).fold(bid.price, Price::max),
        }
    }

    /// Of an instance of this fleet and type; one that the file does not name counts once.
    pub fn weight(&self, fleet: Option<&str>, kind: Option<&str>) -> u32 {
        // ECS's managed scaling counts instances.
        let fleets = self.fleets.iter().filter(|_| self.capacity == Capacity::Landfall);
        let own = fleets.filter(|one| Some(one.name.as_str()) == fleet).flat_map(|one| &one.bids);
        own.filter(|bid| Some(bid.instance_type.as_str()) == kind).map(|bid| bid.weight).next().unwrap_or(1)
    }

    /// Of fleets and groups, by what instances carry as `landfall.fleet`: how many units there are at least, at most and to begin with.
    pub fn bounds(&self) -> BTreeMap<String, Bounds> {
        let fleets = self
            .fleets
            .iter()
            .map(|one| (one.name.clone(), Bounds { min: one.min, desired: one.desired, max: one.max }));
        let groups = self
            .groups
            .iter()
            .map(|one| (one.name.clone(), Bounds { min: one.min, desired: one.desired, max: one.max }));
        fleets.chain(groups).collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bounds {
    pub min: u32,
    pub desired: u32,
    pub max: u32,
}
