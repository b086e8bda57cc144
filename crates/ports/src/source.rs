//! The forge seen as a list of branches. Webhooks only wake; this decides.

use async_trait::async_trait;
use landfall_model::app::Repository;
use landfall_model::inventory::Listing;
use serde::{Deserialize, Serialize};

use crate::PortResult;

#[async_trait]
pub trait BranchSource: Send + Sync {
    /// All branches with their tips. `NotFound` where the repository has no `source` configured.
    async fn branches(&self, repository: &Repository) -> PortResult<Listing<Branch>>;
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Branch {
    pub name: String,
    pub commit: String,
}
