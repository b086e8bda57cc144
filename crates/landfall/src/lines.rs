//! Lines of another program, whatever bytes they are of: what is no UTF-8 is replaced and not taken for the end, because a program whose
//! pipe is closed is killed by its next line.

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};

/// A line comes in pieces of this length at most.
const LONGEST: usize = 64 * 1024;

pub(crate) struct Lines<T> {
    pipe: BufReader<T>,
    line: Vec<u8>,
}

impl<T: AsyncRead + Unpin> Lines<T> {
    pub(crate) fn of(pipe: T) -> Self {
        Self { pipe: BufReader::new(pipe), line: Vec::new() }
    }

    /// `None`: it is over. May be dropped while it waits: what was read stays for the next call.
    pub(crate) async fn next(&mut self) -> Option<String> {
        loop {
            let available = match self.pipe.fill_buf().await {
                Ok(bytes) if !bytes.is_empty() => bytes,
                _ => return (!self.line.is_empty()).then(|| self.take()),
            };
            let end = available.iter().position(|byte| *byte == b'\n');
            self.line.extend_from_slice(&available[..end.unwrap_or(available.len())]);
            let used = end.map_or(available.len(), |end| end + 1);
            self.pipe.consume(used);
            if end.is_some() || self.line.len() >= LONGEST {
                return Some(self.take());
            }
        }
    }

    fn take(&mut self) -> String {
        let line = std::mem::take(&mut self.line);
        String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    async fn all(bytes: &[u8]) -> Vec<String> {
        let (mut lines, mut all) = (Lines::of(bytes), Vec::new());
        while let Some(line) = lines.next().await {
            all.push(line);
        }
        all
    }

    #[tokio::test]
    async fn no_line_ends_the_others() {
        assert_eq!(all(b"one\n\xff\xfe\r\n\nthree\nfour").await, ["one", "\u{fffd}\u{fffd}", "", "three", "four"]);
        let long = vec![b'x'; LONGEST + 1];
        assert_eq!(all(&long).await.iter().map(String::len).sum::<usize>(), LONGEST + 1);
        assert!(all(b"").await.is_empty());
    }
}
