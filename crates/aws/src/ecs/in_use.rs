//! Which images a cluster needs: whatever runs, is to run, or is being replaced, ours or anybody's.

use std::collections::BTreeSet;

use landfall_ports::{PortError, PortResult};

use super::Ecs;

impl Ecs {
    /// Of the task definitions of all services and tasks, and by the digests that tasks were started with: a tag may have moved since.
    pub(crate) async fn images_of_all(&self) -> PortResult<Vec<String>> {
        let (mut revisions, mut images) = (BTreeSet::new(), BTreeSet::new());
        for service in self.all_services().await? {
            revisions.extend(service.task_definition.clone());
            revisions.extend(service.deployments().iter().filter_map(|one| one.task_definition.clone()));
            // Of CodeDeploy and of other controllers.
            revisions.extend(service.task_sets().iter().filter_map(|one| one.task_definition.clone()));
        }
        for task in self.all_tasks().await?.iter() {
            revisions.extend(task.task_definition_arn.clone());
            for container in task.containers() {
                let Some(image) = &container.image else { continue };
                images.insert(image.clone());
                images.extend(container.image_digest.as_deref().map(|digest| pinned(image, digest)));
            }
        }
        for revision in revisions {
            let found = self.definition_as_it_is(&revision).await?;
            let unseen =
                || PortError::Unavailable(format!("task definition {revision} is in use and is not described"));
            let found = found.ok_or_else(unseen)?;
            let containers = found["containerDefinitions"].as_array().into_iter().flatten();
            images.extend(containers.filter_map(|container| container["image"].as_str()).map(str::to_owned));
        }
        Ok(images.into_iter().collect())
    }
}

/// The image's repository with this digest.
fn pinned(image: &str, digest: &str) -> String {
    let bare = image.split_once('@').map_or(image, |(bare, _)| bare);
    let tail = bare.rfind('/').map_or(0, |at| at + 1);
    let repository = bare[tail..].find(':').map_or(bare, |colon| &bare[..tail + colon]);
    format!("{repository}@{digest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_is_told_by_its_digest() {
        for image in [
            "r.example:5000/a/b:v1",
            "r.example:5000/a/b",
            "r.example:5000/a/b@sha256:00",
            "r.example:5000/a/b:v1@sha256:00",
        ] {
            assert_eq!(pinned(image, "sha256:11"), "r.example:5000/a/b@sha256:11");
        }
        assert_eq!(pinned("redis:7", "sha256:11"), "redis@sha256:11");
    }
}
