//! The two sockets of a request: the client's, whose bytes its watch counts, and the target's, which remembers the head it
//! sent last.

use std::io::IoSlice;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::watch::Watch;

/// Longest head that is remembered.
const MAX_SENT: usize = 16 << 10;

/// A client's socket that tells its watch about every byte.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) stream: TcpStream,
    pub(crate) watch: Rc<Watch>,
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let bytes = buf.filled().get(before..).unwrap_or_default();
        if !bytes.is_empty() {
            self.watch.received(bytes);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.watch.moved();
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let count = ready!(poll_write_few(&mut self.stream, cx, bufs))?;
        self.watch.moved();
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Writes that are small, which most heads and answers are, go out in one plain `send`: a copy of some hundred bytes is
/// cheaper than the kernel's work on a vector.
fn poll_write_few(stream: &mut TcpStream, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<std::io::Result<usize>> {
    let mut filled = bufs.iter().filter(|buf| !buf.is_empty());
    let (first, second) = (filled.next(), filled.next());
    let Some(first) = first else { return Poll::Ready(Ok(0)) };
    if second.is_none() {
        return Pin::new(stream).poll_write(cx, first);
    }
    let mut joined = [0u8; 1024];
    let mut used = 0;
    for buf in bufs {
        match joined.get_mut(used..used + buf.len()) {
            Some(room) => room.copy_from_slice(buf),
            None => return Pin::new(stream).poll_write_vectored(cx, bufs),
        }
        used += buf.len();
    }
    Pin::new(stream).poll_write(cx, joined.get(..used).unwrap_or_default())
}

/// A target's socket.
///
/// It keeps the first bytes sent since the last received ones, which are the head of the request: a connection that turns
/// out to be stale may need it again on another one, and a copy of the bytes is much cheaper than one of the headers.
#[derive(Debug)]
pub(crate) struct Direct {
    pub(crate) stream: TcpStream,
    sent: Vec<u8>,
    /// Something was received since the last head: what is sent next is a new one.
    answered: bool,
}

impl Direct {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, sent: Vec::new(), answered: true }
    }

    /// The head that was sent and has not been answered.
    pub(crate) fn into_unanswered(self) -> Option<Vec<u8>> {
        (!self.answered).then_some(self.sent)
    }

    fn remember(&mut self, bufs: &[IoSlice<'_>]) {
        if std::mem::take(&mut self.answered) {
            self.sent.clear();
            for buf in bufs {
                let room = MAX_SENT.saturating_sub(self.sent.len());
                self.sent.extend_from_slice(buf.get(..room).unwrap_or(buf));
            }
        }
    }
}

impl AsyncRead for Direct {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.answered |= buf.filled().len() > before;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Direct {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        self.remember(&[IoSlice::new(buf)]);
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        self.remember(bufs);
        poll_write_few(&mut self.stream, cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
