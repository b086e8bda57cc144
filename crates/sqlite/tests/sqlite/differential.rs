//! Memory and SQLite, told the same things in the same order, answer the same and look the same after every one of them.
//!
//! Sequence numbers, signal ids and cursors may differ between implementations (only their order is promised), so things
//! that have one are named by their place in a listing. Leases are the same on both.

use std::fmt::Debug;
use std::sync::Arc;

use landfall_model::environment::{EnvironmentRecord, EnvironmentWrite};
use landfall_model::ids::EnvironmentId;
use landfall_model::notice::Notice;
use landfall_ports::journal::{Batch, Journal, JournalError, Lease};
use landfall_ports::store::{DeliveryOutcome, Store, StoreError};
use landfall_testkit::Mem;
use landfall_testkit::conformance::Subject;
use landfall_testkit::conformance::fixtures::{TTL_MS, at, delivery, environment, execution, notice, step_done};
use landfall_workflow::event::Signal;
use proptest::prelude::*;

use crate::common::Clocked;

const FAR: i64 = 1_000_000;
const OWNERS: [&str; 2] = ["engine-1", "engine-2"];
const ENVIRONMENTS: [&str; 3] = ["a", "b", "c"];
const TARGETS: [&str; 3] = ["log", "slack", "hook"];

#[derive(Debug, Clone)]
enum Op {
    Create {
        id: u8,
        key: u8,
        notice: u8,
    },
    Claim {
        owner: usize,
        limit: u32,
    },
    /// `lease`: any that was ever given. `off`: added to the version that is there.
    Append {
        lease: usize,
        off: u64,
        records: u8,
        notice: Option<u8>,
        consume: usize,
        finished: bool,
    },
    Compact {
        lease: usize,
        version: u64,
    },
    Renew {
        owner: usize,
        first: usize,
    },
    Release {
        lease: usize,
    },
    Signal {
        id: u8,
    },
    Pass {
        ms: u64,
    },
    Reboot,
    Receive {
        id: u8,
    },
    Finish {
        place: usize,
        writes: Vec<(usize, u64)>,
        notice: Option<u8>,
    },
    Write {
        writes: Vec<(usize, u64)>,
        notice: Option<u8>,
    },
    Targets {
        which: u8,
    },
    Done {
        place: usize,
    },
    Failed {
        place: usize,
        retry: Option<i64>,
    },
    Meta {
        key: bool,
        value: u8,
    },
}

fn op() -> impl Strategy<Value = Op> {
    // Mostly what is expected, now and then one too many.
    let off = prop_oneof![8 => Just(0_u64), 1 => Just(1_u64)];
    let writes = || prop::collection::vec((0..3_usize, prop_oneof![8 => Just(0_u64), 1 => Just(1_u64)]), 0..4);
    let notice = || prop::option::of(0..12_u8);
    prop_oneof![
        3 => (0..6_u8, 0..6_u8, 0..12_u8).prop_map(|(id, key, notice)| Op::Create { id, key, notice }),
        3 => (0..2_usize, 0..4_u32).prop_map(|(owner, limit)| Op::Claim { owner, limit }),
        8 => (0..16_usize, off, 0..4_u8, notice(), 0..3_usize, prop::bool::weighted(0.1)).prop_map(
            |(lease, off, records, notice, consume, finished)| Op::Append { lease, off, records, notice, consume, finished }
        ),
        3 => (0..16_usize, 0..8_u64).prop_map(|(lease, version)| Op::Compact { lease, version }),
        2 => (0..2_usize, 0..16_usize).prop_map(|(owner, first)| Op::Renew { owner, first }),
        2 => (0..16_usize).prop_map(|lease| Op::Release { lease }),
        2 => (0..6_u8).prop_map(|id| Op::Signal { id }),
        2 => prop_oneof![Just(TTL_MS / 2), Just(TTL_MS + 1)].prop_map(|ms| Op::Pass { ms }),
        1 => Just(Op::Reboot),
        4 => (0..10_u8).prop_map(|id| Op::Receive { id }),
        3 => (0..3_usize, writes(), notice()).prop_map(|(place, writes, notice)| Op::Finish { place, writes, notice }),
        3 => (writes(), notice()).prop_map(|(writes, notice)| Op::Write { writes, notice }),
        1 => (0..8_u8).prop_map(|which| Op::Targets { which }),
        2 => (0..4_usize).prop_map(|place| Op::Done { place }),
        2 => (0..4_usize, prop::option::of(0..100_i64)).prop_map(|(place, retry)| Op::Failed { place, retry }),
        1 => (any::<bool>(), any::<u8>()).prop_map(|(key, value)| Op::Meta { key, value }),
    ]
}

