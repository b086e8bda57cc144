//! What a step said last: its cause, for where only its end is shown.

use std::collections::VecDeque;

/// As many as may stand between a failure's first line and the end.
const KEPT: usize = 40;
/// Of a failure that says that it is one, and of any other.
const LONG: usize = 6;
const SHORT: usize = 3;
const WIDE: usize = 300;

#[derive(Debug, Clone, Default)]
pub struct Tail(VecDeque<String>);

impl Tail {
    /// `line`: without colours and values that do not show.
    pub fn push(&mut self, line: &str) {
        // Of a line that is written over itself, what is left of it.
        let line = line.trim_end().rsplit('\r').next().unwrap_or_default();
        if line.is_empty() {
            return;
        }
        self.0.push_back(line.chars().take(WIDE).collect());
        if self.0.len() > KEPT {
            self.0.pop_front();
        }
    }

    /// From the last line that begins as errors do, else the very last lines.
    pub fn cause(&self) -> String {
        let is_error = |line: &String| {
            let line = line.trim_start();
            ["error:", "Error:", "ERROR:", "fatal:", "error["].iter().any(|word| line.starts_with(word))
        };
        let (from, most) = match self.0.iter().rposition(is_error) {
            Some(at) => (at, LONG),
            None => (self.0.len().saturating_sub(SHORT), SHORT),
        };
        self.0.iter().skip(from).take(most).map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(lines: &str) -> String {
        let mut tail = Tail::default();
        lines.lines().for_each(|line| tail.push(line));
        tail.cause()
    }

    #[test]
    fn the_last_error_and_what_follows_or_the_last_lines() {
        assert_eq!(cause(""), "");
        assert_eq!(cause("\r 10 %\r 20 %\rerror: cut off\r\nat 20 %"), "error: cut off\nat 20 %");
        assert_eq!(cause("a\n\nb  \nc\nd"), "b\nc\nd");
        let landfall = "Deploy dev\n✗ Wait\nerror: Deploy dev failed\n  because: LF-SERVICE-FAILED exit code 3\n";
        assert_eq!(cause(landfall), "error: Deploy dev failed\n  because: LF-SERVICE-FAILED exit code 3");
        assert_eq!(cause("error: one\nerror: two\na\nb\nc\nd\ne\nf"), "error: two\na\nb\nc\nd\ne");
        assert_eq!(cause(&"x".repeat(1_000)).len(), WIDE);
        let long: String = (0..100).map(|n| format!("{n}\n")).collect();
        assert_eq!(cause(&format!("error: forgotten\n{long}")), "97\n98\n99");
    }
}
