//! The record of a run, kept in `ci/` below the state, so that `landfall ci resume` goes on: on this machine, or, where the state is
//! on S3, on any. Replaced as a whole; a job that is killed in the middle leaves the one before.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use landfall_ci::Host;
use landfall_ci::plan::Flow;
use landfall_ci::record::Record;

use crate::cli::Global;
use crate::error::CliResult;
use crate::paths::State;
use crate::printer::Printer;

/// Nobody goes on with a job of last month.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

pub(super) struct Keep {
    place: Place,
    printer: Printer,
}

enum Place {
    File(PathBuf),
    #[cfg(feature = "aws")]
    S3(landfall_s3::Document),
    /// It could not be written: the run goes on without.
    Nowhere,
}

impl Keep {
    pub(super) async fn of(flow: &Flow, global: &Global, printer: &Printer) -> CliResult<Self> {
        let state = State::of(global.state.clone())?;
        let name = format!("{}.json", flow.fingerprint());
        let mut keep = Self { place: Place::Nowhere, printer: *printer };
        match &state {
            State::Directory(directory) => keep.place = Place::File(directory.join("ci").join(name)),
            // Nothing happens, so nothing is kept.
            State::S3 { .. } if flow.steps.is_empty() => {}
            #[cfg(feature = "aws")]
            State::S3 { url, .. } => match crate::opened::document(url, format!("ci/{name}")).await {
                Ok(document) => keep.place = Place::S3(document),
                Err(why) => keep.give_up(&why),
            },
            #[cfg(not(feature = "aws"))]
            State::S3 { url, .. } => keep.give_up(&format!("{url}: this build of landfall is without AWS")),
        }
        Ok(keep)
    }

    pub(super) async fn load(&mut self) -> Option<Record> {
        let found = match &self.place {
            Place::File(file) => std::fs::read(file).ok(),
            #[cfg(feature = "aws")]
            Place::S3(document) => match document.read().await {
                Ok(found) => found.map(Vec::from),
                Err(failure) => {
                    self.give_up(&failure.to_string());
                    None
                }
            },
            Place::Nowhere => None,
        };
        serde_json::from_slice(&found?).ok()
    }

    pub(super) async fn save(&mut self, record: &Record) {
        let saved = match &self.place {
            Place::File(file) => replace(file, record).map_err(|error| format!("{}: {error}", file.display())),
            #[cfg(feature = "aws")]
            Place::S3(document) => match serde_json::to_vec(record) {
                Ok(text) => document.replace(text.into()).await.map_err(|failure| failure.to_string()),
                Err(error) => Err(error.to_string()),
            },
            Place::Nowhere => Ok(()),
        };
        if let Err(why) = saved {
            self.give_up(&why);
        }
    }

    fn give_up(&mut self, why: &str) {
        self.printer.warn(format_args!("{why}: this job cannot be continued when it is killed"));
        self.place = Place::Nowhere;
    }

    /// Before the first step. Records of long ago go.
    pub(super) fn tidy(&self) {
        let Place::File(file) = &self.place else { return };
        let Some(directory) = file.parent() else { return };
        let Some(limit) = SystemTime::now().checked_sub(KEPT) else { return };
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let old = entry.metadata().and_then(|data| data.modified()).is_ok_and(|at| at < limit);
            if old {
                // Another run may have been first.
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    /// After one that ended well. On a host of CI it is over, and its record counts for nothing: S3 has no month after which
    /// it would go.
    pub(super) async fn over(&self, host: Host) {
        #[cfg(feature = "aws")]
        if let Place::S3(document) = &self.place
            && host != Host::Laptop
            && let Err(failure) = document.remove().await
        {
            tracing::debug!(%failure, "the record of a run that is over stays");
        }
        #[cfg(not(feature = "aws"))]
        let _ = host;
    }
}

fn replace(file: &Path, record: &Record) -> std::io::Result<()> {
    if let Some(directory) = file.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let temporary = file.with_extension(format!("{}.tmp", std::process::id()));
    std::fs::write(&temporary, serde_json::to_vec(record)?)?;
    std::fs::rename(&temporary, file)
}
