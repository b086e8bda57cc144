//! GitHub's side of the conversation: payloads as it sends them, signed as it signs them.

use std::net::SocketAddr;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use http::Method;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::http::{Ask, send};

pub(super) struct GitHub {
    pub(super) server: SocketAddr,
    pub(super) secret: String,
    pub(super) project: &'static str,
    pub(super) branch: String,
}

impl GitHub {
    fn repository(&self, pushed_at: i64) -> Value {
        json!({
            "id": 123_456_789,
            "name": self.project,
            "full_name": format!("acme/{}", self.project),
            "private": true,
            "owner": { "login": "acme" },
            "default_branch": "main",
            "pushed_at": pushed_at,
        })
    }

    pub(super) async fn create(&self, now: i64) -> CliResult<()> {
        let payload = json!({
            "ref": self.branch, "ref_type": "branch", "master_branch": "main", "pusher_type": "user",
            "repository": self.repository(now), "sender": { "login": "octocat" },
        });
        self.deliver("create", &payload).await
    }

    pub(super) async fn push(&self, before: &str, after: &str, now: i64) -> CliResult<()> {
        let payload = json!({
            "ref": format!("refs/heads/{}", self.branch), "before": before, "after": after,
            "created": false, "deleted": false, "forced": false,
            "repository": self.repository(now), "sender": { "login": "octocat" },
        });
        self.deliver("push", &payload).await
    }

    pub(super) async fn delete(&self, now: i64) -> CliResult<()> {
        let payload = json!({
            "ref": self.branch, "ref_type": "branch", "pusher_type": "user",
            "repository": self.repository(now), "sender": { "login": "octocat" },
        });
        self.deliver("delete", &payload).await
    }

    async fn deliver(&self, event: &str, payload: &Value) -> CliResult<()> {
        let body = payload.to_string().into_bytes();
        let ask = Ask {
            method: Method::POST,
            path: "/webhooks/github",
            host: None,
            headers: vec![
                ("content-type", "application/json".to_owned()),
                ("user-agent", "GitHub-Hookshot/demo".to_owned()),
                ("x-github-event", event.to_owned()),
                ("x-github-delivery", ulid::Ulid::generate().to_string()),
                ("x-hub-signature-256", sign(self.secret.as_bytes(), &body)),
            ],
            body,
        };
        let answer = send(self.server, ask, Duration::from_secs(10)).await.map_err(|error| {
            CliError::new(ExitCode::Failed, format!("the {event} delivery was not answered")).cause(&error)
        })?;
        if answer.status == 202 {
            return Ok(());
        }
        Err(CliError::new(
            ExitCode::Failed,
            format!("the {event} delivery was answered {} instead of 202: {}", answer.status, answer.body.trim()),
        ))
    }
}

/// `sha256=<hex>` over the raw bytes.
fn sign(secret: &[u8], body: &[u8]) -> String {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return String::new() };
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn signs_as_github_documents() {
        // From GitHub's "Validating webhook deliveries".
        assert_eq!(
            super::sign(b"It's a Secret to Everybody", b"Hello, World!"),
            "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
        );
    }
}
