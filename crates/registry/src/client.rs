//! The distribution protocol's calls, one method each.

use std::sync::Arc;

use landfall_ports::registry::{CloudRegistry, RepositoryRules};
use landfall_ports::{PortError, PortResult};
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, LINK, LOCATION};
use reqwest::{Client as Http, Response, StatusCode, Url};
use serde::Deserialize;

use crate::codes;
use crate::credentials::Places;
use crate::digest::Digest;
use crate::http::{Action, Transport, said};
use crate::manifest::{ACCEPTED, Document, LARGEST};
use crate::reference::{Reference, Repository};
use crate::watch::{Quiet, Watcher};

pub(crate) const DIGEST_HEADER: &str = "docker-content-digest";
/// Pages of a listing; a hundred names each.
const PAGES: usize = 1_000;

/// A registry's client; clones share connections and logins.
#[derive(Clone)]
pub struct Client {
    pub(crate) transport: Arc<Transport>,
}

/// What a manifest's name stands for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// `None`: the registry does not say.
    pub digest: Option<Digest>,
}

pub(crate) enum Started {
    /// It is there: mounted from another repository.
    Mounted,
    At(Url),
}

impl Client {
    pub fn new(places: Places, cloud: Option<Arc<dyn CloudRegistry>>) -> Self {
        Self::watched(places, cloud, Arc::new(Quiet))
    }

    /// One whose work is watched.
    pub fn watched(places: Places, cloud: Option<Arc<dyn CloudRegistry>>, watcher: Arc<dyn Watcher>) -> Self {
        Self { transport: Arc::new(Transport::new(places, cloud, watcher)) }
    }

    pub(crate) fn watcher(&self) -> &dyn Watcher {
        self.transport.watcher.as_ref()
    }

    pub(crate) fn url(repository: &Repository, path: &str) -> PortResult<Url> {
        let url = repository.url(path);
        Url::parse(&url).map_err(|e| PortError::Invalid(format!("{url}: {e}")))
    }

    /// The reference with its digest; `None` while it does not exist.
    ///
    /// # Errors
    /// As all calls: `Unavailable` and `Throttled` after several tries, `Denied`, `Invalid`.
    pub async fn resolve(&self, image: &str) -> PortResult<Option<String>> {
        let reference = Reference::parse(image)?;
        if reference.repository.registry == "localhost" {
            // Never a registry: the engines' name for images without one.
            return Ok(None);
        }
        let found = self.find(&reference.repository, &reference.version()).await?;
        let name = reference.repository.full_name();
        Ok(found.map(|found| found.digest.map_or_else(|| image.to_owned(), |digest| format!("{name}@{digest}"))))
    }

    /// Whether there is a manifest of that tag or digest: one HEAD.
    ///
    /// # Errors
    /// As [`Client::resolve`].
    pub async fn find(&self, repository: &Repository, version: &str) -> PortResult<Option<Found>> {
        self.find_as(repository, version, Action::Pull).await
    }

    pub(crate) async fn find_as(
        &self,
        repository: &Repository,
        version: &str,
        action: Action<'_>,
    ) -> PortResult<Option<Found>> {
        let url = Self::url(repository, &format!("manifests/{version}"))?;
        let what = format!("looking for {repository}:{version}");
        let ask = |http: &Http| http.head(url.clone()).header(ACCEPT, ACCEPTED);
        let response = self.transport.send(repository, action, &url, &what, ask).await?;
        match response.status() {
            StatusCode::OK => Ok(Some(Found { digest: digest_of(&response) })),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(self.refused(repository, &what, response).await),
        }
    }

