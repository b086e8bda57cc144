//! Clusters of EC2 and Spot instances out of one file, `infra.yml`, as ecs-cluster-deployer reads it.
//!
//! ```text
//! infra.yml ─ read (places, hints) ─► Infra ─ build ─► cluster stack, health stack, a compute stack for each version
//! ```
//!
//! Everything here is pure: no file is opened, no clock and no variable is read, and the same file gives the same bytes.

pub mod ami;
mod build;
mod first;
mod infra;
mod names;
mod price;
mod read;
mod rights;
pub mod roll;
pub mod scale;
mod word;

pub use build::{
    Around, Standing, Unfit, associated, cluster, compute, disassociated, health, providers, restanding, same, sized,
    sizes, user_data,
};
pub use first::{Found, first};
pub use infra::{Bid, Bounds, Capacity, Compatibility, Fleet, Group, Image, Infra, Metric, Network, OnDemand};
pub use names::{
    HEALTH_TASK, LABEL_CLUSTER, LABEL_VERSION, LONGEST_NAME, Part, Version, attributes, is_name, labels, owner,
    pipeline_labels, pipeline_stack, stack_name,
};
pub use price::Price;
pub use read::{Loaded, load};
pub use rights::{Rights, rights};
