//! What may be asked of pipelines, by command, page or chat.

use std::collections::BTreeMap;
use std::time::Duration;

use landfall_model::Timestamp;
use landfall_model::ids::{EnvironmentId, RunId};
use landfall_model::pipeline::PipelineRelease;
use landfall_pipeline::{Input, RunState, RunSummary, RunView, Signal};
use serde::{Deserialize, Serialize};

use super::{Begin, begin, handle, read, tell, work};
use crate::control::ControlError;
use crate::deploy::{self, ReleaseSummary};
use crate::service::Inner;

type Answer<T> = Result<T, ControlError>;

const LONGEST_POLL: Duration = Duration::from_secs(60);

/// Runs are named by id, by number (`main#12`), or by their pipeline, which means its newest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PipelineRequest {
    /// Begins a run. Images that `release` does not hold are looked up.
    Run {
        pipeline: String,
        release: PipelineRelease,
        by: String,
    },
    /// Newest first. `all`: finished ones too.
    List {
        pipeline: Option<String>,
        all: bool,
        limit: usize,
    },
    Show {
        run: String,
    },
    Signal {
        run: String,
        signal: Signal,
    },
    /// Waits until the run has records after `version`, has finished or waits for people; at most `timeout_ms` (and 60 s).
    Watch {
        run: RunId,
        version: u64,
        timeout_ms: u64,
    },
    /// A link to the run's page, for who asks.
    Open {
        run: String,
        by: String,
    },
    /// What is released in an environment, and what its parameters say.
    Current {
        environment: String,
    },
}