    /// A manifest with its bytes, checked against the digest where one was asked for or told.
    ///
    /// # Errors
    /// As [`Client::resolve`].
    pub async fn manifest(&self, repository: &Repository, version: &str) -> PortResult<Option<Document>> {
        let url = Self::url(repository, &format!("manifests/{version}"))?;
        let what = format!("reading the manifest {repository}:{version}");
        let ask = |http: &Http| http.get(url.clone()).header(ACCEPT, ACCEPTED);
        let response = self.transport.send(repository, Action::Pull, &url, &what, ask).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(self.refused(repository, &what, response).await),
        }
        let expected = version.parse::<Digest>().ok().or_else(|| digest_of(&response));
        let media_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let bytes = self.body(response).whole(LARGEST, &what).await.map_err(|failed| failed.told(&what))?;
        let document = Document::parse(bytes, media_type.as_deref())?;
        match expected.filter(|expected| *expected != document.digest) {
            Some(expected) => Err(PortError::Invalid(format!(
                "{}: {what}: {} came instead of {expected}",
                codes::DIGEST,
                document.digest
            ))),
            None => Ok(Some(document)),
        }
    }

    /// Gives the image this tag or digest. The registry checks that all that it needs is there; what it answers is compared.
    ///
    /// # Errors
    /// `Conflict`: the tag may not be moved. Else as [`Client::resolve`].
    pub async fn put_manifest(&self, repository: &Repository, version: &str, document: &Document) -> PortResult<()> {
        let url = Self::url(repository, &format!("manifests/{version}"))?;
        let what = format!("putting the manifest {repository}:{version}");
        let ask =
            |http: &Http| http.put(url.clone()).header(CONTENT_TYPE, &document.media_type).body(document.bytes.clone());
        let response = self.transport.send(repository, Action::Push, &url, &what, ask).await?;
        let status = response.status();
        if status.is_success() {
            return match digest_of(&response).filter(|digest| *digest != document.digest) {
                Some(other) => Err(PortError::Invalid(format!(
                    "{}: {what}: {} was sent, and the registry says that it took {other}",
                    codes::DIGEST,
                    document.digest
                ))),
                None => Ok(()),
            };
        }
        let said = said(response).await;
        // What ECR, Harbor, GitLab and Quay say of a tag that may not move; each has its own code for it.
        let words = said.to_ascii_lowercase();
        if words.contains("immutable") || words.contains("cannot be overwritten") {
            // An answer may have been lost, or another push of the same image was first.
            let found = self.find_as(repository, version, Action::Push).await?;
            if found.is_some_and(|found| found.digest.as_ref() == Some(&document.digest)) {
                return Ok(());
            }
            return Err(PortError::Conflict(format!("{}: {what}: {said}", codes::IMMUTABLE)));
        }
        Err(self.error(repository, &what, status, &said))
    }

    /// # Errors
    /// As [`Client::resolve`].
    pub async fn has_blob(&self, repository: &Repository, digest: &Digest) -> PortResult<bool> {
        let url = Self::url(repository, &format!("blobs/{digest}"))?;
        let what = format!("looking for layer {} in {repository}", digest.short());
        let response =
            self.transport.send(repository, Action::Push, &url, &what, |http| http.head(url.clone())).await?;
        match response.status() {
            StatusCode::OK => Ok(true),
            // Where the layers are kept elsewhere, being sent there says that it is there.
            status if status.is_redirection() => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.refused(repository, &what, response).await),
        }
    }

    /// Begins an upload, or has the blob mounted from another repository of the same registry.
    pub(crate) async fn start(&self, repository: &Repository, mount: Option<(&Digest, &str)>) -> PortResult<Started> {
        let mut url = Self::url(repository, "blobs/uploads/")?;
        let mut action = Action::Push;
        if let Some((digest, from)) = mount {
            url.query_pairs_mut().append_pair("mount", &digest.to_string()).append_pair("from", from);
            action = Action::Mount(from);
        }
        let what = format!("beginning an upload to {repository}");
        let ask = |http: &Http| http.post(url.clone()).header(CONTENT_LENGTH, 0);
        let response = self.transport.send(repository, action, &url, &what, ask).await?;
        match response.status() {
            StatusCode::CREATED if mount.is_some() => Ok(Started::Mounted),
            StatusCode::ACCEPTED => Ok(Started::At(location(repository, &url, &response)?)),
            _ => Err(self.refused(repository, &what, response).await),
        }
    }

    /// All tags. An error rather than a part of them.
    ///
    /// # Errors
    /// As [`Client::resolve`]; `NotFound`: no such repository.
    pub async fn tags(&self, repository: &Repository) -> PortResult<Vec<String>> {
        #[derive(Deserialize)]
        struct Page {
            #[serde(default)]
            tags: Option<Vec<String>>,
        }
        let what = format!("listing the tags of {repository}");
        let mut url = Self::url(repository, "tags/list?n=100")?;
        let mut all = Vec::new();
        for _ in 0..PAGES {
            let response =
                self.transport.send(repository, Action::Pull, &url, &what, |http| http.get(url.clone())).await?;
            if response.status() == StatusCode::NOT_FOUND {
                return Err(PortError::NotFound(format!("{repository}: {}", said(response).await)));
            }
            if response.status() != StatusCode::OK {
                return Err(self.refused(repository, &what, response).await);
            }
            let next = response
                .headers()
                .get(LINK)
                .and_then(|value| value.to_str().ok())
                .and_then(next_page)
                .map(str::to_owned);
            let page = self.body(response).whole(LARGEST, &what).await.map_err(|failed| failed.told(&what))?;
            let page: Page = serde_json::from_slice(&page)
                .map_err(|e| PortError::Unavailable(format!("{}: {what}: {e}", codes::UNAVAILABLE)))?;
            all.extend(page.tags.unwrap_or_default());
            match next {
                None => return Ok(all),
                Some(next) => {
                    url = url.join(&next).map_err(|e| PortError::Unavailable(format!("{what}: {next:?}: {e}")))?;
                }
            }
        }
        Err(PortError::Unavailable(format!("{}: {what}: more than {PAGES} pages", codes::UNAVAILABLE)))
    }

    /// Removes a manifest, and with it every tag that it has. `false`: there was none.
    ///
    /// # Errors
    /// As [`Client::resolve`]; `Invalid`: the registry deletes nothing.
    pub async fn delete_manifest(&self, repository: &Repository, digest: &Digest) -> PortResult<bool> {
        let url = Self::url(repository, &format!("manifests/{digest}"))?;
        let what = format!("deleting {repository}@{digest}");
        let response =
            self.transport.send(repository, Action::Delete, &url, &what, |http| http.delete(url.clone())).await?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(false),
            status if status.is_success() => Ok(true),
            _ => Err(self.refused(repository, &what, response).await),
        }
    }

    /// Rules of a repository that a cloud keeps; `None` where nobody knows.
    pub(crate) async fn rules(&self, repository: &Repository, create: bool) -> PortResult<Option<RepositoryRules>> {
        let Some(cloud) = self.transport.cloud.as_ref().filter(|cloud| cloud.serves(&repository.registry)) else {
            return Ok(None);
        };
        if let Some(rules) = cloud.repository(&repository.registry, &repository.name).await? {
            return Ok(Some(rules));
        }
        if !create {
            return Err(PortError::NotFound(format!(
                "{}: {} has no repository {}: create it, or allow it with --create-repository",
                codes::REPOSITORY,
                repository.registry,
                repository.name
            )));
        }
        cloud.create_repository(&repository.registry, &repository.name).await?;
        Ok(Some(RepositoryRules::default()))
    }

    pub(crate) async fn refused(&self, repository: &Repository, what: &str, response: Response) -> PortError {
        let status = response.status();
        let said = said(response).await;
        self.error(repository, what, status, &said)
    }

    fn error(&self, repository: &Repository, what: &str, status: StatusCode, said: &str) -> PortError {
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                self.transport.denied(repository, &format!("{said} ({what})"))
            }
            StatusCode::NOT_FOUND => PortError::NotFound(format!("{}: {what}: {said}", codes::REPOSITORY)),
            StatusCode::METHOD_NOT_ALLOWED => {
                PortError::Invalid(format!("{}: {what}: {said}: the registry does not allow it", codes::REFUSED))
            }
            _ if status.is_server_error() => PortError::Unavailable(format!("{}: {what}: {said}", codes::UNAVAILABLE)),
            _ => PortError::Invalid(format!("{}: {what}: {said}", codes::REFUSED)),
        }
    }
}

