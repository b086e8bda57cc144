//! Answers that the router makes itself: what happened, why, and what to look at, as a small page or as plain text.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

use crate::api::{TargetHealth, TargetState};

/// Seconds until a client may ask again for what is waking.
const RETRY_S: u32 = 5;

/// Why a request is not answered by a target. `code` goes into `X-Landfall-Error`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) detail: String,
    /// The connection ends with this answer.
    pub(crate) close: bool,
    /// Seconds until it is worth another try; a page tries by itself.
    pub(crate) retry_after: Option<u32>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), close: false, retry_after: None }
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self { close: true, ..Self::new(StatusCode::BAD_REQUEST, "bad_request", detail) }
    }

    pub(crate) fn unknown_host(host: &str, port: u16, domains: &[String]) -> Self {
        let known = match domains {
            [] => format!("No environment is routed on port {port} yet."),
            domains => {
                let list: Vec<String> = domains.iter().map(|domain| format!("NAME.{domain}")).collect();
                format!("Known names on port {port} look like {}.", list.join(", "))
            }
        };
        let detail = format!("No environment answers to {host:?}. {known}");
        Self::new(StatusCode::NOT_FOUND, "unknown_host", detail)
    }

    pub(crate) fn no_target(group: &str, targets: impl Iterator<Item = TargetHealth>) -> Self {
        let targets: Vec<TargetHealth> = targets.collect();
        let (code, mut detail) = if targets.is_empty() {
            ("no_targets", format!("Target group {group} has no targets: nothing is running, or nothing is yet."))
        } else if targets.iter().any(|target| target.state == TargetState::Initial) {
            ("targets_starting", format!("No target of {group} has passed a health check yet."))
        } else {
            ("no_healthy_targets", format!("Target group {group} has no healthy target."))
        };
        for target in targets.iter().take(10) {
            detail.push_str(&format!("\n{} is {}", target.target, target.state.as_str()));
            if let Some(reason) = &target.reason {
                detail.push_str(&format!(": {reason}"));
            }
        }
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
    }

    /// Held for what sleeps, in vain or not at all.
    pub(crate) fn asleep(code: &'static str, group: &str) -> Self {
        let detail = format!(
            "It was asleep because nobody had used it, and is waking up now: {group} has no healthy target yet. Try again in a moment."
        );
        Self { retry_after: Some(RETRY_S), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail) }
    }

    /// `html`: whether the client wants a page.
    pub(crate) fn response(&self, html: bool) -> Response<Bytes> {
        let reason = self.status.canonical_reason().unwrap_or("Error");
        let status = self.status.as_u16();
        let (kind, body) = if html {
            let detail = escape(&self.detail).replace('\n', "<br>");
            let again = self
                .retry_after
                .map_or(String::new(), |seconds| format!("<meta http-equiv=\"refresh\" content=\"{seconds}\">"));
            let page = format!(
                "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">{again}<title>{status} {reason}</title>\
                 <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:44em;margin:4em auto;padding:0 1em}}\
                 code{{color:#666}}</style><h1>{status} {reason}</h1><p>{detail}</p><p><code>landfall: {}</code></p></html>\n",
                self.code
            );
            ("text/html; charset=utf-8", page)
        } else {
            ("text/plain; charset=utf-8", format!("{status} {reason}\n{}\nlandfall: {}\n", self.detail, self.code))
        };
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert("x-landfall-error", HeaderValue::from_static(self.code));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn pages_escape_what_the_client_sent() {
        let refusal = Refusal::unknown_host("<script>.x", 80, &["my-project.localhost".to_owned()]);
        let page = refusal.response(true);
        let text = std::str::from_utf8(page.body()).unwrap();
        assert!(!text.contains("<script>"), "{text}");
        assert!(text.contains("NAME.my-project.localhost"), "{text}");
        assert_eq!(page.headers()["x-landfall-error"], "unknown_host");
    }

    #[test]
    fn a_503_names_state_and_reason_of_each_target() {
        let target = TargetHealth {
            target: "10.0.0.1:80".parse().unwrap(),
            state: TargetState::Unhealthy,
            reason: Some("Health checks failed with these codes: [500]".into()),
            in_flight: 0,
        };
        let page = Refusal::no_target("tg", std::iter::once(target)).response(false);
        let text = std::str::from_utf8(page.body()).unwrap();
        assert!(text.contains("10.0.0.1:80 is unhealthy: Health checks failed with these codes: [500]"), "{text}");
        assert_eq!(page.status(), 503);
    }
}
