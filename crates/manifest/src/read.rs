//! Reading a tree of somebody else's making: typed access that reports what is wrong with its place and goes on, and
//! remembers which keys were asked for, so that those left over can be listed.

use std::cell::RefCell;
use std::collections::BTreeSet;

use crate::diagnostic::{Diagnostic, Severity, Span, finish};
use crate::source::SourceFile;
use crate::tree::{At, Data, Node, Scalar, parse, shorten};

/// What whoever reads calls what can be wrong with a value.
#[derive(Debug, Clone, Copy)]
pub struct Codes {
    pub missing: &'static str,
    pub bad_value: &'static str,
}

/// One file while it is read.
pub struct Reader {
    pub source: SourceFile,
    codes: Codes,
    found: RefCell<Vec<Diagnostic>>,
}

impl Reader {
    /// The file's tree.
    ///
    /// # Errors
    /// Everything that is wrong with it as YAML.
    pub fn open(source: SourceFile, codes: Codes) -> Result<(Self, Node), (SourceFile, Vec<Diagnostic>)> {
        let parsed = parse(&source.text);
        Self::parsed(source, codes, parsed)
    }

    /// A file whose text was made from another: places are those of `source`.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn with_text(
        source: SourceFile,
        codes: Codes,
        text: &str,
    ) -> Result<(Self, Node), (SourceFile, Vec<Diagnostic>)> {
        Self::parsed(source, codes, parse(text))
    }

    fn parsed(
        source: SourceFile,
        codes: Codes,
        parsed: Result<(Node, Vec<Diagnostic>), Vec<Diagnostic>>,
    ) -> Result<(Self, Node), (SourceFile, Vec<Diagnostic>)> {
        let reader = Self { source, codes, found: RefCell::default() };
        match parsed {
            Ok((node, notes)) => {
                reader.found.borrow_mut().extend(notes);
                Ok((reader, node))
            }
            Err(notes) => {
                reader.found.borrow_mut().extend(notes);
                Err(reader.close())
            }
        }
    }

    pub fn report(&self, diagnostic: Diagnostic) {
        self.found.borrow_mut().push(diagnostic);
    }

    pub fn wrong(&self, at: At<'_>, message: impl Into<String>, label: impl Into<String>) {
        self.report(Diagnostic::error(self.codes.bad_value, message).label(at.span(), label));
    }

    pub fn failed(&self) -> bool {
        self.found.borrow().iter().any(|one| one.severity == Severity::Error)
    }

    pub fn close(self) -> (SourceFile, Vec<Diagnostic>) {
        let found = finish(self.found.into_inner(), &self.source.text);
        (self.source, found)
    }
}

pub fn scalar<'t>(at: At<'t>) -> Option<&'t Scalar> {
    match at.node.map(|node| &node.data) {
        Some(Data::Scalar(scalar)) if at.is_given() => Some(scalar),
        _ => None,
    }
}

/// A map, where it is in the file, and which of its keys were asked for.
pub struct Map<'t> {
    reader: &'t Reader,
    pub at: At<'t>,
    /// `health_check.` within a message.
    path: String,
    asked: RefCell<BTreeSet<String>>,
}

impl<'t> Map<'t> {
    pub fn root(reader: &'t Reader, node: &'t Node) -> Self {
        Self::new(reader, At::root(node), String::new())
    }

    pub fn new(reader: &'t Reader, at: At<'t>, path: String) -> Self {
        if at.is_given() && !at.is_map() {
            let what =
                if path.is_empty() { "this file".to_owned() } else { format!("`{}`", path.trim_end_matches('.')) };
            reader.wrong(at, format!("{what} is a map of keys"), "not a map");
        }
        Self { reader, at, path, asked: RefCell::default() }
    }

