//! The public listener: `POST /webhooks/github`, `GET /healthz`, `GET /metrics`, Slack's commands where the manifest takes them
//! (`crate::chat`), pages for whoever has a signed link (`crate::pages`), and nothing else.
//!
//! A delivery is answered 202 only after it is durable. In order: whether it claims to be signed (401), size (413) and time
//! (408), signature over the raw bytes (401), headers (400), a look at whether the body is whole (400 too, but kept), the inbox.
//! Deciding what it means comes later and elsewhere.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use landfall_model::ids::DeliveryId;
use landfall_ports::store::{NewDelivery, Received};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::chat::{self, Chat};
use crate::inbox::OWN_EVENT;
use crate::service::Service;

/// GitHub sends at most 25 MB.
pub const MAX_BODY: usize = 25 * 1024 * 1024;
/// Slower senders than this are no webhooks.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);
/// Five of the largest bodies, or thousands of ordinary ones.
const MEMORY_KIB: u32 = 128 * 1024;
/// A health check writes at most this often.
const CHECK_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(
        "no webhook secret: set LANDFALL_WEBHOOK_SECRET or `webhook.secrets` in the manifest; without one, anybody could \
         ask for environments"
    )]
    NoSecret,
    #[error("cannot listen: {0}")]
    Io(#[from] std::io::Error),
}

struct Public {
    service: Service,
    secrets: Vec<Vec<u8>>,
    /// KiB of bodies that may be held at once, before anybody has proved anything.
    memory: Semaphore,
    /// When a write was last tried for a health check, and how it went.
    checked: tokio::sync::Mutex<Option<(Instant, bool)>>,
}

/// Serves until `cancel` or the service's own shutdown; requests that were begun are answered first (at most 10 s).
///
/// # Errors
/// Without a secret that is not empty.
pub async fn serve(
    service: Service,
    listener: TcpListener,
    secrets: Vec<Vec<u8>>,
    chat: Option<Chat>,
    cancel: CancellationToken,
) -> Result<(), ServeError> {
    let secrets: Vec<Vec<u8>> = secrets.into_iter().filter(|secret| !secret.is_empty()).collect();
    if secrets.is_empty() {
        return Err(ServeError::NoSecret);
    }
    let address: SocketAddr = listener.local_addr()?;
    *service.inner.listen.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(address.to_string());
    let ends = service.shutdown_token();
    let chat = chat.map(|chat| Arc::new(chat::Listener::new(service.clone(), chat)));
    let pages = crate::pages::router(service.clone());
    let mut router = Router::new()
        .route("/webhooks/github", post(webhook))
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
        .with_state(Arc::new(Public {
            service,
            secrets,
            memory: Semaphore::new(MEMORY_KIB as usize),
            checked: tokio::sync::Mutex::new(None),
        }));
    if let Some(chat) = chat {
        let commands = Router::new()
            .route("/webhooks/slack/command", post(chat::slash))
            .route("/webhooks/slack/outgoing", post(chat::outgoing));
        router = router.merge(commands.with_state(chat));
    }
    router = router.merge(pages);
    let stop = CancellationToken::new();
    let ending = async {
        tokio::select! {
            () = cancel.cancelled() => {}
            () = ends.cancelled() => {}
        }
        stop.cancel();
    };
    tokio::join!(crate::listen::serve(listener, router, stop.clone()), ending);
    Ok(())
}

fn answer(public: &Public, status: StatusCode, word: &'static str, message: &str) -> Response {
    public.service.inner.metrics.request(word);
    if status.is_client_error() {
        tracing::warn!(status = status.as_u16(), "webhook refused: {message}");
    }
    (status, axum::Json(json!({"status": word, "message": message}))).into_response()
}

async fn webhook(State(public): State<Arc<Public>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    // Whoever does not even claim to have signed is not listened to.
    if !text("x-hub-signature-256").is_some_and(|signature| signature.starts_with("sha256=")) {
        let unsigned = landfall_github::verify(&public.secrets, text("x-hub-signature-256"), &[]);
        discard(body).await;
        let message = unsigned.err().map(|error| error.to_string()).unwrap_or_default();
        return answer(&public, StatusCode::UNAUTHORIZED, "unauthorized", &message);
    }
    let place = tokio::time::timeout(BODY_TIMEOUT, public.memory.acquire_many(kib(&parts.headers)));
    let Ok(Ok(_place)) = place.await else {
        return answer(
            &public,
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "too many deliveries at once; redeliver it later",
        );
    };
    let body = match read(&parts.headers, body).await {
        Ok(body) => body,
        Err((status, word, message)) => return answer(&public, status, word, message),
    };
    if let Err(error) = landfall_github::verify(&public.secrets, text("x-hub-signature-256"), &body) {
        return answer(&public, StatusCode::UNAUTHORIZED, "unauthorized", &error.to_string());
    }
    let Some(id) = text("x-github-delivery").filter(|id| is_delivery_id(id)) else {
        let message = "X-GitHub-Delivery is missing or not an id (letters, digits and hyphens)";
        return answer(&public, StatusCode::BAD_REQUEST, "bad_request", message);
    };
    let Some(event) = text("x-github-event").filter(|event| is_event(event)) else {
        return answer(&public, StatusCode::BAD_REQUEST, "bad_request", "X-GitHub-Event is missing or not an event");
    };
    let content_type = text("content-type").unwrap_or_default();
    let inner = &public.service.inner;
    let broken = broken(content_type, &body);
    let delivery = NewDelivery {
        id: DeliveryId::new(id),
        event: event.to_owned(),
        content_type: content_type.to_owned(),
        body: body.into(),
        received_at: inner.clock.now(),
    };
    match (inner.store.receive(delivery).await, broken) {
        // Signed, so it is kept, and the inbox records why it is of no use.
        (Ok(_), Some(why)) => answer(&public, StatusCode::BAD_REQUEST, "bad_request", &why),
        (Ok(received), None) => {
            let word = match received {
                Received::New => "accepted",
                Received::Duplicate => "duplicate",
            };
            inner.metrics.request(word);
            (StatusCode::ACCEPTED, axum::Json(json!({"delivery": id, "status": word}))).into_response()
        }
        (Err(error), _) => {
            tracing::error!(delivery = id, %error, "a delivery could not be stored");
            answer(&public, StatusCode::SERVICE_UNAVAILABLE, "unavailable", "not stored; redeliver it later")
        }
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok())
}

