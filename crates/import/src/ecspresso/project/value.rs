//! A file opened, and its values as ECS takes them: templates evaluated, names and types of keys checked, everything that is
//! wrong told with its place.
//!
//! ecspresso puts the values of templates into the file's text and parses what comes out. Here the file is parsed first, for
//! the places, and the same comes out: within double quotes a value's escapes are resolved, outside of quotes it may be a
//! number, a list or a map. Where a value would change what is around it (an unescaped quote, `: ` outside of quotes),
//! ecspresso fails or reads something else; here that is an error.

use std::cell::{Cell, RefCell};

use landfall_manifest::yaml::{Data, Node, Scalar, finish, parse, shorten};
use landfall_manifest::{Diagnostic, Severity, SourceFile, Span, did_you_mean};
use serde_json::{Map, Value};

use super::evaluate::{Evaluator, Stop};
use super::shape::{self, Type};
use crate::codes;
use crate::ecspresso::actions::{Piece, Tokens};

const LABEL: &str = "not understood";
const HELP: &str = "docs/ecspresso.md lists the functions that are supported";

pub(super) struct File<'a> {
    source: SourceFile,
    tokens: Tokens,
    pub root: Node,
    json: bool,
    evaluator: &'a Evaluator<'a>,
    found: RefCell<Vec<Diagnostic>>,
    /// A value in it is still being asked for.
    pending: Cell<bool>,
}

pub(super) type Problem = (SourceFile, Vec<Diagnostic>);

impl<'a> File<'a> {
    /// `json`: what is not quoted is a JSON value. The text is JSON or YAML by then.
    pub(super) fn open(source: SourceFile, json: bool, evaluator: &'a Evaluator<'a>) -> Result<Self, Problem> {
        match Tokens::of(&source.text, LABEL, HELP) {
            Ok(tokens) => Self::parsed(source, tokens, json, evaluator),
            Err(found) => Err(closed(source, found)),
        }
    }

    /// A file without templates: braces are what they are.
    pub(super) fn plain(source: SourceFile, json: bool, evaluator: &'a Evaluator<'a>) -> Result<Self, Problem> {
        let tokens = Tokens { text: source.text.clone(), actions: Vec::new() };
        Self::parsed(source, tokens, json, evaluator)
    }

    fn parsed(
        source: SourceFile,
        mut tokens: Tokens,
        json: bool,
        evaluator: &'a Evaluator<'a>,
    ) -> Result<Self, Problem> {
        if json {
            tokens.text = crate::ecspresso::untabbed(&tokens.text);
        }
        match parse(&tokens.text) {
            Ok((root, notes)) => {
                let (found, pending) = (RefCell::new(notes), Cell::new(false));
                Ok(Self { source, tokens, root, json, evaluator, found, pending })
            }
            Err(notes) => Err(closed(source, notes)),
        }
    }

    pub(super) fn is_pending(&self) -> bool {
        self.pending.get()
    }

    pub(super) fn report(&self, diagnostic: Diagnostic) {
        self.found.borrow_mut().push(diagnostic);
    }

    pub(super) fn wrong(&self, span: Span, message: impl Into<String>, label: &str) {
        self.report(Diagnostic::error(codes::BAD_VALUE, message).label(span, label));
    }

    /// Everything that is wrong with it, if anything is.
    pub(super) fn problem(&self) -> Option<Problem> {
        let found = self.found.borrow();
        let any = found.iter().any(|one| one.severity == Severity::Error);
        any.then(|| closed(self.source.clone(), found.clone()))
    }

    /// The structure's keys under their own names; unknown ones are errors, but for those in `known`, which say nothing here.
    pub(super) fn structure(&self, node: &Node, name: &'static str, known: &[&str]) -> Map<String, Value> {
        self.fields(node, name, "", known)
    }

