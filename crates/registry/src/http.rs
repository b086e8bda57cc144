//! Requests to a registry: logged in, repeated where that helps, with errors that say what the registry said.
//!
//! Logging in: nobody knows what a registry wants before it has refused once. The first refusal logs in under a lock; those that
//! were refused beside it find the new header when the lock is theirs, because they say which one they were refused with.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use landfall_ports::registry::CloudRegistry;
use landfall_ports::{Lazy, PortError, PortResult, chain};
use reqwest::header::{AUTHORIZATION, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use tokio::time::Instant;

use crate::challenge::Challenge;
use crate::codes;
use crate::credentials::Places;
use crate::reference::Repository;
use crate::retry;
use crate::watch::{Event, Watcher};

const CONNECT: Duration = Duration::from_secs(10);
/// For an answer to anything but a layer.
pub(crate) const ANSWER: Duration = Duration::from_secs(60);
/// A connection on which nothing moves for so long is given up.
pub(crate) const STALLED: Duration = Duration::from_secs(60);
/// Of an error's body.
const LONGEST_ERROR: usize = 8 * 1024;

/// What a login is for. Registries give tokens for no more than was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action<'a> {
    Pull,
    Push,
    /// Pushing what another repository of the same registry has.
    Mount(&'a str),
    Delete,
}

impl Action<'_> {
    pub(crate) fn scopes(self, name: &str) -> Vec<String> {
        match self {
            Action::Pull => vec![format!("repository:{name}:pull")],
            Action::Push => vec![format!("repository:{name}:pull,push")],
            Action::Mount(from) => vec![format!("repository:{name}:pull,push"), format!("repository:{from}:pull")],
            Action::Delete => vec![format!("repository:{name}:pull,delete")],
        }
    }
}

pub(crate) struct Header {
    pub value: HeaderValue,
    pub until: Option<Instant>,
}

pub(crate) struct Transport {
    /// Made without the machine's certificates: reading them takes longer than a push that finds everything there.
    plain: Lazy<reqwest::Client>,
    secure: Lazy<reqwest::Client>,
    pub places: Places,
    pub cloud: Option<Arc<dyn CloudRegistry>>,
    pub watcher: Arc<dyn Watcher>,
    /// With a blob that is read.
    pub patience: Duration,
    headers: tokio::sync::Mutex<HashMap<String, Header>>,
}

/// A try that did not come to an answer.
pub(crate) enum Failure {
    /// May pass by itself.
    Cut(String),
    Final(PortError),
}

impl Failure {
    /// Where nobody tries again.
    pub(crate) fn told(self, what: &str) -> PortError {
        match self {
            Self::Cut(why) => PortError::Unavailable(format!("{}: {what}: {why}", codes::UNAVAILABLE)),
            Self::Final(error) => error,
        }
    }
}

impl From<PortError> for Failure {
    fn from(error: PortError) -> Self {
        Self::Final(error)
    }
}

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("landfall/", env!("CARGO_PKG_VERSION")))
        // Who redirects a request with credentials must not get them.
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .pool_idle_timeout(Duration::from_secs(30))
}

fn plain() -> PortResult<reqwest::Client> {
    let builder = builder().no_proxy();
    #[cfg(feature = "tls")]
    let builder = {
        install();
        builder.tls_certs_only([])
    };
    builder.build().map_err(|e| PortError::Bug(format!("HTTP client: {e}")))
}

fn secure() -> PortResult<reqwest::Client> {
    #[cfg(feature = "tls")]
    install();
    builder().build().map_err(|e| PortError::Bug(format!("HTTP client: {e}")))
}

/// Another part of the process may have been first: any provider will do.
#[cfg(feature = "tls")]
fn install() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

impl Transport {
    pub(crate) fn new(places: Places, cloud: Option<Arc<dyn CloudRegistry>>, watcher: Arc<dyn Watcher>) -> Self {
        let headers = tokio::sync::Mutex::default();
        Self { plain: Lazy::new(plain), secure: Lazy::new(secure), places, cloud, watcher, patience: STALLED, headers }
    }

    pub(crate) fn http(&self, url: &Url) -> PortResult<&reqwest::Client> {
        if url.scheme() == "http" { self.plain.get() } else { self.secure.get() }
    }

