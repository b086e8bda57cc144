//! `X-Hub-Signature-256`: HMAC-SHA256 over the raw body, compared in constant time.
//!
//! Source: GitHub's "Validating webhook deliveries", whose test vector is below.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    #[error("the delivery has no X-Hub-Signature-256 header; set a secret on the webhook")]
    Missing,
    #[error("X-Hub-Signature-256 is not `sha256=` and 64 hex digits")]
    Malformed,
    #[error("the signature does not match any configured secret")]
    Mismatch,
}

/// Accepts a body signed with any of `secrets` (several during a rotation). Every secret is tried whatever the first ones
/// said, so the time taken does not tell which one matched.
pub fn verify(secrets: &[Vec<u8>], header: Option<&str>, body: &[u8]) -> Result<(), VerifyError> {
    let header = header.ok_or(VerifyError::Missing)?;
    let digits = header.strip_prefix("sha256=").ok_or(VerifyError::Malformed)?;
    let mut signature = [0u8; 32];
    hex::decode_to_slice(digits, &mut signature).map_err(|_| VerifyError::Malformed)?;
    let mut matched = false;
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) {
            mac.update(body);
            matched |= mac.verify_slice(&signature).is_ok();
        }
    }
    if matched { Ok(()) } else { Err(VerifyError::Mismatch) }
}

/// The header value that `verify` accepts: for the demo, tests and benchmarks, which play GitHub.
pub fn sign(secret: &[u8], body: &[u8]) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return String::new() };
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"It's a Secret to Everybody";
    const BODY: &[u8] = b"Hello, World!";
    const SIGNATURE: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    #[test]
    fn githubs_own_test_vector() {
        assert_eq!(verify(&[SECRET.to_vec()], Some(SIGNATURE), BODY), Ok(()));
        assert_eq!(sign(SECRET, BODY), SIGNATURE);
    }

    #[test]
    fn any_of_several_secrets_will_do() {
        let secrets = [b"new".to_vec(), SECRET.to_vec()];
        assert_eq!(verify(&secrets, Some(SIGNATURE), BODY), Ok(()));
    }

    #[test]
    fn refuses_everything_else() {
        let secrets = [SECRET.to_vec()];
        assert_eq!(verify(&secrets, None, BODY), Err(VerifyError::Missing));
        assert_eq!(verify(&secrets, Some(SIGNATURE), b"Hello, World?"), Err(VerifyError::Mismatch));
        assert_eq!(verify(&[], Some(SIGNATURE), BODY), Err(VerifyError::Mismatch));
        for malformed in ["", "sha256=", "sha1=757107ea", "sha256=zz", &SIGNATURE[..70], &format!("{SIGNATURE}00")] {
            assert_eq!(verify(&secrets, Some(malformed), BODY), Err(VerifyError::Malformed), "{malformed}");
        }
    }

    #[test]
    fn an_empty_secret_never_matches() {
        let forged = sign(b"", BODY);
        assert_eq!(verify(&[Vec::new()], Some(&forged), BODY), Err(VerifyError::Mismatch));
    }
}
