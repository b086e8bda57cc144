//! Every call that Landfall makes of AWS, as IAM sees it, sorted.
//!
//! Source: AWS's Service Authorization Reference as of October 2026 (actions, resource types, condition keys):
//! <https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerservice.html>,
//! `list_awselasticloadbalancingv2.html`, `list_amazonelasticcontainerregistry.html`, `list_amazoncloudwatchlogs.html`,
//! `list_awssecretsmanager.html`, `list_awssystemsmanager.html`, `list_amazonsns.html`, `list_awslambda.html`,
//! `list_awssecuritytokenservice.html`, `list_awsidentityandaccessmanagementiam.html`, `list_amazonec2.html`,
//! `list_awscertificatemanager.html`, `list_awscloudformation.html`, `list_awsapplicationautoscaling.html`, `list_amazonec2autoscaling.html`, `list_amazoncloudwatch.html`,
//! `list_amazons3.html`. What is not to be read there has its
//! source beside it.

/// How IAM's reference classes an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    List,
    Read,
    Write,
    Tagging,
}

/// A row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Action {
    /// `ecs:UpdateService`: the name of the call too, but for Lambda's Invoke, which is `lambda:InvokeFunction`, and S3's listing.
    pub name: &'static str,
    pub level: Level,
    /// What its resources' ARNs begin with after the account: `service/`. Empty: it takes `*` only.
    pub resources: &'static [&'static str],
    /// Condition keys that it knows, of those that our policies use. `aws:RequestTag` and `aws:ResourceTag` stand for any tag.
    pub conditions: &'static [&'static str],
    /// What AWS checks beside the action in the same call.
    pub beside: &'static [&'static str],
}

/// The row of `ecs:UpdateService`.
pub fn action(name: &str) -> Option<&'static Action> {
    ACTIONS.binary_search_by(|row| row.name.cmp(name)).ok().map(|at| &ACTIONS[at])
}

const fn row(
    name: &'static str,
    level: Level,
    resources: &'static [&'static str],
    conditions: &'static [&'static str],
    beside: &'static [&'static str],
) -> Action {
    Action { name, level, resources, conditions, beside }
}

use Level::{List, Read, Tagging, Write};

const NONE: &[&str] = &[];
const TAGS: &[&str] = &["aws:RequestTag", "aws:ResourceTag"];
const RESOURCE_TAG: &[&str] = &["aws:ResourceTag"];
const OF_CLUSTER: &[&str] = &["aws:ResourceTag", "ecs:cluster"];
const CLUSTER: &[&str] = &["ecs:cluster"];
const GROUPS: &[&str] = &["autoScalingGroup:"];
const FLEETS: &[&str] = &["spot-fleet-request/"];
const EC2_INSTANCE: &[&str] = &["instance/"];
const LISTENER: &[&str] = &["listener/app/"];
const RULE: &[&str] = &["listener-rule/app/"];
const GROUP: &[&str] = &["targetgroup/"];
const REPOSITORY: &[&str] = &["repository/"];
const SERVICE: &[&str] = &["service/"];
const STACK: &[&str] = &["stack/"];
const INSTANCE: &[&str] = &["container-instance/"];
/// A deployment is authorized on its service and on itself.
const DEPLOYMENT: &[&str] = &["service/", "service-deployment/"];
const ADD_TAGS: &[&str] = &["elasticloadbalancing:AddTags"];
/// Of the task's and the execution role: to `ecs-tasks.amazonaws.com`
/// (<https://docs.aws.amazon.com/AmazonECS/latest/developerguide/security_iam_id-based-policy-examples.html>).
const TAG_AND_PASS: &[&str] = &["ecs:TagResource", "iam:PassRole"];

