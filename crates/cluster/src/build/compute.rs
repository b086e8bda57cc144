//! The instances of one version: a launch template, and a group or a Spot Fleet of it, for each entry of the file.

use landfall_model::fleet::DRAIN_HOOK;
use landfall_stack::policy::Policy;
use landfall_stack::resources::around::Role;
use landfall_stack::resources::ecs::{CapacityProvider, GroupProvider, ManagedScaling};
use landfall_stack::resources::network::{
    AllZones, Distribution, FleetLaunch, FleetOverride, FleetRequest, Ingress, InstanceGroup, InstanceHook,
    LaunchTemplate, LaunchTemplateData, LaunchTemplateVersion, MaintenanceStrategies, MetadataOptions, MixedInstances,
    MixedTemplate, Override, ProfileArn, Rebalance, SecurityGroup, SpotFleet, Switch, TagSpecification, UserData,
    Zones,
};
use landfall_stack::resources::{PropagatedTag, Properties, Tag};
use landfall_stack::{Expr, Id, Parameter, Template};

use super::{Around, Build, Standing, Unfit, launch, sizes};
use crate::infra::{Bounds, Capacity, Compatibility, Fleet, Group, Image, Infra, Metric};
use crate::names::{Version, export, provider};

/// Seconds that Auto Scaling waits with ending an instance for the scaler to drain it: an hour, as a load balancer may take to let go of it.
const DRAIN_SECONDS: u32 = 3600;
/// What the group that stands in for a fleet on demand is called after that one.
pub(crate) const STANDS_IN: &str = "Fallback";

/// The template of a version's stack.
///
/// # Errors
/// Something around it is not known, or does not fit.
pub fn compute(infra: &Infra, version: &Version, around: &Around) -> Result<Template, Unfit> {
    let mut build = Build::new(infra, Some(version));
    let place = build.place(around)?;
    let (image, rebalances) = build.settings();
    let common = Common { version, image, rebalances, group: build.instance_group(), place, around };
    for fleet in &infra.fleets {
        build.fleet(fleet, &common)?;
    }
    for group in &infra.groups {
        build.group(group, &common)?;
    }
    build.draft.distinct().map_err(Unfit::SameId)?;
    let name = &infra.name;
    Ok(build.draft.done(format!(
        "Instances of cluster {name}, version {version}. Made by `landfall cluster deploy`: change infra.yml, not this."
    )))
}

/// What all fleets and groups of a version have in common.
struct Common<'a> {
    version: &'a Version,
    /// Of the parameter.
    image: Expr,
    rebalances: Option<Rebalances>,
    /// The security group of the instances.
    group: Id,
    place: Place,
    around: &'a Around,
}

/// Conditions: that the version is used, and so its instances at risk are replaced; and that it has proved itself, and so the scaler looks at
/// it, also while it is emptied.
#[derive(Clone)]
struct Rebalances {
    used: Id,
    proved: Id,
}

#[derive(Clone)]
enum Place {
    Subnets(Vec<String>),
    /// Of the default VPC.
    Zones(Option<Vec<String>>),
}

impl Place {
    fn subnets(&self) -> Vec<Expr> {
        match self {
            Self::Subnets(subnets) => subnets.iter().map(Expr::text).collect(),
            Self::Zones(_) => Vec::new(),
        }
    }

    fn zones(&self) -> Option<Zones> {
        match self {
            Self::Subnets(_) => None,
            Self::Zones(Some(named)) => Some(Zones::Named(named.clone())),
            Self::Zones(None) => Some(Zones::All(AllZones::default())),
        }
    }
}

