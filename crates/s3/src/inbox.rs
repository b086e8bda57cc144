//! Deliveries, as a part of the table of contents. Pure.
//!
//! No webhook arrives at a state on S3 (`serve` needs a directory): these are requests of commands, a few hundred bytes each.
//! Each runner works on what it received itself, in the order of arrival among all; what another received and left for
//! [`LEFT_MS`] anybody may take. Until then whatever came after it waits, because order is what deliveries promise.

use landfall_model::Timestamp;
use landfall_model::ids::DeliveryId;
use landfall_ports::store::{
    Delivery, DeliveryOutcome, DeliverySummary, NewDelivery, Received, StoreError, StoreResult,
};
use serde::{Deserialize, Serialize};

/// A runner decides within a second. One that has not after this is dead.
pub(crate) const LEFT_MS: i64 = 30_000;
/// A larger one would be rewritten with every change of the table.
const LARGEST_BODY: usize = 1024 * 1024;
/// Finished deliveries whose ids and outcomes are remembered.
const REMEMBERED: usize = 200;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Inbox {
    last: u64,
    /// In order of arrival.
    deliveries: Vec<Stored>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Stored {
    seq: u64,
    id: String,
    event: String,
    content_type: String,
    bytes: u64,
    received_at: Timestamp,
    /// Hexadecimal; nothing once it is finished.
    body: String,
    outcome: Option<DeliveryOutcome>,
    by: String,
    /// Since when it is pending, on S3's clock at the latest.
    since: i64,
}

impl Inbox {
    /// `by`: the runner that received it, at `now` on S3's clock.
    pub(crate) fn receive(&mut self, delivery: &NewDelivery, by: &str, now: i64) -> StoreResult<Received> {
        if self.deliveries.iter().any(|known| known.id == delivery.id.as_str()) {
            return Ok(Received::Duplicate);
        }
        if delivery.body.len() > LARGEST_BODY {
            let (id, bytes) = (&delivery.id, delivery.body.len());
            let text = format!("delivery {id} has {bytes} bytes, and a state on S3 takes {LARGEST_BODY}");
            return Err(StoreError::Unavailable(text));
        }
        self.last += 1;
        self.deliveries.push(Stored {
            seq: self.last,
            id: delivery.id.to_string(),
            event: delivery.event.clone(),
            content_type: delivery.content_type.clone(),
            bytes: delivery.body.len() as u64,
            received_at: delivery.received_at,
            body: hex::encode(&delivery.body),
            outcome: None,
            by: by.to_owned(),
            since: now,
        });
        Ok(Received::New)
    }

    /// `earliest`: at the earliest it is so late.
    pub(crate) fn pending(&self, limit: u32, me: &str, earliest: i64) -> StoreResult<Vec<Delivery>> {
        let pending = self.deliveries.iter().filter(|stored| stored.outcome.is_none());
        let mine = pending.take_while(|stored| stored.by == me || earliest >= stored.since + LEFT_MS);
        let read = |stored: &Stored| {
            let body = hex::decode(&stored.body)
                .map_err(|error| StoreError::Corrupt(format!("delivery {}: {error}", stored.seq)))?;
            let delivery = NewDelivery {
                id: DeliveryId::new(&stored.id),
                event: stored.event.clone(),
                content_type: stored.content_type.clone(),
                body,
                received_at: stored.received_at,
            };
            Ok(Delivery { seq: stored.seq, delivery })
        };
        mine.take(limit as usize).map(read).collect()
    }

    pub(crate) fn depth(&self) -> usize {
        self.deliveries.iter().filter(|stored| stored.outcome.is_none()).count()
    }

    pub(crate) fn finish(&mut self, seq: u64, outcome: &DeliveryOutcome) -> StoreResult<()> {
        let stored = self.deliveries.iter_mut().find(|stored| stored.seq == seq && stored.outcome.is_none());
        let Some(stored) = stored else {
            let text = format!("delivery {seq} is not pending: unknown, or finished before");
            return Err(StoreError::Corrupt(text));
        };
        stored.outcome = Some(outcome.clone());
        stored.body = String::new();
        let mut surplus = (self.deliveries.len() - self.depth()).saturating_sub(REMEMBERED);
        self.deliveries.retain(|stored| {
            let goes = surplus > 0 && stored.outcome.is_some();
            surplus -= usize::from(goes);
            !goes
        });
        Ok(())
    }

    /// Newest first.
    pub(crate) fn summaries(&self, limit: u32) -> Vec<DeliverySummary> {
        let newest = self.deliveries.iter().rev().take(limit as usize);
        let summary = |stored: &Stored| DeliverySummary {
            seq: stored.seq,
            id: DeliveryId::new(&stored.id),
            event: stored.event.clone(),
            bytes: stored.bytes,
            received_at: stored.received_at,
            outcome: stored.outcome.clone(),
        };
        newest.map(summary).collect()
    }
}

#[cfg(test)]
mod tests {
    use landfall_testkit::conformance::fixtures::delivery;

    use super::*;

    fn ids(inbox: &Inbox, me: &str, now: i64) -> Vec<String> {
        inbox.pending(10, me, now).unwrap().into_iter().map(|pending| pending.delivery.id.0).collect()
    }

    #[test]
    fn runners_keep_to_their_own_and_to_the_order() {
        let mut inbox = Inbox::default();
        for (id, by) in [("d-1", "a"), ("d-2", "b"), ("d-3", "a")] {
            inbox.receive(&delivery(id, 1), by, 1000).unwrap();
        }
        assert_eq!(ids(&inbox, "a", 1000), ["d-1"]);
        assert_eq!(ids(&inbox, "b", 1000), Vec::<String>::new(), "d-1 is before it");
        inbox.finish(1, &DeliveryOutcome::Ignored { why: String::new() }).unwrap();
        assert_eq!(ids(&inbox, "b", 1000), ["d-2"]);
        assert_eq!(ids(&inbox, "a", 1000 + LEFT_MS - 1), Vec::<String>::new());
        assert_eq!(ids(&inbox, "a", 1000 + LEFT_MS), ["d-2", "d-3"], "b is dead");
    }

    #[test]
    fn a_body_is_not_kept_longer_than_needed_and_ids_are_remembered() {
        let mut inbox = Inbox::default();
        for n in 0..REMEMBERED as u64 + 5 {
            inbox.receive(&delivery(&n.to_string(), 1), "a", 0).unwrap();
            inbox.finish(n + 1, &DeliveryOutcome::Ignored { why: String::new() }).unwrap();
        }
        assert_eq!(inbox.deliveries.len(), REMEMBERED);
        assert!(inbox.deliveries.iter().all(|stored| stored.body.is_empty()));
        assert_eq!(inbox.receive(&delivery("9", 1), "b", 0).unwrap(), Received::Duplicate);
        let mut large = delivery("large", 1);
        large.body = vec![0; LARGEST_BODY + 1];
        assert!(matches!(inbox.receive(&large, "a", 0), Err(StoreError::Unavailable(_))));
    }
}
