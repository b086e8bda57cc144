//! Constants of a TypeScript file. What they are is read, never worked out: a variable, a call or an operator is an error with its place.

use landfall_manifest::yaml::shorten;
use landfall_manifest::{Diagnostic, SourceFile, Span};

use super::tokens::{Token, Word, words};
use crate::codes;

/// Deeper than anybody writes.
const DEEPEST: usize = 64;
const HELP: &str = "write the value itself into a copy of the file";

/// A constant, or a value within one that is an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Constant {
    /// `config.github.owner`.
    pub path: String,
    /// The last part of it.
    pub name: String,
    /// Where its name stands.
    pub key: Span,
    pub value: Span,
    /// `None`: a number, a list, true, false or null.
    pub text: Option<String>,
}

/// # Errors
/// Everything that is no constant.
pub(super) fn constants(source: &SourceFile) -> Result<Vec<Constant>, Vec<Diagnostic>> {
    let words = words(&source.text).map_err(|error| vec![error])?;
    let mut parser = Parser { words, at: 0, found: Vec::new(), out: Vec::new() };
    while parser.token() != &Token::End {
        let before = parser.at;
        if parser.statement().is_err() {
            parser.skip_statement(before);
        }
    }
    if parser.found.is_empty() { Ok(parser.out) } else { Err(parser.found) }
}

/// It was reported.
#[derive(Debug)]
struct Reported;

type Read<T> = Result<T, Reported>;

struct Parser {
    words: Vec<Word>,
    at: usize,
    found: Vec<Diagnostic>,
    out: Vec<Constant>,
}

/// Statements begin with these.
fn begins(word: &Word) -> bool {
    word.new_line
        && matches!(&word.token, Token::Name(name) if matches!(
            name.as_str(),
            "export" | "const" | "let" | "var" | "import" | "interface" | "type" | "declare"
        ))
}

impl Parser {
    fn word(&self) -> &Word {
        // The last one is the end, and nothing goes past it.
        &self.words[self.at.min(self.words.len() - 1)]
    }

    fn token(&self) -> &Token {
        &self.word().token
    }

    fn is(&self, sign: char) -> bool {
        *self.token() == Token::Sign(sign)
    }

    /// `=`, and not that of `=>`.
    fn is_assignment(&self) -> bool {
        self.is('=') && self.words.get(self.at + 1).is_none_or(|next| next.token != Token::Sign('>'))
    }

    fn takes(&mut self, sign: char) -> bool {
        let is = self.is(sign);
        self.at += usize::from(is);
        is
    }

    fn takes_name(&mut self, name: &str) -> bool {
        let is = matches!(self.token(), Token::Name(own) if own == name);
        self.at += usize::from(is);
        is
    }

    fn name(&self) -> Option<&str> {
        match self.token() {
            Token::Name(name) => Some(name),
            _ => None,
        }
    }

    fn fail<T>(&mut self, span: Span, message: impl Into<String>, label: &str) -> Read<T> {
        self.found.push(Diagnostic::error(codes::UNSUPPORTED, message).label(span, label).help(HELP));
        Err(Reported)
    }

    fn expected<T>(&mut self, what: &str) -> Read<T> {
        let span = self.word().span;
        let message = format!("expected {what}");
        self.found.push(Diagnostic::error(codes::BAD_VALUE, message).label(span, "this is something else"));
        Err(Reported)
    }

    fn skip_statement(&mut self, before: usize) {
        self.at = self.at.max(before + 1);
        while self.token() != &Token::End && !begins(self.word()) {
            self.at += 1;
        }
    }

