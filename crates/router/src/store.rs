//! What the router serves, on disk: an atomic snapshot and a log of what changed since.
//!
//! A change is appended before it is answered. The log is not synced: it must survive the death of this process, not of
//! the machine, whose end takes the targets with it; whoever reconciles puts the routes back. So a change costs
//! one write of its own size, however many routes there are. Compaction, once the log is long and after the answer,
//! writes a new snapshot (synced, renamed into place) that carries the number of the last change in it, and then empties
//! the log. A crash between the two leaves changes in the log that the snapshot already has; their numbers say so and they
//! are skipped. A torn last line is what was never answered, and is cut off.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use landfall_model::step::RouteTarget;
use serde::{Deserialize, Serialize};

use crate::api::{RouteSpec, TargetGroupSpec, TargetState};

const MIN_COMPACT: u64 = 1 << 20;

/// One change.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Change {
    PutGroup(TargetGroupSpec),
    DeleteGroup(String),
    /// Target and the state it is in now.
    Target(String, SocketAddr, TargetState),
    RemoveTarget(String, SocketAddr),
    PutRoute(RouteSpec),
    DeleteRoute(RouteTarget),
}

#[derive(Debug, Serialize, Deserialize)]
struct Numbered<T> {
    seq: u64,
    change: T,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SavedGroup {
    pub(crate) spec: TargetGroupSpec,
    pub(crate) targets: BTreeMap<SocketAddr, TargetState>,
    #[serde(default)]
    pub(crate) requests: u64,
    /// Milliseconds since the epoch; 0: never.
    #[serde(default)]
    pub(crate) last_request: u64,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Saved {
    /// The last change that is in here.
    pub(crate) seq: u64,
    pub(crate) groups: Vec<SavedGroup>,
    pub(crate) routes: Vec<RouteSpec>,
}

pub(crate) struct Store {
    directory: PathBuf,
    log: File,
    length: u64,
    compact_at: u64,
    seq: u64,
}

impl Store {
    /// Opens and replays. A snapshot that cannot be read is an error: serving nothing would look like everything deleted.
    pub(crate) fn open(directory: &Path) -> std::io::Result<(Self, Saved)> {
        let snapshot = match std::fs::read(directory.join("routes.json")) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                let place = directory.join("routes.json");
                std::io::Error::other(format!("{} is damaged ({error}); move it away to start empty", place.display()))
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Saved::default(),
            Err(error) => return Err(error),
        };
        let path = directory.join("routes.log");
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            other => other?,
        };
        let (saved, good) = replay(snapshot, &bytes);
        if good < bytes.len() {
            tracing::warn!(log = %path.display(), at = good, dropped = bytes.len() - good, "the end of the log is torn");
        }
        // Not O_APPEND: a torn tail is overwritten at its place.
        let mut log = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path)?;
        log.set_len(good as u64)?;
        log.seek(SeekFrom::End(0))?;
        let seq = saved.seq;
        let store = Self { directory: directory.to_owned(), log, length: good as u64, compact_at: MIN_COMPACT, seq };
        Ok((store, saved))
    }

    /// All or nothing: a failed append leaves the log as it was.
    pub(crate) fn append(&mut self, changes: &[Change]) -> std::io::Result<()> {
        let mut bytes = Vec::with_capacity(256 * changes.len());
        let mut seq = self.seq;
        for change in changes {
            seq += 1;
            serde_json::to_writer(&mut bytes, &Numbered { seq, change })?;
            bytes.push(b'\n');
        }
        if let Err(error) = self.log.write_all(&bytes) {
            // Half a line may be there; the next append must not follow it.
            self.log.set_len(self.length)?;
            self.log.seek(SeekFrom::Start(self.length))?;
            return Err(error);
        }
        self.length += bytes.len() as u64;
        self.seq = seq;
        Ok(())
    }

    pub(crate) fn wants_compaction(&self) -> bool {
        self.length > self.compact_at
    }

    pub(crate) fn compact(&mut self, mut saved: Saved) -> std::io::Result<()> {
        saved.seq = self.seq;
        let bytes = serde_json::to_vec(&saved)?;
        let temporary = self.directory.join("routes.json.new");
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, self.directory.join("routes.json"))?;
        File::open(&self.directory)?.sync_all()?;
        self.log.set_len(0)?;
        self.log.seek(SeekFrom::Start(0))?;
        self.length = 0;
        self.compact_at = MIN_COMPACT.max(bytes.len() as u64 * 2);
        Ok(())
    }
}

