//! What stages of pipelines need of the world beside the platforms: probes, parameters of SSM, images in other registries.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use landfall_ci::probe::{judge, shown, target};
use landfall_local::LocalSecrets;
use landfall_model::app::App;
use landfall_model::probe::Probe;
use landfall_model::task::SecretRef;
use landfall_ports::pipelines::Outside;
use landfall_ports::secrets::SecretStore;
use landfall_ports::{Lazy, PortError, PortResult};
use landfall_registry::watch::Quiet;
use landfall_registry::{Push, Reference};

use crate::commands::push::client_of;
use crate::commands::verify;
use crate::error::CliResult;
use crate::places::Places;

/// One try; what takes longer has not answered.
const TRY: Duration = Duration::from_secs(10);
/// Lines of an answer that was not right.
const LINES: usize = 5;

pub(crate) struct Beyond {
    app: App,
    state: PathBuf,
    parameters: BTreeMap<String, Arc<dyn SecretStore>>,
    client: Lazy<reqwest::Client>,
    places: Arc<Places>,
}

impl Beyond {
    pub(crate) fn new(app: &App, state: &Path, places: Arc<Places>) -> CliResult<Self> {
        let mut parameters: BTreeMap<String, Arc<dyn SecretStore>> = BTreeMap::new();
        for environment in app.environments.values() {
            let store: Arc<dyn SecretStore> = match &environment.on {
                None => Arc::new(LocalSecrets::new(state)),
                Some(on) => places.secrets(on)?,
            };
            parameters.insert(environment.name.clone(), store);
        }
        let client = Lazy::new(|| verify::client().map_err(|error| PortError::Bug(error.message)));
        Ok(Self { app: app.clone(), state: state.to_owned(), parameters, client, places })
    }

    fn store(&self, environment: &str) -> PortResult<&Arc<dyn SecretStore>> {
        let found = self.parameters.get(environment);
        found.ok_or_else(|| PortError::NotFound(format!("there is no environment {environment}")))
    }
}

/// Names under `localhost` are this machine's (RFC 6761), whatever its resolver knows of them.
pub(crate) fn here(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?']).next()?;
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, if scheme == "https" { "443" } else { "80" }));
    (scheme == "http" && host.ends_with(".localhost")).then(|| format!("127.0.0.1:{port}"))
}

fn reference(name: &str) -> SecretRef {
    SecretRef::Ssm(name.to_owned())
}

#[async_trait]
impl Outside for Beyond {
    async fn probe(&self, url: &str, through: Option<&str>, probe: &Probe) -> Result<(), String> {
        let client = self.client.get().map_err(|error| error.to_string())?;
        // The path is the URL's own; `target` only turns it to who is asked instead.
        let own = here(url);
        let (url, host) = target(url, "", through.or(own.as_deref()));
        let answer = verify::get(client, &url, host.as_deref(), TRY).await?;
        judge(probe, &answer).map_err(|wrong| {
            let said = shown(&answer);
            let said: Vec<&str> = said.lines().take(LINES).collect();
            format!("{} ({})", wrong.join("; "), said.join(" | "))
        })
    }

    async fn alarms(&self, environment: &str, names: &[String]) -> PortResult<Vec<String>> {
        let on = self.app.environments.get(environment).and_then(|found| found.on.as_deref());
        let on = on.ok_or_else(|| PortError::Invalid(format!("environment {environment} is not on AWS")))?;
        self.places.alarms(on, names).await
    }

    async fn copy(&self, image: &str, to: &str, tags: &[String]) -> PortResult<String> {
        let from = Reference::parse(image)?;
        let to = Reference::parse(to)?;
        let digest = image.rsplit_once("sha256:").map(|(_, hex)| hex).unwrap_or_default();
        // A registry may remove what no tag names. This one says what it names and is never given to anything else.
        let lasting = format!("landfall-{}", digest.get(..12).unwrap_or(digest));
        let tags: Vec<String> = std::iter::once(lasting).chain(tags.iter().cloned()).collect();
        let layers = self.state.join("layers");
        let failed = |error: std::io::Error| PortError::Unavailable(format!("{}: {error}", layers.display()));
        std::fs::create_dir_all(&layers).map_err(failed)?;
        let scratch = tempfile::tempdir_in(&layers).map_err(failed)?;
        let (app, repository) = (self.app.clone(), to.repository.clone());
        // On a thread of its own: layers are read and written as they come, and the future cannot change threads.
        let copying = tokio::task::spawn_blocking(move || {
            let push =
                Push { repository: &repository, tags: &tags, immutable: false, create_repository: false, mounts: &[] };
            let client = client_of(&app, Arc::new(Quiet));
            tokio::runtime::Handle::current().block_on(client.copy(&from, &push, scratch.path()))
        });
        let copied =
            copying.await.map_err(|error| PortError::Unavailable(format!("the copy was cut off: {error}")))??;
        let copied = copied.ok_or_else(|| PortError::NotFound(format!("{image}: there is no such image")))?;
        Ok(format!("{}@{}", to.repository, copied.digest))
    }

    async fn parameter(&self, environment: &str, name: &str) -> PortResult<Option<String>> {
        let value = self.store(environment)?.read(&reference(name)).await?;
        Ok(value.map(|value| value.expose().to_owned()))
    }

    async fn put_parameter(&self, environment: &str, name: &str, value: &str) -> PortResult<()> {
        self.store(environment)?.write_open(name, value).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_under_localhost_are_here() {
        assert_eq!(here("http://dev.shop.localhost:8080/health").as_deref(), Some("127.0.0.1:8080"));
        assert_eq!(here("http://dev.shop.localhost?x").as_deref(), Some("127.0.0.1:80"));
        for other in
            ["https://dev.shop.localhost/", "http://localhost.example/", "http://example.com:80/", "dev.localhost"]
        {
            assert_eq!(here(other), None, "{other}");
        }
    }
}
