//! Command and HTTP hooks, and CircleCI's pipelines, run on this machine in the background under a key.
//!
//! Their secrets are references until they are sent: read from this machine, or from where the environment's own are kept, and taken
//! out of everything that is kept of an answer.
//!
//! A command gets a process group of its own, which is killed whole at the timeout or on cancel. Its output goes to a file.
//! The group's id is kept beside it: when a crash left the command running and the same key starts again, the old group is
//! killed first, so that two never run at once.

use std::collections::HashMap;
use std::fs::File;
use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use landfall_model::app::HookAction;
use landfall_model::step::RunHook;
use landfall_ports::secrets::SecretStore;
use landfall_ports::steps::{HookRunner, HookState};
use landfall_ports::{PortError, PortResult, chain};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::core::locked;
use crate::http::Http;
use crate::images::file_name;
use crate::{circleci, process, secrets, state};

const TAIL_LINES: usize = 20;
const TAIL_BYTES: usize = 16 * 1024;
/// Of an answer, this much is read.
const ANSWER_BYTES: usize = 64 * 1024;
/// How long the result of a hook can be asked for; a restart forgets it too.
const KEEP_RESULT: Duration = Duration::from_secs(24 * 3600);

pub(crate) struct LocalHooks {
    http: Http,
    /// What `ssm` and `secrets_manager` refer to.
    secrets: Arc<dyn SecretStore>,
    /// `STATE/hooks`
    pub directory: PathBuf,
    running: Arc<Mutex<HashMap<String, Running>>>,
}

struct Running {
    state: HookState,
    cancel: CancellationToken,
    finished: Option<Instant>,
}

#[derive(Serialize, Deserialize)]
struct Group {
    pid: i32,
    start: u64,
}

impl LocalHooks {
    pub(crate) fn new(http: Http, secrets: Arc<dyn SecretStore>, state_dir: &Path) -> PortResult<Self> {
        let directory = state_dir.join("hooks");
        state::create_private_dir(&directory)?;
        Ok(Self { http, secrets, directory, running: Arc::default() })
    }
}

fn failed(code: Option<i64>, message: String, tail: Vec<String>) -> HookState {
    HookState::Failed { code, message, tail }
}

fn last_lines(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(TAIL_BYTES)..]).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].iter().map(|line| (*line).to_owned()).collect()
}

async fn read_end(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = tokio::fs::File::open(path).await?;
    let length = file.metadata().await?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES as u64))).await?;
    let mut bytes = Vec::new();
    // What a stray process goes on writing is not waited for.
    file.take(TAIL_BYTES as u64).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

async fn command(
    hook: &RunHook,
    argv: &[String],
    directory: Option<&str>,
    base: &Path,
    cancel: &CancellationToken,
) -> HookState {
    let log_path = base.with_extension("log");
    let fail = |message: String| failed(None, format!("hook {}: {message}", hook.name), Vec::new());
    let Some((program, rest)) = argv.split_first() else { return fail("the command is empty".to_owned()) };
    let files = File::create(&log_path).and_then(|log| log.try_clone().map(|errors| (log, errors)));
    let (log, errors) = match files {
        Ok(files) => files,
        Err(e) => return fail(format!("{}: {e}", log_path.display())),
    };
    let mut command = Command::new(program);
    command.args(rest).envs(&hook.environment).stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0);
    if let Some(directory) = directory {
        command.current_dir(directory);
    }
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(e) => return fail(format!("cannot run {program}: {e}")),
    };
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
    let group_path = base.with_extension("json");
    let group = Group { pid, start: process::start_time(pid).unwrap_or_default() };
    if let Err(error) = state::write_json(&group_path, &group) {
        tracing::warn!(%error, "hook's process group is not recorded");
    }
    let timeout = Duration::from_secs(u64::from(hook.timeout.max(1)));
    let outcome = tokio::select! {
        status = child.wait() => Ok(status),
        () = tokio::time::sleep(timeout) => Err(format!("took longer than {} s and was killed", hook.timeout)),
        () = cancel.cancelled() => Err("was cancelled".to_owned()),
    };
    // Also what the command left running in its group.
    if pid > 0 {
        process::kill_group(pid, Signal::KILL);
    }
    if outcome.is_err() {
        // Reaps it.
        let _ = child.wait().await;
    }
    let removed = state::remove(&group_path);
    if let Err(error) = removed {
        tracing::warn!(%error, "hook's record is left");
    }
    let tail = last_lines(&read_end(&log_path).await.unwrap_or_default());
    match outcome {
        Ok(Ok(status)) => match status.code() {
            Some(0) => HookState::Succeeded { code: 0, tail },
            Some(code) => failed(Some(i64::from(code)), format!("hook {} exited with code {code}", hook.name), tail),
            None => failed(None, format!("hook {} was killed by a signal ({status})", hook.name), tail),
        },
        Ok(Err(e)) => failed(None, format!("hook {}: {e}", hook.name), tail),
        Err(why) => failed(None, format!("hook {} {why}", hook.name), tail),
    }
}