/// Mostly from a world with something in it, so that leases are there to be used and deliveries to be finished.
fn script() -> impl Strategy<Value = Vec<Op>> {
    let mut begun = vec![Op::Targets { which: 0b011 }];
    begun.extend((0..4).map(|id| Op::Create { id, key: id, notice: id }));
    begun.extend((0..4).map(|id| Op::Receive { id }));
    begun.extend([Op::Claim { owner: 0, limit: 2 }, Op::Claim { owner: 1, limit: 2 }]);
    let start = prop_oneof![1 => Just(Vec::new()), 4 => Just(begun)];
    (start, prop::collection::vec(op(), 1..60)).prop_map(|(start, rest)| [start, rest].concat())
}

/// One implementation under test, with the leases it ever gave.
struct Side<S> {
    subject: S,
    journal: Arc<dyn Journal>,
    store: Arc<dyn Store>,
    leases: Vec<Lease>,
    boots: u32,
}

/// An answer, without the words that only a person reads.
fn journal_answer<T: Debug>(result: Result<T, JournalError>) -> String {
    match result {
        Err(JournalError::Corrupt(_)) => "corrupt".to_owned(),
        other => format!("{other:?}"),
    }
}

fn store_answer<T: Debug>(result: Result<T, StoreError>) -> String {
    match result {
        Err(StoreError::Corrupt(_)) => "corrupt".to_owned(),
        other => format!("{other:?}"),
    }
}

fn notices(number: Option<u8>) -> Vec<Notice> {
    number.into_iter().map(|n| notice(&format!("n-{n}"), i64::from(n))).collect()
}

impl<S: Subject> Side<S> {
    fn new(subject: S) -> Self {
        let (journal, store) = (subject.journal(), subject.store());
        Self { subject, journal, store, leases: Vec::new(), boots: 0 }
    }

    /// Writes that expect what is there (plus `off`), each after the one before it.
    async fn writes(&self, places: &[(usize, u64)]) -> Vec<EnvironmentWrite> {
        let mut revisions = [0; 3];
        for (revision, name) in revisions.iter_mut().zip(ENVIRONMENTS) {
            let stored = self.store.environment(&EnvironmentId::new(name)).await.unwrap();
            *revision = stored.map_or(0, |record| record.revision);
        }
        let mut writes = Vec::new();
        for (n, (place, off)) in places.iter().enumerate() {
            let message = Some(format!("write {n} at {}", revisions[*place]));
            let record = EnvironmentRecord { message, ..environment(ENVIRONMENTS[*place]) };
            writes.push(EnvironmentWrite { expected: revisions[*place] + off, record });
            revisions[*place] += 1;
        }
        writes
    }

