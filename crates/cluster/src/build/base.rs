//! What lasts while versions come and go: the cluster, the groups that others wear, what instances may do, and the task that proves them.

use std::collections::BTreeMap;

use landfall_stack::policy::Policy;
use landfall_stack::resources::Properties;
use landfall_stack::resources::around::{InstanceProfile, LogGroup, Role};
use landfall_stack::resources::ecs::{
    CapacityProviders, CapacityStrategy, Cluster, Container, LogConfiguration, PlacementConstraint, TaskDefinition,
};
use landfall_stack::resources::network::SecurityGroup;
use landfall_stack::{Expr, Id, Template};

use super::Build;
use crate::infra::Infra;
use crate::names::{HEALTH_TASK, attributes};

/// Who wears one may do what the instances (or the databases, caches, …) let its wearers do. Name of the export, and of the wearer.
const BADGES: [(&str, &str); 4] =
    [("ALB", "load balancers"), ("DB", "databases"), ("Cache", "caches"), ("Aux", "whatever else")];

/// Small, and of a registry that needs no login; AWS keeps Docker's official images there.
const IMAGE: &str = "public.ecr.aws/docker/library/busybox:1.37";

/// `providers`: capacity providers that it has, the one that tasks go to by default first.
pub fn cluster(infra: &Infra, providers: &[String]) -> Template {
    let mut build = Build::new(infra, None);
    let name = &infra.name;
    let cluster = Cluster { cluster_name: name.clone(), tags: build.tags() };
    let cluster = build.draft.add(Id::of(&["Cluster"]), Properties::Cluster(cluster));
    if let Some(first) = providers.first() {
        let associations = CapacityProviders {
            cluster: Expr::from(&cluster),
            capacity_providers: providers.iter().map(Expr::text).collect(),
            default_capacity_provider_strategy: vec![CapacityStrategy {
                capacity_provider: Expr::text(first),
                weight: 1,
            }],
        };
        build.draft.add(Id::of(&["ClusterCapacity"]), Properties::CapacityProviders(associations));
    }
    build.draft.output("Cluster", "The cluster's name", Expr::from(&cluster));
    for (badge, who) in BADGES {
        let group = SecurityGroup {
            group_description: format!("Worn by {who} of cluster {name}"),
            vpc_id: infra.network.vpc.clone().map(Expr::Text),
            security_group_ingress: Vec::new(),
            security_group_egress: Vec::new(),
            tags: build.named(format!("{name} {badge} badge")),
        };
        let export = format!("{badge}BadgeSg");
        let group = build.draft.add(Id::of(&[&export]), Properties::SecurityGroup(group));
        build.exported(&export, &format!("Worn by {who}"), Expr::Attribute(group, "GroupId"));
    }
    // Wanted or not: versions that run may import it, and CloudFormation takes away no export that is imported.
    build.profile();
    let logs = LogGroup { log_group_name: log_group(name), retention_in_days: 30, tags: build.tags() };
    build.draft.add(Id::of(&["Logs"]), Properties::LogGroup(logs));
    build.draft.done(format!("Cluster {name}. Made by `landfall cluster deploy`: change infra.yml, not this."))
}

const ASSOCIATIONS: &str = "AWS::ECS::ClusterCapacityProviderAssociations";

