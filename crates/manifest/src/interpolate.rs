//! `${VAR}`, `${VAR:-default}`, `${VAR-default}`, `${VAR:?message}`, `${VAR?message}` and `$$`, as Compose has them, in
//! scalar values and never in keys. A bare `$VAR` stays as it is: shells in commands and health checks want it.

use landfall_model::redact::looks_secret;

use crate::codes;
use crate::diagnostic::{Diagnostic, Span};
use crate::tree::{Data, Node, Scalar, shorten};

/// An interpolated value may not grow beyond this many bytes.
const MAX_VALUE: usize = 64 * 1024;

pub(crate) fn interpolate(
    node: &mut Node,
    text: &str,
    vars: &dyn Fn(&str) -> Option<String>,
    found: &mut Vec<Diagnostic>,
) {
    walk(node, false, text, vars, found);
}

/// `hidden`: some key on the way here looks like the name of a secret.
fn walk(node: &mut Node, hidden: bool, text: &str, vars: &dyn Fn(&str) -> Option<String>, found: &mut Vec<Diagnostic>) {
    let span = node.span;
    match &mut node.data {
        Data::Seq(items) => items.iter_mut().for_each(|item| walk(item, hidden, text, vars, found)),
        Data::Map(entries) => {
            for (key, value) in entries {
                let hidden = hidden || looks_secret(&key.text);
                walk(value, hidden, text, vars, found);
            }
        }
        Data::Scalar(scalar) => {
            scalar.hidden = hidden;
            if scalar.text.contains('$') {
                replace(scalar, span, text, vars, found);
            }
        }
    }
}

fn replace(
    scalar: &mut Scalar,
    span: Span,
    text: &str,
    vars: &dyn Fn(&str) -> Option<String>,
    found: &mut Vec<Diagnostic>,
) {
    let mut out = String::with_capacity(scalar.text.len());
    let mut rest = scalar.text.as_str();
    let mut replaced = false;
    let mut failed = false;
    let mut hidden = scalar.hidden;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("$$") {
            out.push('$');
            rest = after;
            continue;
        }
        let Some(inner) = rest.strip_prefix("${") else {
            out.push('$');
            rest = &rest[1..];
            continue;
        };
        let Some(end) = inner.find('}') else {
            let error = Diagnostic::error(codes::VARIABLE, "`${` without its `}`")
                .label(place(span, text, "${"), "not closed")
                .help("write `$$` where a dollar sign is meant");
            found.push(error);
            scalar.failed = true;
            return;
        };
        let reference = &inner[..end];
        rest = &inner[end + 1..];
        let name_end = reference.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(reference.len());
        let (name, modifier) = reference.split_at(name_end);
        let here = place(span, text, &format!("${{{reference}}}"));
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            let error = Diagnostic::error(codes::VARIABLE, format!("`${{{}}}` names no variable", shorten(reference)))
                .label(here, "")
                .help("a name is letters, digits and `_`; write `$$` where a dollar sign is meant");
            found.push(error);
            scalar.failed = true;
            return;
        }
        hidden |= looks_secret(name);
        let value = vars(name);
        let filled = value.clone().filter(|value| !value.is_empty());
        let resolved = if modifier.is_empty() {
            value.ok_or_else(|| format!("variable `{name}` is not set"))
        } else if let Some(default) = modifier.strip_prefix(":-") {
            Ok(filled.unwrap_or_else(|| default.to_owned()))
        } else if let Some(default) = modifier.strip_prefix('-') {
            Ok(value.unwrap_or_else(|| default.to_owned()))
        } else if let Some(message) = modifier.strip_prefix(":?") {
            filled.ok_or_else(|| required(name, message))
        } else if let Some(message) = modifier.strip_prefix('?') {
            value.ok_or_else(|| required(name, message))
        } else {
            let error = Diagnostic::error(codes::VARIABLE, format!("`${{{}}}` is malformed", shorten(reference)))
                .label(here, "after the name comes `:-default`, `:?message` or `}`")
                .help("write `$$` where a dollar sign is meant");
            found.push(error);
            scalar.failed = true;
            return;
        };
        match resolved {
            Ok(value) if out.len() + value.len() <= MAX_VALUE => {
                out.push_str(&value);
                replaced = true;
            }
            Ok(_) => {
                let error = Diagnostic::error(codes::VARIABLE, format!("longer than {MAX_VALUE} bytes with `{name}`"));
                found.push(error.label(here, ""));
                scalar.failed = true;
                return;
            }
            Err(message) => {
                let error = Diagnostic::error(codes::VARIABLE, message)
                    .label(here, "needed here")
                    .help(format!("set `{name}` in Landfall's environment, or give a default: `${{{name}:-value}}`"));
                found.push(error);
                failed = true;
            }
        }
    }
    out.push_str(rest);
    scalar.text = out;
    scalar.interpolated = replaced;
    scalar.hidden = hidden && replaced;
    scalar.failed = failed;
}

fn required(name: &str, message: &str) -> String {
    match message.trim() {
        "" => format!("variable `{name}` is required"),
        message => format!("variable `{name}` is required: {}", shorten(message)),
    }
}

/// Where `needle` stands in the source of the value; the whole value when escapes hide it.
fn place(span: Span, text: &str, needle: &str) -> Span {
    let slice = text.get(span.start..span.end).unwrap_or_default();
    match slice.find(needle) {
        Some(at) => Span::new(span.start + at, span.start + at + needle.len()),
        None => span,
    }
}
