//! Go templates as ecspresso's files have them: text with actions between `{{` and `}}`, before YAML or JSON is parsed.
//!
//! While the rest of the file is parsed, an action is a token of the same length, which keeps every place true; it is made of
//! private-use characters that no file has. `{{-` and `-}}` take the blanks beside them into the token.

use landfall_manifest::yaml::shorten;
use landfall_manifest::{Diagnostic, Span};

use crate::codes;

const OPEN: char = '\u{e000}';
const CLOSE: char = '\u{e001}';
/// Two characters of three bytes each, and at least one digit. `{{env}}` is as long, and nothing shorter means anything.
const SHORTEST: usize = 7;

/// `a "b" (c)`: a function and what it is given; `|` between several.
pub(super) type Pipeline = Vec<Command>;
pub(super) type Command = Vec<Word>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// `env`, `caller_identity.Account`.
    Name(String),
    Text(String),
    Number(i64),
    Group(Pipeline),
}

#[derive(Debug, Clone)]
pub(super) struct Action {
    pub span: Span,
    /// As written, without the braces.
    pub inner: String,
    pub pipeline: Pipeline,
}

/// A file's text with tokens, and what they stand for.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    pub text: String,
    pub actions: Vec<Action>,
}

/// A piece of a value: text, or an action by its number.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Text(&'a str),
    Action(usize),
}

impl Tokens {
    pub(super) fn in_text(text: &str) -> bool {
        text.contains(OPEN)
    }

    pub(super) fn pieces(text: &str) -> Vec<Piece<'_>> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once(OPEN) {
            if !before.is_empty() {
                pieces.push(Piece::Text(before));
            }
            let (number, after) = after.split_once(CLOSE).unwrap_or((after, ""));
            if let Ok(number) = number.parse() {
                pieces.push(Piece::Action(number));
            }
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest));
        }
        pieces
    }

    /// `label`: what is wrong with an action that is no pipeline of functions; `help`: what there is instead.
    ///
    /// # Errors
    /// Every such action, with its place.
    pub(super) fn of(text: &str, label: &str, help: &str) -> Result<Self, Vec<Diagnostic>> {
        if text.contains([OPEN, CLOSE]) {
            let message = "the characters U+E000 and U+E001 are not taken";
            return Err(vec![Diagnostic::error(codes::UNSUPPORTED, message)]);
        }
        let mut found = Vec::new();
        let mut tokens = Self::default();
        let mut at = 0;
        while let Some(begin) = text[at..].find("{{").map(|found| at + found) {
            let Some(end) = closing(text, begin + 2) else {
                let error = Diagnostic::error(codes::BAD_VALUE, "`{{` without its `}}`");
                found.push(error.label(Span::new(begin, begin + 2), "not closed"));
                break;
            };
            let (inner, from, to) = trimmed(text, at, begin, end);
            tokens.text.push_str(&text[at..from]);
            let width = to - from;
            if is_comment(inner) {
                blank(&text[from..to], &mut tokens.text);
            } else {
                match pipeline(inner).filter(|_| width >= SHORTEST) {
                    Some(pipeline) => {
                        let number = tokens.actions.len();
                        let digits = width - 2 * OPEN.len_utf8();
                        tokens.text.push_str(&format!("{OPEN}{number:0digits$}{CLOSE}"));
                        let inner = inner.to_owned();
                        tokens.actions.push(Action { span: Span::new(begin, end), inner, pipeline });
                    }
                    None => {
                        let message = format!("the template `{}` is not understood", shorten(inner));
                        let error = Diagnostic::error(codes::UNSUPPORTED, message);
                        found.push(error.label(Span::new(begin, end), label).help(help));
                        blank(&text[from..to], &mut tokens.text);
                    }
                }
            }
            at = to;
        }
        tokens.text.push_str(&text[at..]);
        if found.is_empty() { Ok(tokens) } else { Err(found) }
    }
}

/// Behind the `}}` that ends an action; one within quotes does not.
fn closing(text: &str, from: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = from;
    while at < bytes.len() {
        match bytes[at] {
            b'`' => at += 1 + text[at + 1..].find('`')?,
            b'"' => {
                at += 1;
                while *bytes.get(at)? != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
            }
            b'/' if bytes.get(at + 1) == Some(&b'*') => at += 3 + text.get(at + 2..)?.find("*/")?,
            b'}' if bytes.get(at + 1) == Some(&b'}') => return Some(at + 2),
            _ => {}
        }
        at += 1;
    }
    None
}

/// The action's inside, and from where to where it takes the text's place: with `{{-` from the blanks before it on.
fn trimmed(text: &str, before: usize, begin: usize, end: usize) -> (&str, usize, usize) {
    const BLANK: [char; 4] = [' ', '\t', '\r', '\n'];
    let mut inner = &text[begin + 2..end - 2];
    let (mut from, mut to) = (begin, end);
    if let Some(rest) = inner.strip_prefix('-').filter(|rest| rest.starts_with(BLANK)) {
        inner = rest;
        from = before + text[before..begin].trim_end_matches(BLANK).len();
    }
    if let Some(rest) = inner.strip_suffix('-').filter(|rest| rest.ends_with(BLANK)) {
        inner = rest;
        to = text.len() - text[end..].trim_start_matches(BLANK).len();
    }
    (inner.trim(), from, to)
}

