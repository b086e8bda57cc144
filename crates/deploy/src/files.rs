//! Files that other tools hand over: CodePipeline's `imagedefinitions.json` and `imageDetail.json`, and task definitions as the
//! GitHub action "amazon-ecs-deploy-task-definition" takes them. Read from text, so that the caller says where it came from.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// What is wrong with a file, where in it, and what it should be. The caller puts the file's name before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FileError(String);

/// Images by container.
pub type Images = BTreeMap<String, String>;

/// `imagedefinitions.json`, as CodePipeline's ECS action takes it: `[{"name": "web", "imageUri": "…"}]`.
///
/// # Errors
/// What is no JSON, no such list, or names a container twice or not at all.
pub fn image_definitions(text: &str) -> Result<Images, FileError> {
    const SHAPE: &str = "it should be a list like [{\"name\": \"web\", \"imageUri\": \"registry/app:tag\"}]";
    let Value::Array(entries) = json(text)? else { return Err(FileError(format!("not a list: {SHAPE}"))) };
    if entries.is_empty() {
        return Err(FileError(format!("the list is empty, so that nothing would be deployed: {SHAPE}")));
    }
    let mut images = Images::new();
    for (at, entry) in entries.iter().enumerate() {
        let field = |name: &str| {
            let value = entry.get(name).and_then(Value::as_str).map(str::trim).filter(|value| !value.is_empty());
            value.ok_or_else(|| FileError(format!("entry {} has no \"{name}\": {SHAPE}", at + 1)))
        };
        let (name, image) = (field("name")?, field("imageUri")?);
        check_image(image).map_err(|error| FileError(format!("entry {} ({name}): {error}", at + 1)))?;
        if images.insert(name.to_owned(), image.to_owned()).is_some() {
            return Err(FileError(format!("entry {}: container {name} is named twice", at + 1)));
        }
    }
    Ok(images)
}

/// `imageDetail.json`, as an ECR source or CodeBuild hands it to CodePipeline: the image in `ImageURI`.
///
/// # Errors
/// What is no JSON or has no `ImageURI`.
pub fn image_detail(text: &str) -> Result<String, FileError> {
    let detail = json(text)?;
    let image = detail.get("ImageURI").and_then(Value::as_str).map(str::trim).filter(|image| !image.is_empty());
    let image = image.ok_or_else(|| {
        FileError("no \"ImageURI\": it should be {\"ImageURI\": \"registry/app@sha256:…\"}".to_owned())
    })?;
    check_image(image)?;
    Ok(image.to_owned())
}

fn check_image(image: &str) -> Result<(), FileError> {
    if image.chars().any(|c| c.is_whitespace() || c.is_control()) || image.contains("://") || image.starts_with('<') {
        return Err(FileError(format!("{image:?} is no image reference: it should be like registry/app:tag")));
    }
    Ok(())
}

/// What the action leaves out because RegisterTaskDefinition does not take it.
const READ_ONLY: &[&str] = &[
    "compatibilities",
    "deregisteredAt",
    "registeredAt",
    "registeredBy",
    "requiresAttributes",
    "revision",
    "status",
    "taskDefinitionArn",
];

/// A task definition as JSON: what RegisterTaskDefinition takes, or the answer of a describe, whole or without its wrapping.
///
/// # Errors
/// As of `task_definition_of`, and what is no JSON.
pub fn task_definition(text: &str) -> Result<Value, FileError> {
    task_definition_of(json(text)?)
}

