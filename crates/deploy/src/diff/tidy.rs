//! Documents as they come, made comparable: unwrapped, without what is only told and never asked for, in one spelling.

use landfall_model::documents::{SERVICE_TOLD, TASK_DEFINITION_TOLD};
use landfall_model::inventory::TAG_ENVIRONMENT;
use serde_json::{Map, Value, json};

use super::Kind;

/// Tags that Landfall and AWS put on by themselves: they name executions and stacks, and never are a difference.
const OWN_TAGS: &[&str] = &["landfall.", "aws:"];

/// What only a request says, and how Application Auto Scaling's limits are handed over.
const BESIDE_A_SERVICE: [&str; 3] = ["clientToken", "forceNewDeployment", "scalableTarget"];

/// What a describe tells only of deployments.
const OF_DEPLOYMENTS: [&str; 3] = ["serviceConnectConfiguration", "volumeConfigurations", "vpcLatticeConfigurations"];

pub(super) fn both(kind: Kind, from: &Value, to: &Value) -> (Value, Value) {
    let (mut from, mut to) = (unwrapped(kind, from), unwrapped(kind, to));
    match kind {
        Kind::TaskDefinition => [&mut from, &mut to].into_iter().for_each(task_definition),
        Kind::Service => services(&mut from, &mut to),
    }
    let whole = |side: Map<String, Value>| if side.is_empty() { Value::Null } else { side.into() };
    (whole(from), whole(to))
}

/// `describe-task-definition` and `describe-services` answer with more around.
fn unwrapped(kind: Kind, document: &Value) -> Map<String, Value> {
    let inner = match kind {
        Kind::TaskDefinition => document.get("taskDefinition").filter(|inner| inner.is_object()),
        Kind::Service => {
            let listed = document.get("services").and_then(Value::as_array).and_then(|all| all.first());
            listed.or_else(|| document.get("service").filter(|inner| inner.is_object()))
        }
    };
    let mut fields = inner.unwrap_or(document).as_object().cloned().unwrap_or_default();
    if let (Some(_), Some(tags)) = (inner, document.get("tags")) {
        fields.entry("tags").or_insert_with(|| tags.clone());
    }
    if let Some(Value::Array(tags)) = fields.get_mut("tags") {
        let own = |key: &str| key == TAG_ENVIRONMENT || OWN_TAGS.iter().any(|own| key.starts_with(own));
        let own = |tag: &Value| tag["key"].as_str().is_some_and(own);
        tags.retain(|tag| !own(tag));
    }
    fields
}

fn task_definition(fields: &mut Map<String, Value>) {
    TASK_DEFINITION_TOLD.iter().for_each(|key| drop(fields.remove(*key)));
    for (key, unit) in [("cpu", "vcpu"), ("memory", "gb")] {
        if let Some(number) = fields.get(key).and_then(|value| size(value, unit)) {
            fields.insert(key.to_owned(), number);
        }
    }
    // Where the container has the host's ports, or an address of its own, the host's port is the container's.
    let own = matches!(fields.get("networkMode").and_then(Value::as_str), Some("awsvpc" | "host"));
    let containers = fields.get_mut("containerDefinitions").and_then(Value::as_array_mut).into_iter().flatten();
    for mapping in containers.filter_map(|container| container.get_mut("portMappings")?.as_array_mut()).flatten() {
        if let Some(mapping) = mapping.as_object_mut()
            && own
            && (mapping.get("hostPort") == mapping.get("containerPort") || mapping.get("hostPort") == Some(&json!(0)))
        {
            mapping.remove("hostPort");
        }
    }
}

/// `"256"`, `256`, `"0.25 vCPU"`, `"0.5 GB"`: CPU units and MiB.
fn size(value: &Value, unit: &str) -> Option<Value> {
    let Value::String(text) = value else { return None };
    let text = text.trim().to_ascii_lowercase();
    if let Ok(number) = text.parse::<u64>() {
        return Some(json!(number));
    }
    let number: f64 = text.strip_suffix(unit)?.trim().parse().ok()?;
    format!("{:.0}", number * 1024.0).parse::<u64>().ok().map(Value::from)
}

