//! Looking from outside for what is left: the engine's own listings by label, the routes by asking, the ports by connecting.
//! Nothing here believes what the server says of itself.

use std::net::SocketAddr;
use std::time::Duration;

use landfall_local::docker::Docker;
use landfall_model::inventory::TAG_INSTANCE;

use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::http::{Ask, send};

/// The label of everything that one installation made. Never the environment's alone: another installation on this machine
/// may have a preview of the same name, which is not ours to wait for or to remove.
fn label(instance: &str) -> String {
    format!("{TAG_INSTANCE}={instance}")
}

/// Containers, networks and images of the installation, each as `container my-project-…`.
///
/// Podman fails a whole listing when something of it vanishes meanwhile: then once more.
pub(super) async fn resources(docker: &Docker, instance: &str) -> CliResult<Vec<String>> {
    let mut tries = 20;
    loop {
        match listed(docker, instance).await {
            Err(_) if tries > 0 => tries -= 1,
            result => return result,
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn listed(docker: &Docker, instance: &str) -> CliResult<Vec<String>> {
    let labels = [label(instance)];
    let failed = |what: &str| {
        let what = format!("the engine cannot list {what}");
        move |error: landfall_local::docker::DockerError| CliError::new(ExitCode::Unavailable, what).cause(&error)
    };
    let mut found = Vec::new();
    for container in docker.list_containers(&labels).await.map_err(failed("containers"))? {
        found.push(format!("container {} ({})", container.name(), container.state));
    }
    for network in docker.list_networks(&labels).await.map_err(failed("networks"))? {
        found.push(format!("network {}", network.name));
    }
    for image in docker.list_images(&labels).await.map_err(failed("images"))? {
        found.push(format!("image {}", image.id));
    }
    Ok(found)
}

/// Removes whatever the installation made, members of a task before the container that holds their network.
pub(super) async fn remove(docker: &Docker, instance: &str) {
    let labels = [label(instance)];
    for _ in 0..3 {
        let containers = docker.list_containers(&labels).await.unwrap_or_default();
        if containers.is_empty() {
            break;
        }
        for container in containers {
            let _ = docker.remove_container(&container.id).await;
        }
    }
    for network in docker.list_networks(&labels).await.unwrap_or_default() {
        let _ = docker.remove_network(&network.id).await;
    }
    for image in docker.list_images(&labels).await.unwrap_or_default() {
        let _ = docker.remove_image(&image.id).await;
    }
}

/// The engine's image that holds a task's network: shared by all installations, so it is not one's own to remove, unless
/// one made it.
pub(super) async fn pause_images(docker: &Docker) -> Vec<String> {
    let all = docker.list_images(&[]).await.unwrap_or_default();
    all.into_iter().flat_map(|image| image.repo_tags).filter(|tag| tag.contains("/landfall-pause:")).collect()
}

/// Whether the preview still answers at its host. Gone is: nobody listens, or the load balancer knows no such host.
pub(super) async fn route(addr: SocketAddr, host: &str) -> Option<String> {
    match send(addr, Ask::get("/").host(host), Duration::from_secs(5)).await {
        Err(_) => None,
        Ok(answer) if answer.status == 404 => None,
        Ok(answer) => Some(format!("route {host} (answers {})", answer.status)),
    }
}

pub(super) async fn port_open(addr: SocketAddr) -> bool {
    let connect = tokio::net::TcpStream::connect(addr);
    matches!(tokio::time::timeout(Duration::from_secs(2), connect).await, Ok(Ok(_)))
}
