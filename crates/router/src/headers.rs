//! What a proxy does to headers. Pure.
//!
//! A message is re-framed here: `Transfer-Encoding` and everything else that speaks about one connection is dropped, and
//! the next hop gets framing of our own making. So what two parsers could read differently never travels on.

use std::borrow::Cow;

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

/// Which of the headers that concern a proxy a message has: found in one pass, so that none is looked up in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found(u16);

impl Found {
    pub(crate) const TRANSFER_ENCODING: Self = Self(1);
    pub(crate) const ACCEPT: Self = Self(1 << 1);
    const CONNECTION: Self = Self(1 << 2);
    const UPGRADE: Self = Self(1 << 3);
    const TE: Self = Self(1 << 4);
    const KEEP_ALIVE: Self = Self(1 << 5);
    const PROXY_CONNECTION: Self = Self(1 << 6);
    const PROXY_AUTHENTICATE: Self = Self(1 << 7);
    const PROXY_AUTHORIZATION: Self = Self(1 << 8);
    const EXPECT: Self = Self(1 << 9);
    const X_FORWARDED_FOR: Self = Self(1 << 10);

    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let one = |name: &HeaderName| match name.as_str() {
            "transfer-encoding" => Self::TRANSFER_ENCODING,
            "accept" => Self::ACCEPT,
            "connection" => Self::CONNECTION,
            "upgrade" => Self::UPGRADE,
            "te" => Self::TE,
            "keep-alive" => Self::KEEP_ALIVE,
            "proxy-connection" => Self::PROXY_CONNECTION,
            "proxy-authenticate" => Self::PROXY_AUTHENTICATE,
            "proxy-authorization" => Self::PROXY_AUTHORIZATION,
            "expect" => Self::EXPECT,
            "x-forwarded-for" => Self::X_FORWARDED_FOR,
            _ => Self(0),
        };
        headers.keys().fold(Self(0), |found, name| Self(found.0 | one(name).0))
    }

    pub(crate) fn has(self, one: Self) -> bool {
        self.0 & one.0 != 0
    }
}

/// The host a request is for, in lower case without port. An absolute URI wins over `Host`, as RFC 9112 3.2.2 says.
pub(crate) fn host<B>(request: &Request<B>) -> Result<Cow<'_, str>, Refusal> {
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
        None => Ok(Cow::Borrowed("")),
    }
}

fn bad_host() -> Refusal {
    Refusal::bad_request("The Host header is not a host name with an optional port.")
}

/// `Test123.Example:8080` → `test123.example`; a dot at the end is dropped. `None`: not a host.
pub(crate) fn normal_host(value: &str) -> Option<Cow<'_, str>> {
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
    let host = host.strip_suffix('.').unwrap_or(host);
    let lower = !host.bytes().any(|b| b.is_ascii_uppercase());
    Some(if lower { Cow::Borrowed(host) } else { Cow::Owned(host.to_ascii_lowercase()) })
}

/// What the request says about where it came from.
pub(crate) struct Forwarding<'a> {
    pub(crate) peer: &'a HeaderValue,
    pub(crate) port: &'a HeaderValue,
}

/// The upgrade protocol that the client asks for, before `forward_request` removes the headers.
pub(crate) fn upgrade<B>(request: &Request<B>, found: Found) -> Option<HeaderValue> {
    if !found.has(Found::UPGRADE)
        || request.version() < Version::HTTP_11
        || !names(request.headers(), &CONNECTION, "upgrade")
    {
        return None;
    }
    request.headers().get(UPGRADE).cloned()
}

/// Makes the client's request the one that goes to the target.
pub(crate) fn forward_request<B>(request: &mut Request<B>, found: Found, from: &Forwarding<'_>) {
    let headers = request.headers_mut();
    remove_hop_by_hop(headers, found);
    remove_found(headers, found, [(Found::EXPECT, EXPECT), (Found::PROXY_AUTHORIZATION, PROXY_AUTHORIZATION)]);
    let chain = if found.has(Found::X_FORWARDED_FOR) { joined(headers, from.peer) } else { from.peer.clone() };
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
    let found = Found::of(headers);
    remove_hop_by_hop(headers, found);
    remove_found(headers, found, [(Found::PROXY_AUTHENTICATE, PROXY_AUTHENTICATE)]);
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

fn remove_hop_by_hop(headers: &mut HeaderMap, found: Found) {
    if found.has(Found::CONNECTION) {
        // Names listed there first; the usual words are no headers, or go anyway.
        let usual = |name: &&[u8]| {
            ["close", "keep-alive", "upgrade", "te"].iter().any(|word| name.eq_ignore_ascii_case(word.as_bytes()))
        };
        let listed: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .map(HeaderValue::as_bytes)
            .filter(|value| !usual(value))
            .flat_map(|value| value.split(|b| *b == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|name| !usual(name))
            .filter_map(|name| HeaderName::from_bytes(name).ok())
            // Host and Content-Length carry meaning from end to end: a client must not be able to strip them.
            .filter(|name| *name != HOST && *name != CONTENT_LENGTH)
            .collect();
        for name in listed {
            headers.remove(name);
        }
    }
    remove_found(
        headers,
        found,
        [
            (Found::CONNECTION, CONNECTION),
            (Found::KEEP_ALIVE, KEEP_ALIVE),
            (Found::PROXY_CONNECTION, PROXY_CONNECTION),
            (Found::TE, TE),
            (Found::TRANSFER_ENCODING, TRANSFER_ENCODING),
            (Found::UPGRADE, UPGRADE),
        ],
    );
}

fn remove_found<const N: usize>(headers: &mut HeaderMap, found: Found, names: [(Found, HeaderName); N]) {
    for (_, name) in names.into_iter().filter(|(one, _)| found.has(*one)) {
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
        let found = Found::of(request.headers());
        forward_request(&mut request, found, &Forwarding { peer: &peer, port: &port });
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
    fn answers_lose_what_concerns_one_hop() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "Keep-Alive, X-Mine"),
            ("keep-alive", "timeout=5"),
            ("x-mine", "1"),
            ("transfer-encoding", "chunked"),
            ("proxy-authenticate", "Basic"),
            ("upgrade", "h2c"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        forward_response(&mut headers);
        let left: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(left, [("set-cookie", "a=1"), ("set-cookie", "b=2")]);
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
