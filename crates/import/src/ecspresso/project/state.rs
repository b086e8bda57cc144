//! Terraform states, version 4: attributes of resources and data sources, and outputs, by the addresses that Terraform prints.

use std::collections::BTreeMap;

use serde_json::Value;

#[derive(Debug)]
pub(super) struct State {
    /// `module.a.aws_lb.main["x"]`, `data.aws_vpc.main`, `output.subnets` → attributes or value.
    objects: BTreeMap<String, Value>,
}

/// What a file named as a state turned out to be.
#[derive(Debug)]
pub(super) enum Read {
    State(State),
    /// `.terraform/terraform.tfstate`: the state itself is in S3.
    Bucket {
        bucket: String,
        key: String,
        region: Option<String>,
    },
}

/// `workspace`: Terraform's, empty for `default`.
pub(super) fn read(text: &str, workspace: &str) -> Result<Read, String> {
    let mut json: Value = serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
    if json["backend"].is_object() {
        return remote(&json["backend"], workspace);
    }
    if json["version"] != 4 {
        return Err("it is not a Terraform state of version 4".to_owned());
    }
    let mut objects = BTreeMap::new();
    if let Value::Object(outputs) = json["outputs"].take() {
        objects.extend(outputs.into_iter().map(|(name, output)| (format!("output.{name}"), output_value(output))));
    }
    if let Value::Array(resources) = json["resources"].take() {
        resources.into_iter().for_each(|resource| add(resource, &mut objects));
    }
    Ok(Read::State(State { objects }))
}

fn remote(backend: &Value, workspace: &str) -> Result<Read, String> {
    let kind = backend["type"].as_str().unwrap_or_default();
    if kind != "s3" {
        return Err(format!("it refers to a state in the backend `{kind}`; only `s3` is read"));
    }
    let text = |key: &str| backend["config"][key].as_str().filter(|text| !text.is_empty());
    let (Some(bucket), Some(key)) = (text("bucket"), text("key")) else {
        return Err("its backend `s3` names no bucket or no key".to_owned());
    };
    let key = match workspace.trim() {
        "" | "default" => key.to_owned(),
        workspace => format!("{}/{workspace}/{key}", text("workspace_key_prefix").unwrap_or("env:")),
    };
    Ok(Read::Bucket { bucket: bucket.to_owned(), key, region: text("region").map(str::to_owned) })
}

/// An output as Terraform keeps it: `{"value": …, "type": …}`.
fn output_value(output: Value) -> Value {
    match output {
        Value::Object(mut map) if map.contains_key("value") && map.contains_key("type") => {
            map.remove("value").unwrap_or_default()
        }
        other => other,
    }
}