    async fn apply(&mut self, op: &Op) -> String {
        let lease = |n: usize| self.leases.get(n % self.leases.len().max(1)).cloned();
        match op {
            Op::Create { id, key, notice } => {
                let mut new = execution(&id.to_string(), ENVIRONMENTS[usize::from(*id) % 3]);
                new.dedup_key = format!("key-{key}");
                new.notices = notices(Some(*notice));
                journal_answer(self.journal.create(new).await)
            }
            Op::Claim { owner, limit } => {
                let claimed = self.journal.claim(OWNERS[*owner], TTL_MS, *limit).await;
                self.leases.extend(claimed.iter().flatten().cloned());
                journal_answer(claimed)
            }
            Op::Append { lease: n, off, records, notice, consume, finished } => {
                let Some(lease) = lease(*n) else { return "no lease yet".to_owned() };
                let version = self.journal.load(&lease.execution).await.unwrap().version;
                let queued = self.journal.signals(&lease.execution).await.unwrap();
                let batch = Batch {
                    records: (0..*records).map(|n| step_done(i64::from(n), "a")).collect(),
                    notices: notices(*notice),
                    consumed_signals: queued.iter().take(*consume).map(|signal| signal.id).collect(),
                    finished: *finished,
                };
                journal_answer(self.journal.append(&lease, version + off, batch).await)
            }
            Op::Compact { lease: n, version } => {
                let Some(lease) = lease(*n) else { return "no lease yet".to_owned() };
                journal_answer(self.journal.compact(&lease, *version, serde_json::json!({ "to": version })).await)
            }
            Op::Renew { owner, first } => {
                let held: Vec<Lease> = self.leases.iter().skip(*first).cloned().collect();
                journal_answer(self.journal.renew(OWNERS[*owner], TTL_MS, &held).await)
            }
            Op::Release { lease: n } => {
                let Some(lease) = lease(*n) else { return "no lease yet".to_owned() };
                journal_answer(self.journal.release(&lease).await)
            }
            Op::Signal { id } => {
                let id = execution(&id.to_string(), "").id;
                journal_answer(self.journal.send_signal(&id, "root", Signal::Abort).await)
            }
            Op::Pass { ms } => {
                self.subject.pass_ms(*ms).await;
                String::new()
            }
            Op::Reboot => {
                // The test's clock knows a few boots only.
                if self.boots < 2 {
                    self.boots += 1;
                    self.subject.reboot().await;
                }
                String::new()
            }
            Op::Receive { id } => store_answer(self.store.receive(delivery(&format!("d-{id}"), i64::from(*id))).await),
            Op::Finish { place, writes, notice } => {
                let pending = self.store.pending_deliveries(10).await.unwrap();
                // One past the end: nobody's.
                let seq = pending.get(*place).map_or(1_000_000, |pending| pending.seq);
                let outcome = DeliveryOutcome::Applied { what: format!("{writes:?}") };
                let writes = self.writes(writes).await;
                store_answer(self.store.finish_delivery(seq, outcome, writes, notices(*notice)).await)
            }
            Op::Write { writes, notice } => {
                let writes = self.writes(writes).await;
                store_answer(self.store.write_environments(writes, notices(*notice)).await)
            }
            Op::Targets { which } => {
                let chosen = TARGETS.iter().enumerate().filter(|(bit, _)| which & (1 << bit) != 0);
                store_answer(
                    self.store.set_notification_targets(chosen.map(|(_, name)| (*name).to_owned()).collect()).await,
                )
            }
            Op::Done { place } => {
                let due = self.store.due_notices(at(FAR), 10).await.unwrap();
                store_answer(
                    self.store.notices_done(due.iter().skip(*place).take(2).map(|row| row.seq).collect()).await,
                )
            }
            Op::Failed { place, retry } => {
                let due = self.store.due_notices(at(FAR), 10).await.unwrap();
                let Some(row) = due.get(*place) else { return "nothing due".to_owned() };
                store_answer(self.store.notice_failed(row.seq, "503".to_owned(), retry.map(at)).await)
            }
            Op::Meta { key, value } => store_answer(self.store.meta_put(&key.to_string(), &value.to_string()).await),
        }
    }

    /// Everything that the ports show, in their order.
    async fn view(&self) -> Vec<String> {
        let mut view = Vec::new();
        for summary in self.journal.list(None, false, 100).await.unwrap() {
            view.push(format!("{summary:?}"));
            view.push(format!("{:?}", self.journal.load(&summary.id).await.unwrap()));
            for queued in self.journal.signals(&summary.id).await.unwrap() {
                view.push(format!("{} {:?}", queued.who, queued.signal));
            }
        }
        for entry in self.journal.read_after(0, 1000).await.unwrap() {
            view.push(format!("{} {} {:?}", entry.execution, entry.version, entry.record));
        }
        for pending in self.store.pending_deliveries(100).await.unwrap() {
            view.push(format!("{:?}", pending.delivery));
        }
        for mut summary in self.store.deliveries(100).await.unwrap() {
            summary.seq = 0;
            view.push(format!("{summary:?}"));
        }
        for record in self.store.environments().await.unwrap() {
            view.push(format!("{record:?}"));
        }
        for now in [50, FAR] {
            for row in self.store.due_notices(at(now), 100).await.unwrap() {
                view.push(format!("due at {now}: {} to {}, {} attempts", row.notice.id, row.target, row.attempts));
            }
        }
        for key in ["true", "false"] {
            view.push(format!("{:?}", self.store.meta_get(key).await.unwrap()));
        }
        view
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_time: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn memory_and_sqlite_cannot_be_told_apart(ops in script()) {
        // Paused: memory's leases run on this clock, and it moves only when told.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut memory = Side::new(Arc::new(Mem::default()));
            let mut sqlite = Side::new(Clocked::unsynced());
            for (n, op) in ops.iter().enumerate() {
                let (expected, found) = (memory.apply(op).await, sqlite.apply(op).await);
                prop_assert_eq!(expected, found, "answers to {}: {:?}", n, op);
                let (expected, found) = (memory.view().await, sqlite.view().await);
                prop_assert_eq!(expected, found, "looks after {}: {:?}", n, op);
            }
            Ok(())
        })?;
    }
}
