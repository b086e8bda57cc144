//! One HTTP/1.1 request at a time over a TCP connection of its own: enough to talk to our own listeners on loopback.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// A request that may differ from `GET /`.
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    /// The Host header; the address if none.
    pub(crate) host: Option<&'a str>,
    pub(crate) headers: Vec<(&'a str, String)>,
    pub(crate) body: Vec<u8>,
}

impl<'a> Ask<'a> {
    pub(crate) fn get(path: &'a str) -> Self {
        Self { method: Method::GET, path, host: None, headers: Vec::new(), body: Vec::new() }
    }

    pub(crate) fn host(mut self, host: &'a str) -> Self {
        self.host = Some(host);
        self
    }
}

pub(crate) async fn send(addr: SocketAddr, ask: Ask<'_>, timeout: Duration) -> io::Result<Answer> {
    let exchange = async {
        let stream = TcpStream::connect(addr).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        // Ends by itself with the body.
        tokio::spawn(connection);
        let host = ask.host.map_or_else(|| addr.to_string(), str::to_owned);
        let mut request = Request::builder().method(ask.method).uri(ask.path).header("host", host);
        for (name, value) in &ask.headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(Bytes::from(ask.body))).map_err(io::Error::other)?;
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
        Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
    };
    tokio::time::timeout(timeout, exchange).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}
