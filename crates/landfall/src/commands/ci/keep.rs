//! The record of a run, kept in `ci/` below the state directory so that `landfall ci resume` goes on. Replaced by rename: a job that
//! is killed in the middle leaves the one before.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use landfall_ci::record::Record;

use crate::cli::Global;
use crate::error::CliResult;
use crate::paths::State;
use crate::printer::Printer;

/// Nobody goes on with a job of last month.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

pub(super) struct Keep {
    /// `None` once it could not be written: the run goes on without.
    file: Option<PathBuf>,
    printer: Printer,
}

impl Keep {
    pub(super) fn new(global: &Global, fingerprint: &str, printer: &Printer) -> CliResult<Self> {
        let directory = State::of(global.state.clone())?.directory().join("ci");
        Ok(Self { file: Some(directory.join(format!("{fingerprint}.json"))), printer: *printer })
    }

    pub(super) fn load(&self) -> Option<Record> {
        serde_json::from_slice(&std::fs::read(self.file.as_ref()?).ok()?).ok()
    }

    pub(super) fn save(&mut self, record: &Record) {
        let Some(file) = &self.file else { return };
        if let Err(error) = replace(file, record) {
            self.printer
                .warn(format_args!("{}: {error}: this job cannot be continued when it is killed", file.display()));
            self.file = None;
        }
    }

    /// Records of long ago go.
    pub(super) fn tidy(&self) {
        let Some(directory) = self.file.as_deref().and_then(Path::parent) else { return };
        let Some(limit) = SystemTime::now().checked_sub(KEPT) else { return };
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let old = entry.metadata().and_then(|data| data.modified()).is_ok_and(|at| at < limit);
            if old {
                // Another run may have been first.
                let _ = std::fs::remove_file(entry.path());
            }
        }
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