fn services(from: &mut Map<String, Value>, to: &mut Map<String, Value>) {
    let scaled = from.contains_key("scalableTarget") || to.contains_key("scalableTarget");
    let text = |side: &Map<String, Value>, key: &str| side.get(key).and_then(Value::as_str).map(str::to_owned);
    let daemon = [&*from, &*to].iter().any(|side| text(side, "schedulingStrategy").as_deref() == Some("DAEMON"));
    let controller = from.get("deploymentController").and_then(|controller| controller["type"].as_str());
    let elsewhere = matches!(controller, Some("CODE_DEPLOY" | "EXTERNAL"));
    for side in [&mut *from, &mut *to] {
        service(side);
        if scaled || daemon {
            side.remove("desiredCount");
        }
        // CodeDeploy moves traffic between task sets; what the service says of them is history.
        if elsewhere {
            ["loadBalancers", "taskDefinition", "networkConfiguration", "platformVersion", "launchType"]
                .iter()
                .for_each(|key| drop(side.remove(*key)));
        }
        if daemon && let Some(Value::Object(deployment)) = side.get_mut("deploymentConfiguration") {
            // A daemon's own defaults, of which ours would be differences.
            deployment.entry("maximumPercent").or_insert(json!(100));
            deployment.entry("minimumHealthyPercent").or_insert(json!(0));
        }
    }
    same_colour(from, to);
}

/// What a service's document asks for, be it a request's or a describe's: without what is only told, and with what a describe
/// tells of its deployments alone.
pub fn service_settings(fields: &mut Map<String, Value>) {
    let deployments =
        fields.get_mut("deployments").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default();
    if let Some(mut primary) = deployments.into_iter().find(|deployment| deployment["status"] == "PRIMARY") {
        for key in OF_DEPLOYMENTS {
            if let Some(value) = primary.get_mut(key).map(Value::take) {
                fields.entry(key).or_insert(value);
            }
        }
    }
    SERVICE_TOLD.iter().chain(&BESIDE_A_SERVICE).for_each(|key| drop(fields.remove(*key)));
}

fn service(fields: &mut Map<String, Value>) {
    service_settings(fields);
    if let Some(cluster) = fields.remove("clusterArn") {
        fields.entry("cluster").or_insert(cluster);
    }
    if let Some(role) = fields.remove("roleArn") {
        fields.entry("role").or_insert(role);
    }
    if fields.get("role").and_then(Value::as_str).is_some_and(|role| role.contains("AWSServiceRoleForECS")) {
        fields.remove("role");
    }
    // Its content is compared on its own; a new revision of the same content is no difference.
    if let Some(definition) = fields.get("taskDefinition").and_then(Value::as_str) {
        let name = definition.rsplit('/').next().unwrap_or(definition);
        let family = name.split(':').next().unwrap_or(name).to_owned();
        fields.insert("taskDefinition".to_owned(), family.into());
    }
}

/// Blue/green deployments swap a service's two target groups: which one has the traffic is no difference.
fn same_colour(from: &Map<String, Value>, to: &mut Map<String, Value>) {
    let live: Vec<Value> = from.get("loadBalancers").and_then(Value::as_array).cloned().unwrap_or_default();
    let wanted = to.get_mut("loadBalancers").and_then(Value::as_array_mut).into_iter().flatten();
    for balancer in wanted.filter_map(Value::as_object_mut) {
        let group = balancer.get("targetGroupArn").cloned().unwrap_or_default();
        let place = |other: &Value, key: &str| other.get(key) == balancer.get(key);
        let there = live.iter().find(|other| place(other, "containerName") && place(other, "containerPort"));
        let Some(there) = there else { continue };
        let other = |side: Option<&Value>| side.and_then(|side| side.get("alternateTargetGroupArn")).cloned();
        if !group.is_null() && other(there.get("advancedConfiguration")).as_ref() == Some(&group) {
            balancer.insert("targetGroupArn".to_owned(), there.get("targetGroupArn").cloned().unwrap_or_default());
            if let Some(Value::Object(advanced)) = balancer.get_mut("advancedConfiguration")
                && advanced.get("alternateTargetGroupArn") == there.get("targetGroupArn")
            {
                advanced.insert("alternateTargetGroupArn".to_owned(), group);
            }
        }
    }
}
