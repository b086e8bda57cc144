//! YAML text → a small tree in which every key and value knows its place.
//!
//! A tree of our own rather than straight deserialization, because a deserializer stops at its first error and we promise
//! all of them. Bounded everywhere: bytes, nesting, and nodes counted after aliases are expanded, so that a YAML bomb is
//! an error after at most [`MAX_NODES`] steps.

use std::collections::{HashMap, HashSet};

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle};

use crate::codes;
use crate::diagnostic::{Diagnostic, Span};
use crate::source::MAX_BYTES;

pub(crate) const MAX_DEPTH: usize = 32;
pub(crate) const MAX_NODES: usize = 50_000;
const MAX_DUPLICATES: usize = 50;

#[derive(Debug, Clone)]
pub struct Node {
    pub span: Span,
    pub data: Data,
    /// This node and all below it.
    size: usize,
}

#[derive(Debug, Clone)]
pub enum Data {
    Scalar(Scalar),
    Seq(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Debug, Clone)]
pub struct Scalar {
    pub text: String,
    /// Unquoted, so that `8080`, `true` and `null` mean what they look like.
    pub plain: bool,
    /// Holds the value of a variable.
    pub interpolated: bool,
    /// The value may be secret: messages do not repeat it.
    pub hidden: bool,
    /// A variable in it could not be resolved. Reported; nothing more is said about this value.
    pub failed: bool,
}

#[derive(Debug, Clone)]
pub struct Key {
    pub text: String,
    pub span: Span,
}

impl Node {
    pub fn entries(&self) -> &[(Key, Node)] {
        match &self.data {
            Data::Map(entries) => entries,
            _ => &[],
        }
    }

    pub fn items(&self) -> &[Node] {
        match &self.data {
            Data::Seq(items) => items,
            _ => &[],
        }
    }

    /// Without this key, where it is a map.
    pub(crate) fn remove(&mut self, name: &str) {
        if let Data::Map(entries) = &mut self.data {
            entries.retain(|(key, _)| key.text != name);
        }
    }

    pub fn is_null(&self) -> bool {
        matches!(&self.data, Data::Scalar(s) if s.plain && !s.interpolated && !s.failed
            && matches!(s.text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }
}

/// Parses one document. `Err` when nothing can be checked any further; otherwise the tree (`None` for an empty file) and
/// the duplicate keys and the like found on the way.
pub fn parse(text: &str) -> Result<(Node, Vec<Diagnostic>), Vec<Diagnostic>> {
    if text.len() > MAX_BYTES {
        let error = Diagnostic::error(codes::BUDGET, format!("the manifest is larger than {MAX_BYTES} bytes"));
        return Err(vec![error.label(Span::new(0, 0), "")]);
    }
    let offset = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let mut options = granit_parser::Options::default();
    options.block_nesting_limit = MAX_DEPTH;
    options.flow_nesting_limit = MAX_DEPTH;
    options.disallow_directives = true;
    options.set_emit_comments(false);
    let builder = Builder { text, offset, nodes: 0, anchors: HashMap::new(), open: HashSet::new(), notes: Vec::new() };
    builder.run(Parser::new_from_str_with_options(&text[offset..], options))
}

struct Builder<'t> {
    text: &'t str,
    offset: usize,
    nodes: usize,
    anchors: HashMap<usize, Node>,
    /// Anchors whose node is not finished: an alias to one of them would contain itself.
    open: HashSet<usize>,
    notes: Vec<Diagnostic>,
}

/// A collection under construction.
struct Frame {
    anchor: usize,
    span: Span,
    size: usize,
    data: Data,
    /// The key that waits for its value, in maps.
    key: Option<PendingKey>,
    seen: HashMap<String, Span>,
}

enum PendingKey {
    Key(Key),
    /// A duplicate, or no plain name: its value is parsed and dropped.
    Skip,
}

impl<'t> Builder<'t> {
    fn run(
        mut self,
        parser: Parser<'t, granit_parser::StrInput<'t>>,
    ) -> Result<(Node, Vec<Diagnostic>), Vec<Diagnostic>> {
        let mut stack: Vec<Frame> = Vec::new();
        let mut root: Option<Node> = None;
        let mut documents = 0;
        for event in parser {
            let (event, span) = match event {
                Ok((event, span)) => {
                    let range = span.byte_range().unwrap_or_default();
                    (event, Span::new(range.start + self.offset, range.end + self.offset))
                }
                Err(error) => {
                    self.notes.push(self.syntax_error(&error));
                    return Err(self.notes);
                }
            };
            let finished = match event {
                Event::DocumentStart(..) => {
                    documents += 1;
                    if documents > 1 {
                        let error = Diagnostic::error(codes::ROOT, "a manifest is one YAML document")
                            .label(span, "a second one starts here")
                            .help("keep one manifest per file; remove everything from this line on");
                        self.notes.push(error);
                        return Err(self.notes);
                    }
                    None
                }
                Event::Scalar(value, style, anchor, tag) => {
                    if tag.is_some() {
                        self.refuse_tag(span);
                    }
                    let plain = style == ScalarStyle::Plain;
                    let text = value.into_owned();
                    let data = Data::Scalar(Scalar { text, plain, interpolated: false, hidden: false, failed: false });
                    Some((anchor, Node { span: self.trimmed(span), data, size: 1 }))
                }
                Event::SequenceStart(..) | Event::MappingStart(..) if stack.len() >= MAX_DEPTH => {
                    let error = Diagnostic::error(codes::BUDGET, format!("nested deeper than {MAX_DEPTH} levels"));
                    self.notes.push(error.label(span, ""));
                    return Err(self.notes);
                }
                Event::SequenceStart(_, anchor, tag) => {
                    if tag.is_some() {
                        self.refuse_tag(span);
                    }
                    self.open.insert(anchor);
                    stack.push(Frame::new(anchor, span, Data::Seq(Vec::new())));
                    None
                }
                Event::MappingStart(_, anchor, tag) => {
                    if tag.is_some() {
                        self.refuse_tag(span);
                    }
                    self.open.insert(anchor);
                    stack.push(Frame::new(anchor, span, Data::Map(Vec::new())));
                    None
                }
                Event::SequenceEnd | Event::MappingEnd => stack.pop().map(|frame| {
                    self.open.remove(&frame.anchor);
                    let span = Span::new(frame.span.start, span.end.max(frame.span.end));
                    let node = Node { span: self.trimmed(span), data: frame.data, size: frame.size };
                    (frame.anchor, node)
                }),
                Event::Alias(anchor) => match self.anchors.get(&anchor) {
                    Some(node) if !self.open.contains(&anchor) => {
                        let too_many = self.nodes.saturating_add(node.size) > MAX_NODES;
                        self.nodes = if too_many { MAX_NODES } else { self.nodes + node.size };
                        (!too_many).then(|| (0, node.clone()))
                    }
                    _ => {
                        let error = Diagnostic::error(codes::SYNTAX, "an alias inside of what it stands for");
                        self.notes.push(error.label(span, "contains itself"));
                        return Err(self.notes);
                    }
                },
                _ => None,
            };
            self.nodes += 1;
            if self.nodes > MAX_NODES {
                let error = Diagnostic::error(codes::BUDGET, format!("more than {MAX_NODES} values, aliases expanded"));
                self.notes.push(error.label(span, "given up here").help("use fewer anchors and aliases"));
                return Err(self.notes);
            }
            let Some((anchor, node)) = finished else { continue };
            if anchor != 0 {
                self.nodes += node.size;
                self.anchors.insert(anchor, node.clone());
            }
            match stack.last_mut() {
                None => root = Some(node),
                Some(frame) => self.attach(frame, node),
            }
        }
        match root {
            Some(node) if !node.is_null() => Ok((node, self.notes)),
            _ => {
                let error = Diagnostic::error(codes::ROOT, "the manifest is empty")
                    .label(Span::new(self.offset, self.offset), "")
                    .help("`landfall init` writes a first manifest");
                self.notes.push(error);
                Err(self.notes)
            }
        }
    }

