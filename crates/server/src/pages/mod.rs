//! Pages for people, on the public listener. Each is shown to whoever has a link that this installation has signed, and to nobody else.
//!
//! ```text
//! GET  /pipelines/runs/RUN?token=…   the link of a message, or of `landfall pipeline open`: verified, kept in a cookie of this page,
//!                                    and taken out of the address
//! GET  /pipelines/runs/RUN           shows; changes nothing, however often
//! POST /pipelines/runs/RUN           decides: with the cookie, a token that only this page has, and what was shown to who decides
//! ```
//!
//! A link is a claim under the installation's key (`landfall_pipeline::link`): whose it is, for which run, until when. One for an
//! approval is for one stage as it was shown, and decides once. What is decided, by whom and how is a record of the run's journal;
//! what was refused is in the log.

mod answer;
mod session;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use axum::routing::get;
use landfall_model::ids::RunId;
use landfall_pages::{RunPage, Viewer};
use landfall_pipeline::link::{PURPOSE, PURPOSE_PAGE};
use landfall_pipeline::{RunView, Signal, Via};

use crate::control::{Control, ControlError, ControlRequest, ControlResponse};
use crate::pipelines::{PAGE, PipelineRequest, PipelineResponse};
use crate::service::Service;
use answer::{Failed, redirect, shown};
use session::Session;

pub(crate) use session::sign_in;

/// A decision and a comment.
const LONGEST_FORM: usize = 16 * 1024;
const LONGEST_COMMENT: usize = 1_000;

struct Pages {
    service: Service,
}

pub(crate) fn router(service: Service) -> Router {
    Router::new()
        .route(&format!("{PAGE}{{run}}"), get(show).post(decide))
        .layer(DefaultBodyLimit::max(LONGEST_FORM))
        .with_state(Arc::new(Pages { service }))
}

impl Pages {
    async fn run(&self, run: &RunId) -> Result<RunView, Failed> {
        let request = PipelineRequest::Show { run: run.to_string() };
        match self.service.call(ControlRequest::Pipeline(request)).await {
            Ok(ControlResponse::Pipeline(PipelineResponse::Run(view))) => Ok(*view),
            Ok(_) => Err(Failed::broken("an answer to another question")),
            Err(error) => Err(error.into()),
        }
    }

    async fn key(&self) -> Result<Vec<u8>, Failed> {
        crate::pipelines::link_key(&self.service).await.map_err(|error| Failed::broken(&error.to_string()))
    }
}

async fn show(
    State(pages): State<Arc<Pages>>,
    Path(run): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    match page(&pages, &RunId::new(run), query.as_deref(), &headers).await {
        Ok(response) => response,
        Err(failed) => failed.response(),
    }
}

async fn page(pages: &Pages, run: &RunId, query: Option<&str>, headers: &HeaderMap) -> Result<Response, Failed> {
    let key = pages.key().await?;
    let now = pages.service.inner.clock.now();
    let path = format!("{PAGE}{run}");
    if let Some(token) = query.and_then(session::token) {
        let session = Session::of(&key, &token, run, now)?;
        let secure = pages.service.inner.config.public_url.as_ref().is_some_and(|url| url.starts_with("https://"));
        return Ok(redirect(&path, Some(session.cookie(&path, secure, now))));
    }
    let session = Session::of_headers(&key, headers, run, now)?;
    let view = pages.run(run).await?;
    let claim = &session.claim;
    let link = (claim.purpose == PURPOSE).then(|| (claim.stage.clone(), claim.fingerprint.clone()));
    let viewer = Viewer { name: claim.approver.clone(), link, csrf: session.csrf(&key) };
    let project = &pages.service.inner.app.project;
    Ok(shown(StatusCode::OK, RunPage { project, run: &view, path: &path, viewer: &viewer, now }.html()))
}

