//! The manifest's places on AWS. Without the feature `aws` there are none, and whatever needs one says so.

use std::sync::Arc;

use landfall_model::app::App;
use landfall_model::environment::Phase;
use landfall_model::task::SecretRef;
use landfall_ports::images::Images;
use landfall_ports::stacks::Stacks;
use landfall_ports::store::{Store, StoreError};
use landfall_ports::topic::{Subscriber, Topic};
use landfall_ports::{PortError, PortResult};

use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;

/// Connected to, but nothing is asked of AWS before something is needed.
pub(crate) struct Places {
    #[cfg(feature = "aws")]
    targets: std::collections::BTreeMap<String, landfall_aws::AwsPlatform>,
    /// Where secrets of ours are when they are on AWS: where the previews run, else the only place there is.
    home: Option<String>,
}

impl Places {
    pub(crate) async fn connect(app: &App, instance: &str) -> CliResult<Self> {
        let previews = app.preview_target().map(|target| target.name.clone());
        let only = (app.aws.len() == 1).then(|| app.aws.keys().next().cloned()).flatten();
        let home = previews.or(only);
        #[cfg(feature = "aws")]
        {
            let mut targets = std::collections::BTreeMap::new();
            for target in app.aws.values() {
                let options = landfall_aws::AwsOptions { instance: instance.to_owned() };
                let platform = landfall_aws::AwsPlatform::connect(target, options).await;
                let platform = platform.map_err(|error| refused(&target.name, error))?;
                targets.insert(target.name.clone(), platform);
            }
            Ok(Self { targets, home })
        }
        #[cfg(not(feature = "aws"))]
        {
            let _ = instance;
            Ok(Self { home })
        }
    }

    #[cfg(feature = "aws")]
    pub(crate) fn get(&self, name: &str) -> CliResult<&landfall_aws::AwsPlatform> {
        self.targets.get(name).ok_or_else(|| CliError::internal("a place on AWS that the manifest does not have"))
    }

    /// CloudFormation there, and the registries that its images are in.
    pub(crate) fn stacks(&self, name: &str) -> CliResult<(Arc<dyn Stacks>, Arc<dyn Images>)> {
        #[cfg(feature = "aws")]
        {
            let aws = self.get(name)?;
            Ok((aws.stacks(), aws.images(None)))
        }
        #[cfg(not(feature = "aws"))]
        Err(without(name, "where the stack is"))
    }

    /// Where the previews are, in words that change when they would be somewhere else: account, region, cluster, load
    /// balancer. AWS is asked for the account.
    #[cfg_attr(not(feature = "aws"), allow(clippy::unused_async))]
    pub(crate) async fn of_previews(&self, app: &App) -> CliResult<String> {
        let Some(target) = app.preview_target() else { return Ok("this machine".to_owned()) };
        #[cfg(feature = "aws")]
        {
            let platform = self.get(&target.name)?;
            let account = platform.account().await.map_err(|error| refused(&target.name, error))?;
            let last = |text: &str| text.rsplit('/').next().unwrap_or_default().to_owned();
            let balancer = target.load_balancer.as_deref().map_or_else(|| "no load balancer".to_owned(), balancer_name);
            Ok(format!("account {account}, {}, cluster {}, {balancer}", platform.region(), last(&target.cluster)))
        }
        #[cfg(not(feature = "aws"))]
        Err(without(&target.name, "where the previews run"))
    }

    #[cfg_attr(not(feature = "aws"), allow(clippy::unused_async))]
    pub(crate) async fn secret(&self, secret: &SecretRef) -> CliResult<String> {
        let Some(home) = &self.home else {
            let message =
                "a secret is on AWS, and the manifest does not say where: it has no or several places under `aws`";
            return Err(CliError::new(ExitCode::InvalidManifest, message).hint("use `env` or `file`"));
        };
        #[cfg(feature = "aws")]
        return self.get(home)?.secret(secret).await.map_err(|error| refused(home, error));
        #[cfg(not(feature = "aws"))]
        Err(without(home, &format!("{secret:?}")))
    }

    /// Parameters and secrets of a place.
    pub(crate) fn secrets(&self, on: &str) -> CliResult<Arc<dyn landfall_ports::secrets::SecretStore>> {
        #[cfg(feature = "aws")]
        return Ok(self.get(on)?.secrets());
        #[cfg(not(feature = "aws"))]
        Err(without(on, "a parameter"))
    }

