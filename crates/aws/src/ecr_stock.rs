//! What a repository in ECR has, and deleting some of it.

use std::sync::Arc;

use aws_sdk_ecr::types::{ImageFailureCode, ImageIdentifier};
use landfall_ports::registry::{CloudImage, CloudManifest, Timestamp};
use landfall_ports::{PortError, PortResult};

use crate::core::Core;
use crate::ecr::call;

/// Of one BatchGetImage and one BatchDeleteImage.
const MOST: usize = 100;
/// Of a page of DescribeImages.
const PAGE: i32 = 1_000;
/// What ECR may answer instead of turning it into something older.
const ACCEPTED: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// A repository of an account.
pub(crate) struct Stock<'a> {
    pub(crate) core: Arc<Core>,
    pub(crate) account: &'a str,
    pub(crate) registry: &'a str,
    pub(crate) name: &'a str,
}

impl Stock<'_> {
    fn resource(&self) -> String {
        format!("repository {}/{}", self.registry, self.name)
    }

    pub(crate) async fn images(&self) -> PortResult<Vec<CloudImage>> {
        let resource = self.resource();
        let request = self.core.clients.ecr.describe_images().registry_id(self.account).repository_name(self.name);
        let (mut all, mut next) = (Vec::new(), None);
        loop {
            let page = request.clone().max_results(PAGE).set_next_token(next);
            let answer = match self.core.caller.call(call("DescribeImages", &resource), || page.clone().send()).await {
                Ok(answer) => answer,
                Err(failed) if failed.is("RepositoryNotFoundException") => {
                    return Err(PortError::NotFound(format!(
                        "{}/{}: there is no such repository",
                        self.registry, self.name
                    )));
                }
                Err(failed) => return Err(failed.error),
            };
            for image in answer.image_details.unwrap_or_default() {
                let lacks =
                    || PortError::Unavailable(format!("ecr:DescribeImages on {resource}: an image without a digest"));
                all.push(CloudImage {
                    digest: image.image_digest.ok_or_else(lacks)?,
                    tags: image.image_tags.unwrap_or_default(),
                    pushed_at: image.image_pushed_at.and_then(|at| Timestamp::from_second(at.secs()).ok()),
                });
            }
            next = answer.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                return Ok(all);
            }
        }
    }

    pub(crate) async fn manifests(&self, digests: &[String]) -> PortResult<Vec<CloudManifest>> {
        let resource = self.resource();
        let mut all = Vec::new();
        for some in digests.chunks(MOST) {
            let request = self.core.clients.ecr.batch_get_image().registry_id(self.account).repository_name(self.name);
            let request = request.set_image_ids(Some(ids(some)));
            let request = request.set_accepted_media_types(Some(ACCEPTED.map(str::to_owned).to_vec()));
            let send = || request.clone().send();
            let answer = self.core.caller.call(call("BatchGetImage", &resource), send).await?;
            for image in answer.images.unwrap_or_default() {
                let digest = image.image_id.and_then(|id| id.image_digest);
                if let (Some(digest), Some(text)) = (digest, image.image_manifest) {
                    all.push(CloudManifest { digest, media_type: image.image_manifest_media_type, text });
                }
            }
        }
        Ok(all)
    }

    /// What an index names stays as long as the index is there, and that may be so for those that go with it: they are tried again, as
    /// long as some go.
    pub(crate) async fn delete(&self, digests: &[String]) -> PortResult<Vec<(String, String)>> {
        let mut left = digests.to_vec();
        loop {
            let stays = self.delete_once(&left).await?;
            if stays.is_empty() || stays.len() == left.len() {
                return Ok(stays);
            }
            left = stays.into_iter().map(|(digest, _)| digest).collect();
        }
    }

    async fn delete_once(&self, digests: &[String]) -> PortResult<Vec<(String, String)>> {
        let resource = self.resource();
        let mut stays = Vec::new();
        for some in digests.chunks(MOST) {
            let request =
                self.core.clients.ecr.batch_delete_image().registry_id(self.account).repository_name(self.name);
            let request = request.set_image_ids(Some(ids(some)));
            let send = || request.clone().send();
            let answer = self.core.caller.call(call("BatchDeleteImage", &resource), send).await?;
            for failure in answer.failures.unwrap_or_default() {
                if failure.failure_code == Some(ImageFailureCode::ImageNotFound) {
                    continue;
                }
                let digest = failure.image_id.and_then(|id| id.image_digest).unwrap_or_default();
                let code = failure.failure_code.map(|code| code.as_str().to_owned());
                let why = [code, failure.failure_reason].into_iter().flatten().collect::<Vec<_>>().join(": ");
                stays.push((digest, why));
            }
        }
        Ok(stays)
    }
}

fn ids(digests: &[String]) -> Vec<ImageIdentifier> {
    digests.iter().map(|digest| ImageIdentifier::builder().image_digest(digest).build()).collect()
}
