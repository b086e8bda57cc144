//! How it ended, told at the request's `response_url`.
//!
//! The URL comes out of a request, so it is called only where it leads to Slack; what is fetched from it is not read, and a
//! redirect is not followed. It is good for 30 minutes and lets its holder write into the channel, so it is kept in memory
//! alone: after a restart the notifications tell how it ended, and nobody else does.

use std::sync::Arc;
use std::time::Duration;

use landfall_model::environment::EnvironmentKey;
use tokio::sync::Semaphore;

use super::answer;
use crate::control::{Control, ControlRequest, ControlResponse};
use crate::service::Service;

/// Slack's is good for 30 minutes.
const PATIENCE: Duration = Duration::from_secs(28 * 60);
const TIMEOUT: Duration = Duration::from_secs(10);
const POLL_MS: u64 = 30_000;
/// Who waits for an end at once; more hear of it through the notifications.
const MOST: usize = 128;
/// Until an intent that was written down is decided.
const DECIDING: Duration = Duration::from_millis(100);

/// Scheme and authority that a `response_url` must have. Anything but Slack's own is for tests: no manifest can say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyOrigin(String);

impl Default for ReplyOrigin {
    fn default() -> Self {
        Self("https://hooks.slack.com".to_owned())
    }
}

impl ReplyOrigin {
    /// `http://127.0.0.1:1234`
    pub fn for_tests(origin: impl Into<String>) -> Self {
        Self(origin.into())
    }

    /// The URL to call, where it may be called.
    fn allows(&self, url: &str) -> Option<reqwest::Url> {
        let url = reqwest::Url::parse(url).ok()?;
        let plain = url.username().is_empty() && url.password().is_none();
        (plain && url.origin().ascii_serialization() == self.0).then_some(url)
    }
}

pub(super) struct Replies {
    origin: ReplyOrigin,
    http: Option<reqwest::Client>,
    places: Arc<Semaphore>,
}

impl Replies {
    pub(super) fn new(origin: ReplyOrigin) -> Self {
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("landfall/", env!("CARGO_PKG_VERSION")))
            .build();
        if let Err(error) = &client {
            tracing::error!(%error, "no HTTP client: how chat commands end is told by notifications only");
        }
        Self { origin, http: client.ok(), places: Arc::new(Semaphore::new(MOST)) }
    }

    /// Tells, later and once, how the environment ended up. Nothing where there is no URL that may be called.
    pub(super) fn follow(&self, service: &Service, url: Option<&str>, environment: &EnvironmentKey) {
        let Some(url) = url else { return };
        let Some(url) = self.origin.allows(url) else {
            return tracing::warn!("a chat command's response_url does not lead to Slack; it is not called");
        };
        let (Some(http), Ok(place)) = (self.http.clone(), Arc::clone(&self.places).try_acquire_owned()) else { return };
        let (service, environment) = (service.clone(), environment.clone());
        tokio::spawn(async move {
            let _place = place;
            let ends = service.shutdown_token();
            let told = tokio::time::timeout(PATIENCE, ended(&service, &environment));
            let Some(Ok(Some(body))) = ends.run_until_cancelled(told).await else { return };
            let answer = http.post(url).header("content-type", "application/json").body(body).send().await;
            match answer {
                Ok(answer) if answer.status().is_success() => {}
                Ok(answer) => tracing::warn!(status = answer.status().as_u16(), "a chat was not told how it ended"),
                Err(error) => tracing::warn!(error = %error.without_url(), "a chat was not told how it ended"),
            }
        });
    }
}

async fn ended(service: &Service, environment: &EnvironmentKey) -> Option<String> {
    let inner = &service.inner;
    // The intent is durable; it is decided once nothing is left in the inbox before it.
    while inner.store.depths().await.is_ok_and(|(inbox, _)| inbox > 0) {
        tokio::time::sleep(DECIDING).await;
    }
    let id = inner.records.by_key(environment)?.id;
    loop {
        let request = ControlRequest::Settled { environment: id.clone(), timeout_ms: POLL_MS };
        match service.call(request).await.ok()? {
            ControlResponse::Settled(report) if report.settled => {
                return Some(answer::ended(&report.record, inner.clock.now()).to_string());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_slack_is_called() {
        let slack = ReplyOrigin::default();
        assert!(slack.allows("https://hooks.slack.com/commands/1/2").is_some());
        assert!(slack.allows("https://hooks.slack.com:443/commands/1/2").is_some());
        for url in [
            "",
            "hooks.slack.com/x",
            "http://hooks.slack.com/commands/1/2",
            "https://hooks.slack.com.evil.example/x",
            "https://hooks.slack.com@evil.example/x",
            "https://user:pass@hooks.slack.com/x",
            "https://hooks.slack.com:8443/x",
            "https://evil.example/?https://hooks.slack.com/",
            "https://169.254.169.254/latest/meta-data",
            "file:///etc/passwd",
        ] {
            assert!(slack.allows(url).is_none(), "{url}");
        }
    }
}
