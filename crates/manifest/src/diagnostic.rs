//! What is wrong with a manifest, where, and what to do about it. Rendering happens only at the edge, so that the same
//! value serves a terminal and `--output json`.

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::Serialize;

use crate::source::SourceFile;

/// A half-open range of bytes in the manifest's text, always on character boundaries once a diagnostic left this crate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

impl Span {
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// Into range and on character boundaries; at least one character wide where the text has one there.
    fn fitted(self, text: &str) -> Self {
        let floor = |mut at: usize| {
            at = at.min(text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let start = floor(self.start);
        let mut end = floor(self.end).max(start);
        if end == start
            && let Some(c) = text[start..].chars().next()
            && !matches!(c, '\n' | '\r')
        {
            end += c.len_utf8();
        }
        Self { start, end }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Error,
    Warning,
}

/// A place and what is said about it. The first label of a diagnostic is the culprit, the others are context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Label {
    pub span: Span,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// `LF-M…`, listed in [`crate::codes`] and docs/manifest.md.
    pub code: &'static str,
    pub severity: Severity,
    pub message: String,
    /// Empty only when there is no text to point into (the file could not be read).
    pub labels: Vec<Label>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Diagnostic {
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, severity: Severity::Error, message: message.into(), labels: Vec::new(), help: None }
    }

    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    pub fn label(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, line: 0, column: 0, text: text.into() });
        self
    }

    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    pub fn maybe_help(mut self, text: Option<String>) -> Self {
        self.help = text.or(self.help);
        self
    }
}

/// Fits spans to the text, fills in lines and columns, drops repetitions (an alias is checked at each of its uses) and
/// sorts by place.
pub fn finish(mut diagnostics: Vec<Diagnostic>, text: &str) -> Vec<Diagnostic> {
    let lines: Vec<usize> = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
    for label in diagnostics.iter_mut().flat_map(|diagnostic| &mut diagnostic.labels) {
        label.span = label.span.fitted(text);
        let line = lines.partition_point(|start| *start <= label.span.start).max(1);
        label.line = line;
        label.column = text[lines[line - 1]..label.span.start].chars().filter(|c| *c != '\u{feff}').count() + 1;
    }
    let place = |d: &Diagnostic| d.labels.first().map(|label| label.span);
    diagnostics.sort_by(|a, b| (place(a), a.code, &a.message).cmp(&(place(b), b.code, &b.message)));
    diagnostics.dedup();
    diagnostics
}

/// All diagnostics as a person reads them: code, message, file, line, column, the line underlined, and a hint.
/// Ends with a newline unless empty.
pub fn render(diagnostics: &[Diagnostic], source: &SourceFile, color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let mut out = String::new();
    for diagnostic in diagnostics {
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(printable(&diagnostic.message)).id(diagnostic.code);
        let mut group = annotate_snippets::Group::with_title(title);
        if !diagnostic.labels.is_empty() {
            let mut snippet = Snippet::source(source.text.as_str()).path(source.path.as_str());
            for (index, label) in diagnostic.labels.iter().enumerate() {
                let kind = if index == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
                let span = label.span.fitted(&source.text);
                let annotation = kind.span(span.start..span.end);
                snippet = snippet.annotation(match label.text.as_str() {
                    "" => annotation,
                    text => annotation.label(printable(text)),
                });
            }
            group = group.element(snippet);
        }
        if let Some(help) = &diagnostic.help {
            group = group.element(Level::HELP.message(printable(help)));
        }
        out.push_str(&renderer.render(&[group]));
        out.push_str("\n\n");
    }
    if out.ends_with("\n\n") {
        out.pop();
    }
    out
}

/// Values from a manifest may hold terminal escapes; a message shows them, it does not send them.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// `Some(" did you mean `x`?")`-style help for a word that is close to one of those known.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    closest(word, known).map(|best| format!("did you mean `{best}`?"))
}

/// The known word nearest to `word`, if any is near enough to be a slip of the fingers.
pub(crate) fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // The distance is quadratic; nobody mistypes a key of this length.
    if word.len() > 64 {
        return None;
    }
    let folded = |text: &str| text.to_lowercase().replace('-', "_");
    let allowed = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&folded(word), &folded(candidate)), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
