//! The manifest's places on AWS. Without the feature `aws` there are none, and whatever needs one says so.

use std::sync::Arc;

use landfall_model::app::App;
use landfall_model::task::SecretRef;
use landfall_ports::topic::Topic;

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
                let options = landfall_aws::AwsOptions { instance: instance.to_owned(), project: app.project.clone() };
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

    pub(crate) fn topic(&self, on: &str, arn: &str) -> CliResult<Arc<dyn Topic>> {
        #[cfg(feature = "aws")]
        return self.get(on)?.topic(arn).map_err(|error| refused(on, error));
        #[cfg(not(feature = "aws"))]
        Err(without(on, arn))
    }
}

#[cfg(feature = "aws")]
pub(crate) fn refused(place: &str, error: landfall_ports::PortError) -> CliError {
    let mut said = crate::commands::port_error(error);
    said.message = format!("{place}: {}", said.message);
    said
}

#[cfg(not(feature = "aws"))]
pub(crate) fn without(place: &str, what: &str) -> CliError {
    CliError::new(ExitCode::Unavailable, format!("{what} is at `{place}`, and this build of landfall is without AWS"))
        .hint("build it with its feature `aws`")
}
