//! What CloudFormation calls on behalf of whoever changes a stack: read off the stack's own templates, and allowed only where CloudFormation
//! calls it (`aws:CalledVia`), so that who may change the stack may touch nothing of it past CloudFormation.

use std::collections::BTreeMap;

use landfall_iam::{Statement, Where};

use crate::expr::Expr;
use crate::resources::Properties;
use crate::template::Template;

/// Stacks that are changed, and how far what is made of them reaches.
#[derive(Debug, Clone)]
pub struct Making<'a> {
    pub templates: &'a [&'a Template],
    pub place: Where<'a>,
    /// By service, what the ARNs are like; `*` where nothing is said: held to the region.
    pub reach: Vec<(&'static str, Vec<String>)>,
    /// What takes no ARN is a statement of its own, so that the others are held to theirs.
    pub held: bool,
    /// The stacks are deleted, and neither made nor changed.
    pub deletes: bool,
    /// ARNs of the roles that the stacks make.
    pub roles: Vec<String>,
    /// Of others that are given to what they make.
    pub pass: Vec<String>,
    /// Services that get a role.
    pub takers: &'a [&'a str],
    /// Services whose own role an account has since its first use of them.
    pub linked: &'a [&'a str],
}

/// The Sid of what a service is asked for.
fn purpose(service: &str) -> &'static str {
    match service {
        "iam" => "MakeRoles",
        "logs" => "MakeLogGroups",
        "route53" => "MakeRecords",
        "scheduler" => "MakeSchedules",
        "ssm" => "FindMachineImage",
        "ec2" => "MakeNetwork",
        "ecs" => "MakeServices",
        "elasticloadbalancing" => "MakeLoadBalancer",
        "application-autoscaling" => "MakeScaling",
        "autoscaling" => "MakeInstances",
        "acm" => "MakeCertificate",
        _ => "MakeFileSystems",
    }
}

/// What AWS authorizes on no resource, or on one that has no name yet
/// (<https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html>).
fn takes_no_name(call: &str) -> bool {
    let of_ecs = ["ecs:CreateCluster", "ecs:DeregisterTaskDefinition", "ecs:DescribeTaskDefinition"];
    call.starts_with("autoscaling:Describe") || call == "logs:DescribeLogGroups" || of_ecs.contains(&call)
}

/// What deleting takes: a group is emptied before it goes, and a cluster has no capacity providers any more.
fn takes_away(call: &str) -> bool {
    let verb = call.split(':').nth(1).unwrap_or_default();
    let verbs = ["Cancel", "Delete", "Deregister", "Describe", "Get", "List", "Remove", "Revoke"];
    let first = ["autoscaling:UpdateAutoScalingGroup", "ecs:PutClusterCapacityProviders"];
    verbs.iter().any(|own| verb.starts_with(own)) || first.contains(&call)
}

