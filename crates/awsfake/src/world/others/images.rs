//! ECR: repositories, images, tags and digests. No registry behind it.

use serde_json::{Value, json};

use crate::world::Millis;
use crate::world::error::{Answer, AwsError};
use crate::world::space::Space;
use crate::world::value::{list, page, required, seconds, text, texts};

#[derive(Debug, Clone)]
pub struct Image {
    pub digest: String,
    pub tags: Vec<String>,
    pub manifest: String,
    pub pushed: Millis,
}

impl Space {
    fn repository(&mut self, input: &Value) -> Result<(String, &mut Vec<Image>), AwsError> {
        let name = required(input, "repositoryName")?.to_owned();
        let account = self.account.clone();
        match self.others.repositories.get_mut(&name) {
            Some(images) => Ok((name, images)),
            None => {
                let message =
                    format!("The repository with name '{name}' does not exist in the registry with id '{account}'");
                Err(AwsError::new("RepositoryNotFoundException", message))
            }
        }
    }

    fn repository_view(&self, name: &str) -> Value {
        json!({
            "repositoryArn": self.arn("ecr", &format!("repository/{name}")),
            "registryId": self.account,
            "repositoryName": name,
            "repositoryUri": format!("{}.dkr.ecr.{}.amazonaws.com/{name}", self.account, self.region),
            "imageTagMutability": "MUTABLE",
        })
    }

    pub fn ecr_call(&mut self, operation: &str, input: &Value) -> Answer {
        let account = self.account.clone();
        let now = self.now;
        match operation {
            "CreateRepository" => {
                let name = required(input, "repositoryName")?.to_owned();
                if self.others.repositories.contains_key(&name) {
                    let message =
                        format!("The repository with name '{name}' already exists in the registry with id '{account}'");
                    return Err(AwsError::new("RepositoryAlreadyExistsException", message));
                }
                self.others.repositories.insert(name.clone(), Vec::new());
                Ok(json!({"repository": self.repository_view(&name)}))
            }
            "DescribeRepositories" => {
                let names = texts(input, "repositoryNames");
                for name in &names {
                    self.repository(&json!({"repositoryName": name}))?;
                }
                let all = self.others.repositories.keys().filter(|name| names.is_empty() || names.contains(name));
                let rows = all.map(|name| (name.clone(), self.repository_view(name))).collect();
                let (rows, next) = page(rows, text(input, "nextToken"), 100)?;
                Ok(super::super::ecs::clusters::listing("repositories", rows, next))
            }
            "PutImage" => {
                let digest = text(input, "imageDigest")
                    .map_or_else(|| format!("sha256:{}{}", self.ids.hex32(), self.ids.hex32()), str::to_owned);
                let manifest = required(input, "imageManifest")?.to_owned();
                let tag = text(input, "imageTag").map(str::to_owned);
                let (name, images) = self.repository(input)?;
                if let Some(tag) = &tag {
                    // A tag moves to the image pushed last.
                    images.iter_mut().for_each(|own| own.tags.retain(|other| other != tag));
                }
                let known = images.iter_mut().find(|own| own.digest == digest);
                match known {
                    Some(image) => image.tags.extend(tag.clone()),
                    None => images.push(Image {
                        digest: digest.clone(),
                        tags: tag.clone().into_iter().collect(),
                        manifest: manifest.clone(),
                        pushed: now,
                    }),
                }
                let id = json!({"imageDigest": digest, "imageTag": tag});
                let image =
                    json!({"registryId": account, "repositoryName": name, "imageId": id, "imageManifest": manifest});
                Ok(json!({"image": image}))
            }
            "DescribeImages" => {
                let wanted = list(input, "imageIds").to_vec();
                let (name, images) = self.repository(input)?;
                if let Some(missing) = wanted.iter().find(|id| !images.iter().any(|own| is(own, id))) {
                    let message = format!(
                        "The image with imageId {{imageDigest:'{}', imageTag:'{}'}} does not exist within the repository \
                         with name '{name}' in the registry with id '{account}'",
                        text(missing, "imageDigest").unwrap_or("null"),
                        text(missing, "imageTag").unwrap_or("null"),
                    );
                    return Err(AwsError::new("ImageNotFoundException", message));
                }
                let rows = images.iter().filter(|own| wanted.is_empty() || wanted.iter().any(|id| is(own, id)));
                let rows = rows
                    .map(|own| {
                        let view = json!({
                            "registryId": account,
                            "repositoryName": name,
                            "imageDigest": own.digest,
                            "imageTags": own.tags,
                            "imageSizeInBytes": own.manifest.len(),
                            "imagePushedAt": seconds(own.pushed),
                        });
                        (own.digest.clone(), view)
                    })
                    .collect();
                let (rows, next) = page(rows, text(input, "nextToken"), 100)?;
                Ok(super::super::ecs::clusters::listing("imageDetails", rows, next))
            }
            "BatchGetImage" => {
                let wanted = list(input, "imageIds").to_vec();
                let (name, images) = self.repository(input)?;
                let (mut found, mut failures) = (Vec::new(), Vec::new());
                for id in wanted {
                    match images.iter().find(|own| is(own, &id)) {
                        Some(own) => found.push(json!({
                            "registryId": account,
                            "repositoryName": name,
                            "imageId": {"imageDigest": own.digest, "imageTag": id.get("imageTag")},
                            "imageManifest": own.manifest,
                        })),
                        None => failures.push(json!({
                            "imageId": id, "failureCode": "ImageNotFound", "failureReason": "Requested image not found",
                        })),
                    }
                }
                Ok(json!({"images": found, "failures": failures}))
            }
            "BatchDeleteImage" => {
                let wanted = list(input, "imageIds").to_vec();
                let (_, images) = self.repository(input)?;
                let (mut deleted, mut failures) = (Vec::new(), Vec::new());
                // ECR looks at all of them as they were before the call.
                let before: Vec<(String, String)> =
                    images.iter().map(|own| (own.digest.clone(), own.manifest.clone())).collect();
                for id in wanted {
                    let Some(own) = images.iter().position(|own| is(own, &id)) else {
                        failures.push(json!({
                            "imageId": id, "failureCode": "ImageNotFound", "failureReason": "Requested image not found",
                        }));
                        continue;
                    };
                    let digest = images[own].digest.clone();
                    if before.iter().any(|(other, manifest)| *other != digest && manifest.contains(&digest)) {
                        let why = "Requested image referenced by manifest list";
                        failures.push(json!({
                            "imageId": id, "failureCode": "ImageReferencedByManifestList", "failureReason": why,
                        }));
                        continue;
                    }
                    images.remove(own);
                    deleted.push(id);
                }
                Ok(json!({"imageIds": deleted, "failures": failures}))
            }
            "GetAuthorizationToken" => Ok(json!({"authorizationData": [{
                // AWS:fake
                "authorizationToken": "QVdTOmZha2U=",
                "expiresAt": seconds(now + 12 * 3_600_000),
                "proxyEndpoint": format!("https://{account}.dkr.ecr.{}.amazonaws.com", self.region),
            }]})),
            _ => Err(AwsError::unknown_operation("ecr", operation)),
        }
    }
}

fn is(image: &Image, id: &Value) -> bool {
    text(id, "imageDigest").is_none_or(|digest| digest == image.digest)
        && text(id, "imageTag").is_none_or(|tag| image.tags.iter().any(|own| own == tag))
}
