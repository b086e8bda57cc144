//! GitHub's deliveries, as it sends and signs them.

use std::sync::atomic::{AtomicU64, Ordering};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::http::{self, Answer};
use super::{SECRET, Sandbox};

pub(crate) fn sign(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

/// Unique in the process, and told apart from those of other processes.
pub(crate) fn delivery_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("00000000-0000-0000-{:04x}-{:012x}", std::process::id() & 0xffff, NEXT.fetch_add(1, Ordering::Relaxed))
}

fn repository() -> Value {
    let pushed_at = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    json!({
        "id": 42, "name": "my-project", "full_name": "acme/my-project", "default_branch": "main",
        "owner": { "login": "acme" }, "pushed_at": pushed_at,
    })
}

pub(crate) fn create(branch: &str) -> Value {
    json!({ "ref": branch, "ref_type": "branch", "repository": repository(), "sender": { "login": "octocat" } })
}

pub(crate) fn delete(branch: &str) -> Value {
    create(branch)
}

pub(crate) fn push(branch: &str, before: &str, after: &str) -> Value {
    json!({
        "ref": format!("refs/heads/{branch}"), "before": before, "after": after, "created": false, "deleted": false,
        "repository": repository(), "sender": { "login": "octocat" },
    })
}

impl Sandbox {
    /// A signed delivery with an id of its own; the status of the answer.
    pub(crate) fn deliver(&self, event: &str, payload: &Value) -> u16 {
        self.deliver_as(&delivery_id(), event, payload)
    }

    pub(crate) fn deliver_as(&self, id: &str, event: &str, payload: &Value) -> u16 {
        let body = payload.to_string().into_bytes();
        self.deliver_raw(id, event, &sign(SECRET, &body), &body).expect("no answer to a delivery").status
    }

    pub(crate) fn deliver_raw(&self, id: &str, event: &str, signature: &str, body: &[u8]) -> std::io::Result<Answer> {
        let headers = [
            ("Content-Type", "application/json"),
            ("X-GitHub-Event", event),
            ("X-GitHub-Delivery", id),
            ("X-Hub-Signature-256", signature),
        ];
        http::request(self.listen, "POST", "/webhooks/github", None, &headers, body)
    }
}
