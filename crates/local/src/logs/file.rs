//! The engine's own log file of a container, Podman's or Docker's: read from where the last read stopped, partial lines joined.

use std::collections::BTreeMap;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

/// Joins the pieces of the engine's log file into lines.
#[derive(Debug, Default)]
struct Joiner {
    /// Bytes after the last newline of the file.
    rest: Vec<u8>,
    /// Pieces marked partial, by stream.
    partial: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct JsonLine {
    log: String,
    #[serde(default)]
    stream: String,
}

impl Joiner {
    fn push(&mut self, bytes: &[u8], mut line: impl FnMut(String)) {
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let raw: Vec<u8> = self.rest.drain(..=end).collect();
            if let Some(text) = self.piece(String::from_utf8_lossy(&raw).trim_end_matches(['\n', '\r'])) {
                line(text);
            }
        }
    }

    /// Podman's `TIME STREAM P|F TEXT` or Docker's JSON object.
    fn piece(&mut self, raw: &str) -> Option<String> {
        if let Ok(json) = serde_json::from_str::<JsonLine>(raw) {
            return self.join(json.stream, json.log.ends_with('\n'), json.log.trim_end_matches('\n'));
        }
        let mut parts = raw.splitn(4, ' ');
        let (Some(_time), Some(stream), Some(mark)) = (parts.next(), parts.next(), parts.next()) else {
            return Some(raw.to_owned());
        };
        let stream = stream.to_owned();
        self.join(stream, mark != "P", parts.next().unwrap_or_default())
    }

    fn join(&mut self, stream: String, whole: bool, text: &str) -> Option<String> {
        let piece = self.partial.entry(stream).or_default();
        piece.push_str(text);
        whole.then(|| std::mem::take(piece))
    }
}

/// A log file read from where the last read stopped.
pub(super) struct Reader {
    file: tokio::fs::File,
    at: u64,
    joiner: Joiner,
}

impl Reader {
    pub(super) async fn open(path: &str, last_bytes: u64) -> Option<Self> {
        let file = tokio::fs::File::open(path).await.ok()?;
        let length = file.metadata().await.ok()?.len();
        let mut reader = Self { file, at: length.saturating_sub(last_bytes), joiner: Joiner::default() };
        if reader.at > 0 {
            // Begin with a whole line.
            let mut byte = [0];
            reader.file.seek(std::io::SeekFrom::Start(reader.at)).await.ok()?;
            while reader.file.read(&mut byte).await.ok()? == 1 {
                reader.at += 1;
                if byte[0] == b'\n' {
                    break;
                }
            }
        }
        Some(reader)
    }

    pub(super) async fn read(&mut self, mut line: impl FnMut(String)) {
        let length = self.file.metadata().await.map_or(0, |metadata| metadata.len());
        if length < self.at {
            // The engine cut the file at its maximal size.
            self.at = 0;
        }
        if self.file.seek(std::io::SeekFrom::Start(self.at)).await.is_err() {
            return;
        }
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = self.file.read(&mut buffer).await {
            self.at += count as u64;
            self.joiner.push(&buffer[..count], &mut line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        let mut joiner = Joiner::default();
        for chunk in bytes.chunks(7) {
            joiner.push(chunk, |line| lines.push(line));
        }
        lines
    }

    #[test]
    fn podmans_partial_lines_are_joined_by_stream() {
        let text = b"2026-11-21T04:00:00.1+00:00 stdout P abc\n\
                     2026-11-21T04:00:00.1+00:00 stderr F err or\n\
                     2026-11-21T04:00:00.2+00:00 stdout F def\n\
                     2026-11-21T04:00:00.3+00:00 stdout F \n";
        assert_eq!(joined(text), ["err or", "abcdef", ""]);
    }

    #[test]
    fn dockers_json_lines() {
        let text =
            b"{\"log\":\"a b\",\"stream\":\"stdout\"}\n{\"log\":\"c\\n\",\"stream\":\"stdout\",\"time\":\"t\"}\n";
        assert_eq!(joined(text), ["a bc"]);
    }
}
