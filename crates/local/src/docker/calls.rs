//! The operations, one method each.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use landfall_registry::Reference;
use landfall_registry::credentials::Login;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::buildkit::{self, Trace};
use super::error::{DockerError, DockerResult};
use super::stream::{LogFrames, Progress};
use super::types::{
    ContainerInspect, ContainerSummary, CreateContainer, Created, ExecInspect, ImageInspect, ImageSummary, Info,
    Network,
};
use super::{CALL_TIMEOUT, Docker, again, another_image, decode, encode};
use crate::process;

const PULL_IDLE: Duration = Duration::from_secs(300);
pub const BUILD_TRIES: u32 = 3;

/// What an exec gave back. `exit_code` is `None` when it was killed for taking too long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutcome {
    pub exit_code: Option<i64>,
    pub output: String,
}

/// What `POST /build` is told besides the context.
#[derive(Debug, Clone, Default)]
pub struct BuildOptions {
    pub tag: String,
    pub dockerfile: String,
    pub target: Option<String>,
    pub args: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
}

impl Docker {
    pub async fn info(&self) -> DockerResult<Info> {
        self.get("/info").await
    }

    /// Containers in any state that carry all these labels (`key` or `key=value`).
    ///
    /// One that Podman was killed while removing fails every listing from then on; those with these labels are removed to the
    /// end here.
    pub async fn list_containers(&self, labels: &[String]) -> DockerResult<Vec<ContainerSummary>> {
        let path = format!("/containers/json?all=1&filters={}", label_filter(labels));
        let mut removed = String::new();
        loop {
            match self.list(&path).await {
                Err(DockerError::Unavailable(ref message))
                    if let Some(id) = half_removed(message).filter(|id| *id != removed) =>
                {
                    tracing::info!(container = id, "removing a container that the engine has half removed");
                    self.remove_container(id).await?;
                    id.clone_into(&mut removed);
                }
                listed => return listed,
            }
        }
    }

    pub async fn inspect_container(&self, id: &str) -> DockerResult<ContainerInspect> {
        self.get(&format!("/containers/{}/json", encode(id))).await
    }

    pub async fn create_container(&self, name: &str, body: &CreateContainer) -> DockerResult<String> {
        let created: Created = self.post_json(&format!("/containers/create?name={}", encode(name)), body).await?;
        Ok(created.id)
    }

    /// Started before is fine.
    pub async fn start_container(&self, id: &str) -> DockerResult<()> {
        self.post_empty(&format!("/containers/{}/start", encode(id)), Duration::from_secs(60)).await
    }

    /// The stop signal, then SIGKILL after `timeout_s`. Returns when it has ended; ended before is fine.
    pub async fn stop_container(&self, id: &str, timeout_s: u32) -> DockerResult<()> {
        let path = format!("/containers/{}/stop?t={timeout_s}", encode(id));
        let patience = Duration::from_secs(u64::from(timeout_s)) + CALL_TIMEOUT;
        self.post_empty(&path, patience).await
    }

    pub async fn kill_container(&self, id: &str) -> DockerResult<()> {
        self.post_empty(&format!("/containers/{}/kill", encode(id)), CALL_TIMEOUT).await
    }

