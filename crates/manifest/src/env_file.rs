//! Files of `NAME=VALUE` lines: what Compose calls an env file and many tools `.env`. Never says a value, in no error.
//!
//! ```text
//! # a comment
//! export NAME=value            `export` is ignored; what is not quoted ends before ` #`, without the blanks around it
//! QUOTED='as $it is'           nothing is replaced
//! DOUBLE="two\nlines"          \n \r \t \" \\ \$; may go on over several lines
//! ```

/// A line that is none of that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// From 1.
    pub line: usize,
    pub why: &'static str,
}

/// One `NAME=VALUE`, and the line that it begins on, from 1.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    pub name: String,
    pub value: String,
    pub line: usize,
}

/// In the order written. A name that comes twice has its last value.
///
/// # Errors
/// The first line that is malformed.
pub fn parse(text: &str) -> Result<Vec<Pair>, Malformed> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut pairs: Vec<Pair> = Vec::new();
    let mut rest = text;
    let mut line = 1;
    while !rest.is_empty() {
        let (this, after) = rest.split_once('\n').unwrap_or((rest, ""));
        let began = line;
        let trimmed = this.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            (rest, line) = (after, line + 1);
            continue;
        }
        let malformed = |why| Malformed { line: began, why };
        let start = trimmed.strip_prefix("export ").map_or(trimmed, str::trim_start);
        let (name, _) = start.split_once('=').ok_or_else(|| malformed("not NAME=VALUE"))?;
        let name = name.trim_end();
        if !legal(name) {
            return Err(malformed("no name of an environment variable before `=`"));
        }
        // From the value on, in what is left of the text: it may have several lines.
        let at = this.find('=').map_or(this.len(), |at| at + 1);
        let value_text = rest[at..].trim_start_matches([' ', '\t']);
        let (value, left) = match value_text.chars().next() {
            Some('\'') => quoted(&value_text[1..], '\'').ok_or_else(|| malformed("a quote that does not end"))?,
            Some('"') => quoted(&value_text[1..], '"').ok_or_else(|| malformed("a quote that does not end"))?,
            _ => {
                let raw = value_text.split_once('\n').map_or(value_text, |(raw, _)| raw);
                let end = raw.find(" #").or_else(|| raw.find("\t#")).unwrap_or(raw.len());
                let raw = if raw.starts_with('#') { "" } else { &raw[..end] };
                (raw.trim_end().to_owned(), after)
            }
        };
        line += rest[..rest.len() - left.len()].matches('\n').count();
        let mut left = left;
        if value_text.starts_with(['\'', '"']) {
            let (tail, after) = left.split_once('\n').unwrap_or((left, ""));
            if !tail.trim().is_empty() && !tail.trim_start().starts_with('#') {
                return Err(Malformed { line, why: "something after the closing quote" });
            }
            (left, line) = (after, line + 1);
        }
        pairs.retain(|pair| pair.name != name);
        pairs.push(Pair { name: name.to_owned(), value, line: began });
        rest = left;
    }
    Ok(pairs)
}

/// What is between the quotes, and what comes after them.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Some((value, &text[at + 1..])),
            '\\' if quote == '"' => match chars.next()?.1 {
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                c @ ('"' | '\\' | '$' | '`') => value.push(c),
                c => value.extend(['\\', c]),
            },
            '\r' if text[at + 1..].starts_with('\n') => {}
            c => value.push(c),
        }
    }
    None
}

fn legal(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn pairs(text: &str) -> Vec<(String, String, usize)> {
        parse(text).unwrap_or_else(|bad| panic!("{bad:?}")).into_iter().map(|p| (p.name, p.value, p.line)).collect()
    }

    #[test]
    fn lines_are_read_as_people_write_them() {
        let text = "# first\n\nA=1\r\nexport B = two words # and a comment\nC='$as # it is'\nD=\"a\\nb \\\"c\\\"\" # end\nE=\nF=x#y\nG=#z\n  H=a=b=";
        let expected = [
            ("A", "1", 3),
            ("B", "two words", 4),
            ("C", "$as # it is", 5),
            ("D", "a\nb \"c\"", 6),
            ("E", "", 7),
            ("F", "x#y", 8),
            ("G", "", 9),
            ("H", "a=b=", 10),
        ];
        assert_eq!(pairs(text), expected.map(|(name, value, line)| (name.to_owned(), value.to_owned(), line)));
    }

    #[test]
    fn quotes_go_on_over_lines_and_the_last_of_a_name_wins() {
        let text = "KEY=\"-----BEGIN\nabc\n-----END\"\nA=1\nA=2\n";
        let expected = [("KEY", "-----BEGIN\nabc\n-----END", 1), ("A", "2", 5)];
        assert_eq!(pairs(text), expected.map(|(name, value, line)| (name.to_owned(), value.to_owned(), line)));
        assert_eq!(pairs(""), []);
    }

    #[test]
    fn what_is_malformed_is_told_by_its_line_alone() {
        let of = |text| parse(text).err().map(|bad| (bad.line, bad.why));
        assert_eq!(of("A=1\nhunter2"), Some((2, "not NAME=VALUE")));
        assert_eq!(of("1A=x"), Some((1, "no name of an environment variable before `=`")));
        assert_eq!(of("A=1\nB='x\ny"), Some((2, "a quote that does not end")));
        assert_eq!(of("A='x\ny' z"), Some((2, "something after the closing quote")));
    }
}
