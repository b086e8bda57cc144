//! What Landfall may do on AWS: the table of every call that it makes, and the least policy for what a manifest can do.
//!
//! Everything here is pure. `table` is AWS's Service Authorization Reference for our calls; a policy is only ever made of its
//! rows, and a test holds every statement to what its actions take: resource types and condition keys.

mod cluster;
mod demand;
mod least;
mod names;
mod policy;
mod push;
mod secrets;
mod stack;
mod statements;
mod stock;
mod table;
#[cfg(test)]
mod tests;
mod trust;

pub use cluster::{BUILDER, ClusterAsk, ClusterWork, RECIPE, Where, cluster};
pub use demand::Demand;
pub use least::{Ask, Least, StateBucket, Unfit, least};
pub use names::Names;
pub use policy::{Condition, Effect, Policy, Statement};
pub use push::{push, pushed};
pub use stack::APPLIES;
pub use stock::{probes, prune, records, releases};
pub use table::{ACTIONS, Action, Level, action};
pub use trust::{TrustKind, trust};
