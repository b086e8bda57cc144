//! One blob on its way into a registry.
//!
//! In one piece, always: ECR answers 201 to a second piece and keeps the first only. A cut upload goes on where the registry
//! says that it stands, where it says so (ECR is never asked); any other answer than success begins anew. Before anything is sent
//! again the registry is asked for the blob, because the answer may be all that was lost.

use std::sync::Arc;
use std::time::Duration;

use landfall_ports::{PortError, PortResult};
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use reqwest::{Response, StatusCode, Url};
use tokio::time::Instant;

use crate::blob::{Opened, Place, Sent, Stream};
use crate::client::{Client, Started, digest_of, location};
use crate::codes;
use crate::http::{Action, Failure, STALLED, said};
use crate::manifest::Descriptor;
use crate::reference::Repository;
use crate::retry;
use crate::watch::Event;

/// After the last byte the registry may hash all of it again, and copy it to where it keeps layers.
const DIGESTING: Duration = Duration::from_secs(600);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Present,
    Mounted,
    Uploaded,
}

pub(crate) enum Without {
    There(How),
    /// It has to be sent; an upload may have begun already.
    Send(Option<Session>),
}

/// An upload under way in the registry, and how many bytes it has.
pub(crate) struct Session {
    url: Url,
    from: u64,
}

impl Client {
    /// Sees to it that the repository has the blob; `mounts`: repositories of the same registry that may have it.
    pub(crate) async fn ensure_blob(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        place: &Place,
        mounts: &[String],
    ) -> PortResult<How> {
        match self.without_sending(repository, descriptor, mounts).await? {
            Without::There(how) => Ok(how),
            Without::Send(session) => {
                self.upload(repository, descriptor, place, session).await?;
                self.watcher().event(Event::Uploaded(descriptor));
                Ok(How::Uploaded)
            }
        }
    }

