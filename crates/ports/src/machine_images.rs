//! The account's own machine images, and the instances they are made of.

use std::collections::BTreeMap;

use async_trait::async_trait;
use landfall_model::machine_image::{ImageState, Launched, MachineLaunch, MachineState};

use crate::PortResult;

#[async_trait]
pub trait MachineImages: Send + Sync {
    /// An image that may be used, whoever's it is.
    async fn image(&self, id: &str) -> PortResult<Option<ImageState>>;

    /// Those of the account that have this tag, and those whose name begins so.
    async fn own(&self, tag: &str, prefix: &str) -> PortResult<Vec<ImageState>>;

    /// Instances with this tag, also those that are gone for as long as EC2 tells of them.
    async fn machines(&self, tag: &str, value: &str) -> PortResult<Vec<MachineState>>;

    /// One instance that stops when it shuts itself down. Natural: a token launches one.
    ///
    /// # Errors
    /// `Invalid`: EC2 does not take something of it. `Full`: the account may have no more.
    async fn launch(&self, launch: &MachineLaunch) -> PortResult<Launched>;

    /// What the instance has written to its console: what EC2 posted when it started or stopped, or what is there just now, which is
    /// nothing for types that are not built on Nitro.
    async fn console(&self, machine: &str, latest: bool) -> PortResult<String>;

    /// Begins an image, tagged from the beginning. One of that name that is there, and an instance that is gone, are no error: the next
    /// look tells.
    async fn create(&self, machine: &str, name: &str, tags: &BTreeMap<String, String>) -> PortResult<()>;

    /// With its snapshots. One that is gone is no error.
    async fn discard(&self, image: &str) -> PortResult<()>;

    /// One that is gone is no error.
    async fn terminate(&self, machine: &str) -> PortResult<()>;
}