async fn http_call(
    client: &reqwest::Client,
    store: &dyn SecretStore,
    hook: &RunHook,
    base: &Path,
    cancel: &CancellationToken,
) -> HookState {
    let HookAction::Http { url, method, headers, secret, secret_headers } = &hook.action else {
        return failed(None, format!("hook {} is no HTTP call", hook.name), Vec::new());
    };
    let fail = |message: String| failed(None, format!("hook {}: {message}", hook.name), Vec::new());
    let method = match reqwest::Method::from_bytes(method.to_uppercase().as_bytes()) {
        Ok(method) => method,
        Err(_) => return fail(format!("{method:?} is not an HTTP method")),
    };
    let body = match serde_json::to_vec(&hook.environment) {
        Ok(body) => body,
        Err(e) => return fail(e.to_string()),
    };
    let mut request = client.request(method, url).header("content-type", "application/json").body(body);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let mut hidden = Vec::new();
    for (name, reference) in
        secret_headers.iter().map(|(name, of)| (Some(name), of)).chain(secret.iter().map(|of| (None, of)))
    {
        let value = match secrets::read(store, reference).await {
            Ok(value) => value,
            Err(error) => return fail(error.to_string()),
        };
        request = match name {
            Some(name) => request.header(name, &value),
            None => request.bearer_auth(&value),
        };
        hidden.push(value);
    }
    let timeout = Duration::from_secs(u64::from(hook.timeout.max(1)));
    let call = async {
        let mut response = request.timeout(timeout).send().await.map_err(|e| chain(&e.without_url()))?;
        let status = response.status();
        let mut body = Vec::new();
        while body.len() < ANSWER_BYTES
            && let Ok(Some(chunk)) = response.chunk().await
        {
            body.extend_from_slice(&chunk);
        }
        body.truncate(ANSWER_BYTES);
        Ok::<_, String>((status, body))
    };
    let Some(outcome) = cancel.run_until_cancelled(call).await else { return fail("cancelled".to_owned()) };
    match outcome {
        Ok((status, body)) => {
            // Whoever repeats what it was sent: journal and log do not.
            let body = without(body, &hidden);
            let tail = last_lines(&body);
            if let Err(e) = tokio::fs::write(base.with_extension("log"), body).await {
                tracing::warn!(error = %e, "hook's answer is not kept");
            }
            let code = i64::from(status.as_u16());
            if status.is_success() {
                HookState::Succeeded { code, tail }
            } else {
                failed(Some(code), format!("hook {}: {url} answered {status}", hook.name), tail)
            }
        }
        Err(error) => fail(format!("{url}: {error}")),
    }
}

fn without(body: Vec<u8>, hidden: &[String]) -> Vec<u8> {
    let mut text = String::from_utf8_lossy(&body).into_owned();
    for value in hidden.iter().filter(|value| !value.is_empty()) {
        text = text.replace(value.as_str(), "***");
    }
    text.into_bytes()
}

#[async_trait]
impl HookRunner for LocalHooks {
    async fn start(&self, key: &str, hook: &RunHook) -> PortResult<HookState> {
        if matches!(hook.action, HookAction::Task { .. }) {
            return Err(PortError::Bug(format!("hook {} is a task: the orchestrator runs it", hook.name)));
        }
        let cancel = CancellationToken::new();
        {
            let mut running = locked(&self.running);
            running.retain(|_, hook| hook.finished.is_none_or(|finished| finished.elapsed() < KEEP_RESULT));
            if let Some(found) = running.get(key) {
                return Ok(found.state.clone());
            }
            running
                .insert(key.to_owned(), Running { state: HookState::Running, cancel: cancel.clone(), finished: None });
        }
        let base = self.base(key);
        if let Ok(Some(group)) = state::read_json::<Group>(&base.with_extension("json"))
            && process::start_time(group.pid) == Some(group.start)
        {
            process::kill_group(group.pid, Signal::KILL);
        }
        self.spawn(key, hook, base, cancel);
        Ok(HookState::Running)
    }

