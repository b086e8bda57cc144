//! The shape of a manifest, compiled from the JSON Schema of the authored types, and the walk that holds a tree against it.
//!
//! One source of truth: what an editor accepts, what is reported and what serde decodes come from the same types. The walk
//! reports every unknown key, wrong type and missing key at once and returns what is sound as JSON; an unsound value is
//! left out (a list with an unsound item as a whole), so that decoding succeeds and the semantic checks still run.

use std::collections::BTreeMap;
use std::sync::{LazyLock, OnceLock};

use serde_json::{Map, Number, Value, json};

use crate::codes;
use crate::diagnostic::{Diagnostic, Span, closest, did_you_mean};
use crate::scalar;
use crate::tree::{At, Data, Key, Node, Scalar, shorten};

#[derive(Debug)]
pub(crate) enum Shape {
    Map {
        known: BTreeMap<String, Part>,
        required: Vec<String>,
        /// Any other key has this shape.
        other: Option<Box<Part>>,
        /// Keys beginning with `x-` are ignored.
        extensions: bool,
    },
    Seq(Box<Part>),
    /// Exactly one of these keys.
    OneOf(BTreeMap<String, Part>),
    Choice(Vec<String>),
    Str,
    Bool,
    Int {
        min: i64,
        max: i64,
    },
    Text,
    /// Text, a whole number or a boolean.
    Plain,
    Duration,
    PortRange,
    CheckCommand,
}

/// A shape, compiled when a manifest first needs it: each uses a few of all the keys that there are.
#[derive(Debug)]
pub(crate) struct Part {
    schema: &'static Value,
    shape: OnceLock<Shape>,
}

impl Part {
    const fn of(schema: &'static Value) -> Self {
        Self { schema, shape: OnceLock::new() }
    }

    fn shape(&self) -> &Shape {
        self.shape.get_or_init(|| compile(self.schema))
    }
}

/// The schema, a line for each definition: its name, a tab, and all of it but what is for people and editors. Making it from the types took
/// a quarter of a command that reads; a test holds it against them.
static DEFINITIONS: LazyLock<BTreeMap<&str, Definition>> = LazyLock::new(|| {
    let lines = include_str!("shape.tsv").lines().filter_map(|line| line.split_once('\t'));
    lines.map(|(name, text)| (name, Definition { text, schema: OnceLock::new() })).collect()
});
static ROOT: LazyLock<Shape> = LazyLock::new(|| compile(definition("Manifest")));

struct Definition {
    text: &'static str,
    schema: OnceLock<Value>,
}

fn definition(name: &str) -> &'static Value {
    static NONE: Value = Value::Null;
    let read =
        |one: &'static Definition| one.schema.get_or_init(|| serde_json::from_str(one.text).unwrap_or(Value::Null));
    DEFINITIONS.get(name).map_or(&NONE, read)
}

/// What is sound of the manifest as JSON, and everything that is not as diagnostics.
pub(crate) fn walk_root(node: &Node, found: &mut Vec<Diagnostic>) -> Option<Value> {
    if !matches!(node.data, Data::Map(_)) {
        let error = Diagnostic::error(codes::ROOT, format!("a manifest is a map of keys, not {}", describe(node)))
            .label(first_of(node), "")
            .help("start with `project: NAME`; `landfall init` writes a first manifest");
        found.push(error);
        return None;
    }
    Walk { found }.value(&ROOT, At::root(node), "the manifest")
}