    fn attach(&mut self, frame: &mut Frame, node: Node) {
        frame.size += node.size;
        match &mut frame.data {
            Data::Scalar(_) => {}
            Data::Seq(items) => items.push(node),
            Data::Map(entries) => match frame.key.take() {
                Some(PendingKey::Key(key)) if key.text == "<<" => self.merge(entries, &mut frame.seen, &key, node),
                Some(PendingKey::Key(key)) => entries.push((key, node)),
                Some(PendingKey::Skip) => {}
                None => frame.key = Some(self.key(&mut frame.seen, entries, node)),
            },
        }
    }

    fn key(&mut self, seen: &mut HashMap<String, Span>, entries: &mut Vec<(Key, Node)>, node: Node) -> PendingKey {
        let Data::Scalar(scalar) = node.data else {
            let error = Diagnostic::error(codes::UNSUPPORTED, "a key must be a name")
                .label(self.first_line(node.span), "this is a collection")
                .help("write `${VAR}` and other text with braces in quotes");
            self.notes.push(error);
            return PendingKey::Skip;
        };
        match seen.get(&scalar.text) {
            // A key that only a merge brought is overridden by one written here.
            Some(span) if span.start == usize::MAX => entries.retain(|(key, _)| key.text != scalar.text),
            Some(first) => {
                if self.notes.len() < MAX_DUPLICATES {
                    let error =
                        Diagnostic::error(codes::DUPLICATE_KEY, format!("`{}` is given twice", shorten(&scalar.text)))
                            .label(node.span, "again here")
                            .label(*first, "first given here")
                            .help("keep one of them");
                    self.notes.push(error);
                }
                return PendingKey::Skip;
            }
            None => {}
        }
        seen.insert(scalar.text.clone(), node.span);
        PendingKey::Key(Key { text: scalar.text, span: node.span })
    }

