//! A thin client of the Docker API over its unix socket, for Docker and for Podman's service.
//!
//! Own types, tolerant: states are strings, unknown fields are ignored, absent ones default. A typed client that knows no
//! state `stopped` (Podman shows it for 0.2 s at every exit) fails a whole listing for one container.
//! Every call opens its own connection: that costs 50 µs and leaves nothing to go stale when the engine restarts.

mod buildkit;
mod calls;
mod error;
mod save;
mod session;
mod stream;
pub mod types;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use landfall_registry::Repository;
use landfall_registry::credentials::{Login, Places};
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

pub use calls::{BUILD_TRIES, BUILT_ONCE_MORE, BuildOptions, ExecOutcome, taken_from_the_build};
pub use error::{DockerError, DockerResult};
pub use stream::{LogFrame, LogFrames, Source};

/// The newest API version we speak: the oldest that Docker 29 accepts. Docker 20.10 and Podman 4 speak 1.41.
const OUR_API: (u32, u32) = (1, 44);
/// The first that builds with BuildKit (Docker 19.03).
const BUILDKIT_API: (u32, u32) = (1, 40);
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How often, and after which pause, a call is repeated that failed over something else that vanished.
const LIST_TRIES: u32 = 40;
const LIST_PAUSE: Duration = Duration::from_millis(25);

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Docker {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    socket: PathBuf,
    /// `/v1.41`; empty until negotiated.
    prefix: RwLock<String>,
    /// Podman's builds take all that BuildKit's do; of Docker's two builders only BuildKit does.
    buildkit: AtomicBool,
    /// Docker has no logins of its own; Podman has.
    logins: OnceLock<Places>,
}

impl Docker {
    pub fn new(socket: &Path) -> Self {
        let (prefix, buildkit) = (RwLock::default(), AtomicBool::new(false));
        Self { inner: Arc::new(Inner { socket: socket.to_owned(), prefix, buildkit, logins: OnceLock::new() }) }
    }

    pub fn socket(&self) -> &Path {
        &self.inner.socket
    }

    /// Asks for the version and settles on the newest API that both sides speak.
    /// An engine that has left ours behind is asked for the oldest that it still has: little changes between two versions.
    pub async fn negotiate(&self) -> DockerResult<types::Version> {
        let ping = self.send(Method::GET, "/_ping", None, Bytes::new(), CALL_TIMEOUT).await?;
        let word = |name: &str| ping.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (podman, api) = (word("libpod-api-version"), word("api-version"));
        self.read(ping).await?;
        let version = match (podman, api) {
            // Asked for its version, Podman asks the package manager about each of its programs, which takes half a second.
            (Some(version), Some(api_version)) => {
                types::Version { version, api_version, podman: true, ..types::Version::default() }
            }
            _ => {
                let answer = self.send(Method::GET, "/version", None, Bytes::new(), CALL_TIMEOUT).await?;
                decode("GET /version", &self.read(answer).await?)?
            }
        };
        let (major, minor) = settle(&version.api_version, &version.min_api_version);
        let buildkit = !version.podman && (major, minor) >= BUILDKIT_API;
        self.inner.buildkit.store(buildkit, Ordering::Relaxed);
        if let Ok(mut prefix) = self.inner.prefix.write() {
            *prefix = format!("/v{major}.{minor}");
        }
        Ok(version)
    }

    pub async fn ping(&self) -> DockerResult<()> {
        let response = self.send(Method::GET, "/_ping", None, Bytes::new(), Duration::from_secs(3)).await?;
        self.read(response).await.map(|_| ())
    }

    /// From now on images are pulled, and base images read, as these say. Once.
    pub fn use_logins(&self, places: Places) {
        let _ = self.inner.logins.set(places);
    }

    async fn login(&self, repository: &Repository) -> Option<Login> {
        match self.inner.logins.get()?.login(repository).await {
            Ok(login) => login,
            Err(error) => {
                tracing::warn!(%error, registry = repository.registry, "pulling without a login");
                None
            }
        }
    }