async fn decide(State(pages): State<Arc<Pages>>, Path(run): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    let run = RunId::new(run);
    match decided(&pages, &run, &headers, &body).await {
        Ok(response) => response,
        Err(failed) => {
            tracing::warn!(
                run = run.as_str(),
                status = failed.status.as_u16(),
                "a decision by page was refused: {}",
                failed.why
            );
            failed.back(format!("{PAGE}{run}")).response()
        }
    }
}

#[derive(Default)]
struct Form {
    csrf: String,
    decision: String,
    stage: String,
    fingerprint: String,
    comment: String,
}

impl Form {
    fn of(body: &[u8]) -> Self {
        let mut form = Self::default();
        for (name, value) in form_urlencoded::parse(body) {
            let field = match &*name {
                "csrf" => &mut form.csrf,
                "decision" => &mut form.decision,
                "stage" => &mut form.stage,
                "fingerprint" => &mut form.fingerprint,
                "comment" => &mut form.comment,
                _ => continue,
            };
            *field = value.into_owned();
        }
        form
    }
}

async fn decided(pages: &Pages, run: &RunId, headers: &HeaderMap, body: &[u8]) -> Result<Response, Failed> {
    let content = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if content.split(';').next().unwrap_or_default().trim() != "application/x-www-form-urlencoded" {
        let why = "a decision is a form's".to_owned();
        return Err(Failed::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Not understood", why));
    }
    if let Some(why) = session::from_elsewhere(headers) {
        return Err(Failed::new(StatusCode::FORBIDDEN, "Not from this page", why));
    }
    let key = pages.key().await?;
    let session = Session::of_headers(&key, headers, run, pages.service.inner.clock.now())?;
    let form = Form::of(body);
    if !session.knows(&key, &form.csrf) {
        let why = "the form is not of the page that this browser was shown; look at it again".to_owned();
        return Err(Failed::new(StatusCode::FORBIDDEN, "Not from this page", why));
    }
    let claim = session.claim;
    let link = claim.purpose == PURPOSE;
    // A link is for a stage as it was shown when it was sent; who is signed in was shown what the form says.
    if link && (form.stage != claim.stage || form.fingerprint != claim.fingerprint) {
        let why = "what this link was for has changed since it was sent; nothing was decided".to_owned();
        return Err(Failed::new(StatusCode::CONFLICT, "No longer what was shown", why));
    }
    let comment = form.comment.replace("\r\n", "\n").trim().chars().take(LONGEST_COMMENT).collect::<String>();
    let comment = Some(comment).filter(|text| !text.is_empty());
    let (by, nonce) = (claim.approver.clone(), link.then(|| claim.nonce.clone()));
    let via = if link { Via::Link } else { Via::Page };
    let fingerprint = form.fingerprint;
    let signal = match form.decision.as_str() {
        "approve" => Signal::Approve { by, via, fingerprint, comment, nonce },
        "reject" => Signal::Reject { by, via, fingerprint, comment, nonce },
        _ => {
            let why = "a decision is `approve` or `reject`".to_owned();
            return Err(Failed::new(StatusCode::BAD_REQUEST, "Not understood", why));
        }
    };
    let request = PipelineRequest::Signal { run: run.to_string(), signal };
    match pages.service.call(ControlRequest::Pipeline(request)).await {
        Ok(_) => {
            tracing::info!(run = run.as_str(), by = claim.approver, decision = form.decision, "decided by page");
            Ok(redirect(&format!("{PAGE}{run}"), None))
        }
        Err(error) => Err(error.into()),
    }
}

impl From<ControlError> for Failed {
    fn from(error: ControlError) -> Self {
        let why = error.to_string();
        match error {
            ControlError::NotFound(_) => Failed::new(StatusCode::NOT_FOUND, "No such run", why),
            ControlError::Conflict(_) => Failed::new(StatusCode::CONFLICT, "Nothing was decided", why),
            ControlError::Invalid(_) => Failed::new(StatusCode::BAD_REQUEST, "Not understood", why),
            _ => Failed::broken(&why),
        }
    }
}

/// What a signed-in person's link is for.
pub(crate) fn is_page(purpose: &str) -> bool {
    purpose == PURPOSE || purpose == PURPOSE_PAGE
}
