//! The groups and Spot Fleets that a cluster's instances belong to.

use std::collections::BTreeMap;

use async_trait::async_trait;
use landfall_model::Timestamp;
use landfall_model::fleet::{FleetState, Schedulable, TypeFacts};

use crate::PortResult;

/// Fleets by the names of Auto Scaling groups and the ids of requests for Spot Fleets.
#[async_trait]
pub trait Fleets: Send + Sync {
    /// One that is gone is left out.
    async fn fleets(&self, ids: &[String]) -> PortResult<Vec<FleetState>>;

    /// When these instances were launched.
    async fn launched(&self, instances: &[String]) -> PortResult<BTreeMap<String, Timestamp>>;

    /// AWS launches what is missing. Never below what is there: which instances would go is AWS's to say then.
    ///
    /// # Errors
    /// `Conflict`: beyond the fleet's bounds, or the fleet is being changed.
    async fn resize(&self, fleet: &str, desired: u64) -> PortResult<()>;

    /// `left`: what the fleet is to have without it, in units of weight; `None`: another one takes its place. An instance that is
    /// gone is no error.
    async fn terminate(&self, fleet: &str, instance: &str, left: Option<u64>) -> PortResult<()>;

    /// AWS may end an instance that it holds ([`DRAIN_HOOK`](landfall_model::fleet::DRAIN_HOOK)). One that it does not hold is no error.
    async fn release(&self, fleet: &str, instance: &str) -> PortResult<()>;

    /// Auto Scaling ends no more instances to have as many in each zone ([`FleetState::evens_out`]).
    async fn keep_uneven(&self, fleet: &str) -> PortResult<()>;

    /// Written down with the fleet, for the next look.
    async fn note(&self, fleet: &str, next_permitted: i64) -> PortResult<()>;

    /// # Errors
    /// `Invalid`: AWS knows no such type.
    async fn types(&self, names: &[String]) -> PortResult<Vec<TypeFacts>>;

    /// The average of `Schedulable Cluster Tasks` over so many seconds; `None`: there is no datapoint.
    async fn average(&self, seconds: u32) -> PortResult<Option<f64>>;

    /// As datapoints of `Schedulable Cluster Tasks` and `Scheduled Percentage`.
    async fn publish(&self, metrics: Schedulable) -> PortResult<()>;
}