    pub fn reader(&self) -> &'t Reader {
        self.reader
    }

    pub fn path(&self, key: &str) -> String {
        format!("{}{key}", self.path)
    }

    pub fn keys(&self) -> impl Iterator<Item = &'t str> {
        self.at.keys()
    }

    pub fn get(&self, key: &str) -> At<'t> {
        self.asked.borrow_mut().insert(key.to_owned());
        self.at.get(key)
    }

    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_given()
    }

    pub fn map(&self, key: &str) -> Map<'t> {
        Map::new(self.reader, self.get(key), format!("{}{key}.", self.path))
    }

    /// A scalar as text; empty counts as absent.
    pub fn text(&self, key: &str) -> Option<String> {
        let at = self.get(key);
        match scalar(at) {
            Some(scalar) => Some(scalar.text.trim().to_owned()).filter(|text| !text.is_empty()),
            None if at.is_given() => {
                self.reader.wrong(at, format!("`{}` is text", self.path(key)), "expected text");
                None
            }
            None => None,
        }
    }

    pub fn required(&self, key: &str) -> String {
        let text = self.text(key);
        if text.is_none() && !(self.at.get(key).is_given() && scalar(self.at.get(key)).is_none()) {
            self.missing(key);
        }
        text.unwrap_or_default()
    }

    pub fn missing(&self, key: &str) {
        let place = if self.at.get(key).node.is_some() { self.at.get(key) } else { self.at };
        let error = Diagnostic::error(self.reader.codes.missing, format!("`{}` is missing", self.path(key)));
        // An item of a list has no key; where it begins is enough.
        let span = match place.span() {
            whole if place.is_map() && whole != place.key_span() => Span::new(whole.start, whole.start + 1),
            _ => place.key_span(),
        };
        self.reader.report(error.label(span, format!("needs `{key}`")));
    }

    pub fn int(&self, key: &str, least: i64, most: i64) -> Option<i64> {
        let text = self.text(key)?;
        match text.parse::<i64>() {
            Ok(number) if (least..=most).contains(&number) => Some(number),
            _ => {
                let message = format!("`{}` cannot be `{}`", self.path(key), shorten(&text));
                self.reader.wrong(self.at.get(key), message, format!("a number from {least} to {most}"));
                None
            }
        }
    }

    pub fn boolean(&self, key: &str) -> Option<bool> {
        match self.text(key)?.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "enabled" => Some(true),
            "false" | "no" | "off" | "disabled" => Some(false),
            _ => {
                self.reader.wrong(self.at.get(key), format!("`{}` is true or false", self.path(key)), "");
                None
            }
        }
    }

    /// A list of scalars, or one scalar with commas.
    pub fn texts(&self, key: &str) -> Vec<String> {
        let at = self.get(key);
        if let Some(scalar) = scalar(at) {
            return scalar.text.split(',').map(str::trim).filter(|one| !one.is_empty()).map(str::to_owned).collect();
        }
        let items = at.node.map(Node::items).unwrap_or_default();
        if at.is_given() && at.is_map() {
            self.reader.wrong(at, format!("`{}` is a list", self.path(key)), "expected a list");
        }
        (0..items.len())
            .filter_map(|index| {
                let item = scalar(at.item(index)).map(|scalar| scalar.text.clone());
                if item.is_none() {
                    self.reader.wrong(
                        at.item(index),
                        format!("an item of `{}` is text", self.path(key)),
                        "expected text",
                    );
                }
                item
            })
            .collect()
    }

    /// Items that are maps.
    pub fn items(&self, key: &str) -> Vec<Map<'t>> {
        let at = self.get(key);
        let items = at.node.map(Node::items).unwrap_or_default();
        if at.is_given() && (at.is_map() || scalar(at).is_some()) {
            self.reader.wrong(at, format!("`{}` is a list", self.path(key)), "expected a list");
        }
        (0..items.len())
            .map(|index| Map::new(self.reader, at.item(index), format!("{}{key}[{index}].", self.path)))
            .collect()
    }

    /// Keys that nobody asked for.
    pub fn rest(&self) -> Vec<String> {
        let asked = self.asked.borrow();
        let mut seen = BTreeSet::new();
        self.at.keys().filter(|key| !asked.contains(*key) && seen.insert(*key)).map(|key| self.path(key)).collect()
    }
}