fn is_comment(inner: &str) -> bool {
    inner.starts_with("/*") && inner.ends_with("*/")
}

/// Spaces, but line ends stay.
fn blank(text: &str, out: &mut String) {
    out.extend(text.bytes().map(|b| if b == b'\n' { '\n' } else { ' ' }));
}

enum Lexeme {
    Word(Word),
    Pipe,
    Open,
    Close,
}

fn pipeline(inner: &str) -> Option<Pipeline> {
    let mut lexemes = lexemes(inner)?.into_iter();
    let pipeline = group(&mut lexemes, 0)?;
    // What is left was closed without having been opened.
    lexemes.next().is_none().then_some(pipeline)
}

const DEEPEST: usize = 16;

fn group(lexemes: &mut std::vec::IntoIter<Lexeme>, depth: usize) -> Option<Pipeline> {
    let mut pipeline = vec![Command::new()];
    while let Some(lexeme) = lexemes.next() {
        let command = pipeline.last_mut()?;
        match lexeme {
            Lexeme::Word(word) => command.push(word),
            Lexeme::Open if depth < DEEPEST => command.push(Word::Group(group(lexemes, depth + 1)?)),
            Lexeme::Open => return None,
            Lexeme::Close if depth > 0 => return closed(pipeline),
            Lexeme::Close => return None,
            Lexeme::Pipe => pipeline.push(Command::new()),
        }
    }
    if depth == 0 { closed(pipeline) } else { None }
}

fn closed(pipeline: Pipeline) -> Option<Pipeline> {
    pipeline.iter().all(|command| !command.is_empty()).then_some(pipeline)
}

fn lexemes(text: &str) -> Option<Vec<Lexeme>> {
    let mut lexemes = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (lexeme, after) = match first {
            '|' => (Lexeme::Pipe, &rest[1..]),
            '(' => (Lexeme::Open, &rest[1..]),
            ')' => (Lexeme::Close, &rest[1..]),
            '`' => {
                let (raw, after) = rest[1..].split_once('`')?;
                (Lexeme::Word(Word::Text(raw.to_owned())), after)
            }
            '"' => {
                let mut end = 1;
                loop {
                    match rest.as_bytes().get(end)? {
                        b'\\' => end += 2,
                        b'"' => break,
                        _ => end += 1,
                    }
                }
                (Lexeme::Word(Word::Text(serde_json::from_str(rest.get(..=end)?).ok()?)), &rest[end + 1..])
            }
            _ => {
                let special = |c: char| c.is_whitespace() || matches!(c, '|' | '`' | '"' | '(' | ')');
                let end = rest.find(special).unwrap_or(rest.len());
                (Lexeme::Word(word(&rest[..end])?), &rest[end..])
            }
        };
        lexemes.push(lexeme);
        rest = after.trim_start();
    }
    Some(lexemes)
}

fn word(text: &str) -> Option<Word> {
    if let Ok(number) = text.parse() {
        return Some(Word::Number(number));
    }
    text.split('.').all(is_name).then(|| Word::Name(text.to_owned()))
}

pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(text: &str) -> Result<Tokens, Vec<Diagnostic>> {
        Tokens::of(text, "", "")
    }

    #[test]
    fn actions_become_tokens_of_their_own_length() {
        let text = "a: \"{{ env `A` \"}}\" }}-{{ ssm `/x` 1 | json_escape }}\"";
        let tokens = of(text).unwrap();
        assert_eq!(tokens.text.len(), text.len());
        assert_eq!(
            tokens.actions[0].pipeline,
            [[Word::Name("env".into()), Word::Text("A".into()), Word::Text("}}".into())]]
        );
        assert_eq!(tokens.actions[1].pipeline.len(), 2);
        assert_eq!(tokens.actions[1].pipeline[0][2], Word::Number(1));
        let inside = &tokens.text[4..tokens.text.len() - 1];
        assert_eq!(Tokens::pieces(inside), [Piece::Action(0), Piece::Text("-"), Piece::Action(1)]);
    }

    #[test]
    fn groups_nest() {
        let tokens = of("{{ tfstatef `x['%s']` (must_env `SERVICE` | json_escape) }}").unwrap();
        let [command] = &tokens.actions[0].pipeline[..] else { panic!() };
        assert!(matches!(&command[2], Word::Group(inner) if inner.len() == 2));
    }

    #[test]
    fn trim_markers_take_the_blanks_beside_them() {
        let text = "x  {{- env `A` -}} \n y{{ env `B` }}";
        let tokens = of(text).unwrap();
        assert_eq!(tokens.text.len(), text.len());
        assert!(tokens.text.starts_with("x\u{e000}"));
        assert!(tokens.text.contains("\u{e001}y\u{e000}"));
    }

    #[test]
    fn what_is_no_pipeline_is_refused_with_its_place() {
        for inner in ["$x := env `A`", "( env `A`", "env `A` )", "env `A` |", "| env", "", ".Values.x", "\"open"] {
            let found = of(&format!("first: 1\nx: {{{{ {inner} }}}}")).unwrap_err();
            assert_eq!(found[0].labels[0].span.start, 12, "{inner}");
        }
        assert!(of(&format!("{{{{ {} env `A` {} }}}}", "(".repeat(100_000), ")".repeat(100_000))).is_err());
    }
}
