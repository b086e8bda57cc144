//! An image out of the engine, as `docker save` writes it.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use tokio::io::AsyncWriteExt as _;

use super::stream::next_chunk;
use super::{Docker, DockerError, DockerResult, encode};

/// Until the first byte: Podman writes the whole image to a file of its own before it answers.
const FIRST: Duration = Duration::from_secs(1800);

impl Docker {
    /// Writes the image to `file`, which is made or emptied.
    ///
    /// # Errors
    /// As all calls; `Other` with status 507 where the file cannot be written.
    pub async fn save_image(&self, reference: &str, file: &Path) -> DockerResult<()> {
        let path = format!("{}/images/{}/get", self.prefix(), encode(reference));
        let response = self.send(Method::GET, &path, None, Bytes::new(), FIRST).await?;
        if !response.status().is_success() {
            self.read(response).await?;
            return Err(DockerError::Decode(path));
        }
        let failed =
            |e: std::io::Error| DockerError::Other { status: 507, message: format!("{}: {e}", file.display()) };
        let mut to = tokio::fs::File::create(file).await.map_err(failed)?;
        let mut body = response.into_body();
        while let Some(chunk) = next_chunk(&mut body).await? {
            to.write_all(&chunk).await.map_err(failed)?;
        }
        to.flush().await.map_err(failed)
    }
}
