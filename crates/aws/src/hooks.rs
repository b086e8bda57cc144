//! Hooks that are Lambda functions; every other hook goes to the runner of this machine.
//!
//! An invocation is one synchronous call, made in the background under the hook's key. It is not repeated by itself: a call
//! whose answer was lost may have run the function, and the hook fails saying so. After a restart its key is `Unknown`, and
//! the step decides by `rerunnable`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_smithy_types::base64;
use landfall_model::app::HookAction;
use landfall_model::redact;
use landfall_model::step::RunHook;
use landfall_ports::PortResult;
use landfall_ports::steps::{HookRunner, HookState};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::budget::Family;
use crate::call::Call;
use crate::core::Core;
use crate::signed::{Request, Signer, percent_encoded, region_of};

/// How long the result of a hook can be asked for; a restart forgets it too.
const KEEP_RESULT: Duration = Duration::from_secs(24 * 3600);
const TAIL_LINES: usize = 20;
const LONGEST_TEXT: usize = 2_000;

pub(crate) struct LambdaHooks {
    core: Arc<Core>,
    signer: Arc<Signer>,
    inner: Arc<dyn HookRunner>,
    running: Arc<Mutex<HashMap<String, Running>>>,
}

struct Running {
    state: HookState,
    cancel: CancellationToken,
    finished: Option<Instant>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LambdaHooks {
    pub(crate) fn new(core: Arc<Core>, signer: Arc<Signer>, inner: Arc<dyn HookRunner>) -> Self {
        Self { core, signer, inner, running: Arc::default() }
    }
}

fn failed(code: Option<i64>, message: String, tail: Vec<String>) -> HookState {
    HookState::Failed { code, message: redact::credentials(&message), tail }
}

async fn invoke(core: &Core, signer: &Signer, hook: &RunHook, function: &str) -> HookState {
    let body = match serde_json::to_vec(&hook.environment) {
        Ok(body) => body,
        Err(error) => return failed(None, format!("hook {}: {error}", hook.name), Vec::new()),
    };
    let resource = format!("function {function}");
    let call = Call { service: "lambda", action: "InvokeFunction", family: Family::Lambda, resource: &resource };
    let headers = [
        ("content-type", "application/json"),
        ("x-amz-invocation-type", "RequestResponse"),
        ("x-amz-log-type", "Tail"),
    ];
    let request = Request {
        service: "lambda",
        region: region_of(function, &core.region),
        path: &format!("/2015-03-31/functions/{}/invocations", percent_encoded(function)),
        headers: &headers,
        body: &body,
        timeout: Duration::from_secs(u64::from(hook.timeout.max(1))),
    };
    match signer.call(core, call, &request).await {
        Ok(answer) => {
            let header = |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok());
            let error = header("x-amz-function-error");
            outcome(&hook.name, function, answer.status, error, header("x-amz-log-result"), &answer.body)
        }
        Err(error) => failed(None, format!("hook {}: {}", hook.name, error.error), Vec::new()),
    }
}

/// What an answered invocation means. `log`: the end of the function's log, in base64.
fn outcome(
    hook: &str,
    function: &str,
    status: u16,
    error: Option<&str>,
    log: Option<&str>,
    payload: &[u8],
) -> HookState {
    let log = log.and_then(|log| base64::decode(log).ok()).unwrap_or_default();
    let tail = tail(&String::from_utf8_lossy(&log));
    let Some(kind) = error else { return HookState::Succeeded { code: i64::from(status), tail } };
    let said = function_error(payload);
    failed(Some(i64::from(status)), format!("hook {hook}: function {function} failed ({kind}): {said}"), tail)
}

/// `ValueError: no such branch` out of the JSON that Lambda makes of an error; anything else as it is.
fn function_error(payload: &[u8]) -> String {
    let text = String::from_utf8_lossy(payload);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let said = match (json["errorType"].as_str(), json["errorMessage"].as_str()) {
        (Some(kind), Some(message)) => format!("{kind}: {message}"),
        (None, Some(message)) => message.to_owned(),
        (Some(kind), None) => kind.to_owned(),
        (None, None) => text.into_owned(),
    };
    said.chars().take(LONGEST_TEXT).collect()
}

