//! A cluster of EC2 instances, `infra.yml`: what Landfall itself asks AWS for. What CloudFormation calls to make the templates' resources is
//! no call of ours, and is read off the templates.

use crate::policy::{Policy, Statement};

/// The place of ARNs. In a template each part may be what CloudFormation fills in, as `${AWS::Region}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Where<'a> {
    pub partition: &'a str,
    pub region: &'a str,
    pub account: &'a str,
}

impl Where<'static> {
    /// That of the template's stack.
    pub const STACK: Self =
        Self { partition: "${AWS::Partition}", region: "${AWS::Region}", account: "${AWS::AccountId}" };
}

impl<'a> Where<'a> {
    /// What is not known is any.
    pub fn of(region: Option<&'a str>, account: Option<&'a str>) -> Self {
        let region = region.unwrap_or("*");
        let partition = match region {
            region if region.starts_with("cn-") => "aws-cn",
            region if region.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        };
        Self { partition, region, account: account.unwrap_or("*") }
    }

    pub fn arn(self, service: &str, rest: &str) -> String {
        format!("arn:{}:{service}:{}:{}:{rest}", self.partition, self.region, self.account)
    }

    /// Of a service without regions.
    pub fn global(self, service: &str, rest: &str) -> String {
        format!("arn:{}:{service}::{}:{rest}", self.partition, self.account)
    }
}

/// What is done with a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterWork {
    /// Also `plan`, `status`, `activate` and `deactivate`.
    Deploy,
    Scale,
    Destroy,
    Init,
    /// `landfall cluster ami build`.
    Image,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterAsk<'a> {
    pub work: ClusterWork,
    pub place: Where<'a>,
    /// The ECS cluster's name.
    pub cluster: &'a str,
    /// Names of the stacks that last.
    pub lasting: [String; 2],
    /// What all names of versions' stacks, and of what is in them, are like: `web-asg-*`.
    pub versions: String,
    /// Of the task that proves a version.
    pub family: String,
    /// The tag by which what is the cluster's is known, and its value.
    pub tag: (&'a str, &'a str),
    /// The public parameter that names the newest image, where that is looked up.
    pub image: Option<&'a str>,
    /// The file names no subnets, and AWS is asked for them.
    pub finds_subnets: bool,
    /// Requests for Spot Fleets instead of Auto Scaling groups.
    pub spot_fleets: bool,
    /// ECS scales: capacity providers are taken from the cluster before their version goes.
    pub managed: bool,
    /// The scaler publishes its metrics, and does nothing else.
    pub looks_only: bool,
    /// The scaler decides by the metric that it publishes.
    pub reads_metric: bool,
}

/// CloudWatch's namespace of what the scaler publishes.
const NAMESPACE: &str = "AWS/ECS";

/// Tag of an instance that an image is made of.
pub const BUILDER: (&str, &str) = ("landfall:part", "ami-builder");
/// Tag of an image and of its builder: the script that was run, hashed.
pub const RECIPE: &str = "landfall:recipe";

pub fn cluster(ask: &ClusterAsk<'_>) -> Policy {
    let mut all = Vec::new();
    match ask.work {
        ClusterWork::Deploy => {
            stacks(ask, &mut all);
            look(ask, &mut all);
            around(ask, &mut all);
            prove(ask, &mut all);
            launches(ask, &mut all);
        }
        ClusterWork::Scale => {
            stacks(ask, &mut all);
            look(ask, &mut all);
            scale(ask, &mut all);
        }
        ClusterWork::Destroy => {
            stacks(ask, &mut all);
            look(ask, &mut all);
        }
        ClusterWork::Image => image(ask, &mut all),
        ClusterWork::Init => {
            let calls = ["ec2:DescribeAvailabilityZones", "ec2:DescribeSubnets", "ec2:DescribeVpcs"];
            all.push(Statement::allow("FindNetwork", &calls, everything()));
        }
    }
    Policy::new(all)
}

fn everything() -> [String; 1] {
    ["*".to_owned()]
}

