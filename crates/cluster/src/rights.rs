//! The least that somebody needs on AWS who does something with a cluster: what Landfall asks for itself, and what CloudFormation calls to
//! make the cluster's stacks.

use landfall_iam::{ClusterAsk, ClusterWork, Policy, Statement, Where, cluster as asked};
use landfall_stack::Template;
use landfall_stack::made::{Making, made};

use crate::build::{Around, Unfit, cluster, compute, health, providers};
use crate::infra::{Capacity, Compatibility, Image, Infra, Metric};
use crate::names::{LABEL_CLUSTER, Part, Version, stack_name};

/// What a policy is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Rights<'a> {
    pub infra: &'a Infra,
    pub work: ClusterWork,
    pub place: Where<'a>,
    /// The image is said with each deployment, and not looked up.
    pub image_given: bool,
    /// ARNs of the roles that the instances get by an instance profile of the file.
    pub pass_roles: &'a [String],
}

/// # Errors
/// No template can be made of the file.
pub fn rights(ask: &Rights<'_>) -> Result<Policy, Unfit> {
    let Rights { infra, work, place, .. } = *ask;
    let name = &infra.name;
    let lasting = [Part::Cluster, Part::Health].map(|part| stack_name(name, part, None));
    let versions = format!("{}*", stack_name(name, Part::Compute, None));
    let looked_up = infra.image_parameter().filter(|_| !ask.image_given || work == ClusterWork::Image);
    let direct = ClusterAsk {
        work,
        place,
        cluster: name,
        lasting: lasting.clone(),
        versions: versions.clone(),
        family: format!("{name}-cluster-health"),
        tag: (LABEL_CLUSTER, name),
        image: looked_up,
        // Auto Scaling finds those of the default VPC by itself.
        finds_subnets: infra.network.subnets.is_empty() && (infra.network.vpc.is_some() || work == ClusterWork::Image),
        spot_fleets: infra.compatibility == Compatibility::SpotFleets,
        managed: infra.capacity == Capacity::EcsManaged,
        looks_only: infra.left_alone().is_some(),
        reads_metric: infra.metric == Metric::Compatible,
    };
    let mut policy = asked(&direct);
    if work == ClusterWork::Scale && direct.looks_only {
        return Ok(policy);
    }
    if matches!(work, ClusterWork::Init | ClusterWork::Image) {
        if work == ClusterWork::Image && !ask.pass_roles.is_empty() {
            let give = Statement::allow("GiveRoles", &["iam:PassRole"], ask.pass_roles.to_vec());
            policy.statement.push(give.when("StringEquals", "iam:PassedToService", ["ec2.amazonaws.com".to_owned()]));
        }
        return Ok(policy);
    }
    let templates = templates(infra)?;
    let of: &[&Template] = match work {
        ClusterWork::Scale => &[&templates[2]],
        _ => &[&templates[0], &templates[1], &templates[2]],
    };
    let spot_fleets = infra.compatibility == Compatibility::SpotFleets;
    // The cluster's has the instances' role, and a version's that of its Spot Fleets.
    let mut names = vec![format!("{}*", beginning(&format!("{}-", lasting[0]), WHOLE + 1))];
    if spot_fleets {
        names.push(format!("{}*", beginning(&stack_name(name, Part::Compute, None), SURELY)));
    }
    let own = |kind: &str| names.iter().map(|name| place.global("iam", &format!("{kind}/{name}"))).collect::<Vec<_>>();
    let (roles, profiles) = (own("role"), own("instance-profile"));
    let reach = vec![
        ("iam", [roles.clone(), profiles].concat()),
        (
            "logs",
            vec![
                place.arn("logs", &format!("log-group:/ecs/cluster/{name}")),
                place.arn("logs", &format!("log-group:/ecs/cluster/{name}:*")),
            ],
        ),
        (
            "ecs",
            vec![
                place.arn("ecs", &format!("capacity-provider/landfall-{name}_*")),
                place.arn("ecs", &format!("cluster/{name}")),
                place.arn("ecs", &format!("task-definition/{name}-cluster-health:*")),
            ],
        ),
        ("autoscaling", vec![place.arn("autoscaling", &format!("autoScalingGroup:*:autoScalingGroupName/{versions}"))]),
    ];
    let (takers, linked): (&[&str], &[&str]) = match spot_fleets {
        true => (&["ec2", "spotfleet"], &["autoscaling", "ecs", "spot", "spotfleet"]),
        false => (&["ec2"], &["autoscaling", "ecs", "spot"]),
    };
    let making = Making {
        templates: of,
        place,
        reach,
        held: true,
        deletes: work != ClusterWork::Deploy,
        roles,
        pass: ask.pass_roles.to_vec(),
        takers,
        linked,
    };
    policy.statement.extend(made(&making));
    Ok(policy)
}

/// What the stacks are like. Which version it is, and which subnets, makes no difference to what is called.
fn templates(infra: &Infra) -> Result<[Template; 3], Unfit> {
    let version = Version::any();
    let around = Around { subnets: vec!["subnet-0".to_owned()], user_data: None };
    let infra = Infra { user_data: None, ..infra.clone() };
    let compute = compute(&infra, &version, &around)?;
    Ok([cluster(&infra, &providers(&infra, &version)), health(&infra), compute])
}

/// CloudFormation names a role `STACK-RESOURCE-RANDOM`, in 64 letters at most
/// (<https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-iam-role.html>: `RoleName`). A longer stack's name is cut;
/// how much of it is left AWS does not say.
const WHOLE: usize = 64 - "-SpotFleetRole-".len() - 13;
const SURELY: usize = 20;

fn beginning(stack: &str, whole: usize) -> String {
    match stack.get(..SURELY) {
        Some(beginning) if stack.len() > whole => beginning.to_owned(),
        _ => stack.to_owned(),
    }
}

impl Infra {
    /// Whether an image of one's own can be built upon the file's: Bottlerocket runs no script.
    pub fn builds_image(&self) -> bool {
        self.image != Image::Bottlerocket
    }
}
