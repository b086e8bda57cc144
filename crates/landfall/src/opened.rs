//! The state, opened: journal and store, wherever they are.

use std::sync::Arc;

use landfall_model::app::App;
use landfall_ports::journal::Journal;
use landfall_ports::store::{Store, StoreError};
use landfall_sqlite::SqliteStore;

use crate::commands::state::open_error;
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::paths::State;

pub(crate) struct Opened {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) store: Arc<dyn Store>,
    /// In a directory: the database, which a server prunes.
    pub(crate) sqlite: Option<Arc<SqliteStore>>,
}

impl Opened {
    /// `Locked` where another process has the directory. A state on S3 has no owner; it belongs to one project.
    pub(crate) async fn open(state: &State, options: landfall_sqlite::OpenOptions, app: &App) -> CliResult<Self> {
        match state {
            State::Directory(path) => {
                let sqlite = Arc::new(SqliteStore::open(path, options).map_err(|error| open_error(&error))?);
                Ok(Self { journal: sqlite.clone(), store: sqlite.clone(), sqlite: Some(sqlite) })
            }
            State::S3 { url, scratch } => {
                std::fs::create_dir_all(scratch)
                    .map_err(|error| CliError::io(format!("cannot make {}", scratch.display()), &error))?;
                let opened = on_s3(url).await?;
                same_project(&*opened.store, url, &app.project).await?;
                Ok(opened)
            }
        }
    }
}

/// An object of a state on S3 that is replaced as a whole.
#[cfg(feature = "aws")]
pub(crate) async fn document(url: &str, name: String) -> Result<landfall_s3::Document, String> {
    let address = landfall_s3::Address::parse(url).map_err(|error| error.to_string())?;
    landfall_s3::Document::at(address, name).await.map_err(|error| error.to_string())
}

#[cfg(feature = "aws")]
pub(crate) async fn on_s3(url: &str) -> CliResult<Opened> {
    use landfall_s3::{Address, Failure, S3Store};

    let address = Address::parse(url).map_err(|error| CliError::new(ExitCode::Usage, error.to_string()))?;
    let store = S3Store::open(address).await.map_err(|failure| {
        let code = match &failure {
            Failure::Unavailable(_) => ExitCode::Unavailable,
            Failure::Denied(_) => ExitCode::Denied,
            Failure::NoBucket(_) => ExitCode::NotFound,
            Failure::Corrupt(_) => ExitCode::Io,
        };
        CliError::new(code, format!("the state {url} cannot be opened")).cause(&failure)
    })?;
    let store = Arc::new(store);
    Ok(Opened { journal: store.clone(), store, sqlite: None })
}

#[cfg(not(feature = "aws"))]
#[allow(clippy::unused_async)]
pub(crate) async fn on_s3(url: &str) -> CliResult<Opened> {
    let message = format!("the state is {url}, and this build of landfall is without AWS");
    Err(CliError::new(ExitCode::Unavailable, message).hint("build it with its feature `aws`"))
}

const PROJECT_KEY: &str = "project";

/// Whoever opens a state works on all that is unfinished in it: with another project's manifest that would be done in the wrong
/// place.
async fn same_project(store: &dyn Store, url: &str, project: &str) -> CliResult<()> {
    let unreadable = |error: StoreError| CliError::new(ExitCode::Io, "the state cannot be read").cause(&error);
    if store.meta_swap(PROJECT_KEY, None, project).await.map_err(unreadable)? {
        return Ok(());
    }
    let known = store.meta_get(PROJECT_KEY).await.map_err(unreadable)?;
    match known {
        Some(known) if known != project => {
            let message = format!("{url} is the state of project {known}, and this manifest is {project}'s");
            Err(CliError::new(ExitCode::Conflict, message).hint("give each project a prefix of its own"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn a_shared_state_belongs_to_one_project() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(directory.path(), landfall_sqlite::OpenOptions::default()).unwrap();
        let of = async |project: &str| same_project(&store, "s3://acme/x", project).await;
        of("shop").await.unwrap();
        of("shop").await.unwrap();
        let refused = of("blog").await.unwrap_err();
        assert_eq!(refused.code, ExitCode::Conflict);
        assert!(refused.message.contains("the state of project shop"), "{}", refused.message);
    }
}
