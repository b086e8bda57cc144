//! Does an image exist in its registry, and under which digest: one HEAD of its manifest, with an anonymous token where
//! the registry asks for one.

use landfall_ports::{PortError, PortResult, chain};
use reqwest::header::{ACCEPT, AUTHORIZATION, WWW_AUTHENTICATE};
use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;

const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, \
                         application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";

/// `[registry/]repository[:tag][@digest]`
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reference {
    registry: String,
    repository: String,
    /// Tag or digest.
    version: String,
}

impl Reference {
    pub(super) fn parse(text: &str) -> PortResult<Self> {
        let bad = || PortError::Invalid(format!("{text:?} is not an image reference"));
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/' | ':' | '@' | '[' | ']');
        if text.is_empty() || !text.chars().all(legal) {
            return Err(bad());
        }
        let (rest, digest) = text.split_once('@').map_or((text, None), |(rest, digest)| (rest, Some(digest)));
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        let version = digest.or(tag).unwrap_or("latest").to_owned();
        let (registry, repository) = match name.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest.to_owned()),
            Some(_) => ("registry-1.docker.io", name.to_owned()),
            None => ("registry-1.docker.io", format!("library/{name}")),
        };
        let registry = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
        if repository.is_empty() || version.is_empty() {
            return Err(bad());
        }
        Ok(Self { registry: registry.to_owned(), repository, version })
    }

    pub(super) fn name(&self) -> String {
        let registry = if self.registry == "registry-1.docker.io" { "docker.io" } else { &self.registry };
        format!("{registry}/{}", self.repository)
    }

    fn local(&self) -> bool {
        let host = self.registry.split(':').next().unwrap_or_default();
        host == "localhost" || host.starts_with("127.")
    }

    fn url(&self) -> String {
        let scheme = if self.local() { "http" } else { "https" };
        format!("{scheme}://{}/v2/{}/manifests/{}", self.registry, self.repository, self.version)
    }
}

/// Whether a local image's tag is of this repository; a local build has no registry, or `localhost`.
pub(super) fn same_repository(tag: &str, repository: &str) -> bool {
    let plain = |name: &str| {
        name.trim_start_matches("docker.io/").trim_start_matches("library/").trim_start_matches("localhost/").to_owned()
    };
    Reference::parse(tag).is_ok_and(|reference| plain(&reference.name()) == plain(repository))
}

/// The reference with its digest; `None` while it does not exist.
pub(crate) async fn resolve(http: &Client, image: &str) -> PortResult<Option<String>> {
    let reference = Reference::parse(image)?;
    if reference.registry == "localhost" {
        // Never a registry: the engines' name for images without one.
        return Ok(None);
    }
    let mut response = head(http, &reference, None).await?;
    if response.status() == StatusCode::UNAUTHORIZED {
        let challenge =
            response.headers().get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let Some(token) = anonymous_token(http, challenge).await? else {
            return Err(PortError::Denied(format!("{} asks for credentials", reference.registry)));
        };
        response = head(http, &reference, Some(&token)).await?;
    }
    match response.status() {
        StatusCode::OK => {
            let digest = response.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
            Ok(Some(digest.map_or_else(|| image.to_owned(), |digest| format!("{}@{digest}", reference.name()))))
        }
        StatusCode::NOT_FOUND => Ok(None),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Err(PortError::Denied(format!("{} refuses to show {image}", reference.registry)))
        }
        StatusCode::TOO_MANY_REQUESTS => Err(PortError::Throttled {
            message: format!("{} is rate limiting", reference.registry),
            retry_after_ms: None,
        }),
        status => Err(PortError::Unavailable(format!("{} answered {status} for {image}", reference.registry))),
    }
}

async fn head(http: &Client, reference: &Reference, token: Option<&str>) -> PortResult<Response> {
    let mut request = http.head(reference.url()).header(ACCEPT, MANIFESTS).timeout(std::time::Duration::from_secs(20));
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    request.send().await.map_err(|e| PortError::Unavailable(format!("registry {}: {}", reference.registry, chain(&e))))
}

#[derive(Deserialize)]
struct Token {
    #[serde(alias = "access_token")]
    token: String,
}

/// `Bearer realm="…",service="…",scope="…"`
async fn anonymous_token(http: &Client, challenge: &str) -> PortResult<Option<String>> {
    let Some(fields) = challenge.strip_prefix("Bearer ") else { return Ok(None) };
    let field = |name: &str| {
        let at = fields.find(&format!("{name}=\""))? + name.len() + 2;
        fields.get(at..)?.split('"').next()
    };
    let Some(realm) = field("realm") else { return Ok(None) };
    let query: Vec<(&str, &str)> =
        ["service", "scope"].iter().filter_map(|name| field(name).map(|value| (*name, value))).collect();
    let mut url = reqwest::Url::parse(realm).map_err(|e| PortError::Unavailable(format!("registry realm: {e}")))?;
    url.query_pairs_mut().extend_pairs(query);
    let response = http.get(url).timeout(std::time::Duration::from_secs(20)).send().await;
    let response = response.map_err(|e| PortError::Unavailable(format!("registry token: {}", chain(&e))))?;
    if !response.status().is_success() {
        return Ok(None);
    }
    Ok(response.json::<Token>().await.ok().map(|token| token.token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references() {
        let parsed = |text: &str| {
            let reference = Reference::parse(text).unwrap();
            (reference.name(), reference.version.clone(), reference.url())
        };
        assert_eq!(parsed("nginx").0, "docker.io/library/nginx");
        assert_eq!(parsed("ghcr.io/a/b:1").2, "https://ghcr.io/v2/a/b/manifests/1");
        assert_eq!(parsed("localhost:5000/a").2, "http://localhost:5000/v2/a/manifests/latest");
        assert_eq!(parsed("a/b@sha256:00").1, "sha256:00");
        assert!(Reference::parse("a b").is_err());
        assert!(Reference::parse("a/").is_ok_and(|_| false) || Reference::parse("").is_err());
    }

    #[test]
    fn local_names_of_one_repository() {
        assert!(same_repository("docker.io/library/app:1", "docker.io/library/app"));
        assert!(same_repository("localhost/app:1", "docker.io/library/app"));
        assert!(!same_repository("localhost/other:1", "docker.io/library/app"));
    }
}