fn add(mut resource: Value, objects: &mut BTreeMap<String, Value>) {
    let text = |key: &str| resource[key].as_str().unwrap_or_default().to_owned();
    let data = match text("mode").as_str() {
        "managed" => "",
        "data" => "data.",
        _ => return,
    };
    let module = Some(text("module")).filter(|module| !module.is_empty()).map_or(String::new(), |m| format!("{m}."));
    let (kind, name) = (text("type"), text("name"));
    let address = format!("{module}{data}{kind}.{name}");
    let Value::Array(instances) = resource["instances"].take() else { return };
    for mut instance in instances {
        let index = match instance["index_key"].take() {
            Value::Null => String::new(),
            index => format!("[{index}]"),
        };
        let mut attributes = instance["attributes"].take();
        if attributes.is_null() {
            attributes = instance["attributes_flat"].take();
        }
        if kind == "terraform_remote_state"
            && let Value::Object(map) = &mut attributes
        {
            map.values_mut().for_each(|value| *value = output_value(value.take()));
        }
        objects.insert(format!("{address}{index}"), attributes);
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Miss {
    /// Nothing of that address, or null.
    Absent,
    /// More than a path: what it means is jq's business.
    NotUnderstood,
}

impl State {
    /// `aws_lb.main.arn`, `output.subnets[0]`, `aws_subnet.az["a"].tags.Name`; `'` stands for `"`.
    pub(super) fn get(&self, address: &str) -> Result<Value, Miss> {
        let address = address.replace('\'', "\"");
        let begins = |name: &&String| {
            address.strip_prefix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let name = self.objects.keys().filter(begins).max_by_key(|name| name.len()).ok_or(Miss::Absent)?;
        let mut at = &self.objects[name];
        for step in path(&address[name.len()..]).ok_or(Miss::NotUnderstood)? {
            at = match step {
                Step::Key(key) => at.get(&key),
                Step::Index(index) => at.as_array().and_then(|items| {
                    let index = if index < 0 { i64::try_from(items.len()).ok()? + index } else { index };
                    items.get(usize::try_from(index).ok()?)
                }),
            }
            .ok_or(Miss::Absent)?;
        }
        if at.is_null() { Err(Miss::Absent) } else { Ok(at.clone()) }
    }
}

enum Step {
    Key(String),
    Index(i64),
}

fn path(text: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[').or_else(|| rest.strip_prefix(".[")) {
            let (step, after) = match inside.strip_prefix('"') {
                Some(quoted) => {
                    let (key, after) = quoted.split_once("\"]")?;
                    (Step::Key(key.to_owned()), after)
                }
                None => {
                    let (index, after) = inside.split_once(']')?;
                    (Step::Index(index.parse().ok()?), after)
                }
            };
            steps.push(step);
            rest = after;
        } else {
            let after = rest.strip_prefix('.')?;
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let key = &after[..end];
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            if key.is_empty() || !key.chars().all(plain) {
                return None;
            }
            steps.push(Step::Key(key.to_owned()));
            rest = &after[end..];
        }
    }
    Some(steps)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    fn state() -> State {
        let text = json!({
            "version": 4,
            "outputs": {
                "subnets": {"value": ["subnet-a", "subnet-b"], "type": ["list", "string"]},
                "subnets-2": {"value": "x", "type": "string"}
            },
            "resources": [
                {"mode": "managed", "type": "aws_lb", "name": "main", "instances": [{"attributes": {"arn": "arn:lb", "tags": {"a-b": "c"}, "none": null}}]},
                {"mode": "managed", "type": "aws_subnet", "name": "az", "instances": [
                    {"index_key": "a", "attributes": {"id": "subnet-a"}}, {"index_key": 0, "attributes": {"id": "subnet-0"}}]},
                {"mode": "data", "type": "aws_vpc", "name": "main", "module": "module.network", "instances": [{"attributes_flat": {"id": "vpc-1"}}]},
                {"mode": "data", "type": "terraform_remote_state", "name": "base", "instances": [
                    {"attributes": {"outputs": {"value": {"cluster": "production"}, "type": "object"}}}]}
            ]
        });
        match read(&text.to_string(), "").unwrap() {
            Read::State(state) => state,
            Read::Bucket { .. } => panic!("no backend"),
        }
    }

    #[test]
    fn addresses_are_those_of_terraform() {
        let state = state();
        for (address, value) in [
            ("aws_lb.main.arn", json!("arn:lb")),
            ("aws_lb.main.tags.a-b", json!("c")),
            ("aws_lb.main.tags[\"a-b\"]", json!("c")),
            ("aws_subnet.az['a'].id", json!("subnet-a")),
            ("aws_subnet.az[0].id", json!("subnet-0")),
            ("module.network.data.aws_vpc.main.id", json!("vpc-1")),
            ("data.terraform_remote_state.base.outputs.cluster", json!("production")),
            ("output.subnets[1]", json!("subnet-b")),
            ("output.subnets[-1]", json!("subnet-b")),
            ("output.subnets", json!(["subnet-a", "subnet-b"])),
            ("output.subnets-2", json!("x")),
        ] {
            assert_eq!(state.get(address), Ok(value), "{address}");
        }
        for address in [
            "",
            "aws_lb",
            "aws_lb.main.none",
            "aws_lb.mainly.arn",
            "output.subnets[2]",
            "output.subnets[-3]",
            "output.x",
        ] {
            assert_eq!(state.get(address), Err(Miss::Absent), "{address}");
        }
        for address in
            ["output.subnets | length", "aws_lb.main.arn | x", "output.subnets[]", "output.subnets[", "aws_lb.main."]
        {
            assert!(state.get(address).is_err(), "{address}");
        }
    }

    #[test]
    fn a_state_that_is_elsewhere_says_where() {
        let text = json!({"version": 3, "backend": {"type": "s3", "config":
            {"bucket": "b", "key": "a/terraform.tfstate", "region": "eu-west-1", "workspace_key_prefix": null}}});
        let of = |workspace: &str| match read(&text.to_string(), workspace).unwrap() {
            Read::Bucket { bucket, key, region } => (bucket, key, region),
            Read::State(_) => panic!("a backend"),
        };
        assert_eq!(of(""), ("b".into(), "a/terraform.tfstate".into(), Some("eu-west-1".into())));
        assert_eq!(of("staging\n").1, "env:/staging/a/terraform.tfstate");
        for text in
            ["", "[]", "{}", r#"{"version": 3}"#, r#"{"backend": {"type": "gcs"}}"#, r#"{"backend": {"type": "s3"}}"#]
        {
            assert!(read(text, "").is_err(), "{text}");
        }
    }
}
