//! Slack's signature: `v0=` and the HMAC-SHA256 of `v0:{timestamp}:{body}` in hex, and the comparison of tokens.
//!
//! Source: Slack's "Verifying requests from Slack", whose example is the test vector below.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Seconds that a time stamp may be away from now, either way.
pub(super) const FRESH_S: i64 = 300;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("X-Slack-Request-Timestamp or X-Slack-Signature is missing")]
    Missing,
    #[error("X-Slack-Request-Timestamp is not a number of seconds, or X-Slack-Signature not `v0=` and 64 hex digits")]
    Malformed,
    #[error("the request is older or newer than 5 minutes; is this machine's clock right?")]
    Stale,
    #[error("the signature does not match chatops.slack.signing_secret")]
    Mismatch,
}

/// The signature's bytes where it is right and fresh. `now`: seconds since the epoch.
pub(super) fn verify(
    secret: &[u8],
    timestamp: Option<&str>,
    signature: Option<&str>,
    body: &[u8],
    now: i64,
) -> Result<[u8; 32], Refused> {
    let (Some(timestamp), Some(signature)) = (timestamp, signature) else { return Err(Refused::Missing) };
    let seconds: i64 = timestamp.parse().map_err(|_| Refused::Malformed)?;
    let digits = signature.strip_prefix("v0=").ok_or(Refused::Malformed)?;
    let mut given = [0u8; 32];
    hex::decode_to_slice(digits, &mut given).map_err(|_| Refused::Malformed)?;
    if now.abs_diff(seconds) > FRESH_S.unsigned_abs() {
        return Err(Refused::Stale);
    }
    let mac = mac(secret, timestamp, body).filter(|_| !secret.is_empty()).ok_or(Refused::Mismatch)?;
    mac.verify_slice(&given).map_err(|_| Refused::Mismatch)?;
    Ok(given)
}

fn mac(secret: &[u8], timestamp: &str, body: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
    for part in [b"v0:", timestamp.as_bytes(), b":", body] {
        mac.update(part);
    }
    Some(mac)
}

/// The header value that is accepted: for tests and tools that play Slack.
pub fn sign(secret: &[u8], timestamp: i64, body: &[u8]) -> String {
    let Some(mac) = mac(secret, &timestamp.to_string(), body) else { return String::new() };
    format!("v0={}", hex::encode(mac.finalize().into_bytes()))
}

/// In a time that tells neither where nor whether in length they differ: their MACs are compared.
pub(super) fn same(wanted: &[u8], given: &[u8]) -> bool {
    let of = |token: &[u8]| {
        let mut mac = Hmac::<Sha256>::new_from_slice(b"landfall token comparison").ok()?;
        mac.update(token);
        Some(mac)
    };
    match (of(wanted), of(given)) {
        (Some(wanted_mac), Some(given)) => {
            wanted_mac.verify_slice(&given.finalize().into_bytes()).is_ok() && !wanted.is_empty()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"8f742231b10e8888abcd99yyyzzz85a5";
    const BODY: &[u8] = b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&\
        channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F\
        %2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629\
        121.803a0bc887a14d10d2c447fce8b6703c";
    const SIGNATURE: &str = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
    const AT: i64 = 1_531_420_618;

    #[test]
    fn slacks_own_test_vector() {
        assert_eq!(sign(SECRET, AT, BODY), SIGNATURE);
        let time = AT.to_string();
        for now in [AT, AT + 300, AT - 300] {
            assert!(verify(SECRET, Some(&time), Some(SIGNATURE), BODY, now).is_ok());
        }
        for now in [AT + 301, AT - 301, i64::MIN, i64::MAX] {
            assert_eq!(verify(SECRET, Some(&time), Some(SIGNATURE), BODY, now), Err(Refused::Stale));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let time = AT.to_string();
        let refused = |secret: &[u8], time: Option<&str>, signature: Option<&str>, body: &[u8]| {
            verify(secret, time, signature, body, AT).err()
        };
        assert_eq!(refused(SECRET, None, Some(SIGNATURE), BODY), Some(Refused::Missing));
        assert_eq!(refused(SECRET, Some(&time), None, BODY), Some(Refused::Missing));
        for signature in ["", "v1=00", "v0=", "v0=zz", &SIGNATURE[..60]] {
            assert_eq!(refused(SECRET, Some(&time), Some(signature), BODY), Some(Refused::Malformed), "{signature}");
        }
        assert_eq!(refused(SECRET, Some("now"), Some(SIGNATURE), BODY), Some(Refused::Malformed));
        let other = (AT + 1).to_string();
        assert_eq!(refused(SECRET, Some(&other), Some(SIGNATURE), BODY), Some(Refused::Mismatch));
        assert_eq!(refused(SECRET, Some(&time), Some(SIGNATURE), &BODY[1..]), Some(Refused::Mismatch));
        assert_eq!(refused(b"", Some(&time), Some(&sign(b"", AT, BODY)), BODY), Some(Refused::Mismatch));
    }

    #[test]
    fn tokens_are_the_same_or_not() {
        assert!(same(b"abc", b"abc"));
        for given in [&b""[..], b"ab", b"abcd", b"abd"] {
            assert!(!same(b"abc", given));
        }
        assert!(!same(b"", b""), "an empty token lets nobody in");
    }
}