    fn statement(&mut self) -> Read<()> {
        if self.takes(';') {
            return Ok(());
        }
        if matches!(self.token(), Token::Text(text) if text == "use strict") {
            self.at += 1;
            return self.end();
        }
        let exported = self.takes_name("export");
        if exported && self.takes_name("default") {
            return self.exported();
        }
        if exported && self.takes('=') {
            return self.exported();
        }
        if exported && self.is('{') {
            self.skip_braces()?;
            return self.end();
        }
        self.takes_name("declare");
        match self.name() {
            Some("const" | "let" | "var") => {
                self.at += 1;
                self.declarations()
            }
            Some("interface") => {
                while !self.is('{') {
                    if self.token() == &Token::End {
                        return self.expected("`{`");
                    }
                    self.at += 1;
                }
                self.skip_braces()
            }
            Some("type") => {
                self.at += 1;
                self.skip_type(|parser| parser.is(';') || begins(parser.word()));
                Ok(())
            }
            Some("import") => {
                let span = self.word().span;
                self.fail(span, "what another file says is not known here", "imported")
            }
            Some(name) => {
                let message = format!("`{}` is no constant", shorten(name));
                let span = self.word().span;
                self.fail(span, message, "only `const NAME = VALUE` is read")
            }
            None => self.expected("`export const NAME = VALUE`"),
        }
    }

    /// `export default`: the constants that it names stand elsewhere in the file.
    fn exported(&mut self) -> Read<()> {
        if self.is('{') {
            self.value("", 0, None)?;
        } else if self.name().is_some() {
            self.at += 1;
        } else {
            return self.expected("an object or a constant's name");
        }
        self.end()
    }

    fn declarations(&mut self) -> Read<()> {
        loop {
            let Some(name) = self.name().map(str::to_owned) else { return self.expected("a name") };
            let key = self.word().span;
            self.at += 1;
            if self.takes(':') {
                self.skip_type(|parser| parser.is_assignment() || parser.is(';') || begins(parser.word()));
            }
            if !self.takes('=') {
                return self.expected(&format!("`=`, for `{}` is to have a value", shorten(&name)));
            }
            self.value(&name, 0, Some(key))?;
            if !self.takes(',') {
                return self.end();
            }
        }
    }

    /// A new line ends a statement where the next word cannot go on with it.
    fn end(&mut self) -> Read<()> {
        let word = self.word();
        let ends = match &word.token {
            Token::End => true,
            Token::Sign(';') => true,
            Token::Name(name) => word.new_line && !matches!(name.as_str(), "in" | "instanceof"),
            Token::Text(_) | Token::Number => word.new_line,
            Token::Sign(_) | Token::Template => false,
        };
        if !ends {
            let span = self.word().span;
            return self.fail(span, "a value that is worked out is not known here", "not the end of the value");
        }
        self.takes(';');
        Ok(())
    }

    fn value(&mut self, path: &str, depth: usize, key: Option<Span>) -> Read<()> {
        if depth > DEEPEST {
            let span = self.word().span;
            return self.fail(span, format!("more than {DEEPEST} levels"), "too deep");
        }
        let word = self.word().clone();
        let key = key.unwrap_or(word.span);
        match &word.token {
            Token::Text(text) => {
                self.at += 1;
                self.add(path, key, word.span, Some(text.clone()));
            }
            Token::Number => {
                self.at += 1;
                self.add(path, key, word.span, None);
            }
            Token::Sign('-') if self.words.get(self.at + 1).is_some_and(|next| next.token == Token::Number) => {
                self.at += 2;
                self.add(path, key, word.span, None);
            }
            Token::Name(name) if matches!(name.as_str(), "true" | "false" | "null" | "undefined") => {
                self.at += 1;
                self.add(path, key, word.span, None);
            }
            Token::Sign('{') => {
                self.at += 1;
                self.object(path, depth)?;
            }
            Token::Sign('[') => {
                self.at += 1;
                self.list(path, depth)?;
                self.add(path, key, word.span, None);
            }
            Token::Template => return self.fail(word.span, "text with `${…}` is not known here", "worked out"),
            Token::Name(name) => {
                let message = format!("`{}` is not known here", shorten(name));
                return self.fail(word.span, message, "a variable or a call");
            }
            Token::Sign(_) | Token::End => return self.expected("a value"),
        }
        // What a value is called in types changes nothing of it.
        while !self.word().new_line && (self.takes_name("as") || self.takes_name("satisfies")) {
            self.skip_type(|parser| {
                matches!(parser.token(), Token::Sign(';' | ',' | '}' | ']')) || parser.word().new_line
            });
        }
        Ok(())
    }