pub fn made(making: &Making<'_>) -> Vec<Statement> {
    let place = making.place;
    let domain = if place.partition == "aws-cn" { ".cn" } else { "" };
    let principal = |who: &str| format!("{who}.amazonaws.com{domain}");
    let by_it = |statement: Statement| {
        statement.when("ForAnyValue:StringEquals", "aws:CalledVia", ["cloudformation.amazonaws.com".to_owned()])
    };
    let everywhere = |sid: &str, calls: &[&str]| {
        let statement = by_it(Statement::allow(sid, calls, ["*".to_owned()]));
        match place.region {
            "*" => statement,
            region => statement.when("StringEquals", "aws:RequestedRegion", [region.to_owned()]),
        }
    };
    let mut statements = Vec::new();
    let resources = || making.templates.iter().flat_map(|template| &template.resources).map(|(_, own)| &own.properties);
    // Only a template that names a parameter has one looked up.
    let names_a_parameter = |template: &&Template| {
        let text = template.compact();
        text.contains("resolve:ssm:") || text.contains("AWS::SSM::Parameter::")
    };
    let looks_up = making.templates.iter().any(names_a_parameter);
    let asked = |call: &&str| (looks_up || !call.starts_with("ssm:")) && (!making.deletes || takes_away(call));
    let mut services: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for call in resources().flat_map(calls).copied().filter(asked) {
        services.entry(call.split(':').next().unwrap_or_default()).or_default().push(call);
    }
    if let Some(calls) = services.get_mut("ec2").filter(|_| !making.deletes) {
        calls.extend(["ec2:CreateTags", "ec2:DeleteTags", "ec2:DescribeAvailabilityZones"]);
        // Whether a parameter of this type is one CloudFormation asks EC2, as whoever gives it.
        let mut parameters = making.templates.iter().flat_map(|template| &template.parameters);
        if parameters.any(|(_, own)| own.r#type == "AWS::EC2::Image::Id") {
            calls.push("ec2:DescribeImages");
        }
    }
    let mut unnamed = Vec::new();
    for (service, calls) in services {
        let sid = purpose(service);
        match making.reach.iter().find(|(own, _)| *own == service) {
            None => statements.push(everywhere(sid, &calls)),
            Some((_, arns)) => {
                let (bare, named): (Vec<&str>, Vec<&str>) =
                    calls.into_iter().partition(|call| making.held && takes_no_name(call));
                unnamed.extend(bare);
                statements.push(by_it(Statement::allow(sid, &named, arns.iter().cloned())));
            }
        }
    }
    if !unnamed.is_empty() {
        statements.push(everywhere("MakeUnnamed", &unnamed));
    }
    let roles = || making.roles.iter().cloned();
    let attached = resources().filter_map(|own| match own {
        Properties::Role(role) => Some(&role.managed_policy_arns),
        _ => None,
    });
    let attached: Vec<String> = attached.flatten().map(|arn| filled(arn, place)).collect();
    if !attached.is_empty() {
        let (sid, calls): (_, &[&str]) = match making.deletes {
            true => ("DetachPolicies", &["iam:DetachRolePolicy"]),
            false => ("AttachPolicies", &["iam:AttachRolePolicy", "iam:DetachRolePolicy"]),
        };
        let attach = by_it(Statement::allow(sid, calls, roles()));
        statements.push(attach.when("ArnEquals", "iam:PolicyARN", attached));
    }
    if making.deletes {
        return statements;
    }
    let given = roles().chain(making.pass.iter().cloned());
    let give = Statement::allow("GiveRoles", &["iam:PassRole"], given);
    statements.push(give.when("StringEquals", "iam:PassedToService", making.takers.iter().map(|who| principal(who))));
    // An account's first: made once by whoever comes first.
    let linked = [place.global("iam", "role/aws-service-role/*")];
    let link = Statement::allow("MakeServiceLinkedRoles", &["iam:CreateServiceLinkedRole"], linked);
    statements.push(link.when("StringEquals", "iam:AWSServiceName", making.linked.iter().map(|who| principal(who))));
    statements
}

/// A value with the place in it.
fn filled(value: &Expr, place: Where<'_>) -> String {
    let text = value.within();
    let parts = [
        ("${AWS::Partition}", place.partition),
        ("${AWS::Region}", place.region),
        ("${AWS::AccountId}", place.account),
    ];
    parts.iter().fold(text, |text, (name, part)| text.replace(name, part))
}

