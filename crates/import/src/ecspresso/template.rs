//! Go templates as ecspresso uses them, before YAML or JSON is parsed: `env`, `must_env` and `json_escape`.
//!
//! A function is not called but kept: `{{ must_env "TAG" }}` becomes `${TAG?}` of the manifest, so that the variable is asked
//! for at each deployment and not once now. While the file is parsed an action is a token of the same length, which keeps
//! every place true; it is made of private-use characters that no file has.

use landfall_manifest::yaml::{finish, shorten};
use landfall_manifest::{Diagnostic, SourceFile, Span};

use crate::codes;

const OPEN: char = '\u{e000}';
const CLOSE: char = '\u{e001}';
/// Two characters of three bytes each, and at least one digit.
const SHORTEST: usize = 7;

/// A file's text with tokens, and what they stand for.
#[derive(Debug, Default)]
pub(super) struct Rendered {
    pub text: String,
    /// `${…}` of the manifest, by the token's number.
    expressions: Vec<String>,
}

/// A value of the file for the manifest: `$` doubled, tokens replaced.
impl Rendered {
    pub(super) fn manifest(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once(OPEN) {
            out.push_str(&before.replace('$', "$$"));
            let (number, after) = after.split_once(CLOSE).unwrap_or((after, ""));
            let expression = number.parse::<usize>().ok().and_then(|number| self.expressions.get(number));
            out.push_str(expression.map_or("", String::as_str));
            rest = after;
        }
        out.push_str(&rest.replace('$', "$$"));
        out
    }

    pub(super) fn has_token(text: &str) -> bool {
        text.contains(OPEN)
    }
}

/// # Errors
/// Every action that is something else, with its place.
pub(super) fn render(source: &SourceFile) -> Result<Rendered, Vec<Diagnostic>> {
    let mut found = Vec::new();
    let text = &source.text;
    if text.contains([OPEN, CLOSE]) {
        let message = "the characters U+E000 and U+E001 are not taken";
        return Err(vec![Diagnostic::error(codes::UNSUPPORTED, message)]);
    }
    let mut rendered = Rendered::default();
    let mut at = 0;
    while let Some(begin) = text[at..].find("{{").map(|found| at + found) {
        rendered.text.push_str(&text[at..begin]);
        let Some(end) = text[begin..].find("}}").map(|found| begin + found + 2) else {
            let error = Diagnostic::error(codes::BAD_VALUE, "`{{` without its `}}`");
            found.push(error.label(Span::new(begin, begin + 2), "not closed"));
            at = begin + 2;
            continue;
        };
        let inner = text[begin + 2..end - 2].trim_start_matches('-').trim_end_matches('-').trim();
        let length = end - begin;
        match expression(inner) {
            Ok(None) => blank(&text[begin..end], &mut rendered.text),
            Ok(Some(expression)) if length >= SHORTEST => {
                let number = rendered.expressions.len();
                let width = length - 2 * OPEN.len_utf8();
                rendered.text.push_str(&format!("{OPEN}{number:0width$}{CLOSE}"));
                rendered.expressions.push(expression);
            }
            Ok(Some(_)) => blank(&text[begin..end], &mut rendered.text),
            Err(message) => {
                let error = Diagnostic::error(codes::UNSUPPORTED, message)
                    .label(Span::new(begin, end), "cannot be imported yet")
                    .help("imported are `env`, `must_env` and `json_escape`; write the value itself into a copy of the file");
                found.push(error);
                blank(&text[begin..end], &mut rendered.text);
            }
        }
        at = end;
    }
    rendered.text.push_str(&text[at..]);
    if found.is_empty() { Ok(rendered) } else { Err(finish(found, text)) }
}

/// Spaces, but line ends stay.
fn blank(text: &str, out: &mut String) {
    out.extend(text.bytes().map(|b| if b == b'\n' { '\n' } else { ' ' }));
}