fn tail(log: &str) -> Vec<String> {
    let lines: Vec<String> = log.lines().filter(|line| !line.trim().is_empty()).map(redact::credentials).collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].to_vec()
}

#[async_trait]
impl HookRunner for LambdaHooks {
    async fn start(&self, key: &str, hook: &RunHook) -> PortResult<HookState> {
        let HookAction::Lambda { function } = &hook.action else { return self.inner.start(key, hook).await };
        let cancel = CancellationToken::new();
        {
            let mut running = locked(&self.running);
            running.retain(|_, hook| hook.finished.is_none_or(|finished| finished.elapsed() < KEEP_RESULT));
            if let Some(found) = running.get(key) {
                return Ok(found.state.clone());
            }
            let entry = Running { state: HookState::Running, cancel: cancel.clone(), finished: None };
            running.insert(key.to_owned(), entry);
        }
        let (core, signer, running) = (Arc::clone(&self.core), Arc::clone(&self.signer), Arc::clone(&self.running));
        let (key, hook, function) = (key.to_owned(), hook.clone(), function.clone());
        tokio::spawn(async move {
            let state = match cancel.run_until_cancelled(invoke(&core, &signer, &hook, &function)).await {
                Some(state) => state,
                None => {
                    let message = format!("hook {} was cancelled; function {function} may still run", hook.name);
                    failed(None, message, Vec::new())
                }
            };
            if let Some(entry) = locked(&running).get_mut(&key) {
                entry.state = state;
                entry.finished = Some(Instant::now());
            }
        });
        Ok(HookState::Running)
    }

    async fn poll(&self, key: &str) -> PortResult<HookState> {
        let ours = locked(&self.running).get(key).map(|running| running.state.clone());
        match ours {
            Some(state) => Ok(state),
            None => self.inner.poll(key).await,
        }
    }

    async fn cancel(&self, key: &str) -> PortResult<()> {
        let ours = locked(&self.running).get(key).map(|running| running.cancel.clone());
        match ours {
            Some(cancel) => {
                cancel.cancel();
                Ok(())
            }
            None => self.inner.cancel(key).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_error_is_a_failure_with_its_text_and_the_end_of_its_log() {
        let log = base64::encode("START\n\nopening https://u:s3cret@h/x\nEND\n");
        let payload = br#"{"errorMessage":"no such branch","errorType":"ValueError","stackTrace":["x"]}"#;
        let state = outcome("migrate", "ci-deploy", 200, Some("Unhandled"), Some(&log), payload);
        let HookState::Failed { code, message, tail } = state else { panic!() };
        assert_eq!(code, Some(200));
        assert_eq!(message, "hook migrate: function ci-deploy failed (Unhandled): ValueError: no such branch");
        assert_eq!(tail, ["START", "opening https://…@h/x", "END"]);
        let state = outcome("migrate", "ci-deploy", 200, None, Some(&log), b"\"ok\"");
        assert!(matches!(state, HookState::Succeeded { code: 200, tail } if tail.len() == 3));
    }

    #[test]
    fn what_is_no_error_of_lambda_is_told_as_it_is() {
        assert_eq!(function_error(b"plain"), "plain");
        assert_eq!(function_error(br#"{"errorType":"Runtime.ExitError"}"#), "Runtime.ExitError");
        assert_eq!(function_error(br#"{"errorMessage":"m"}"#), "m");
        assert_eq!(function_error("é".repeat(9_000).as_bytes()).chars().count(), LONGEST_TEXT);
    }

    #[test]
    fn of_a_long_log_the_end_is_shown() {
        let log: String = (0..100).map(|n| format!("{n}\n")).collect();
        assert_eq!((tail(&log).len(), tail(&log)[19].as_str()), (20, "99"));
    }
}
