//! What BuildKit tells of a build: protobuf (`moby.buildkit.v1.StatusResponse`) in base64, in lines of the stream. Of its four
//! lists two are shown, steps and their output; the others are progress bars and lints. The few fields are read by hand, since a
//! schema compiler for them would be the larger part.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// The `id` of such a line; its `aux` is the message.
pub(super) const TRACE: &str = "moby.buildkit.trace";

/// A line of output longer than this is told in pieces.
const LONGEST_LINE: usize = 64 * 1024;

/// What was told already: a step is named when it starts, and again only for its failure.
#[derive(Debug, Default)]
pub(super) struct Trace {
    told: BTreeSet<String>,
    failed: BTreeSet<String>,
    /// Output without its newline, by step and stream.
    begun: BTreeMap<(String, u64), Vec<u8>>,
}

impl Trace {
    /// The lines of one message; of one that cannot be read, none.
    pub(super) fn lines(&mut self, base64: &str, mut line: impl FnMut(&str)) {
        let Ok(bytes) = BASE64_STANDARD.decode(base64) else { return };
        for (number, field) in fields(&bytes) {
            match (number, field) {
                (1, Field::Bytes(vertex)) => self.step(vertex, &mut line),
                (3, Field::Bytes(log)) => self.output(log, &mut line),
                _ => {}
            }
        }
    }

    /// Output that was never ended with a newline.
    pub(super) fn finish(&mut self, mut line: impl FnMut(&str)) {
        for bytes in std::mem::take(&mut self.begun).into_values().filter(|bytes| !bytes.is_empty()) {
            line(&String::from_utf8_lossy(&bytes));
        }
    }

    fn step(&mut self, vertex: &[u8], line: &mut impl FnMut(&str)) {
        let (mut digest, mut name, mut error) = (String::new(), String::new(), String::new());
        let (mut cached, mut started) = (false, false);
        for (number, field) in fields(vertex) {
            match (number, field) {
                (1, Field::Bytes(text)) => digest = lossy(text),
                (3, Field::Bytes(text)) => name = lossy(text),
                (4, Field::Number(yes)) => cached = yes != 0,
                (5, Field::Bytes(_)) => started = true,
                (7, Field::Bytes(text)) => error = lossy(text),
                _ => {}
            }
        }
        if started && self.told.insert(digest.clone()) {
            line(&if cached { format!("{name} (cached)") } else { name.clone() });
        }
        // A step that is cancelled because another one failed says so, too.
        if !error.is_empty() && !error.contains("context canceled") && self.failed.insert(digest) {
            line(&format!("{name}: {error}"));
        }
    }

    fn output(&mut self, log: &[u8], line: &mut impl FnMut(&str)) {
        let (mut step, mut stream, mut text) = (String::new(), 0, &[][..]);
        for (number, field) in fields(log) {
            match (number, field) {
                (1, Field::Bytes(of)) => step = lossy(of),
                (3, Field::Number(number)) => stream = number,
                (4, Field::Bytes(bytes)) => text = bytes,
                _ => {}
            }
        }
        let begun = self.begun.entry((step, stream)).or_default();
        for piece in text.split_inclusive(|byte| *byte == b'\n') {
            begun.extend_from_slice(piece);
            if piece.ends_with(b"\n") || begun.len() >= LONGEST_LINE {
                line(String::from_utf8_lossy(begun).trim_end_matches(['\n', '\r']));
                begun.clear();
            }
        }
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Fields of a protobuf message, in order; ends where it stops to be one.
fn fields(mut rest: &[u8]) -> impl Iterator<Item = (u64, Field<'_>)> {
    std::iter::from_fn(move || {
        loop {
            let key = varint(&mut rest)?;
            let field = match key & 7 {
                0 => Field::Number(varint(&mut rest)?),
                2 => {
                    let length = usize::try_from(varint(&mut rest)?).ok()?;
                    Field::Bytes(rest.split_off(..length)?)
                }
                // Fixed numbers, of which none is wanted.
                1 => {
                    rest.split_off(..8)?;
                    continue;
                }
                5 => {
                    rest.split_off(..4)?;
                    continue;
                }
                _ => return None,
            };
            return Some((key >> 3, field));
        }
    })
}

/// Field 1 of a message, as text.
pub(super) fn first_text(message: &[u8]) -> Option<String> {
    fields(message).find_map(|field| match field {
        (1, Field::Bytes(text)) => Some(lossy(text)),
        _ => None,
    })
}

/// Appends a field of text; an empty one is left out, which says the same.
pub(super) fn put_text(message: &mut Vec<u8>, field: u8, text: &str) {
    if text.is_empty() {
        return;
    }
    message.push(field << 3 | 2);
    let mut length = text.len();
    while length >= 0x80 {
        message.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    message.push((length & 0x7f) as u8);
    message.extend_from_slice(text.as_bytes());
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *rest.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded from Docker 20.10: `RUN echo out; echo err >&2; printf part; sleep 1; echo ial; exit 3`.
    const RECORDED: &str = include_str!("buildkit_recorded.txt");

    #[test]
    fn steps_output_and_failure_of_a_recorded_build() {
        let mut trace = Trace::default();
        let mut told = Vec::new();
        for message in RECORDED.lines() {
            trace.lines(message, |line| told.push(line.to_owned()));
        }
        trace.finish(|line| told.push(line.to_owned()));
        let run = "[2/2] RUN echo out; echo err >&2; printf part; sleep 1; echo ial; exit 3";
        let failed = format!(
            "{run}: executor failed running [/bin/sh -c echo out; echo err >&2; printf part; sleep 1; echo ial; exit \
             3]: exit code: 3"
        );
        assert_eq!(
            told,
            [
                "[internal] load remote build context",
                "copy /context /",
                "[internal] load metadata for localhost/bk:1",
                "[1/2] FROM localhost/bk:1 (cached)",
                run,
                "out",
                "err",
                "partial",
                &failed,
            ]
        );
    }

    #[test]
    fn text_is_read_as_it_was_written() {
        for length in [0, 1, 127, 128, 300, 20_000] {
            let text = "x".repeat(length);
            let mut message = Vec::new();
            put_text(&mut message, 2, "another");
            put_text(&mut message, 1, &text);
            assert_eq!(first_text(&message).unwrap_or_default(), text);
        }
    }

    #[test]
    fn what_is_cut_off_or_strange_is_left_out() {
        let mut trace = Trace::default();
        for message in RECORDED.lines() {
            let whole = BASE64_STANDARD.decode(message).unwrap();
            for end in 0..whole.len() {
                trace.lines(&BASE64_STANDARD.encode(&whole[..end]), |_| {});
            }
        }
        for strange in ["", "%%%", "////////////////", "Cv//////////////////////"] {
            trace.lines(strange, |line| panic!("{line}"));
        }
    }
}
