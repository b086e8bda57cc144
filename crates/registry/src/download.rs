//! Blobs on their way out of a registry: asked for again where that may help, and given up where they come no further.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use landfall_ports::{PortError, PortResult, chain};
use reqwest::header::LOCATION;
use reqwest::{Response, StatusCode, Url};

use crate::client::Client;
use crate::codes;
use crate::digest::Digest;
use crate::http::{Action, Failure, silent};
use crate::manifest::LARGEST;
use crate::reference::Repository;
use crate::retry;

/// Hops from a registry to where it keeps its layers.
const REDIRECTS: usize = 5;

/// An answer's body, piece by piece.
pub(crate) struct Body {
    response: Response,
    /// For each piece: a layer may be large, and no time for the whole is the right one.
    patience: Duration,
}

impl Body {
    /// `None`: it is over. The error may pass by itself.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, String> {
        match tokio::time::timeout(self.patience, self.response.chunk()).await {
            Ok(chunk) => chunk.map_err(|e| chain(&e.without_url())),
            Err(_) => Err(silent(self.patience)),
        }
    }

    /// All of it.
    pub(crate) async fn whole(mut self, most: u64, what: &str) -> Result<Bytes, Failure> {
        let mut bytes = BytesMut::new();
        while let Some(chunk) = self.chunk().await.map_err(Failure::Cut)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > most {
                return Err(Failure::Final(PortError::Invalid(format!(
                    "{}: {what}: larger than {most} bytes",
                    codes::REFUSED
                ))));
            }
        }
        Ok(bytes.freeze())
    }
}

impl Client {
    pub(crate) fn body(&self, response: Response) -> Body {
        Body { response, patience: self.transport.patience }
    }

    /// A blob's content. `tried` counts what failed: here, and where the caller reads it.
    pub(crate) async fn blob(&self, repository: &Repository, digest: &Digest, tried: &mut u32) -> PortResult<Body> {
        let what = format!("reading layer {} of {repository}", digest.short());
        loop {
            let last = match self.ask_blob(repository, digest, &what).await {
                Ok(response) if response.status() == StatusCode::OK => return Ok(self.body(response)),
                Ok(response) if retry::passes_by_itself(response.status().as_u16()) => Err(response),
                Ok(response) => return Err(self.refused(repository, &what, response).await),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Cut(why)) => Ok(why),
            };
            *tried += 1;
            self.transport.pause(repository, *tried, &what, last).await?;
        }
    }

    /// Registries send away to where they keep it; the login stays here.
    async fn ask_blob(&self, repository: &Repository, digest: &Digest, what: &str) -> Result<Response, Failure> {
        let mut url = Self::url(repository, &format!("blobs/{digest}"))?;
        let patience = Some(self.transport.patience);
        for _ in 0..REDIRECTS {
            let ask = |http: &reqwest::Client| Ok(http.get(url.clone()));
            let response = self.transport.once(repository, Action::Pull, &url, patience, ask).await?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            url = elsewhere(&url, &response, what)?;
        }
        Err(PortError::Unavailable(format!("{}: {what}: sent from place to place", codes::UNAVAILABLE)).into())
    }

    /// A small blob as a whole, checked.
    ///
    /// # Errors
    /// As [`Client::resolve`]; `Invalid` also where it is larger than a manifest may be.
    pub async fn small_blob(&self, repository: &Repository, digest: &Digest) -> PortResult<Bytes> {
        let what = format!("reading {} of {repository}", digest.short());
        let mut tried = 0;
        let bytes = loop {
            match self.blob(repository, digest, &mut tried).await?.whole(LARGEST, &what).await {
                Ok(bytes) => break bytes,
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Cut(why)) => {
                    tried += 1;
                    self.transport.pause(repository, tried, &what, Ok(why)).await?;
                }
            }
        };
        let found = Digest::of(&bytes);
        if found == *digest {
            Ok(bytes)
        } else {
            Err(PortError::Invalid(format!("{}: {what}: {found} came", codes::DIGEST)))
        }
    }
}

fn elsewhere(asked: &Url, response: &Response, what: &str) -> PortResult<Url> {
    let header = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let url = header.and_then(|header| asked.join(header).ok()).filter(|url| matches!(url.scheme(), "http" | "https"));
    let url = url.filter(|url| asked.scheme() == "http" || url.scheme() == "https");
    url.ok_or_else(|| PortError::Unavailable(format!("{}: {what}: sent to no usable place", codes::UNAVAILABLE)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::sync::Arc;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::credentials::Places;
    use crate::http::Transport;
    use crate::reference::Reference;
    use crate::watch::Quiet;

    /// Each connection gets the next of these answers, and then silence.
    async fn answering(answers: Vec<String>) -> (Repository, tokio::task::JoinHandle<()>) {
        let registry = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = format!("{}/app", registry.local_addr().unwrap());
        let task = tokio::spawn(async move {
            let mut open = Vec::new();
            for answer in answers {
                let (mut stream, _) = registry.accept().await.unwrap();
                let mut asked = Vec::new();
                while !asked.ends_with(b"\r\n\r\n") {
                    asked.push(stream.read_u8().await.unwrap());
                }
                stream.write_all(answer.as_bytes()).await.unwrap();
                open.push(stream);
            }
            std::future::pending().await
        });
        (Reference::parse(&at).unwrap().repository, task)
    }

    fn client(patience: Duration) -> Client {
        let mut transport = Transport::new(Places::default(), None, Arc::new(Quiet));
        transport.patience = patience;
        Client { transport: Arc::new(transport) }
    }

    #[tokio::test]
    async fn what_comes_no_further_or_fails_is_asked_for_again() {
        let whole = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n".to_owned();
        let busy = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned();
        let answers = vec![String::new(), format!("{whole}half"), busy, format!("{whole}half two")];
        let (repository, registry) = answering(answers).await;
        let (client, digest) = (client(Duration::from_millis(300)), Digest::of(b"half two"));
        let asked = client.small_blob(&repository, &digest);
        let bytes = tokio::time::timeout(Duration::from_secs(60), asked).await.expect("it hangs").unwrap();
        assert_eq!(bytes, "half two");
        registry.abort();
    }
}
