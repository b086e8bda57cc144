//! Hooks that are pipelines of CircleCI: triggered over its API v2, and followed where the hook says `wait`.
//!
//! To trigger has no idempotency key: the API takes none, and a parameter that carried one would have to be declared by every
//! project. So it is done once. What is about to be triggered is written down before the request, and the pipeline's id right
//! after the answer: a restart between the two leaves it unknown whether a pipeline runs, and the hook is then treated as any
//! other that may not run twice (an operator decides, or `rerunnable: true` does). From the answer on nothing is in doubt: the
//! pipeline is followed on by its id, whatever restarts.
//!
//! Sources: CircleCI's API v2 reference (`triggerPipeline`, `getPipelineById`, `listWorkflowsByPipelineId`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use landfall_model::app::{CircleCi, HookAction};
use landfall_model::step::RunHook;
use landfall_ports::secrets::SecretStore;
use landfall_ports::steps::HookState;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{secrets, state};

/// Of one request.
const TIMEOUT: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Requests to trigger that certainly triggered nothing: refused connections, too many requests.
const ATTEMPTS: u32 = 5;
const LONGEST_TEXT: usize = 500;

/// What is known of a hook's pipeline, on disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) hook: RunHook,
    pub(crate) pipeline: Option<Pipeline>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pipeline {
    id: String,
    #[serde(default)]
    number: u64,
}

pub(crate) fn record_path(base: &Path) -> PathBuf {
    base.with_extension("circleci")
}

/// A pipeline that a former process, or a former attempt, has triggered for this key.
pub(crate) fn triggered(base: &Path) -> Option<Record> {
    let record = state::read_json::<Record>(&record_path(base)).ok().flatten()?;
    record.pipeline.is_some().then_some(record)
}

/// Triggers, where that was not done, and follows to the end where the hook says so.
pub(crate) async fn run(http: &reqwest::Client, store: &dyn SecretStore, hook: &RunHook, base: &Path) -> HookState {
    let HookAction::CircleCi(wanted) = &hook.action else { return failed(hook, None, "is no pipeline") };
    let work = async {
        let token = secrets::read(store, &wanted.token).await.map_err(|error| (None, error.to_string()))?;
        let api = Api { http, host: &wanted.host, token: &token };
        let pipeline = match triggered(base).and_then(|record| record.pipeline) {
            Some(pipeline) => pipeline,
            None => {
                let keep = |pipeline| {
                    let record = Record { hook: hook.clone(), pipeline };
                    state::write_json(&record_path(base), &record).map_err(|error| (None, error.to_string()))
                };
                keep(None)?;
                let pipeline = api.trigger(wanted, &hook.environment).await?;
                keep(Some(pipeline.clone()))?;
                pipeline
            }
        };
        let place = format!("pipeline {} of {}: {}", pipeline.number, wanted.project, pipeline.id);
        if !wanted.wait {
            return Ok(vec![place]);
        }
        let mut tail = api.follow(&pipeline).await.map_err(|(code, why)| (code, format!("{place}: {why}")))?;
        tail.insert(0, place);
        Ok::<_, (Option<i64>, String)>(tail)
    };
    match tokio::time::timeout(Duration::from_secs(u64::from(hook.timeout.max(1))), work).await {
        Ok(Ok(tail)) => HookState::Succeeded { code: 201, tail },
        Ok(Err((code, why))) => failed(hook, code, &why),
        Err(_) => failed(hook, None, &format!("took longer than {} s; the pipeline goes on", hook.timeout)),
    }
}

fn failed(hook: &RunHook, code: Option<i64>, why: &str) -> HookState {
    HookState::Failed { code, message: format!("hook {}: {why}", hook.name), tail: Vec::new() }
}

type Failure = (Option<i64>, String);

struct Api<'a> {
    http: &'a reqwest::Client,
    host: &'a str,
    token: &'a str,
}

