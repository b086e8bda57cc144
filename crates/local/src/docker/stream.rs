//! Streams: build and pull progress (JSON lines) and the multiplexed output of logs and exec.

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::error::{DockerError, DockerResult};
use super::types::ProgressLine;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Stdout,
    Stderr,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFrame {
    pub source: Source,
    pub bytes: Bytes,
}

/// Eight bytes of head (stream, three zeroes, length big endian), then the payload.
#[derive(Debug)]
pub struct LogFrames {
    body: Incoming,
    buffer: BytesMut,
}

impl LogFrames {
    pub(super) fn new(body: Incoming) -> Self {
        Self { body, buffer: BytesMut::new() }
    }

    pub async fn next(&mut self) -> DockerResult<Option<LogFrame>> {
        loop {
            if let Some(frame) = take_frame(&mut self.buffer) {
                return Ok(Some(frame));
            }
            match next_chunk(&mut self.body).await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}

fn take_frame(buffer: &mut BytesMut) -> Option<LogFrame> {
    let head: [u8; 8] = buffer.get(..8)?.try_into().ok()?;
    let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
    if buffer.len() < 8 + length {
        return None;
    }
    buffer.advance(8);
    let source = if head[0] == 2 { Source::Stderr } else { Source::Stdout };
    Some(LogFrame { source, bytes: buffer.split_to(length).freeze() })
}

/// Lines of a progress stream.
pub(super) struct Progress {
    body: Incoming,
    buffer: BytesMut,
}

impl Progress {
    pub(super) fn new(body: Incoming) -> Self {
        Self { body, buffer: BytesMut::new() }
    }

    pub(super) async fn next(&mut self) -> DockerResult<Option<ProgressLine>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                if let Some(parsed) = parse(&line) {
                    return Ok(Some(parsed));
                }
                continue;
            }
            match next_chunk(&mut self.body).await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => {
                    let rest = std::mem::take(&mut self.buffer);
                    return Ok(parse(&rest));
                }
            }
        }
    }
}

fn parse(line: &[u8]) -> Option<ProgressLine> {
    let text = line.trim_ascii();
    if text.is_empty() {
        return None;
    }
    // A line that is not JSON is shown as it is rather than lost.
    Some(serde_json::from_slice(text).unwrap_or_else(|_| ProgressLine {
        stream: Some(String::from_utf8_lossy(line).into_owned()),
        ..ProgressLine::default()
    }))
}

pub(super) async fn next_chunk(body: &mut Incoming) -> DockerResult<Option<Bytes>> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Err(e)) => return Err(DockerError::Unavailable(format!("the engine broke off a stream: {e}"))),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_whole() {
        let mut buffer = BytesMut::new();
        buffer.extend_from_slice(&[2, 0, 0, 0, 0, 0, 0, 3, b'a', b'b']);
        assert_eq!(take_frame(&mut buffer), None);
        buffer.extend_from_slice(b"c\x01");
        let frame = take_frame(&mut buffer).unwrap();
        assert_eq!((frame.source, &frame.bytes[..]), (Source::Stderr, &b"abc"[..]));
        assert_eq!(&buffer[..], b"\x01");
    }

    #[test]
    fn progress_lines_keep_errors_and_strange_text() {
        let line = parse(br#"{"error":"e","errorDetail":{"message":"the detail"}}"#).unwrap();
        assert_eq!(line.failure().as_deref(), Some("the detail"));
        assert_eq!(parse(b"not json\n").unwrap().stream.as_deref(), Some("not json\n"));
        assert!(parse(b" \r\n").is_none());
    }
}
