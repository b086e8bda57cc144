//! Tar files that hold an image: `podman save --format oci-archive`, `skopeo copy … oci-archive:`, `docker save`, `podman save`.
//!
//! The headers are read once; blobs are sent from where they lie within the file, without being unpacked.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use landfall_ports::PortResult;

use crate::blob::Place;
use crate::source::layout::{Files, Layout, bad};

/// Entries that an archive may have: an image has a few per layer.
const ENTRIES: usize = 100_000;
/// Links that lead on to links.
const LINKS: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// OCI's layout within a tar: sent as it is.
    Oci,
    /// `manifest.json`, and a layer at least that is not compressed: [`repack`](super::repack).
    Docker,
}

/// How bytes that begin so are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packed {
    Gzip,
    Zstd,
}

impl Packed {
    pub(crate) fn of(place: &Place) -> std::io::Result<Option<Self>> {
        let mut magic = Vec::new();
        place.open()?.take(4).read_to_end(&mut magic)?;
        Ok(match magic.as_slice() {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd] => Some(Self::Zstd),
            _ => None,
        })
    }
}

#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    entries: HashMap<String, Entry>,
}

#[derive(Debug)]
enum Entry {
    File {
        offset: u64,
        size: u64,
    },
    /// To another entry: `docker save` writes a layer that two images share once.
    Link(String),
}

impl Archive {
    /// # Errors
    /// `Invalid`: it cannot be read as a tar.
    pub fn open(path: &Path) -> PortResult<Self> {
        let file = File::open(path).map_err(|e| bad(path, e))?;
        let size = file.metadata().map_err(|e| bad(path, e))?.len();
        let all = Place::File { path: path.to_owned(), offset: 0, size };
        if let Some(packed) = Packed::of(&all).map_err(|e| bad(path, e))? {
            let tool = if packed == Packed::Gzip { "gunzip" } else { "unzstd" };
            return Err(bad(path, format!("the archive is compressed as a whole: {tool} it first")));
        }
        let mut entries = HashMap::new();
        let mut archive = tar::Archive::new(file);
        let not_tar = |e: std::io::Error| bad(path, format!("this is no tar archive of an image: {e}"));
        for entry in archive.entries_with_seek().map_err(not_tar)? {
            let entry = entry.map_err(not_tar)?;
            let name = clean(&String::from_utf8_lossy(&entry.path_bytes()));
            let kind = entry.header().entry_type();
            if kind.is_file() {
                entries.insert(name, Entry::File { offset: entry.raw_file_position(), size: entry.size() });
            } else if kind.is_symlink() || kind.is_hard_link() {
                let target = entry.link_name_bytes().map(|target| String::from_utf8_lossy(&target).into_owned());
                let base = if kind.is_symlink() { name.rsplit_once('/').map_or("", |(base, _)| base) } else { "" };
                let target = clean(&format!("{base}/{}", target.unwrap_or_default()));
                entries.insert(name, Entry::Link(target));
            }
            if entries.len() > ENTRIES {
                return Err(bad(path, format!("more than {ENTRIES} files: this is no image")));
            }
        }
        Ok(Self { path: path.to_owned(), entries })
    }

    /// Docker writes both since version 25. With its own store the layers are not compressed, and a registry would keep them so;
    /// with containerd's they are, and the digest that the engine knows is that of the layout.
    ///
    /// # Errors
    /// `Invalid`: neither, or it cannot be read.
    pub fn kind(&self) -> PortResult<Kind> {
        let (oci, docker) = (self.entries.contains_key("oci-layout"), self.entries.contains_key("manifest.json"));
        if oci && !(docker && super::docker::has_bare_layers(self)?) {
            return Ok(Kind::Oci);
        }
        if docker {
            return Ok(Kind::Docker);
        }
        Err(bad(&self.path, "neither `oci-layout` nor `manifest.json` is in it: no image was saved here"))
    }

    /// The image of that name in an OCI archive.
    ///
    /// # Errors
    /// As [`Layout::open`].
    pub fn layout(self, name: Option<&str>) -> PortResult<Layout> {
        Layout::of(Box::new(self), name)
    }
}

impl Files for Archive {
    fn file(&self, name: &str) -> PortResult<Option<Place>> {
        let mut name = clean(name);
        for _ in 0..LINKS {
            match self.entries.get(&name) {
                None => return Ok(None),
                Some(Entry::File { offset, size }) => {
                    return Ok(Some(Place::File { path: self.path.clone(), offset: *offset, size: *size }));
                }
                Some(Entry::Link(target)) => name = target.clone(),
            }
        }
        Err(bad(&self.path, format!("{name}: a link that leads nowhere")))
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

/// Without `.` and `..`, which stay within the archive.
fn clean(name: &str) -> String {
    let mut parts = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn blobs_are_read_where_they_lie_and_links_are_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tar");
        let mut tar = tar::Builder::new(File::create(&path).unwrap());
        for (name, text) in [("manifest.json", "[]"), ("./a/layer.tar", "layer")] {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, text.as_bytes()).unwrap();
        }
        for (name, target) in
            [("b/layer.tar", "../a/layer.tar"), ("c/layer.tar", "../d/layer.tar"), ("d/layer.tar", "../c/layer.tar")]
        {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            tar.append_link(&mut header, name, target).unwrap();
        }
        tar.finish().unwrap();
        let archive = Archive::open(&path).unwrap();
        assert_eq!(archive.kind().unwrap(), Kind::Docker);
        let read = |name: &str| {
            let mut text = String::new();
            archive.file(name).unwrap().unwrap().open().unwrap().read_to_string(&mut text).unwrap();
            text
        };
        assert_eq!((read("a/layer.tar"), read("b/layer.tar")), ("layer".to_owned(), "layer".to_owned()));
        assert!(archive.file("none").unwrap().is_none());
        assert!(archive.file("c/layer.tar").is_err(), "a circle ends");
    }

    #[test]
    fn what_is_no_archive_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        for (bytes, word) in [(&b"\x1f\x8b\x08\x00"[..], "gunzip"), (&[b'x'; 1024][..], "no tar archive")] {
            std::fs::write(&path, bytes).unwrap();
            let error = Archive::open(&path).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        std::fs::write(&path, [0; 1024]).unwrap();
        assert!(Archive::open(&path).unwrap().kind().unwrap_err().to_string().contains("no image was saved"));
    }
}
