//! Commands from Slack: the slash command (signed) and the older outgoing webhook (a token in the form).
//!
//! A command is authentic before a word of it is read, then it is an intent like any other: it goes through the same door, is
//! durable when it is answered, and has an id made of what Slack names the request by, so that Slack's retries and replays ask
//! for nothing twice. Slack waits 3 s for an answer; how it ended is told later, at the request's `response_url` while this
//! process lives, and by the notifications in any case.

mod answer;
mod command;
mod form;
mod reply;
mod signature;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, Limited};
use landfall_model::environment::{AbsentReason, EnvironmentKey, EnvironmentRecord, SourceRef};
use landfall_model::event::{Ask, Intent, PreviewTrigger};
use landfall_model::ids::{DeliveryId, EnvironmentId};
use landfall_planner::route::wanted;
use landfall_ports::store::{DeliveryOutcome, Received};
use serde_json::json;

use self::answer::Answer;
use self::command::{Command, Unclear};
use self::form::Form;
use crate::control::handle::{find, repository_key, source};
use crate::inbox;
use crate::service::{Inner, Service};

pub use self::reply::ReplyOrigin;
pub use self::signature::sign;

/// Slack's are a few hundred bytes; a message has at most 40,000 characters.
const MAX_BODY: usize = 256 * 1024;
const BODY_TIMEOUT: Duration = Duration::from_secs(3);
/// How long an answer waits for what was decided: Slack gives it 3 s altogether.
const DECIDED_WITHIN: Duration = Duration::from_millis(1_500);
/// Signatures are remembered for as long as their time stamp is good, on either side of now.
const REMEMBER: Duration = Duration::from_secs(2 * signature::FRESH_S.unsigned_abs());

/// How commands prove where they come from, and whose are taken. Secrets resolved.
#[derive(Clone, Default)]
pub struct Chat {
    pub signing_secret: Option<Vec<u8>>,
    pub outgoing_token: Option<Vec<u8>>,
    /// Ids or `#name`s; empty: all.
    pub channels: Vec<String>,
    /// Ids; empty: all.
    pub users: Vec<String>,
    pub reply_to: ReplyOrigin,
}

/// The chat as the public listener holds it.
pub(crate) struct Listener {
    service: Service,
    chat: Chat,
    replies: reply::Replies,
    seen: Mutex<HashMap<[u8; 32], Instant>>,
}

/// Which request, for its id: nothing of it is kept in the clear.
#[derive(Clone, Copy)]
enum From {
    Command,
    Outgoing,
}

impl Listener {
    pub(crate) fn new(service: Service, chat: Chat) -> Self {
        let replies = reply::Replies::new(chat.reply_to.clone());
        Self { service, chat, replies, seen: Mutex::default() }
    }

    /// Whether this signature was here before; from now on it was.
    fn seen_before(&self, signature: [u8; 32]) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|_, at| at.elapsed() < REMEMBER);
        seen.insert(signature, Instant::now()).is_some()
    }

    fn refuse(&self, status: StatusCode, word: &'static str, message: &str) -> Response {
        self.service.inner.metrics.request(word);
        tracing::warn!(status = status.as_u16(), "chat command refused: {message}");
        (status, axum::Json(json!({"status": word, "message": message}))).into_response()
    }

    fn allows(&self, form: &Form) -> Result<(), &'static str> {
        let chat = &self.chat;
        let named = |wanted: &String| wanted.strip_prefix('#').is_some_and(|name| name == form.channel_name);
        let channel =
            chat.channels.is_empty() || chat.channels.iter().any(|wanted| *wanted == form.channel_id || named(wanted));
        if !channel {
            return Err("Commands are not taken in this channel.");
        }
        if !chat.users.is_empty() && !chat.users.contains(&form.user_id) {
            return Err("You are not among those whose commands are taken.");
        }
        Ok(())
    }
}

