//! Answers of pages, each with the headers that keep it to itself.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use landfall_pages::{Refused, policy};

/// Why somebody sees nothing, or why nothing was done.
#[derive(Debug)]
pub(super) struct Failed {
    pub status: StatusCode,
    pub title: &'static str,
    pub why: String,
    hint: Option<&'static str>,
    back: Option<String>,
}

impl Failed {
    pub(super) fn new(status: StatusCode, title: &'static str, why: String) -> Self {
        Self { status, title, why, hint: None, back: None }
    }

    pub(super) fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }

    /// Only to who is let in there.
    pub(super) fn back(mut self, path: String) -> Self {
        let let_in = !matches!(self.status, StatusCode::UNAUTHORIZED | StatusCode::GONE);
        self.back = let_in.then_some(path);
        self
    }

    /// Of a fault of ours: what it is goes to the log.
    pub(super) fn broken(why: &str) -> Self {
        tracing::error!("a page cannot be shown: {why}");
        let text = "the server cannot look it up now; its log says why".to_owned();
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "Not now", text)
    }

    pub(super) fn response(self) -> Response {
        let Self { status, title, why, hint, back } = self;
        let mut message = why;
        if let Some(first) = message.get(..1) {
            message = format!("{}{}", first.to_uppercase(), &message[1..]);
        }
        if !message.ends_with(['.', '?', '!']) {
            message.push('.');
        }
        let refused = Refused { title: title.to_owned(), message, hint: hint.map(str::to_owned), back };
        shown(status, refused.html())
    }
}

pub(super) fn shown(status: StatusCode, html: String) -> Response {
    let mut response = (status, html).into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, policy()),
        (header::CACHE_CONTROL, "no-store"),
        // Not `no-referrer`: with it browsers say of our own form that it comes from `null`.
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    headers.insert("x-robots-tag", HeaderValue::from_static("noindex"));
    response
}

/// Elsewhere on this server, with GET.
pub(super) fn redirect(path: &str, cookie: Option<String>) -> Response {
    let mut response = shown(StatusCode::SEE_OTHER, String::new());
    let headers = response.headers_mut();
    let set = [(header::LOCATION, Some(path.to_owned())), (header::SET_COOKIE, cookie)];
    for (name, value) in set {
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            headers.insert(name, value);
        }
    }
    response
}
