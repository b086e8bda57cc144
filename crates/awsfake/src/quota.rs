//! Request throttling by token buckets, per account and region, as the ECS and Elastic Load Balancing guides document it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::protocol::speaks_query;
use crate::world::error::AwsError;
use crate::world::{Caller, Millis, is_read};

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    pub burst: f64,
    pub per_second: f64,
}

/// The API family of a call: what shares a bucket.
pub fn family(service: &str, operation: &str) -> &'static str {
    match (service, operation) {
        ("ecs", "RegisterTaskDefinition" | "DeregisterTaskDefinition") => "ecs task definition modify",
        ("ecs", "DeleteTaskDefinitions") => "ecs task definition delete",
        ("ecs", "DescribeTaskDefinition" | "ListTaskDefinitions" | "ListTaskDefinitionFamilies") => {
            "ecs task definition read"
        }
        ("ecs", "CreateService" | "UpdateService" | "DeleteService") => "ecs service modify",
        ("ecs", "DescribeServices" | "ListServices") => "ecs service read",
        (
            "ecs",
            "DescribeServiceDeployments"
            | "ListServiceDeployments"
            | "StopServiceDeployment"
            | "ContinueServiceDeployment",
        ) => "ecs service deployment",
        ("ecs", "DescribeServiceRevisions") => "ecs service revision",
        ("ecs", "RunTask" | "StopTask" | "ExecuteCommand" | "UpdateContainerInstancesState") => {
            "ecs cluster resource modify"
        }
        ("ecs", "CreateCluster" | "DeleteCluster" | "UpdateCluster") => "ecs cluster modify",
        ("ecs", "DescribeClusters" | "ListClusters") => "ecs cluster read",
        ("ecs", "TagResource" | "UntagResource") => "ecs tag modify",
        ("ecs", _) => "ecs cluster resource read",
        ("elasticloadbalancing", operation) if is_read(operation) => "elb read",
        ("elasticloadbalancing", _) => "elb modify",
        ("sts", _) => "sts",
        ("ssm", _) => "ssm",
        ("secretsmanager", _) => "secretsmanager",
        ("logs", _) => "logs",
        ("ecr", _) => "ecr",
        ("sns", _) => "sns",
        ("lambda", _) => "lambda",
        ("monitoring", _) => "cloudwatch",
        ("tagging", _) => "tagging",
        ("iam", _) => "iam",
        ("cloudformation", _) => "cloudformation",
        ("autoscaling", _) => "autoscaling",
        ("ec2", _) => "ec2",
        _ => "other",
    }
}

/// The documented quotas. `elb modify` is an assumption; the rest of a family that is not here is not throttled.
pub fn documented() -> BTreeMap<String, Bucket> {
    let rows = [
        ("ecs task definition modify", 20.0, 1.0),
        ("ecs task definition delete", 5.0, 1.0),
        ("ecs task definition read", 50.0, 20.0),
        ("ecs service modify", 50.0, 5.0),
        ("ecs service read", 100.0, 20.0),
        ("ecs service deployment", 50.0, 20.0),
        ("ecs service revision", 50.0, 20.0),
        ("ecs cluster resource read", 100.0, 20.0),
        ("ecs cluster resource modify", 100.0, 40.0),
        ("ecs cluster modify", 20.0, 1.0),
        ("ecs cluster read", 50.0, 20.0),
        ("ecs tag modify", 20.0, 10.0),
        ("elb read", 40.0, 10.0),
        ("elb modify", 20.0, 3.0),
    ];
    rows.iter()
        .map(|(name, burst, per_second)| ((*name).to_owned(), Bucket { burst: *burst, per_second: *per_second }))
        .collect()
}

#[derive(Debug, Clone, Default)]
pub struct Quotas {
    /// By family. Empty: nothing is throttled.
    pub buckets: BTreeMap<String, Bucket>,
    /// Tokens left and when they were counted.
    levels: BTreeMap<(String, String, &'static str), (f64, Millis)>,
}

impl Quotas {
    /// Takes a token, or says that there is none.
    #[expect(clippy::cast_precision_loss, reason = "milliseconds between two calls")]
    pub fn take(&mut self, now: Millis, caller: &Caller, service: &str, operation: &str) -> Result<(), AwsError> {
        let family = family(service, operation);
        let Some(bucket) = self.buckets.get(family) else { return Ok(()) };
        let key = (caller.account.clone(), caller.region.clone(), family);
        let (level, since) = self.levels.get(&key).copied().unwrap_or((bucket.burst, now));
        let refilled = level + now.saturating_sub(since) as f64 / 1000.0 * bucket.per_second;
        let level = refilled.min(bucket.burst);
        // Ten refills of a tenth are a token.
        let enough = level >= 1.0 - 1e-6;
        self.levels.insert(key, (if enough { (level - 1.0).max(0.0) } else { level }, now));
        if enough {
            return Ok(());
        }
        // The services of the query protocol say `Throttling`; the JSON services and, by its guide, Elastic Load Balancing the other.
        let query = speaks_query(service) && service != "elasticloadbalancing";
        let code = if query { "Throttling" } else { "ThrottlingException" };
        Err(AwsError::new(code, "Rate exceeded"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registering_fifty_definitions_takes_thirty_seconds_after_the_burst() {
        let mut quotas = Quotas { buckets: documented(), ..Quotas::default() };
        let caller = Caller { account: "1".to_owned(), region: "r".to_owned(), arn: String::new() };
        let mut take = |now| quotas.take(now, &caller, "ecs", "RegisterTaskDefinition").is_ok();
        assert_eq!((0..50).filter(|_| take(0)).count(), 20);
        let mut done = 20;
        let mut now = 0;
        while done < 50 {
            now += 100;
            done += i32::from(take(now));
        }
        assert_eq!(now, 30_000);
    }
}
