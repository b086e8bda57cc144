//! The words of a TypeScript file that holds constants. Comments are skipped; whether a word stands on a new line is kept, for that may
//! end a statement.

use landfall_manifest::{Diagnostic, Span};

use crate::codes;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Name(String),
    /// What is between quotes, escapes replaced.
    Text(String),
    Number,
    /// `` `…` `` with `${…}` in it.
    Template,
    Sign(char),
    End,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    pub token: Token,
    pub span: Span,
    pub new_line: bool,
}

/// # Errors
/// What cannot be a word at all: it ends the reading.
pub(super) fn words(text: &str) -> Result<Vec<Word>, Diagnostic> {
    let mut words = Vec::new();
    let mut at = if text.starts_with('\u{feff}') { 3 } else { 0 };
    let mut new_line = true;
    loop {
        let rest = &text[at..];
        let Some(first) = rest.chars().next() else { break };
        if first.is_whitespace() {
            new_line |= matches!(first, '\n' | '\r' | '\u{2028}' | '\u{2029}');
            at += first.len_utf8();
            continue;
        }
        if rest.starts_with("//") {
            at += rest.find(['\n', '\r']).unwrap_or(rest.len());
            continue;
        }
        if let Some(comment) = rest.strip_prefix("/*") {
            let Some(length) = comment.find("*/") else {
                return Err(broken(at, at + 2, "a comment has no end", "begins here"));
            };
            new_line |= comment[..length].contains('\n');
            at += length + 4;
            continue;
        }
        let (token, length) = match first {
            '\'' | '"' | '`' => text_at(text, at, first)?,
            'a'..='z' | 'A'..='Z' | '_' | '$' => {
                let length = rest.find(|c: char| !is_name(c)).unwrap_or(rest.len());
                (Token::Name(rest[..length].to_owned()), length)
            }
            '0'..='9' => {
                // `1_000`, `0xff`, `1.5e3`, `10n`: whatever it is, it is no text.
                let length = rest.find(|c: char| !is_name(c) && c != '.').unwrap_or(rest.len());
                (Token::Number, length)
            }
            c if c.is_ascii_punctuation() => (Token::Sign(c), 1),
            c => {
                let message = format!("`{}` cannot stand here", c.escape_default());
                return Err(broken(at, at + c.len_utf8(), &message, "not understood"));
            }
        };
        words.push(Word { token, span: Span::new(at, at + length), new_line });
        at += length;
        new_line = false;
    }
    words.push(Word { token: Token::End, span: Span::new(text.len(), text.len()), new_line: true });
    Ok(words)
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '$')
}

fn broken(start: usize, end: usize, message: &str, label: &str) -> Diagnostic {
    Diagnostic::error(codes::BAD_VALUE, message).label(Span::new(start, end), label)
}

/// Text that begins at `at` with `quote`, and how long it is with its quotes.
fn text_at(text: &str, at: usize, quote: char) -> Result<(Token, usize), Diagnostic> {
    let mut out = String::new();
    let mut computed = false;
    let mut place = at + 1;
    let open = |place: usize| Err(broken(at, place, "a text has no end", "begins here"));
    loop {
        let Some(c) = text[place..].chars().next() else { return open(place) };
        match c {
            c if c == quote => break,
            '\n' | '\r' if quote != '`' => return open(place),
            '\\' => {
                let (c, length) = escape(text, place)?;
                out.extend(c);
                place += length;
                continue;
            }
            '$' if quote == '`' && text[place..].starts_with("${") => computed = true,
            _ => {}
        }
        out.push(c);
        place += c.len_utf8();
    }
    let token = if computed { Token::Template } else { Token::Text(out) };
    Ok((token, place + 1 - at))
}

