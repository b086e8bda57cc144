//! Builds and hooks that run inside a process, and images that outlive it.

use async_trait::async_trait;
use landfall_model::inventory::{Listing, OwnedResource, ResourceKind};
use landfall_model::step::{AwaitImage, BuildImage, RunHook};
use landfall_ports::PortResult;
use landfall_ports::images::{BuildState, Images};
use landfall_ports::steps::{HookRunner, HookState};

use super::FakePlatform;

#[async_trait]
impl Images for FakePlatform {
    async fn start_build(&self, key: &str, request: &BuildImage) -> PortResult<BuildState> {
        self.call("start_build", |world| {
            let image = format!("{}@sha256:{}", request.tag, request.commit);
            if world.images.contains_key(&image) {
                return Ok(BuildState::Done { image, cached: true });
            }
            if let Some((_, state)) = world.builds.get(key) {
                return Ok(state.clone());
            }
            let end = if world.behaviour.broken_commits.contains(&request.commit) {
                BuildState::Failed {
                    message: "COPY failed".to_owned(),
                    tail: vec!["step 2/2: COPY app /app".to_owned()],
                }
            } else {
                world.note(ResourceKind::Image, &image, &request.tags);
                world.images.insert(image.clone(), request.tags.clone());
                BuildState::Done { image, cached: false }
            };
            world.effect("start_build");
            let patience = world.behaviour.patience;
            world.builds.insert(key.to_owned(), (patience, end.clone()));
            Ok(if patience == 0 { end } else { BuildState::Running { note: Some("step 1/2".to_owned()) } })
        })
    }

    async fn poll_build(&self, key: &str) -> PortResult<BuildState> {
        self.call("poll_build", |world| {
            let Some((left, end)) = world.builds.get_mut(key) else { return Ok(BuildState::Unknown) };
            if *left > 0 {
                *left -= 1;
                return Ok(BuildState::Running { note: Some("step 2/2".to_owned()) });
            }
            Ok(end.clone())
        })
    }

    async fn cancel_build(&self, key: &str) -> PortResult<()> {
        self.call("cancel_build", |world| {
            world.builds.remove(key);
            Ok(())
        })
    }

    async fn resolve(&self, request: &AwaitImage) -> PortResult<Option<String>> {
        self.call("resolve", |world| {
            // One that is named by its digest is itself, for as long as it is there under any name.
            if let Some((name, _)) = request.image.split_once('@') {
                let images = &world.behaviour.available_images;
                let there = images.contains(&request.image) || images.contains(name);
                return Ok(there.then(|| request.image.clone()));
            }
            let there = world.behaviour.available_images.contains(&request.image);
            Ok(there.then(|| format!("{}@sha256:{}", request.image, "a".repeat(64))))
        })
    }

    async fn list_owned(&self, environment: Option<&str>) -> PortResult<Listing<OwnedResource>> {
        self.call("list_owned", |world| world.listing(environment, &[ResourceKind::Image]))
    }

    async fn delete_owned(&self, resource: &OwnedResource) -> PortResult<()> {
        self.call("delete_owned", |world| {
            if world.images.remove(&resource.id).is_some() {
                world.effect("delete_owned");
            }
            Ok(())
        })
    }
}

#[async_trait]
impl HookRunner for FakePlatform {
    async fn start(&self, key: &str, hook: &RunHook) -> PortResult<HookState> {
        self.call("start_hook", |world| {
            if let Some((_, state)) = world.hooks.get(key) {
                return Ok(state.clone());
            }
            world.effect("start_hook");
            world.hook_runs.push((hook.name.clone(), key.to_owned()));
            let fails = world.behaviour.failing_hooks.contains(&hook.name);
            let end = if fails {
                HookState::Failed {
                    code: Some(3),
                    message: "exit code 3".to_owned(),
                    tail: vec!["hook says no".to_owned()],
                }
            } else {
                HookState::Succeeded { code: 0, tail: vec!["hook ran".to_owned()] }
            };
            let patience = world.behaviour.patience;
            world.hooks.insert(key.to_owned(), (patience, end.clone()));
            Ok(if patience == 0 { end } else { HookState::Running })
        })
    }

    async fn poll(&self, key: &str) -> PortResult<HookState> {
        self.call("poll_hook", |world| {
            let Some((left, end)) = world.hooks.get_mut(key) else { return Ok(HookState::Unknown) };
            if *left > 0 {
                *left -= 1;
                return Ok(HookState::Running);
            }
            Ok(end.clone())
        })
    }

    async fn cancel(&self, key: &str) -> PortResult<()> {
        self.call("cancel_hook", |world| {
            world.hooks.remove(key);
            Ok(())
        })
    }
}
