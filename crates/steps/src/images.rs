//! image.build, image.await.

use landfall_model::inventory::{ResourceKind, TAG_ENVIRONMENT};
use landfall_model::step::{AwaitImage, BuildImage};
use landfall_ports::images::BuildState;
use landfall_ports::steps::{Progress, StepContext};
use serde_json::{Value, json};

use crate::error::{deleting, fatal, port, with_detail};
use crate::{LATER_MS, SOON_MS, StepResult, Steps, codes, done, pending};

impl Steps {
    /// Natural: a build under the same key is joined, an image of the same commit is found.
    pub(crate) async fn start_build(&self, cx: &StepContext, params: &BuildImage) -> StepResult {
        let state = self.platform.images.start_build(cx.key.as_str(), params).await.map_err(port)?;
        build_progress(params, state)
    }

    pub(crate) async fn poll_build(&self, cx: &StepContext, params: &BuildImage) -> StepResult {
        match self.platform.images.poll_build(cx.key.as_str()).await.map_err(port)? {
            // Landfall restarted, and the build with it.
            BuildState::Unknown => self.start_build(cx, params).await,
            state => build_progress(params, state),
        }
    }

    /// Only this step's image: another build's may be in use until its own step is undone.
    pub(crate) async fn undo_build(&self, cx: &StepContext, params: &BuildImage, output: Option<&Value>) -> StepResult {
        let images = &self.platform.images;
        images.cancel_build(cx.key.as_str()).await.map_err(port)?;
        let environment = params.tags.get(TAG_ENVIRONMENT).map(String::as_str);
        let built = output.and_then(|output| output.get("image")).and_then(Value::as_str);
        for image in self.made_by(cx, images.list_owned(environment).await, ResourceKind::Image)? {
            // Engines put their own prefix before the name and a digest after it.
            if Some(image.id.as_str()) == built || image.name.contains(&params.tag) {
                deleting(images.delete_owned(&image).await)?;
            }
        }
        Ok(done())
    }

    pub(crate) async fn await_image(&self, params: &AwaitImage) -> StepResult {
        match self.platform.images.resolve(params).await.map_err(port)? {
            Some(image) => Ok(Progress::Done(json!({"image": image}))),
            None => {
                let label = params.label.as_ref().map_or_else(String::new, |(k, v)| format!(" with label {k}={v}"));
                Ok(pending(8 * LATER_MS, format!("waiting for image {}{label}", params.image)))
            }
        }
    }
}

fn build_progress(params: &BuildImage, state: BuildState) -> StepResult {
    match state {
        BuildState::Unknown | BuildState::Running { note: None } => Ok(pending(SOON_MS, "building")),
        BuildState::Queued => Ok(pending(LATER_MS, "waiting for a build slot")),
        BuildState::Running { note: Some(note) } => Ok(pending(SOON_MS, note)),
        BuildState::Done { image, cached } => Ok(Progress::Done(json!({"image": image, "cached": cached}))),
        BuildState::Failed { message, tail } => {
            let error = fatal(codes::BUILD_FAILED, format!("building {} failed: {message}", params.tag));
            Err(with_detail(error, &tail))
        }
    }
}
