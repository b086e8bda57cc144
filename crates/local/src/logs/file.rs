//! The engine's own log file of a container, Podman's or Docker's: read in slices from where the last one stopped, partial
//! lines joined. When the file has reached its maximal size the engine renames another to its place.

use std::collections::{BTreeMap, VecDeque};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

/// Bytes. A longer line comes in pieces, as it does with the awslogs driver on Amazon ECS: memory has an end.
const LONGEST_LINE: usize = 256 * 1024;

/// Joins the pieces that engines cut lines into.
#[derive(Debug, Default)]
pub(super) struct Joiner {
    /// Bytes after the last newline of the file.
    rest: Vec<u8>,
    /// Reading began inside a line, which is left out.
    inside: bool,
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
    fn push(&mut self, mut bytes: &[u8], mut line: impl FnMut(String)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (head, tail) = bytes.split_at(end + 1);
            bytes = tail;
            self.rest.extend_from_slice(head);
            let raw = std::mem::take(&mut self.rest);
            if std::mem::take(&mut self.inside) {
                continue;
            }
            if let Some(text) = self.piece(String::from_utf8_lossy(&raw).trim_end_matches(['\n', '\r'])) {
                line(text);
            }
        }
        self.rest.extend_from_slice(bytes);
    }

    /// Podman's `TIME STREAM P|F TEXT` or Docker's JSON object.
    fn piece(&mut self, raw: &str) -> Option<String> {
        if let Ok(json) = serde_json::from_str::<JsonLine>(raw) {
            return self.join(&json.stream, json.log.ends_with('\n'), json.log.trim_end_matches('\n'));
        }
        let mut parts = raw.splitn(4, ' ');
        let (Some(_time), Some(stream), Some(mark)) = (parts.next(), parts.next(), parts.next()) else {
            return Some(raw.to_owned());
        };
        self.join(stream, mark != "P", parts.next().unwrap_or_default())
    }

    /// The line, when this piece is its last.
    pub(super) fn join(&mut self, stream: &str, last: bool, text: &str) -> Option<String> {
        let piece = self.partial.entry(stream.to_owned()).or_default();
        piece.push_str(text);
        (last || piece.len() >= LONGEST_LINE).then(|| std::mem::take(piece))
    }

    /// Lines that were never ended.
    pub(super) fn finish(&mut self) -> Vec<String> {
        std::mem::take(&mut self.partial).into_values().filter(|text| !text.is_empty()).collect()
    }
}

/// What one read found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Slice {
    pub lines: Vec<String>,
    /// There is more to read already.
    pub more: bool,
}

/// A log file read from where the last read stopped.
pub(super) struct Reader {
    path: PathBuf,
    file: File,
    inode: u64,
    at: u64,
    joiner: Joiner,
}

impl Reader {
    /// At the first whole line of the last `last_bytes`.
    pub(super) async fn open(path: impl AsRef<Path>, last_bytes: u64) -> Option<Self> {
        let path = path.as_ref().to_owned();
        let (file, metadata) = open(&path).await?;
        // From the byte before, which may be a newline.
        let at = metadata.len().saturating_sub(last_bytes.saturating_add(1));
        let joiner = Joiner { inside: at > 0, ..Joiner::default() };
        Some(Self { path, file, inode: metadata.ino(), at, joiner })
    }

    /// Lines of the next `limit` bytes.
    pub(super) async fn read(&mut self, limit: u64) -> Slice {
        // Looked for first: what was written to this file until it was replaced is read before the next one is.
        let next = self.replaced_by().await;
        let mut slice = Slice::default();
        slice.more = self.advance(limit, |line| slice.lines.push(line)).await;
        if !slice.more
            && let Some((file, metadata)) = next
        {
            (self.file, self.inode, self.at) = (file, metadata.ino(), 0);
            self.joiner.rest.clear();
            slice.more = true;
        }
        slice
    }

    /// Goes to where the file ends now, and keeps the last `lines` on the way.
    pub(super) async fn last(&mut self, lines: usize) -> Vec<String> {
        let mut ring = VecDeque::new();
        let length = self.length().await;
        let keep = |line| {
            ring.push_back(line);
            if ring.len() > lines {
                ring.pop_front();
            }
        };
        self.advance(length.saturating_sub(self.at), keep).await;
        ring.into()
    }

    /// What the container wrote last and never ended with a newline.
    pub(super) fn finish(&mut self) -> Vec<String> {
        self.joiner.finish()
    }

    async fn length(&self) -> u64 {
        self.file.metadata().await.map_or(0, |metadata| metadata.len())
    }

    async fn replaced_by(&self) -> Option<(File, Metadata)> {
        let there = tokio::fs::metadata(&self.path).await.ok()?;
        if there.ino() == self.inode {
            return None;
        }
        open(&self.path).await
    }

    /// Whether it ended for the limit.
    async fn advance(&mut self, limit: u64, mut line: impl FnMut(String)) -> bool {
        if self.length().await < self.at {
            // Cut where it is.
            self.at = 0;
            self.joiner.rest.clear();
        }
        if self.file.seek(std::io::SeekFrom::Start(self.at)).await.is_err() {
            return false;
        }
        let mut buffer = vec![0; 64 * 1024];
        let mut left = limit;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let Ok(count @ 1..) = self.file.read(&mut buffer[..most]).await else { return false };
            self.at += count as u64;
            left -= count as u64;
            self.joiner.push(&buffer[..count], &mut line);
        }
        true
    }
}

