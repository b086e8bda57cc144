//! The writer thread and its group commit.
//!
//! One sync of the disk costs as much as writing dozens of rows, so transactions that wait together are committed together.
//! The thread takes the first job, begins, runs it, runs whatever has arrived meanwhile, commits, and answers. With one
//! sender the queue is empty after its job and the commit follows at once: grouping never waits for company.
//!
//! What can go wrong, and who hears of it:
//! * a job refuses (conflict, fenced): its savepoint is rolled back, the others go on, it gets its own error;
//! * SQLite gives up on the whole transaction (disk full, I/O error), or the commit fails: everything is rolled back and
//!   every job of the group is told that nothing was written, even one that had succeeded, because none was answered yet;
//! * a caller stops waiting: its job is committed all the same;
//! * a job panics: it gets an error and counts as refused. A panic anywhere else rolls the transaction back, fails its
//!   group, and the thread goes on with the next: without a writer nothing works, and only a restart would bring it back.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::checkpoint::{self, Checkpoints};
use crate::error::{Failure, OpenError, TransactionError, explain};

const DEFECT: &str = "nothing was written; a defect in Landfall ended the transaction, the log says where";

/// Jobs in one physical transaction at most: bounds how long the first one waits.
const GROUP_LIMIT: usize = 256;

enum Message {
    Transaction(Box<dyn Job>),
    /// Run between transactions.
    Between(Configure),
}

/// A logical transaction in the queue.
trait Job: Send {
    /// Whether a failure must be undone by itself. A job of one statement needs no savepoint: a statement is atomic.
    fn has_savepoint(&self) -> bool;
    /// Runs it; `Err`: what it wrote is not to be kept, and why.
    fn run(&mut self, connection: &Connection) -> Result<(), String>;
    /// Tells the caller: its own result, or that the group failed.
    fn answer(self: Box<Self>, group_failure: Option<&str>);
}

struct Transaction<F, T, E> {
    body: Option<F>,
    savepoint: bool,
    result: Option<Result<T, E>>,
    caller: oneshot::Sender<Result<T, E>>,
}

impl<F, T, E> Job for Transaction<F, T, E>
where
    F: FnOnce(&Connection) -> Result<T, Failure<E>> + Send,
    T: Send,
    E: TransactionError,
{
    fn has_savepoint(&self) -> bool {
        self.savepoint
    }

    fn run(&mut self, connection: &Connection) -> Result<(), String> {
        let Some(body) = self.body.take() else { return Err("run twice".to_owned()) };
        let result = match catch_unwind(AssertUnwindSafe(|| body(connection))) {
            Ok(result) => result.map_err(|Failure(error)| error),
            Err(_) => Err(E::unavailable(DEFECT.to_owned())),
        };
        let verdict = result.as_ref().map(|_| ()).map_err(E::text);
        self.result = Some(result);
        verdict
    }

    fn answer(self: Box<Self>, group_failure: Option<&str>) {
        let this = *self;
        let result = match (this.result, group_failure) {
            (Some(Err(error)), _) if !error.is_unavailable() => Err(error),
            (_, Some(message)) => Err(E::unavailable(message.to_owned())),
            (Some(result), None) => result,
            (None, None) => Err(E::unavailable("the transaction was not run".to_owned())),
        };
        // A caller that went away needs no answer.
        let _ = this.caller.send(result);
    }
}

