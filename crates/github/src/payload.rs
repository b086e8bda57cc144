//! Payloads, as far as Landfall acts on them. Lenient on purpose: GitHub adds fields and actions without notice, and what is
//! not understood is ignored with a word of what it was, never refused.

use landfall_model::Timestamp;
use landfall_model::event::{ForgeEvent, ForgeEventKind, ForgeRepository, PullRequestAction};
use landfall_model::ids::DeliveryId;
use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("the body is not UTF-8")]
    NotUtf8,
    #[error("the form body has no `payload` field")]
    NoPayload,
    #[error("unsupported content type `{0}`; choose application/json on the webhook's page")]
    ContentType(String),
    #[error("the body is not the JSON of a {event} event: {message}")]
    Json { event: String, message: String },
}

#[derive(Deserialize)]
struct Repository {
    id: Option<u64>,
    name: Option<String>,
    full_name: Option<String>,
    pushed_at: Option<Value>,
}

#[derive(Deserialize)]
struct Sender {
    login: Option<String>,
}

#[derive(Deserialize)]
struct Common {
    repository: Option<Repository>,
    sender: Option<Sender>,
    #[serde(rename = "ref")]
    reference: Option<String>,
    ref_type: Option<String>,
    #[serde(default)]
    deleted: bool,
    after: Option<String>,
    action: Option<String>,
    number: Option<u64>,
    pull_request: Option<PullRequest>,
}

#[derive(Deserialize)]
struct PullRequest {
    number: Option<u64>,
    head: Side,
    base: Side,
}

#[derive(Deserialize)]
struct Side {
    #[serde(rename = "ref")]
    reference: String,
    sha: String,
    /// Null when the fork was deleted.
    repo: Option<SideRepository>,
}

#[derive(Deserialize)]
struct SideRepository {
    id: Option<u64>,
}

/// Parses a verified delivery. `event` is `X-GitHub-Event`; `content_type` may carry parameters.
pub fn parse(delivery: &DeliveryId, event: &str, content_type: &str, body: &[u8]) -> Result<ForgeEvent, ParseError> {
    let text = json_text(content_type, body)?;
    let json = |error: serde_json::Error| ParseError::Json { event: event.to_owned(), message: error.to_string() };
    let common: Common = serde_json::from_str(&text).map_err(json)?;
    let missing = |what: &str| ParseError::Json { event: event.to_owned(), message: format!("`{what}` is missing") };

    let kind = match event {
        "ping" => ForgeEventKind::Ping,
        "create" | "delete" => {
            let name = common.reference.clone().ok_or_else(|| missing("ref"))?;
            match (common.ref_type.as_deref(), event) {
                (Some("branch"), "create") => ForgeEventKind::BranchCreated { branch: branch(&name) },
                (Some("branch"), _) => ForgeEventKind::BranchDeleted { branch: branch(&name) },
                (other, _) => ignored(format!("{event} of a {}", other.unwrap_or("nameless ref type"))),
            }
        }
        "push" => {
            let name = common.reference.clone().ok_or_else(|| missing("ref"))?;
            match name.strip_prefix("refs/heads/") {
                None => ignored(format!("push to {name}")),
                Some(branch) if common.deleted => ForgeEventKind::BranchDeleted { branch: branch.to_owned() },
                Some(branch) => ForgeEventKind::Pushed {
                    branch: branch.to_owned(),
                    commit: commit(&common.after.clone().ok_or_else(|| missing("after"))?)
                        .ok_or_else(|| missing("after (a commit id)"))?,
                },
            }
        }
        "pull_request" => pull_request(&common, &missing)?,
        other => ignored(format!("event {other}")),
    };
    let needs_repository = !matches!(kind, ForgeEventKind::Ping | ForgeEventKind::Ignored { .. });
    let repository = match common.repository {
        Some(repository) => ForgeRepository {
            id: repository.id,
            name: repository.name.unwrap_or_default(),
            full_name: repository.full_name,
            pushed_at: repository.pushed_at.as_ref().and_then(time),
        },
        None if needs_repository => return Err(missing("repository")),
        None => ForgeRepository { id: None, name: String::new(), full_name: None, pushed_at: None },
    };
    if needs_repository && repository.name.is_empty() {
        return Err(missing("repository.name"));
    }
    Ok(ForgeEvent { delivery: delivery.clone(), repository, kind, sender: common.sender.and_then(|s| s.login) })
}

fn pull_request(common: &Common, missing: &dyn Fn(&str) -> ParseError) -> Result<ForgeEventKind, ParseError> {
    let action = match common.action.as_deref() {
        Some("opened" | "reopened" | "synchronize") => PullRequestAction::Present,
        Some("closed") => PullRequestAction::Closed,
        other => return Ok(ignored(format!("pull_request {}", other.unwrap_or("without an action")))),
    };
    let pull = common.pull_request.as_ref().ok_or_else(|| missing("pull_request"))?;
    let number = common.number.or(pull.number).ok_or_else(|| missing("number"))?;
    // Only a head that is provably the base repository itself is trusted; a deleted fork has no repository at all.
    let id = |side: &Side| side.repo.as_ref().and_then(|repo| repo.id);
    let fork = id(&pull.head).is_none() || id(&pull.head) != id(&pull.base);
    Ok(ForgeEventKind::PullRequest {
        action,
        number,
        head_branch: pull.head.reference.clone(),
        head_commit: commit(&pull.head.sha).ok_or_else(|| missing("pull_request.head.sha (a commit id)"))?,
        fork,
    })
}

fn ignored(what: String) -> ForgeEventKind {
    ForgeEventKind::Ignored { what }
}

/// `create` and `delete` carry the bare name; be lenient about a full one.
fn branch(name: &str) -> String {
    name.strip_prefix("refs/heads/").unwrap_or(name).to_owned()
}

/// A full SHA-1 or SHA-256 object id, so that nothing else ever reaches `git` as one.
fn commit(text: &str) -> Option<String> {
    let legal = matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit());
    legal.then(|| text.to_ascii_lowercase())
}

/// `pushed_at` is a Unix time in push events and RFC 3339 text elsewhere.
fn time(value: &Value) -> Option<Timestamp> {
    match value {
        Value::Number(seconds) => Timestamp::from_second(seconds.as_i64()?).ok(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn json_text(content_type: &str, body: &[u8]) -> Result<String, ParseError> {
    let text = std::str::from_utf8(body).map_err(|_| ParseError::NotUtf8)?;
    match content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "application/json" | "" => Ok(text.to_owned()),
        "application/x-www-form-urlencoded" => {
            let field = text.split('&').find_map(|pair| pair.strip_prefix("payload=")).ok_or(ParseError::NoPayload)?;
            percent_decode(field)
        }
        other => Err(ParseError::ContentType(other.to_owned())),
    }
}

fn percent_decode(field: &str) -> Result<String, ParseError> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let hex = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
        match (byte, tail) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, after @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                bytes.push(hex(*high).unwrap_or(0) * 16 + hex(*low).unwrap_or(0));
                rest = after;
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).map_err(|_| ParseError::NotUtf8)
}