impl PipelineRequest {
    pub(crate) fn begins_nothing(&self) -> bool {
        !matches!(self, Self::Run { .. } | Self::Signal { .. } | Self::Open { .. })
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PipelineResponse {
    /// Of `Run`, `Show` and `Watch`.
    Run(Box<RunView>),
    List(Vec<RunSummary>),
    /// What became of a signal that was taken. One that was not is a `Conflict`, with the reason.
    Signal {
        run: Box<RunView>,
        message: String,
    },
    Open {
        url: String,
    },
    Current(Box<Current>),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Current {
    pub environment: String,
    pub id: EnvironmentId,
    /// `None`: nothing was released there by this installation; or it is a stack.
    pub release: Option<ReleaseSummary>,
    /// Of an environment that is one, and is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<CurrentStack>,
    pub parameters: Vec<CurrentParameter>,
}

/// What a stack says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CurrentStack {
    pub name: String,
    pub status: String,
    pub changed: Option<Timestamp>,
    /// `service/container` → image, of those that come with releases.
    pub images: BTreeMap<String, String>,
    /// Of the run that brought these very images.
    pub commit: Option<String>,
}

/// A parameter with the release's image tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CurrentParameter {
    pub name: String,
    /// What it says; `None`: it is not there, or cannot be read.
    pub value: Option<String>,
    /// What it should say.
    pub expected: Option<String>,
    /// Why it could not be read.
    pub error: Option<String>,
}

pub(crate) async fn answer(inner: &Inner, request: PipelineRequest) -> Answer<PipelineResponse> {
    read(inner).await?;
    Ok(match request {
        PipelineRequest::Run { pipeline, release, by } => {
            let unpinned = release.unpinned();
            if !unpinned.is_empty() {
                let message = format!(
                    "no digest of {}: a pipeline deploys nothing that is not known by digest",
                    unpinned.join(", ")
                );
                return Err(ControlError::Invalid(message));
            }
            let name = named(inner, &pipeline)?;
            let wanted = Begin { pipeline: name, release, by, trigger: "asked for".to_owned(), key: None };
            let run = begin(inner, wanted).await?;
            let run = run.ok_or_else(|| ControlError::NotFound(format!("no pipeline `{pipeline}`")))?;
            PipelineResponse::Run(Box::new(run.view()))
        }
        PipelineRequest::List { pipeline, all, limit } => {
            let pipeline = pipeline.map(|name| named(inner, &name)).transpose()?;
            let mut list = inner.pipelines.summaries();
            list.retain(|one| pipeline.as_ref().is_none_or(|name| *name == one.pipeline));
            list.retain(|one| all || !one.state.is_finished());
            list.truncate(limit);
            PipelineResponse::List(list)
        }
        PipelineRequest::Show { run } => PipelineResponse::Run(Box::new(find(inner, &run)?)),
        PipelineRequest::Signal { run, signal } => {
            let id = find(inner, &run)?.id;
            let answer = handle(inner, &id, Input::Signal(signal)).await?;
            let answer = answer.ok_or_else(|| ControlError::Internal("nobody answered".to_owned()))?;
            let message = answer.map_err(|refused| ControlError::Conflict(refused.to_string()))?;
            PipelineResponse::Signal { run: Box::new(view(inner, &id)?), message }
        }
        PipelineRequest::Watch { run, version, timeout_ms } => {
            PipelineResponse::Run(Box::new(watch(inner, &run, version, timeout_ms).await?))
        }
        PipelineRequest::Open { run, by } => PipelineResponse::Open { url: open(inner, &run, &by).await? },
        PipelineRequest::Current { environment } => {
            PipelineResponse::Current(Box::new(current(inner, &environment).await?))
        }
    })
}

/// Who may ask this may decide by command too: the link is for who asked, and shows one run.
async fn open(inner: &Inner, run: &str, by: &str) -> Answer<String> {
    let id = find(inner, run)?.id;
    let listens = inner.listen.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    let base = match (&inner.config.public_url, listens) {
        (Some(url), _) => url.trim_end_matches('/').to_owned(),
        (None, Some(address)) => format!("http://{address}"),
        (None, None) => {
            let message = "no server listens here: `landfall serve` has the pages".to_owned();
            return Err(ControlError::Invalid(message));
        }
    };
    let key = tell::key(inner).await?;
    let token = crate::pages::sign_in(&key, &id, by, inner.clock.now(), inner.clock.entropy());
    Ok(format!("{base}{}{id}?token={token}", tell::PAGE))
}

/// By name; the manifest's only one where none is given.
fn named(inner: &Inner, name: &str) -> Answer<String> {
    let all: Vec<&str> = inner.app.pipelines.keys().map(String::as_str).collect();
    match (name, all.as_slice()) {
        ("", [only]) => Ok((*only).to_owned()),
        (_, []) => Err(ControlError::NotFound("the manifest has no `pipelines`".to_owned())),
        ("", all) => Err(ControlError::Invalid(format!("say which pipeline: {}", all.join(", ")))),
        (name, all) if all.contains(&name) => Ok(name.to_owned()),
        (name, all) => Err(ControlError::NotFound(format!("no pipeline `{name}`; there is {}", all.join(", ")))),
    }
}

fn view(inner: &Inner, id: &RunId) -> Answer<RunView> {
    let found = inner.pipelines.views().into_iter().find(|view| view.id == *id);
    found.ok_or_else(|| ControlError::NotFound(format!("no run {id}; `landfall pipeline list` shows them")))
}

fn find(inner: &Inner, text: &str) -> Answer<RunView> {
    if text.starts_with("run_") {
        return view(inner, &text.into());
    }
    let (name, number) = match text.rsplit_once('#') {
        Some((name, number)) => {
            let number: u64 = number.parse().map_err(|_| ControlError::Invalid(format!("`{text}` names no run")))?;
            (named(inner, name)?, Some(number))
        }
        None => (named(inner, text)?, None),
    };
    let all = inner.pipelines.views().into_iter().filter(|view| view.pipeline == name);
    let found = all.filter(|view| number.is_none_or(|number| view.number == number)).max_by_key(|view| view.number);
    found.ok_or_else(|| match number {
        Some(number) => ControlError::NotFound(format!("no run {name}#{number}; `landfall pipeline list` shows them")),
        None => ControlError::NotFound(format!("pipeline {name} never ran; `landfall pipeline run {name}` begins one")),
    })
}

async fn watch(inner: &Inner, id: &RunId, version: u64, timeout_ms: u64) -> Answer<RunView> {
    let deadline = tokio::time::Instant::now() + Duration::from_millis(timeout_ms).min(LONGEST_POLL);
    let mut changed = inner.pipelines.subscribe();
    loop {
        changed.borrow_and_update();
        let view = view(inner, id)?;
        let rests = view.state.is_finished() || view.state == RunState::AwaitingApproval;
        let late = tokio::time::Instant::now() >= deadline;
        if rests || view.version > version || late || inner.shutdown.is_cancelled() {
            return Ok(view);
        }
        tokio::select! {
            _ = changed.changed() => {}
            () = inner.shutdown.cancelled() => {}
            () = tokio::time::sleep_until(deadline) => {}
        }
    }
}

async fn current(inner: &Inner, name: &str) -> Answer<Current> {
    let place = deploy::place(inner, name)?;
    let name = place.environment.name.clone();
    let release = deploy::releases(inner, &name, 1, false).await?.into_iter().find(|one| one.present);
    let stack = match place.environment.stack {
        Some(_) => super::stack::current(inner, place.environment).await.map_err(ControlError::Unavailable)?,
        None => None,
    };
    let commit = release.as_ref().and_then(|release| release.commit.clone());
    let commit = stack.as_ref().map_or(commit, |stack| stack.commit.clone());
    // Of what runs only the commit is known: a tag that is named after a branch is not.
    let known = PipelineRelease { commit, ..PipelineRelease::default() };
    let mut parameters = BTreeMap::new();
    let stages = inner.app.pipelines.values().flat_map(|pipeline| &pipeline.stages);
    for work in stages.filter(|stage| stage.environment == name).flat_map(|stage| &stage.run) {
        for (parameter, service) in work.parameters(&place.environment.services) {
            parameters.insert(parameter, work::image_tag(inner, service, &known).ok());
        }
    }
    let mut found = Vec::new();
    for (parameter, expected) in parameters {
        let (value, error) = match inner.outside.parameter(&name, &parameter).await {
            Ok(value) => (value, None),
            Err(error) => (None, Some(error.to_string())),
        };
        found.push(CurrentParameter { name: parameter, value, expected, error });
    }
    Ok(Current { environment: name, id: place.id, release, stack, parameters: found })
}