/// The handle: cheap calls, one thread behind. Dropping it lets the thread finish its queue, and waits for that.
pub(crate) struct Writer {
    queue: Option<Sender<Message>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(crate) fn start(mut connection: Connection, path: &Path) -> Result<Self, OpenError> {
        let (queue, jobs) = channel();
        let checkpoints = Checkpoints::start(&mut connection, path, checkpoint::LENGTHS)?;
        let mut worker = Worker { checkpoints, connection, name: path.display().to_string() };
        let thread = std::thread::Builder::new()
            .name("landfall-journal".to_owned())
            .spawn(move || worker.run(&jobs))
            .map_err(|e| OpenError::io("start the writer", path, e))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Runs `body` as one logical transaction; returns when it is durable, or was refused, or could not be written.
    pub(crate) async fn transact<T, E, F>(&self, body: F) -> Result<T, E>
    where
        F: FnOnce(&Connection) -> Result<T, Failure<E>> + Send + 'static,
        T: Send + 'static,
        E: TransactionError,
    {
        self.enqueue(body, true).await
    }

    /// As `transact`, without a savepoint: for bodies that never refuse, so that every error of theirs is the disk's.
    pub(crate) async fn transact_unrefused<T, E, F>(&self, body: F) -> Result<T, E>
    where
        F: FnOnce(&Connection) -> Result<T, Failure<E>> + Send + 'static,
        T: Send + 'static,
        E: TransactionError,
    {
        self.enqueue(body, false).await
    }

    async fn enqueue<T, E, F>(&self, body: F, savepoint: bool) -> Result<T, E>
    where
        F: FnOnce(&Connection) -> Result<T, Failure<E>> + Send + 'static,
        T: Send + 'static,
        E: TransactionError,
    {
        let (caller, answer) = oneshot::channel();
        let job = Transaction { body: Some(body), savepoint, result: None, caller };
        self.send(Message::Transaction(Box::new(job)))?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Runs `body` between transactions, for pragmas.
    pub(crate) async fn configure<E, F>(&self, body: F) -> Result<(), E>
    where
        F: FnOnce(&Connection) -> rusqlite::Result<()> + Send + 'static,
        E: TransactionError,
    {
        let (caller, answer) = oneshot::channel();
        self.send(Message::Between(Box::new(move |connection| {
            let done = catch_unwind(AssertUnwindSafe(|| body(connection)));
            let (result, panicked) = match done {
                Ok(result) => (result.map_err(|e| E::from_sqlite(&e)), None),
                Err(panicked) => (Err(E::unavailable(DEFECT.to_owned())), Some(panicked)),
            };
            // A caller that went away needs no answer.
            let _ = caller.send(result);
            if let Some(panicked) = panicked {
                // The worker cleans up and goes on.
                resume_unwind(panicked);
            }
        })))?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    fn send<E: TransactionError>(&self, message: Message) -> Result<(), E> {
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        queue.send(message).map_err(|_| stopped())
    }
}

fn stopped<E: TransactionError>() -> E {
    E::unavailable("the database's writer has stopped; restart Landfall".to_owned())
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Caps the file's size; SQLite then answers as for a full disk. Pages that exist already are not taken away.
pub(crate) fn limit_size(connection: &Connection, bytes: u64) -> rusqlite::Result<()> {
    let page_size: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    let pages = (bytes / page_size.max(1)).clamp(1, i64::from(u32::MAX - 1));
    connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
}

/// Runs between commits, outside any transaction.
type Configure = Box<dyn FnOnce(&Connection) + Send>;

/// What the thread owns. The writing connection closes last, and then copies what is left of the log.
struct Worker {
    checkpoints: Checkpoints,
    connection: Connection,
    name: String,
}

impl Worker {
    fn run(&mut self, jobs: &Receiver<Message>) {
        let mut group = Vec::with_capacity(GROUP_LIMIT);
        while let Some(message) = self.next(jobs) {
            let work = || match message {
                Message::Between(body) => body(&self.connection),
                Message::Transaction(first) => {
                    self.run_group(first, jobs, &mut group);
                    self.checkpoints.after_commit();
                }
            };
            if catch_unwind(AssertUnwindSafe(work)).is_err() {
                self.pick_up(&mut group);
            }
        }
    }

    /// `None`: there will be none.
    fn next(&mut self, jobs: &Receiver<Message>) -> Option<Message> {
        if let Some(patience) = self.checkpoints.patience() {
            match jobs.recv_timeout(patience) {
                Err(RecvTimeoutError::Timeout) => self.checkpoints.on_pause(),
                received => return received.ok(),
            }
        }
        jobs.recv().ok()
    }

    /// After a panic: nothing of the transaction stays, nobody is left without an answer.
    fn pick_up(&self, group: &mut Vec<Box<dyn Job>>) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.step("ROLLBACK")
        {
            tracing::error!(database = %self.name, error, "cannot roll back; the next transaction will say more");
        }
        tracing::error!(database = %self.name, jobs = group.len(), "the writer panicked and goes on; this is a defect");
        for job in group.drain(..) {
            job.answer(Some(DEFECT));
        }
    }

    /// One physical transaction. `group` is scratch space, empty before and after.
    fn run_group(&self, first: Box<dyn Job>, jobs: &Receiver<Message>, group: &mut Vec<Box<dyn Job>>) {
        let mut afterwards = None;
        group.push(first);
        let outcome = self.execute_group(jobs, group, &mut afterwards).and_then(|()| self.step("COMMIT"));
        let failure = outcome.err().map(|message| {
            if !self.connection.is_autocommit()
                && let Err(error) = self.step("ROLLBACK")
            {
                tracing::error!(database = %self.name, error, "cannot roll back; the next transaction will say more");
            }
            // Those that wait now would meet the same trouble one after another, each after a time-out of its own.
            while let (None, Ok(message)) = (&afterwards, jobs.try_recv()) {
                match message {
                    Message::Transaction(job) => group.push(job),
                    Message::Between(body) => afterwards = Some(body),
                }
            }
            tracing::error!(database = %self.name, jobs = group.len(), error = message, "transaction failed");
            message
        });
        for job in group.drain(..) {
            job.answer(failure.as_deref());
        }
        if let Some(body) = afterwards {
            body(&self.connection);
        }
    }

    /// Begins, runs the first job and then all that are waiting. An error is the whole group's.
    fn execute_group(
        &self,
        jobs: &Receiver<Message>,
        group: &mut Vec<Box<dyn Job>>,
        afterwards: &mut Option<Configure>,
    ) -> Result<(), String> {
        self.step("BEGIN IMMEDIATE")?;
        let mut next = 0;
        loop {
            if let Some(job) = group.get_mut(next) {
                self.execute(job.as_mut())?;
            }
            next += 1;
            if next == GROUP_LIMIT {
                return Ok(());
            }
            match jobs.try_recv() {
                Ok(Message::Transaction(job)) => group.push(job),
                Ok(Message::Between(body)) => {
                    *afterwards = Some(body);
                    return Ok(());
                }
                Err(_) => return Ok(()),
            }
        }
    }

    fn execute(&self, job: &mut dyn Job) -> Result<(), String> {
        if !job.has_savepoint() {
            return job.run(&self.connection);
        }
        self.step("SAVEPOINT job")?;
        if let Err(message) = job.run(&self.connection) {
            // Some errors (disk full, I/O) make SQLite roll back everything by itself: then there is no group any more.
            if self.connection.is_autocommit() {
                return Err(message);
            }
            self.step("ROLLBACK TO job")?;
        }
        self.step("RELEASE job")
    }

    fn step(&self, sql: &str) -> Result<(), String> {
        self.connection.prepare_cached(sql).and_then(|mut s| s.execute([])).map(|_| ()).map_err(|e| explain(&e))
    }
}

#[cfg(test)]
mod tests {
    use landfall_ports::store::StoreError;

    use super::*;
    use crate::schema;

    type Refused = Failure<StoreError>;

    fn put(connection: &Connection, key: &str) -> Result<usize, Refused> {
        Ok(connection.execute("INSERT INTO meta (key, value) VALUES (?1, '')", [key])?)
    }

    fn keys(connection: &Connection) -> Result<Vec<String>, Refused> {
        let mut statement = connection.prepare("SELECT key FROM meta ORDER BY key")?;
        Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
    }

    #[tokio::test]
    async fn a_panic_fails_its_own_transaction_and_the_writer_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("landfall.db");
        let writer = Writer::start(schema::open_writer(&path).unwrap(), &path).unwrap();
        let cut = |connection: &Connection| -> Result<(), Refused> {
            put(connection, "half")?;
            panic!("a defect, as ordered");
        };
        // Together, so that they share a physical transaction where the thread is slow enough.
        let (first, cut_off, last) = tokio::join!(
            writer.transact(|connection| put(connection, "a")),
            writer.transact(cut),
            writer.transact(|connection| put(connection, "b")),
        );
        assert_eq!((first.unwrap(), last.unwrap()), (1, 1), "its neighbours stay");
        let error = cut_off.unwrap_err().to_string();
        assert!(error.contains("nothing was written") && error.contains("defect"), "{error}");
        // Without a savepoint of its own its group goes with it.
        let alone: Result<(), StoreError> = writer.transact_unrefused(cut).await;
        assert_eq!(alone.unwrap_err().to_string(), error);
        // Outside any job.
        let between: Result<(), StoreError> = writer.configure(|_| panic!("another one")).await;
        assert_eq!(between.unwrap_err().to_string(), error, "the writer goes on, and says so");
        assert_eq!(writer.transact(keys).await.unwrap(), ["a", "b"]);
    }
}