fn compile(schema: &'static Value) -> Shape {
    if let Some(reference) = schema["$ref"].as_str() {
        return compile(definition(reference.trim_start_matches("#/$defs/")));
    }
    match schema[scalar::MARK].as_str() {
        Some("duration") => return Shape::Duration,
        Some("port_range") => return Shape::PortRange,
        Some("check_command") => return Shape::CheckCommand,
        Some("plain") => return Shape::Plain,
        Some(_) => return Shape::Text,
        None => {}
    }
    // `Option<T>` is `T` or null.
    if let Some(inner) = schema["anyOf"].as_array().and_then(|any| any.iter().find(|one| one["type"] != "null")) {
        return compile(inner);
    }
    if let Some(variants) = schema["oneOf"].as_array() {
        let names = |one: &Value| match &one["const"] {
            Value::String(name) => vec![name.clone()],
            _ => one["enum"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect(),
        };
        let keyed = variants.iter().filter_map(|one| one["properties"].as_object()).flatten();
        let keyed: BTreeMap<_, _> = keyed.map(|(name, inner)| (name.clone(), Part::of(inner))).collect();
        if keyed.is_empty() {
            return Shape::Choice(variants.iter().flat_map(names).collect());
        }
        return Shape::OneOf(keyed);
    }
    if let Some(values) = schema["enum"].as_array() {
        return Shape::Choice(values.iter().filter_map(Value::as_str).map(str::to_owned).collect());
    }
    let kind = schema["type"].as_array().and_then(|types| types.first()).unwrap_or(&schema["type"]);
    match kind.as_str() {
        Some("object") => Shape::Map {
            known: schema["properties"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, inner)| (name.clone(), Part::of(inner)))
                .collect(),
            required: schema["required"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            other: schema["additionalProperties"]
                .is_object()
                .then(|| Box::new(Part::of(&schema["additionalProperties"]))),
            extensions: schema["patternProperties"]["^x-"] == Value::Bool(true),
        },
        Some("array") => Shape::Seq(Box::new(Part::of(&schema["items"]))),
        Some("boolean") => Shape::Bool,
        Some("integer") => Shape::Int {
            min: schema["minimum"].as_i64().unwrap_or(i64::MIN),
            max: schema["maximum"].as_i64().unwrap_or(match schema["format"].as_str() {
                Some("uint16") => u16::MAX.into(),
                Some("uint32") => u32::MAX.into(),
                _ => i64::MAX,
            }),
        },
        _ => Shape::Str,
    }
}

struct Walk<'f> {
    found: &'f mut Vec<Diagnostic>,
}

