//! Signed expiring links. A link says what it is for, of which run, stage and fingerprint, who it was given to and until when, and is
//! signed with the installation's key. Whoever has it is taken for that person; it shows what there is to decide, and decides once.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use landfall_model::Timestamp;
use landfall_model::ids::RunId;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// What a link may be used for. Another purpose of ours never takes the place of this one.
pub const PURPOSE: &str = "pipeline.approval";
/// Of a link that shows the page of a run to who asked for it by command; it decides for no stage.
pub const PURPOSE_PAGE: &str = "pipeline.page";
/// Longer ones are nobody's: a claim is some hundred bytes.
const LONGEST: usize = 4096;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub purpose: String,
    pub run: RunId,
    /// The stage's environment.
    pub stage: String,
    pub fingerprint: String,
    pub approver: String,
    pub expires: Timestamp,
    /// Used once for a decision.
    pub nonce: String,
}

/// Why a link is not taken. Nothing is changed, and a person is told which it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    #[error("this is no approval link: it is damaged or cut off")]
    Malformed,
    #[error("this link was not signed here: it is forged, or of another installation")]
    Forged,
    #[error("this link has expired at {0:.0}: `landfall pipeline show` says what there is to decide now")]
    Expired(Timestamp),
    #[error("this link is for something else ({0})")]
    OtherPurpose(String),
    #[error("this link is for another run: {0}")]
    OtherRun(RunId),
}

/// The text of a link: claim and signature, in letters that a URL may hold.
pub fn mint(key: &[u8], claim: &Claim) -> String {
    // Texts and a time: this cannot fail. Were it to, the link would be refused as malformed.
    let body = URL_SAFE_NO_PAD.encode(serde_json::to_vec(claim).unwrap_or_default());
    let signature = signature(key, body.as_bytes()).map(|mac| URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()));
    format!("{body}.{}", signature.unwrap_or_default())
}

fn verified(key: &[u8], text: &str, purpose: impl Fn(&str) -> bool, now: Timestamp) -> Result<Claim, LinkError> {
    if text.len() > LONGEST {
        return Err(LinkError::Malformed);
    }
    let (body, given) = text.split_once('.').ok_or(LinkError::Malformed)?;
    let given = URL_SAFE_NO_PAD.decode(given).map_err(|_| LinkError::Malformed)?;
    // Compared in constant time by `verify_slice`.
    signature(key, body.as_bytes()).ok_or(LinkError::Forged)?.verify_slice(&given).map_err(|_| LinkError::Forged)?;
    let bytes = URL_SAFE_NO_PAD.decode(body).map_err(|_| LinkError::Malformed)?;
    let claim: Claim = serde_json::from_slice(&bytes).map_err(|_| LinkError::Malformed)?;
    if !purpose(&claim.purpose) {
        return Err(LinkError::OtherPurpose(claim.purpose));
    }
    if claim.expires <= now {
        return Err(LinkError::Expired(claim.expires));
    }
    Ok(claim)
}

/// What a link for this run says, of a purpose that `purpose` takes.
///
/// # Errors
/// In this order: malformed, forged, for something else, expired, for another run. Of a forged one nothing is believed.
pub fn verify(
    key: &[u8],
    text: &str,
    purpose: impl Fn(&str) -> bool,
    run: &RunId,
    now: Timestamp,
) -> Result<Claim, LinkError> {
    let claim = verified(key, text, purpose, now)?;
    if claim.run != *run {
        return Err(LinkError::OtherRun(claim.run));
    }
    Ok(claim)
}

fn signature(key: &[u8], body: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok().filter(|_| !key.is_empty())?;
    mac.update(body);
    Some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"a key of this installation";

    fn claim() -> Claim {
        Claim {
            purpose: PURPOSE.into(),
            run: "run_1".into(),
            stage: "prod".into(),
            fingerprint: "sha256:ab".into(),
            approver: "anna".into(),
            expires: Timestamp::from_second(1_000).unwrap(),
            nonce: "n1".into(),
        }
    }

    fn is_ours(purpose: &str) -> bool {
        purpose == PURPOSE
    }

    fn of(key: &[u8], text: &str, now: Timestamp) -> Result<Claim, LinkError> {
        verified(key, text, is_ours, now)
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn what_was_signed_is_what_is_read() {
        let text = mint(KEY, &claim());
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)), "{text}");
        assert_eq!(of(KEY, &text, at(999)), Ok(claim()));
        assert_eq!(verify(KEY, &text, is_ours, &"run_1".into(), at(0)), Ok(claim()));
    }

    #[test]
    fn every_other_link_is_refused() {
        let text = mint(KEY, &claim());
        assert_eq!(of(KEY, &text, at(1_000)), Err(LinkError::Expired(at(1_000))));
        assert_eq!(of(b"another key", &text, at(0)), Err(LinkError::Forged));
        assert_eq!(of(b"", &text, at(0)), Err(LinkError::Forged));
        assert_eq!(verify(KEY, &text, is_ours, &"run_2".into(), at(0)), Err(LinkError::OtherRun("run_1".into())));
        let other = mint(KEY, &Claim { purpose: "session".into(), ..claim() });
        assert_eq!(of(KEY, &other, at(0)), Err(LinkError::OtherPurpose("session".into())));
        // Somebody gives himself more time, or another name, and keeps the signature.
        let (_, signature) = text.split_once('.').unwrap();
        let mine = Claim { approver: "mallory".into(), expires: at(1_000_000), ..claim() };
        let body = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&mine).unwrap());
        assert_eq!(of(KEY, &format!("{body}.{signature}"), at(0)), Err(LinkError::Forged));
        // Signed with no key at all.
        assert_eq!(of(KEY, &mint(b"", &claim()), at(0)), Err(LinkError::Forged));
        for text in ["", ".", "a.b", "no dot", "!.!", &"a".repeat(5_000)] {
            assert!(matches!(of(KEY, text, at(0)), Err(LinkError::Malformed | LinkError::Forged)), "{text}");
        }
    }

    #[test]
    fn no_changed_byte_passes() {
        let text = mint(KEY, &claim());
        for index in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            // The last letter of unpadded base64 may hold bits that count for nothing; the decoder refuses those.
            assert!(of(KEY, &changed, at(0)).is_err(), "byte {index}");
        }
    }
}