/// What the escape at `at` stands for, and its length; nothing for a line that goes on.
fn escape(text: &str, at: usize) -> Result<(Option<char>, usize), Diagnostic> {
    let rest = &text[at + 1..];
    let Some(c) = rest.chars().next() else {
        return Err(broken(at, at + 1, "a text has no end", "ends here"));
    };
    let plain = |c: char| Ok((Some(c), 2));
    let wrong = |length: usize| Err(broken(at, at + length, "no escape of TypeScript", "not understood"));
    match c {
        'n' => plain('\n'),
        't' => plain('\t'),
        'r' => plain('\r'),
        'b' => plain('\u{8}'),
        'f' => plain('\u{c}'),
        'v' => plain('\u{b}'),
        '0' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => plain('\0'),
        '0'..='9' => wrong(2),
        '\r' if rest[1..].starts_with('\n') => Ok((None, 3)),
        '\n' | '\r' => Ok((None, 2)),
        'x' => match code(rest.get(1..3)) {
            Some(c) => Ok((char::from_u32(c), 4)),
            None => wrong(2),
        },
        'u' if rest[1..].starts_with('{') => {
            let end = rest.find('}').unwrap_or(0);
            match code(rest.get(2..end)).and_then(char::from_u32) {
                Some(c) => Ok((Some(c), end + 2)),
                None => wrong(2),
            }
        }
        'u' => {
            let Some(first) = code(rest.get(1..5)) else { return wrong(2) };
            if let Some(c) = char::from_u32(first) {
                return Ok((Some(c), 6));
            }
            // Half of a character: the other half follows.
            let second = rest.get(5..7).filter(|text| *text == "\\u").and_then(|_| code(rest.get(7..11)));
            let pair = second.and_then(|second| {
                let units = [u16::try_from(first).ok()?, u16::try_from(second).ok()?];
                char::decode_utf16(units).next()?.ok()
            });
            match pair {
                Some(c) => Ok((Some(c), 12)),
                None => wrong(6),
            }
        }
        c => Ok((Some(c), 1 + c.len_utf8())),
    }
}

fn code(digits: Option<&str>) -> Option<u32> {
    let digits = digits.filter(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn text(source: &str) -> String {
        match words(source).unwrap().remove(0).token {
            Token::Text(text) => text,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn text_in_every_quote_with_every_escape() {
        for (source, value) in [
            (r"'a'", "a"),
            (r#""it's""#, "it's"),
            (r"'it\'s'", "it's"),
            ("`two\nlines`", "two\nlines"),
            (r"'\x41\u0042\u{43}\uD83D\uDE00'", "ABC😀"),
            (r"'a\tb\\c\0'", "a\tb\\c\0"),
            ("'go\\\non'", "goon"),
            (r"`$x \${y}`", "$x ${y}"),
            (r"'${x}'", "${x}"),
            ("'// no comment'", "// no comment"),
            ("`a${b}`", "Template"),
        ] {
            assert_eq!(text(source), value, "{source}");
        }
    }

    #[test]
    fn comments_are_no_words_and_lines_are_kept() {
        let words = words("a // b\nc /* d\n e */ f /* */ g\r\n;").unwrap();
        let seen: Vec<_> = words.iter().map(|word| (&word.token, word.new_line)).collect();
        let name = |name: &str| Token::Name(name.to_owned());
        assert_eq!(
            seen,
            [
                (&name("a"), true),
                (&name("c"), true),
                (&name("f"), true),
                (&name("g"), false),
                (&Token::Sign(';'), true),
                (&Token::End, true)
            ]
        );
    }

    #[test]
    fn what_is_no_word_has_its_place() {
        for (source, start) in [
            ("a 'b", 2),
            ("'a\n'", 0),
            ("/* a", 0),
            (r"'a\u12'", 2),
            (r"'\uD83D'", 1),
            (r"'\u{110000}'", 1),
            (r"'\u{}'", 1),
            (r"'\07'", 1),
            ("'a\\", 2),
            ("x = é", 4),
            ("`a", 0),
        ] {
            let error = words(source).unwrap_err();
            assert_eq!(error.labels[0].span.start, start, "{source}: {error:?}");
        }
    }
}