    /// Kills what still runs. Gone is fine.
    pub async fn remove_container(&self, id: &str) -> DockerResult<()> {
        match self.delete(&format!("/containers/{}?force=1&v=1", encode(id))).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The last `tail` lines (all: `None`), with times, and what follows if `follow`.
    pub async fn logs(&self, id: &str, tail: Option<usize>, follow: bool) -> DockerResult<LogFrames> {
        let tail = tail.map_or("all".to_owned(), |lines| lines.to_string());
        self.log_frames(id, &format!("tail={tail}"), follow).await
    }

    /// What was written since (seconds since 1970), with times, and what follows if `follow`.
    pub async fn logs_since(&self, id: &str, since: i64, follow: bool) -> DockerResult<LogFrames> {
        self.log_frames(id, &format!("tail=all&since={since}"), follow).await
    }

    async fn log_frames(&self, id: &str, what: &str, follow: bool) -> DockerResult<LogFrames> {
        let path = format!(
            "{}/containers/{}/logs?stdout=1&stderr=1&timestamps=1&{what}&follow={}",
            self.prefix(),
            encode(id),
            u8::from(follow)
        );
        let response = self.send(Method::GET, &path, None, Bytes::new(), CALL_TIMEOUT).await?;
        if response.status().is_success() {
            return Ok(LogFrames::new(response.into_body()));
        }
        self.read(response).await?;
        Err(DockerError::Decode(path))
    }

    /// Runs a command in a running container. When `timeout` passes the process is killed by its host pid, since a client
    /// that goes away does not end it.
    pub async fn exec(&self, container: &str, command: &[String], timeout: Duration) -> DockerResult<ExecOutcome> {
        let body = json!({"AttachStdout": true, "AttachStderr": true, "Cmd": command});
        let exec: Created = self.post_json(&format!("/containers/{}/exec", encode(container)), &body).await?;
        let path = format!("{}/exec/{}/start", self.prefix(), exec.id);
        let start = Bytes::from_static(br#"{"Detach":false,"Tty":false}"#);
        let response = self.send(Method::POST, &path, Some("application/json"), start, CALL_TIMEOUT).await?;
        if !response.status().is_success() && response.status().as_u16() != 101 {
            self.read(response).await?;
            return Err(DockerError::Decode(path));
        }
        let mut frames = LogFrames::new(response.into_body());
        let mut output = Vec::new();
        let finished = tokio::time::timeout(timeout, async {
            while let Ok(Some(frame)) = frames.next().await {
                if output.len() < 64 * 1024 {
                    output.extend_from_slice(&frame.bytes);
                }
            }
        })
        .await
        .is_ok();
        let inspect: ExecInspect = self.inspect_exec(&exec.id).await?;
        let output = String::from_utf8_lossy(&output).into_owned();
        if finished {
            let inspect = self.settled_exec(&exec.id, inspect).await?;
            return Ok(ExecOutcome { exit_code: Some(inspect.exit_code), output });
        }
        if inspect.running {
            let of_container = self.inspect_container(container).await?.state.pid;
            if !process::kill_beside(inspect.pid, of_container) {
                tracing::warn!(
                    container,
                    "a command that took too long is not ours to kill and ends with its container"
                );
            }
        }
        Ok(ExecOutcome { exit_code: None, output })
    }

    async fn inspect_exec(&self, id: &str) -> DockerResult<ExecInspect> {
        self.get(&format!("/exec/{id}/json")).await
    }

    /// The stream ends a moment before the exit code is known.
    async fn settled_exec(&self, id: &str, mut inspect: ExecInspect) -> DockerResult<ExecInspect> {
        for _ in 0..50 {
            if !inspect.running {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            inspect = self.inspect_exec(id).await?;
        }
        Ok(inspect)
    }

    pub async fn list_networks(&self, labels: &[String]) -> DockerResult<Vec<Network>> {
        let filter = label_filter(labels);
        match self.list(&format!("/networks?filters={filter}")).await {
            Err(DockerError::Unavailable(message)) if half_removed(&message).is_some() => {
                self.read_libpod(&format!("/networks/json?filters={filter}")).await
            }
            listed => listed,
        }
    }

    pub async fn inspect_network(&self, id: &str) -> DockerResult<Network> {
        let id = encode(id);
        match self.get(&format!("/networks/{id}")).await {
            Err(DockerError::NotFound(message)) if half_removed(&message).is_some() => {
                self.read_libpod(&format!("/networks/{id}/json")).await
            }
            found => found,
        }
    }

    /// Podman's own API. To Docker's it tells with a network which containers are on it, and fails when any container of the
    /// machine is half removed, whoever it belongs to.
    async fn read_libpod<T: DeserializeOwned>(&self, path: &str) -> DockerResult<T> {
        let path = format!("/v4.0.0/libpod{path}");
        let response = self.send(Method::GET, &path, None, Bytes::new(), CALL_TIMEOUT).await?;
        decode(&path, &self.read(response).await?)
    }

    pub async fn create_network(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
        options: &BTreeMap<String, String>,
        subnet: Option<&str>,
    ) -> DockerResult<()> {
        let mut body =
            json!({"Name": name, "CheckDuplicate": true, "Driver": "bridge", "Labels": labels, "Options": options});
        if let Some(subnet) = subnet {
            body["IPAM"] = json!({"Config": [{"Subnet": subnet}]});
        }
        self.post("/networks/create", &body, CALL_TIMEOUT).await.map(|_| ())
    }

    /// Gone is fine; in use is `Conflict`.
    pub async fn remove_network(&self, id: &str) -> DockerResult<()> {
        match self.delete(&format!("/networks/{}", encode(id))).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub async fn inspect_image(&self, reference: &str) -> DockerResult<ImageInspect> {
        let path = format!("/images/{}/json", encode(reference));
        again(another_image, || self.get(&path)).await
    }

    pub async fn list_images(&self, labels: &[String]) -> DockerResult<Vec<ImageSummary>> {
        self.list(&format!("/images/json?filters={}", label_filter(labels))).await
    }

    /// Never forced: force would remove the containers that use it. Gone is fine, in use is `Conflict`.
    pub async fn remove_image(&self, reference: &str) -> DockerResult<()> {
        let path = format!("/images/{}", encode(reference));
        match again(another_image, || self.delete(&path)).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub async fn tag_image(&self, image: &str, repository: &str, tag: &str) -> DockerResult<()> {
        let path = format!("/images/{}/tag?repo={}&tag={}", encode(image), encode(repository), encode(tag));
        self.post_empty(&path, CALL_TIMEOUT).await
    }

    /// Pulls; an error in the stream is the call's error.
    pub async fn pull_image(&self, reference: &str) -> DockerResult<()> {
        let login = match Reference::parse(reference) {
            Ok(parsed) => self.login(&parsed.repository).await,
            Err(_) => None,
        };
        self.pull_image_as(reference, login.as_ref()).await
    }

    /// The same with this login; without one as the engine knows by itself.
    pub async fn pull_image_as(&self, reference: &str, login: Option<&Login>) -> DockerResult<()> {
        let path = format!("{}/images/create?fromImage={}", self.prefix(), encode(&one_image(reference)));
        let login = login.map(Login::registry_auth);
        let header = login.as_deref().map(|login| ("x-registry-auth", login));
        let response = self.send_with(Method::POST, &path, header, Bytes::new(), Duration::from_secs(600)).await?;
        if !response.status().is_success() {
            return self.read(response).await.map(|_| ());
        }
        let mut progress = Progress::new(response.into_body());
        // Not `Unavailable`: that would be repeated without end.
        let silent = |_| DockerError::Other {
            status: 504,
            message: format!("the pull of {reference} showed no progress for {} s", PULL_IDLE.as_secs()),
        };
        while let Some(line) = tokio::time::timeout(PULL_IDLE, progress.next()).await.map_err(silent)?? {
            if let Some(message) = line.failure() {
                return Err(DockerError::Other { status: 404, message });
            }
        }
        Ok(())
    }

    /// Builds from a tar of the context; every line of output goes to `line`. Returns the image's id. A failed build is a
    /// 200 whose stream holds an error: `DockerError::Other` with status 400.
    pub async fn build(
        &self,
        context: Bytes,
        options: &BuildOptions,
        mut line: impl FnMut(&str) + Send,
    ) -> DockerResult<String> {
        let mut tries = BUILD_TRIES;
        loop {
            tries -= 1;
            match self.build_once(context.clone(), options, &mut line).await {
                Err(DockerError::Other { message, .. }) if tries > 0 && taken_from_the_build(&message) => {
                    line(BUILT_ONCE_MORE);
                }
                result => return result,
            }
        }
    }

    async fn build_once(
        &self,
        context: Bytes,
        options: &BuildOptions,
        mut line: impl FnMut(&str) + Send,
    ) -> DockerResult<String> {
        let args = serde_json::to_string(&options.args).unwrap_or_default();
        let labels = serde_json::to_string(&options.labels).unwrap_or_default();
        let mut path = format!(
            "{}/build?t={}&dockerfile={}&buildargs={}&labels={}&rm=1&forcerm=1",
            self.prefix(),
            encode(&options.tag),
            encode(&options.dockerfile),
            encode(&args),
            encode(&labels)
        );
        if let Some(target) = &options.target {
            path.push_str(&format!("&target={}", encode(target)));
        }
        let mut session = None;
        if self.builds_with_buildkit() {
            path.push_str("&version=2");
            // Some proxies of the socket refuse it; most builds do without.
            match self.session().await {
                Ok(opened) => path.push_str(&format!("&session={}", session.insert(opened).id)),
                Err(error) => tracing::debug!(%error, "building without a session"),
            }
        }
        // The head of the answer comes with the first output, which may take as long as a base image's pull.
        let wait = Duration::from_secs(3600);
        let response = self.send(Method::POST, &path, Some("application/x-tar"), context, wait).await?;
        if !response.status().is_success() {
            self.read(response).await?;
            return Err(DockerError::Decode(path));
        }
        let mut progress = Progress::new(response.into_body());
        let mut image = None;
        let mut failure = None;
        let mut trace = Trace::default();
        while let Some(next) = progress.next().await? {
            if next.id.as_deref() == Some(buildkit::TRACE) {
                trace.lines(next.aux.as_ref().and_then(|aux| aux.as_str()).unwrap_or_default(), &mut line);
                continue;
            }
            if let Some(text) = next.stream.as_deref().or(next.status.as_deref()) {
                text.lines().filter(|text| !text.trim().is_empty()).for_each(&mut line);
            }
            if let Some(message) = next.failure() {
                line(&message);
                failure = Some(message);
            }
            image = next.image().map(str::to_owned).or(image);
        }
        trace.finish(&mut line);
        drop(session);
        if let Some(message) = failure {
            return Err(DockerError::Other { status: 400, message });
        }
        match image {
            Some(id) => Ok(id),
            None => Ok(self.inspect_image(&options.tag).await?.id),
        }
    }
}

pub const BUILT_ONCE_MORE: &str = "once more: what the build had made was removed from the engine's store meanwhile";

/// Podman's word for its own working container or a layer of the cache that somebody else removed: `podman rmi --force` takes
/// those of builds that are under way. What is left of the cache makes the next try a short one.
pub fn taken_from_the_build(message: &str) -> bool {
    ["identifier is not a container", "identifier is not a layer", "layer not known"]
        .iter()
        .any(|words| message.contains(words))
}

/// The id of a container that has lost its file system and is still known by name: Podman was killed in between.
fn half_removed(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("getting container from store \"")?;
    rest.split_once('"').map(|(id, _)| id)
}

/// Docker pulls every tag of a repository that is named without one.
fn one_image(reference: &str) -> String {
    let name = reference.rsplit('/').next().unwrap_or(reference);
    if name.contains([':', '@']) { reference.to_owned() } else { format!("{reference}:latest") }
}

fn label_filter(labels: &[String]) -> String {
    encode(&json!({"label": labels}).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_image_is_pulled_and_not_all_of_its_repository() {
        assert_eq!(one_image("nginx"), "nginx:latest");
        assert_eq!(one_image("localhost:5000/a/b"), "localhost:5000/a/b:latest");
        assert_eq!(one_image("localhost:5000/a/b:1"), "localhost:5000/a/b:1");
        assert_eq!(one_image("nginx@sha256:00"), "nginx@sha256:00");
    }
}