/// What RegisterTaskDefinition takes: without what only a describe tells, and without empty values, as the action sends it. A
/// variable without a value stays one.
///
/// # Errors
/// What has no family, or no container with a name; containers that share one.
pub fn task_definition_of(document: Value) -> Result<Value, FileError> {
    let mut document = match document {
        Value::Object(mut outer) if outer.get("taskDefinition").is_some_and(Value::is_object) => {
            let tags = outer.remove("tags");
            let mut inner = outer.remove("taskDefinition").unwrap_or_default();
            if let (Value::Object(inner), Some(tags)) = (&mut inner, tags) {
                inner.entry("tags").or_insert(tags);
            }
            inner
        }
        other => other,
    };
    let Value::Object(fields) = &mut document else {
        return Err(FileError("a task definition is an object".to_owned()));
    };
    fields.retain(|name, _| !READ_ONLY.contains(&name.as_str()));
    if fields.get("family").and_then(Value::as_str).is_none_or(str::is_empty) {
        return Err(FileError("no \"family\": is this a task definition?".to_owned()));
    }
    let containers = fields.get("containerDefinitions").and_then(Value::as_array).filter(|all| !all.is_empty());
    let containers =
        containers.ok_or_else(|| FileError("no \"containerDefinitions\": give at least one".to_owned()))?;
    let mut names = std::collections::BTreeSet::new();
    for (at, container) in containers.iter().enumerate() {
        let name = container.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| FileError(format!("containerDefinitions[{at}] has no \"name\"")))?;
        if !names.insert(name) {
            return Err(FileError(format!("containerDefinitions[{at}]: container {name} is there twice")));
        }
    }
    // App Mesh's proxy takes empty values for what it shall ignore, and says so by them.
    let proxy = fields.remove("proxyConfiguration");
    clean(fields);
    if let Some(proxy) = proxy.filter(|proxy| !proxy.is_null()) {
        fields.insert("proxyConfiguration".to_owned(), proxy);
    }
    Ok(document)
}

fn clean(fields: &mut Map<String, Value>) {
    for value in fields.values_mut() {
        clean_value(value);
    }
    // `{"name": "X", "value": ""}` is the variable X with an empty value.
    let pair = fields.contains_key("name");
    fields.retain(|name, value| pair && name == "value" && value.is_string() || !empty(value));
}

fn clean_value(value: &mut Value) {
    match value {
        Value::Object(fields) => clean(fields),
        Value::Array(list) => {
            list.iter_mut().for_each(clean_value);
            // Elements of a command may well be empty strings.
            list.retain(|value| value.is_string() || !empty(value));
        }
        _ => {}
    }
}

fn empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// Puts images into the containers of those names, as CodePipeline and the action's "render" step do.
///
/// # Errors
/// A container that the task definition does not have.
pub fn put_images(definition: &mut Value, images: &Images) -> Result<(), FileError> {
    let mut containers: BTreeMap<String, &mut Value> = BTreeMap::new();
    for container in definition["containerDefinitions"].as_array_mut().into_iter().flatten() {
        if let Some(name) = container["name"].as_str() {
            containers.insert(name.to_owned(), container);
        }
    }
    let there = containers.keys().cloned().collect::<Vec<_>>().join(", ");
    for (name, image) in images {
        let Some(container) = containers.get_mut(name) else {
            return Err(FileError(format!("there is no container {name} in the task definition; it has {there}")));
        };
        container["image"] = image.as_str().into();
    }
    Ok(())
}