impl Walk<'_> {
    /// `what`: how a message calls this value, usually the key in backquotes.
    fn value(&mut self, shape: &Shape, at: At<'_>, what: &str) -> Option<Value> {
        let node = at.node?;
        match (shape, &node.data) {
            (Shape::Map { known, required, other, extensions }, Data::Map(entries)) => {
                let mut out = Map::new();
                for (key, inner) in entries {
                    let place = at.get(&key.text);
                    let Some(shape) = known.get(&key.text).or(other.as_deref()).map(Part::shape) else {
                        if !(*extensions && key.text.starts_with("x-")) {
                            self.unknown(&key.text, key.span, what, known.keys());
                        }
                        continue;
                    };
                    if inner.is_null() {
                        match shape {
                            // `log:` and `previews:` with nothing below take every default.
                            Shape::Map { required, .. } if required.is_empty() => {
                                out.insert(key.text.clone(), json!({}));
                            }
                            _ if required.contains(&key.text) => self.missing(&key.text, key.span, what, true),
                            Shape::Map { .. } | Shape::OneOf(_) if other.is_some() => {
                                self.missing(&key.text, key.span, what, true);
                            }
                            Shape::Text => {
                                let error =
                                    Diagnostic::error(codes::WRONG_TYPE, format!("`{}` has no value", key.text))
                                        .label(place.span(), "")
                                        .help(format!("write `{}: \"\"` for an empty one", key.text));
                                self.found.push(error);
                            }
                            _ => {}
                        }
                        continue;
                    }
                    if let Some(value) = self.value(shape, place, &format!("`{}`", shorten(&key.text))) {
                        out.insert(key.text.clone(), value);
                    }
                }
                for name in required {
                    // One message for one slip: a misspelt key has been reported with its right spelling.
                    let misspelt = |(key, _): &(Key, Node)| {
                        !known.contains_key(&key.text)
                            && closest(&key.text, known.keys().map(String::as_str)) == Some(name)
                    };
                    if !entries.iter().any(|(key, _)| key.text == *name) && !entries.iter().any(misspelt) {
                        self.missing(name, at.key_span(), what, false);
                    }
                }
                Some(Value::Object(out))
            }
            (Shape::OneOf(variants), Data::Map(entries)) => self.one_of(variants, entries, at, what),
            (Shape::Seq(item), Data::Seq(items)) => {
                let values: Vec<_> = (0..items.len())
                    .map(|n| self.value(item.shape(), at.item(n), &format!("an item of {what}")))
                    .collect();
                values.into_iter().collect::<Option<Vec<_>>>().map(Value::Array)
            }
            (Shape::CheckCommand, Data::Seq(items)) => {
                let values: Option<Vec<_>> = (0..items.len())
                    .map(|n| self.value(&Shape::Text, at.item(n), &format!("an item of {what}")))
                    .collect();
                Some(Value::Array(values?))
            }
            (shape, Data::Scalar(scalar)) => self.scalar(shape, scalar, at, what),
            (shape, _) => self.wrong(shape, node, at, what),
        }
    }

    fn one_of(
        &mut self,
        variants: &BTreeMap<String, Part>,
        entries: &[(Key, Node)],
        at: At<'_>,
        what: &str,
    ) -> Option<Value> {
        for (key, _) in entries.iter().filter(|(key, _)| !variants.contains_key(&key.text)) {
            self.unknown(&key.text, key.span, what, variants.keys());
        }
        let mut given = entries.iter().filter(|(key, _)| variants.contains_key(&key.text));
        let names = || listed(variants.keys().map(String::as_str), "or");
        let Some((key, inner)) = given.next() else {
            if entries.is_empty() {
                let error = Diagnostic::error(codes::EXACTLY_ONE, format!("{what} needs one of {}", names()));
                self.found.push(error.label(at.key_span(), "nothing given"));
            }
            return None;
        };
        if let Some((second, _)) = given.next() {
            let error = Diagnostic::error(codes::EXACTLY_ONE, format!("{what} takes only one of {}", names()))
                .label(second.span, "one too many")
                .label(key.span, "already given here");
            self.found.push(error);
            return None;
        }
        let shape = variants[&key.text].shape();
        let value = match shape {
            Shape::Map { required, .. } if inner.is_null() && required.is_empty() => json!({}),
            _ if inner.is_null() => {
                self.missing(&key.text, key.span, what, true);
                return None;
            }
            shape => self.value(shape, at.get(&key.text), &format!("`{}`", key.text))?,
        };
        Some(json!({ &key.text: value }))
    }

    fn scalar(&mut self, shape: &Shape, scalar: &Scalar, at: At<'_>, what: &str) -> Option<Value> {
        if scalar.failed {
            return None;
        }
        let text = scalar.text.as_str();
        let bare = scalar.plain || scalar.interpolated;
        match shape {
            Shape::Text => return Some(Value::String(text.to_owned())),
            Shape::Plain => {
                return Some(match (scalar.plain && !scalar.interpolated, text) {
                    (true, "true" | "false") => Value::Bool(text == "true"),
                    (true, _) => text.parse::<i64>().map_or_else(|_| Value::String(text.to_owned()), Value::from),
                    (false, _) => Value::String(text.to_owned()),
                });
            }
            Shape::Str if !scalar.plain || scalar.interpolated || !looks_typed(text) => {
                return Some(Value::String(text.to_owned()));
            }
            Shape::Str => {
                let error = Diagnostic::error(codes::WRONG_TYPE, format!("{what} is text, not {}", kind_of(scalar)))
                    .label(at.span(), "expected text")
                    .help(format!("put it in quotes: \"{}\"", shorten(text)));
                self.found.push(error);
                return None;
            }
            Shape::Bool if bare && matches!(text, "true" | "false") => return Some(Value::Bool(text == "true")),
            Shape::Int { min, max } if bare => {
                if let Ok(number) = text.replace('_', "").parse::<i128>() {
                    if number >= i128::from(*min) && number <= i128::from(*max) {
                        return i64::try_from(number).ok().map(|number| Value::Number(Number::from(number)));
                    }
                    let limits = if *max == i64::MAX { format!("at least {min}") } else { format!("{min} to {max}") };
                    let error = Diagnostic::error(codes::OUT_OF_RANGE, format!("{what} is out of range"));
                    self.found.push(error.label(at.span(), format!("must be {limits}")));
                    return None;
                }
            }
            Shape::Choice(choices) => {
                if choices.iter().any(|choice| choice == text) {
                    return Some(Value::String(text.to_owned()));
                }
                let shown = shown(scalar);
                let error = Diagnostic::error(codes::BAD_VALUE, format!("{what} cannot be {shown}"))
                    .label(at.span(), format!("not one of {}", listed(choices.iter().map(String::as_str), "or")))
                    .maybe_help(
                        (!scalar.hidden).then(|| did_you_mean(text, choices.iter().map(String::as_str))).flatten(),
                    );
                self.found.push(error);
                return None;
            }
            Shape::Duration => match scalar::duration(text) {
                Ok(ms) => return Some(Value::Number(Number::from(ms))),
                Err(form) => {
                    let error = Diagnostic::error(codes::BAD_VALUE, format!("{what} cannot be {}", shown(scalar)));
                    self.found.push(error.label(at.span(), "not a duration").help(form));
                    return None;
                }
            },
            Shape::PortRange => match scalar::port_range(text) {
                Some((first, last)) => return Some(json!([first, last])),
                None => {
                    let error = Diagnostic::error(codes::PORT_RANGE, format!("{what} cannot be {}", shown(scalar)))
                        .label(at.span(), "not a range of ports")
                        .help("write the first and the last port: `8000-8099`");
                    self.found.push(error);
                    return None;
                }
            },
            Shape::CheckCommand => return Some(json!(["CMD-SHELL", text])),
            _ => {}
        }
        self.wrong(shape, at.node?, at, what)
    }

    fn wrong(&mut self, shape: &Shape, node: &Node, at: At<'_>, what: &str) -> Option<Value> {
        let expected = match shape {
            Shape::Map { .. } | Shape::OneOf(_) => "a map of keys",
            Shape::Seq(_) => "a list",
            Shape::Bool => "true or false",
            Shape::Int { .. } => "a whole number",
            Shape::CheckCommand => "a shell line or a list",
            Shape::Duration => "a duration",
            _ => "text",
        };
        // The text shows `${VAR}`; what it became is what is wrong.
        let got = match &node.data {
            Data::Scalar(scalar) if scalar.interpolated => format!(", got {}", shown(scalar)),
            _ => String::new(),
        };
        let error = Diagnostic::error(codes::WRONG_TYPE, format!("{what} is {expected}, not {}", describe(node)))
            .label(at.span(), format!("expected {expected}{got}"))
            .maybe_help(remedy(shape, node));
        self.found.push(error);
        None
    }

    fn unknown<'k>(&mut self, name: &str, span: Span, what: &str, known: impl Iterator<Item = &'k String> + Clone) {
        let near = closest(name, known.clone().map(String::as_str));
        let help = match near {
            Some(best) => format!("did you mean `{best}`?"),
            None if known.clone().next().is_none() => format!("{what} takes no keys"),
            None => format!("known here: {}", known.map(String::as_str).collect::<Vec<_>>().join(", ")),
        };
        let error = Diagnostic::error(codes::UNKNOWN_KEY, format!("unknown key `{}` in {what}", shorten(name)));
        self.found.push(error.label(span, "not known here").help(help));
    }

    fn missing(&mut self, name: &str, span: Span, what: &str, empty: bool) {
        let error = match empty {
            true => Diagnostic::error(codes::MISSING, format!("`{}` in {what} is empty", shorten(name)))
                .label(span, "needs a value"),
            false => Diagnostic::error(codes::MISSING, format!("{what} needs `{name}`"))
                .label(span, format!("`{name}` is missing")),
        };
        self.found.push(error);
    }
}

