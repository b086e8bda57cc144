//! Who this client is to a registry, for an engine that pulls by itself.

use landfall_ports::PortResult;

use crate::client::Client;
use crate::credentials::{Login, Secret};
use crate::reference::Repository;

impl Client {
    /// What a cloud gives for its own registries, else what `docker login` and `podman login` left; `None`: nobody knows that registry.
    ///
    /// # Errors
    /// `Denied`: the cloud gives none. `Invalid`: a file that is there and cannot be read; a helper that fails.
    pub async fn login(&self, repository: &Repository) -> PortResult<Option<Login>> {
        if let Some(cloud) = self.transport.cloud.as_ref().filter(|cloud| cloud.serves(&repository.registry)) {
            let login = cloud.login(&repository.registry).await?;
            return Ok(Some(Login::Basic { user: login.user, password: Secret::new(login.password) }));
        }
        self.transport.places.login(repository).await
    }
}