async fn read(body: Body) -> Option<Bytes> {
    let body = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY).collect()).await;
    Some(body.ok()?.ok()?.to_bytes())
}

/// `POST /webhooks/slack/command`
pub(crate) async fn slash(State(listener): State<Arc<Listener>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let Some(secret) = &listener.chat.signing_secret else {
        return listener.refuse(StatusCode::NOT_FOUND, "not_found", "the manifest has no chatops.slack.signing_secret");
    };
    let Some(body) = read(body).await else {
        return listener.refuse(StatusCode::BAD_REQUEST, "bad_request", "the body is too long or broke off");
    };
    let header = |name: &str| text(&parts.headers, name);
    let now = listener.service.inner.clock.now().as_second();
    let proof = (header("x-slack-request-timestamp"), header("x-slack-signature"));
    let signature = match signature::verify(secret, proof.0, proof.1, &body, now) {
        Ok(signature) => signature,
        Err(error) => return listener.refuse(StatusCode::UNAUTHORIZED, "unauthorized", &error.to_string()),
    };
    let form = match Form::parse(&body) {
        Ok(form) => form,
        Err(why) => return listener.refuse(StatusCode::BAD_REQUEST, "bad_request", why),
    };
    if form.ssl_check {
        return StatusCode::OK.into_response();
    }
    let retry = parts.headers.contains_key("x-slack-retry-num");
    if listener.seen_before(signature) && !retry {
        return said(&listener, From::Command, &Answer::privately(answer::REPLAYED));
    }
    let command = command::parse(&form.text);
    let answer = answer_to(&listener, From::Command, &form, command, retry).await;
    said(&listener, From::Command, &answer)
}