impl Api<'_> {
    async fn trigger(&self, wanted: &CircleCi, environment: &BTreeMap<String, String>) -> Result<Pipeline, Failure> {
        let url = format!("{}/api/v2/project/{}/pipeline", self.host, wanted.project);
        let body = request(wanted, environment).to_string();
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            let request = self.http.post(&url).header("content-type", "application/json").body(body.clone());
            let (code, answer) = match self.send(request).await {
                Ok(answer) => answer,
                // Nothing was sent.
                Err(error) if error.is_connect() && attempt < ATTEMPTS => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    continue;
                }
                Err(error) => {
                    let what = if error.is_connect() { "was not triggered" } else { "may have been triggered" };
                    return Err((None, format!("the pipeline {what}: {}", error.without_url())));
                }
            };
            return match (code, answer["id"].as_str()) {
                (429, _) if attempt < ATTEMPTS => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    continue;
                }
                (200..=299, Some(id)) => {
                    Ok(Pipeline { id: id.to_owned(), number: answer["number"].as_u64().unwrap_or_default() })
                }
                (200..=299, None) => Err((Some(code), "CircleCI took it and did not say which pipeline".to_owned())),
                (500.., _) => {
                    let why = format!("the pipeline may have been triggered: {}", said(&answer));
                    Err((Some(code), why))
                }
                _ => Err((Some(code), format!("CircleCI refused it: {}{}", said(&answer), hint(code)))),
            };
        }
        Err((None, "the pipeline was not triggered".to_owned()))
    }

    /// Until the pipeline has all its workflows and each has ended. What cannot be asked for now is asked for later.
    async fn follow(&self, pipeline: &Pipeline) -> Result<Vec<String>, Failure> {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.look(pipeline).await {
                Ok(Some(ended)) => return ended,
                Ok(None) => {}
                Err(error) => tracing::debug!(error = %error.without_url(), "CircleCI cannot be asked"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(LONGEST_PAUSE);
        }
    }

    async fn look(&self, pipeline: &Pipeline) -> Result<Option<Result<Vec<String>, Failure>>, reqwest::Error> {
        let url = format!("{}/api/v2/pipeline/{}", self.host, pipeline.id);
        let (code, about) = self.send(self.http.get(&url)).await?;
        if matches!(code, 401 | 403 | 404) {
            return Ok(Some(Err((Some(code), format!("CircleCI refused to tell: {}{}", said(&about), hint(code))))));
        }
        let mut workflows = Vec::new();
        let mut page = String::new();
        loop {
            let mut place = format!("{url}/workflow");
            if !page.is_empty() {
                let paged = reqwest::Url::parse_with_params(&place, [("page-token", &page)]);
                place = paged.map_or(place, |paged| paged.to_string());
            }
            let request = self.http.get(place);
            let (code, answer) = self.send(request).await?;
            if code != 200 {
                return Ok(None);
            }
            workflows.extend(answer["items"].as_array().into_iter().flatten().map(Workflow::read));
            match answer["next_page_token"].as_str().filter(|next| !next.is_empty() && **next != *page) {
                Some(next) => next.clone_into(&mut page),
                None => break,
            }
        }
        Ok(ended(&about, &workflows))
    }

    /// Status and JSON; `Null` for what is none.
    async fn send(&self, request: reqwest::RequestBuilder) -> Result<(i64, Value), reqwest::Error> {
        let response = request.header("Circle-Token", self.token).timeout(TIMEOUT).send().await?;
        let code = i64::from(response.status().as_u16());
        Ok((code, serde_json::from_slice(&response.bytes().await?).unwrap_or_default()))
    }
}

/// With the placeholders filled from what hooks are told of the preview.
fn request(wanted: &CircleCi, environment: &BTreeMap<String, String>) -> Value {
    let fill = |text: &str| {
        let mut text = text.to_owned();
        for (name, variable) in [
            ("{branch}", "LANDFALL_BRANCH"),
            ("{commit}", "LANDFALL_COMMIT"),
            ("{url}", "LANDFALL_URL"),
            ("{environment}", "LANDFALL_ENVIRONMENT"),
            ("{project}", "LANDFALL_PROJECT"),
            ("{hook}", "LANDFALL_HOOK"),
        ] {
            text = text.replace(name, environment.get(variable).map_or("", String::as_str));
        }
        text
    };
    let parameter = |(name, value): (&String, &Value)| {
        let value = value.as_str().map_or_else(|| value.clone(), |text| Value::String(fill(text)));
        (name.clone(), value)
    };
    let parameters: serde_json::Map<_, _> = wanted.parameters.iter().map(parameter).collect();
    let mut body = json!({"branch": fill(&wanted.branch)});
    if !parameters.is_empty() {
        body["parameters"] = Value::Object(parameters);
    }
    body
}

struct Workflow {
    name: String,
    status: String,
    created_at: String,
}

impl Workflow {
    fn read(item: &Value) -> Self {
        let text = |key: &str| item[key].as_str().unwrap_or_default().to_owned();
        Self { name: text("name"), status: text("status"), created_at: text("created_at") }
    }
}

/// `None`: it goes on. A workflow that was run again counts as it ended last.
fn ended(pipeline: &Value, workflows: &[Workflow]) -> Option<Result<Vec<String>, Failure>> {
    let state = pipeline["state"].as_str().unwrap_or_default();
    if state == "errored" {
        let errors: Vec<&str> =
            pipeline["errors"].as_array().into_iter().flatten().filter_map(|error| error["message"].as_str()).collect();
        let why: String = errors.join("; ").chars().take(LONGEST_TEXT).collect();
        return Some(Err((None, format!("its configuration is in error: {why}"))));
    }
    let mut last: BTreeMap<&str, &Workflow> = BTreeMap::new();
    for workflow in workflows {
        let seen = last.entry(&workflow.name).or_insert(workflow);
        // RFC 3339 in UTC: the later text is the later time.
        if seen.created_at < workflow.created_at {
            *seen = workflow;
        }
    }
    let line = |workflow: &&Workflow| format!("workflow {}: {}", workflow.name, workflow.status);
    let bad = |workflow: &&&Workflow| {
        matches!(workflow.status.as_str(), "failed" | "error" | "canceled" | "cancelled" | "unauthorized")
    };
    let lost: Vec<String> = last.values().filter(bad).map(line).collect();
    if !lost.is_empty() {
        return Some(Err((None, lost.join("; "))));
    }
    let well = |workflow: &&Workflow| matches!(workflow.status.as_str(), "success" | "not_run");
    let done = state == "created" && last.values().all(well) && last.values().any(|one| one.status == "success");
    done.then(|| Ok(last.values().map(line).collect()))
}

fn said(answer: &Value) -> String {
    let message = answer["message"].as_str().unwrap_or("it did not say why");
    message.chars().take(LONGEST_TEXT).collect()
}

fn hint(code: i64) -> &'static str {
    match code {
        401 | 403 => "; a personal API token is needed, of somebody who may build the project",
        404 => "; is the project's slug right, and may the token's owner see it?",
        400 => "; each parameter must be declared in the project's configuration, with this type",
        _ => "",
    }
}

#[cfg(test)]
#[path = "circleci_tests.rs"]
mod tests;