    /// YAML 1.1's `<<: *base`: keys of the base that are not given here.
    fn merge(&mut self, entries: &mut Vec<(Key, Node)>, seen: &mut HashMap<String, Span>, key: &Key, node: Node) {
        let bases = match node.data {
            Data::Seq(items) => items,
            _ => vec![node],
        };
        for base in bases {
            let Data::Map(merged) = base.data else {
                let error = Diagnostic::error(codes::UNSUPPORTED, "`<<` takes a map or a list of maps");
                self.notes.push(error.label(key.span, ""));
                continue;
            };
            for (key, value) in merged {
                if !seen.contains_key(&key.text) {
                    seen.insert(key.text.clone(), Span::new(usize::MAX, usize::MAX));
                    entries.push((key, value));
                }
            }
        }
    }

    fn refuse_tag(&mut self, span: Span) {
        if self.notes.len() < MAX_DUPLICATES {
            let error = Diagnostic::error(codes::UNSUPPORTED, "tags (`!…`) are not used in a manifest");
            self.notes.push(error.label(self.first_line(span), "tagged value").help("remove the tag"));
        }
    }

    fn syntax_error(&self, error: &granit_parser::ScanError) -> Diagnostic {
        let at = error.marker().byte_offset().unwrap_or_default() + self.offset;
        let at = at.min(self.text.len());
        let kind = error.kind();
        if matches!(kind, ErrorKind::RecursionLimitExceeded) {
            return Diagnostic::error(codes::BUDGET, format!("nested deeper than {MAX_DEPTH} levels"))
                .label(Span::new(at, at), "given up here");
        }
        let line = self.text.get(..at).map_or("", |before| &before[before.rfind('\n').map_or(0, |n| n + 1)..]);
        let rest = self.text.get(at..).unwrap_or_default();
        let diagnostic =
            Diagnostic::error(codes::SYNTAX, format!("not valid YAML: {}", error.info())).label(Span::new(at, at), "");
        if line.trim_matches([' ', '\t']).is_empty() && (line.contains('\t') || rest.starts_with('\t')) {
            diagnostic.help("YAML is indented with spaces; replace the tab")
        } else if rest.starts_with('@') || rest.starts_with('`') || rest.starts_with('%') {
            diagnostic.help("put the value in quotes")
        } else {
            diagnostic
        }
    }

    /// Without the blank lines and line ends that a block's end takes with it.
    fn trimmed(&self, span: Span) -> Span {
        match self.text.get(span.start..span.end) {
            Some(slice) => Span::new(span.start, span.start + slice.trim_end().len()),
            None => span,
        }
    }

    fn first_line(&self, span: Span) -> Span {
        match self.text.get(span.start..span.end) {
            Some(slice) => {
                Span::new(span.start, span.start + slice.lines().next().unwrap_or_default().trim_end().len())
            }
            None => span,
        }
    }
}

impl Frame {
    fn new(anchor: usize, span: Span, data: Data) -> Self {
        Self { anchor, span, size: 1, data, key: None, seen: HashMap::new() }
    }
}

/// Text from the manifest as a message repeats it.
pub fn shorten(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// The place of a value inside the tree, whether or not it is there: validators ask for `at("services").at("app")…` and
/// get the nearest place that exists.
#[derive(Debug, Clone, Copy)]
pub struct At<'t> {
    pub node: Option<&'t Node>,
    key: Option<Span>,
    outer: Span,
}

impl<'t> At<'t> {
    pub fn root(node: &'t Node) -> Self {
        let end = node.entries().first().map_or(node.span.start, |(key, _)| key.span.end);
        Self { node: Some(node), key: None, outer: Span::new(node.span.start, end) }
    }

    pub fn get(self, name: &str) -> Self {
        let entry = self.node.and_then(|node| node.entries().iter().find(|(key, _)| key.text == name));
        match entry {
            Some((key, node)) => Self { node: Some(node), key: Some(key.span), outer: key.span },
            None => Self { node: None, key: None, outer: self.key_span() },
        }
    }

    pub fn item(self, index: usize) -> Self {
        match self.node.and_then(|node| node.items().get(index)) {
            Some(node) => Self { node: Some(node), key: None, outer: self.key_span() },
            None => Self { node: None, key: None, outer: self.key_span() },
        }
    }

    pub fn is_given(self) -> bool {
        self.node.is_some_and(|node| !node.is_null())
    }

    pub fn is_map(self) -> bool {
        self.node.is_some_and(|node| matches!(node.data, Data::Map(_)))
    }

    /// The key that introduces the value, or what encloses it.
    pub fn key_span(self) -> Span {
        self.key.unwrap_or(self.outer)
    }

    /// The value where it is one line, else its key.
    pub fn span(self) -> Span {
        match self.node {
            Some(Node { span, data: Data::Scalar(_), .. }) if span.start < span.end => *span,
            Some(Node { span, data: Data::Seq(_) | Data::Map(_), .. }) if self.key.is_none() => *span,
            _ => self.key_span(),
        }
    }

    pub fn keys(self) -> impl Iterator<Item = &'t str> {
        self.node.map_or(&[][..], Node::entries).iter().map(|(key, _)| key.text.as_str())
    }

    /// Where `name` stands among its siblings as written.
    pub fn position(self, name: &str) -> usize {
        self.keys().position(|key| key == name).unwrap_or(usize::MAX)
    }
}
