//! Where environments run: in this machine's containers, or at places on AWS that the manifest names. Previews have one of them,
//! each lasting environment its own; they are put behind the ports, and nothing else knows which.

use std::collections::BTreeMap;
use std::path::Path;

use landfall_model::app::App;
use landfall_ports::Platform;

use crate::commands::port_error;
use crate::error::CliResult;
use crate::lazy::LazyLocal;
use crate::places::Places;

/// Every question there counts against a limit of the whole account, and what is asked about takes many seconds.
#[cfg(feature = "aws")]
const AWS_POLL_MS: u64 = 1_000;

pub(crate) struct Backend {
    local: LazyLocal,
    previews: Platform,
    environments: BTreeMap<String, Platform>,
}

impl Backend {
    /// Nothing is asked of anybody yet.
    pub(crate) fn new(state: &Path, app: &App, instance: &str, places: &Places) -> CliResult<Self> {
        let builds = app.previews.as_ref().map_or(2, |previews| previews.limits.concurrent_builds.max(1) as usize);
        let local = LazyLocal::new(state.to_owned(), instance.to_owned(), builds);
        // One platform for each place, however many environments are there.
        let mut aws: BTreeMap<String, Platform> = BTreeMap::new();
        let mut at = |on: Option<&String>| -> CliResult<Platform> {
            let Some(on) = on else { return Ok(local.ports()) };
            if let Some(known) = aws.get(on) {
                return Ok(known.clone());
            }
            let platform = on_aws(state, on, places)?;
            aws.insert(on.clone(), platform.clone());
            Ok(platform)
        };
        let previews = at(app.preview_target().map(|target| &target.name))?;
        let environments = app.environments.iter().map(|(name, environment)| {
            Ok((name.clone(), at(environment.on.as_ref().filter(|on| app.aws.contains_key(*on)))?))
        });
        let environments = environments.collect::<CliResult<_>>()?;
        Ok(Self { local, previews, environments })
    }

    /// Where previews run, at once: finds the container engine, or asks AWS who we are there; takes over what runs. Completes
    /// `app` with what only the platform knows.
    pub(crate) async fn connect_previews(&self, app: &mut App, places: &Places) -> CliResult<()> {
        match app.preview_target().map(|target| target.name.clone()) {
            Some(target) => asked(&target, app, places).await,
            None => self.connect_local().await,
        }
    }

    /// This machine's containers, supervised from now on.
    pub(crate) async fn connect_local(&self) -> CliResult<()> {
        self.local.connect().await.map(|_| ()).map_err(port_error)
    }

    pub(crate) fn previews(&self) -> Platform {
        self.previews.clone()
    }

    /// By the environment's name.
    pub(crate) fn environments(&self) -> BTreeMap<String, Platform> {
        self.environments.clone()
    }

    /// Whatever is asked of this machine's containers is refused from now on, and why.
    pub(crate) fn refuse_local(&self, why: String) {
        self.local.refuse(why);
    }

    /// Loops end; containers and routes stay.
    pub(crate) fn shutdown(&self) {
        self.local.shutdown();
    }
}

/// Whether this machine runs services already, which a server is to supervise.
pub(crate) fn runs_here(state: &Path) -> bool {
    std::fs::read_dir(state.join("local").join("services")).is_ok_and(|mut services| services.next().is_some())
}

#[cfg(feature = "aws")]
fn on_aws(state: &Path, name: &str, places: &Places) -> CliResult<Platform> {
    let aws = places.get(name)?;
    let host = landfall_local::host::Host::new(state, aws.secrets()).map_err(port_error)?;
    Ok(Platform {
        orchestrator: aws.orchestrator(),
        load_balancer: aws.load_balancer(),
        images: aws.images(Some(host.images)),
        hooks: aws.hooks(host.hooks),
        min_poll_ms: AWS_POLL_MS,
    })
}

#[cfg(not(feature = "aws"))]
fn on_aws(_state: &Path, name: &str, _places: &Places) -> CliResult<Platform> {
    Err(crate::places::without(name, "where environments run"))
}

#[cfg(feature = "aws")]
async fn asked(name: &str, app: &mut App, places: &Places) -> CliResult<()> {
    let aws = places.get(name)?;
    let refused = |error| crate::places::refused(name, error);
    let account = aws.account().await.map_err(refused)?;
    tracing::info!(target = name, account, region = aws.region(), "previews run on AWS");
    if let Some(target) = app.aws.get_mut(name)
        && target.load_balancer.is_some()
        && target.address.is_none()
    {
        target.address = Some(aws.load_balancer_address().await.map_err(refused)?);
    }
    Ok(())
}

#[cfg(not(feature = "aws"))]
#[allow(clippy::unused_async)]
async fn asked(name: &str, _app: &mut App, _places: &Places) -> CliResult<()> {
    Err(crate::places::without(name, "where the previews run"))
}