impl Build<'_> {
    fn place(&self, around: &Around) -> Result<Place, Unfit> {
        let network = &self.infra.network;
        if !network.subnets.is_empty() {
            return Ok(Place::Subnets(network.subnets.clone()));
        }
        match &network.vpc {
            Some(vpc) if around.subnets.is_empty() => Err(Unfit::Subnets(vpc.clone())),
            Some(_) => Ok(Place::Subnets(around.subnets.clone())),
            None => Ok(Place::Zones(Some(network.zones.clone()).filter(|zones| !zones.is_empty()))),
        }
    }

    /// Parameters that every compute stack has, and what shows them. The image.
    fn settings(&mut self) -> (Expr, Option<Rebalances>) {
        let text = |description: &str| Parameter {
            r#type: "String",
            description: description.to_owned(),
            default: None,
            allowed_pattern: None,
            allowed_values: Vec::new(),
            constraint_description: None,
        };
        let default = match &self.infra.image {
            Image::Ami(id) => Some(id.clone()),
            Image::AmazonLinux2023 | Image::Bottlerocket => None,
        };
        let what = "The instances' image: the same for as long as this version is there";
        let image = Parameter { r#type: "AWS::EC2::Image::Id", default, ..text(what) };
        let image = self.draft.parameter(Id::of(&["ImageId"]), image);
        let what = "Set to active, it is not emptied; set to inactive, it is emptied and deleted";
        let status = Parameter {
            default: Some("inactive".to_owned()),
            allowed_values: vec!["active", "inactive"],
            ..text(what)
        };
        let status = self.draft.parameter(Id::of(&["Status"]), status);
        let values = vec!["testing", "replacing", "done", "failed"];
        let what = "How far landfall is with it; not to be set by hand";
        let roll = Parameter { default: Some("testing".to_owned()), allowed_values: values, ..text(what) };
        let roll = self.draft.parameter(Id::of(&["Roll"]), roll);
        let mut while_it_is = |name: &str, parameter: &Expr, value: &str| {
            self.draft.condition(Id::of(&[name]), (parameter.clone(), Expr::text(value)))
        };
        let rebalances = drains(self.infra).then(|| Rebalances {
            used: while_it_is("Used", &status, Standing::Active.status()),
            proved: while_it_is("Proved", &roll, Standing::Active.roll()),
        });
        self.draft.output("Status", "Whether it is used, or emptied", status);
        self.draft.output("Roll", "How far landfall is with it", roll);
        self.draft.output("Image", "The instances' image", image.clone());
        (image, rebalances)
    }

    fn size(&mut self, name: &str, group: bool, bounds: Bounds) -> Vec<Expr> {
        let names = sizes::names(self.infra, name, group);
        let single = names.len() == 1;
        let sized = names.into_iter().enumerate().map(|(index, id)| {
            let what = match (single, index) {
                (true, _) => "Weight",
                (false, 0) => "At least",
                (false, _) => "At most",
            };
            let unit = if group { "instances" } else { "units of weight" };
            let parameter = Parameter {
                r#type: "Number",
                description: format!("{what}, of {name}, in {unit}"),
                default: Some(sizes::default(self.infra, bounds, index, single)),
                allowed_pattern: None,
                allowed_values: Vec::new(),
                constraint_description: None,
            };
            (id, parameter)
        });
        let sized: Vec<(Id, Parameter)> = sized.collect();
        sized.into_iter().map(|(id, parameter)| self.draft.parameter(id, parameter)).collect()
    }

    fn instance_group(&mut self) -> Id {
        let name = &self.infra.name;
        let ingress = |who: &str, source: Expr| Ingress {
            description: who.to_owned(),
            ip_protocol: "tcp",
            from_port: 0,
            to_port: 65_535,
            cidr_ip: None,
            source_security_group_id: Some(source),
        };
        let mut ways_in = vec![ingress("Load balancers", Expr::Import(export(name, "ALBBadgeSg")))];
        ways_in.extend(self.infra.ingress.iter().map(|id| ingress("security_group_ingress", Expr::text(id))));
        let group = SecurityGroup {
            group_description: format!("Instances of cluster {name}"),
            vpc_id: self.infra.network.vpc.clone().map(Expr::Text),
            security_group_ingress: ways_in,
            security_group_egress: Vec::new(),
            tags: self.named(format!("{name} instances")),
        };
        self.draft.add(Id::of(&["InstanceSg"]), Properties::SecurityGroup(group))
    }

    fn launch(
        &mut self,
        name: &str,
        kind: &str,
        timeout: &str,
        instance_type: Option<String>,
        common: &Common<'_>,
    ) -> Result<LaunchTemplateVersion, Unfit> {
        let infra = self.infra;
        let script = launch::user_data(infra, common.version, name, timeout, common.around.user_data.as_deref())?;
        let mut groups =
            vec![Expr::Attribute(common.group.clone(), "GroupId"), Expr::Import(export(&infra.name, "DBBadgeSg"))];
        groups.extend(infra.security_groups.iter().map(Expr::text));
        let arn = match &infra.instance_profile {
            Some(given) if given.contains("${") => Expr::sub(given),
            Some(given) => Expr::text(given),
            None => Expr::Import(export(&infra.name, "InstanceProfile")),
        };
        let mut tags = self.named(&infra.name);
        tags.push(Tag { key: "cluster", value: Expr::text(&infra.name) });
        let tagged = |resource_type| TagSpecification { resource_type, tags: tags.clone() };
        let data = LaunchTemplateData {
            image_id: common.image.clone(),
            instance_type,
            key_name: infra.keypair.clone(),
            iam_instance_profile: ProfileArn { arn },
            security_group_ids: groups,
            // One hop: the agent and tasks on the host's network reach it, containers behind a bridge do not.
            metadata_options: MetadataOptions { http_tokens: "required", http_put_response_hop_limit: Some(1) },
            block_device_mappings: launch::volumes(infra),
            tag_specifications: vec![tagged("instance"), tagged("volume")],
            user_data: UserData { script: Expr::text(script) },
        };
        let template = LaunchTemplate { launch_template_data: data };
        let template = self.draft.add(Id::of(&[name, kind, "Template"]), Properties::LaunchTemplate(template));
        Ok(LaunchTemplateVersion {
            version: Expr::Attribute(template.clone(), "LatestVersionNumber"),
            launch_template_id: Expr::from(&template),
        })
    }

    fn fleet(&mut self, fleet: &Fleet, common: &Common<'_>) -> Result<(), Unfit> {
        let launch = self.launch(&fleet.name, "Fleet", &fleet.timeout, None, common)?;
        let bounds = Bounds { min: fleet.min, desired: fleet.desired, max: fleet.max };
        let size = self.size(&fleet.name, false, bounds);
        match (self.infra.compatibility, size.as_slice()) {
            (Compatibility::SpotFleets, [target]) => self.request(fleet, launch, target.clone(), &common.place),
            (_, [min, max]) => {
                // ECS's managed scaling counts instances: its groups have no weights, not even weights of 1.
                let weighted = self.infra.capacity != Capacity::EcsManaged;
                let overrides = fleet.bids.iter().map(|bid| Override {
                    instance_type: bid.instance_type.clone(),
                    weighted_capacity: weighted.then(|| bid.weight.to_string()),
                });
                let launch_template =
                    MixedTemplate { launch_template_specification: launch, overrides: overrides.collect() };
                if fleet.on_demand_fallback && falls_back(self.infra) {
                    self.stands_in(fleet, launch_template.clone(), max, common);
                }
                let mixed = MixedInstances {
                    launch_template,
                    instances_distribution: Distribution {
                        on_demand_base_capacity: fleet.on_demand.base,
                        on_demand_percentage_above_base_capacity: fleet.on_demand.percent,
                        spot_allocation_strategy: "capacity-optimized",
                        spot_max_price: fleet.bids.iter().map(|bid| bid.price).max().map(|price| price.to_string()),
                    },
                };
                let group = self.instances(&fleet.name, (min, max), &common.place);
                // Whom Auto Scaling replaces it ends, and ECS's agent gets no notice: only where somebody drains what a group is about to end
                // (<https://docs.aws.amazon.com/AmazonECS/latest/developerguide/spot-instance-draining-linux-container.html>).
                let capacity_rebalance = match self.infra.capacity {
                    Capacity::EcsManaged => Some(Switch::On),
                    Capacity::Landfall => common.rebalances.clone().map(|own| Switch::While(own.used)),
                };
                let group = InstanceGroup { mixed_instances_policy: Some(mixed), capacity_rebalance, ..group };
                let group = self.draft.add(Id::of(&[&fleet.name, "Fleet"]), Properties::InstanceGroup(group));
                self.hook(&fleet.name, "Fleet", &group, common);
                self.capacity(&fleet.name, group, common.version);
            }
            _ => {}
        }
        Ok(())
    }

    /// Empty for as long as Spot is to be had: then the scaler launches in it what waits. What is left of it goes when that has room on Spot.
    fn stands_in(&mut self, fleet: &Fleet, launch_template: MixedTemplate, max: &Expr, common: &Common<'_>) {
        let mixed = MixedInstances {
            launch_template,
            instances_distribution: Distribution {
                on_demand_base_capacity: 0,
                on_demand_percentage_above_base_capacity: 100,
                spot_allocation_strategy: "capacity-optimized",
                spot_max_price: None,
            },
        };
        let group = self.instances(&format!("{} on demand", fleet.name), (&Expr::text("0"), max), &common.place);
        let group = InstanceGroup { mixed_instances_policy: Some(mixed), ..group };
        let id = self.draft.add(Id::of(&[&fleet.name, STANDS_IN]), Properties::InstanceGroup(group));
        self.hook(&fleet.name, STANDS_IN, &id, common);
    }

    fn group(&mut self, group: &Group, common: &Common<'_>) -> Result<(), Unfit> {
        let kind = Some(group.instance_type.clone());
        let launch = self.launch(&group.name, "Group", "2m", kind, common)?;
        let bounds = Bounds { min: group.min, desired: group.desired, max: group.max };
        if let [min, max] = self.size(&group.name, true, bounds).as_slice() {
            let properties = self.instances(&group.name, (min, max), &common.place);
            let properties = InstanceGroup { launch_template: Some(launch), ..properties };
            let id = self.draft.add(Id::of(&[&group.name, "Group"]), Properties::InstanceGroup(properties));
            self.hook(&group.name, "Group", &id, common);
            self.capacity(&group.name, id, common.version);
        }
        Ok(())
    }

    /// Without the instances that it is of. How many there are between its bounds is not the template's to say: an update would take it
    /// back to what it was.
    fn instances(&self, name: &str, (min, max): (&Expr, &Expr), place: &Place) -> InstanceGroup {
        let own = |tag: Tag| PropagatedTag { key: tag.key, value: tag.value, propagate_at_launch: false };
        let mut tags = self.named(format!("{} {name}", self.infra.name));
        tags.push(Tag { key: "landfall:status", value: Expr::from(&Id::of(&["Status"])) });
        InstanceGroup {
            min_size: min.clone(),
            max_size: max.clone(),
            subnets: place.subnets(),
            zones: place.zones(),
            launch_template: None,
            mixed_instances_policy: None,
            new_instances_protected_from_scale_in: None,
            capacity_rebalance: None,
            tags: tags.into_iter().map(own).collect(),
        }
    }

    /// What the group ends of itself, to replace it, waits until the scaler has drained it. Where the stack is deleted
    /// CloudFormation takes the hook away before the group, and nothing waits.
    fn hook(&mut self, name: &str, kind: &str, group: &Id, common: &Common<'_>) {
        let Some(Rebalances { proved, .. }) = &common.rebalances else { return };
        let properties = InstanceHook {
            auto_scaling_group_name: Expr::from(group),
            lifecycle_hook_name: DRAIN_HOOK,
            lifecycle_transition: "autoscaling:EC2_INSTANCE_TERMINATING",
            heartbeat_timeout: DRAIN_SECONDS,
            default_result: "CONTINUE",
        };
        self.draft.add_while(proved, Id::of(&[name, kind, "Drain"]), Properties::InstanceHook(properties));
    }

    /// Drained before it ends what it takes away, and so needs no protection, which would be in the way of deleting the stack.
    fn capacity(&mut self, name: &str, group: Id, version: &Version) {
        if self.infra.capacity != Capacity::EcsManaged {
            return;
        }
        let properties = CapacityProvider {
            name: Some(provider(&self.infra.name, name, version)),
            auto_scaling_group_provider: GroupProvider {
                auto_scaling_group_arn: Expr::from(&group),
                managed_scaling: ManagedScaling { status: "ENABLED", target_capacity: 100 },
                managed_termination_protection: "DISABLED",
                managed_draining: Some("ENABLED"),
            },
        };
        self.draft.add(Id::of(&[name, "Capacity"]), Properties::CapacityProvider(properties));
    }

    fn request(&mut self, fleet: &Fleet, launch: LaunchTemplateVersion, target: Expr, place: &Place) {
        let role = Id::of(&["SpotFleetRole"]);
        if !self.draft.has(&role) {
            let managed = "arn:${AWS::Partition}:iam::aws:policy/service-role/AmazonEC2SpotFleetTaggingRole";
            let properties = Role {
                description: format!("Spot Fleets of cluster {}", self.infra.name),
                assume_role_policy_document: Policy::trust("spotfleet"),
                managed_policy_arns: vec![Expr::sub(managed)],
                policies: Vec::new(),
                tags: self.tags(),
            };
            self.draft.add(role.clone(), Properties::Role(properties));
        }
        // One for each type in each place: nobody says several of either at once.
        let places: Vec<(Option<Expr>, Option<String>)> = match place {
            Place::Subnets(subnets) => subnets.iter().map(|id| (Some(Expr::text(id)), None)).collect(),
            Place::Zones(Some(zones)) => zones.iter().map(|zone| (None, Some(zone.clone()))).collect(),
            Place::Zones(None) => vec![(None, None)],
        };
        let overrides = fleet.bids.iter().flat_map(|bid| {
            places.iter().map(move |(subnet_id, availability_zone)| FleetOverride {
                instance_type: bid.instance_type.clone(),
                spot_price: bid.price.to_string(),
                weighted_capacity: bid.weight,
                subnet_id: subnet_id.clone(),
                availability_zone: availability_zone.clone(),
            })
        });
        let request = FleetRequest {
            iam_fleet_role: Expr::Attribute(role, "Arn"),
            allocation_strategy: "diversified",
            target_capacity: target,
            r#type: "maintain",
            // Another instance comes as soon as one is recommended for rebalancing; that one stays until it gets its notice.
            spot_maintenance_strategies: MaintenanceStrategies {
                capacity_rebalance: Rebalance { replacement_strategy: "launch" },
            },
            launch_template_configs: vec![FleetLaunch {
                launch_template_specification: launch,
                overrides: overrides.collect(),
            }],
        };
        let properties = SpotFleet { spot_fleet_request_config_data: request };
        self.draft.add(Id::of(&[&fleet.name, "Fleet"]), Properties::SpotFleet(properties));
    }
}

/// Whether the scaler is there to drain what Auto Scaling ends. A Spot Fleet knows no hooks, the groups beside it do.
fn drains(infra: &Infra) -> bool {
    let groups = infra.compatibility != Compatibility::SpotFleets || !infra.groups.is_empty();
    infra.capacity_rebalance && scales(infra) && groups
}

fn scales(infra: &Infra) -> bool {
    infra.capacity == Capacity::Landfall && infra.autoscaling
}

/// Whether the scaler launches for what waits.
pub(crate) fn falls_back(infra: &Infra) -> bool {
    scales(infra) && infra.metric == Metric::Packed
}

/// The capacity providers of a version, in the file's order.
pub fn providers(infra: &Infra, version: &Version) -> Vec<String> {
    let names = infra.fleets.iter().map(|one| &one.name).chain(infra.groups.iter().map(|one| &one.name));
    match infra.capacity {
        Capacity::Landfall => Vec::new(),
        Capacity::EcsManaged => names.map(|name| provider(&infra.name, name, version)).collect(),
    }
}
