//! What stages of pipelines need of the world beside the platform that they deploy to.

use async_trait::async_trait;
use landfall_model::probe::Probe;

use crate::{PortError, PortResult};

#[async_trait]
pub trait Outside: Send + Sync {
    /// One GET. `Err`: in what its answer is not as it should be, or why there is none. `through`: the address to ask instead
    /// of the URL's own, which is then named in the request.
    async fn probe(&self, url: &str, through: Option<&str>, probe: &Probe) -> Result<(), String>;

    /// Those of these alarms of CloudWatch that are in ALARM, where the environment is. Natural.
    async fn alarms(&self, environment: &str, names: &[String]) -> PortResult<Vec<String>>;

    /// Copies an image, named by digest, into another repository, and gives its name there, with the same digest. `tags`: those that it
    /// gets there, whatever had them before. Natural.
    async fn copy(&self, image: &str, to: &str, tags: &[String]) -> PortResult<String>;

    /// A parameter of SSM in the open, where the environment is; `None`: there is none.
    async fn parameter(&self, environment: &str, name: &str) -> PortResult<Option<String>>;

    /// Writes it. Natural.
    async fn put_parameter(&self, environment: &str, name: &str, value: &str) -> PortResult<()>;
}

/// Where there is no way out: everything is refused.
pub struct Nowhere;

fn none<T>() -> PortResult<T> {
    Err(PortError::Invalid("there is no way to that from here".to_owned()))
}

#[async_trait]
impl Outside for Nowhere {
    async fn probe(&self, _: &str, _: Option<&str>, _: &Probe) -> Result<(), String> {
        Err("there is no way to that from here".to_owned())
    }

    async fn alarms(&self, _: &str, _: &[String]) -> PortResult<Vec<String>> {
        none()
    }

    async fn copy(&self, _: &str, _: &str, _: &[String]) -> PortResult<String> {
        none()
    }

    async fn parameter(&self, _: &str, _: &str) -> PortResult<Option<String>> {
        none()
    }

    async fn put_parameter(&self, _: &str, _: &str, _: &str) -> PortResult<()> {
        none()
    }
}