async fn open(path: &Path) -> Option<(File, Metadata)> {
    let file = File::open(path).await.ok()?;
    let metadata = file.metadata().await.ok()?;
    Some((file, metadata))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(bytes: &[u8]) -> (Vec<String>, Vec<String>) {
        let mut lines = Vec::new();
        let mut joiner = Joiner::default();
        for chunk in bytes.chunks(7) {
            joiner.push(chunk, |line| lines.push(line));
        }
        (lines, joiner.finish())
    }

    #[test]
    fn podmans_partial_lines_are_joined_by_stream() {
        let text = b"2026-11-21T04:00:00.1+00:00 stdout P abc\n\
                     2026-11-21T04:00:00.1+00:00 stderr F err or\n\
                     2026-11-21T04:00:00.2+00:00 stdout F def\n\
                     2026-11-21T04:00:00.3+00:00 stdout F \n\
                     2026-11-21T04:00:00.4+00:00 stderr P killed\n";
        assert_eq!(joined(text), (vec!["err or".into(), "abcdef".into(), String::new()], vec!["killed".into()]));
    }

    #[test]
    fn dockers_json_lines() {
        let text =
            b"{\"log\":\"a b\",\"stream\":\"stdout\"}\n{\"log\":\"c\\n\",\"stream\":\"stdout\",\"time\":\"t\"}\n";
        assert_eq!(joined(text), (vec!["a bc".into()], vec![]));
    }

    #[test]
    fn a_line_without_end_comes_in_pieces() {
        let mut joiner = Joiner::default();
        let piece = "x".repeat(16 * 1024);
        let lines: Vec<String> = (0..33).filter_map(|_| joiner.join("stdout", false, &piece)).collect();
        assert_eq!(lines.iter().map(String::len).collect::<Vec<_>>(), [LONGEST_LINE; 2]);
        assert_eq!(joiner.finish(), [piece]);
    }

    fn entry(text: &str) -> String {
        format!("2026-11-21T04:00:00.100000000+00:00 stdout F {text}\n")
    }

    fn entries(numbers: std::ops::Range<usize>) -> String {
        numbers.map(|n| entry(&n.to_string())).collect()
    }

    fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
        range.map(|n| n.to_string()).collect()
    }

    async fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ctr.log");
        tokio::fs::write(&path, text).await.unwrap();
        (dir, path)
    }

    #[tokio::test]
    async fn a_read_ends_at_its_limit_and_the_next_goes_on_there() {
        const LIMIT: u64 = 100_000;
        let (_dir, path) = file(&entries(0..20_000)).await;
        let mut reader = Reader::open(&path, u64::MAX).await.unwrap();
        let mut all = Vec::new();
        let mut more = true;
        while more {
            let slice = reader.read(LIMIT).await;
            let bytes: usize = slice.lines.iter().map(|line| entry(line).len()).sum();
            assert!(bytes as u64 <= LIMIT + entry("20000").len() as u64, "{bytes}");
            all.extend(slice.lines);
            more = slice.more;
        }
        assert_eq!(all, numbers(0..20_000));
    }

    #[tokio::test]
    async fn of_the_history_the_last_lines_and_then_what_comes() {
        let (_dir, path) = file(&entries(0..5_000)).await;
        for last_bytes in [u64::MAX, 1_000] {
            let mut reader = Reader::open(&path, last_bytes).await.unwrap();
            assert_eq!(reader.last(3).await, ["4997", "4998", "4999"]);
            assert_eq!(reader.read(1_000).await, Slice::default());
        }
        let mut reader = Reader::open(&path, 0).await.unwrap();
        tokio::fs::write(&path, entries(0..5_002)).await.unwrap();
        assert_eq!(reader.read(1_000).await.lines, ["5000", "5001"]);
        let mut reader = Reader::open(&path, 2 * entry("5000").len() as u64).await.unwrap();
        assert_eq!(reader.last(usize::MAX).await, ["5000", "5001"], "begins with a whole line");
        assert_eq!(Reader::open(&path, u64::MAX).await.unwrap().last(0).await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_file_that_was_replaced_is_read_to_its_end_before_the_new_one() {
        let (dir, path) = file(&entries(0..10)).await;
        let mut reader = Reader::open(&path, u64::MAX).await.unwrap();
        assert_eq!(reader.read(40).await.lines, Vec::<String>::new());
        let other = dir.path().join("ctr.log.tmp");
        tokio::fs::write(&other, entries(10..20)).await.unwrap();
        tokio::fs::rename(&other, &path).await.unwrap();
        let old = reader.read(10_000).await;
        assert_eq!(old, Slice { lines: numbers(0..10), more: true });
        assert_eq!(reader.read(10_000).await, Slice { lines: numbers(10..20), more: false });
        tokio::fs::remove_file(&path).await.unwrap();
        assert_eq!(reader.read(10_000).await, Slice::default(), "gone");
    }
}
