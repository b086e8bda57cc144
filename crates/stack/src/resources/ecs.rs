//! `AWS::ECS`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{NameValue, Tag};
use crate::expr::Expr;

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Cluster {
    pub cluster_name: String,
    pub tags: Vec<Tag>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CapacityProvider {
    pub name: Option<String>,
    pub auto_scaling_group_provider: GroupProvider,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GroupProvider {
    pub auto_scaling_group_arn: Expr,
    pub managed_scaling: ManagedScaling,
    pub managed_termination_protection: &'static str,
    pub managed_draining: Option<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ManagedScaling {
    pub status: &'static str,
    pub target_capacity: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CapacityProviders {
    pub cluster: Expr,
    pub capacity_providers: Vec<Expr>,
    pub default_capacity_provider_strategy: Vec<CapacityStrategy>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CapacityStrategy {
    pub capacity_provider: Expr,
    pub weight: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TaskDefinition {
    pub family: String,
    pub requires_compatibilities: Vec<&'static str>,
    pub network_mode: &'static str,
    pub cpu: Option<String>,
    pub memory: Option<String>,
    pub execution_role_arn: Option<Expr>,
    pub task_role_arn: Option<Expr>,
    pub container_definitions: Vec<Container>,
    pub volumes: Vec<Volume>,
    pub placement_constraints: Vec<PlacementConstraint>,
    pub tags: Vec<Tag>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PlacementConstraint {
    pub r#type: &'static str,
    pub expression: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Container {
    pub name: String,
    pub image: Expr,
    pub essential: bool,
    pub entry_point: Vec<String>,
    pub command: Vec<String>,
    pub working_directory: Option<String>,
    pub user: Option<String>,
    pub readonly_root_filesystem: Option<bool>,
    pub cpu: Option<u32>,
    pub memory: Option<u32>,
    pub memory_reservation: Option<u32>,
    pub port_mappings: Vec<PortMapping>,
    pub environment: Vec<NameValue>,
    pub secrets: Vec<Secret>,
    pub depends_on: Vec<Dependency>,
    pub health_check: Option<HealthCheck>,
    pub stop_timeout: u32,
    pub mount_points: Vec<MountPoint>,
    pub log_configuration: Option<LogConfiguration>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PortMapping {
    pub container_port: u16,
    /// 0: any free port of the instance.
    pub host_port: Option<u16>,
    pub protocol: &'static str,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Secret {
    pub name: String,
    pub value_from: Expr,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Dependency {
    pub container_name: String,
    pub condition: &'static str,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HealthCheck {
    pub command: Vec<String>,
    pub interval: u32,
    pub timeout: u32,
    pub retries: u32,
    pub start_period: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MountPoint {
    pub source_volume: String,
    pub container_path: String,
    pub read_only: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct LogConfiguration {
    pub log_driver: &'static str,
    pub options: BTreeMap<&'static str, Expr>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Volume {
    pub name: String,
    #[serde(rename = "EFSVolumeConfiguration")]
    pub efs: EfsVolume,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EfsVolume {
    pub filesystem_id: Expr,
    pub transit_encryption: &'static str,
    pub authorization_config: EfsAuthorization,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EfsAuthorization {
    #[serde(rename = "IAM")]
    pub iam: &'static str,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Service {
    pub service_name: String,
    pub cluster: Expr,
    pub task_definition: Expr,
    pub launch_type: Option<&'static str>,
    pub capacity_provider_strategy: Vec<CapacityStrategy>,
    /// `None`: what it is now stays; of a new service 1.
    pub desired_count: Option<u32>,
    pub deployment_configuration: DeploymentConfiguration,
    pub health_check_grace_period_seconds: Option<u32>,
    pub network_configuration: Option<NetworkConfiguration>,
    pub load_balancers: Vec<ServiceLoadBalancer>,
    pub propagate_tags: &'static str,
    pub tags: Vec<Tag>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeploymentConfiguration {
    pub minimum_healthy_percent: u32,
    pub maximum_percent: u32,
    pub deployment_circuit_breaker: CircuitBreaker,
    pub alarms: Option<Alarms>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CircuitBreaker {
    pub enable: bool,
    pub rollback: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Alarms {
    pub alarm_names: Vec<String>,
    pub enable: bool,
    pub rollback: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkConfiguration {
    pub awsvpc_configuration: Awsvpc,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Awsvpc {
    pub subnets: Vec<Expr>,
    pub security_groups: Vec<Expr>,
    pub assign_public_ip: &'static str,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ServiceLoadBalancer {
    pub container_name: String,
    pub container_port: u16,
    pub target_group_arn: Expr,
}