fn json(text: &str) -> Result<Value, FileError> {
    // Windows' editors begin files with a byte order mark, which no JSON parser takes.
    serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|error| FileError(format!("not JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said<T: std::fmt::Debug>(result: Result<T, FileError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn image_definitions_are_read_or_refused_with_their_place() {
        let read = image_definitions("\u{feff}[{\"name\": \"web\", \"imageUri\": \"r/app@sha256:aa\"}]").unwrap();
        assert_eq!(read, Images::from([("web".to_owned(), "r/app@sha256:aa".to_owned())]));
        assert!(said(image_definitions("[{]")).starts_with("not JSON: key must be a string at line 1 column 3"));
        assert!(said(image_definitions("{\"ImageURI\": \"x\"}")).starts_with("not a list: it should be a list like"));
        assert!(said(image_definitions("[]")).contains("empty"));
        let second = "[{\"name\": \"a\", \"imageUri\": \"x\"}, {\"name\": \"b\"}]";
        assert!(said(image_definitions(second)).starts_with("entry 2 has no \"imageUri\""));
        let twice = "[{\"name\": \"a\", \"imageUri\": \"x\"}, {\"name\": \"a\", \"imageUri\": \"y\"}]";
        assert!(said(image_definitions(twice)).contains("named twice"));
        for bad in ["<IMAGE1_NAME>", "https://r/x", "a b"] {
            let text = json!([{"name": "web", "imageUri": bad}]).to_string();
            assert!(said(image_definitions(&text)).starts_with("entry 1 (web): "), "{bad}");
        }
    }

    #[test]
    fn image_details_are_read() {
        let whole = r#"{"ImageSizeInBytes": "1", "ImageURI": "r/app@sha256:aa", "ImageTags": ["x"]}"#;
        assert_eq!(image_detail(whole).unwrap(), "r/app@sha256:aa");
        assert!(said(image_detail("{}")).contains("ImageURI"));
        assert!(said(image_detail("[]")).contains("ImageURI"));
    }

    #[test]
    fn a_described_task_definition_becomes_one_that_can_be_registered() {
        let described = json!({
            "taskDefinition": {
                "taskDefinitionArn": "arn", "revision": 3, "status": "ACTIVE", "registeredAt": "2026", "compatibilities": ["EC2"],
                "family": "web", "taskRoleArn": "", "volumes": [], "pidMode": null,
                "containerDefinitions": [{
                    "name": "web", "image": "a:1", "command": ["sh", "-c", ""], "links": [], "logConfiguration": {"options": {}},
                    "environment": [{"name": "A", "value": ""}, {"name": "B", "value": "b"}]
                }],
                "proxyConfiguration": {"type": "APPMESH", "properties": [{"name": "IgnoredUID", "value": ""}]}
            },
            "tags": [{"key": "team", "value": "x"}]
        });
        assert_eq!(
            task_definition(&described.to_string()).unwrap(),
            json!({
                "family": "web",
                "containerDefinitions": [{
                    "name": "web", "image": "a:1", "command": ["sh", "-c", ""],
                    "environment": [{"name": "A", "value": ""}, {"name": "B", "value": "b"}]
                }],
                "proxyConfiguration": {"type": "APPMESH", "properties": [{"name": "IgnoredUID", "value": ""}]},
                "tags": [{"key": "team", "value": "x"}]
            })
        );
    }

    #[test]
    fn what_is_no_task_definition_is_refused() {
        assert!(said(task_definition("[]")).contains("object"));
        assert!(said(task_definition("{}")).contains("family"));
        assert!(said(task_definition(r#"{"family": "f"}"#)).contains("containerDefinitions"));
        let nameless = r#"{"family": "f", "containerDefinitions": [{"name": "a"}, {}]}"#;
        assert_eq!(said(task_definition(nameless)), "containerDefinitions[1] has no \"name\"");
        let twice = r#"{"family": "f", "containerDefinitions": [{"name": "a"}, {"name": "a"}]}"#;
        assert!(said(task_definition(twice)).contains("there twice"));
    }

    #[test]
    fn images_go_into_the_containers_of_their_names() {
        let mut definition = json!({"family": "f", "containerDefinitions": [{"name": "web", "image": "old"}, {"name": "log", "image": "l"}]});
        put_images(&mut definition, &Images::from([("web".to_owned(), "new".to_owned())])).unwrap();
        assert_eq!(definition["containerDefinitions"][0]["image"], "new");
        assert_eq!(definition["containerDefinitions"][1]["image"], "l");
        let error = said(put_images(&mut definition, &Images::from([("app".to_owned(), "new".to_owned())])));
        assert_eq!(error, "there is no container app in the task definition; it has log, web");
    }
}
