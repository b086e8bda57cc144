//! A blob on this machine, and its way into a request.
//!
//! A thread reads ahead by two pieces while the connection takes the one before: layers are read at the disk's pace without
//! more than a megabyte of each in memory. Nothing is hashed on the way: the registry has to do that anyway and answers
//! when it does not fit; only then is the file hashed here, to say whose fault it is.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

use crate::digest::Digest;
use crate::watch::{Event, Watcher};

const PIECE: usize = 256 * 1024;
const AHEAD: usize = 2;

/// Where a blob's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Bytes(Bytes),
    /// A part of a file: a blob of a layout is a whole one, one within an archive begins behind its header.
    File {
        path: PathBuf,
        offset: u64,
        size: u64,
    },
}

impl Place {
    pub fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { size, .. } => *size,
        }
    }

    /// # Errors
    /// Of opening the file.
    pub fn open(&self) -> std::io::Result<Opened> {
        match self {
            Self::Bytes(bytes) => Ok(Opened { source: Source::Bytes(bytes.clone()), at: 0, end: bytes.len() as u64 }),
            Self::File { path, offset, size } => {
                let file = Arc::new(File::open(path)?);
                Ok(Opened { source: Source::File(file), at: *offset, end: offset + size })
            }
        }
    }

    /// For messages.
    pub fn name(&self) -> String {
        match self {
            Self::Bytes(_) => "memory".to_owned(),
            Self::File { path, .. } => path.display().to_string(),
        }
    }

    /// Reads all of it.
    ///
    /// # Errors
    /// Of reading.
    pub fn digest(&self) -> std::io::Result<Digest> {
        Ok(Digest::of_reader(self.open()?)?.0)
    }
}

#[derive(Debug)]
enum Source {
    Bytes(Bytes),
    File(Arc<File>),
}

/// An open blob; reads from its beginning.
#[derive(Debug)]
pub struct Opened {
    source: Source,
    at: u64,
    end: u64,
}

impl Opened {
    pub(crate) fn skip(&mut self, bytes: u64) {
        self.at = (self.at + bytes).min(self.end);
    }
}

impl std::io::Read for Opened {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let read = match &self.source {
            Source::Bytes(bytes) => {
                let at = usize::try_from(self.at).unwrap_or(usize::MAX).min(bytes.len());
                let part = &bytes[at..(at + most).min(bytes.len())];
                buffer[..part.len()].copy_from_slice(part);
                part.len()
            }
            Source::File(file) => file.read_at(&mut buffer[..most], self.at)?,
        };
        self.at += read as u64;
        Ok(read)
    }
}

/// How far an upload has come, seen from beside it.
#[derive(Debug, Default)]
pub(crate) struct Sent(AtomicU64);

impl Sent {
    pub(crate) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A request's body of exactly the announced length.
pub(crate) struct Stream {
    pieces: mpsc::Receiver<std::io::Result<Bytes>>,
    left: u64,
    sent: Arc<Sent>,
    watcher: Arc<dyn Watcher>,
}

impl Stream {
    /// Of `opened` from where it is.
    pub(crate) fn new(mut opened: Opened, sent: Arc<Sent>, watcher: Arc<dyn Watcher>) -> Self {
        let (sender, pieces) = mpsc::channel(AHEAD);
        let left = opened.end - opened.at;
        if let Some(want) = usize::try_from(left).ok().filter(|want| *want <= PIECE) {
            // One piece is not worth a thread.
            let mut buffer = vec![0; want];
            let piece = std::io::Read::read_exact(&mut opened, &mut buffer).map(|()| Bytes::from(buffer));
            let _ = sender.try_send(piece);
            return Self { pieces, left, sent, watcher };
        }
        tokio::task::spawn_blocking(move || {
            let mut left = left;
            while left > 0 {
                let want = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
                let mut buffer = vec![0; want];
                let piece = std::io::Read::read_exact(&mut opened, &mut buffer).map(|()| Bytes::from(buffer));
                left -= want as u64;
                let failed = piece.is_err();
                // Nobody takes it any more: the request is over.
                if sender.blocking_send(piece).is_err() || failed {
                    return;
                }
            }
        });
        Self { pieces, left, sent, watcher }
    }
}

impl Body for Stream {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let piece = match ready!(self.pieces.poll_recv(context)) {
            Some(Ok(piece)) => piece,
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            None => return Poll::Ready(Some(Err(std::io::ErrorKind::UnexpectedEof.into()))),
        };
        let bytes = piece.len() as u64;
        self.left = self.left.saturating_sub(bytes);
        self.sent.0.fetch_add(bytes, Ordering::Relaxed);
        self.watcher.event(Event::Sent(bytes));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::watch::Quiet;

    async fn all(mut stream: Stream) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut stream).poll_frame(context)).await {
            bytes.extend_from_slice(&frame?.into_data().unwrap());
        }
        Ok(bytes)
    }

    #[tokio::test]
    async fn a_part_of_a_file_from_any_point() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let content: Vec<u8> = (0..PIECE * 3 + 17).map(|at| u8::try_from(at % 251).unwrap()).collect();
        std::fs::write(&path, &content).unwrap();
        let place = Place::File { path, offset: 5, size: content.len() as u64 - 10 };
        let expected = &content[5..content.len() - 5];
        assert_eq!(place.digest().unwrap(), Digest::of(expected));
        for skipped in [0, 3, PIECE + 1, expected.len()] {
            let mut opened = place.open().unwrap();
            opened.skip(skipped as u64);
            let sent = Arc::new(Sent::default());
            let stream = Stream::new(opened, Arc::clone(&sent), Arc::new(Quiet));
            assert_eq!(stream.size_hint().exact(), Some((expected.len() - skipped) as u64));
            assert_eq!(all(stream).await.unwrap(), expected[skipped..], "{skipped}");
            assert_eq!(sent.bytes(), (expected.len() - skipped) as u64);
        }
    }

    #[tokio::test]
    async fn a_file_that_is_too_short_is_an_error_and_no_short_body() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "abc").unwrap();
        let place = Place::File { path, offset: 0, size: 4 };
        let stream = Stream::new(place.open().unwrap(), Arc::default(), Arc::new(Quiet));
        assert_eq!(all(stream).await.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
        let bytes =
            Stream::new(Place::Bytes(Bytes::from_static(b"abc")).open().unwrap(), Arc::default(), Arc::new(Quiet));
        assert_eq!(all(bytes).await.unwrap(), b"abc");
    }
}
