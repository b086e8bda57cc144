//! The inbox worker: each stored delivery is read, routed and applied, and its outcome recorded in the same transaction as
//! what it changed. A crash anywhere leaves it pending, and it is done again from the start.
//!
//! A delivery that cannot be understood is finished as rejected, so that it never stands in the way of the next one. Only
//! the store itself being away stops the queue.

use std::time::Duration;

use landfall_model::environment::EnvironmentRecord;
use landfall_model::event::Intent;
use landfall_planner::{Verdict, apply, environment_names, route};
use landfall_ports::store::{Delivery, DeliveryOutcome, NewDelivery, Received, StoreError, StoreResult};
use tokio_util::sync::CancellationToken;

use crate::pipelines;
use crate::service::Inner;

/// The event name of intents of our own; never accepted from outside.
pub(crate) const OWN_EVENT: &str = "landfall";

/// Few, because each may hold 25 MB.
const BATCH: u32 = 16;
/// A look without being woken.
const IDLE: Duration = Duration::from_millis(500);

struct Judged {
    outcome: DeliveryOutcome,
    records: Vec<EnvironmentRecord>,
    notices: Vec<landfall_model::notice::Notice>,
}

impl Judged {
    fn nothing(outcome: DeliveryOutcome) -> Self {
        Self { outcome, records: Vec::new(), notices: Vec::new() }
    }
}

pub(crate) async fn run(inner: &Inner, cancel: &CancellationToken) {
    while !cancel.is_cancelled() {
        match round(inner, cancel).await {
            Ok(0) => {
                tokio::select! {
                    () = cancel.cancelled() => return,
                    () = inner.store.changed() => {}
                    () = tokio::time::sleep(IDLE) => {}
                }
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "the inbox cannot be worked on");
                tokio::select! {
                    () = cancel.cancelled() => return,
                    () = tokio::time::sleep(IDLE) => {}
                }
            }
        }
    }
}

/// Everything pending now. Returns how many deliveries were finished.
async fn round(inner: &Inner, cancel: &CancellationToken) -> StoreResult<usize> {
    let pending = inner.store.pending_deliveries(BATCH).await?;
    let count = pending.len();
    for delivery in pending {
        if cancel.is_cancelled() {
            break;
        }
        finish(inner, &delivery).await?;
    }
    Ok(count)
}

async fn finish(inner: &Inner, delivery: &Delivery) -> StoreResult<()> {
    // Before the outcome: a death in between begins them again, and they are there already.
    let begun = pipelines::pushed(inner, &delivery.delivery).await?;
    loop {
        let mut judged = judge(inner, &delivery.delivery);
        if let (false, DeliveryOutcome::Ignored { .. }) = (begun.is_empty(), &judged.outcome) {
            judged.outcome = DeliveryOutcome::Applied { what: format!("began {}", begun.join(", ")) };
        }
        let outcome = judged.outcome.clone();
        match inner.records.finish_delivery(delivery.seq, outcome, judged.records, judged.notices).await {
            Ok(()) => {
                let (word, text) = match &judged.outcome {
                    DeliveryOutcome::Applied { what } => ("applied", what),
                    DeliveryOutcome::Ignored { why } => ("ignored", why),
                    DeliveryOutcome::Rejected { why } => ("rejected", why),
                };
                let NewDelivery { id, event, .. } = &delivery.delivery;
                tracing::info!(delivery = %id, event, outcome = word, "{text}");
                inner.metrics.delivery(word);
                inner.decided(&delivery.delivery.id);
                return Ok(());
            }
            // The controller wrote in between: judged again, from what is there now.
            Err(StoreError::Conflict(_)) => tokio::task::yield_now().await,
            Err(error) => return Err(error),
        }
    }
}

fn judge(inner: &Inner, delivery: &NewDelivery) -> Judged {
    let rejected = |why: String| Judged::nothing(DeliveryOutcome::Rejected { why });
    if delivery.event == OWN_EVENT {
        return match serde_json::from_slice::<Intent>(&delivery.body) {
            Ok(intent) => apply_all(inner, vec![intent], ""),
            Err(error) => rejected(format!("not an intent: {error}")),
        };
    }
    match landfall_github::parse(&delivery.id, &delivery.event, &delivery.content_type, &delivery.body) {
        Err(error) => rejected(error.to_string()),
        Ok(event) => {
            let routed = route(&inner.app, &event);
            apply_all(inner, routed.intents, &routed.why)
        }
    }
}

fn apply_all(inner: &Inner, intents: Vec<Intent>, why: &str) -> Judged {
    let mut judged = Judged::nothing(DeliveryOutcome::Ignored { why: why.to_owned() });
    for intent in intents {
        let existing = judged
            .records
            .iter()
            .find(|record| record.key == intent.environment)
            .cloned()
            .or_else(|| inner.records.by_key(&intent.environment))
            .or_else(|| inner.records.get(&environment_names(&inner.app, &intent.environment).base.into()));
        let applied = apply(&inner.app, &intent, existing.as_ref(), inner.clock.now());
        judged.outcome = match applied.verdict {
            Verdict::Applied { what } => DeliveryOutcome::Applied { what },
            Verdict::Ignored { why } => DeliveryOutcome::Ignored { why },
            Verdict::Rejected { why } => DeliveryOutcome::Rejected { why },
        };
        // The record carries the revision that was judged: whoever wrote since then makes this a conflict.
        if let Some(record) = applied.record {
            judged.records.retain(|other| other.id != record.id);
            judged.records.push(record);
        }
        judged.notices.extend(applied.notices);
    }
    judged
}

/// Puts an intent of our own through the door that webhooks come through.
pub(crate) async fn put(inner: &Inner, intent: &Intent) -> StoreResult<Received> {
    let body = serde_json::to_vec(intent).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    let delivery = NewDelivery {
        id: intent.id.clone(),
        event: OWN_EVENT.to_owned(),
        content_type: "application/json".to_owned(),
        body,
        received_at: inner.clock.now(),
    };
    inner.store.receive(delivery).await
}
