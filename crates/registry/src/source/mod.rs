//! Images on this machine, as they come out of builders and engines.

mod archive;
mod docker;
mod layout;

pub use archive::{Archive, Kind};
pub use docker::{Layers, Repacked, repack};
pub(crate) use layout::not_written;
pub use layout::{Layout, write_layout};

use landfall_ports::PortResult;

use crate::blob::Place;
use crate::manifest::{Descriptor, Document};

/// An image and all that it needs.
pub trait Source: Send + Sync {
    fn root(&self) -> &Descriptor;
    /// Read and checked against its digest.
    ///
    /// # Errors
    /// `Invalid`: missing, damaged, or no manifest.
    fn manifest(&self, descriptor: &Descriptor) -> PortResult<Document>;
    /// Where a blob is; its content is not read.
    ///
    /// # Errors
    /// `Invalid`: missing, or of another size.
    fn place(&self, descriptor: &Descriptor) -> PortResult<Place>;
}
