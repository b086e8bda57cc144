//! Images: built from a checkout, or looked up by reference. Builds run in the background of the adapter under a key.

use async_trait::async_trait;
use landfall_model::inventory::{Listing, OwnedResource};
use landfall_model::step::{AwaitImage, BuildImage};
use serde::{Deserialize, Serialize};

use crate::PortResult;

#[async_trait]
pub trait Images: Send + Sync {
    /// Starts the build in the background, or joins the one under this key. Natural: built before gives `Done` at once.
    async fn start_build(&self, key: &str, request: &BuildImage) -> PortResult<BuildState>;
    /// `Unknown` after a restart of this process: start it again.
    async fn poll_build(&self, key: &str) -> PortResult<BuildState>;
    async fn cancel_build(&self, key: &str) -> PortResult<()>;
    /// The pinned reference; `None` while it does not exist.
    async fn resolve(&self, request: &AwaitImage) -> PortResult<Option<String>>;
    async fn list_owned(&self, environment: Option<&str>) -> PortResult<Listing<OwnedResource>>;
    async fn delete_owned(&self, resource: &OwnedResource) -> PortResult<()>;
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildState {
    Unknown,
    /// Waiting for a build slot.
    Queued,
    Running {
        note: Option<String>,
    },
    Done {
        image: String,
        cached: bool,
    },
    Failed {
        message: String,
        tail: Vec<String>,
    },
}
