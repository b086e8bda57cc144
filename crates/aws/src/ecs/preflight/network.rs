//! Subnets, security groups and target groups, and whether they belong together.

use landfall_ports::PortError;
use landfall_ports::PortResult;
use landfall_ports::orchestrator::{Documents, Looked};
use serde_json::Value;

use super::{Ecs, Look, containers, fine, looked, texts, wrong};
use crate::budget::Family;
use crate::call::Call;
use crate::signed;

/// One subnet or security group.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Placed {
    id: String,
    vpc: String,
    /// Of a subnet.
    free: Option<u32>,
}

impl Ecs {
    pub(super) async fn network_fits(&self, documents: &Documents) -> Vec<Looked> {
        let configuration = &documents.service["networkConfiguration"]["awsvpcConfiguration"];
        let (subnets, groups) = (texts(&configuration["subnets"]), texts(&configuration["securityGroups"]));
        let desired = documents.service["desiredCount"].as_u64().unwrap_or(1);
        let mut all = Vec::new();
        let mut vpc = None;
        if !subnets.is_empty() {
            let look = match self.placed("DescribeSubnets", "SubnetId", "subnetId", &subnets).await {
                Ok(found) => {
                    vpc = found.first().map(|first| first.vpc.clone());
                    subnets_fit(&found, &subnets, desired)
                }
                Err(error) => missing(error, "subnet", &self.core.region),
            };
            all.push(looked(format!("subnets {}", subnets.join(", ")), look));
        }
        if !groups.is_empty() {
            let look = match self.placed("DescribeSecurityGroups", "GroupId", "groupId", &groups).await {
                Ok(found) => groups_fit(&found, &groups, vpc.as_deref()),
                Err(error) => missing(error, "security group", &self.core.region),
            };
            all.push(looked(format!("security groups {}", groups.join(", ")), look));
        }
        let balancers = documents.service["loadBalancers"].as_array().cloned().unwrap_or_default();
        for balancer in &balancers {
            let Some(group) = balancer["targetGroupArn"].as_str() else { continue };
            // One that is made by the deployment itself has no ARN yet.
            if group.starts_with("arn:") {
                let look = self.target_group_fits(group, balancer, documents, vpc.as_deref()).await;
                all.push(looked(format!("target group {}", group_name(group)), look));
            }
        }
        all
    }

    async fn placed(&self, action: &'static str, filter: &str, id: &str, ids: &[String]) -> PortResult<Vec<Placed>> {
        let resource = ids.join(", ");
        let call = Call { service: "ec2", action, family: Family::Ec2Read, resource: &resource };
        let parameters: Vec<(String, String)> =
            ids.iter().enumerate().map(|(at, id)| (format!("{filter}.{}", at + 1), id.clone())).collect();
        let (signer, core) = (&self.signer, &self.core);
        let answer = signed::query(signer, core, call, &core.region, "2016-11-15", &parameters).await?;
        Ok(read(&answer, id))
    }

    async fn target_group_fits(&self, arn: &str, balancer: &Value, documents: &Documents, vpc: Option<&str>) -> Look {
        let call = Call {
            service: "elasticloadbalancing",
            action: "DescribeTargetGroups",
            family: Family::ElbRead,
            resource: arn,
        };
        let request = self.core.clients.elb.describe_target_groups().target_group_arns(arn);
        let found = match self.core.caller.call(call, || request.clone().send()).await {
            Ok(answer) => answer.target_groups.unwrap_or_default().into_iter().next(),
            Err(failed) if failed.not_found() => None,
            Err(failed) => return Err(failed.into()),
        };
        let Some(found) = found else {
            return wrong("there is no such target group", "correct its ARN, or create it");
        };
        let mode = documents.task_definition["networkMode"].as_str().unwrap_or("bridge");
        let wanted = if mode == "awsvpc" { "ip" } else { "instance" };
        let kind = found.target_type.as_ref().map_or("instance", |kind| kind.as_str());
        if kind != wanted {
            let message = format!("its targets are of type {kind}, and tasks in {mode} mode register as {wanted}");
            return wrong(message, "the type of a target group cannot be changed: use another one");
        }
        if let (Some(there), Some(vpc)) = (found.vpc_id.as_deref(), vpc)
            && there != vpc
        {
            return wrong(
                format!("it is in {there}, and the subnets are in {vpc}"),
                "use subnets or a group of the same VPC",
            );
        }
        if found.load_balancer_arns().is_empty() {
            let message = "no listener forwards to it, and ECS registers nothing with a group without a load balancer";
            return wrong(message, "forward to it from a listener or a rule");
        }
        port_is_mapped(balancer, documents)
    }
}

/// That the container has the port that the load balancer asks for.
fn port_is_mapped(balancer: &Value, documents: &Documents) -> Look {
    let (name, port) = (balancer["containerName"].as_str().unwrap_or_default(), &balancer["containerPort"]);
    let Some((_, container)) = containers(documents).find(|(found, _)| *found == name) else {
        return wrong(format!("the task definition has no container {name}"), "correct `load_balancer.container`");
    };
    let mappings = container["portMappings"].as_array().into_iter().flatten();
    match mappings.into_iter().any(|mapping| mapping["containerPort"] == *port) {
        true => fine(),
        false => wrong(format!("container {name} has no port {port}"), "add it to the container's `ports`"),
    }
}