fn stacks(ask: &ClusterAsk<'_>, all: &mut Vec<Statement>) {
    let stack = |name: &str| ask.place.arn("cloudformation", &format!("stack/{name}/*"));
    let versions = || stack(&ask.versions);
    let whole = || ask.lasting.iter().map(|name| stack(name)).chain([versions()]);
    // Which of them are the cluster's, their tags say: all are listed.
    let listed = [ask.place.arn("cloudformation", "stack/*")];
    all.push(Statement::allow("ListStacks", &["cloudformation:DescribeStacks"], listed));
    let read = [
        "cloudformation:DescribeChangeSet",
        "cloudformation:DescribeStackEvents",
        "cloudformation:GetTemplate",
        "cloudformation:ListChangeSets",
    ];
    let change = [
        "cloudformation:CreateChangeSet",
        "cloudformation:DeleteChangeSet",
        "cloudformation:ExecuteChangeSet",
        "cloudformation:TagResource",
    ];
    let delete = |resources: Vec<String>| Statement::allow("DeleteStacks", &["cloudformation:DeleteStack"], resources);
    match ask.work {
        ClusterWork::Scale if ask.looks_only => {
            all.push(Statement::allow("ReadStacks", &["cloudformation:ListStackResources"], [versions()]));
        }
        ClusterWork::Scale => {
            let read = ["cloudformation:DescribeStackEvents", "cloudformation:ListStackResources"];
            all.push(Statement::allow("ReadStacks", &read, [versions()]));
            all.push(delete(vec![versions()]));
        }
        // There is nowhere to move anything to, so nothing is changed first but what would be in the way.
        ClusterWork::Destroy => {
            all.push(Statement::allow("FollowDeletions", &["cloudformation:DescribeStackEvents"], whole()));
            if ask.managed {
                let lasting = || ask.lasting.iter().map(|name| stack(name));
                all.push(Statement::allow("ReadStacks", &read, lasting()));
                all.push(Statement::allow("ChangeStacks", &change, lasting()));
            }
            all.push(delete(whole().collect()));
        }
        ClusterWork::Deploy | ClusterWork::Init | ClusterWork::Image => {
            all.push(Statement::allow("ReadStacks", &read, whole()));
            all.push(Statement::allow("ChangeStacks", &change, whole()));
            // Which fleet launched nothing, and why.
            all.push(Statement::allow("ReadFleets", &["cloudformation:ListStackResources"], [versions()]));
            // Never the cluster.
            all.push(delete(vec![versions()]));
        }
    }
}

/// Instances, services and tasks of the cluster.
fn look(ask: &ClusterAsk<'_>, all: &mut Vec<Statement>) {
    let cluster = ask.cluster;
    let own = |kind: &str| ask.place.arn("ecs", &format!("{kind}/{cluster}/*"));
    let arn = || [ask.place.arn("ecs", &format!("cluster/{cluster}"))];
    all.push(Statement::allow("ListInstances", &["ecs:ListContainerInstances"], arn()));
    let instances = || [own("container-instance")];
    all.push(Statement::allow("ReadInstances", &["ecs:DescribeContainerInstances"], instances()));
    if ask.work != ClusterWork::Destroy && !(ask.work == ClusterWork::Scale && ask.looks_only) {
        all.push(Statement::allow("DrainInstances", &["ecs:UpdateContainerInstancesState"], instances()));
    }
    let list = Statement::allow("ListServicesAndTasks", &["ecs:ListServices", "ecs:ListTasks"], everything());
    all.push(list.when("ArnLike", "ecs:cluster", arn()));
    let read = ["ecs:DescribeServices", "ecs:DescribeTasks"];
    all.push(Statement::allow("ReadServicesAndTasks", &read, [own("service"), own("task")]));
    if ask.managed && ask.work == ClusterWork::Deploy {
        // Those that name capacity providers of a version that goes.
        all.push(Statement::allow("MoveServices", &["ecs:UpdateService"], [own("service")]));
    }
}

fn around(ask: &ClusterAsk<'_>, all: &mut Vec<Statement>) {
    if ask.finds_subnets {
        all.push(Statement::allow("FindSubnets", &["ec2:DescribeSubnets"], everything()));
    }
    find_image(ask, all);
}

fn find_image(ask: &ClusterAsk<'_>, all: &mut Vec<Statement>) {
    if let Some(name) = ask.image {
        // It is AWS's, and so of no account.
        let arn = format!("arn:{}:ssm:{}::parameter{name}", ask.place.partition, ask.place.region);
        all.push(Statement::allow("FindImage", &["ssm:GetParameter"], [arn]));
    }
}

/// A task on the instances of a version, stopped when it has shown that they work.
fn prove(ask: &ClusterAsk<'_>, all: &mut Vec<Statement>) {
    let cluster = ask.cluster;
    let definition = ask.place.arn("ecs", &format!("task-definition/{}:*", ask.family));
    let run = Statement::allow("RunProof", &["ecs:RunTask"], [definition]);
    all.push(run.when("ArnLike", "ecs:cluster", [ask.place.arn("ecs", &format!("cluster/{cluster}"))]));
    let tasks = [ask.place.arn("ecs", &format!("task/{cluster}/*"))];
    all.push(Statement::allow("StopProof", &["ecs:StopTask"], tasks));
}

/// Why no instance of a version came.
fn launches(ask: &ClusterAsk<'_>, all: &mut Vec<Statement>) {
    let mut see = vec!["autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeScalingActivities"];
    if ask.spot_fleets {
        see.push("ec2:DescribeSpotFleetRequests");
        all.push(see_spot_fleets(ask));
    }
    see.push("ec2:DescribeSpotInstanceRequests");
    all.push(Statement::allow("SeeLaunches", &see, everything()));
}

fn see_spot_fleets(ask: &ClusterAsk<'_>) -> Statement {
    let own = ["ec2:DescribeSpotFleetInstances", "ec2:DescribeSpotFleetRequestHistory"];
    Statement::allow("SeeSpotFleets", &own, [ask.place.arn("ec2", "spot-fleet-request/*")])
}