/// Applies the log to the snapshot; also says how many bytes of the log are whole.
fn replay(snapshot: Saved, log: &[u8]) -> (Saved, usize) {
    let mut groups: BTreeMap<String, SavedGroup> =
        snapshot.groups.into_iter().map(|group| (group.spec.name.clone(), group)).collect();
    let mut routes: BTreeMap<String, RouteSpec> =
        snapshot.routes.into_iter().map(|route| (route_key(&route.route), route)).collect();
    let (mut seq, mut good) = (snapshot.seq, 0);
    while let Some(length) = log.get(good..).and_then(|rest| rest.iter().position(|b| *b == b'\n')) {
        let line = log.get(good..good + length).unwrap_or_default();
        let Ok(numbered) = serde_json::from_slice::<Numbered<Change>>(line) else { break };
        good += length + 1;
        if numbered.seq <= seq {
            continue;
        }
        seq = numbered.seq;
        match numbered.change {
            Change::PutGroup(spec) => {
                let empty = SavedGroup { spec: spec.clone(), targets: BTreeMap::new(), requests: 0, last_request: 0 };
                let name = spec.name.clone();
                groups.entry(name).or_insert(empty).spec = spec;
            }
            Change::DeleteGroup(name) => {
                groups.remove(&name);
            }
            Change::Target(name, addr, state) => {
                if let Some(group) = groups.get_mut(&name) {
                    group.targets.insert(addr, state);
                }
            }
            Change::RemoveTarget(name, addr) => {
                if let Some(group) = groups.get_mut(&name) {
                    group.targets.remove(&addr);
                }
            }
            Change::PutRoute(route) => {
                routes.insert(route_key(&route.route), route);
            }
            Change::DeleteRoute(route) => {
                routes.remove(&route_key(&route));
            }
        }
    }
    let saved = Saved { seq, groups: groups.into_values().collect(), routes: routes.into_values().collect() };
    (saved, good)
}

/// `host:port`, or `:port` for a listener of its own.
pub(crate) fn route_key(route: &RouteTarget) -> String {
    match route {
        RouteTarget::Host { host, port } => format!("{}:{port}", host.to_ascii_lowercase()),
        RouteTarget::Port { port } => format!(":{port}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn route(host: &str) -> Change {
        Change::PutRoute(RouteSpec {
            route: RouteTarget::Host { host: host.into(), port: 80 },
            target_group: "tg".into(),
            tags: Default::default(),
        })
    }

    fn hosts(saved: &Saved) -> Vec<String> {
        saved.routes.iter().map(|route| route_key(&route.route)).collect()
    }

    #[test]
    fn every_cut_of_the_log_keeps_the_whole_lines_before_it() {
        let directory = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(directory.path()).unwrap();
        let mut ends = vec![0];
        for host in ["a", "b", "c"] {
            store.append(&[route(host)]).unwrap();
            ends.push(store.length as usize);
        }
        let log = std::fs::read(directory.path().join("routes.log")).unwrap();
        for cut in 0..=log.len() {
            let (saved, good) = replay(Saved::default(), &log[..cut]);
            let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
            assert_eq!(saved.routes.len(), whole, "cut at {cut}");
            assert_eq!(good, ends[whole]);
        }
    }

    #[test]
    fn a_torn_tail_is_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(directory.path()).unwrap();
        store.append(&[route("a")]).unwrap();
        store.log.write_all(b"{\"seq\":2,\"cha").unwrap();
        drop(store);
        let (mut store, saved) = Store::open(directory.path()).unwrap();
        assert_eq!(hosts(&saved), ["a:80"]);
        store.append(&[route("b")]).unwrap();
        assert_eq!(hosts(&Store::open(directory.path()).unwrap().1), ["a:80", "b:80"]);
    }

    #[test]
    fn a_crash_between_snapshot_and_truncation_applies_nothing_twice() {
        let directory = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(directory.path()).unwrap();
        store.append(&[route("a"), route("b")]).unwrap();
        let gone = Change::DeleteRoute(RouteTarget::Host { host: "a".into(), port: 80 });
        store.append(&[gone]).unwrap();
        let log = std::fs::read(directory.path().join("routes.log")).unwrap();
        let (_, saved) = Store::open(directory.path()).unwrap();
        store.compact(saved).unwrap();
        std::fs::write(directory.path().join("routes.log"), log).unwrap();
        let (mut store, saved) = Store::open(directory.path()).unwrap();
        assert_eq!(hosts(&saved), ["b:80"]);
        store.append(&[route("c")]).unwrap();
        assert_eq!(hosts(&Store::open(directory.path()).unwrap().1), ["b:80", "c:80"]);
    }

    #[test]
    fn a_damaged_snapshot_is_an_error_that_says_where() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("routes.json"), b"{").unwrap();
        let error = Store::open(directory.path()).err().unwrap().to_string();
        assert!(error.contains("routes.json is damaged"), "{error}");
    }
}