/// Memory to set aside for a body: as long as it says, or as the longest allowed.
fn kib(headers: &HeaderMap) -> u32 {
    let most = u64::try_from(MAX_BODY).unwrap_or(u64::MAX);
    let bytes = content_length(headers).unwrap_or(most).min(most);
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(MEMORY_KIB).clamp(1, MEMORY_KIB)
}

async fn read(headers: &HeaderMap, mut body: Body) -> Result<Bytes, (StatusCode, &'static str, &'static str)> {
    const TOO_LARGE: (StatusCode, &str, &str) =
        (StatusCode::PAYLOAD_TOO_LARGE, "too_large", "more than 25 MB, which is more than GitHub sends");
    if content_length(headers).is_some_and(|length| length > u64::try_from(MAX_BODY).unwrap_or(u64::MAX)) {
        // Who asks first whether to send is told no; who sends anyway would not see the answer while sending.
        if !headers.contains_key(header::EXPECT) {
            discard(body).await;
        }
        return Err(TOO_LARGE);
    }
    match tokio::time::timeout(BODY_TIMEOUT, Limited::new(&mut body, MAX_BODY).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.downcast_ref::<LengthLimitError>().is_some() => {
            discard(body).await;
            Err(TOO_LARGE)
        }
        Ok(Err(_)) => Err((StatusCode::BAD_REQUEST, "bad_request", "the body broke off")),
        Err(_) => Err((StatusCode::REQUEST_TIMEOUT, "timeout", "the body took longer than 30 s")),
    }
}

/// Reads on for a while without keeping anything, so that the sender comes to read the answer.
async fn discard(mut body: Body) {
    let reading = async {
        let mut left = 2 * MAX_BODY;
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, reading).await;
}

/// GitHub's are GUIDs. Ours hold a colon, so that no delivery can take the place of an intent of our own.
fn is_delivery_id(id: &str) -> bool {
    (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn is_event(event: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=64).contains(&event.len()) && event != OWN_EVENT && event.bytes().all(legal)
}

/// A cheap look at whether the body can be what it says it is: one pass over it, nothing built.
fn broken(content_type: &str, body: &[u8]) -> Option<String> {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        let has = body.split(|byte| *byte == b'&').any(|pair| pair.starts_with(b"payload="));
        return (!has).then(|| "the form has no `payload` field".to_owned());
    }
    if !essence.is_empty() && !essence.eq_ignore_ascii_case("application/json") {
        return Some("content type must be application/json or application/x-www-form-urlencoded".to_owned());
    }
    serde_json::from_slice::<serde::de::IgnoredAny>(body).err().map(|error| format!("not JSON: {error}"))
}

/// Well: a small record can be written. Tried at most every few seconds, however often somebody asks.
async fn health(State(public): State<Arc<Public>>) -> Response {
    let mut checked = public.checked.lock().await;
    let writable = match *checked {
        Some((at, writable)) if at.elapsed() < CHECK_EVERY => writable,
        _ => {
            let store = &public.service.inner.store;
            let now = public.service.inner.clock.now().to_string();
            let written = tokio::time::timeout(CHECK_EVERY, store.meta_put("health.checked", &now)).await;
            if !matches!(written, Ok(Ok(()))) {
                tracing::warn!(?written, "unhealthy: nothing can be written");
            }
            let writable = matches!(written, Ok(Ok(())));
            *checked = Some((Instant::now(), writable));
            writable
        }
    };
    match writable {
        true => (StatusCode::OK, axum::Json(json!({"status": "ok"}))).into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, axum::Json(json!({"status": "store unavailable"}))).into_response(),
    }
}

async fn metrics(State(public): State<Arc<Public>>) -> Response {
    let inner = &public.service.inner;
    let (inbox, outbox) = inner.store.depths().await.unwrap_or_default();
    inner.metrics.depths(inbox, outbox);
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], inner.metrics.text()).into_response()
}
