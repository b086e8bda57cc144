//! What a proxy does to headers. Pure.
//!
//! A message is re-framed here: `Transfer-Encoding` and everything else that speaks about one connection is dropped, and
//! the next hop gets framing of our own making. So what two parsers could read differently never travels on.

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, Request, Uri, Version};

use crate::pages::Refusal;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// The host a request is for, in lower case without port. An absolute URI wins over `Host`, as RFC 9112 3.2.2 says.
pub(crate) fn host<B>(request: &Request<B>) -> Result<String, Refusal> {
    if request.method() == Method::CONNECT {
        return Err(Refusal::bad_request("CONNECT is not served here."));
    }
    let mut values = request.headers().get_all(HOST).iter();
    let header = values.next();
    if values.next().is_some() {
        return Err(Refusal::bad_request("The request has more than one Host header."));
    }
    if let Some(host) = request.uri().host() {
        return normal_host(host).ok_or_else(bad_host);
    }
    match header {
        Some(value) => value.to_str().ok().and_then(normal_host).ok_or_else(bad_host),
        None if request.version() >= Version::HTTP_11 => {
            Err(Refusal::bad_request("An HTTP/1.1 request needs a Host header."))
        }
        None => Ok(String::new()),
    }
}

fn bad_host() -> Refusal {
    Refusal::bad_request("The Host header is not a host name with an optional port.")
}

/// `Test123.Example:8080` → `test123.example`; a dot at the end is dropped. `None`: not a host.
pub(crate) fn normal_host(value: &str) -> Option<String> {
    let (host, port) = match value.rsplit_once(':') {
        // An IPv6 literal without port has colons of its own.
        Some((host, _)) if host.starts_with('[') && !host.ends_with(']') => (value, ""),
        Some((host, port)) => (host, port),
        None => (value, ""),
    };
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'*');
    let literal = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let host_is_legal = match literal {
        Some(literal) => literal.bytes().all(|b| b.is_ascii_hexdigit() || b == b':' || b == b'.'),
        None => host.bytes().all(legal),
    };
    if !host_is_legal || host.len() > 255 || !port.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase())
}

/// What the request says about where it came from.
pub(crate) struct Forwarding<'a> {
    pub(crate) peer: &'a HeaderValue,
    pub(crate) port: &'a HeaderValue,
}

/// The upgrade protocol that the client asks for, before `forward_request` removes the headers.
pub(crate) fn upgrade<B>(request: &Request<B>) -> Option<HeaderValue> {
    if request.version() < Version::HTTP_11 || !names(request.headers(), &CONNECTION, "upgrade") {
        return None;
    }
    request.headers().get(UPGRADE).cloned()
}

/// Makes the client's request the one that goes to the target.
pub(crate) fn forward_request<B>(request: &mut Request<B>, from: &Forwarding<'_>) {
    let headers = request.headers_mut();
    remove_hop_by_hop(headers);
    headers.remove(EXPECT);
    headers.remove(PROXY_AUTHORIZATION);
    let chain = match headers.get(X_FORWARDED_FOR) {
        None => from.peer.clone(),
        Some(_) => joined(headers, from.peer),
    };
    headers.insert(X_FORWARDED_FOR, chain);
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    headers.insert(X_FORWARDED_PORT, from.port.clone());
    match headers.get(HOST).cloned() {
        Some(host) => {
            headers.insert(X_FORWARDED_HOST, host);
        }
        None => {
            headers.remove(X_FORWARDED_HOST);
            headers.insert(HOST, HeaderValue::from_static(""));
        }
    }
    if request.uri().authority().is_some() {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let origin = path.parse().unwrap_or_else(|_| Uri::from_static("/"));
        *request.uri_mut() = origin;
    }
    *request.version_mut() = Version::HTTP_11;
}

/// Makes the target's answer the one that goes to the client.
pub(crate) fn forward_response(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
    headers.remove(PROXY_AUTHENTICATE);
}

