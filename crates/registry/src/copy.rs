//! An image from one repository to another, of the same registry or not.
//!
//! Within a registry layers are taken over without travelling. Between two each layer that is missing comes into a file of its own, is
//! checked, sent on and removed: an upload that is cut can be sent again, and no more than six layers are on the disk at once.

use std::collections::BTreeSet;
use std::path::Path;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use landfall_ports::{PortError, PortResult};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;

use crate::blob::Place;
use crate::client::Client;
use crate::codes;
use crate::digest::Digest;
use crate::manifest::{Content, Descriptor, Document};
use crate::push::{AT_ONCE, Layers, MANIFESTS, Push, Pushed, wanted};
use crate::reference::{Reference, Repository};
use crate::source::not_written;
use crate::upload::{How, Without};
use crate::watch::Event;

impl Client {
    /// `None`: there is no such image. `scratch`: a directory for layers on their way.
    ///
    /// # Errors
    /// As [`Client::push`]; `Full`: no room for a layer.
    pub async fn copy(&self, from: &Reference, push: &Push<'_>, scratch: &Path) -> PortResult<Option<Pushed>> {
        let Some(root) = self.manifest(&from.repository, &from.version()).await? else { return Ok(None) };
        let known = self.known(push, &root).await?;
        let layers = if known.manifest {
            Layers::default()
        } else {
            let documents = self.documents(&from.repository, root.clone()).await?;
            let layers = self.carry(&from.repository, push, &documents, scratch).await?;
            self.parts(push, &documents).await?;
            layers
        };
        self.tag(push, &root, &known, layers).await.map(Some)
    }

    async fn documents(&self, repository: &Repository, root: Document) -> PortResult<Vec<Document>> {
        let mut seen = BTreeSet::from([root.digest.clone()]);
        let (mut all, mut at) = (vec![root], 0);
        while at < all.len() {
            let parts = match &all[at].content {
                Content::Index(index) => index.manifests.clone(),
                Content::Image(_) => Vec::new(),
            };
            for part in parts {
                if part.is_manifest() && seen.insert(part.digest.clone()) {
                    let found = self.manifest(repository, &part.digest.to_string()).await?;
                    let lacks =
                        || PortError::NotFound(format!("{}: {repository} lacks {}", codes::SOURCE, part.digest));
                    all.push(found.ok_or_else(lacks)?);
                }
            }
            if all.len() > MANIFESTS {
                return Err(PortError::Invalid(format!("{}: more than {MANIFESTS} manifests", codes::SOURCE)));
            }
            at += 1;
        }
        Ok(all)
    }

    async fn carry(
        &self,
        from: &Repository,
        push: &Push<'_>,
        documents: &[Document],
        scratch: &Path,
    ) -> PortResult<Layers> {
        let blobs = wanted(documents);
        let bytes = blobs.iter().map(|descriptor| descriptor.size).sum();
        self.watcher().event(Event::Planned { blobs: blobs.len(), bytes });
        let mut mounts = push.mounts.to_vec();
        if from.registry == push.repository.registry {
            mounts.insert(0, from.name.clone());
        }
        let work = blobs.iter().map(|descriptor| {
            let mounts = &mounts;
            async move {
                let how = match self.without_sending(push.repository, descriptor, mounts).await? {
                    Without::There(how) => how,
                    Without::Send(session) => {
                        let path = scratch.join(descriptor.digest.hex());
                        let sent = async {
                            let place = self.fetch(from, descriptor, &path).await?;
                            self.upload(push.repository, descriptor, &place, session).await
                        };
                        let sent = sent.await;
                        // It was only on its way.
                        let _ = tokio::fs::remove_file(&path).await;
                        sent?;
                        self.watcher().event(Event::Uploaded(descriptor));
                        How::Uploaded
                    }
                };
                PortResult::Ok((how, descriptor.size))
            }
        });
        let done: Vec<(How, u64)> = stream::iter(work).buffer_unordered(AT_ONCE).try_collect().await?;
        Ok(Layers::of(&done))
    }

    /// Reads a blob into a file, again from the beginning where it is cut, and checks it.
    async fn fetch(&self, from: &Repository, descriptor: &Descriptor, path: &Path) -> PortResult<Place> {
        let what = format!("reading layer {} of {from}", descriptor.digest.short());
        let mut tried = 0;
        loop {
            match self.fetch_once(from, descriptor, path, &mut tried).await? {
                Ok(found) if found == descriptor.digest => {
                    return Ok(Place::File { path: path.to_owned(), offset: 0, size: descriptor.size });
                }
                Ok(found) => {
                    return Err(PortError::Invalid(format!("{}: {what}: {found} came", codes::DIGEST)));
                }
                Err(why) => {
                    tried += 1;
                    self.transport.pause(from, tried, &what, Ok(why)).await?;
                }
            }
        }
    }

    /// The inner error may pass by itself.
    async fn fetch_once(
        &self,
        from: &Repository,
        descriptor: &Descriptor,
        path: &Path,
        tried: &mut u32,
    ) -> PortResult<Result<Digest, String>> {
        let mut body = self.blob(from, &descriptor.digest, tried).await?;
        let mut file = tokio::fs::File::create(path).await.map_err(|e| not_written(path, &e))?;
        let (mut hash, mut left) = (Sha256::new(), descriptor.size);
        loop {
            match body.chunk().await {
                Ok(Some(chunk)) => {
                    let Some(rest) = left.checked_sub(chunk.len() as u64) else {
                        return Err(PortError::Invalid(format!(
                            "{}: {from}: more came than a layer has",
                            codes::DIGEST
                        )));
                    };
                    left = rest;
                    hash.update(&chunk);
                    file.write_all(&chunk).await.map_err(|e| not_written(path, &e))?;
                }
                Ok(None) if left > 0 => return Ok(Err(format!("it ended {left} bytes early"))),
                Ok(None) => break,
                Err(why) => return Ok(Err(why)),
            }
        }
        file.flush().await.map_err(|e| not_written(path, &e))?;
        Ok(Ok(Digest::of_hash(hash)))
    }
}
