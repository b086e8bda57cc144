//! What a template would change, and values of a template worked out.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::Resource;

/// Properties that cannot be changed in place, of the types that tests use; a task definition has no others.
const REPLACED: &[(&str, &str)] = &[
    ("AWS::EC2::VPC", "CidrBlock"),
    ("AWS::EC2::Subnet", "CidrBlock"),
    ("AWS::EC2::SecurityGroup", "GroupDescription"),
    ("AWS::ECS::Cluster", "ClusterName"),
    ("AWS::ECS::Service", "ServiceName"),
    ("AWS::ECS::Service", "LaunchType"),
    ("AWS::ElasticLoadBalancingV2::TargetGroup", "Port"),
    ("AWS::ElasticLoadBalancingV2::LoadBalancer", "Scheme"),
    ("AWS::Logs::LogGroup", "LogGroupName"),
];

/// Without those whose condition does not hold.
pub(super) fn resources(template: &Value, parameters: &BTreeMap<String, String>) -> Vec<(String, Value)> {
    let all = template["Resources"].as_object().cloned().unwrap_or_default();
    let there =
        |(_, one): &(String, Value)| one["Condition"].as_str().is_none_or(|name| holds(template, parameters, name));
    all.into_iter().filter(there).collect()
}

/// Of conditions those that compare a parameter with a text.
fn holds(template: &Value, parameters: &BTreeMap<String, String>, condition: &str) -> bool {
    let sides = &template["Conditions"][condition]["Fn::Equals"];
    let side = |at: usize| {
        let side = &sides[at];
        let named = side["Ref"].as_str().and_then(|name| {
            let default = || template["Parameters"][name]["Default"].as_str().map(str::to_owned);
            parameters.get(name).cloned().or_else(default)
        });
        named.or_else(|| side.as_str().map(str::to_owned))
    };
    side(0).is_some() && side(0) == side(1)
}

pub(super) fn kind(resource: &Value) -> String {
    resource["Type"].as_str().unwrap_or_default().to_owned()
}

/// With parameters in the place of references to them; those to `replaced` resources change.
fn worked_out(value: &Value, parameters: &BTreeMap<String, String>, replaced: &BTreeSet<String>) -> Value {
    match value {
        Value::Object(map) => match map.get("Ref").and_then(Value::as_str) {
            Some(name) if map.len() == 1 => match parameters.get(name) {
                Some(value) => json!(value),
                None if replaced.contains(name) => json!({"Ref": name, "new": true}),
                None => value.clone(),
            },
            _ => map.iter().map(|(key, value)| (key.clone(), worked_out(value, parameters, replaced))).collect(),
        },
        Value::Array(items) => items.iter().map(|item| worked_out(item, parameters, replaced)).collect(),
        other => other.clone(),
    }
}

/// As DescribeChangeSet lists them.
pub(super) fn changes(
    old: (&Value, &BTreeMap<String, String>),
    new: (&Value, &BTreeMap<String, String>),
    there: &BTreeMap<String, Resource>,
) -> Vec<Value> {
    let before: BTreeMap<String, Value> = resources(old.0, old.1).into_iter().collect();
    let after: BTreeMap<String, Value> = resources(new.0, new.1).into_iter().collect();
    let nothing = BTreeSet::new();
    let mut replaced = BTreeSet::new();
    let mut rows = Vec::new();
    // A second look: what refers to what is replaced changes too.
    for _ in 0..2 {
        rows.clear();
        for (name, resource) in &after {
            let kind = kind(resource);
            let Some(former) = before.get(name) else {
                rows.push(json!({"Action": "Add", "LogicalResourceId": name, "ResourceType": kind}));
                continue;
            };
            let of = |value: &Value, parameters, replaced: &BTreeSet<String>| {
                worked_out(&value["Properties"], parameters, replaced).as_object().cloned().unwrap_or_default()
            };
            let (a, b) = (of(former, old.1, &nothing), of(resource, new.1, &replaced));
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).filter(|key| a.get(*key) != b.get(*key)).collect();
            if keys.is_empty() {
                continue;
            }
            let whole = kind == "AWS::ECS::TaskDefinition";
            let replaces = whole || keys.iter().any(|key| REPLACED.contains(&(kind.as_str(), key.as_str())));
            if replaces {
                replaced.insert(name.clone());
            }
            let detail = |key: &&String| json!({"Target": {"Attribute": "Properties", "Name": key}});
            rows.push(json!({
                "Action": "Modify",
                "LogicalResourceId": name,
                "PhysicalResourceId": there.get(name).map(|one| one.physical.clone()),
                "ResourceType": kind,
                "Replacement": if replaces { "True" } else { "False" },
                "Scope": ["Properties"],
                "Details": keys.iter().map(detail).collect::<Vec<_>>(),
            }));
        }
        for (name, resource) in before.iter().filter(|(name, _)| !after.contains_key(*name)) {
            let policy = resource["DeletionPolicy"].as_str().unwrap_or("Delete");
            rows.push(json!({
                "Action": "Remove",
                "LogicalResourceId": name,
                "PhysicalResourceId": there.get(name).map(|one| one.physical.clone()),
                "ResourceType": kind(resource),
                "PolicyAction": policy,
            }));
        }
    }
    rows.into_iter().map(|row| json!({"Type": "Resource", "ResourceChange": row})).collect()
}

/// A value as text, with physical ids in the place of references.
fn text(value: &Value, parameters: &BTreeMap<String, String>, there: &BTreeMap<String, Resource>) -> String {
    let of = |name: &str| {
        let physical = there.get(name).map(|one| one.physical.clone());
        parameters.get(name).cloned().or(physical).unwrap_or_else(|| name.to_owned())
    };
    match value {
        Value::String(text) => text.clone(),
        Value::Object(map) => match map.iter().next() {
            Some((key, Value::String(name))) if key == "Ref" => of(name),
            Some((key, Value::String(text))) if key == "Fn::Sub" => {
                let mut out = text.clone();
                for name in there.keys().chain(parameters.keys()) {
                    out = out
                        .replace(&format!("${{{name}}}"), &of(name))
                        .replace(&format!("${{{name}."), &format!("${{{}.", of(name)));
                }
                out.replace(['$', '{', '}'], "").to_lowercase()
            }
            Some((key, Value::Array(items))) if key == "Fn::GetAtt" => {
                let part = |at: usize| items.get(at).and_then(Value::as_str).unwrap_or_default();
                format!("{}.{}", of(part(0)), part(1).to_lowercase())
            }
            _ => value.to_string(),
        },
        other => other.to_string(),
    }
}

pub(super) fn outputs(
    template: &Value,
    parameters: &BTreeMap<String, String>,
    there: &BTreeMap<String, Resource>,
) -> Vec<Value> {
    let none = Map::new();
    let all = template["Outputs"].as_object().unwrap_or(&none);
    all.iter()
        .map(|(key, one)| {
            json!({
                "OutputKey": key,
                "OutputValue": text(&one["Value"], parameters, there),
                "Description": one["Description"],
                "ExportName": one["Export"].get("Name").map(|name| text(name, parameters, there)),
            })
        })
        .collect()
}