#[rustfmt::skip]
pub const ACTIONS: &[Action] = &[
    row("acm:DescribeCertificate", Read, &["certificate/"], RESOURCE_TAG, NONE),
    row("application-autoscaling:DescribeScalableTargets", Read, NONE, NONE, NONE),
    // It and DetectStackResourceDrift are asked for by drift detection
    // (<https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-stack-drift.html>: considerations).
    row("autoscaling:CompleteLifecycleAction", Write, GROUPS, RESOURCE_TAG, NONE),
    row("autoscaling:CreateOrUpdateTags", Tagging, GROUPS, RESOURCE_TAG, NONE),
    row("autoscaling:DescribeAutoScalingGroups", List, NONE, NONE, NONE),
    row("autoscaling:DescribeScalingActivities", List, NONE, NONE, NONE),
    row("autoscaling:SetDesiredCapacity", Write, GROUPS, RESOURCE_TAG, NONE),
    row("autoscaling:SuspendProcesses", Write, GROUPS, RESOURCE_TAG, NONE),
    row("autoscaling:TerminateInstanceInAutoScalingGroup", Write, GROUPS, RESOURCE_TAG, NONE),
    row("cloudformation:BatchDescribeTypeConfigurations", Read, NONE, NONE, NONE),
    row("cloudformation:ContinueUpdateRollback", Write, STACK, RESOURCE_TAG, &["iam:PassRole"]),
    // Tags of a stack that a change set makes are authorized on the stack (`cloudformation:CreateAction` says by which call).
    row("cloudformation:CreateChangeSet", Write, STACK, TAGS, &["cloudformation:TagResource", "iam:PassRole"]),
    row("cloudformation:DeleteChangeSet", Write, STACK, RESOURCE_TAG, NONE),
    row("cloudformation:DeleteStack", Write, STACK, RESOURCE_TAG, &["iam:PassRole"]),
    row("cloudformation:DescribeChangeSet", Read, STACK, RESOURCE_TAG, NONE),
    row("cloudformation:DescribeStackDriftDetectionStatus", Read, NONE, NONE, NONE),
    row("cloudformation:DescribeStackEvents", Read, STACK, RESOURCE_TAG, NONE),
    row("cloudformation:DescribeStackResourceDrifts", Read, STACK, RESOURCE_TAG, NONE),
    row("cloudformation:DescribeStacks", List, STACK, RESOURCE_TAG, NONE),
    row(
        "cloudformation:DetectStackDrift",
        Read,
        STACK,
        RESOURCE_TAG,
        &["cloudformation:BatchDescribeTypeConfigurations", "cloudformation:DetectStackResourceDrift"],
    ),
    row("cloudformation:DetectStackResourceDrift", Read, STACK, RESOURCE_TAG, NONE),
    row("cloudformation:ExecuteChangeSet", Write, STACK, RESOURCE_TAG, NONE),
    row("cloudformation:GetTemplate", Read, STACK, RESOURCE_TAG, NONE),
    row("cloudformation:ListChangeSets", List, STACK, RESOURCE_TAG, NONE),
    row("cloudformation:ListExports", List, NONE, NONE, NONE),
    row("cloudformation:ListImports", List, NONE, NONE, NONE),
    row("cloudformation:ListStackResources", List, STACK, RESOURCE_TAG, NONE),
    row("cloudformation:TagResource", Tagging, STACK, TAGS, NONE),
    row("cloudformation:UpdateTerminationProtection", Write, STACK, RESOURCE_TAG, NONE),
    // Scoped to less than `*` it tells nothing of composite alarms
    // (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarms.html>).
    row("cloudwatch:DescribeAlarms", List, NONE, NONE, NONE),
    row("cloudwatch:GetMetricStatistics", Read, NONE, NONE, NONE),
    row("cloudwatch:PutMetricData", Write, NONE, &["cloudwatch:namespace"], NONE),
    // The image itself, the instance that it is made of, and a snapshot for each of its volumes.
    row("ec2:CreateImage", Write, &["image/", "instance/", "snapshot/"], TAGS, &["ec2:CreateTags"]),
    row(
        "ec2:CreateTags",
        Tagging,
        &["image/", "instance/", "snapshot/", "spot-fleet-request/", "volume/"],
        TAGS,
        NONE,
    ),
    // With its snapshots.
    row("ec2:DeleteSnapshot", Write, &["snapshot/"], RESOURCE_TAG, NONE),
    row("ec2:DeregisterImage", Write, &["image/"], RESOURCE_TAG, &["ec2:DeleteSnapshot"]),
    row("ec2:DescribeAvailabilityZones", List, NONE, NONE, NONE),
    row("ec2:DescribeImages", List, NONE, NONE, NONE),
    row("ec2:DescribeInstanceTypes", List, NONE, NONE, NONE),
    row("ec2:DescribeInstances", List, NONE, NONE, NONE),
    row("ec2:DescribeSecurityGroups", List, NONE, NONE, NONE),
    row("ec2:DescribeSpotFleetInstances", List, FLEETS, NONE, NONE),
    row("ec2:DescribeSpotFleetRequestHistory", List, FLEETS, NONE, NONE),
    row("ec2:DescribeSpotFleetRequests", List, NONE, NONE, NONE),
    row("ec2:DescribeSpotInstanceRequests", List, NONE, NONE, NONE),
    row("ec2:DescribeSubnets", List, NONE, NONE, NONE),
    row("ec2:DescribeVpcs", List, NONE, NONE, NONE),
    row("ec2:GetConsoleOutput", Read, EC2_INSTANCE, RESOURCE_TAG, NONE),
    row("ec2:ModifySpotFleetRequest", Write, FLEETS, RESOURCE_TAG, NONE),
    // The role of an instance profile is passed to `ec2.amazonaws.com`.
    row(
        "ec2:RunInstances",
        Write,
        &["image/", "instance/", "network-interface/", "security-group/", "subnet/", "volume/"],
        TAGS,
        &["ec2:CreateTags", "iam:PassRole"],
    ),
    row("ec2:TerminateInstances", Write, EC2_INSTANCE, RESOURCE_TAG, NONE),
    row("ecr:BatchCheckLayerAvailability", Read, REPOSITORY, RESOURCE_TAG, NONE),
    row("ecr:BatchDeleteImage", Write, REPOSITORY, RESOURCE_TAG, NONE),
    row("ecr:BatchGetImage", Read, REPOSITORY, RESOURCE_TAG, NONE),
    row("ecr:CompleteLayerUpload", Write, REPOSITORY, RESOURCE_TAG, NONE),
    row("ecr:CreateRepository", Write, REPOSITORY, TAGS, NONE),
    row("ecr:DescribeImages", List, REPOSITORY, RESOURCE_TAG, NONE),
    row("ecr:DescribeRepositories", List, REPOSITORY, RESOURCE_TAG, NONE),
    row("ecr:GetAuthorizationToken", Read, NONE, NONE, NONE),
    row("ecr:GetDownloadUrlForLayer", Read, REPOSITORY, RESOURCE_TAG, NONE),
    row("ecr:InitiateLayerUpload", Write, REPOSITORY, RESOURCE_TAG, NONE),
    // ECR's registries ask for it where tags are listed over their HTTP API.
    row("ecr:ListImages", List, REPOSITORY, RESOURCE_TAG, NONE),
    row("ecr:PutImage", Write, REPOSITORY, RESOURCE_TAG, NONE),
    row("ecr:UploadLayerPart", Write, REPOSITORY, RESOURCE_TAG, NONE),
    row("ecs:ContinueServiceDeployment", Write, DEPLOYMENT, OF_CLUSTER, NONE),
    // The role of a load balancer's second target group is passed to `ecs.amazonaws.com`.
    row("ecs:CreateService", Write, SERVICE, &["aws:RequestTag", "aws:ResourceTag", "ecs:cluster"], TAG_AND_PASS),
    row("ecs:DeleteService", Write, SERVICE, OF_CLUSTER, NONE),
    row("ecs:DeregisterTaskDefinition", Write, NONE, NONE, NONE),
    row("ecs:DescribeClusters", Read, &["cluster/"], RESOURCE_TAG, NONE),
    row("ecs:DescribeContainerInstances", Read, INSTANCE, OF_CLUSTER, NONE),
    row("ecs:DescribeServiceDeployments", Read, DEPLOYMENT, OF_CLUSTER, NONE),
    row("ecs:DescribeServiceRevisions", Read, &["service/", "service-revision/"], OF_CLUSTER, NONE),
    row("ecs:DescribeServices", Read, SERVICE, OF_CLUSTER, NONE),
    row("ecs:DescribeTaskDefinition", Read, NONE, NONE, NONE),
    row("ecs:DescribeTasks", Read, &["task/"], OF_CLUSTER, NONE),
    row("ecs:ListContainerInstances", List, &["cluster/"], RESOURCE_TAG, NONE),
    row("ecs:ListServiceDeployments", List, SERVICE, OF_CLUSTER, NONE),
    row("ecs:ListServices", List, NONE, CLUSTER, NONE),
    row("ecs:ListTaskDefinitionFamilies", List, NONE, NONE, NONE),
    row("ecs:ListTaskDefinitions", List, NONE, NONE, NONE),
    // The reference names container instances, for listings by one; ours are by family and starter, held to the cluster.
    row("ecs:ListTasks", List, &["container-instance/"], OF_CLUSTER, NONE),
    // Its resource is the family with any revision, `task-definition/FAMILY:*`.
    row("ecs:RegisterTaskDefinition", Write, &["task-definition/"], TAGS, TAG_AND_PASS),
    row("ecs:RunTask", Write, &["task-definition/"], &["aws:RequestTag", "aws:ResourceTag", "ecs:cluster"], TAG_AND_PASS),
    row("ecs:StopServiceDeployment", Write, DEPLOYMENT, OF_CLUSTER, NONE),
    row("ecs:StopTask", Write, &["task/"], OF_CLUSTER, NONE),
    row("ecs:TagResource", Tagging, &["service/", "task-definition/", "task/"], &["aws:RequestTag", "aws:ResourceTag", "ecs:CreateAction"], NONE),
    row("ecs:UpdateContainerInstancesState", Write, INSTANCE, OF_CLUSTER, NONE),
    row("ecs:UpdateService", Write, SERVICE, OF_CLUSTER, &["iam:PassRole"]),
    // Tags given in the call that creates are authorized on what is created, `elasticloadbalancing:CreateAction` says by which
    // (<https://docs.aws.amazon.com/elasticloadbalancing/latest/userguide/load-balancer-authentication-access-control.html>).
    row("elasticloadbalancing:AddTags", Tagging, &["listener-rule/app/", "listener/app/", "targetgroup/"], &["aws:RequestTag", "aws:ResourceTag", "elasticloadbalancing:CreateAction"], NONE),
    row("elasticloadbalancing:CreateListener", Write, &["loadbalancer/app/"], TAGS, ADD_TAGS),
    row("elasticloadbalancing:CreateRule", Write, LISTENER, TAGS, ADD_TAGS),
    row("elasticloadbalancing:CreateTargetGroup", Write, GROUP, TAGS, ADD_TAGS),
    row("elasticloadbalancing:DeleteListener", Write, LISTENER, RESOURCE_TAG, NONE),
    row("elasticloadbalancing:DeleteRule", Write, RULE, RESOURCE_TAG, NONE),
    row("elasticloadbalancing:DeleteTargetGroup", Write, GROUP, RESOURCE_TAG, NONE),
    row("elasticloadbalancing:DescribeAccountLimits", Read, NONE, NONE, NONE),
    row("elasticloadbalancing:DescribeListeners", Read, NONE, NONE, NONE),
    row("elasticloadbalancing:DescribeLoadBalancerAttributes", Read, NONE, NONE, NONE),
    row("elasticloadbalancing:DescribeLoadBalancers", List, NONE, NONE, NONE),
    row("elasticloadbalancing:DescribeRules", Read, NONE, NONE, NONE),
    row("elasticloadbalancing:DescribeTags", Read, NONE, NONE, NONE),
    row("elasticloadbalancing:DescribeTargetGroupAttributes", Read, NONE, NONE, NONE),
    row("elasticloadbalancing:DescribeTargetGroups", Read, NONE, NONE, NONE),
    row("elasticloadbalancing:DescribeTargetHealth", Read, NONE, NONE, NONE),
    row("elasticloadbalancing:ModifyListener", Write, LISTENER, RESOURCE_TAG, NONE),
    row("elasticloadbalancing:ModifyRule", Write, RULE, RESOURCE_TAG, NONE),
    row("elasticloadbalancing:ModifyTargetGroup", Write, GROUP, RESOURCE_TAG, NONE),
    row("elasticloadbalancing:ModifyTargetGroupAttributes", Write, GROUP, RESOURCE_TAG, NONE),
    row("iam:GetRole", Read, &["role/"], NONE, NONE),
    row("iam:PassRole", Write, &["role/"], &["iam:PassedToService"], NONE),
    row("iam:SimulatePrincipalPolicy", Read, &["role/", "user/"], NONE, NONE),
    row("lambda:InvokeFunction", Write, &["function:"], NONE, NONE),
    row("logs:DescribeLogGroups", List, NONE, NONE, NONE),
    row("logs:GetLogEvents", Read, &["log-group:"], NONE, NONE),
    row("s3:DeleteObject", Write, &[""], NONE, NONE),
    row("s3:GetObject", Read, &[""], NONE, NONE),
    row("s3:ListBucket", List, &[""], &["s3:prefix"], NONE),
    row("s3:PutObject", Write, &[""], NONE, NONE),
    row("secretsmanager:CreateSecret", Write, &["secret:"], &["aws:RequestTag", "aws:ResourceTag", "secretsmanager:Name"], NONE),
    row("secretsmanager:DescribeSecret", Read, &["secret:"], RESOURCE_TAG, NONE),
    row("secretsmanager:GetSecretValue", Read, &["secret:"], RESOURCE_TAG, NONE),
    row("secretsmanager:PutSecretValue", Write, &["secret:"], RESOURCE_TAG, NONE),
    row("sns:ListSubscriptionsByTopic", List, &[""], NONE, NONE),
    row("sns:Publish", Write, &[""], NONE, NONE),
    row("sns:Subscribe", Write, &[""], NONE, NONE),
    row("ssm:DescribeParameters", List, NONE, NONE, NONE),
    row("ssm:GetParameter", Read, &["parameter/"], RESOURCE_TAG, NONE),
    row("ssm:PutParameter", Write, &["parameter/"], TAGS, NONE),
    row("sts:AssumeRole", Write, &["role/"], NONE, NONE),
    // Nobody can be denied it.
    row("sts:GetCallerIdentity", Read, NONE, NONE, NONE),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_what_is_checked_beside_has_its_own() {
        assert!(ACTIONS.is_sorted_by(|a, b| a.name < b.name));
        for row in ACTIONS {
            assert_eq!(action(row.name), Some(row));
            assert!(row.beside.iter().all(|name| action(name).is_some()), "{}", row.name);
            let reads = ["Describe", "Detect", "List", "Get", "Simulate", "BatchGet", "BatchCheck", "BatchDescribe"]
                .iter()
                .any(|verb| row.name.contains(&format!(":{verb}")));
            assert_eq!(reads, matches!(row.level, List | Read), "{}", row.name);
        }
        assert_eq!(action("ecs:DeleteCluster"), None);
    }
}