    fn fields(&self, node: &Node, name: &'static str, path: &str, known: &[&str]) -> Map<String, Value> {
        let mut map = Map::new();
        if !matches!(node.data, Data::Map(_)) {
            if !node.is_null() {
                self.wrong(node.span, format!("{} is a map of keys", what(path)), "not a map");
            }
            return map;
        }
        for (key, child) in node.entries() {
            let text = self.key(&key.text, key.span);
            let path = if path.is_empty() { text.clone() } else { format!("{path}.{text}") };
            match shape::field(name, &text) {
                Some((own, kind)) => {
                    if let Some(value) = self.value(child, kind, &path)
                        && map.insert(own.to_owned(), value).is_some()
                    {
                        self.wrong(key.span, format!("`{}` is given twice", shorten(&path)), "again here");
                    }
                }
                None if known.iter().any(|known| known.eq_ignore_ascii_case(&text)) => {}
                None => {
                    let hint = did_you_mean(&text, shape::fields(name).iter().map(|(own, _)| *own));
                    let error =
                        Diagnostic::error(codes::BAD_VALUE, format!("`{}` is not a key of ECS's", shorten(&path)));
                    self.report(error.label(key.span, "not known").maybe_help(hint));
                }
            }
        }
        map
    }

    /// `None`: nothing is said, or something is wrong and reported, or a value is still being asked for.
    pub(super) fn value(&self, node: &Node, kind: Type, path: &str) -> Option<Value> {
        let Data::Scalar(scalar) = &node.data else { return self.collection(node, kind, path) };
        if !Tokens::in_text(&scalar.text) {
            if node.is_null() {
                return None;
            }
            return self.typed(&scalar.text, scalar.plain, kind, node.span, path);
        }
        let text = self.filled(scalar, node.span)?;
        if !scalar.plain {
            return self.typed(&text, false, kind, node.span, path);
        }
        self.unquoted(&text, kind, node.span, path)
    }

    fn collection(&self, node: &Node, kind: Type, path: &str) -> Option<Value> {
        match (kind, &node.data) {
            (Type::Structure(name), _) => Some(Value::Object(self.fields(node, name, path, &[]))),
            (Type::List("Tag"), Data::Map(entries)) => {
                let tag = |key: &str, value: Value| serde_json::json!({"key": key, "value": value});
                let tags = entries.iter().filter_map(|(key, child)| {
                    let value = self.value(child, Type::Text, path)?;
                    Some(tag(&self.key(&key.text, key.span), value))
                });
                Some(Value::Array(tags.collect()))
            }
            (Type::List(item), Data::Seq(items)) => {
                let kind = Type::of(item);
                let path = |index: usize| format!("{path}[{index}]");
                let items = items.iter().enumerate();
                Some(Value::Array(items.filter_map(|(index, item)| self.value(item, kind, &path(index))).collect()))
            }
            (Type::Map | Type::Any, Data::Map(entries)) => {
                let inner = if kind == Type::Map { Type::Text } else { Type::Any };
                let entry = |(key, child): &(landfall_manifest::yaml::Key, Node)| {
                    let name = self.key(&key.text, key.span);
                    let value = self.value(child, inner, &format!("{path}.{name}"))?;
                    Some((name, value))
                };
                Some(Value::Object(entries.iter().filter_map(entry).collect()))
            }
            (Type::Any, Data::Seq(items)) => {
                Some(Value::Array(items.iter().filter_map(|item| self.value(item, Type::Any, path)).collect()))
            }
            _ => {
                self.wrong(node.span, format!("{} {}", what(path), expected(kind)), "something else is given");
                None
            }
        }
    }

