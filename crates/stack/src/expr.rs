//! Values that CloudFormation works out, and the names by which they refer to resources.

use std::fmt;

use serde::ser::{Serialize, SerializeMap, Serializer};

/// A logical id: letters and digits, up to 255
/// (<https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/resources-section-structure.html>).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(String);

impl Id {
    /// Names of the manifest and words of ours, each with a capital: `["my-web", "Service"]` is `MyWebService`.
    pub fn of(parts: &[&str]) -> Self {
        let mut id = String::new();
        for word in parts.iter().flat_map(|part| part.split(|c: char| !c.is_ascii_alphanumeric())) {
            let mut letters = word.chars();
            id.extend(letters.next().map(|first| first.to_ascii_uppercase()));
            id.push_str(letters.as_str());
        }
        Self(id)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// A value, or how CloudFormation comes by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expr {
    Text(String),
    /// The resource's usual handle (a name, an id or an ARN: its type's documentation says), or a parameter's value.
    Ref(Id),
    Attribute(Id, &'static str),
    /// `${Resource}`, `${Resource.Attribute}` and `${AWS::Region}` are replaced.
    Sub(String),
    /// `AWS::Region` and its like.
    Pseudo(&'static str),
    /// One of the region's zones, counted from 0.
    Zone(u8),
    /// What another stack exports under this name.
    Import(String),
}

impl Expr {
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub fn sub(text: impl Into<String>) -> Self {
        Self::Sub(text.into())
    }

    /// Text that may hold what CloudFormation knows of the stack's place.
    pub fn filled(text: &str) -> Self {
        match text {
            "${AWS::Partition}" => Self::Pseudo("AWS::Partition"),
            "${AWS::Region}" => Self::Pseudo("AWS::Region"),
            "${AWS::AccountId}" => Self::Pseudo("AWS::AccountId"),
            text if text.contains("${AWS::") => Self::sub(text),
            text => Self::text(text),
        }
    }

    /// As a part of a [`Expr::Sub`].
    pub(crate) fn within(&self) -> String {
        match self {
            Self::Text(text) => text.replace("${", "${!"),
            Self::Ref(id) => format!("${{{id}}}"),
            Self::Attribute(id, attribute) => format!("${{{id}.{attribute}}}"),
            Self::Sub(text) => text.clone(),
            Self::Pseudo(name) => format!("${{{name}}}"),
            Self::Zone(_) => "${AWS::Region}".to_owned(),
            // No text holds an import: whoever needs one gives it as a value of its own.
            Self::Import(name) => name.clone(),
        }
    }
}

impl From<&str> for Expr {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Expr {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&Id> for Expr {
    fn from(id: &Id) -> Self {
        Self::Ref(id.clone())
    }
}

impl Serialize for Expr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fn one<S: Serializer>(serializer: S, name: &'static str, value: &impl Serialize) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(Some(1))?;
            map.serialize_entry(name, value)?;
            map.end()
        }
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Ref(id) => one(serializer, "Ref", id),
            Self::Pseudo(name) => one(serializer, "Ref", name),
            Self::Attribute(id, attribute) => one(serializer, "Fn::GetAtt", &[id.as_str(), *attribute]),
            Self::Sub(text) => one(serializer, "Fn::Sub", text),
            Self::Import(name) => one(serializer, "Fn::ImportValue", name),
            Self::Zone(index) => one(serializer, "Fn::Select", &(index, serde_json::json!({ "Fn::GetAZs": "" }))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_the_manifest_s_names() {
        assert_eq!(Id::of(&["web", "Service"]).as_str(), "WebService");
        assert_eq!(Id::of(&["my-web", "TargetGroup"]).as_str(), "MyWebTargetGroup");
        assert_eq!(Id::of(&["a_b.c", "1"]).as_str(), "ABC1");
    }

    #[test]
    fn values_as_cloudformation_reads_them() {
        let json = |expr: Expr| serde_json::to_string(&expr).unwrap();
        let id = Id::of(&["web"]);
        assert_eq!(json(Expr::text("a")), r#""a""#);
        assert_eq!(json(Expr::from(&id)), r#"{"Ref":"Web"}"#);
        assert_eq!(json(Expr::Attribute(id, "Arn")), r#"{"Fn::GetAtt":["Web","Arn"]}"#);
        assert_eq!(json(Expr::Zone(1)), r#"{"Fn::Select":[1,{"Fn::GetAZs":""}]}"#);
        assert_eq!(Expr::text("a${b}").within(), "a${!b}");
    }
}