/// All values of the chain in one line, then ours.
fn joined(headers: &HeaderMap, peer: &HeaderValue) -> HeaderValue {
    let mut chain = Vec::new();
    for value in headers.get_all(X_FORWARDED_FOR) {
        chain.extend_from_slice(value.as_bytes());
        chain.extend_from_slice(b", ");
    }
    chain.extend_from_slice(peer.as_bytes());
    HeaderValue::from_bytes(&chain).unwrap_or_else(|_| peer.clone())
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    // Names listed in Connection first; `close` and `keep-alive` are the usual ones and are no headers to remove.
    if headers.contains_key(CONNECTION) {
        let listed: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|b| *b == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            // Host and Content-Length carry meaning from end to end: a client must not be able to strip them.
            .filter(|name| *name != HOST && *name != CONTENT_LENGTH)
            .collect();
        for name in listed {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    for name in [KEEP_ALIVE, PROXY_CONNECTION, TE, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
}

/// Whether the comma-separated header contains this word, without case.
pub(crate) fn names(headers: &HeaderMap, header: &HeaderName, word: &str) -> bool {
    let matches = |part: &[u8]| part.trim_ascii().eq_ignore_ascii_case(word.as_bytes());
    headers.get_all(header).iter().any(|value| value.as_bytes().split(|b| *b == b',').any(matches))
}

/// Whether a raw head carries a `Content-Length` line.
pub(crate) fn has_content_length(head: &[u8]) -> bool {
    head.split(|b| *b == b'\n').any(|line| {
        let name = line.split(|b| *b == b':').next().unwrap_or_default();
        line.contains(&b':') && name.trim_ascii().eq_ignore_ascii_case(b"content-length")
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts_are_compared_without_case_and_port() {
        for (given, expected) in [
            ("Test123.My-Project.localhost:8080", Some("test123.my-project.localhost")),
            ("a.b.", Some("a.b")),
            ("a", Some("a")),
            ("[::1]:80", Some("[::1]")),
            ("[::1]", Some("[::1]")),
            ("a b", None),
            ("a/../b", None),
            ("a:80:80", None),
            ("a:x", None),
            ("user@a", None),
        ] {
            assert_eq!(normal_host(given).as_deref(), expected, "{given}");
        }
    }

    #[test]
    fn requests_lose_what_concerns_one_hop_and_gain_where_they_came_from() {
        let mut request = Request::get("http://a.b/x?y=1")
            .header("host", "a.b")
            .header("connection", "close, X-Mine, content-length, host")
            .header("x-mine", "1")
            .header("te", "trailers")
            .header("upgrade", "h2c")
            .header("content-length", "0")
            .header("x-forwarded-for", "1.1.1.1")
            .header("x-forwarded-for", "2.2.2.2")
            .header("x-forwarded-proto", "https")
            .body(())
            .unwrap();
        let (peer, port) = (HeaderValue::from_static("9.9.9.9"), HeaderValue::from_static("80"));
        forward_request(&mut request, &Forwarding { peer: &peer, port: &port });
        let headers = request.headers();
        for gone in ["connection", "x-mine", "te", "upgrade"] {
            assert!(!headers.contains_key(gone), "{gone}");
        }
        assert_eq!(headers["host"], "a.b");
        assert_eq!(headers["content-length"], "0");
        assert_eq!(headers["x-forwarded-for"], "1.1.1.1, 2.2.2.2, 9.9.9.9");
        assert_eq!(headers.get_all("x-forwarded-for").iter().count(), 1);
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["x-forwarded-port"], "80");
        assert_eq!(headers["x-forwarded-host"], "a.b");
        assert_eq!(request.uri(), "/x?y=1");
    }

    #[test]
    fn content_length_is_seen_in_raw_heads() {
        assert!(has_content_length(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-LENGTH: 3\r\n"));
        assert!(!has_content_length(b"POST /content-length: HTTP/1.1\r\nX-Content-Length: 3\r\n"));
    }

    proptest! {
        #[test]
        fn normal_hosts_are_stable_and_plain(text in ".{0,80}") {
            if let Some(host) = normal_host(&text) {
                prop_assert!(host.bytes().all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase() && b != b'/'));
                prop_assert_eq!(normal_host(&host).map(|again| again.trim_end_matches('.').to_owned()),
                    Some(host.trim_end_matches('.').to_owned()));
            }
        }
    }
}
