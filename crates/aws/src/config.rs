//! Where credentials, region and endpoints come from: the SDK's own chain (environment, profile, SSO, credential process,
//! web identity, container and instance roles), narrowed by what the target says.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use landfall_model::aws::AwsTarget;
use landfall_ports::{PortError, PortResult};

use crate::transport;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Shorter than the time that the engine gives a handler, so that it hears why. No call that Landfall makes takes AWS nearly so
/// long.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// The SDK gives a credentials provider 5 s in all.
const STS_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

/// The configuration and its region. `credentials`: instead of the chain's; `http`: instead of our own client.
pub(crate) async fn load(
    target: &AwsTarget,
    instance: &str,
    credentials: Option<SharedCredentialsProvider>,
    http: Option<SharedHttpClient>,
) -> PortResult<(SdkConfig, String)> {
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_timeout(CALL_TIMEOUT).build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts.clone());
    if let Ok(name) = AppName::new("landfall") {
        loader = loader.app_name(name);
    }
    if let Some(region) = &target.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(profile) = &target.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(endpoint) = &target.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    if let Some(credentials) = credentials {
        loader = loader.credentials_provider(credentials);
    }
    loader = loader.http_client(http.unwrap_or_else(transport::client));
    let sdk = loader.load().await;
    let region = sdk.region().map(ToString::to_string).ok_or_else(|| {
        PortError::Invalid(format!(
            "no AWS region for target {}: give `region` in the manifest, AWS_REGION or a profile that names one",
            target.name
        ))
    })?;
    let Some(role) = &target.role else { return Ok((sdk, region)) };
    // Every call needs these credentials, and asking twice has no effect: a hiccup of STS is nobody's business.
    let timeouts = timeouts.to_builder().operation_attempt_timeout(STS_ATTEMPT_TIMEOUT).build();
    let sts = sdk.to_builder().retry_config(RetryConfig::standard()).timeout_config(timeouts).build();
    let mut provider = AssumeRoleProvider::builder(&role.arn).session_name(session_name(instance)).configure(&sts);
    if let Some(id) = &role.external_id {
        provider = provider.external_id(id);
    }
    let provider = provider.build().await;
    let credentials = SharedCredentialsProvider::new(provider);
    Ok((sdk.into_builder().credentials_provider(credentials).build(), region))
}

/// Quotas count per account and region. The account is not asked for here: what tells accounts apart without asking does.
pub(crate) fn quota_key(target: &AwsTarget, region: &str) -> String {
    let account = target.account.as_deref();
    let account = account.or_else(|| target.role.as_ref().and_then(|role| role.arn.split(':').nth(4)));
    let account = account.or(target.profile.as_deref()).unwrap_or_default();
    format!("{account} {region} {}", target.endpoint.as_deref().unwrap_or_default())
}

/// STS allows 2 to 64 of letters, digits and `_=,.@-`.
fn session_name(instance: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() || "_=,.@-".contains(c) { c } else { '-' };
    format!("landfall-{instance}").chars().map(legal).take(64).collect()
}

#[cfg(test)]
mod tests {
    use landfall_model::aws::AssumeRole;

    use super::*;

    #[test]
    fn session_names_are_legal() {
        assert_eq!(session_name("a b/c"), "landfall-a-b-c");
        assert_eq!(session_name(&"x".repeat(100)).len(), 64);
    }

    #[test]
    fn targets_of_one_account_and_region_share_their_quota() {
        let role = AssumeRole { arn: "arn:aws:iam::111122223333:role/deploy".to_owned(), external_id: None };
        let by_role = AwsTarget { role: Some(role), ..AwsTarget::default() };
        let by_account = AwsTarget { account: Some("111122223333".to_owned()), ..AwsTarget::default() };
        assert_eq!(quota_key(&by_role, "eu-west-1"), quota_key(&by_account, "eu-west-1"));
        assert_ne!(quota_key(&by_role, "eu-west-1"), quota_key(&by_account, "us-east-1"));
    }
}