    async fn poll(&self, key: &str) -> PortResult<HookState> {
        if let Some(running) = locked(&self.running).get(key) {
            return Ok(running.state.clone());
        }
        // A pipeline that was triggered before a restart is known by its id: it is followed on.
        match circleci::triggered(&self.base(key)) {
            Some(record) => self.start(key, &record.hook).await,
            None => Ok(HookState::Unknown),
        }
    }

    async fn cancel(&self, key: &str) -> PortResult<()> {
        if let Some(running) = locked(&self.running).get(key) {
            running.cancel.cancel();
        }
        Ok(())
    }
}

impl LocalHooks {
    /// What is kept of a hook, without what follows its name's last dot.
    pub(crate) fn base(&self, key: &str) -> PathBuf {
        // with_extension replaces what follows a dot; keys hold none that matter.
        self.directory.join(file_name(key)).with_extension("hook")
    }

    fn spawn(&self, key: &str, hook: &RunHook, base: PathBuf, cancel: CancellationToken) {
        let (running, key, hook, http) = (Arc::clone(&self.running), key.to_owned(), hook.clone(), self.http.clone());
        let secrets = Arc::clone(&self.secrets);
        tokio::spawn(async move {
            let state = match &hook.action {
                HookAction::Command { argv, directory } => {
                    command(&hook, argv, directory.as_deref(), &base, &cancel).await
                }
                action => match (http.get(), action) {
                    (Err(error), _) => failed(None, format!("hook {}: {error}", hook.name), Vec::new()),
                    (Ok(http), HookAction::CircleCi(_)) => {
                        let ended = cancel.run_until_cancelled(circleci::run(http, &*secrets, &hook, &base)).await;
                        let cancelled =
                            || format!("hook {} was cancelled; a pipeline that was triggered goes on", hook.name);
                        ended.unwrap_or_else(|| failed(None, cancelled(), Vec::new()))
                    }
                    (Ok(http), _) => http_call(http, &*secrets, &hook, &base, &cancel).await,
                },
            };
            if let Some(entry) = locked(&running).get_mut(&key) {
                entry.state = state;
                entry.finished = Some(Instant::now());
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn hook(action: HookAction, timeout: u32) -> RunHook {
        let environment = BTreeMap::from([("LANDFALL_ENVIRONMENT".to_owned(), "env-1".to_owned())]);
        RunHook { name: "h".to_owned(), action, environment, timeout, rerunnable: true }
    }

    fn shell(line: &str, timeout: u32) -> RunHook {
        let argv = ["sh", "-c", line].map(str::to_owned).to_vec();
        hook(HookAction::Command { argv, directory: None }, timeout)
    }

    async fn finish(hooks: &LocalHooks, key: &str) -> HookState {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let state = hooks.poll(key).await.unwrap();
            if state != HookState::Running {
                return state;
            }
            assert!(Instant::now() < deadline, "hook {key} does not end");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn hooks(dir: &Path) -> LocalHooks {
        LocalHooks::new(crate::http::http(), Arc::new(secrets::LocalSecrets::new(dir)), dir).unwrap()
    }

    #[tokio::test]
    async fn commands_report_code_and_output() {
        let dir = tempfile::tempdir().unwrap();
        let hooks = hooks(dir.path());
        assert_eq!(hooks.poll("a").await.unwrap(), HookState::Unknown);
        hooks.start("a", &shell("echo on $LANDFALL_ENVIRONMENT; echo err >&2", 20)).await.unwrap();
        let expected = HookState::Succeeded { code: 0, tail: vec!["on env-1".to_owned(), "err".to_owned()] };
        assert_eq!(finish(&hooks, "a").await, expected);
        // The same key again is the same run.
        assert_eq!(hooks.start("a", &shell("exit 9", 20)).await.unwrap(), expected);
        hooks.start("b", &shell("echo why; exit 3", 20)).await.unwrap();
        let HookState::Failed { code, message, tail } = finish(&hooks, "b").await else { panic!("not failed") };
        assert_eq!((code, message.as_str(), tail), (Some(3), "hook h exited with code 3", vec!["why".to_owned()]));
    }

    #[tokio::test]
    async fn of_long_output_the_end_is_shown() {
        let dir = tempfile::tempdir().unwrap();
        let hooks = hooks(dir.path());
        hooks.start("long", &shell("seq 1 100000", 20)).await.unwrap();
        let HookState::Succeeded { tail, .. } = finish(&hooks, "long").await else { panic!("not succeeded") };
        assert_eq!((tail.len(), tail[0].as_str(), tail[19].as_str()), (20, "99981", "100000"));
    }

    #[tokio::test]
    async fn timeout_and_cancel_kill_the_whole_group() {
        let dir = tempfile::tempdir().unwrap();
        let hooks = hooks(dir.path());
        let mark = dir.path().join("pid");
        let line = format!("sleep 60 & echo $! > {}; wait", mark.display());
        hooks.start("slow", &shell(&line, 5)).await.unwrap();
        let HookState::Failed { message, .. } = finish(&hooks, "slow").await else { panic!("not failed") };
        assert!(message.contains("longer than 5 s"), "{message}");
        let pid: i32 = std::fs::read_to_string(&mark).unwrap().trim().parse().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while process::start_time(pid).is_some() {
            assert!(Instant::now() < deadline, "grandchild survived");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        hooks.start("c", &shell("sleep 60", 60)).await.unwrap();
        hooks.cancel("c").await.unwrap();
        assert!(matches!(finish(&hooks, "c").await, HookState::Failed { .. }));
    }

    #[tokio::test]
    async fn http_hooks_send_the_environment() {
        use tokio::io::AsyncWriteExt;
        let dir = tempfile::tempdir().unwrap();
        let hooks = hooks(dir.path());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let mut seen = Vec::new();
            for status in ["200 OK", "500 Internal Server Error"] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = String::new();
                while !request.contains("env-1") {
                    let mut buffer = [0; 4096];
                    let count = stream.read(&mut buffer).await.unwrap();
                    request.push_str(&String::from_utf8_lossy(&buffer[..count]));
                }
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 6\r\nconnection: close\r\n\r\n-t0ken");
                stream.write_all(answer.as_bytes()).await.unwrap();
                seen.push(request);
            }
            seen
        });
        let token = dir.path().join("token");
        std::fs::write(&token, "t0ken\n").unwrap();
        let secret = Some(landfall_model::task::SecretRef::File(token.to_string_lossy().into_owned()));
        let key = landfall_model::task::SecretRef::Ssm("/shop/key".to_owned());
        let kept = secrets::LocalSecrets::new(dir.path());
        kept.write(&key, &landfall_ports::secrets::SecretValue::new("k3y")).await.unwrap();
        let secret_headers = BTreeMap::from([("X-Api-Key".to_owned(), key)]);
        let mut action =
            HookAction::Http { url, method: "post".to_owned(), headers: BTreeMap::new(), secret, secret_headers };
        hooks.start("ok", &hook(action.clone(), 10)).await.unwrap();
        assert_eq!(finish(&hooks, "ok").await, HookState::Succeeded { code: 200, tail: vec!["-***".to_owned()] });
        hooks.start("bad", &hook(action.clone(), 10)).await.unwrap();
        assert!(matches!(finish(&hooks, "bad").await, HookState::Failed { code: Some(500), .. }));
        // Without one of its secrets nothing is sent.
        if let HookAction::Http { secret, .. } = &mut action {
            *secret = Some(landfall_model::task::SecretRef::SecretsManager("shop:none".to_owned()));
        }
        hooks.start("lacks", &hook(action, 10)).await.unwrap();
        let HookState::Failed { message, .. } = finish(&hooks, "lacks").await else { panic!("not failed") };
        assert!(message.starts_with("hook h: not found: secret shop:none is not where"), "{message}");
        let seen = server.await.unwrap();
        assert!(seen[0].starts_with("POST /hook"), "{}", seen[0]);
        let sent = seen[0].to_lowercase();
        assert!(sent.contains("authorization: bearer t0ken") && sent.contains("x-api-key: k3y"), "{sent}");
    }

    #[tokio::test]
    async fn of_a_long_answer_only_the_beginning_is_read() {
        use tokio::io::AsyncWriteExt;
        let dir = tempfile::tempdir().unwrap();
        let hooks = hooks(dir.path());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        // An answer without an end: whoever waited for it would run into the time limit.
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await.unwrap();
            while stream.write_all(&[b'x'; 1000]).await.is_ok() {}
        });
        let (headers, secret_headers) = (BTreeMap::new(), BTreeMap::new());
        let action = HookAction::Http { url, method: "post".to_owned(), headers, secret: None, secret_headers };
        hooks.start("endless", &hook(action, 60)).await.unwrap();
        assert!(matches!(finish(&hooks, "endless").await, HookState::Succeeded { code: 200, .. }));
        let log = dir.path().join("hooks").join(file_name("endless")).with_extension("log");
        assert_eq!(std::fs::metadata(log).unwrap().len(), ANSWER_BYTES as u64);
        tokio::time::timeout(Duration::from_secs(20), server).await.unwrap().unwrap();
    }
}