    /// Whether the repository has the blob, or takes it over from another one.
    pub(crate) async fn without_sending(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        mounts: &[String],
    ) -> PortResult<Without> {
        if self.has_blob(repository, &descriptor.digest).await? {
            self.watcher().event(Event::Present(descriptor));
            return Ok(Without::There(How::Present));
        }
        let mut session = None;
        for from in mounts.iter().filter(|from| **from != repository.name) {
            match self.start(repository, Some((&descriptor.digest, from))).await {
                Ok(Started::Mounted) => {
                    self.watcher().event(Event::Mounted(descriptor));
                    return Ok(Without::There(How::Mounted));
                }
                // It is not there; the upload that the registry began instead is as good as any.
                Ok(Started::At(url)) => session = Some(Session { url, from: 0 }),
                // Not allowed to read that one: no reason not to write this one.
                Err(PortError::Denied(_) | PortError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Without::Send(session))
    }

    pub(crate) async fn upload(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        place: &Place,
        mut session: Option<Session>,
    ) -> PortResult<()> {
        let what = format!("uploading layer {} to {repository}", descriptor.digest.short());
        let mut goes_on = !repository.is_ecr();
        let mut tried = 0;
        loop {
            tried += 1;
            let at = match session.take() {
                Some(session) => session,
                None => match self.start(repository, None).await? {
                    Started::Mounted => return Ok(()),
                    Started::At(url) => Session { url, from: 0 },
                },
            };
            let sent = Arc::new(Sent::default());
            let last = match self.put_blob(repository, descriptor, place, &at, &sent).await {
                Ok(response) if response.status().is_success() => return accepted(descriptor, &response, &what),
                Ok(response) if retry::passes_by_itself(response.status().as_u16()) => Err(response),
                Ok(response) if at.from > 0 && response.status().is_client_error() => {
                    // It does not go on after all.
                    goes_on = false;
                    Ok(format!("it does not go on with an upload: {}", said(response).await))
                }
                Ok(response) => return Err(self.not_taken(repository, descriptor, place, &what, response).await),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Cut(why)) => {
                    Ok(format!("{why}, after {} of {} bytes", at.from + sent.bytes(), descriptor.size))
                }
            };
            self.transport.pause(repository, tried, &what, last).await?;
            let reached = at.from + sent.bytes();
            if self.has_blob(repository, &descriptor.digest).await? {
                return Ok(());
            }
            if goes_on {
                session = self.standing(repository, &at.url, descriptor.size, &what).await;
            }
            let kept = session.as_ref().map_or(0, |session| session.from);
            self.watcher().event(Event::Lost(reached.saturating_sub(kept)));
            if kept > 0 {
                self.watcher().event(Event::Resumed(descriptor, kept));
            }
        }
    }

    /// Sends what is missing, and gives up when nothing moves.
    async fn put_blob(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        place: &Place,
        at: &Session,
        sent: &Arc<Sent>,
    ) -> Result<Response, Failure> {
        let mut url = at.url.clone();
        url.query_pairs_mut().append_pair("digest", &descriptor.digest.to_string());
        let left = descriptor.size - at.from;
        let request = self.transport.once(repository, Action::Push, &url, None, |http| {
            let mut opened = open(place, descriptor)?;
            opened.skip(at.from);
            let body = Stream::new(opened, Arc::clone(sent), Arc::clone(&self.transport.watcher));
            let mut request = http.put(url.clone()).header(CONTENT_TYPE, "application/octet-stream");
            if at.from > 0 {
                request = request.header(CONTENT_RANGE, format!("{}-{}", at.from, descriptor.size - 1));
            }
            Ok(request.header(CONTENT_LENGTH, left).body(reqwest::Body::wrap(body)))
        });
        tokio::select! {
            answer = request => answer,
            why = stalled(sent, left) => Err(Failure::Cut(why)),
        }
    }

    /// How far an upload has come, as far as the registry says; `None`: it has to begin anew.
    async fn standing(&self, repository: &Repository, url: &Url, size: u64, what: &str) -> Option<Session> {
        let ask = |http: &reqwest::Client| http.get(url.clone());
        let response = self.transport.send(repository, Action::Push, url, what, ask).await.ok()?;
        if response.status() != StatusCode::NO_CONTENT {
            return None;
        }
        let range = response.headers().get(RANGE).and_then(|value| value.to_str().ok())?;
        let from = held(range).filter(|from| *from < size)?;
        let url = location(repository, url, &response).ok()?;
        (from > 0).then_some(Session { url, from })
    }

    async fn not_taken(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        place: &Place,
        what: &str,
        response: Response,
    ) -> PortError {
        if response.status() != StatusCode::BAD_REQUEST {
            return self.refused(repository, what, response).await;
        }
        // Whose fault is it? Only now is it worth reading all of it.
        let (digest, place) = (descriptor.digest.clone(), place.clone());
        let name = place.name();
        let found = tokio::task::spawn_blocking(move || place.digest()).await;
        match found {
            Ok(Ok(found)) if found != digest => PortError::Invalid(format!(
                "{}: {what}: {name} is {found} and not {digest}: it is damaged",
                codes::DIGEST
            )),
            _ => PortError::Invalid(format!("{}: {what}: {}; {name} is sound", codes::DIGEST, said(response).await)),
        }
    }
}

fn accepted(descriptor: &Descriptor, response: &Response, what: &str) -> PortResult<()> {
    match digest_of(response).filter(|digest| *digest != descriptor.digest) {
        Some(other) => Err(PortError::Invalid(format!(
            "{}: {what}: {} was sent, and the registry says that it took {other}",
            codes::DIGEST,
            descriptor.digest
        ))),
        None => Ok(()),
    }
}

/// A file that lost bytes since it was described would hold the connection until it is given up.
fn open(place: &Place, descriptor: &Descriptor) -> PortResult<Opened> {
    let bad =
        |why: String| PortError::Invalid(format!("{}: layer {}: {why}", codes::SOURCE, descriptor.digest.short()));
    if place.size() != descriptor.size {
        return Err(bad(format!("{} has {} bytes and not {}", place.name(), place.size(), descriptor.size)));
    }
    if let Place::File { path, offset, size } = place {
        let length = std::fs::metadata(path).map_err(|e| bad(format!("{}: {e}", place.name())))?.len();
        if length < offset + size {
            return Err(bad(format!("{} ends after {length} bytes", place.name())));
        }
    }
    place.open().map_err(|e| bad(format!("{}: {e}", place.name())))
}

/// `0-1023`: 1,024 bytes. Registries write `0-0` for none as for one: taken as none, which is always right to send.
fn held(range: &str) -> Option<u64> {
    let (first, last) = range.strip_prefix("bytes=").unwrap_or(range).split_once('-')?;
    let last: u64 = last.trim().parse().ok()?;
    if first.trim() != "0" {
        return None;
    }
    Some(if last == 0 { 0 } else { last + 1 })
}

/// Ends when nothing has moved for too long.
async fn stalled(sent: &Sent, all: u64) -> String {
    let (mut before, mut since) = (sent.bytes(), Instant::now());
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = sent.bytes();
        let patience = if now >= all { DIGESTING } else { STALLED };
        if now != before {
            (before, since) = (now, Instant::now());
        } else if since.elapsed() >= patience {
            return format!("nothing moved for {} s", patience.as_secs());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::digest::Digest;

    #[test]
    fn ranges() {
        assert_eq!((held("0-1023"), held("bytes=0-9"), held("0-0")), (Some(1024), Some(10), Some(0)));
        assert_eq!((held("5-9"), held("x"), held("0-x")), (None, None, None));
    }

    #[test]
    fn a_file_that_is_not_what_was_described_is_not_sent() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blob");
        std::fs::write(&path, "abc").unwrap();
        let of = |offset, size| Place::File { path: path.clone(), offset, size };
        let three = Descriptor::new("x", Digest::of(b"abc"), 3);
        assert!(open(&of(0, 3), &three).is_ok());
        for (place, word) in [(of(0, 2), "has 2 bytes and not 3"), (of(1, 3), "ends after 3 bytes")] {
            let error = open(&place, &three).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_moves_is_not_stalled() {
        let sent = Sent::default();
        let since = Instant::now();
        assert!(stalled(&sent, 1).await.contains("60 s"));
        assert!((60..65).contains(&since.elapsed().as_secs()));
        assert!(stalled(&sent, 0).await.contains("600 s"), "all is sent: the registry may take its time");
    }
}
