//! The cluster: its own or the target's, and instances where services are to run on some.

use landfall_model::app::Service;
use landfall_model::stack::{Cluster as Wanted, Instances};
use landfall_model::task::LaunchType;

use super::Build;
use super::balancer::group_id;
use super::network::Network;
use crate::expr::{Expr, Id};
use crate::policy::Policy;
use crate::resources::around::{InstanceProfile, Role};
use crate::resources::ecs::{
    CapacityProvider, CapacityProviders, CapacityStrategy, Cluster as ClusterProperties, GroupProvider, ManagedScaling,
};
use crate::resources::network::{
    Ingress, InstanceGroup, LaunchTemplate, LaunchTemplateData, LaunchTemplateVersion, MetadataOptions, ProfileArn,
    SecurityGroup, UserData,
};
use crate::resources::{PropagatedTag, Properties};

/// Amazon Linux 2023 with ECS's agent, as AWS recommends it on the day of the update
/// (<https://docs.aws.amazon.com/AmazonECS/latest/developerguide/retrieve-ecs-optimized_AMI.html>).
const IMAGE: &str = "{{resolve:ssm:/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id}}";

pub(super) struct Cluster {
    pub name: Expr,
    pub arn: Expr,
    pub capacity: Option<Capacity>,
}

/// Instances of the stack's own.
pub(super) struct Capacity {
    pub provider: Id,
    /// Services wait for it.
    pub associated: Id,
}

impl Capacity {
    pub(super) fn strategy(&self) -> Vec<CapacityStrategy> {
        vec![CapacityStrategy { capacity_provider: Expr::from(&self.provider), weight: 1 }]
    }
}

impl Build<'_> {
    pub(super) fn cluster(&mut self, network: &Network) -> Cluster {
        let given = &self.target.cluster;
        let Wanted::New { instances } = &self.stack.cluster else {
            let (name, arn) = match given.split_once(":cluster/") {
                Some((_, name)) => (name, Expr::text(given)),
                None => {
                    let arn = "arn:${AWS::Partition}:ecs:${AWS::Region}:${AWS::AccountId}:cluster";
                    (given.as_str(), Expr::sub(format!("{arn}/{given}")))
                }
            };
            return Cluster { name: Expr::text(name), arn, capacity: None };
        };
        let cluster = ClusterProperties { cluster_name: given.clone(), tags: self.tags() };
        let id = self.draft.add(Id::of(&["Cluster"]), Properties::Cluster(cluster));
        let capacity = instances.as_ref().map(|instances| self.capacity(instances, &id, network));
        Cluster { name: Expr::from(&id), arn: Expr::Attribute(id, "Arn"), capacity }
    }

    /// Docker gives containers ports of the ephemeral range.
    fn balancer_s_way_in(&self) -> Vec<Ingress> {
        let on_instances = |service: &&&Service| service.launch_type == LaunchType::Ec2;
        let Some(_) = self.balanced().iter().find(on_instances) else { return Vec::new() };
        vec![Ingress {
            description: "The load balancer".to_owned(),
            ip_protocol: "tcp",
            from_port: 32_768,
            to_port: 65_535,
            cidr_ip: None,
            source_security_group_id: Some(Expr::from(&group_id())),
        }]
    }

    fn capacity(&mut self, instances: &Instances, cluster: &Id, network: &Network) -> Capacity {
        let group = SecurityGroup {
            group_description: format!("Instances of {}", self.prefix()),
            vpc_id: Some(network.vpc.clone()),
            security_group_ingress: self.balancer_s_way_in(),
            security_group_egress: Vec::new(),
            tags: self.named("instances"),
        };
        let group = self.draft.add(Id::of(&["InstanceSecurityGroup"]), Properties::SecurityGroup(group));
        let managed = "arn:${AWS::Partition}:iam::aws:policy/service-role/AmazonEC2ContainerServiceforEC2Role";
        let role = Role {
            description: format!("Instances of {} as ECS's agent", self.prefix()),
            assume_role_policy_document: Policy::trust("ec2"),
            managed_policy_arns: vec![Expr::sub(managed)],
            policies: Vec::new(),
            tags: self.tags(),
        };
        let role = self.draft.add(Id::of(&["InstanceRole"]), Properties::Role(role));
        let profile = InstanceProfile { roles: vec![Expr::from(&role)] };
        let profile = self.draft.add(Id::of(&["InstanceProfile"]), Properties::InstanceProfile(profile));
        let script = format!("#!/bin/sh\necho ECS_CLUSTER=${{{cluster}}} >> /etc/ecs/ecs.config\n");
        let data = LaunchTemplateData {
            image_id: Expr::text(IMAGE),
            instance_type: Some(instances.kind.clone()),
            key_name: None,
            block_device_mappings: Vec::new(),
            tag_specifications: Vec::new(),
            iam_instance_profile: ProfileArn { arn: Expr::Attribute(profile, "Arn") },
            security_group_ids: vec![Expr::from(&group)],
            metadata_options: MetadataOptions { http_tokens: "required", http_put_response_hop_limit: None },
            user_data: UserData { script: Expr::sub(script) },
        };
        let launch = LaunchTemplate { launch_template_data: data };
        let launch = self.draft.add(Id::of(&["InstanceTemplate"]), Properties::LaunchTemplate(launch));
        let propagated =
            |tag: crate::resources::Tag| PropagatedTag { key: tag.key, value: tag.value, propagate_at_launch: true };
        let instance_group = InstanceGroup {
            min_size: Expr::text(instances.min.to_string()),
            max_size: Expr::text(instances.max.to_string()),
            subnets: network.task_subnets.clone(),
            zones: None,
            launch_template: Some(LaunchTemplateVersion {
                version: Expr::Attribute(launch.clone(), "LatestVersionNumber"),
                launch_template_id: Expr::from(&launch),
            }),
            mixed_instances_policy: None,
            new_instances_protected_from_scale_in: Some(true),
            capacity_rebalance: None,
            tags: self.named("instance").into_iter().map(propagated).collect(),
        };
        let ways = network.ways_out.clone();
        let properties = Properties::InstanceGroup(instance_group);
        let instance_group = self.draft.add_after(Id::of(&["InstanceGroup"]), properties, ways);
        let provider = CapacityProvider {
            name: None,
            auto_scaling_group_provider: GroupProvider {
                auto_scaling_group_arn: Expr::Attribute(instance_group, "AutoScalingGroupARN"),
                managed_scaling: ManagedScaling { status: "ENABLED", target_capacity: 100 },
                managed_termination_protection: "ENABLED",
                managed_draining: None,
            },
        };
        let provider = self.draft.add(Id::of(&["CapacityProvider"]), Properties::CapacityProvider(provider));
        let strategy = vec![CapacityStrategy { capacity_provider: Expr::from(&provider), weight: 1 }];
        let providers = CapacityProviders {
            cluster: Expr::from(cluster),
            capacity_providers: vec![Expr::from(&provider)],
            default_capacity_provider_strategy: strategy,
        };
        let associated = self.draft.add(Id::of(&["ClusterCapacity"]), Properties::CapacityProviders(providers));
        Capacity { provider, associated }
    }
}
