//! ECR as a registry to push to: its login, its repositories and their rules. Credentials are those of the manifest's place in the
//! registry's account, where it says which one that is, else of the SDK's chain. The region is the host's; each is connected to when
//! it is first asked for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_ecr::types::{ImageTagMutability, Repository};
use landfall_model::aws::AwsTarget;
use landfall_ports::registry::{CloudImage, CloudLogin, CloudManifest, CloudRegistry, RepositoryRules};
use landfall_ports::{PortError, PortResult};
use tokio::sync::Mutex;

use crate::budget::Family;
use crate::call::Call;
use crate::core::{Core, now};
use crate::ecr_stock::Stock;
use crate::images::Host;
use crate::platform::AwsOptions;

/// GetAuthorizationToken's are good for twelve hours; used where the answer does not say.
const LIFETIME: Duration = Duration::from_secs(12 * 3600);

#[derive(Default)]
pub struct Ecr {
    /// Whose credentials may be meant.
    places: Vec<AwsTarget>,
    /// A target's own, in its region.
    own: Option<Arc<Core>>,
    /// By account and region.
    made: Mutex<HashMap<(String, String), Arc<Core>>>,
}

impl Ecr {
    /// With the credentials of whichever of these places is in a registry's account.
    pub fn of_places(places: Vec<AwsTarget>) -> Self {
        Self { places, ..Self::default() }
    }

    /// With a target's own credentials in its region.
    pub(crate) fn of(core: Arc<Core>) -> Self {
        Self { own: Some(core), ..Self::default() }
    }

    async fn stock<'a>(&self, registry: &'a str, name: &'a str) -> PortResult<Stock<'a>> {
        let host = host(registry)?;
        Ok(Stock { core: self.core(&host).await?, account: host.account, registry, name })
    }

    async fn core(&self, host: &Host<'_>) -> PortResult<Arc<Core>> {
        if let Some(own) = self.own.as_ref().filter(|own| own.region == host.region) {
            return Ok(Arc::clone(own));
        }
        let key = (host.account.to_owned(), host.region.to_owned());
        let mut made = self.made.lock().await;
        if let Some(core) = made.get(&key) {
            return Ok(Arc::clone(core));
        }
        let target = meant(&self.places, host);
        let core = Arc::new(Core::connect(&target, AwsOptions { instance: "push".to_owned() }, None, None).await?);
        made.insert(key, Arc::clone(&core));
        Ok(core)
    }
}

/// The place in the registry's account, in the registry's region; where there is none, or several with credentials of their own, whatever
/// the SDK finds. No account then: a repository's policy may let another account's credentials push.
fn meant(places: &[AwsTarget], host: &Host<'_>) -> AwsTarget {
    let region = Some(host.region.to_owned());
    match AwsTarget::of_account(places, host.account) {
        Some(place) => AwsTarget { region, ..place.clone() },
        None => AwsTarget { name: format!("ecr {}", host.region), region, ..AwsTarget::default() },
    }
}

pub(crate) fn call<'a>(action: &'static str, resource: &'a str) -> Call<'a> {
    Call { service: "ecr", action, family: Family::Ecr, resource }
}

fn host(registry: &str) -> PortResult<Host<'_>> {
    Host::parse(registry).ok_or_else(|| PortError::Bug(format!("{registry} is not a registry of ECR")))
}

#[async_trait]
impl CloudRegistry for Ecr {
    fn serves(&self, registry: &str) -> bool {
        Host::parse(registry).is_some()
    }

    async fn login(&self, registry: &str) -> PortResult<CloudLogin> {
        let core = self.core(&host(registry)?).await?;
        let call = call("GetAuthorizationToken", registry);
        let answer = core.caller.call(call, || core.clients.ecr.get_authorization_token().send()).await?;
        let bad =
            || PortError::Unavailable(format!("ecr:GetAuthorizationToken for {registry}: no token in the answer"));
        let data = answer.authorization_data().first().ok_or_else(bad)?;
        let bytes = aws_smithy_types::base64::decode(data.authorization_token().ok_or_else(bad)?).map_err(|_| bad())?;
        let text = String::from_utf8(bytes).map_err(|_| bad())?;
        let (user, password) = text.split_once(':').ok_or_else(bad)?;
        let lifetime = data.expires_at().map(|until| until.secs() - now().as_second());
        let lifetime = lifetime.and_then(|seconds| u64::try_from(seconds).ok()).map_or(LIFETIME, Duration::from_secs);
        Ok(CloudLogin { user: user.to_owned(), password: password.to_owned(), lifetime })
    }

    async fn repository(&self, registry: &str, name: &str) -> PortResult<Option<RepositoryRules>> {
        let host = host(registry)?;
        let core = self.core(&host).await?;
        let resource = format!("repository {registry}/{name}");
        let call = call("DescribeRepositories", &resource);
        let send = || core.clients.ecr.describe_repositories().registry_id(host.account).repository_names(name).send();
        match core.caller.call(call, send).await {
            Ok(answer) => Ok(answer.repositories().first().map(rules)),
            Err(failed) if failed.is("RepositoryNotFoundException") => Ok(None),
            // Pushing needs no right to read the rules: ECR keeps them itself.
            Err(failed) if matches!(failed.error, PortError::Denied(_)) => {
                tracing::debug!(registry, name, "not allowed to read the repository's rules");
                Ok(Some(RepositoryRules::default()))
            }
            Err(failed) => Err(failed.error),
        }
    }

