//! Ports: the narrow traits through which Landfall touches the world, with their data and their errors.
//!
//! Errors are split by remedy, so that a caller decides by kind and never by message.

pub mod changes;
pub mod clock;
pub mod container_instances;
pub mod documents;
pub mod fleets;
pub mod images;
pub mod journal;
pub mod load_balancer;
pub mod machine_images;
pub mod orchestrator;
pub mod pipelines;
pub mod registry;
pub mod secrets;
pub mod source;
pub mod stacks;
pub mod steps;
pub mod store;
pub mod topic;

use std::sync::{Arc, LazyLock};

/// An error of a platform port, split by what the caller can do about it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PortError {
    /// May pass by itself: connection refused, engine restarting, 5xx.
    #[error("{0}")]
    Unavailable(String),
    #[error("slow down: {message}")]
    Throttled { message: String, retry_after_ms: Option<u64> },
    /// A limit of the platform is reached; says which. There is room again when something else goes or the limit is raised.
    #[error("{0}")]
    Full(String),
    #[error("not allowed: {0}")]
    Denied(String),
    #[error("not found: {0}")]
    NotFound(String),
    /// Exists and belongs to somebody else, or changed in between.
    #[error("{0}")]
    Conflict(String),
    /// The request can never succeed as it is.
    #[error("{0}")]
    Invalid(String),
    /// Ours: a promise of the code was broken.
    #[error("internal error: {0}")]
    Bug(String),
}

impl PortError {
    /// Whether asking again may help by itself.
    pub fn passes(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Throttled { .. })
    }

    /// The same, and what is to be known beside it.
    #[must_use]
    pub fn and(mut self, more: &str) -> Self {
        let (Self::Unavailable(text)
        | Self::Throttled { message: text, .. }
        | Self::Full(text)
        | Self::Denied(text)
        | Self::NotFound(text)
        | Self::Conflict(text)
        | Self::Invalid(text)
        | Self::Bug(text)) = &mut self;
        text.push_str(more);
        self
    }
}

/// An error and its causes, each said once: HTTP clients keep what went wrong two causes down.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut at = error.source();
    while let Some(cause) = at {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        at = cause.source();
    }
    text
}

pub type PortResult<T> = Result<T, PortError>;

/// Made when it is first asked for, once for all clones: an HTTP client reads the machine's certificates, which takes longer than
/// most commands that call nobody with it.
#[derive(Debug)]
pub struct Lazy<T>(Arc<LazyLock<PortResult<T>>>);

impl<T> Lazy<T> {
    pub fn new(make: fn() -> PortResult<T>) -> Self {
        Self(Arc::new(LazyLock::new(make)))
    }

    /// # Errors
    /// Of its making, every time.
    pub fn get(&self) -> PortResult<&T> {
        self.0.as_ref().as_ref().map_err(Clone::clone)
    }
}

impl<T> Clone for Lazy<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// The ports that step handlers work with, wired once by the binary.
#[derive(Clone)]
pub struct Platform {
    pub orchestrator: Arc<dyn orchestrator::Orchestrator>,
    pub load_balancer: Arc<dyn load_balancer::LoadBalancer>,
    pub images: Arc<dyn images::Images>,
    pub hooks: Arc<dyn steps::HookRunner>,
    /// Milliseconds that a step waits at least before it asks again how far something is. 0 where asking costs nothing; more
    /// where every question counts against a limit of the account.
    pub min_poll_ms: u64,
}