    fn typed(&self, text: &str, plain: bool, kind: Type, span: Span, path: &str) -> Option<Value> {
        let value = match kind {
            Type::Text => Some(Value::from(text)),
            Type::Whole => text.parse::<i64>().ok().filter(|_| plain).map(Value::from),
            Type::Number => text.parse::<f64>().ok().filter(|number| plain && number.is_finite()).map(Value::from),
            Type::Boolean => match text {
                "true" | "True" | "TRUE" if plain => Some(Value::from(true)),
                "false" | "False" | "FALSE" if plain => Some(Value::from(false)),
                _ => None,
            },
            Type::Any if plain => Some(serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))),
            Type::Any => Some(Value::from(text)),
            Type::Map | Type::List(_) | Type::Structure(_) => None,
        };
        if value.is_none() {
            let label = if plain { "something else is given" } else { "this is text" };
            self.wrong(span, format!("{} {}", what(path), expected(kind)), label);
        }
        value
    }

    /// What a value outside of quotes is once its templates are filled in.
    fn unquoted(&self, text: &str, kind: Type, span: Span, path: &str) -> Option<Value> {
        let breaks = |this: &Self| {
            let help = "put the template in double quotes, with `| json_escape`";
            let error = Diagnostic::error(codes::BAD_VALUE, format!("{} changes what is around it", what(path)));
            this.report(error.label(span, "a value of this template is no plain text").help(help));
            None
        };
        if text.starts_with(['[', '{', '"', '\'']) {
            let (node, notes) = match parse(text) {
                Ok(parsed) => parsed,
                Err(_) => return breaks(self),
            };
            if !notes.is_empty() || text.starts_with('\'') && self.json {
                return breaks(self);
            }
            // Its places are in the value, which nobody sees: everything is told at the template.
            let inner = File {
                source: SourceFile::new("", ""),
                tokens: Tokens::default(),
                root: node,
                json: self.json,
                evaluator: self.evaluator,
                found: RefCell::default(),
                pending: Cell::new(false),
            };
            let value = inner.value(&inner.root, kind, path);
            let mut found = inner.found.into_inner();
            found.iter_mut().flat_map(|one| &mut one.labels).for_each(|label| label.span = span);
            self.found.borrow_mut().extend(found);
            return value;
        }
        if text.is_empty() || matches!(text, "~" | "null") {
            return None;
        }
        let special = text.starts_with(['&', '*', '!', '|', '>', '%', '@', '#', '`', ','])
            || text.starts_with("- ")
            || text.starts_with("? ")
            || text.contains(": ")
            || text.contains(" #")
            || text.ends_with(':')
            || text.contains(['\n', '\r'])
            || text.trim() != text;
        let number = || serde_json::from_str::<Value>(text).is_ok();
        if special || self.json && !number() {
            return breaks(self);
        }
        self.typed(text, true, kind, span, path)
    }

    fn key(&self, text: &str, span: Span) -> String {
        if !Tokens::in_text(text) {
            return text.to_owned();
        }
        let scalar = Scalar { text: text.to_owned(), plain: true, interpolated: false, hidden: false, failed: false };
        self.filled(&scalar, span).unwrap_or_default()
    }

    /// The text with its templates filled in.
    fn filled(&self, scalar: &Scalar, span: Span) -> Option<String> {
        let quoted = self.source.text.get(span.start..).is_some_and(|rest| rest.starts_with('"'));
        let mut out = String::new();
        let mut whole = true;
        for piece in Tokens::pieces(&scalar.text) {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Action(number) => match self.action(number, quoted) {
                    Some(text) => out.push_str(&text),
                    None => whole = false,
                },
            }
        }
        whole.then_some(out)
    }

    fn action(&self, number: usize, quoted: bool) -> Option<String> {
        let action = self.tokens.actions.get(number)?;
        match self.evaluator.text(&action.pipeline) {
            Ok(text) if !quoted => Some(text),
            Ok(text) => {
                let unescaped = serde_json::from_str::<String>(&format!("\"{text}\""));
                if unescaped.is_err() {
                    let error = Diagnostic::error(
                        codes::BAD_VALUE,
                        format!("the value of `{}` ends its quotes", shorten(&action.inner)),
                    );
                    self.report(error.label(action.span, "not escaped").help("add `| json_escape`"));
                }
                unescaped.ok()
            }
            Err(Stop::Pending) => {
                self.pending.set(true);
                None
            }
            Err(Stop::Missing(why)) => {
                self.report(Diagnostic::error(codes::MISSING_VALUE, why).label(action.span, "asked for here"));
                None
            }
            Err(Stop::Unsupported(why)) => {
                self.report(Diagnostic::error(codes::UNSUPPORTED, why).label(action.span, LABEL).help(HELP));
                None
            }
        }
    }
}

fn closed(source: SourceFile, found: Vec<Diagnostic>) -> Problem {
    let found = finish(found, &source.text);
    (source, found)
}

fn what(path: &str) -> String {
    if path.is_empty() { "this file".to_owned() } else { format!("`{}`", shorten(path)) }
}

fn expected(kind: Type) -> &'static str {
    match kind {
        Type::Text => "takes text",
        Type::Whole => "takes a whole number, without quotes",
        Type::Number => "takes a number, without quotes",
        Type::Boolean => "takes true or false, without quotes",
        Type::Map => "takes a map of text",
        Type::List(_) => "takes a list",
        Type::Structure(_) => "takes a map of keys",
        Type::Any => "takes something else",
    }
}
