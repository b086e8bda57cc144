//! An environment's network. The engines differ in three things.
//!
//! - Podman's networks reach each other unless they are made with `isolate`; Docker's never do.
//! - Podman finds a subnet for any number of networks. Docker's pools are enough for thirty, then we find one.
//! - Podman's names are unique. Two of Docker's may be made at once under one name (by a process that was killed in the middle and
//!   by its successor), and by that name neither is found again. So on Docker a network goes by its id, and of several of our name
//!   everyone takes the first one and removes the others; a task that was about to start on one of those is made once more.

use std::collections::BTreeMap;

use landfall_model::inventory::TAG_ENVIRONMENT;

use crate::core::Core;
use crate::docker::{DockerError, DockerResult};
use crate::engine::EngineKind;
use crate::{labels, subnet};

/// The network's name or id, made when it is missing.
pub(crate) async fn ensure(core: &Core, environment: &str) -> DockerResult<String> {
    let name = labels::network_name(environment, &core.instance);
    let made = create(core, environment, &name).await;
    match (core.engine.kind, made) {
        (_, Err(error)) if error.is_unavailable() => Err(error),
        (EngineKind::Podman, Ok(())) => Ok(name),
        // The engines word it differently; what counts is that it is there.
        (EngineKind::Podman, Err(error)) => core.docker.inspect_network(&name).await.map(|_| name).map_err(|_| error),
        (EngineKind::Docker, made) => {
            let mut found = named(core, &name).await?.into_iter();
            let first = found.next();
            for other in found {
                if let Err(error) = core.docker.remove_network(&other).await {
                    tracing::debug!(%error, network = name, "a second one of this name is kept");
                }
            }
            match (first, made) {
                (Some(first), _) => Ok(first),
                (None, Err(error)) => Err(error),
                (None, Ok(())) => Err(DockerError::NotFound(format!("network {name} vanished"))),
            }
        }
    }
}

/// Refused while a container is on it.
pub(crate) async fn remove(core: &Core, environment: &str) -> DockerResult<()> {
    let name = labels::network_name(environment, &core.instance);
    if core.engine.kind == EngineKind::Podman {
        return core.docker.remove_network(&name).await;
    }
    for network in named(core, &name).await? {
        core.docker.remove_network(&network).await?;
    }
    Ok(())
}

/// Ids, in an order that is the same for everyone.
async fn named(core: &Core, name: &str) -> DockerResult<Vec<String>> {
    let found = core.docker.list_networks(&labels::owned_by(&core.instance, None)).await?;
    let mut ids: Vec<_> = found.into_iter().filter(|network| network.name == name).map(|network| network.id).collect();
    ids.sort_unstable();
    Ok(ids)
}

async fn create(core: &Core, environment: &str, name: &str) -> DockerResult<()> {
    let tags = BTreeMap::from([(TAG_ENVIRONMENT.to_owned(), environment.to_owned())]);
    let labels = labels::with_instance(&tags, &core.instance);
    let mut options = BTreeMap::new();
    if core.engine.kind == EngineKind::Podman {
        options.insert("isolate".to_owned(), "true".to_owned());
    }
    let mut made = core.docker.create_network(name, &labels, &options, None).await;
    if matches!(made, Err(DockerError::NoSubnet(_))) {
        let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
        for subnet in subnet::candidates(name, &routes) {
            made = core.docker.create_network(name, &labels, &options, Some(&subnet)).await;
            if !matches!(made, Err(DockerError::NoSubnet(_))) {
                break;
            }
        }
    }
    made
}
