//! Cluster, roles, log group, subnets and security groups.

use landfall_ports::topic::Subscriber;

use super::ask::{EC2, IAM, elements};
use super::{Check, Examiner};
use crate::budget::Family;
use crate::call::Call;
use crate::signed::xml;
use crate::sns;

impl Examiner {
    pub(crate) async fn cluster(&self) -> Vec<Check> {
        let (cluster, region) = (&self.core.target.cluster, &self.core.region);
        let resource = format!("cluster {cluster}");
        let call = Call::ecs("DescribeClusters", Family::ClusterRead, &resource);
        let request = self.core.clients.ecs.describe_clusters().clusters(cluster);
        let found = match self.core.caller.call(call, || request.clone().send()).await {
            Ok(found) => found,
            Err(failed) => return vec![Check::failed("cluster", &failed, false)],
        };
        let found = found.clusters().first();
        let status = found.and_then(|cluster| cluster.status.as_deref()).unwrap_or("MISSING");
        let hint =
            format!("`aws ecs create-cluster --cluster-name {cluster}`, or correct `aws.{}`", self.core.target.name);
        vec![match status {
            "ACTIVE" => Check::good("cluster", format!("{cluster} is ACTIVE")),
            "MISSING" => Check::wrong("cluster", format!("{cluster} is not in {region}"), hint),
            status => Check::wrong("cluster", format!("{cluster} in {region} is {status}"), hint),
        }]
    }

    pub(crate) async fn roles_and_logs(&self) -> Vec<Check> {
        let target = &self.core.target;
        let role = async |name: &str, arn: &Option<String>| match arn {
            Some(arn) => Some(self.role(name, arn).await),
            None => None,
        };
        let log_group = async || match &target.log_group {
            Some(group) => Some(self.log_group(group).await),
            None => None,
        };
        let (execution, task, logs) = tokio::join!(
            role("execution role", &target.execution_role),
            role("task role", &target.task_role),
            log_group()
        );
        [execution, task, logs].into_iter().flatten().collect()
    }

    async fn role(&self, name: &str, arn: &str) -> Check {
        let leaf = arn.rsplit('/').next().unwrap_or(arn);
        let parameters = [("RoleName".to_owned(), leaf.to_owned())];
        match self.query(IAM, "GetRole", arn, &parameters).await {
            Ok(answer) => trusted(name, arn, xml(&answer, "AssumeRolePolicyDocument").as_deref()),
            Err(failed) if failed.not_found() => {
                Check::wrong(name, format!("{arn} does not exist"), "create it, or correct the manifest")
            }
            Err(failed) => Check::failed(name, &failed, false),
        }
    }

    async fn log_group(&self, group: &str) -> Check {
        let resource = format!("log group {group}");
        let call = Call { service: "logs", action: "DescribeLogGroups", family: Family::LogsRead, resource: &resource };
        let request = self.core.clients.logs.describe_log_groups().log_group_name_prefix(group);
        match self.core.caller.call(call, || request.clone().send()).await {
            Ok(found) if found.log_groups().iter().any(|found| found.log_group_name() == Some(group)) => {
                Check::good("log group", group)
            }
            Ok(_) => Check::wrong(
                "log group",
                format!("{group} is not in {}: tasks that log there do not start", self.core.region),
                format!("`aws logs create-log-group --log-group-name {group}`"),
            ),
            Err(failed) => Check::failed("log group", &failed, false),
        }
    }

    /// Whether anybody gets what is published there.
    pub(crate) async fn topics(&self, topics: &[String]) -> Vec<Check> {
        let look = async |topic: &String| match sns::subscribers(&self.core, &self.signer, topic).await {
            Ok(subscribers) => subscribed(topic, &subscribers),
            Err(failed) if failed.not_found() => {
                Check::wrong("topic", format!("{topic} does not exist"), "make it, or correct `notifications`")
            }
            Err(failed) => Check::failed("topic", &failed, false),
        };
        futures_util::future::join_all(topics.iter().map(look)).await
    }

    /// `vpc`: the load balancer's.
    pub(crate) async fn network(&self, vpc: Option<&str>) -> Vec<Check> {
        let target = &self.core.target;
        let subnets = self.in_vpc("subnets", ("DescribeSubnets", "SubnetId"), "subnetSet", &target.subnets, vpc);
        let ask = ("DescribeSecurityGroups", "GroupId");
        let groups = self.in_vpc("security groups", ask, "securityGroupInfo", &target.security_groups, vpc);
        let (subnets, groups) = tokio::join!(subnets, groups);
        [subnets, groups].into_iter().flatten().collect()
    }

