//! Pushes that begin runs.

use landfall_github::parse;
use landfall_model::event::ForgeEventKind;
use landfall_model::pipeline::PipelineRelease;
use landfall_planner::route::{begins, repository_key};
use landfall_ports::store::{NewDelivery, StoreResult};

use super::{Begin, begin};
use crate::inbox::OWN_EVENT;
use crate::service::Inner;

/// The runs that this delivery begins, in words. The same delivery begins each once.
pub(crate) async fn pushed(inner: &Inner, delivery: &NewDelivery) -> StoreResult<Vec<String>> {
    let nobody = inner.app.pipelines.values().all(|pipeline| pipeline.on.branches.is_empty());
    if nobody || delivery.event == OWN_EVENT {
        return Ok(Vec::new());
    }
    let Ok(event) = parse(&delivery.id, &delivery.event, &delivery.content_type, &delivery.body) else {
        return Ok(Vec::new());
    };
    let ForgeEventKind::Pushed { branch, commit } = &event.kind else { return Ok(Vec::new()) };
    if repository_key(&inner.app, &event.repository).is_none() {
        return Ok(Vec::new());
    }
    let by = event.sender.as_ref().map_or_else(|| "github".to_owned(), |sender| format!("github:{sender}"));
    let mut begun = Vec::new();
    for pipeline in inner.app.pipelines.values().filter(|pipeline| begins(pipeline, branch)) {
        let release = PipelineRelease {
            commit: Some(commit.clone()),
            branch: Some(branch.clone()),
            ..PipelineRelease::default()
        };
        let wanted = Begin {
            pipeline: pipeline.name.clone(),
            release,
            by: by.clone(),
            trigger: format!("push to {branch}"),
            key: Some(format!("{}/{}", delivery.id, pipeline.name)),
        };
        if let Some(run) = begin(inner, wanted).await? {
            begun.push(format!("{} #{}", pipeline.name, run.seq()));
        }
    }
    Ok(begun)
}
