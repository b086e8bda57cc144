//! Who looks at a page: the holder of a signed link, which a cookie of that page keeps.

use axum::http::{HeaderMap, StatusCode, header};
use hmac::{Hmac, KeyInit as _, Mac as _};
use landfall_model::Timestamp;
use landfall_model::ids::RunId;
use landfall_pipeline::link::{Claim, LinkError, PURPOSE_PAGE, mint, verify};
use sha2::Sha256;

use super::answer::Failed;
use super::is_page;

const COOKIE: &str = "landfall";
const HINT: &str = "`landfall pipeline open RUN`, on the server's machine, prints a link.";
/// Seconds that whoever was let in by a command may look.
const SIGNED_IN: i64 = 12 * 3_600;

pub(super) struct Session {
    token: String,
    pub claim: Claim,
}

/// A link for whoever may already do everything here: it is given out over the control socket only.
pub(crate) fn sign_in(key: &[u8], run: &RunId, by: &str, now: Timestamp, nonce: u64) -> String {
    let claim = Claim {
        purpose: PURPOSE_PAGE.to_owned(),
        run: run.clone(),
        stage: String::new(),
        fingerprint: String::new(),
        approver: by.to_owned(),
        expires: Timestamp::from_second(now.as_second().saturating_add(SIGNED_IN)).unwrap_or(Timestamp::MAX),
        nonce: format!("{nonce:016x}"),
    };
    mint(key, &claim)
}

impl Session {
    pub(super) fn of(key: &[u8], token: &str, run: &RunId, now: Timestamp) -> Result<Self, Failed> {
        let claim = verify(key, token, is_page, run, now).map_err(|error| {
            let why = error.to_string();
            let (status, title) = match error {
                LinkError::Expired(_) => (StatusCode::GONE, "This link has expired"),
                _ => (StatusCode::FORBIDDEN, "This link is not valid here"),
            };
            tracing::warn!(run = run.as_str(), "a link was refused: {why}");
            Failed::new(status, title, why).hint(HINT)
        })?;
        Ok(Self { token: token.to_owned(), claim })
    }

    /// By the page's cookie, or as `Authorization: Bearer`.
    pub(super) fn of_headers(key: &[u8], headers: &HeaderMap, run: &RunId, now: Timestamp) -> Result<Self, Failed> {
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut cookies = all.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let kept = cookies.find(|(name, _)| *name == COOKIE).map(|(_, value)| value);
        match bearer.or(kept) {
            Some(token) => Self::of(key, token.trim(), run, now),
            None => {
                let why = "this page is shown to whoever has a link to it".to_owned();
                Err(Failed::new(StatusCode::UNAUTHORIZED, "Who are you?", why).hint(HINT))
            }
        }
    }

    /// Sent to this page only, never read by a script, and not sent along with forms of other sites.
    pub(super) fn cookie(&self, path: &str, secure: bool, now: Timestamp) -> String {
        let age = self.claim.expires.as_second().saturating_sub(now.as_second()).max(0);
        let secure = if secure { "; Secure" } else { "" };
        format!("{COOKIE}={}; Path={path}; Max-Age={age}; HttpOnly; SameSite=Lax{secure}", self.token)
    }

    /// Only a page that was shown to this session has it.
    pub(super) fn csrf(&self, key: &[u8]) -> String {
        self.mac(key).map(|mac| hex::encode(mac.finalize().into_bytes())).unwrap_or_default()
    }

    /// In constant time.
    pub(super) fn knows(&self, key: &[u8], csrf: &str) -> bool {
        let Ok(given) = hex::decode(csrf) else { return false };
        self.mac(key).is_some_and(|mac| mac.verify_slice(&given).is_ok())
    }

    fn mac(&self, key: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).ok().filter(|_| !key.is_empty())?;
        mac.update(b"csrf\0");
        mac.update(self.token.as_bytes());
        Some(mac)
    }
}

/// `token` of a query. It needs no decoding: it is made of letters that a URL may hold.
pub(super) fn token(query: &str) -> Option<String> {
    form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "token").map(|(_, value)| value.into_owned())
}

/// Why a form is not one of ours, as far as the browser tells.
pub(super) fn from_elsewhere(headers: &HeaderMap) -> Option<String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return (site != "same-origin").then(|| format!("the browser says that this form is of another site ({site})"));
    }
    let origin = text("origin")?;
    let host = origin.split_once("://").map(|(_, host)| host);
    (host.is_none() || host != text("host")).then(|| "this form is of another site".to_owned())
}