    async fn create_repository(&self, registry: &str, name: &str) -> PortResult<()> {
        let host = host(registry)?;
        let core = self.core(&host).await?;
        let resource = format!("repository {registry}/{name}");
        let call = call("CreateRepository", &resource);
        let send = || core.clients.ecr.create_repository().registry_id(host.account).repository_name(name).send();
        match core.caller.call(call, send).await {
            Ok(_) => Ok(()),
            Err(failed) if failed.is("RepositoryAlreadyExistsException") => Ok(()),
            Err(failed) => Err(failed.error),
        }
    }

    async fn images(&self, registry: &str, name: &str) -> PortResult<Option<Vec<CloudImage>>> {
        self.stock(registry, name).await?.images().await.map(Some)
    }

    async fn manifests(&self, registry: &str, name: &str, digests: &[String]) -> PortResult<Vec<CloudManifest>> {
        self.stock(registry, name).await?.manifests(digests).await
    }

    async fn delete_images(&self, registry: &str, name: &str, digests: &[String]) -> PortResult<Vec<(String, String)>> {
        self.stock(registry, name).await?.delete(digests).await
    }
}

fn rules(repository: &Repository) -> RepositoryRules {
    let immutable = matches!(
        repository.image_tag_mutability(),
        Some(ImageTagMutability::Immutable | ImageTagMutability::ImmutableWithExclusion)
    );
    let filters = repository.image_tag_mutability_exclusion_filters();
    RepositoryRules { immutable, exceptions: filters.iter().map(|filter| filter.filter().to_owned()).collect() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use aws_sdk_ecr::types::{ImageTagMutabilityExclusionFilter, ImageTagMutabilityExclusionFilterType};

    use super::*;

    #[test]
    fn rules_are_read() {
        let of = |mutability, filters: &[&str]| {
            let mut repository = Repository::builder().image_tag_mutability(mutability);
            for filter in filters {
                let filter = ImageTagMutabilityExclusionFilter::builder()
                    .filter(*filter)
                    .filter_type(ImageTagMutabilityExclusionFilterType::Wildcard)
                    .build();
                repository = repository.image_tag_mutability_exclusion_filters(filter.unwrap());
            }
            rules(&repository.build())
        };
        assert!(of(ImageTagMutability::Mutable, &[]).may_move("v1"));
        assert!(!of(ImageTagMutability::Immutable, &[]).may_move("v1"));
        let except = of(ImageTagMutability::ImmutableWithExclusion, &["latest*"]);
        assert!(except.may_move("latest-2") && !except.may_move("v1"));
        let fixed = of(ImageTagMutability::MutableWithExclusion, &["v*"]);
        assert!(fixed.may_move("latest") && !fixed.may_move("v1"));
    }

    #[test]
    fn credentials_are_those_of_the_account_s_place_if_it_is_clear_which() {
        use landfall_model::aws::AssumeRole;

        let role =
            |name: &str| Some(AssumeRole { arn: format!("arn:aws:iam::111122223333:role/{name}"), external_id: None });
        let place = |name: &str, account: Option<&str>, role| AwsTarget {
            name: name.to_owned(),
            region: Some("us-east-1".to_owned()),
            account: account.map(str::to_owned),
            role,
            ..AwsTarget::default()
        };
        let host = Host::parse("111122223333.dkr.ecr.eu-west-1.amazonaws.com").unwrap();
        let of = |places: &[AwsTarget]| meant(places, &host);
        let dev = place("dev", Some("111122223333"), None);
        let one = of(std::slice::from_ref(&dev));
        assert_eq!((one.name.as_str(), one.region.as_deref()), ("dev", Some("eu-west-1")));
        let by_role = place("prod", None, role("deploy"));
        assert_eq!(of(std::slice::from_ref(&by_role)).role, role("deploy"), "a role's account is the place's");
        let same = place("prod2", None, role("deploy"));
        assert_eq!(of(&[by_role.clone(), same]).role, role("deploy"));
        assert_eq!(of(&[dev.clone(), by_role.clone()]).role, None, "two that differ: whatever the SDK finds");
        assert_eq!(of(&[dev, by_role]).account, None);
        assert_eq!(of(&[place("other", Some("444455556666"), role("x"))]).name, "ecr eu-west-1");
        assert_eq!(of(&[place("unknown", None, None)]).name, "ecr eu-west-1");
    }

    #[test]
    fn only_ecrs_private_registries_are_served() {
        let ecr = Ecr::default();
        assert!(ecr.serves("111122223333.dkr.ecr.eu-west-1.amazonaws.com"));
        assert!(!ecr.serves("public.ecr.aws") && !ecr.serves("ghcr.io"));
    }
}
