//! Images in OCI layouts, archives and registries, and their way from one to the other.
//!
//! The client is our own, on the HTTP client that the tree has, and not `oci-client` (0.18 was weighed): its monolithic upload takes a
//! layer as a slice in memory and copies it, which for layers of a gigabyte is no way; its streaming one sends chunks, of which ECR
//! keeps the first only. It resumes nothing, repeats nothing, hides a 429's `Retry-After` behind an error, counts the start of an
//! upload in answer to a mount as a failure, and reads no credentials. What it saves, the dozen calls of `client`, is a page.
//!
//! What decides (references, challenges, retries, what is missing) is pure and beside what does.

pub mod artifact;
mod auth;
mod blob;
mod challenge;
mod client;
pub mod codes;
mod copy;
pub mod credentials;
mod digest;
mod download;
mod http;
mod login;
pub mod manifest;
mod push;
mod reference;
mod retry;
pub mod source;
mod stock;
mod upload;
pub mod watch;

pub use blob::{Opened, Place};
pub use client::{Client, Found};
pub use digest::Digest;
pub use push::{AT_ONCE, Layers, Push, Pushed};
pub use reference::{Reference, Repository, is_tag, same_repository};
pub use stock::{Held, Refused};
