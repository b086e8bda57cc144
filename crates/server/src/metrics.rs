//! `/metrics` in Prometheus text. Counters start at zero with the process.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use landfall_engine::{EngineObserver, Observation};
use landfall_model::environment::Phase;
use landfall_workflow::{ExecutionView, Outcome};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use serde::Serialize;

use crate::records::Records;

type Labels = Vec<(&'static str, String)>;
type Seconds = Family<Labels, Histogram, fn() -> Histogram>;

/// Cheap to clone. Also the engine's observer.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    requests: Family<Labels, Counter>,
    deliveries: Family<Labels, Counter>,
    previews: Family<Labels, Gauge>,
    live: Family<Labels, Gauge>,
    finished: Family<Labels, Counter>,
    execution_seconds: Seconds,
    step_seconds: Seconds,
    call_seconds: Seconds,
    journal_retries: Counter,
    inbox: Gauge<i64>,
    outbox: Gauge<i64>,
    reconciled: Gauge<f64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("landfall");
        let seconds = || Seconds::new_with_constructor(|| Histogram::new(exponential_buckets(0.005, 2.5, 13)));
        let inner = Inner {
            requests: Family::default(),
            deliveries: Family::default(),
            previews: Family::default(),
            live: Family::default(),
            finished: Family::default(),
            execution_seconds: seconds(),
            step_seconds: seconds(),
            call_seconds: seconds(),
            journal_retries: Counter::default(),
            inbox: Gauge::default(),
            outbox: Gauge::default(),
            reconciled: Gauge::default(),
            registry: Registry::default(),
        };
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        registry.register("build", "The running version", Info::new(version));
        registry.register("webhook_requests", "Webhook requests by answer", inner.requests.clone());
        registry.register("deliveries", "Deliveries decided, by outcome", inner.deliveries.clone());
        registry.register("previews", "Preview environments by phase", inner.previews.clone());
        registry.register("executions_live", "Executions driven now, by kind", inner.live.clone());
        registry.register("executions_finished", "Executions finished, by kind and outcome", inner.finished.clone());
        registry.register("execution_seconds", "First claim to end, by kind", inner.execution_seconds.clone());
        registry.register("step_seconds", "First start to end of a step, by kind", inner.step_seconds.clone());
        registry.register("step_call_seconds", "One call of a step handler", inner.call_seconds.clone());
        registry.register(
            "journal_retries",
            "Appends repeated because the journal was away",
            inner.journal_retries.clone(),
        );
        registry.register("inbox_depth", "Deliveries not decided yet (counted up to 500)", inner.inbox.clone());
        registry.register("outbox_depth", "Notices not delivered yet (counted up to 500)", inner.outbox.clone());
        registry.register(
            "reconciled_timestamp_seconds",
            "When the world was last compared with the records",
            inner.reconciled.clone(),
        );
        Self { inner: Arc::new(Inner { registry, ..inner }) }
    }

    /// The exposition: OpenMetrics text, which Prometheus reads.
    pub fn text(&self) -> String {
        let mut text = String::new();
        match encode(&mut text, &self.inner.registry) {
            Ok(()) => text,
            Err(_) => String::new(),
        }
    }

    pub(crate) fn request(&self, answer: &'static str) {
        self.inner.requests.get_or_create(&vec![("answer", answer.to_owned())]).inc();
    }

    pub(crate) fn delivery(&self, outcome: &'static str) {
        self.inner.deliveries.get_or_create(&vec![("outcome", outcome.to_owned())]).inc();
    }

    pub(crate) fn depths(&self, inbox: usize, outbox: usize) {
        self.inner.inbox.set(i64::try_from(inbox).unwrap_or(i64::MAX));
        self.inner.outbox.set(i64::try_from(outbox).unwrap_or(i64::MAX));
    }

    pub(crate) fn reconciled(&self, at: landfall_model::Timestamp) {
        self.inner.reconciled.set(at.as_millisecond() as f64 / 1000.0);
    }

    /// A gauge for every phase that ever had a preview, so that none stays at its last value.
    pub(crate) fn previews(&self, records: &Records) {
        for phase in PHASES {
            let count = records.read(|records| records.values().filter(|record| record.phase == phase).count());
            let labels = vec![("phase", word(&phase))];
            self.inner.previews.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    pub(crate) fn finished(&self, view: &ExecutionView) {
        for step in &view.steps {
            if let (Some(from), Some(to)) = (step.started_at, step.finished_at) {
                let seconds = (to.as_millisecond() - from.as_millisecond()).max(0) as f64 / 1000.0;
                self.inner.step_seconds.get_or_create(&vec![("kind", step.kind.clone())]).observe(seconds);
            }
        }
    }
}

const PHASES: [Phase; 12] = [
    Phase::Queued,
    Phase::AwaitingApproval,
    Phase::Creating,
    Phase::Updating,
    Phase::Ready,
    Phase::FallingAsleep,
    Phase::Asleep,
    Phase::Waking,
    Phase::Failed,
    Phase::Paused,
    Phase::Destroying,
    Phase::Destroyed,
];

/// A unit variant as it is in JSON.
pub(crate) fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

impl EngineObserver for Metrics {
    fn observe(&self, what: &Observation<'_>) {
        let kind = |kind: &str| ("kind", kind.to_owned());
        let inner = &self.inner;
        match what {
            Observation::ExecutionClaimed { kind: name } => {
                inner.live.get_or_create(&vec![kind(name)]).inc();
            }
            Observation::ExecutionLeft { kind: name, outcome, took } => {
                inner.live.get_or_create(&vec![kind(name)]).dec();
                if let Some(outcome) = outcome {
                    let outcome: &Outcome = outcome;
                    inner.finished.get_or_create(&vec![kind(name), ("outcome", word(outcome))]).inc();
                    inner.execution_seconds.get_or_create(&vec![kind(name)]).observe(Duration::as_secs_f64(took));
                }
            }
            Observation::Call { kind: name, phase, result, took } => {
                let labels = vec![kind(name), ("phase", (*phase).to_owned()), ("result", (*result).to_owned())];
                inner.call_seconds.get_or_create(&labels).observe(took.as_secs_f64());
            }
            Observation::JournalRetry => {
                inner.journal_retries.inc();
            }
        }
    }
}
