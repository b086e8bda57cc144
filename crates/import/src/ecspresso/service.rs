//! The service definition; a configuration without one runs tasks only.

use super::{Rendered, Values, Whole};
use crate::write::{Lines, with_variables};

/// What `describe-services` adds, and what says nothing.
const SILENT: &[&str] = &[
    "serviceArn",
    "serviceName",
    "clusterArn",
    "status",
    "runningCount",
    "pendingCount",
    "taskDefinition",
    "deployments",
    "roleArn",
    "events",
    "createdAt",
    "createdBy",
    "platformFamily",
    "taskSets",
    "currentServiceDeployment",
    "currentServiceRevisions",
    "enableECSManagedTags",
    "propagateTags",
    "launchType",
];
const REASONS: &[(&str, &str)] = &[
    ("capacityProviderStrategy", "only whether tasks run on Fargate is kept"),
    ("serviceRegistries", "service discovery is not set up"),
    ("serviceConnectConfiguration", "Service Connect is not set up"),
    ("enableExecuteCommand", "ECS Exec is not set up"),
    ("placementStrategy", "tasks are placed as ECS does by default"),
    ("placementConstraints", "tasks are placed as ECS does by default"),
    ("platformVersion", "the latest one is used"),
    ("alarms", "alarms are not watched yet"),
    ("strategy", "deployments are rolling"),
    ("bakeTimeInMinutes", "deployments are rolling"),
    ("lifecycleHooks", "deployments are rolling"),
    ("tags", "Landfall sets its own"),
    ("availabilityZoneRebalancing", "as ECS does by default"),
    ("volumeConfigurations", "volumes are not in a manifest"),
];

pub(super) fn is_fargate(service: Option<&Values<'_>>, task: &Values<'_>) -> bool {
    if let Some(service) = service {
        if let Some(launch_type) = service.map.text("launchType") {
            return launch_type.eq_ignore_ascii_case("fargate");
        }
        let providers = service.items("capacityProviderStrategy");
        if !providers.is_empty() {
            return providers
                .iter()
                .any(|one| one.map.text("capacityProvider").is_some_and(|name| name.starts_with("FARGATE")));
        }
    }
    task.map.texts("requiresCompatibilities").iter().any(|one| one == "FARGATE")
}

pub(super) fn write(service: Option<&Values<'_>>, timeout: Option<&str>, whole: &mut Whole, out: &mut Lines) {
    let Some(service) = service else {
        out.line(2, "desired_count: 0");
        whole.changes.differs("service_definition", "there is none: the task definition is for `landfall run` only");
        return;
    };
    match service.number("desiredCount", 0, 5_000) {
        Some(count) => out.line(2, format!("desired_count: {count}")),
        None => whole.changes.differs(
            "desiredCount",
            "is not given, so ecspresso left the count as it was; a service is created with 1, and a count that autoscaling changed is left alone",
        ),
    }
    deployment(service, timeout, whole, out);
    network(service, whole);
    balancer(service, whole, out);
    if service.map.text("schedulingStrategy").is_some_and(|strategy| strategy != "REPLICA") {
        whole.changes.dropped("schedulingStrategy", "daemons are not known: a service has a desired count");
    }
    let controller = service.map("deploymentController");
    if controller.map.text("type").is_some_and(|kind| kind != "ECS") {
        whole.changes.dropped("deploymentController", "CodeDeploy and task sets are not used: ECS deploys");
    }
    if service.map.at.get("capacityProviderStrategy").is_given() {
        whole
            .changes
            .dropped("capacityProviderStrategy", "only whether tasks run on Fargate is kept; Spot is not asked for");
    }
    whole.rest("", &service.map, &[SILENT, &["capacityProviderStrategy"]].concat(), REASONS);
}

fn deployment(service: &Values<'_>, timeout: Option<&str>, whole: &mut Whole, out: &mut Lines) {
    let deployment = service.map("deploymentConfiguration");
    let breaker = deployment.map("deploymentCircuitBreaker");
    out.line(2, "deployment:");
    for (key, theirs, most) in
        [("minimum_healthy_percent", "minimumHealthyPercent", 100), ("maximum_percent", "maximumPercent", 200)]
    {
        if let Some(percent) = deployment.number(theirs, 0, most) {
            out.line(3, format!("{key}: {percent}"));
        }
    }
    // ECS's default is none.
    let given = |key: &str| breaker.map.boolean(key).unwrap_or(false);
    out.line(3, format!("circuit_breaker: {{enable: {}, rollback: {}}}", given("enable"), given("rollback")));
    if let Some(grace) = service.number("healthCheckGracePeriodSeconds", 0, 2_147_483_647) {
        out.line(3, format!("health_check_grace_period: {grace}"));
    }
    if let Some(timeout) = timeout {
        out.line(3, format!("timeout: {}", with_variables(timeout)));
    }
    whole.rest("", &breaker.map, &[], REASONS);
    whole.rest("", &deployment.map, &[], REASONS);
}

fn network(service: &Values<'_>, whole: &mut Whole) {
    let configuration = service.map("networkConfiguration");
    let vpc = configuration.map("awsvpcConfiguration");
    whole.target.subnets = vpc.texts("subnets");
    whole.target.security_groups = vpc.texts("securityGroups");
    whole.target.public_ip = vpc.map.text("assignPublicIp").is_some_and(|text| text == "ENABLED");
    whole.rest("", &vpc.map, &[], &[]);
}

fn balancer(service: &Values<'_>, whole: &mut Whole, out: &mut Lines) {
    let all = service.items("loadBalancers");
    let Some(first) = all.first() else { return };
    whole.target.load_balancer = true;
    out.line(2, "load_balancer:");
    let container = first.map.required("containerName");
    if Rendered::has_token(&container) {
        first.map.reader().wrong(
            first.map.at.get("containerName"),
            "the container's name is a variable",
            "write the name itself",
        );
    }
    out.text(3, "container", &container);
    match first.number("containerPort", 1, 65_535) {
        Some(port) => out.line(3, format!("port: {port}")),
        None => first.map.missing("containerPort"),
    }
    first.map.get("targetGroupArn");
    for other in &all[1..] {
        let name = other.map.text("containerName").unwrap_or_default();
        whole.changes.dropped(
            "loadBalancers",
            format!("one container of a service receives traffic; `{}` does not", name.escape_default()),
        );
    }
    whole.rest("", &first.map, &["loadBalancerName"], &[("advancedConfiguration", "deployments are rolling")]);
}