/// The capacity providers that a cluster's template associates.
pub fn associated(template: &str) -> Vec<String> {
    let whole: serde_json::Value = serde_json::from_str(template).unwrap_or_default();
    let resources = whole["Resources"].as_object().into_iter().flat_map(|all| all.values());
    let own = resources.filter(|one| one["Type"] == ASSOCIATIONS);
    let names = own.filter_map(|one| one["Properties"]["CapacityProviders"].as_array()).flatten();
    names.filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

/// A cluster's template without these of its capacity providers, and otherwise as it is: whoever sets a version inactive changes nothing else.
pub fn disassociated(template: &str, gone: &[String]) -> String {
    let mut whole: serde_json::Value = serde_json::from_str(template).unwrap_or_default();
    let kept = |name: &serde_json::Value| name.as_str().is_none_or(|name| gone.iter().all(|one| one != name));
    if let Some(resources) = whole["Resources"].as_object_mut() {
        for one in resources.values_mut().filter(|one| one["Type"] == ASSOCIATIONS) {
            let properties = &mut one["Properties"];
            if let Some(names) = properties["CapacityProviders"].as_array_mut() {
                names.retain(&kept);
            }
            if let Some(strategy) = properties["DefaultCapacityProviderStrategy"].as_array_mut() {
                strategy.retain(|one| kept(&one["CapacityProvider"]));
            }
        }
        let none = |one: &serde_json::Value| {
            one["Type"] == ASSOCIATIONS
                && one["Properties"]["CapacityProviders"].as_array().is_some_and(|names| names.is_empty())
        };
        resources.retain(|_, one| !none(one));
    }
    whole.to_string()
}

/// Whether two templates say the same: CloudFormation makes no change where only the order of keys differs.
pub fn same(one: &str, other: &str) -> bool {
    let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    one == other || read(one).is_some_and(|one| Some(one) == read(other))
}

/// A task definition that only instances of ours can run: which version's, whoever runs it says.
pub fn health(infra: &Infra) -> Template {
    let mut build = Build::new(infra, None);
    let name = &infra.name;
    // The managed policy of our own profile allows it; what a profile of somebody else's allows nobody knows.
    let logs = infra.instance_profile.is_none().then(|| LogConfiguration {
        log_driver: "awslogs",
        options: BTreeMap::from([
            ("awslogs-group", Expr::text(log_group(name))),
            ("awslogs-region", Expr::Pseudo("AWS::Region")),
            ("awslogs-stream-prefix", Expr::text("health")),
        ]),
    });
    let container = Container {
        name: "health".to_owned(),
        image: Expr::text(IMAGE),
        essential: true,
        entry_point: Vec::new(),
        command: ["sh", "-c", "echo it runs; trap 'exit 0' TERM; sleep 3600 & wait"].map(str::to_owned).to_vec(),
        working_directory: None,
        user: None,
        readonly_root_filesystem: Some(true),
        cpu: Some(2),
        memory: Some(64),
        memory_reservation: None,
        port_mappings: Vec::new(),
        environment: Vec::new(),
        secrets: Vec::new(),
        depends_on: Vec::new(),
        health_check: None,
        stop_timeout: 30,
        mount_points: Vec::new(),
        log_configuration: logs,
    };
    let expression = format!("attribute:{} exists", attributes::VERSION);
    let definition = TaskDefinition {
        family: format!("{name}-cluster-health"),
        requires_compatibilities: vec!["EC2"],
        network_mode: "bridge",
        cpu: None,
        memory: None,
        execution_role_arn: None,
        task_role_arn: None,
        container_definitions: vec![container],
        volumes: Vec::new(),
        placement_constraints: vec![PlacementConstraint { r#type: "memberOf", expression }],
        tags: build.tags(),
    };
    let definition = build.draft.add(Id::of(&["HealthTask"]), Properties::TaskDefinition(definition));
    build.draft.output(HEALTH_TASK, "The task definition's ARN", Expr::from(&definition));
    build.draft.done(format!("The task that proves instances of cluster {name}. Made by `landfall cluster deploy`."))
}

/// One that no service of an environment has: those are `/ecs/PROJECT-…`.
fn log_group(cluster: &str) -> String {
    format!("/ecs/cluster/{cluster}")
}

impl Build<'_> {
    fn profile(&mut self) {
        let managed = |name: &str| Expr::sub(format!("arn:${{AWS::Partition}}:iam::aws:policy/{name}"));
        let role = Role {
            description: format!("Instances of cluster {} as ECS's agent, and for sessions of SSM", self.infra.name),
            assume_role_policy_document: Policy::trust("ec2"),
            managed_policy_arns: vec![
                managed("service-role/AmazonEC2ContainerServiceforEC2Role"),
                managed("AmazonSSMManagedInstanceCore"),
            ],
            policies: Vec::new(),
            tags: self.tags(),
        };
        let role = self.draft.add(Id::of(&["InstanceRole"]), Properties::Role(role));
        let profile = InstanceProfile { roles: vec![Expr::from(&role)] };
        let profile = self.draft.add(Id::of(&["InstanceProfile"]), Properties::InstanceProfile(profile));
        self.exported("InstanceProfile", "What instances may do", Expr::Attribute(profile, "Arn"));
    }
}
