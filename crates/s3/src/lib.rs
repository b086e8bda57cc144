//! Journal and store on Amazon S3, by conditional writes: for runners of a CI system that share nothing but a bucket. No server,
//! no table, no lock service.
//!
//! ## Objects under the prefix
//!
//! | key | what | written by |
//! |---|---|---|
//! | `contents.json` | the table of contents ([`contents`]): which executions there are and in what order, environments, inbox, outbox, small values | compare-and-swap |
//! | `executions/ID.DRAWN.json` | one execution ([`execution`]): plan, records, lease, signals | compare-and-swap |
//! | `pages/DRAWN.json` | entries of old executions, out of the table | once |
//! | `ci/FINGERPRINT.json` | what became of the steps of a job ([`Document`]); no part of the rest | the last one stays |
//!
//! ## Why so
//!
//! S3 promises that a conditional write of *one* object is atomic, and that whoever reads after it sees it. Nothing spans two
//! objects. So what the ports promise to happen together is in one object, and where two objects are written, one of the two
//! writes is *the* commit, and anybody can do what is left:
//!
//! * **append**: one replacement of the execution's object. It checks lease and version in the same write that adds the
//!   records, so the fence cannot be passed by a late request. This is the frequent write, and executions do not get into each
//!   other's way.
//! * **environments, deliveries, notices, values**: all in the table, because `finish_delivery` and `write_environments` are
//!   all-or-nothing over any number of them. A write-ahead intent in an object of its own would spread the load and cost a
//!   recovery protocol; the table is written some ten times by a deployment, which leaves room for hundreds at once.
//! * **create**: first the execution's object under a name drawn for this attempt, then its entry in the table. The entry
//!   is the commit: an object that no entry names does not exist for anybody. Two creates with one key meet in the table.
//! * **finish, and notices of an append**: the execution's object is the commit. Then they are copied into the table, where a
//!   notice counts once by its id. If the runner dies in between, the entry is still unfinished, and the next
//!   [`claim`](landfall_ports::journal::Journal::claim) of anybody copies what is left.
//!
//! ## Two runners at once
//!
//! Leases run on S3's clock ([`clock`]). A write whose answer got lost is looked up ([`cell`]). Work of another runner is found by
//! looking: followers every second, claims as often as the engine asks. Whoever holds a lease that is sure to last need not ask S3
//! for its execution's records: nobody else can have written any.
//!
//! Sizes are bounded: records are compacted into snapshots by the engine, finished executions leave the table for pages, the
//! oldest pages go with their executions. Requests per deployment: docs/state-s3.md.

mod address;
mod backoff;
mod cell;
mod client;
mod clock;
mod contents;
mod document;
mod execution;
mod follow;
mod history;
mod inbox;
mod journal;
mod outbox;
mod sign;
mod store;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use address::{Address, InvalidAddress};
pub use aws_config::SdkConfig;
pub use client::Failure;
pub use clock::{LATE, SKEW};
pub use contents::Retention;
pub use document::Document;
use landfall_ports::changes::Changes;

use crate::cell::{Cell, Refused};
use crate::client::Client;
use crate::contents::{Contents, Page};
use crate::execution::ExecutionObject;
use crate::follow::Follow;

const CONTENTS: &str = "contents.json";
/// How often followers look for what others did, and how old a look at the table may be that only serves to find work.
const LOOK: Duration = Duration::from_secs(1);

/// Journal and store of one address. Cheap to clone; several may be open for one address, in one process or in many.
#[derive(Clone)]
pub struct S3Store {
    inner: Arc<Inner>,
}

struct Inner {
    client: Arc<Client>,
    contents: Cell<Contents>,
    /// By the execution's id.
    executions: Mutex<HashMap<String, Arc<Cell<ExecutionObject>>>>,
    /// By name: they never change.
    pages: Mutex<BTreeMap<String, Arc<Page>>>,
    /// Who this is, in the inbox and the outbox.
    me: String,
    /// In whose names leases were taken here.
    owners: Mutex<BTreeSet<String>>,
    /// Ids of notices that were copied to the table since, by execution; their objects drop them with the next append.
    told: Mutex<HashMap<String, Vec<String>>>,
    follow: tokio::sync::Mutex<Follow>,
    journal_changes: Changes,
    store_changes: Changes,
}

impl S3Store {
    /// Looks whether the state can be read. It need not exist yet; the bucket must.
    ///
    /// # Errors
    /// No credentials, no right, no bucket, no answer, or a state of a newer Landfall.
    pub async fn open(address: Address) -> Result<Self, Failure> {
        Self::open_with(address, None).await
    }

    /// `sdk`: region, credentials and endpoint, instead of what the environment says.
    ///
    /// # Errors
    /// As for [`S3Store::open`].
    pub async fn open_with(address: Address, sdk: Option<SdkConfig>) -> Result<Self, Failure> {
        let client = Arc::new(Client::connect(address, sdk).await?);
        let contents = Cell::new(client.clone(), CONTENTS.to_owned());
        contents.read().await?;
        Ok(Self {
            inner: Arc::new(Inner {
                client,
                contents,
                executions: Mutex::default(),
                pages: Mutex::default(),
                me: format!("{:016x}", backoff::random()),
                owners: Mutex::default(),
                told: Mutex::default(),
                follow: tokio::sync::Mutex::default(),
                journal_changes: Changes::new(Some(LOOK)),
                store_changes: Changes::new(Some(LOOK)),
            }),
        })
    }

    /// Lets the oldest finished executions go, a page of them. `false`: there were none too many. Every create does so with the
    /// standard.
    ///
    /// # Errors
    /// S3 failed; what is left is done by the next one.
    pub async fn prune(&self, retention: Retention) -> Result<bool, Failure> {
        self.inner.prune(retention).await
    }

    pub fn address(&self) -> &Address {
        self.inner.client.address()
    }
}

impl std::fmt::Debug for S3Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Store").field("address", &self.inner.client.address().to_string()).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A port's error from a failure of S3, or the refusal itself.
fn refused<E: From<PortFailure>>(refused: Refused<E>) -> E {
    match refused {
        Refused::By(error) => error,
        Refused::Failed(failure) => failed(failure),
    }
}

fn failed<E: From<PortFailure>>(failure: Failure) -> E {
    E::from(PortFailure(failure))
}

/// A [`Failure`] on its way to one of the two ports' errors.
struct PortFailure(Failure);
