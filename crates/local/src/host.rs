//! What this machine does for environments that run elsewhere: command and HTTP hooks, and look-ups of images in
//! registries. No container engine is needed.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use landfall_model::inventory::{Listing, OwnedResource};
use landfall_model::step::{AwaitImage, BuildImage};
use landfall_ports::images::{BuildState, Images};
use landfall_ports::secrets::SecretStore;
use landfall_ports::steps::HookRunner;
use landfall_ports::{PortError, PortResult};
use landfall_registry::Client;
use landfall_registry::credentials::Places;

use crate::core::now;
use crate::hooks::LocalHooks;
use crate::http;

/// The ports that need this machine and nothing else of it.
pub struct Host {
    pub hooks: Arc<dyn HookRunner>,
    pub images: Arc<dyn Images>,
}

impl Host {
    /// `secrets`: where those of these environments are kept.
    pub fn new(state_dir: &Path, secrets: Arc<dyn SecretStore>) -> PortResult<Self> {
        let hooks = Arc::new(LocalHooks::new(http::http(), secrets, state_dir)?);
        Ok(Self { hooks, images: Arc::new(RegistryImages { registries: registries() }) })
    }
}

/// Registries, as this machine's user is logged in to them.
pub(crate) fn registries() -> Client {
    Client::new(places(), None)
}

/// Where this machine's user is logged in.
pub(crate) fn places() -> Places {
    Places::of(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

/// Images that others made, found by tag in their registry.
struct RegistryImages {
    registries: Client,
}

fn no_engine() -> PortError {
    PortError::Invalid("images are built on the local platform only; here they are awaited from a registry".to_owned())
}

#[async_trait]
impl Images for RegistryImages {
    async fn start_build(&self, _key: &str, _request: &BuildImage) -> PortResult<BuildState> {
        Err(no_engine())
    }

    async fn poll_build(&self, _key: &str) -> PortResult<BuildState> {
        Err(no_engine())
    }

    async fn cancel_build(&self, _key: &str) -> PortResult<()> {
        Ok(())
    }

    async fn resolve(&self, request: &AwaitImage) -> PortResult<Option<String>> {
        if request.label.is_some() {
            let message = "an image is found by label among local images only; give the awaited image a tag";
            return Err(PortError::Invalid(message.to_owned()));
        }
        self.registries.resolve(&request.image).await
    }

    async fn list_owned(&self, _environment: Option<&str>) -> PortResult<Listing<OwnedResource>> {
        Ok(Listing { items: Vec::new(), complete: true, at: now() })
    }

    async fn delete_owned(&self, resource: &OwnedResource) -> PortResult<()> {
        Err(PortError::NotFound(format!("{} is not an image of this machine", resource.name)))
    }
}
