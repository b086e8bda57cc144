//! Templates of files that are converted: `env`, `must_env` and `json_escape`.
//!
//! A function is not called but kept: `{{ must_env "TAG" }}` becomes `${TAG?}` of the manifest, so that the variable is asked
//! for at each deployment and not once now.

use landfall_manifest::yaml::{finish, shorten};
use landfall_manifest::{Diagnostic, SourceFile};

use super::actions::{Action, Command, Piece, Tokens, Word, is_name};
use crate::codes;

const LABEL: &str = "cannot be imported yet";
const HELP: &str = "imported are `env`, `must_env` and `json_escape`; write the value itself into a copy of the file, or let \
                    `landfall deploy --config` take the files as they are";

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
        let piece = |piece| match piece {
            Piece::Text(text) => text.replace('$', "$$"),
            Piece::Action(number) => self.expressions.get(number).cloned().unwrap_or_default(),
        };
        Tokens::pieces(text).into_iter().map(piece).collect()
    }

    pub(super) fn has_token(text: &str) -> bool {
        Tokens::in_text(text)
    }
}

/// # Errors
/// Every action that is something else, with its place.
pub(super) fn render(source: &SourceFile) -> Result<Rendered, Vec<Diagnostic>> {
    let tokens = Tokens::of(&source.text, LABEL, HELP).map_err(|found| finish(found, &source.text))?;
    let mut found = Vec::new();
    let mut rendered = Rendered { text: tokens.text, expressions: Vec::new() };
    for action in &tokens.actions {
        match expression(action) {
            Ok(expression) => rendered.expressions.push(expression),
            Err(message) => {
                let error = Diagnostic::error(codes::UNSUPPORTED, message).label(action.span, LABEL).help(HELP);
                found.push(error);
            }
        }
    }
    if found.is_empty() { Ok(rendered) } else { Err(finish(found, &source.text)) }
}

fn expression(action: &Action) -> Result<String, String> {
    let (first, others) = action.pipeline.split_first().ok_or_else(String::new)?;
    for command in others {
        // Escaping is for the text around; what is parsed already needs none.
        if !matches!(&command[..], [Word::Name(name)] if name == "json_escape") {
            return Err(unknown(command, &action.inner));
        }
    }
    match &first[..] {
        [Word::Name(name), Word::Text(variable)] if name == "must_env" && is_name(variable) => {
            Ok(format!("${{{variable}?}}"))
        }
        // Without a default `env` gives the name itself.
        [Word::Name(name), Word::Text(variable)] if name == "env" && is_name(variable) => {
            Ok(format!("${{{variable}:-{variable}}}"))
        }
        [Word::Name(name), Word::Text(variable), Word::Text(default)]
            if name == "env" && is_name(variable) && !default.contains(['}', '\n']) =>
        {
            Ok(format!("${{{variable}:-{default}}}"))
        }
        _ => Err(unknown(first, &action.inner)),
    }
}

fn unknown(command: &Command, inner: &str) -> String {
    match command.first() {
        Some(Word::Name(name)) if matches!(name.as_str(), "env" | "must_env") => {
            format!("`{}` in this form is not imported yet", shorten(inner))
        }
        Some(Word::Name(name)) => format!("the template function `{}` is not imported yet", shorten(name)),
        _ => format!("the template `{}` is not understood", shorten(inner)),
    }
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