    /// Those of these alarms that are in ALARM.
    #[cfg_attr(not(feature = "aws"), allow(clippy::unused_async))]
    pub(crate) async fn alarms(&self, on: &str, names: &[String]) -> PortResult<Vec<String>> {
        #[cfg(feature = "aws")]
        {
            self.reached(on)?.loud_alarms(names).await
        }
        #[cfg(not(feature = "aws"))]
        Err(beyond(on, &names.join(", ")))
    }

    pub(crate) fn topic(&self, on: &str, arn: &str) -> CliResult<Arc<dyn Topic>> {
        #[cfg(feature = "aws")]
        return self.get(on)?.topic(arn).map_err(|error| refused(on, error));
        #[cfg(not(feature = "aws"))]
        Err(without(on, arn))
    }
}

impl Places {
    /// Who gets what is published to a topic.
    #[cfg_attr(not(feature = "aws"), allow(clippy::unused_async))]
    pub(crate) async fn subscribers(&self, on: &str, topic: &str) -> PortResult<Vec<Subscriber>> {
        #[cfg(feature = "aws")]
        return self.reached(on)?.subscribers(topic).await;
        #[cfg(not(feature = "aws"))]
        Err(beyond(on, topic))
    }

    #[cfg_attr(not(feature = "aws"), allow(clippy::unused_async))]
    pub(crate) async fn subscribe(&self, on: &str, topic: &str, address: &str) -> PortResult<()> {
        #[cfg(feature = "aws")]
        return self.reached(on)?.subscribe(topic, address).await;
        #[cfg(not(feature = "aws"))]
        Err(beyond(on, &format!("{topic}, to which {address} is to be subscribed,")))
    }

    #[cfg(feature = "aws")]
    fn reached(&self, on: &str) -> PortResult<&landfall_aws::AwsPlatform> {
        self.targets.get(on).ok_or_else(|| PortError::Bug(format!("the manifest has no place {on}")))
    }
}

#[cfg(not(feature = "aws"))]
fn beyond(on: &str, what: &str) -> PortError {
    PortError::Invalid(format!("{what} is at `{on}`, and this build of landfall is without AWS"))
}

/// Its name, also where the manifest has the ARN (`…:loadbalancer/app/NAME/ID`).
#[cfg(feature = "aws")]
fn balancer_name(text: &str) -> String {
    let name = text.split_once(":loadbalancer/").and_then(|(_, path)| path.split('/').nth(1)).unwrap_or(text);
    format!("load balancer {name}")
}

/// What the state directory remembers of where its previews are.
const PLACE_KEY: &str = "previews.place";

/// Refuses to look after previews at `place` while there are some elsewhere: a destroy would read back that nothing is left
/// there, and say so, while the old ones went on running unseen.
pub(crate) async fn same_place(store: &dyn Store, place: &str) -> CliResult<()> {
    let unreadable = |error: StoreError| CliError::new(ExitCode::Io, "the state cannot be read").cause(&error);
    let before = store.meta_get(PLACE_KEY).await.map_err(unreadable)?;
    if before.as_deref() == Some(place) {
        return Ok(());
    }
    if let Some(before) = before {
        let records = store.environments().await.map_err(unreadable)?;
        let holds = |phase| !matches!(phase, Phase::Queued | Phase::AwaitingApproval | Phase::Destroyed);
        let there: Vec<&str> = records.iter().filter(|r| holds(r.phase)).map(|record| record.id.as_str()).collect();
        if !there.is_empty() {
            let message = format!("previews of this state run on {before}, and the manifest now puts them on {place}");
            return Err(CliError::new(ExitCode::Conflict, message)
                .hint(format!("put `previews.on` and its target back and destroy them first: {}", there.join(", ")))
                .hint("or give the new place a state directory of its own with `--state`"));
        }
    }
    store.meta_put(PLACE_KEY, place).await.map_err(unreadable)
}

#[cfg(feature = "aws")]
pub(crate) fn refused(place: &str, error: PortError) -> CliError {
    let mut said = crate::commands::port_error(error);
    said.message = format!("{place}: {}", said.message);
    said
}

#[cfg(not(feature = "aws"))]
pub(crate) fn without(place: &str, what: &str) -> CliError {
    CliError::new(ExitCode::Unavailable, format!("{what} is at `{place}`, and this build of landfall is without AWS"))
        .hint("build it with its feature `aws`")
}
