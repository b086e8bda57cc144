//! One message, one attempt.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use landfall_model::notice::Notice;
use landfall_ports::{Lazy, PortError, PortResult, chain};
use sha2::Sha256;

use crate::format;
use crate::notifier::{Target, TargetKind};

const TIMEOUT: Duration = Duration::from_secs(10);
/// Of what is taken out of answers.
const SHORTEST: usize = 6;

/// A client that trusts the system's certificates and follows no redirects: a signed body goes where it was addressed.
pub(crate) fn client() -> PortResult<reqwest::Client> {
    reqwest::Client::builder()
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("landfall/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| PortError::Bug(format!("HTTP client: {}", chain(&error))))
}

/// `Err`: what went wrong, without the URL, which may itself be a secret.
pub(crate) async fn send(client: &Lazy<reqwest::Client>, target: &Target, notice: &Notice) -> Result<(), String> {
    let request = match &target.kind {
        TargetKind::Log => {
            tracing::info!(
                kind = ?notice.kind,
                environment = %notice.environment,
                url = notice.url.as_deref(),
                cause = notice.cause.as_deref(),
                "{}",
                notice.text
            );
            return Ok(());
        }
        TargetKind::Topic { topic, envelope } => {
            let message = format::topic(notice, envelope.as_ref());
            let sent = tokio::time::timeout(TIMEOUT, topic.publish(&message)).await;
            return sent.map_err(|_| "no answer in time".to_owned())?.map_err(|error| error.to_string());
        }
        TargetKind::Webhook { url, secret } => {
            let body = format::webhook(notice).to_string();
            let mut request =
                client.get().map_err(|error| error.to_string())?.post(url).header("X-Landfall-Notice", &notice.id);
            if let Some(secret) = secret {
                request = request.header("X-Landfall-Signature-256", signature(secret, body.as_bytes()));
            }
            request.body(body)
        }
        TargetKind::Slack { url, channel } => {
            let client = client.get().map_err(|error| error.to_string())?;
            client.post(url).body(format::slack(notice, channel.as_deref()).to_string())
        }
    };
    let response =
        request.header("Content-Type", "application/json").send().await.map_err(|error| chain(&error.without_url()))?;
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let url = response.url().clone();
    let text = without_parts(&response.text().await.unwrap_or_default(), &url);
    Err(format!("answered {status}: {}", text.chars().take(200).collect::<String>()))
}

/// Whoever refuses often repeats what it was asked for ("Cannot POST /services/T0/B0/x"), and that may be the secret.
fn without_parts(text: &str, url: &reqwest::Url) -> String {
    let query = url.query().unwrap_or_default();
    let mut parts: Vec<&str> = url.path().split('/').chain(query.split(['&', '='])).collect();
    parts.extend([url.path(), query, url.username(), url.password().unwrap_or_default()]);
    // Whole before its parts; what is short is no secret, and would take letters out of every word.
    parts.retain(|part| part.len() >= SHORTEST);
    parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
    parts.iter().fold(text.to_owned(), |text, part| text.replace(part, "…"))
}

fn signature(secret: &str, body: &[u8]) -> String {
    // A key of any length is valid for HMAC.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return String::new() };
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_answer_that_repeats_the_url_is_told_without_it() {
        let url =
            reqwest::Url::parse("https://hooks.example/services/T012345/B6789012/s3cr3tt0ken?key=0therSecret&a=b")
                .unwrap();
        let said = "Cannot POST /services/T012345/B6789012/s3cr3tt0ken: no s3cr3tt0ken, key=0therSecret, a bad request";
        let shown = without_parts(said, &url);
        assert_eq!(shown, "Cannot POST …: no …, key=…, a bad request");
    }
}