fn subnets_fit(found: &[Placed], asked: &[String], desired: u64) -> Look {
    if let Some(missing) = asked.iter().find(|id| !found.iter().any(|found| found.id == **id)) {
        return wrong(format!("there is no subnet {missing}"), "correct `subnets` of the target");
    }
    let first = found.first();
    if let Some((one, other)) = first.zip(found.iter().find(|other| Some(&other.vpc) != first.map(|one| &one.vpc))) {
        let message = format!("{} is in {}, and {} in {}", one.id, one.vpc, other.id, other.vpc);
        return wrong(message, "the subnets of a service must be of one VPC");
    }
    let free: u64 = found.iter().map(|found| u64::from(found.free.unwrap_or(u32::MAX))).sum();
    if free < desired {
        let message = format!("{free} addresses are free in them, for {desired} tasks");
        return wrong(message, "add a larger subnet, or remove what is not used");
    }
    fine()
}

fn groups_fit(found: &[Placed], asked: &[String], vpc: Option<&str>) -> Look {
    if let Some(missing) = asked.iter().find(|id| !found.iter().any(|found| found.id == **id)) {
        return wrong(format!("there is no security group {missing}"), "correct `security_groups` of the target");
    }
    match found.iter().find(|found| vpc.is_some_and(|vpc| found.vpc != vpc)) {
        Some(group) => wrong(
            format!("{} is in {}, and the subnets are in {}", group.id, group.vpc, vpc.unwrap_or_default()),
            "use security groups of the subnets' VPC",
        ),
        None => fine(),
    }
}

/// EC2 refuses a whole question for one id that it does not know, and names it.
fn missing(error: PortError, what: &str, region: &str) -> Look {
    match error {
        PortError::NotFound(message) => wrong(message, format!("correct the {what}s of the target for {region}")),
        PortError::Invalid(message) if message.contains("NotFound") || message.contains("Malformed") => {
            wrong(message, format!("correct the {what}s of the target for {region}"))
        }
        other => Err(other),
    }
}

fn group_name(arn: &str) -> &str {
    arn.split(":targetgroup/").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or(arn)
}

/// The items of an answer. What is within further `item`s is not their own: a security group's rules name other groups.
fn read(xml: &str, id: &str) -> Vec<Placed> {
    let placed = |item: &str| {
        let mut own = item.to_owned();
        for inner in outermost_items(item) {
            own = own.replace(&format!("<item>{inner}</item>"), "");
        }
        let free = signed::xml(&own, "availableIpAddressCount").and_then(|text| text.parse().ok());
        Some(Placed { id: signed::xml(&own, id)?, vpc: signed::xml(&own, "vpcId").unwrap_or_default(), free })
    };
    outermost_items(xml).into_iter().filter_map(placed).collect()
}

fn outermost_items(xml: &str) -> Vec<&str> {
    let (mut found, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    for (at, _) in xml.match_indices('<') {
        if xml[at..].starts_with("<item>") {
            depth += 1;
            if depth == 1 {
                start = at + "<item>".len();
            }
        } else if xml[at..].starts_with("</item>") {
            depth = depth.saturating_sub(1);
            if depth == 0 {
                found.extend(xml.get(start..at));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn items_are_read_without_what_is_within_them() {
        let xml = "<securityGroupInfo><item><groupId>sg-1</groupId><ipPermissions><item><groups><item><groupId>sg-9</groupId>\
                   <vpcId>vpc-9</vpcId></item></groups></item></ipPermissions><vpcId>vpc-1</vpcId></item>\
                   <item><groupId>sg-2</groupId><vpcId>vpc-2</vpcId></item></securityGroupInfo>";
        let of = |id: &str, vpc: &str| Placed { id: id.to_owned(), vpc: vpc.to_owned(), free: None };
        assert_eq!(read(xml, "groupId"), [of("sg-1", "vpc-1"), of("sg-2", "vpc-2")]);
        let subnets =
            "<item><subnetId>s-1</subnetId><vpcId>v</vpcId><availableIpAddressCount>7</availableIpAddressCount></item>";
        assert_eq!(read(subnets, "subnetId"), [Placed { free: Some(7), ..of("s-1", "v") }]);
        assert_eq!(read("</item><item>", "subnetId"), []);
    }

    fn said(look: Look) -> String {
        look.unwrap().map(|(message, _)| message).unwrap_or_default()
    }

    #[test]
    fn subnets_and_groups_must_be_there_and_of_one_vpc() {
        let of = |id: &str, vpc: &str, free| Placed { id: id.to_owned(), vpc: vpc.to_owned(), free: Some(free) };
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        let both = [of("a", "v1", 5), of("b", "v1", 5)];
        assert_eq!(said(subnets_fit(&both, &ids(&["a", "b"]), 10)), "");
        assert_eq!(said(subnets_fit(&both, &ids(&["a", "c"]), 1)), "there is no subnet c");
        assert_eq!(said(subnets_fit(&both, &ids(&["a", "b"]), 11)), "10 addresses are free in them, for 11 tasks");
        let two = [of("a", "v1", 5), of("b", "v2", 5)];
        assert_eq!(said(subnets_fit(&two, &ids(&["a", "b"]), 1)), "a is in v1, and b in v2");
        assert_eq!(said(groups_fit(&two, &ids(&["a"]), Some("v1"))), "b is in v2, and the subnets are in v1");
        assert_eq!(said(groups_fit(&both, &ids(&["a"]), Some("v1"))), "");
        assert_eq!(said(groups_fit(&both, &ids(&["z"]), None)), "there is no security group z");
    }

    #[test]
    fn the_load_balancer_s_container_and_port_must_be_there() {
        let documents = Documents {
            task_definition: json!({"containerDefinitions": [{"name": "web", "portMappings": [{"containerPort": 8080}]}]}),
            service: json!({}),
        };
        let of = |name: &str, port: u16| {
            said(port_is_mapped(&json!({"containerName": name, "containerPort": port}), &documents))
        };
        assert_eq!(of("web", 8080), "");
        assert_eq!(of("web", 80), "container web has no port 80");
        assert_eq!(of("app", 80), "the task definition has no container app");
    }
}
