//! Who may open a state directory, and which databases.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use landfall_model::ids::{EnvironmentId, ExecutionId};
use landfall_ports::journal::Journal;
use landfall_ports::store::{DeliveryOutcome, Received, Store};
use landfall_sqlite::{DATABASE_FILE, OpenError, OpenOptions, SCHEMA_VERSION, SqliteStore, holder};
use landfall_testkit::conformance::fixtures::{at, delivery};
use landfall_workflow::event::Signal;
use rusqlite::Connection;

use crate::common::{fresh, open};

fn try_open(dir: &Path) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(dir, OpenOptions::default())
}

#[tokio::test]
async fn a_second_opener_is_told_who_owns_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("landfall.sock");
    let options = OpenOptions { control_socket: Some(socket.clone()), ..OpenOptions::default() };
    let store = SqliteStore::open(dir.path(), options).unwrap();
    let clone = store.clone();
    let error = try_open(dir.path()).unwrap_err();
    let pid = std::process::id();
    assert!(
        matches!(&error, OpenError::Locked { pid: Some(p), control_socket: Some(s), .. } if *p == pid && *s == socket)
    );
    let text = error.to_string();
    for part in [&format!("pid {pid}"), dir.path().to_str().unwrap(), socket.to_str().unwrap(), "stop it first"] {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
    // The refused one did not disturb the owner.
    store.receive(delivery("d-1", 1)).await.unwrap();
    drop(store);
    assert_eq!(holder(dir.path()).unwrap().unwrap().pid, Some(pid), "a clone still holds it");
    clone.receive(delivery("d-2", 1)).await.unwrap();
    drop(clone);
    assert_eq!(holder(dir.path()).unwrap(), None);
    assert_eq!(open(dir.path()).pending_deliveries(9).await.unwrap().len(), 2);
}

#[tokio::test]
async fn what_it_keeps_is_private() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let store = open(&state);
    store.receive(delivery("d-1", 1)).await.unwrap();
    store.backup(&state.join("backup.db")).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state), 0o700);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&state).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(mode(&entry.path()), 0o600, "{}", entry.path().display());
        names.push(entry.file_name().into_string().unwrap());
    }
    for name in ["landfall.db", "landfall.db-wal", "landfall.db-shm", "landfall.lock", "backup.db"] {
        assert!(names.contains(&name.to_owned()), "{name} is not in {names:?}");
    }
    // One that was opened up by hand is closed again.
    drop(store);
    std::fs::set_permissions(state.join(DATABASE_FILE), PermissionsExt::from_mode(0o644)).unwrap();
    let _store = open(&state);
    assert_eq!(mode(&state.join(DATABASE_FILE)), 0o600);
}

#[tokio::test]
async fn a_newer_database_is_refused_untouched() {
    let (dir, store) = fresh();
    store.receive(delivery("d-1", 1)).await.unwrap();
    drop(store);
    let file = dir.path().join(DATABASE_FILE);
    let connection = Connection::open(&file).unwrap();
    connection.pragma_update(None, "user_version", SCHEMA_VERSION + 1).unwrap();
    drop(connection);
    let before = std::fs::read(&file).unwrap();
    let error = try_open(dir.path()).unwrap_err();
    assert!(
        matches!(&error, OpenError::Newer { found, supported, .. } if *found == SCHEMA_VERSION + 1 && *supported == SCHEMA_VERSION)
    );
    assert!(error.to_string().contains("newer Landfall"), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), before);
    assert_eq!(holder(dir.path()).unwrap(), None, "the lock is given up");
}

#[test]
fn what_is_not_ours_is_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(DATABASE_FILE);
    Connection::open(&file).unwrap().execute_batch("CREATE TABLE somebody_elses (a)").unwrap();
    let before = std::fs::read(&file).unwrap();
    assert!(matches!(try_open(dir.path()).unwrap_err(), OpenError::Foreign { .. }));
    assert_eq!(std::fs::read(&file).unwrap(), before);

    let text = "not a database at all. ".repeat(100);
    std::fs::write(&file, &text).unwrap();
    let error = try_open(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}

/// tests/fixtures/v1.sql is a database of the first schema, with rows as that version wrote them. It is never regenerated.
#[tokio::test]
async fn a_database_of_the_first_version_opens_with_its_data() {
    let dir = tempfile::tempdir().unwrap();
    let connection = Connection::open(dir.path().join(DATABASE_FILE)).unwrap();
    connection.execute_batch(include_str!("../fixtures/v1.sql")).unwrap();
    drop(connection);

    let store = open(dir.path());
    let compacted = store.load(&ExecutionId::new("exe_1")).await.unwrap();
    assert_eq!((compacted.version, compacted.snapshot_version, compacted.finished), (4, 2, false));
    assert_eq!(compacted.snapshot, Some(serde_json::json!({ "folded": 2 })));
    assert_eq!(compacted.records.len(), 2);
    let plan: serde_json::Value = serde_json::from_slice(&compacted.plan).unwrap();
    assert_eq!(plan["title"], "Create preview env");
    let finished = store.load(&ExecutionId::new("exe_2")).await.unwrap();
    assert!(finished.finished);
    let signals = store.signals(&compacted.id).await.unwrap();
    assert_eq!((signals.len(), &signals[0].signal, signals[0].who.as_str()), (1, &Signal::Abort, "root"));

    assert_eq!(store.receive(delivery("d-1", 1)).await.unwrap(), Received::Duplicate);
    let pending = store.pending_deliveries(9).await.unwrap();
    assert_eq!(pending.iter().map(|p| p.delivery.clone()).collect::<Vec<_>>(), [delivery("d-2", 2)]);
    let outcome = store.deliveries(9).await.unwrap().pop().unwrap().outcome;
    assert_eq!(outcome, Some(DeliveryOutcome::Applied { what: "created env".to_owned() }));
    let environment = store.environment(&EnvironmentId::new("a")).await.unwrap().unwrap();
    assert_eq!((environment.revision, environment.names.target_group.as_str()), (2, "a-tg"));
    let due = store.due_notices(at(1000), 9).await.unwrap();
    let due: Vec<_> = due.iter().map(|row| (row.notice.id.as_str(), row.target.as_str(), row.attempts)).collect();
    assert_eq!(due, [("n-1", "slack", 1), ("n-2", "log", 0), ("n-2", "slack", 0)]);
    assert_eq!(store.meta_get("instance").await.unwrap().as_deref(), Some("one"));

    // And goes on: the lease of that old boot is over, its epoch counts.
    let lease = store.claim("engine-2", 1000, 9).await.unwrap().remove(0);
    assert_eq!((lease.execution.as_str(), lease.epoch), ("exe_1", 2));
    let version: i64 =
        Connection::open(store.path()).unwrap().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, SCHEMA_VERSION);
}