fn scale(ask: &ClusterAsk<'_>, all: &mut Vec<Statement>) {
    all.push(Statement::allow("ReadTaskDefinitions", &["ecs:DescribeTaskDefinition"], everything()));
    let mut see = vec!["ec2:DescribeInstanceTypes", "ec2:DescribeInstances", "ec2:DescribeSpotInstanceRequests"];
    if ask.spot_fleets {
        see.push("ec2:DescribeSpotFleetRequests");
    }
    see.extend(["autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeScalingActivities"]);
    match ask.looks_only {
        false => acts(ask, all),
        true if ask.spot_fleets => all.push(see_spot_fleets(ask)),
        true => {}
    }
    all.push(Statement::allow("SeeFleets", &see, everything()));
    if ask.reads_metric && !ask.looks_only {
        all.push(Statement::allow("ReadMetric", &["cloudwatch:GetMetricStatistics"], everything()));
    }
    let publish = Statement::allow("PublishMetrics", &["cloudwatch:PutMetricData"], everything());
    all.push(publish.when("StringEquals", "cloudwatch:namespace", [NAMESPACE.to_owned()]));
}

/// What is done to the fleets.
fn acts(ask: &ClusterAsk<'_>, all: &mut Vec<Statement>) {
    let (key, value) = ask.tag;
    let tagged =
        |statement: Statement| statement.when("StringEquals", &format!("aws:ResourceTag/{key}"), [value.to_owned()]);
    if ask.spot_fleets {
        // No fleet carries a tag that CloudFormation gave it.
        let own = [
            "ec2:CreateTags",
            "ec2:DescribeSpotFleetInstances",
            "ec2:DescribeSpotFleetRequestHistory",
            "ec2:ModifySpotFleetRequest",
        ];
        all.push(Statement::allow("ScaleFleets", &own, [ask.place.arn("ec2", "spot-fleet-request/*")]));
        let instances = [ask.place.arn("ec2", "instance/*")];
        all.push(tagged(Statement::allow("EndInstances", &["ec2:TerminateInstances"], instances)));
    }
    let own = [
        "autoscaling:CompleteLifecycleAction",
        "autoscaling:CreateOrUpdateTags",
        "autoscaling:SetDesiredCapacity",
        "autoscaling:SuspendProcesses",
        "autoscaling:TerminateInstanceInAutoScalingGroup",
    ];
    let groups = format!("autoScalingGroup:*:autoScalingGroupName/{}", ask.versions);
    all.push(tagged(Statement::allow("ScaleGroups", &own, [ask.place.arn("autoscaling", &groups)])));
}

/// An instance runs the script, an image is made of it, and it goes. What others have made is not touched: builders and images have tags.
fn image(ask: &ClusterAsk<'_>, all: &mut Vec<Statement>) {
    let own = |kinds: &[&str]| kinds.iter().map(|kind| ask.place.arn("ec2", &format!("{kind}/*"))).collect::<Vec<_>>();
    // Images and snapshots are of no account in their ARNs.
    let shared = |kinds: &[&str]| {
        let arn = |kind: &&str| format!("arn:{}:ec2:{}::{kind}/*", ask.place.partition, ask.place.region);
        kinds.iter().map(arn).collect::<Vec<_>>()
    };
    let builder = |statement: Statement, of: &str| {
        statement.when("StringEquals", &format!("aws:{of}Tag/{}", BUILDER.0), [BUILDER.1.to_owned()])
    };
    let made = |statement: Statement, of: &str| {
        statement.when("StringLike", &format!("aws:{of}Tag/{RECIPE}"), ["*".to_owned()])
    };
    find_image(ask, all);
    let mut see = vec!["ec2:DescribeImages", "ec2:DescribeInstances"];
    if ask.finds_subnets {
        see.extend(["ec2:DescribeAvailabilityZones", "ec2:DescribeSubnets", "ec2:DescribeVpcs"]);
    }
    all.push(Statement::allow("SeeImages", &see, everything()));
    let from = [shared(&["image"]), own(&["network-interface", "security-group", "subnet"])].concat();
    all.push(Statement::allow("LaunchFrom", &["ec2:RunInstances"], from));
    let launched = || own(&["instance", "volume"]);
    all.push(builder(Statement::allow("LaunchBuilder", &["ec2:RunInstances"], launched()), "Request"));
    all.push(builder(Statement::allow("TagBuilder", &["ec2:CreateTags"], launched()), "Request"));
    let use_it = ["ec2:CreateImage", "ec2:GetConsoleOutput", "ec2:TerminateInstances"];
    all.push(builder(Statement::allow("UseBuilder", &use_it, own(&["instance"])), "Resource"));
    let images = || shared(&["image", "snapshot"]);
    all.push(made(Statement::allow("MakeImage", &["ec2:CreateImage", "ec2:CreateTags"], images()), "Request"));
    let discard = ["ec2:DeleteSnapshot", "ec2:DeregisterImage"];
    all.push(made(Statement::allow("DiscardImage", &discard, images()), "Resource"));
}