    fn builds_with_buildkit(&self) -> bool {
        self.inner.buildkit.load(Ordering::Relaxed)
    }

    fn prefix(&self) -> String {
        self.inner.prefix.read().map(|text| text.clone()).unwrap_or_default()
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> DockerResult<T> {
        let path = format!("{}{path}", self.prefix());
        let bytes = self.read(self.send(Method::GET, &path, None, Bytes::new(), CALL_TIMEOUT).await?).await?;
        decode(&path, &bytes)
    }

    /// A listing. Podman answers "not known" to all of it when one item vanishes while it is read (also when that item would
    /// have been filtered out), so it is asked again; a listing as such is never missing.
    async fn list<T: DeserializeOwned>(&self, path: &str) -> DockerResult<T> {
        again(|_| true, || self.get(path)).await
    }

    async fn post_json<T: DeserializeOwned>(&self, path: &str, body: &impl serde::Serialize) -> DockerResult<T> {
        let bytes = self.post(path, body, CALL_TIMEOUT).await?;
        decode(path, &bytes)
    }

    async fn post(&self, path: &str, body: &impl serde::Serialize, timeout: Duration) -> DockerResult<Bytes> {
        let body = serde_json::to_vec(body).map_err(|e| DockerError::Decode(format!("{path}: {e}")))?;
        let path = format!("{}{path}", self.prefix());
        let response = self.send(Method::POST, &path, Some("application/json"), body.into(), timeout).await?;
        self.read(response).await
    }

    /// Docker refuses any body, `{}` too, on start.
    async fn post_empty(&self, path: &str, timeout: Duration) -> DockerResult<()> {
        let path = format!("{}{path}", self.prefix());
        let response = self.send(Method::POST, &path, None, Bytes::new(), timeout).await?;
        self.read(response).await.map(|_| ())
    }

    async fn delete(&self, path: &str) -> DockerResult<Bytes> {
        let path = format!("{}{path}", self.prefix());
        self.read(self.send(Method::DELETE, &path, None, Bytes::new(), Duration::from_secs(120)).await?).await
    }

    /// The whole body of a successful response; an error response becomes its `DockerError`.
    async fn read(&self, response: Response<Incoming>) -> DockerResult<Bytes> {
        let status = response.status();
        let body = tokio::time::timeout(CALL_TIMEOUT, response.into_body().collect())
            .await
            .map_err(|_| DockerError::Unavailable("the engine stopped in the middle of an answer".to_owned()))?
            .map_err(|e| DockerError::Unavailable(format!("the engine broke off its answer: {e}")))?
            .to_bytes();
        // 304: already started, already stopped.
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            return Ok(body);
        }
        Err(error::from_response(status, &body))
    }

    /// Sends one request on a connection of its own; `timeout` covers everything until the response's head.
    async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: Bytes,
        timeout: Duration,
    ) -> DockerResult<Response<Incoming>> {
        let header = content_type.map(|text| ("content-type", text));
        self.send_with(method, path, header, body, timeout).await
    }

    async fn send_with(
        &self,
        method: Method,
        path: &str,
        header: Option<(&str, &str)>,
        body: Bytes,
        timeout: Duration,
    ) -> DockerResult<Response<Incoming>> {
        let call = async {
            let stream = UnixStream::connect(&self.inner.socket).await.map_err(|e| {
                DockerError::Unavailable(format!("no engine answers at {}: {e}", self.inner.socket.display()))
            })?;
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
                .await
                .map_err(|e| DockerError::Unavailable(format!("handshake with the engine: {e}")))?;
            // Ends by itself with the response's body.
            tokio::spawn(connection);
            let mut request = Request::builder().method(method.clone()).uri(path).header("host", "engine");
            if let Some((name, value)) = header {
                request = request.header(name, value);
            }
            let request = request
                .body(Full::new(body))
                .map_err(|e| DockerError::Other { status: 400, message: format!("{method} {path}: {e}") })?;
            sender
                .send_request(request)
                .await
                .map_err(|e| DockerError::Unavailable(format!("the engine broke off {method} {path}: {e}")))
        };
        tokio::time::timeout(timeout, call).await.map_err(|_| {
            DockerError::Unavailable(format!("the engine did not answer {method} {path} within {timeout:?}"))
        })?
    }
}