    async fn in_vpc(
        &self,
        name: &str,
        (action, parameter): (&'static str, &str),
        set: &str,
        ids: &[String],
        vpc: Option<&str>,
    ) -> Option<Check> {
        if ids.is_empty() {
            return None;
        }
        let parameters: Vec<(String, String)> =
            ids.iter().enumerate().map(|(n, id)| (format!("{parameter}.{}", n + 1), id.clone())).collect();
        let all = ids.join(", ");
        let answer = match self.query(EC2, action, &all, &parameters).await {
            Ok(answer) => answer,
            Err(failed) if failed.not_found() => {
                let detail = format!("{} ({})", failed.message, self.core.region);
                return Some(Check::wrong(name, detail, "correct the manifest; ids are a region's own"));
            }
            // An id that cannot be one.
            Err(failed) => return Some(Check::failed(name, &failed, failed.code.contains("Malformed"))),
        };
        let set = elements(&answer, set).concat();
        let mut vpcs: Vec<String> = elements(&set, "item").iter().filter_map(|item| xml(item, "vpcId")).collect();
        vpcs.sort();
        vpcs.dedup();
        let hint = "targets and load balancer must be in one VPC";
        Some(match (vpcs.as_slice(), vpc) {
            ([one], Some(vpc)) if one != vpc => {
                Check::wrong(name, format!("{all} are in {one}, and the load balancer is in {vpc}"), hint)
            }
            ([one], _) => Check::good(name, format!("{all} in {one}")),
            _ => Check::wrong(name, format!("{all} are in several VPCs: {}", vpcs.join(", ")), hint),
        })
    }
}

fn subscribed(topic: &str, subscribers: &[Subscriber]) -> Check {
    let (confirmed, pending): (Vec<_>, Vec<_>) = subscribers.iter().partition(|one| one.confirmed);
    let pending: Vec<&str> = pending.into_iter().map(|one| one.endpoint.as_str()).collect();
    let pending = pending.join(", ");
    let hint = "`landfall notifications subscribe NAME ADDRESS` asks for it; its owner follows the link that AWS mails";
    match (confirmed.len(), pending.is_empty()) {
        (0, true) => Check::wrong("topic", format!("nobody is subscribed to {topic}"), hint),
        (0, false) => {
            Check::wrong("topic", format!("nobody gets what {topic} sends: {pending} has not confirmed"), hint)
        }
        (count, true) => Check::good("topic", format!("{topic}: {count} confirmed")),
        (count, false) => {
            let told = Check::good("topic", format!("{topic}: {count} confirmed, not yet {pending}"));
            Check { hint: Some(hint.to_owned()), ..told }
        }
    }
}

/// `trust`: percent-encoded JSON.
fn trusted(name: &str, arn: &str, trust: Option<&str>) -> Check {
    let Some(trust) = trust else { return Check::good(name, format!("{arn} exists")) };
    // The service's name has nothing that would be encoded.
    if trust.contains("ecs-tasks.amazonaws.com") {
        return Check::good(name, format!("{arn} exists and may be taken by ECS tasks"));
    }
    let hint = "its trust policy must allow sts:AssumeRole to the service ecs-tasks.amazonaws.com: `landfall iam … --trust ecs`";
    Check::wrong(name, format!("{arn} may not be taken by ECS tasks"), hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Finding;

    #[test]
    fn a_topic_that_reaches_nobody_is_wrong() {
        let one = |endpoint: &str, confirmed| {
            let (protocol, endpoint) = ("email".to_owned(), endpoint.to_owned());
            Subscriber { protocol, endpoint, confirmed }
        };
        let of = |all: &[Subscriber]| {
            let check = subscribed("arn:t", all);
            (check.finding, check.detail, check.hint.is_some())
        };
        let (anna, ben) = (one("anna@example.com", true), one("ben@example.com", false));
        assert_eq!(of(&[]), (Finding::Wrong, "nobody is subscribed to arn:t".to_owned(), true));
        let pending = "nobody gets what arn:t sends: ben@example.com has not confirmed".to_owned();
        assert_eq!(of(std::slice::from_ref(&ben)), (Finding::Wrong, pending, true));
        assert_eq!(of(std::slice::from_ref(&anna)), (Finding::Good, "arn:t: 1 confirmed".to_owned(), false));
        let both = "arn:t: 1 confirmed, not yet ben@example.com".to_owned();
        assert_eq!(of(&[anna, ben]), (Finding::Good, both, true));
    }

    #[test]
    fn a_role_for_something_else_is_wrong() {
        let of = |trust| trusted("task role", "arn:x", trust).finding;
        assert_eq!(of(Some("%7B%22Service%22%3A%22ecs-tasks.amazonaws.com%22%7D")), Finding::Good);
        assert_eq!(of(Some("%7B%22Service%22%3A%22ec2.amazonaws.com%22%7D")), Finding::Wrong);
        assert_eq!(of(None), Finding::Good);
    }
}
