//! A place on AWS where environments run: an account and region, a cluster, a load balancer, and how tasks are placed.
//! Credentials are never part of it: they come from the SDK's own chain, optionally through a profile and a role.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwsTarget {
    /// Its key in the manifest; environments refer to it by `on`.
    pub name: String,
    /// `None`: whatever the SDK's chain says (AWS_REGION, profile, instance metadata).
    pub region: Option<String>,
    pub profile: Option<String>,
    /// Instead of AWS's own endpoints, for every service: an emulator, a VPC endpoint.
    pub endpoint: Option<String>,
    /// Twelve digits. Where given, the credentials must belong to it or nothing is written.
    pub account: Option<String>,
    pub role: Option<AssumeRole>,
    /// Name or ARN of the ECS cluster.
    pub cluster: String,
    /// Name or ARN of the shared Application Load Balancer; needed by services with a `load_balancer`.
    pub load_balancer: Option<String>,
    /// What URLs name instead of the load balancer's own DNS name. Looked up at start where it is not given.
    pub address: Option<String>,
    /// Where probes connect instead of the URL's own host, which goes into the Host header: a tunnel to a private load
    /// balancer, an emulator.
    pub probe_through: Option<String>,
    /// Of target groups. `None`: the load balancer's own.
    pub vpc: Option<String>,
    /// For tasks in awsvpc mode, so always with Fargate.
    pub subnets: Vec<String>,
    pub security_groups: Vec<String>,
    pub public_ip: bool,
    /// ARN of the role that pulls images, reads secrets and writes logs.
    pub execution_role: Option<String>,
    /// ARN of the role that the containers have.
    pub task_role: Option<String>,
    /// CloudWatch Logs group of all containers (`awslogs`). `None`: containers log nowhere, unless a base says otherwise.
    pub log_group: Option<String>,
    /// ARN of an ACM certificate: listeners that Landfall makes are HTTPS.
    pub certificate: Option<String>,
}

impl AwsTarget {
    /// Whose credentials are meant in an account: its place's. `None`: it has none, or several with credentials of their own.
    pub fn of_account<'a>(places: impl IntoIterator<Item = &'a Self>, account: &str) -> Option<&'a Self> {
        let of_account = |place: &&Self| {
            let role = place.role.as_ref().and_then(|role| role.arn.split(':').nth(4));
            place.account.as_deref().or(role) == Some(account)
        };
        let credentials = |place: &Self| (place.profile.clone(), place.role.clone(), place.endpoint.clone());
        let mut all = places.into_iter().filter(of_account);
        let first = all.next()?;
        all.all(|other| credentials(other) == credentials(first)).then_some(first)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssumeRole {
    pub arn: String,
    pub external_id: Option<String>,
}