    /// One request, sent again while that may help; `make` makes it anew for each try.
    pub(crate) async fn send(
        &self,
        repository: &Repository,
        action: Action<'_>,
        url: &Url,
        what: &str,
        make: impl Fn(&reqwest::Client) -> RequestBuilder,
    ) -> PortResult<Response> {
        let mut tried = 0;
        loop {
            tried += 1;
            let asked = match self.once(repository, action, url, None, |http| Ok(make(http).timeout(ANSWER))).await {
                Ok(response) if retry::passes_by_itself(response.status().as_u16()) => Err(response),
                Ok(response) => return Ok(response),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Cut(why)) => Ok(why),
            };
            self.pause(repository, tried, what, asked).await?;
        }
    }

    /// Waits before the next try, or ends with the error that all of them had.
    pub(crate) async fn pause(
        &self,
        repository: &Repository,
        tried: u32,
        what: &str,
        last: Result<String, Response>,
    ) -> PortResult<()> {
        let asked = match &last {
            Err(response) => retry::asked(response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok())),
            Ok(_) => None,
        };
        let status = last.as_ref().err().map(Response::status);
        let why = match last {
            Ok(why) => why,
            Err(response) => format!("it answered {}", said(response).await),
        };
        let host = &repository.registry;
        let Some(wait) = retry::pause(tried, asked, retry::chance()) else {
            return Err(match status {
                Some(StatusCode::TOO_MANY_REQUESTS) => PortError::Throttled {
                    message: format!("{}: {what}: {host} asks for fewer requests ({why})", codes::THROTTLED),
                    retry_after_ms: asked.and_then(|asked| u64::try_from(asked.as_millis()).ok()),
                },
                _ => PortError::Unavailable(format!(
                    "{}: {what}: {host}: {why} (tried {tried} times)",
                    codes::UNAVAILABLE
                )),
            });
        };
        tracing::debug!(registry = %host, what, why, wait_ms = wait.as_millis(), "sent again");
        self.watcher.event(Event::Retry { what, why: &why, wait });
        tokio::time::sleep(wait).await;
        Ok(())
    }

    /// One try, logged in. `patience`: until the answer begins, where neither the request nor the caller bounds it.
    pub(crate) async fn once(
        &self,
        repository: &Repository,
        action: Action<'_>,
        url: &Url,
        patience: Option<Duration>,
        make: impl Fn(&reqwest::Client) -> PortResult<RequestBuilder>,
    ) -> Result<Response, Failure> {
        let http = self.http(url)?;
        // An upload may be sent to a host that has nothing to do with the registry's logins.
        let ours = is_ours(repository, url);
        let key = format!("{} {}", repository.registry, action.scopes(&repository.name).join(" "));
        let mut used = if ours { self.known(&key).await } else { None };
        let mut logged_in = false;
        loop {
            let mut request = make(http)?;
            if let Some(header) = &used {
                request = request.header(AUTHORIZATION, header.clone());
            }
            let answered = match patience {
                Some(patience) => tokio::time::timeout(patience, request.send()).await.map_err(|_| silent(patience)),
                None => Ok(request.send().await),
            };
            let response = answered.map_err(Failure::Cut)?.map_err(|e| cut(repository, chain(&e.without_url())))?;
            if response.status() != StatusCode::UNAUTHORIZED || !ours {
                return Ok(response);
            }
            let refused = response.headers().get_all(WWW_AUTHENTICATE);
            let challenge = Challenge::parse(refused.iter().filter_map(|value| value.to_str().ok()));
            if logged_in || challenge.is_none() {
                return Err(Failure::Final(self.denied(repository, &said(response).await)));
            }
            let mut headers = self.headers.lock().await;
            let good = |header: &&Header| header.until.is_none_or(|until| Instant::now() < until);
            let newer = headers.get(&key).filter(good).filter(|header| used.as_ref() != Some(&header.value));
            if let Some(header) = newer {
                used = Some(header.value.clone());
                continue;
            }
            headers.remove(&key);
            if let Some(challenge) = challenge {
                let header = self.log_in(repository, action, &challenge).await?;
                used = Some(header.value.clone());
                headers.insert(key.clone(), header);
            }
            logged_in = true;
        }
    }

    async fn known(&self, key: &str) -> Option<HeaderValue> {
        let headers = self.headers.lock().await;
        let header = headers.get(key)?;
        header.until.is_none_or(|until| Instant::now() < until).then(|| header.value.clone())
    }

    pub(crate) fn denied(&self, repository: &Repository, said: &str) -> PortError {
        let host = &repository.registry;
        let looked = self.places.names();
        let files = if looked.is_empty() { String::new() } else { format!("; logins are looked for in {looked}") };
        PortError::Denied(format!("{}: {repository}: {host} answered {said}{files}", codes::DENIED))
    }
}

pub(crate) fn silent(patience: Duration) -> String {
    format!("nothing came for {} s", patience.as_secs_f32())
}