/// What CloudFormation calls for resources of a type: to make, change, read and delete them.
fn calls(properties: &Properties) -> &'static [&'static str] {
    match properties {
        Properties::Vpc(_) => &[
            "ec2:CreateVpc",
            "ec2:DeleteVpc",
            "ec2:DescribeVpcAttribute",
            "ec2:DescribeVpcs",
            "ec2:ModifyVpcAttribute",
        ],
        Properties::Subnet(_) => {
            &["ec2:CreateSubnet", "ec2:DeleteSubnet", "ec2:DescribeSubnets", "ec2:ModifySubnetAttribute"]
        }
        Properties::InternetGateway(_) | Properties::GatewayAttachment(_) => &[
            "ec2:AttachInternetGateway",
            "ec2:CreateInternetGateway",
            "ec2:DeleteInternetGateway",
            "ec2:DescribeInternetGateways",
            "ec2:DetachInternetGateway",
        ],
        Properties::RouteTable(_) | Properties::RouteTableAssociation(_) => &[
            "ec2:AssociateRouteTable",
            "ec2:CreateRouteTable",
            "ec2:DeleteRouteTable",
            "ec2:DescribeRouteTables",
            "ec2:DisassociateRouteTable",
            "ec2:ReplaceRouteTableAssociation",
        ],
        Properties::Route(_) => &["ec2:CreateRoute", "ec2:DeleteRoute", "ec2:ReplaceRoute"],
        Properties::Address(_) => {
            &["ec2:AllocateAddress", "ec2:DescribeAddresses", "ec2:DisassociateAddress", "ec2:ReleaseAddress"]
        }
        Properties::NatGateway(_) => &["ec2:CreateNatGateway", "ec2:DeleteNatGateway", "ec2:DescribeNatGateways"],
        Properties::SecurityGroup(_) => &[
            "ec2:AuthorizeSecurityGroupEgress",
            "ec2:AuthorizeSecurityGroupIngress",
            "ec2:CreateSecurityGroup",
            "ec2:DeleteSecurityGroup",
            "ec2:DescribeSecurityGroups",
            "ec2:RevokeSecurityGroupEgress",
            "ec2:RevokeSecurityGroupIngress",
        ],
        Properties::LaunchTemplate(_) => &[
            "ec2:CreateLaunchTemplate",
            "ec2:CreateLaunchTemplateVersion",
            "ec2:DeleteLaunchTemplate",
            "ec2:DescribeLaunchTemplateVersions",
            "ec2:DescribeLaunchTemplates",
            "ec2:RunInstances",
            "ssm:GetParameters",
        ],
        Properties::InstanceGroup(_) => &[
            "autoscaling:CreateAutoScalingGroup",
            "autoscaling:CreateOrUpdateTags",
            "autoscaling:DeleteAutoScalingGroup",
            "autoscaling:DescribeAutoScalingGroups",
            "autoscaling:DescribeScalingActivities",
            "autoscaling:SetInstanceProtection",
            "autoscaling:UpdateAutoScalingGroup",
        ],
        Properties::InstanceHook(_) => {
            &["autoscaling:DeleteLifecycleHook", "autoscaling:DescribeLifecycleHooks", "autoscaling:PutLifecycleHook"]
        }
        Properties::SpotFleet(_) => &[
            "ec2:CancelSpotFleetRequests",
            "ec2:DescribeSpotFleetInstances",
            "ec2:DescribeSpotFleetRequests",
            "ec2:ModifySpotFleetRequest",
            "ec2:RequestSpotFleet",
        ],
        Properties::Cluster(_) => {
            &["ecs:CreateCluster", "ecs:DeleteCluster", "ecs:DescribeClusters", "ecs:TagResource", "ecs:UpdateCluster"]
        }
        Properties::CapacityProvider(_) | Properties::CapacityProviders(_) => &[
            "ecs:CreateCapacityProvider",
            "ecs:DeleteCapacityProvider",
            "ecs:DescribeCapacityProviders",
            "ecs:PutClusterCapacityProviders",
        ],
        Properties::TaskDefinition(_) => &[
            "ecs:DeregisterTaskDefinition",
            "ecs:DescribeTaskDefinition",
            "ecs:RegisterTaskDefinition",
            "ecs:TagResource",
        ],
        Properties::Service(_) => {
            &["ecs:CreateService", "ecs:DeleteService", "ecs:DescribeServices", "ecs:TagResource", "ecs:UpdateService"]
        }
        Properties::LoadBalancer(_) => &[
            "elasticloadbalancing:AddTags",
            "elasticloadbalancing:CreateLoadBalancer",
            "elasticloadbalancing:DeleteLoadBalancer",
            "elasticloadbalancing:DescribeLoadBalancerAttributes",
            "elasticloadbalancing:DescribeLoadBalancers",
            "elasticloadbalancing:DescribeTags",
            "elasticloadbalancing:ModifyLoadBalancerAttributes",
            "elasticloadbalancing:SetSecurityGroups",
            "elasticloadbalancing:SetSubnets",
        ],
        Properties::Listener(_) => &[
            "elasticloadbalancing:AddTags",
            "elasticloadbalancing:CreateListener",
            "elasticloadbalancing:DeleteListener",
            "elasticloadbalancing:DescribeListeners",
            "elasticloadbalancing:ModifyListener",
        ],
        Properties::ListenerRule(_) => &[
            "elasticloadbalancing:AddTags",
            "elasticloadbalancing:CreateRule",
            "elasticloadbalancing:DeleteRule",
            "elasticloadbalancing:DescribeRules",
            "elasticloadbalancing:ModifyRule",
        ],
        Properties::TargetGroup(_) => &[
            "elasticloadbalancing:AddTags",
            "elasticloadbalancing:CreateTargetGroup",
            "elasticloadbalancing:DeleteTargetGroup",
            "elasticloadbalancing:DescribeTargetGroupAttributes",
            "elasticloadbalancing:DescribeTargetGroups",
            "elasticloadbalancing:ModifyTargetGroup",
            "elasticloadbalancing:ModifyTargetGroupAttributes",
        ],
        Properties::Role(_) => &[
            "iam:CreateRole",
            "iam:DeleteRole",
            "iam:DeleteRolePolicy",
            "iam:GetRole",
            "iam:GetRolePolicy",
            "iam:ListAttachedRolePolicies",
            "iam:ListRolePolicies",
            "iam:PutRolePolicy",
            "iam:TagRole",
            "iam:UntagRole",
            "iam:UpdateAssumeRolePolicy",
            "iam:UpdateRole",
        ],
        Properties::InstanceProfile(_) => &[
            "iam:AddRoleToInstanceProfile",
            "iam:CreateInstanceProfile",
            "iam:DeleteInstanceProfile",
            "iam:GetInstanceProfile",
            "iam:RemoveRoleFromInstanceProfile",
        ],
        Properties::LogGroup(_) => &[
            "logs:CreateLogGroup",
            "logs:DeleteLogGroup",
            "logs:DescribeLogGroups",
            "logs:ListTagsForResource",
            "logs:PutRetentionPolicy",
            "logs:TagResource",
            "logs:UntagResource",
        ],
        Properties::ScalableTarget(_) | Properties::ScalingPolicy(_) => &[
            "application-autoscaling:DeleteScalingPolicy",
            "application-autoscaling:DeleteScheduledAction",
            "application-autoscaling:DeregisterScalableTarget",
            "application-autoscaling:DescribeScalableTargets",
            "application-autoscaling:DescribeScalingPolicies",
            "application-autoscaling:DescribeScheduledActions",
            "application-autoscaling:PutScalingPolicy",
            "application-autoscaling:PutScheduledAction",
            "application-autoscaling:RegisterScalableTarget",
        ],
        Properties::Schedule(_) => &[
            "scheduler:CreateSchedule",
            "scheduler:DeleteSchedule",
            "scheduler:GetSchedule",
            "scheduler:UpdateSchedule",
        ],
        Properties::Certificate(_) => &[
            "acm:AddTagsToCertificate",
            "acm:DeleteCertificate",
            "acm:DescribeCertificate",
            "acm:RequestCertificate",
            // Its validation.
            "route53:ChangeResourceRecordSets",
            "route53:GetChange",
        ],
        Properties::RecordSet(_) => &[
            "route53:ChangeResourceRecordSets",
            "route53:GetChange",
            "route53:GetHostedZone",
            "route53:ListResourceRecordSets",
        ],
        Properties::FileSystem(_) | Properties::MountTarget(_) => &[
            "elasticfilesystem:CreateFileSystem",
            "elasticfilesystem:CreateMountTarget",
            "elasticfilesystem:DeleteMountTarget",
            "elasticfilesystem:DescribeBackupPolicy",
            "elasticfilesystem:DescribeFileSystems",
            "elasticfilesystem:DescribeMountTargets",
            "elasticfilesystem:PutBackupPolicy",
            "elasticfilesystem:TagResource",
        ],
        // These are of pipelines, which no environment has.
        Properties::Pipeline(_)
        | Properties::Project(_)
        | Properties::Bucket(_)
        | Properties::BucketPolicy(_)
        | Properties::Topic(_)
        | Properties::Subscription(_)
        | Properties::Secret(_)
        | Properties::Webhook(_) => &[],
    }
}
