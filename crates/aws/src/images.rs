//! Images in Elastic Container Registry, looked up with the target's credentials; any other registry is the business of the
//! look-ups of this machine. Nothing is built here and nothing is owned.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_ecr::types::ImageIdentifier;
use landfall_model::inventory::{Listing, OwnedResource};
use landfall_model::step::{AwaitImage, BuildImage};
use landfall_ports::images::{BuildState, Images};
use landfall_ports::{PortError, PortResult};

use crate::budget::Family;
use crate::call::Call;
use crate::core::{Core, now};

pub(crate) struct EcrImages {
    core: Arc<Core>,
    inner: Option<Arc<dyn Images>>,
}

impl EcrImages {
    pub(crate) fn new(core: Arc<Core>, inner: Option<Arc<dyn Images>>) -> Self {
        Self { core, inner }
    }

    /// Whether a reference leads into ECR.
    pub(crate) fn is_ecr(reference: &str) -> bool {
        EcrImage::parse(reference).is_some()
    }

    async fn describe(&self, image: &EcrImage<'_>) -> PortResult<Option<String>> {
        let client = if image.region == self.core.region {
            self.core.clients.ecr.clone()
        } else {
            let config = aws_sdk_ecr::config::Builder::from(&self.core.sdk);
            let region = aws_sdk_ecr::config::Region::new(image.region.to_owned());
            aws_sdk_ecr::Client::from_conf(config.region(region).build())
        };
        let id = match image.digest {
            Some(digest) => ImageIdentifier::builder().image_digest(digest),
            None => ImageIdentifier::builder().image_tag(image.tag),
        };
        let id = id.build();
        let resource = format!("image {}/{}", image.registry, image.name());
        let call = Call { service: "ecr", action: "DescribeImages", family: Family::Ecr, resource: &resource };
        let send = || {
            let request = client.describe_images().registry_id(image.account).repository_name(image.repository);
            request.image_ids(id.clone()).send()
        };
        let answer = match self.core.caller.call(call, send).await {
            Ok(answer) => answer,
            // The first push may create it.
            Err(failed) if failed.is("RepositoryNotFoundException") => {
                tracing::warn!(repository = image.repository, registry = image.registry, "no such repository yet");
                return Ok(None);
            }
            Err(failed) if failed.is("ImageNotFoundException") => return Ok(None),
            Err(failed) => return Err(failed.error),
        };
        let found = answer.image_details.unwrap_or_default().into_iter().find_map(|found| found.image_digest);
        Ok(found.map(|digest| format!("{}/{}@{digest}", image.registry, image.repository)))
    }
}

/// A private registry of ECR: `111122223333.dkr.ecr.eu-west-1.amazonaws.com`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Host<'a> {
    pub account: &'a str,
    pub region: &'a str,
}

impl<'a> Host<'a> {
    /// `None`: another registry.
    pub(crate) fn parse(registry: &'a str) -> Option<Self> {
        let (account, rest) = registry.split_once('.')?;
        if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let rest = rest.strip_prefix("dkr.ecr.").or_else(|| rest.strip_prefix("dkr.ecr-fips."))?;
        let (region, domain) = rest.split_once('.')?;
        matches!(domain, "amazonaws.com" | "amazonaws.com.cn" | "amazonaws.eu").then_some(Self { account, region })
    }
}

/// A reference into ECR: `111122223333.dkr.ecr.eu-west-1.amazonaws.com/team/app:tag`.
#[derive(Debug, PartialEq, Eq)]
struct EcrImage<'a> {
    registry: &'a str,
    account: &'a str,
    region: &'a str,
    repository: &'a str,
    tag: &'a str,
    digest: Option<&'a str>,
}

impl<'a> EcrImage<'a> {
    /// `None`: another registry's.
    fn parse(reference: &'a str) -> Option<Self> {
        let (registry, path) = reference.split_once('/')?;
        let Host { account, region } = Host::parse(registry)?;
        let (path, digest) = path.split_once('@').map_or((path, None), |(path, digest)| (path, Some(digest)));
        let (repository, tag) = path.rsplit_once(':').unwrap_or((path, "latest"));
        (!repository.is_empty()).then_some(Self { registry, account, region, repository, tag, digest })
    }

    fn name(&self) -> String {
        match self.digest {
            Some(digest) => format!("{}@{digest}", self.repository),
            None => format!("{}:{}", self.repository, self.tag),
        }
    }
}

fn not_built_here() -> PortError {
    PortError::Invalid(
        "images for AWS are not built by Landfall: build and push them in CI, and give the container `await` with its \
         `image`"
            .to_owned(),
    )
}

#[async_trait]
impl Images for EcrImages {
    async fn start_build(&self, _key: &str, _request: &BuildImage) -> PortResult<BuildState> {
        Err(not_built_here())
    }

    async fn poll_build(&self, _key: &str) -> PortResult<BuildState> {
        Err(not_built_here())
    }

    async fn cancel_build(&self, _key: &str) -> PortResult<()> {
        Ok(())
    }

    async fn resolve(&self, request: &AwaitImage) -> PortResult<Option<String>> {
        match (EcrImage::parse(&request.image), &request.label, &self.inner) {
            (Some(_), Some((label, _)), _) => Err(PortError::Invalid(format!(
                "{}: ECR finds no images by label ({label}); give the awaited image a tag",
                request.image
            ))),
            (Some(image), None, _) => self.describe(&image).await,
            (None, _, Some(inner)) => inner.resolve(request).await,
            (None, _, None) => Err(PortError::Invalid(format!("{} is not in ECR", request.image))),
        }
    }

    async fn list_owned(&self, _environment: Option<&str>) -> PortResult<Listing<OwnedResource>> {
        Ok(Listing { items: Vec::new(), complete: true, at: now() })
    }

    async fn delete_owned(&self, resource: &OwnedResource) -> PortResult<()> {
        Err(PortError::Invalid(format!("{}: Landfall owns no images on AWS", resource.name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_into_ecr_are_told_from_others() {
        let image = EcrImage::parse("111122223333.dkr.ecr.eu-west-1.amazonaws.com/team/app:1.2").unwrap();
        assert_eq!(
            (image.account, image.region, image.repository, image.tag),
            ("111122223333", "eu-west-1", "team/app", "1.2")
        );
        assert_eq!(image.name(), "team/app:1.2");
        let image = EcrImage::parse("111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn/app").unwrap();
        assert_eq!((image.region, image.tag), ("cn-north-1", "latest"));
        let image = EcrImage::parse("111122223333.dkr.ecr-fips.us-east-1.amazonaws.com/app:x@sha256:ab").unwrap();
        assert_eq!((image.repository, image.digest), ("app", Some("sha256:ab")));
        for other in [
            "nginx:1",
            "public.ecr.aws/nginx/nginx:1",
            "ghcr.io/a/b:1",
            "1111.dkr.ecr.eu-west-1.amazonaws.com/app",
            "111122223333.dkr.ecr.eu-west-1.example.com/app",
            "localhost:5000/app",
        ] {
            assert_eq!(EcrImage::parse(other), None, "{other}");
        }
    }
}