/// What no waiting mends is told at once: a certificate that is not trusted, and TLS where none is spoken.
fn cut(repository: &Repository, why: String) -> Failure {
    let host = &repository.registry;
    let hint = if why.contains("invalid peer certificate") {
        "this machine does not trust its certificate: SSL_CERT_FILE names a file of authorities that are trusted"
    } else if why.contains("received corrupt message") {
        "it does not speak TLS: http:// in front of its name"
    } else {
        return Failure::Cut(why);
    };
    Failure::Final(PortError::Invalid(format!("{}: {host}: {why}: {hint}", codes::UNAVAILABLE)))
}

/// The registry itself, however its name is written: `R.example:443` is `https://r.example`.
fn is_ours(repository: &Repository, url: &Url) -> bool {
    Url::parse(&repository.url("")).is_ok_and(|own| own.origin() == url.origin())
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<RegistryError>,
}

#[derive(Deserialize)]
struct RegistryError {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// Status and the registry's own words: `400 Bad Request: TAG_INVALID: …`.
pub(crate) async fn said(mut response: Response) -> String {
    let status = response.status();
    let mut bytes = Vec::new();
    while let Ok(Ok(Some(chunk))) = tokio::time::timeout(Duration::from_secs(5), response.chunk()).await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > LONGEST_ERROR {
            break;
        }
    }
    words(status, &bytes)
}

fn words(status: StatusCode, bytes: &[u8]) -> String {
    let Ok(Errors { errors }) = serde_json::from_slice(bytes) else { return status.to_string() };
    let of = |error: &RegistryError| match (error.code.as_str(), error.message.as_str()) {
        ("", message) => message.to_owned(),
        (code, "") => code.to_owned(),
        (code, message) => format!("{code}: {message}"),
    };
    let text: Vec<String> = errors.iter().take(3).map(of).collect();
    let text: String = text.join("; ").chars().filter(|c| !c.is_control()).take(400).collect();
    if text.is_empty() { status.to_string() } else { format!("{status}: {text}") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn what_a_registry_says_is_short_and_on_one_line() {
        let of = |body: &str| words(StatusCode::BAD_REQUEST, body.as_bytes());
        assert_eq!(of("<html>"), "400 Bad Request");
        assert_eq!(
            of(r#"{"errors":[{"code":"TAG_INVALID","message":"no\n\u001b[31m","detail":{}}]}"#),
            "400 Bad Request: TAG_INVALID: no[31m"
        );
        assert_eq!(of(r#"{"errors":[]}"#), "400 Bad Request");
        let long = format!(r#"{{"errors":[{{"message":"{}"}}]}}"#, "x".repeat(5000));
        assert!(of(&long).len() < 450);
    }

    #[test]
    fn what_no_waiting_mends_is_told_at_once() {
        let repository = crate::reference::Reference::parse("r.example/app").unwrap().repository;
        let of = |why: &str| cut(&repository, why.to_owned());
        let text = |failure| match failure {
            Failure::Final(error) => error.to_string(),
            Failure::Cut(why) => format!("again: {why}"),
        };
        assert!(text(of("invalid peer certificate: UnknownIssuer")).contains("SSL_CERT_FILE"));
        assert!(text(of("received corrupt message of type InvalidContentType")).contains("http://"));
        assert_eq!(text(of("connection reset")), "again: connection reset");
    }

    #[test]
    fn logins_go_to_the_registry_only_however_it_is_written() {
        let is = |registry: &str, url: &str| {
            let repository = crate::reference::Reference::parse(&format!("{registry}/app")).unwrap().repository;
            is_ours(&repository, &Url::parse(url).unwrap())
        };
        let own = [
            ("r.example", "https://r.example/v2/"),
            ("r.example:443", "https://r.example/v2/"),
            ("R.Example", "https://r.example:443/v2/"),
            ("http://r.example:80", "http://r.example/v2/"),
            ("r.example:5000", "https://r.example:5000/v2/"),
        ];
        for (registry, url) in own {
            assert!(is(registry, url), "{registry} {url}");
        }
        let other = [
            ("r.example", "https://layers.example/v2/"),
            ("r.example:5000", "https://r.example/v2/"),
            ("r.example", "https://r.example:5000/v2/"),
            ("r.example:5000", "http://r.example:5000/v2/"),
        ];
        for (registry, url) in other {
            assert!(!is(registry, url), "{registry} {url}");
        }
    }

    #[test]
    fn tokens_are_asked_for_no_more_than_is_done() {
        assert_eq!(Action::Pull.scopes("a/b"), ["repository:a/b:pull"]);
        assert_eq!(Action::Mount("base").scopes("a"), ["repository:a:pull,push", "repository:base:pull"]);
    }
}
