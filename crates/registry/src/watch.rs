//! What a push tells about itself while it runs.

use std::time::Duration;

use crate::manifest::Descriptor;

/// What just happened.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// So many blobs, of so many bytes together, are looked for.
    Planned {
        blobs: usize,
        bytes: u64,
    },
    /// It was there.
    Present(&'a Descriptor),
    /// Taken from another repository of the same registry.
    Mounted(&'a Descriptor),
    /// These many bytes more have left.
    Sent(u64),
    /// These many bytes have to be sent again.
    Lost(u64),
    Uploaded(&'a Descriptor),
    /// An upload that was cut goes on behind these many bytes.
    Resumed(&'a Descriptor, u64),
    Retry {
        what: &'a str,
        why: &'a str,
        wait: Duration,
    },
    /// The registry is asked for this tag or digest: it may have it before it answers.
    Tagging(&'a str),
    /// The registry has the image under this tag or digest.
    Tagged(&'a str),
}

pub trait Watcher: Send + Sync {
    fn event(&self, event: Event<'_>);
}

/// Nobody watches.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Watcher for Quiet {
    fn event(&self, _event: Event<'_>) {}
}
