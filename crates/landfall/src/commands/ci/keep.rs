//! The record of a run, so that `landfall ci resume` goes on: in `ci/` below the state directory, or, where the state is on S3, there, so
//! that any machine does. Replaced as a whole; a job that is killed in the middle leaves the one before.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

#[cfg(feature = "aws")]
use landfall_ci::Host;
use landfall_ci::record::Record;

use super::Job;
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
    S3(shared::Shared),
    /// It could not be written: the run goes on without.
    Nowhere,
}

impl Keep {
    /// On S3 what jobs of a host of CI do, whose steps hand each other nothing that is on one machine alone. What somebody does at a desk,
    /// where files may differ from the commit, is no job's business.
    pub(super) async fn of(job: &Job, global: &Global, printer: &Printer) -> CliResult<Self> {
        let state = State::of(global.state.clone())?;
        let flow = &job.flow;
        let file = state.directory().join("ci").join(format!("{}.json", flow.fingerprint()));
        let keep = Self { place: Place::File(file), printer: *printer };
        #[cfg(feature = "aws")]
        let keep = keep.on(&state, job).await;
        Ok(keep)
    }

    #[cfg(feature = "aws")]
    async fn on(mut self, state: &State, job: &Job) -> Self {
        let flow = &job.flow;
        let shared = !job.on_one_machine && flow.context.host != Host::Laptop && !flow.steps.is_empty();
        if let State::S3 { url, .. } = state
            && shared
        {
            match shared::Shared::open(url, job, self.printer).await {
                Ok(document) => self.place = Place::S3(document),
                Err(why) => self.give_up(&why),
            }
        }
        self
    }

    pub(super) async fn load(&mut self) -> Option<Record> {
        let found: Result<Option<Record>, String> = match &self.place {
            Place::File(file) => Ok(std::fs::read(file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok())),
            #[cfg(feature = "aws")]
            Place::S3(shared) => shared.load().await,
            Place::Nowhere => Ok(None),
        };
        found.unwrap_or_else(|why| {
            self.printer.warn(format_args!("{why}: all of this job runs"));
            None
        })
    }

    /// Waits for no other machine.
    pub(super) fn save(&mut self, record: &Record) {
        let saved = match &self.place {
            Place::File(file) => replace(file, record).map_err(|error| format!("{}: {error}", file.display())),
            #[cfg(feature = "aws")]
            Place::S3(shared) => shared.save(record),
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

    /// After the last step, until what was saved is where it shall be. A run of a host of CI that ended well is over, and its record counts
    /// for nothing: on S3 it goes.
    pub(super) async fn close(self, well: bool) {
        #[cfg(feature = "aws")]
        if let Place::S3(shared) = self.place {
            shared.close(well).await;
        }
        #[cfg(not(feature = "aws"))]
        let _ = well;
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

#[cfg(feature = "aws")]
mod shared {
    use std::sync::Arc;

    use landfall_ci::record::Record;
    use landfall_model::Timestamp;
    use landfall_s3::Document;
    use serde::{Deserialize, Serialize};
    use tokio::sync::watch;
    use tokio::task::JoinHandle;

    use super::{Job, KEPT};
    use crate::printer::Printer;

    /// Seconds. Where a host does not say which tries are of one run, those of a day are.
    const DAY: i64 = 24 * 3600;

    #[derive(Serialize, Deserialize)]
    struct Dated {
        /// Seconds since 1970.
        at: i64,
        #[serde(flatten)]
        record: Record,
    }

    /// An object that is written by a task of its own: a slow S3 holds up neither steps nor signals.
    pub(super) struct Shared {
        document: Arc<Document>,
        newest: watch::Sender<Vec<u8>>,
        writer: JoinHandle<()>,
        counts: i64,
    }

    impl Shared {
        pub(super) async fn open(url: &str, job: &Job, printer: Printer) -> Result<Self, String> {
            let plain =
                |run: &String| run.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect::<String>();
            let run = job.run.as_ref().map(|run| format!("-{}", plain(run))).unwrap_or_default();
            let name = format!("ci/{}{run}.json", job.flow.fingerprint());
            let document = Arc::new(crate::opened::document(url, name).await?);
            let (newest, mut changed) = watch::channel(Vec::new());
            let to = Arc::clone(&document);
            let writer = tokio::spawn(async move {
                let mut told = false;
                while changed.changed().await.is_ok() {
                    let body = changed.borrow_and_update().clone();
                    if let Err(failure) = to.replace(body.into()).await
                        && !std::mem::replace(&mut told, true)
                    {
                        printer.warn(format_args!("{failure}: this job cannot be continued when it is killed"));
                    }
                }
            });
            let counts = if job.run.is_some() { KEPT.as_secs().cast_signed() } else { DAY };
            Ok(Self { document, newest, writer, counts })
        }

        /// What is too old to be of this run is none.
        pub(super) async fn load(&self) -> Result<Option<Record>, String> {
            let found = self.document.read().await.map_err(|failure| failure.to_string())?;
            let dated: Option<Dated> = found.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            let since = Timestamp::now().as_second() - self.counts;
            Ok(dated.filter(|dated| dated.at >= since).map(|dated| dated.record))
        }

        pub(super) fn save(&self, record: &Record) -> Result<(), String> {
            let dated = Dated { at: Timestamp::now().as_second(), record: record.clone() };
            let body = serde_json::to_vec(&dated).map_err(|error| error.to_string())?;
            self.newest.send_replace(body);
            Ok(())
        }

        pub(super) async fn close(self, well: bool) {
            drop(self.newest);
            let _ = self.writer.await;
            if well {
                // Also where writing failed: one without an answer may have happened.
                let _ = self.document.remove().await;
            }
        }
    }
}