    fn object(&mut self, path: &str, depth: usize) -> Read<()> {
        while !self.takes('}') {
            let word = self.word().clone();
            let name = match &word.token {
                Token::Name(name) => name.clone(),
                Token::Text(text) => text.clone(),
                Token::Sign('[') => return self.fail(word.span, "a key that is worked out is not known here", "a key"),
                Token::Sign('.') => return self.fail(word.span, "what `...` adds is not known here", "added here"),
                _ => return self.expected("a key or `}`"),
            };
            self.at += 1;
            if !self.takes(':') {
                let message = format!("`{}` has no value of its own here", shorten(&name));
                return self.fail(word.span, message, "a variable or a function");
            }
            let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            self.value(&below, depth + 1, Some(word.span))?;
            if !self.takes(',') && !self.is('}') {
                return self.next("`,` or `}`");
            }
        }
        Ok(())
    }

    /// Its items are read, to be sure of its end, and kept by nobody.
    fn list(&mut self, path: &str, depth: usize) -> Read<()> {
        let kept = self.out.len();
        while !self.takes(']') {
            self.value(path, depth + 1, None)?;
            if !self.takes(',') && !self.is(']') {
                return self.next("`,` or `]`");
            }
        }
        self.out.truncate(kept);
        Ok(())
    }

    /// After a value: an operator makes it another one, anything else is a mistake.
    fn next<T>(&mut self, what: &str) -> Read<T> {
        let span = self.word().span;
        match self.token() {
            Token::Sign('}' | ']' | ')' | ';' | ':') | Token::End | Token::Name(_) | Token::Text(_) => {
                self.expected(what)
            }
            _ => self.fail(span, "a value that is worked out is not known here", "not the end of the value"),
        }
    }

    fn add(&mut self, path: &str, key: Span, value: Span, text: Option<String>) {
        let name = path.rsplit('.').next().unwrap_or_default().to_owned();
        self.out.push(Constant { path: path.to_owned(), name, key, value, text });
    }

    fn skip_braces(&mut self) -> Read<()> {
        let begin = self.word().span;
        let mut depth = 0_usize;
        loop {
            match self.token() {
                Token::Sign('{') => depth += 1,
                Token::Sign('}') => depth = depth.saturating_sub(1),
                Token::End => {
                    let error = Diagnostic::error(codes::BAD_VALUE, "`{` has no end").label(begin, "begins here");
                    self.found.push(error);
                    return Err(Reported);
                }
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Ok(());
            }
        }
    }