/// For calls in which Podman also reads things that were not asked for, and says "not known" when one of those vanishes
/// meanwhile: repeats while `of_others` says so of the message. Believed, it would hide what is there.
async fn again<T, F: Future<Output = DockerResult<T>>>(
    of_others: impl Fn(&str) -> bool,
    mut call: impl FnMut() -> F,
) -> DockerResult<T> {
    let mut tries = LIST_TRIES;
    loop {
        match call().await {
            Err(DockerError::NotFound(message)) if of_others(&message) => {
                if tries == 0 {
                    return Err(DockerError::Unavailable(message));
                }
            }
            result => return result,
        }
        tries -= 1;
        tokio::time::sleep(LIST_PAUSE).await;
    }
}

/// Podman looks for an image's parents and children among all images. That the image itself is missing it says without these
/// words.
fn another_image(message: &str) -> bool {
    message.contains("locating image with ID")
}

fn decode<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> DockerResult<T> {
    serde_json::from_slice(bytes).map_err(|e| DockerError::Decode(format!("{what}: {e}")))
}

fn settle(newest: &str, oldest: &str) -> (u32, u32) {
    let ours = parse_version(newest).unwrap_or((1, 41)).min(OUR_API);
    parse_version(oldest).map_or(ours, |oldest| oldest.max(ours))
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Percent-encodes a query value or path segment.
pub(crate) fn encode(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' | b':' | b'@' => {
                out.push(byte as char);
            }
            _ => {
                // Writing to a string cannot fail.
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(parse_version("1.41"), Some((1, 41)));
        assert!(parse_version("1.9") < parse_version("1.41"));
        assert_eq!(parse_version("x"), None);
    }

    #[test]
    fn the_api_is_one_that_the_engine_accepts() {
        // Docker 20.10, Docker 28, Docker 29, Podman 4, one that is still to come, one that does not say.
        assert_eq!(settle("1.41", "1.12"), (1, 41));
        assert_eq!(settle("1.48", "1.24"), (1, 44));
        assert_eq!(settle("1.52", "1.44"), (1, 44));
        assert_eq!(settle("1.41", "1.24"), (1, 41));
        assert_eq!(settle("1.60", "1.50"), (1, 50));
        assert_eq!(settle("", ""), (1, 41));
    }

    #[test]
    fn encodes_what_a_query_cannot_hold() {
        assert_eq!(encode("a b&c=d?#é/x:1"), "a%20b%26c%3Dd%3F%23%C3%A9/x:1");
    }

    /// Answers one connection after the other, in this order.
    fn engine(answers: Vec<String>) -> (tempfile::TempDir, Docker) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("engine.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 1024];
                assert!(stream.read(&mut request).await.unwrap() > 0);
                stream.write_all(answer.as_bytes()).await.unwrap();
                // And nothing more, until the client goes.
                let _ = stream.read(&mut request).await;
            }
        });
        (dir, Docker::new(&path))
    }

    fn answer(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    #[tokio::test(start_paused = true)]
    async fn a_pull_without_progress_ends_and_is_not_repeated() {
        let begun = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n14\r\n{\"status\":\"pulling\"}\r\n";
        let (_dir, docker) = engine(vec![begun.to_owned()]);
        let pulled = docker.pull_image("example.org/app:1").await;
        let Err(DockerError::Other { status: 504, message }) = pulled else { panic!("{pulled:?}") };
        assert!(message.contains("example.org/app:1"), "{message}");
    }

    #[tokio::test]
    async fn an_image_is_not_missing_because_another_one_vanished() {
        let other = answer(
            "500 Internal Server Error",
            r#"{"message":"failed to convert ImageData to ImageInspect 'app:1': reading image \"c18c\": locating image with ID \"c18c\": image not known"}"#,
        );
        let missing = r#"{"message":"failed to find image app:1: app:1: image not known"}"#;
        let answers = [
            other.clone(),
            other.clone(),
            answer("200 OK", r#"{"Id":"sha256:1"}"#),
            other.clone(),
            answer("404 Not Found", missing),
            other,
            answer("409 Conflict", r#"{"message":"image is in use by a container"}"#),
        ];
        let (_dir, docker) = engine(answers.to_vec());
        assert_eq!(docker.inspect_image("app:1").await.unwrap().id, "sha256:1");
        assert!(docker.inspect_image("app:1").await.unwrap_err().is_not_found());
        let removed = docker.remove_image("app:1").await;
        assert!(matches!(removed, Err(DockerError::Conflict(_))), "{removed:?}");
    }

    /// As Podman 4.3 answers, seen by taking a container from its storage behind its back.
    #[tokio::test(start_paused = true)]
    async fn what_podman_was_killed_while_removing_hides_nothing() {
        let broken = answer(
            "500 Internal Server Error",
            r#"{"cause":"container not known","message":"getting container from store \"3b6c\": container not known","response":500}"#,
        );
        let always = vec![broken.clone(); LIST_TRIES as usize + 1];
        let removed = answer("204 No Content", "");
        let others = answer("200 OK", r#"[{"Id":"5f1a","Names":["/app"]}]"#);
        let (_dir, docker) = engine([always.clone(), vec![removed, others]].concat());
        let found = docker.list_containers(&["a=b".to_owned()]).await.unwrap();
        assert_eq!(found.iter().map(|container| container.id.as_str()).collect::<Vec<_>>(), ["5f1a"]);

        // In Podman's own words.
        let network = r#"{"name":"n1","id":"333f","driver":"bridge","labels":{"a":"b"}}"#;
        let answers =
            [always, vec![answer("200 OK", &format!("[{network}]")), broken.clone(), answer("200 OK", network)]];
        let (_dir, docker) = engine(answers.concat());
        for found in [docker.list_networks(&[]).await.unwrap().remove(0), docker.inspect_network("n1").await.unwrap()] {
            assert_eq!((found.name.as_str(), found.id.as_str(), found.labels["a"].as_str()), ("n1", "333f", "b"));
        }

        let (_dir, docker) = engine(vec![broken]);
        assert!(docker.inspect_container("app").await.unwrap_err().is_not_found());
    }

    #[tokio::test]
    async fn a_build_whose_layers_are_removed_meanwhile_is_begun_again() {
        let stream = |lines: &[&str]| answer("200 OK", &lines.join("\n"));
        let gone = stream(&[r#"{"stream":"STEP 1/1"}"#, r#"{"error":"identifier is not a container"}"#]);
        let wrong = stream(&[r#"{"error":"COPY: no such file"}"#]);
        let made = stream(&[r#"{"stream":"COMMIT"}"#, r#"{"aux":{"ID":"sha256:1"}}"#]);
        let answers = [gone.clone(), made, gone.clone(), gone.clone(), gone, wrong];
        let (_dir, docker) = engine(answers.to_vec());
        let mut lines = Vec::new();
        let options = BuildOptions::default();
        let mut build = async || docker.build(Bytes::new(), &options, |line| lines.push(line.to_owned())).await;
        assert_eq!(build().await.unwrap(), "sha256:1");
        let always = build().await.unwrap_err().to_string();
        assert!(always.contains("not a container"), "{always}");
        let fault = build().await.unwrap_err().to_string();
        assert!(fault.contains("no such file"), "{fault}");
        assert_eq!(lines.iter().filter(|line| line.starts_with("once more")).count(), 3, "{lines:?}");
    }
}