/// Would YAML read this unquoted text as something other than text?
fn looks_typed(text: &str) -> bool {
    matches!(text, "true" | "false" | "True" | "False" | "TRUE" | "FALSE") || text.parse::<f64>().is_ok()
}

fn kind_of(scalar: &Scalar) -> &'static str {
    match scalar.text.as_str() {
        _ if !scalar.plain => "text",
        "" | "~" | "null" => "nothing",
        "true" | "false" => "a boolean",
        text if text.parse::<f64>().is_ok() => "a number",
        _ => "text",
    }
}

fn describe(node: &Node) -> &'static str {
    match &node.data {
        Data::Scalar(scalar) => kind_of(scalar),
        Data::Seq(_) => "a list",
        Data::Map(_) => "a map",
    }
}

fn first_of(node: &Node) -> Span {
    node.items().first().map_or(node.span, |item| item.span)
}

/// The value as a message may repeat it.
pub(crate) fn shown(scalar: &Scalar) -> String {
    if scalar.hidden { "this value (hidden)".to_owned() } else { format!("`{}`", shorten(&scalar.text)) }
}

fn remedy(shape: &Shape, node: &Node) -> Option<String> {
    match (shape, &node.data) {
        (Shape::Seq(_), Data::Scalar(scalar)) if !scalar.hidden => match scalar.text.contains(char::is_whitespace) {
            true => Some("write a list: [\"sh\", \"-c\", \"…\"] for a shell line, else one item per word".to_owned()),
            false => Some(format!("write a list: [{}]", shorten(&scalar.text))),
        },
        (Shape::Bool, Data::Scalar(scalar)) => match scalar.text.to_ascii_lowercase().as_str() {
            "yes" | "on" | "true" => Some("write `true`".to_owned()),
            "no" | "off" | "false" => Some("write `false`".to_owned()),
            _ => None,
        },
        (Shape::Int { .. }, Data::Scalar(scalar)) if !scalar.plain && scalar.text.parse::<i64>().is_ok() => {
            Some("remove the quotes".to_owned())
        }
        (Shape::Map { .. }, Data::Seq(_)) => Some("write `name: …` lines instead of `- …` items".to_owned()),
        _ => None,
    }
}

