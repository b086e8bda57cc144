//! What every adapter of one target shares.

use std::sync::Arc;

use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use landfall_model::Timestamp;
use landfall_model::aws::AwsTarget;
use landfall_model::inventory::{TAG_INSTANCE, Tags};
use landfall_ports::PortResult;

use crate::call::Caller;
use crate::clients::Clients;
use crate::config;
use crate::platform::AwsOptions;

pub(crate) struct Core {
    pub target: AwsTarget,
    pub options: AwsOptions,
    pub region: String,
    /// For what is signed without an SDK client: credentials, region, HTTP client.
    pub sdk: aws_config::SdkConfig,
    pub clients: Clients,
    pub caller: Caller,
}

impl Core {
    pub(crate) async fn connect(
        target: &AwsTarget,
        options: AwsOptions,
        credentials: Option<SharedCredentialsProvider>,
        http: Option<SharedHttpClient>,
    ) -> PortResult<Self> {
        let (sdk, region) = config::load(target, &options.instance, credentials, http).await?;
        let clients = Clients::new(&sdk);
        let caller = Caller::new(config::quota_key(target, &region), Arc::clone(&clients.sts), target.account.clone());
        Ok(Self { target: target.clone(), options, region, sdk, clients, caller })
    }

    /// The tags of a request and this installation's own.
    pub(crate) fn tags(&self, tags: &Tags) -> Tags {
        let mut tags = tags.clone();
        tags.insert(TAG_INSTANCE.to_owned(), self.options.instance.clone());
        tags
    }
}

pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
