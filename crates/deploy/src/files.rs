//! Files that other tools hand over: CodePipeline's `imagedefinitions.json`. Read from text, so that the caller says where it
//! came from.

use std::collections::BTreeMap;

use serde_json::Value;

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

fn check_image(image: &str) -> Result<(), FileError> {
    if image.chars().any(|c| c.is_whitespace() || c.is_control()) || image.contains("://") || image.starts_with('<') {
        return Err(FileError(format!("{image:?} is no image reference: it should be like registry/app:tag")));
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
}