/// `None` for a comment.
fn expression(inner: &str) -> Result<Option<String>, String> {
    if inner.starts_with("/*") && inner.ends_with("*/") {
        return Ok(None);
    }
    let words = words(inner).ok_or_else(|| format!("the template `{}` is not understood", shorten(inner)))?;
    let mut commands = words.split(|word| matches!(word, Word::Pipe));
    let first = commands.next().unwrap_or_default();
    for command in commands {
        // Escaping is for the text around; what is parsed already needs none.
        if !matches!(command, [Word::Name(name)] if name == "json_escape") {
            return Err(unknown(command, inner));
        }
    }
    match first {
        [Word::Name(name), Word::Text(variable)] if name == "must_env" && is_variable(variable) => {
            Ok(Some(format!("${{{variable}?}}")))
        }
        // Without a default `env` gives the name itself.
        [Word::Name(name), Word::Text(variable)] if name == "env" && is_variable(variable) => {
            Ok(Some(format!("${{{variable}:-{variable}}}")))
        }
        [Word::Name(name), Word::Text(variable), Word::Text(default)]
            if name == "env" && is_variable(variable) && !default.contains(['}', '\n']) =>
        {
            Ok(Some(format!("${{{variable}:-{default}}}")))
        }
        other => Err(unknown(other, inner)),
    }
}

fn unknown(command: &[Word], inner: &str) -> String {
    match command.first() {
        Some(Word::Name(name)) if matches!(name.as_str(), "env" | "must_env") => {
            format!("`{}` in this form is not imported yet", shorten(inner))
        }
        Some(Word::Name(name)) => format!("the template function `{}` is not imported yet", shorten(name)),
        _ => format!("the template `{}` is not understood", shorten(inner)),
    }
}

fn is_variable(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[derive(Debug, PartialEq, Eq)]
enum Word {
    Name(String),
    Text(String),
    Pipe,
}

fn words(text: &str) -> Option<Vec<Word>> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (word, after) = match first {
            '|' => (Word::Pipe, &rest[1..]),
            '`' => {
                let (raw, after) = rest[1..].split_once('`')?;
                (Word::Text(raw.to_owned()), after)
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
                (Word::Text(serde_json::from_str(rest.get(..=end)?).ok()?), &rest[end + 1..])
            }
            _ => {
                let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '|' | '`' | '"')).unwrap_or(rest.len());
                (Word::Name(rest[..end].to_owned()), &rest[end..])
            }
        };
        words.push(word);
        rest = after.trim_start();
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn one(text: &str) -> Result<String, Vec<Diagnostic>> {
        let rendered = render(&SourceFile::new("x", text))?;
        assert_eq!(rendered.text.len(), text.len(), "places stay true");
        Ok(rendered.manifest(&rendered.text))
    }

    #[test]
    fn variables_stay_variables() {
        for (text, written) in [
            ("a:{{ must_env `TAG` }}", "a:${TAG?}"),
            ("{{ env \"A\" \"b c\" }}$x", "${A:-b c}$$x"),
            ("{{- env `A` `1` | json_escape -}}2", "${A:-1}2"),
            ("{{env `A`}}", "${A:-A}"),
            ("{{ must_env `A` }}{{ must_env `B` }}", "${A?}${B?}"),
        ] {
            assert_eq!(one(text).unwrap(), written, "{text}");
        }
        assert_eq!(one("x{{/* a\nb */}}y").unwrap().split_whitespace().collect::<String>(), "xy");
    }

    #[test]
    fn everything_else_is_refused_with_its_place() {
        for text in [
            "{{ tfstate `aws_lb.x.arn` }}",
            "{{ ssm `/a` }}",
            "{{ if true }}",
            "{{ env `A` `B` `c` }}",
            "{{ env `A` `}` }}",
            "{{ must_env `A B` }}",
            "{{ must_env `A` | printf `%s` }}",
            "{{ \"open }}",
            "{{ must_env `A`",
            "{{}}",
        ] {
            let found = one(&format!("first: 1\nx: {text}\n")).unwrap_err();
            assert_eq!((found[0].labels[0].line, found[0].labels[0].column), (2, 4), "{text}");
        }
    }
}