pub(crate) fn digest_of(response: &Response) -> Option<Digest> {
    response.headers().get(DIGEST_HEADER)?.to_str().ok()?.parse().ok()
}

/// Where an upload goes on. A registry behind a proxy that ends TLS may name itself with `http`: it stays `https`.
pub(crate) fn location(repository: &Repository, asked: &Url, response: &Response) -> PortResult<Url> {
    let header = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let bad =
        |why: &str| PortError::Unavailable(format!("{}: {repository}: an upload's location {why}", codes::UNAVAILABLE));
    let mut url = asked.join(header.ok_or_else(|| bad("is missing"))?).map_err(|e| bad(&e.to_string()))?;
    if asked.scheme() == "https" && url.scheme() == "http" {
        url.set_scheme("https").map_err(|()| bad("has no TLS"))?;
    }
    Ok(url)
}

/// `</v2/a/tags/list?last=x&n=100>; rel="next"`
fn next_page(link: &str) -> Option<&str> {
    let (url, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    rest.contains("next").then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_followed() {
        assert_eq!(next_page(r#"</v2/a/tags/list?last=x&n=100>; rel="next""#), Some("/v2/a/tags/list?last=x&n=100"));
        assert_eq!(next_page(r#"</v2/a>; rel="prev""#), None);
        assert_eq!(next_page("nonsense"), None);
    }
}