/// `a`, `b` or `c`
pub(crate) fn listed<'a>(names: impl Iterator<Item = &'a str>, last: &str) -> String {
    let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        Some((only, [])) => only.clone(),
        Some((end, rest)) => format!("{} {last} {end}", rest.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    #![allow(clippy::disallowed_methods, reason = "it holds a file against the types, and renews it")]

    use super::*;

    /// Without what is for people and editors.
    fn needed(schema: &Value) -> Value {
        let each = |inner: &Value| match inner {
            Value::Object(all) => all.iter().map(|(name, one)| (name.clone(), needed(one))).collect(),
            Value::Array(all) => all.iter().map(needed).collect(),
            other => other.clone(),
        };
        let Value::Object(all) = schema else { return schema.clone() };
        let own = all.iter().filter(|(key, _)| !["$schema", "default", "description", "title"].contains(&key.as_str()));
        own.map(|(key, value)| match key.as_str() {
            "$defs" | "properties" | "anyOf" | "oneOf" => (key.clone(), each(value)),
            "items" | "additionalProperties" => (key.clone(), needed(value)),
            _ => (key.clone(), value.clone()),
        })
        .collect()
    }

    #[test]
    fn the_shape_is_that_of_the_types() {
        let mut schema = needed(schemars::schema_for!(crate::authored::Manifest).as_value());
        let defs = schema.as_object_mut().unwrap().remove("$defs").unwrap();
        let own = [("Manifest", &schema)];
        let all = defs.as_object().unwrap().iter().map(|(name, one)| (name.as_str(), one)).chain(own);
        let wanted: String = all.map(|(name, one)| format!("{name}\t{one}\n")).collect();
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/shape.tsv");
        if std::env::var_os("LANDFALL_UPDATE").is_some() {
            std::fs::write(&path, &wanted).unwrap();
        }
        assert!(
            std::fs::read_to_string(&path).unwrap_or_default() == wanted,
            "crates/manifest/src/shape.tsv is stale: LANDFALL_UPDATE=1 cargo test -p landfall-manifest shape"
        );
    }
}
