//! Clusters of EC2 instances.

use crate::{ClusterAsk, ClusterWork, Level, Policy, Where, action, cluster};

pub(super) const WORKS: [ClusterWork; 5] =
    [ClusterWork::Deploy, ClusterWork::Scale, ClusterWork::Destroy, ClusterWork::Init, ClusterWork::Image];

/// With everything that asks for a right.
fn ask(work: ClusterWork) -> ClusterAsk<'static> {
    ClusterAsk {
        work,
        place: Where::of(Some("eu-west-1"), Some("111122223333")),
        cluster: "web",
        lasting: ["web-cluster", "web-cluster-health-task"].map(str::to_owned),
        versions: "web-asg-*".to_owned(),
        family: "web-cluster-health".to_owned(),
        tag: ("landfall:cluster", "web"),
        image: Some("/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id"),
        finds_subnets: true,
        spot_fleets: true,
        managed: true,
        looks_only: false,
        reads_metric: true,
    }
}

/// Of everything that is done with one.
pub(super) fn policies() -> Vec<Policy> {
    WORKS.map(|work| cluster(&ask(work))).into()
}

fn sids(ask: &ClusterAsk<'_>) -> Vec<String> {
    cluster(ask).statement.into_iter().map(|one| one.sid).collect()
}

#[test]
fn what_a_cluster_cannot_do_is_not_granted() {
    let without = |work, change: &dyn Fn(&mut ClusterAsk<'_>), gone: &[&str]| {
        let mut less = ask(work);
        change(&mut less);
        let all = sids(&ask(work));
        let expected: Vec<&String> = all.iter().filter(|sid| !gone.contains(&sid.as_str())).collect();
        assert_eq!(sids(&less).iter().collect::<Vec<_>>(), expected);
    };
    without(ClusterWork::Deploy, &|ask| ask.image = None, &["FindImage"]);
    without(ClusterWork::Deploy, &|ask| ask.finds_subnets = false, &["FindSubnets"]);
    without(ClusterWork::Deploy, &|ask| ask.spot_fleets = false, &["SeeSpotFleets"]);
    without(ClusterWork::Scale, &|ask| ask.spot_fleets = false, &["ScaleFleets", "EndInstances"]);
    without(ClusterWork::Scale, &|ask| ask.reads_metric = false, &["ReadMetric"]);
    // It looks, and publishes what it saw.
    let looks = ClusterAsk { looks_only: true, ..ask(ClusterWork::Scale) };
    let all = cluster(&looks).statement.into_iter().flat_map(|one| one.action).collect::<Vec<_>>();
    let acts = all
        .iter()
        .filter(|name| action(name).unwrap().level != Level::Read && action(name).unwrap().level != Level::List);
    assert_eq!(acts.collect::<Vec<_>>(), ["cloudwatch:PutMetricData"]);
    for call in ["autoscaling:DescribeAutoScalingGroups", "ecs:ListTasks", "ec2:DescribeSpotFleetInstances"] {
        assert!(all.contains(&call.to_owned()), "{call}: {all:?}");
    }
    assert!(!all.contains(&"cloudwatch:GetMetricStatistics".to_owned()), "it decides nothing by it");
    // Who deploys or destroys such a cluster does what is done with any.
    for work in [ClusterWork::Deploy, ClusterWork::Destroy] {
        assert_eq!(sids(&ClusterAsk { looks_only: true, ..ask(work) }), sids(&ask(work)));
    }
    without(ClusterWork::Destroy, &|ask| ask.managed = false, &["ReadStacks", "ChangeStacks"]);
    let writes = |work| {
        let all = cluster(&ask(work)).statement.into_iter().flat_map(|one| one.action);
        all.filter(|name| matches!(action(name).unwrap().level, Level::Write | Level::Tagging)).collect::<Vec<_>>()
    };
    assert_eq!(writes(ClusterWork::Init), Vec::<String>::new());
    assert!(!writes(ClusterWork::Scale).iter().any(|name| name.contains("ChangeSet") || name == "ecs:RunTask"));
    assert!(!writes(ClusterWork::Deploy).iter().any(|name| name.starts_with("autoscaling:")));
    assert!(
        sids(&ask(ClusterWork::Deploy)).contains(&"ReadFleets".to_owned()),
        "why no instance came begins with them"
    );
    assert!(!writes(ClusterWork::Destroy).iter().any(|name| name.starts_with("ecs:")));
}

/// The cluster's own, by name or by tag; another cluster whose name is a part of it is another.
#[test]
fn rights_reach_the_cluster_s_own_only() {
    let policy = |work| cluster(&ask(work));
    let stack = |name: &str| format!("arn:aws:cloudformation:eu-west-1:111122223333:stack/{name}/0a1b");
    let deploy = policy(ClusterWork::Deploy);
    let may = |policy: &Policy, call: &str, name: &str| {
        policy.granting(&format!("cloudformation:{call}"), Some(&stack(name))).is_some()
    };
    for name in ["web-cluster", "web-cluster-health-task", "web-asg-1a2b3c"] {
        assert!(may(&deploy, "ExecuteChangeSet", name), "{name}");
    }
    for name in ["big-web-asg-1", "web2-cluster", "web-cluster-codepipeline", "web"] {
        assert!(!may(&deploy, "ExecuteChangeSet", name), "{name}");
        assert!(!may(&policy(ClusterWork::Destroy), "DeleteStack", name), "{name}");
    }
    // Who deploys or scales deletes versions, and never the cluster.
    for work in [ClusterWork::Deploy, ClusterWork::Scale] {
        assert!(may(&policy(work), "DeleteStack", "web-asg-1"), "{work:?}");
        assert!(!may(&policy(work), "DeleteStack", "web-cluster"), "{work:?}");
    }
    assert!(may(&policy(ClusterWork::Destroy), "DeleteStack", "web-cluster"));
    let scale = policy(ClusterWork::Scale);
    for call in ["autoscaling:SetDesiredCapacity", "ec2:TerminateInstances"] {
        let own = scale.granting(call, None).unwrap();
        assert_eq!(own.condition["StringEquals"]["aws:ResourceTag/landfall:cluster"], ["web"], "{call}");
    }
    let metrics = scale.granting("cloudwatch:PutMetricData", None).unwrap();
    assert_eq!(metrics.condition["StringEquals"]["cloudwatch:namespace"], ["AWS/ECS"]);
    // AWS's parameters are of no account.
    let image = deploy.granting("ssm:GetParameter", None).unwrap();
    assert_eq!(
        image.resource,
        ["arn:aws:ssm:eu-west-1::parameter/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id"]
    );
}
