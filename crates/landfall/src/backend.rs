//! Where environments run: in this machine's containers, or at a place on AWS that the manifest names. One of the two is put
//! behind the ports, and nothing else knows which.

use std::path::Path;
use std::sync::Arc;

use landfall_local::{LocalOptions, LocalPlatform};
use landfall_model::app::App;
use landfall_ports::Platform;

use crate::commands::serve::router_command;
use crate::commands::{engine_options, port_error};
use crate::error::CliResult;
use crate::places::Places;

/// Every question there counts against a limit of the whole account, and what is asked about takes many seconds.
#[cfg(feature = "aws")]
const AWS_POLL_MS: u64 = 1_000;

pub(crate) enum Backend {
    Local(LocalPlatform),
    #[cfg(feature = "aws")]
    Aws(Platform),
}

impl Backend {
    /// Finds the container engine, or asks AWS who we are there; takes over what runs. Completes `app` with what only the
    /// platform knows.
    pub(crate) async fn connect(state: &Path, app: &mut App, instance: &str, places: &Places) -> CliResult<Self> {
        match app.preview_target().map(|target| target.name.clone()) {
            Some(target) => Self::aws(state, &target, app, places).await,
            None => Self::local(state, app, instance).await,
        }
    }

    async fn local(state: &Path, app: &App, instance: &str) -> CliResult<Self> {
        let router_state = state.to_owned();
        let options = LocalOptions {
            engine: engine_options(),
            router: Some(Arc::new(move || router_command(&router_state))),
            concurrent_builds: app
                .previews
                .as_ref()
                .map_or(2, |previews| previews.limits.concurrent_builds.max(1) as usize),
            ..LocalOptions::new(state, instance)
        };
        let local = LocalPlatform::connect(options).await.map_err(port_error)?;
        local.start().await.map_err(port_error)?;
        Ok(Self::Local(local))
    }

    #[cfg(feature = "aws")]
    async fn aws(state: &Path, name: &str, app: &mut App, places: &Places) -> CliResult<Self> {
        let aws = places.get(name)?;
        let refused = |error| crate::places::refused(name, error);
        let account = aws.account().await.map_err(refused)?;
        tracing::info!(target = name, account, region = aws.region(), "environments run on AWS");
        if let Some(target) = app.aws.get_mut(name)
            && target.load_balancer.is_some()
            && target.address.is_none()
        {
            target.address = Some(aws.load_balancer_address().await.map_err(refused)?);
        }
        let host = landfall_local::host::Host::new(state).map_err(port_error)?;
        Ok(Self::Aws(Platform {
            orchestrator: aws.orchestrator(),
            load_balancer: aws.load_balancer(),
            images: aws.images(Some(host.images)),
            hooks: aws.hooks(host.hooks),
            min_poll_ms: AWS_POLL_MS,
        }))
    }

    #[cfg(not(feature = "aws"))]
    #[allow(clippy::unused_async)]
    async fn aws(_state: &Path, name: &str, _app: &mut App, _places: &Places) -> CliResult<Self> {
        Err(crate::places::without(name, "where the previews run"))
    }

    pub(crate) fn ports(&self) -> Platform {
        match self {
            Self::Local(local) => local.ports(),
            #[cfg(feature = "aws")]
            Self::Aws(platform) => platform.clone(),
        }
    }

    /// Loops end; containers and routes stay.
    pub(crate) fn shutdown(&self) {
        match self {
            Self::Local(local) => local.shutdown(),
            #[cfg(feature = "aws")]
            Self::Aws(_) => {}
        }
    }
}