/// `POST /webhooks/slack/outgoing`
pub(crate) async fn outgoing(State(listener): State<Arc<Listener>>, request: Request<Body>) -> Response {
    let Some(token) = &listener.chat.outgoing_token else {
        return listener.refuse(StatusCode::NOT_FOUND, "not_found", "the manifest has no chatops.slack.outgoing_token");
    };
    let Some(body) = read(request.into_body()).await else {
        return listener.refuse(StatusCode::BAD_REQUEST, "bad_request", "the body is too long or broke off");
    };
    let form = match Form::parse(&body) {
        Ok(form) => form,
        Err(why) => return listener.refuse(StatusCode::BAD_REQUEST, "bad_request", why),
    };
    if !signature::same(token, form.token.as_bytes()) {
        return listener.refuse(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "the token is not chatops.slack.outgoing_token",
        );
    }
    // What a bot says, ourselves included, is no command.
    if form.is_bot {
        return axum::Json(json!({})).into_response();
    }
    let command = command::parse(form.without_trigger());
    let answer = answer_to(&listener, From::Outgoing, &form, command, false).await;
    said(&listener, From::Outgoing, &answer)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Authentic requests are answered 200 whatever becomes of them: Slack shows the text of no other.
fn said(listener: &Listener, from: From, answer: &Answer) -> Response {
    listener.service.inner.metrics.request("chat");
    axum::Json(match from {
        From::Command => answer.command(),
        From::Outgoing => answer.outgoing(),
    })
    .into_response()
}

async fn answer_to(
    listener: &Arc<Listener>,
    from: From,
    form: &Form,
    command: Result<Command, Unclear>,
    retry: bool,
) -> Answer {
    if let Err(why) = listener.allows(form) {
        tracing::warn!(channel = form.channel_id, user = form.user_id, "chat command refused: {why}");
        return Answer::privately(why);
    }
    let inner = &*listener.service.inner;
    let command = match command {
        Ok(command) => command,
        Err(unclear) => return Answer::privately(answer::unclear(&unclear)),
    };
    let (environment, ask) = match asked(inner, &command) {
        Ok(Asked::Answer(answer)) => return answer,
        Ok(Asked::Intent(environment, ask)) => (environment, ask),
        Err(why) => return Answer::privately(answer::escaped(&why)),
    };
    let id = DeliveryId::new(form.id(from as u8));
    let actor = format!("slack:{}", form.actor());
    let intent = Intent { id: id.clone(), environment: environment.clone(), ask, actor, event_at: None };
    let mut decided = inner.expect(&id);
    let received = match inbox::put(inner, &intent).await {
        Ok(received) => received,
        Err(error) => {
            inner.forget(&id);
            tracing::error!(delivery = %id, %error, "a chat command could not be stored");
            return Answer::privately(answer::NOT_STORED);
        }
    };
    if received == Received::New {
        let _ = tokio::time::timeout(DECIDED_WITHIN, decided.wait_for(|decided| *decided)).await;
    }
    inner.forget(&id);
    let outcome = outcome(inner, &id).await;
    let record = inner.records.by_key(&environment);
    if received == Received::Duplicate && !retry {
        return Answer::privately(answer::REPLAYED);
    }
    if received == Received::New
        && !matches!(outcome, Some(DeliveryOutcome::Ignored { .. } | DeliveryOutcome::Rejected { .. }))
    {
        listener.replies.follow(&listener.service, form.response_url.as_deref(), &environment);
    }
    answer::accepted(&command, &environment, outcome.as_ref(), record.as_ref())
}

async fn outcome(inner: &Inner, id: &DeliveryId) -> Option<DeliveryOutcome> {
    let deliveries = inner.store.deliveries(1000).await.ok()?;
    deliveries.into_iter().find(|delivery| delivery.id == *id).and_then(|delivery| delivery.outcome)
}

enum Asked {
    Answer(Answer),
    Intent(EnvironmentKey, Ask),
}

/// What a command is about; `Err`: a line for whoever asked.
fn asked(inner: &Inner, command: &Command) -> Result<Asked, String> {
    let of = |branch: &str, ask| Ok(Asked::Intent(preview(inner, branch)?.key, ask));
    match command {
        Command::Help => Ok(Asked::Answer(Answer::privately(answer::help(&inner.app)))),
        Command::List => {
            let mut records = inner.records.all();
            records.retain(|record| !is_lasting(&record.id));
            Ok(Asked::Answer(Answer::privately(answer::list(&records, inner.clock.now()))))
        }
        Command::Status { branch } => {
            let record = preview(inner, branch)?;
            Ok(Asked::Answer(Answer::privately(answer::status(&record, inner.clock.now()))))
        }
        Command::Create { branch, repository } => {
            let repository = repository_key(inner, repository.clone()).map_err(|error| error.to_string())?;
            let SourceRef::Branch(name) = source(branch) else {
                return Err(
                    "a fork's pull request is asked for on GitHub, and allowed with `landfall preview approve`"
                        .to_owned(),
                );
            };
            wanted(&inner.app, &name).map_err(|why| format!("not applicable branch name: {why}"))?;
            let ask =
                Ask::Preview { commit: None, pull_request: None, fork: false, trigger: PreviewTrigger::Requested };
            Ok(Asked::Intent(EnvironmentKey { repository, source: SourceRef::Branch(name) }, ask))
        }
        Command::Destroy { branch } => of(branch, Ask::Destroy { reason: AbsentReason::Requested }),
        Command::Wake { branch } => of(branch, Ask::Wake),
        Command::Sleep { branch } => of(branch, Ask::Sleep),
    }
}

/// Never a lasting environment: those are not for chats to take away.
fn preview(inner: &Inner, name: &str) -> Result<EnvironmentRecord, String> {
    match find(inner, name) {
        Ok(record) if !is_lasting(&record.id) => Ok(record),
        Ok(_) => Err(format!("`{name}` is not a preview")),
        Err(error) => Err(error.to_string()),
    }
}

fn is_lasting(id: &EnvironmentId) -> bool {
    id.as_str().contains('@')
}