    /// Types say nothing about values. `end` is asked outside of all brackets.
    fn skip_type(&mut self, end: impl Fn(&Self) -> bool) {
        let mut depth = 0_usize;
        while self.token() != &Token::End && !(depth == 0 && end(self)) {
            match self.token() {
                Token::Sign('{' | '[' | '(' | '<') => depth += 1,
                Token::Sign('}' | ']' | ')') => depth = depth.saturating_sub(1),
                // That of `=>` closes nothing.
                Token::Sign('>') if self.words[self.at - 1].token != Token::Sign('=') => {
                    depth = depth.saturating_sub(1);
                }
                _ => {}
            }
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    type Paths = Vec<(String, Option<String>)>;
    type Places = Vec<(usize, usize, &'static str)>;

    fn read(text: &str) -> Result<Paths, Places> {
        match constants(&SourceFile::new("config.ts", text)) {
            Ok(all) => Ok(all.into_iter().map(|one| (one.path, one.text)).collect()),
            Err(found) => {
                let found = landfall_manifest::yaml::finish(found, text);
                Err(found.iter().map(|one| (one.labels[0].line, one.labels[0].column, one.code)).collect())
            }
        }
    }

    fn texts(text: &str) -> Vec<(String, String)> {
        let all = read(text).unwrap_or_else(|found| panic!("{text}: {found:?}"));
        all.into_iter().map(|(path, text)| (path, text.unwrap_or_else(|| "-".to_owned()))).collect()
    }

    #[test]
    fn constants_in_every_form() {
        let one = [("a".to_owned(), "x".to_owned())];
        for text in [
            "export const a = 'x';",
            "export const a = 'x'",
            "const a='x'",
            "let a: string = `x`;",
            "export const a: Record<string, { b: () => string }> = 'x'\n",
            "export const a: () => string = 'x'\n",
            "'use strict';\nexport const a = \"x\" as const;",
            "export default { a: 'x', };",
            "export default { 'a': 'x' } as const",
            "export default { \"a\": 'x' } satisfies Config;",
            "const a = 'x'; export { a };",
            "const a = 'x'\nexport default a",
            "const a = 'x';\nexport = a;",
            "export interface Config { a: string; b?: { c: number } }\ntype T = string | { a: 1 };\nexport const a = 'x'",
            "\u{feff}/* a */ export /* b */ const // c\n a = // d\n 'x' // e",
        ] {
            assert_eq!(texts(text), one, "{text}");
        }
        assert_eq!(
            texts(
                "export const c: C = {\n  d: { e: 'x', 'f g': -1, },\n  h: [1, ['y'], { i: 2 }],\n}\nconst j = true, k = 'z'"
            ),
            [("c.d.e", "x"), ("c.d.f g", "-"), ("c.h", "-"), ("j", "-"), ("k", "z")]
                .map(|(path, text)| (path.to_owned(), text.to_owned()))
        );
    }

    #[test]
    fn nothing_is_worked_out() {
        for (text, column) in [
            ("const a = 'x' + 'y'", 15),
            ("const a = process.env.A", 11),
            ("const a = b", 11),
            ("const a = f('x')", 11),
            ("const a = `x${b}`", 11),
            ("const a = { ...b }", 13),
            ("const a = { [b]: 'x' }", 13),
            ("const a = { b }", 13),
            ("const a = { b() { return 'x' } }", 13),
            ("const a = { b: 'x' || 'y' }", 20),
            ("const a = 'x'.trim()", 14),
            ("const a = ['x'].join('')", 16),
            ("const a = 'x' ? 'y' : 'z'", 15),
            ("import { a } from './b'", 1),
            ("export * from './b'", 8),
            ("a = 'x'", 1),
            ("if (true) {}", 1),
            ("function f() {}", 1),
            ("export const { a } = b", 14),
        ] {
            let found = read(text).unwrap_err();
            assert_eq!((found[0].0, found[0].1), (1, column), "{text}");
        }
        // A new line does not end what goes on.
        assert_eq!(read("const a = 'x'\n  + 'y'\nconst b = 1").unwrap_err()[0].0, 2);
        assert_eq!(read("const a = 'x'\n(1)").unwrap_err()[0].0, 2);
    }

    #[test]
    fn every_statement_is_looked_at() {
        let found = read("const a = b\nconst c = 'x'\nexport const d = e()\nconst f\n").unwrap_err();
        assert_eq!(found.iter().map(|one| one.0).collect::<Vec<_>>(), [1, 3, 5]);
    }

    #[test]
    fn hostile_files_are_answered() {
        for text in [
            "{",
            "}",
            "[",
            "const",
            "const a",
            "const a =",
            "const a = {",
            "const a = [",
            "const a: {",
            "export",
            "export {",
            "export default",
            "interface",
            "interface A {",
            "const a = { b: }",
            "const a = [,]",
            "const a = { , }",
            "=",
            "<<<",
            "\0",
            "type",
        ] {
            let _ = read(text);
        }
        assert!(read(&format!("const a = {}", "[".repeat(100_000))).is_err());
        assert!(read(&format!("const a = {}", "{b:".repeat(100_000))).is_err());
        assert!(read(&"const a = ".repeat(10_000)).is_err());
        assert!(read(&format!("const a: {} = 'x'", "<".repeat(100_000))).is_err());
    }
}
