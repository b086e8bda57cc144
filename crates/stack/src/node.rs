//! A template as text. Types are written as JSON, which keeps their order, and read back as this tree, which leaves out what is not
//! said: nothing, and empty lists and maps. YAML has CloudFormation's short forms.

use std::fmt::{self, Write as _};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Nothing,
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
    List(Vec<Node>),
    /// In the order written.
    Map(Vec<(String, Node)>),
}

impl Node {
    pub(crate) fn of(value: &impl Serialize) -> Self {
        // What we write is JSON, and it is read back: neither can fail.
        let text = serde_json::to_string(value).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or(Self::Nothing)
    }

    fn is_said(&self) -> bool {
        match self {
            Self::Nothing => false,
            Self::List(items) => !items.is_empty(),
            Self::Map(entries) => !entries.is_empty(),
            Self::Bool(_) | Self::Number(_) | Self::Text(_) => true,
        }
    }

    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    pub(crate) fn compact(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    pub(crate) fn yaml(&self) -> String {
        let mut out = String::new();
        block(self, 0, &mut out);
        out
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tree;
        impl<'de> Visitor<'de> for Tree {
            type Value = Node;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Nothing)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
                Ok(Node::Bool(value))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
                Ok(Node::Number(value.into()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
                Ok(Node::Number(value.into()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
                Ok(serde_json::Number::from_f64(value).map_or(Node::Nothing, Node::Number))
            }
            fn visit_str<E>(self, value: &str) -> Result<Node, E> {
                Ok(Node::Text(value.to_owned()))
            }
            fn visit_string<E>(self, value: String) -> Result<Node, E> {
                Ok(Node::Text(value))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = access.next_element()? {
                    items.push(item);
                }
                Ok(Node::List(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
                let mut entries = Vec::new();
                while let Some((key, value)) = access.next_entry::<String, Node>()? {
                    if value.is_said() {
                        entries.push((key, value));
                    }
                }
                Ok(Node::Map(entries))
            }
        }
        deserializer.deserialize_any(Tree)
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nothing => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(number) => number.serialize(serializer),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => items.serialize(serializer),
            Self::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

/// `!Ref Web`, `!GetAtt Web.Arn`, `!Sub "…"`, `!Select [0, !GetAZs ""]`: what fits on a line as it is.
fn short(node: &Node) -> Option<String> {
    match node {
        Node::Nothing => Some("null".to_owned()),
        Node::Bool(value) => Some(value.to_string()),
        Node::Number(number) => Some(number.to_string()),
        Node::Text(text) => Some(scalar(text)),
        Node::List(items) if items.is_empty() => Some("[]".to_owned()),
        Node::Map(entries) if entries.is_empty() => Some("{}".to_owned()),
        Node::List(_) => None,
        Node::Map(entries) => {
            let [(name, value)] = entries.as_slice() else { return None };
            let tag = if name == "Ref" { "Ref" } else { name.strip_prefix("Fn::")? };
            let value = match value {
                Node::Text(text) if literal(text).is_some() => return None,
                Node::Text(text) => scalar(text),
                Node::List(items) if tag == "GetAtt" => {
                    let parts = items.iter().map(|item| if let Node::Text(text) = item { text } else { "" });
                    parts.collect::<Vec<_>>().join(".")
                }
                Node::List(items) => format!("[{}]", items.iter().map(short).collect::<Option<Vec<_>>>()?.join(", ")),
                _ => return None,
            };
            Some(format!("!{tag} {value}"))
        }
    }
}

fn block(node: &Node, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    match node {
        Node::Map(entries) => {
            for (index, (key, value)) in entries.iter().enumerate() {
                if depth == 0 && index > 0 {
                    out.push('\n');
                }
                let _ = write!(out, "{indent}{}:", scalar(key));
                below(value, depth, out);
                // Resources, parameters and outputs stand apart.
                if depth == 1 && short(value).is_none() && index + 1 < entries.len() {
                    out.push('\n');
                }
            }
        }
        Node::List(items) => {
            for item in items {
                match (short(item), item) {
                    (Some(text), _) => drop(writeln!(out, "{indent}- {text}")),
                    (None, item) => {
                        // The first line of the item follows the dash.
                        let mut inner = String::new();
                        block(item, depth + 1, &mut inner);
                        let _ = write!(out, "{indent}- {}", inner.trim_start_matches(' '));
                    }
                }
            }
        }
        other => drop(writeln!(out, "{indent}{}", short(other).unwrap_or_default())),
    }
}

fn below(value: &Node, depth: usize, out: &mut String) {
    if let Node::Text(text) = value
        && let Some(lines) = literal(text)
    {
        out.push_str(" |\n");
        let indent = "  ".repeat(depth + 1);
        for line in lines {
            if !line.is_empty() {
                out.push_str(&indent);
            }
            out.push_str(line);
            out.push('\n');
        }
        return;
    }
    match short(value) {
        Some(text) => drop(writeln!(out, " {text}")),
        None => {
            out.push('\n');
            block(value, depth + 1, out);
        }
    }
}

/// Lines of a text that a block of YAML gives back as they are.
fn literal(text: &str) -> Option<Vec<&str>> {
    let lines: Vec<&str> = text.strip_suffix('\n')?.split('\n').collect();
    let plain = |line: &&str| !line.ends_with(' ') && !line.chars().any(char::is_control);
    let begins = lines.first().is_some_and(|line| !line.is_empty() && !line.starts_with(' '));
    (lines.len() > 1 && begins && !text.ends_with("\n\n") && lines.iter().all(plain)).then_some(lines)
}

/// Bare where no reader of YAML takes it for anything but text.
fn scalar(text: &str) -> String {
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.' | ':' | ' ' | '+' | '=' | '@');
    let harmless = text.chars().all(plain)
        && !text.contains(": ")
        && !text.ends_with([':', ' '])
        && !text.contains("  ")
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "y" | "n" | "yes" | "no" | "on" | "off" | "true" | "false" | "null"
        );
    if begins && harmless {
        return text.to_owned();
    }
    // JSON's quotes are YAML's.
    serde_json::to_string(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn yaml_is_short_where_it_can_be() {
        let node = Node::of(&json!({
            "A": {"Ref": "B"},
            "C": [{"Fn::GetAtt": ["D", "Arn"]}, {"K": "v", "L": ["x", 1]}, [["deep"]]],
            "E": {"Fn::Select": [0, {"Fn::GetAZs": ""}]},
            "F": {"Fn::Sub": "${AWS::Region}"},
            "G": null, "H": [], "I": {},
            "J": {"Ref": "K", "More": "yes"},
        }));
        assert_eq!(
            node.yaml(),
            "A: !Ref B\n\nC:\n  - !GetAtt D.Arn\n  - K: v\n    L:\n      - x\n      - 1\n  - - - deep\n\n\
             E: !Select [0, !GetAZs \"\"]\n\nF: !Sub \"${AWS::Region}\"\n\nJ:\n  More: \"yes\"\n  Ref: K\n"
        );
    }

    #[test]
    fn text_is_quoted_where_it_could_be_something_else() {
        for (text, written) in [
            ("awsvpc", "awsvpc"),
            ("/ecs/web", "/ecs/web"),
            ("AWS::ECS::Service", "AWS::ECS::Service"),
            ("arn:aws:s3:::x", "arn:aws:s3:::x"),
            ("2012-10-17", "\"2012-10-17\""),
            ("256", "\"256\""),
            ("no", "\"no\""),
            ("*", "\"*\""),
            ("a: b", "\"a: b\""),
            ("a #b", "\"a #b\""),
            ("", "\"\""),
            ("line\nline", "\"line\\nline\""),
        ] {
            assert_eq!(scalar(text), written);
        }
    }

    #[test]
    fn several_lines_are_a_block_where_one_gives_them_back() {
        let yaml = |text: &str| Node::of(&json!({ "A": { "B": text } })).yaml();
        assert_eq!(yaml("a: 1\n\n  b: \"x\"\n"), "A:\n  B: |\n    a: 1\n\n      b: \"x\"\n");
        let function = Node::of(&json!({ "A": { "Fn::Sub": "a\nb\n" } }));
        assert_eq!(function.yaml(), "A:\n  Fn::Sub: |\n    a\n    b\n");
        for text in ["a\nb", "one\n", " a\nb\n", "a \nb\n", "a\tb\nc\n", "a\n\n", "\na\n", "a\nb\n\n"] {
            assert_eq!(yaml(text), format!("A:\n  B: {}\n", serde_json::to_string(text).unwrap()), "{text:?}");
        }
    }

    #[test]
    fn what_is_not_said_is_left_out_and_order_stays() {
        let text = r#"{"z":1,"a":{"b":null,"c":[]},"m":[false]}"#;
        let node: Node = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&node).unwrap(), r#"{"z":1,"m":[false]}"#);
    }
}
