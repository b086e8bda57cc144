//! `AWS::EC2` and `AWS::AutoScaling`.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::{PropagatedTag, Tag};
use crate::expr::{Expr, Id};

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Vpc {
    pub cidr_block: String,
    pub enable_dns_hostnames: bool,
    pub enable_dns_support: bool,
    pub tags: Vec<Tag>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Subnet {
    pub vpc_id: Expr,
    pub availability_zone: Expr,
    pub cidr_block: String,
    pub map_public_ip_on_launch: bool,
    pub tags: Vec<Tag>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InternetGateway {
    pub tags: Vec<Tag>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GatewayAttachment {
    pub vpc_id: Expr,
    pub internet_gateway_id: Expr,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RouteTable {
    pub vpc_id: Expr,
    pub tags: Vec<Tag>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Route {
    pub route_table_id: Expr,
    pub destination_cidr_block: &'static str,
    pub gateway_id: Option<Expr>,
    pub nat_gateway_id: Option<Expr>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RouteTableAssociation {
    pub route_table_id: Expr,
    pub subnet_id: Expr,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Address {
    pub domain: &'static str,
    pub tags: Vec<Tag>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NatGateway {
    pub allocation_id: Expr,
    pub subnet_id: Expr,
    pub tags: Vec<Tag>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SecurityGroup {
    pub group_description: String,
    pub vpc_id: Option<Expr>,
    pub security_group_ingress: Vec<Ingress>,
    /// Empty: everything.
    pub security_group_egress: Vec<Egress>,
    pub tags: Vec<Tag>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Ingress {
    pub description: String,
    pub ip_protocol: &'static str,
    pub from_port: u16,
    pub to_port: u16,
    pub cidr_ip: Option<Expr>,
    pub source_security_group_id: Option<Expr>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Egress {
    pub description: String,
    pub ip_protocol: &'static str,
    pub from_port: u16,
    pub to_port: u16,
    pub cidr_ip: Expr,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct LaunchTemplate {
    pub launch_template_data: LaunchTemplateData,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct LaunchTemplateData {
    pub image_id: Expr,
    /// `None`: whoever launches says.
    pub instance_type: Option<String>,
    pub key_name: Option<String>,
    pub iam_instance_profile: ProfileArn,
    pub security_group_ids: Vec<Expr>,
    pub metadata_options: MetadataOptions,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub block_device_mappings: Vec<BlockDevice>,
    pub tag_specifications: Vec<TagSpecification>,
    pub user_data: UserData,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ProfileArn {
    pub arn: Expr,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MetadataOptions {
    pub http_tokens: &'static str,
    pub http_put_response_hop_limit: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct BlockDevice {
    pub device_name: String,
    pub ebs: Ebs,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Ebs {
    pub encrypted: bool,
    pub volume_type: &'static str,
    /// In GiB; `None`: as large as the image's.
    pub volume_size: Option<u32>,
    pub delete_on_termination: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TagSpecification {
    pub resource_type: &'static str,
    pub tags: Vec<Tag>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UserData {
    #[serde(rename = "Fn::Base64")]
    pub script: Expr,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InstanceGroup {
    pub min_size: Expr,
    pub max_size: Expr,
    #[serde(rename = "VPCZoneIdentifier")]
    pub subnets: Vec<Expr>,
    /// Of the default VPC, where no subnets are given.
    #[serde(rename = "AvailabilityZones")]
    pub zones: Option<Zones>,
    pub launch_template: Option<LaunchTemplateVersion>,
    pub mixed_instances_policy: Option<MixedInstances>,
    pub new_instances_protected_from_scale_in: Option<bool>,
    /// Spot Instances that are recommended for rebalancing are replaced, and ended.
    pub capacity_rebalance: Option<Switch>,
    pub tags: Vec<PropagatedTag>,
}

/// Yes, or only while a condition holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Switch {
    On,
    While(Id),
}

impl Serialize for Switch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::On => serializer.serialize_bool(true),
            Self::While(condition) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("Fn::If", &(condition, true, false))?;
                map.end()
            }
        }
    }
}

/// Before Auto Scaling ends an instance, or uses a new one, it waits.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InstanceHook {
    pub auto_scaling_group_name: Expr,
    pub lifecycle_hook_name: &'static str,
    pub lifecycle_transition: &'static str,
    /// Seconds, 30 to 7200.
    pub heartbeat_timeout: u32,
    /// Where nobody says anything in that time.
    pub default_result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct LaunchTemplateVersion {
    pub launch_template_id: Expr,
    pub version: Expr,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Zones {
    Named(Vec<String>),
    /// The region's.
    All(AllZones),
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AllZones {
    /// Empty: of the region the stack is in.
    #[serde(rename = "Fn::GetAZs")]
    of: &'static str,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MixedInstances {
    pub launch_template: MixedTemplate,
    pub instances_distribution: Distribution,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MixedTemplate {
    pub launch_template_specification: LaunchTemplateVersion,
    pub overrides: Vec<Override>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Override {
    pub instance_type: String,
    /// A number of 1 to 999. All of a group's have one, or none has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weighted_capacity: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Distribution {
    pub on_demand_base_capacity: u32,
    pub on_demand_percentage_above_base_capacity: u32,
    pub spot_allocation_strategy: &'static str,
    /// Dollars an hour for each unit of weight.
    pub spot_max_price: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SpotFleet {
    pub spot_fleet_request_config_data: FleetRequest,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct FleetRequest {
    pub iam_fleet_role: Expr,
    pub allocation_strategy: &'static str,
    pub target_capacity: Expr,
    pub r#type: &'static str,
    pub spot_maintenance_strategies: MaintenanceStrategies,
    pub launch_template_configs: Vec<FleetLaunch>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MaintenanceStrategies {
    pub capacity_rebalance: Rebalance,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Rebalance {
    pub replacement_strategy: &'static str,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct FleetLaunch {
    pub launch_template_specification: LaunchTemplateVersion,
    pub overrides: Vec<FleetOverride>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct FleetOverride {
    pub instance_type: String,
    /// Dollars an hour for each unit of weight.
    pub spot_price: String,
    pub weighted_capacity: u32,
    pub subnet_id: Option<Expr>,
    pub availability_zone: Option<String>,
}
