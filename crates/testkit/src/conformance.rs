//! What every journal and store promises, as checks that run on any of them.
//!
//! An implementation is wrapped as a [`Subject`], which also says how its boot clock is moved. Each check gets a fresh one,
//! so that it may speak of everything there is. A check that fails panics at the line of the broken promise.

mod executions;
pub mod fixtures;
mod inbox;
mod leases;
mod outbox;
mod retention;
mod runs;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use landfall_ports::journal::Journal;
use landfall_ports::store::Store;

use crate::Mem;

/// A journal and a store over the same tables.
#[async_trait]
pub trait Subject: Send + Sync {
    fn journal(&self) -> Arc<dyn Journal>;
    fn store(&self) -> Arc<dyn Store>;
    /// Moves the clock that leases run on.
    async fn pass_ms(&self, ms: u64);
    /// Another boot: the clock starts again near zero, and every lease of before is expired.
    async fn reboot(&self);
    /// So much has come since that of what has finished all goes that retention ever lets go.
    async fn age(&self);
}

/// Runs in a test whose tokio clock is paused.
#[async_trait]
impl Subject for Arc<Mem> {
    fn journal(&self) -> Arc<dyn Journal> {
        Arc::clone(self) as Arc<dyn Journal>
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(self) as Arc<dyn Store>
    }

    async fn pass_ms(&self, ms: u64) {
        tokio::time::advance(Duration::from_millis(ms)).await;
    }

    async fn reboot(&self) {
        self.expire_leases();
    }

    async fn age(&self) {
        self.let_go();
    }
}

/// The journal port's promises.
pub async fn journal<S: Subject>(make: impl AsyncFn() -> S) {
    executions::create_is_idempotent_by_key(&make().await).await;
    executions::an_id_belongs_to_one_request(&make().await).await;
    executions::what_is_written_is_read(&make().await).await;
    executions::an_append_expects_a_version(&make().await).await;
    executions::an_unknown_execution_is_not_found(&make().await).await;
    executions::an_append_is_all_or_nothing(&make().await).await;
    executions::an_empty_append_checks_the_lease_and_the_version(&make().await).await;
    executions::signals_are_consumed_with_the_records_that_answer_them(&make().await).await;
    executions::compaction_keeps_the_tail(&make().await).await;
    executions::compaction_checks_what_it_is_given(&make().await).await;
    executions::followers_read_in_commit_order(&make().await).await;
    executions::listing_is_newest_first(&make().await).await;
    executions::records_of_a_newer_version_are_kept(&make().await).await;
    executions::racing_creates_of_one_key_make_one(&make().await).await;
    executions::racing_appends_have_one_winner(&make().await).await;
    executions::followers_are_woken(&make().await).await;
    retention::the_newest_releases_outlive_everything(&make().await).await;
    leases::a_held_execution_is_not_claimed(&make().await).await;
    leases::an_expired_lease_is_taken_over_and_fenced(&make().await).await;
    leases::a_renewed_lease_does_not_expire(&make().await).await;
    leases::renewing_tells_what_was_lost(&make().await).await;
    leases::nobody_uses_the_lease_of_another(&make().await).await;
    leases::a_released_lease_is_free_at_once(&make().await).await;
    leases::a_lease_of_another_boot_is_expired(&make().await).await;
    leases::a_finished_execution_is_over(&make().await).await;
    leases::claims_are_oldest_first_and_limited(&make().await).await;
    leases::racing_claims_never_share(&make().await).await;
}

/// The store port's promises.
pub async fn store<S: Subject>(make: impl AsyncFn() -> S) {
    inbox::a_delivery_is_received_once(&make().await).await;
    inbox::pending_deliveries_keep_their_order_and_their_bytes(&make().await).await;
    inbox::finishing_writes_all_or_nothing(&make().await).await;
    inbox::a_finished_delivery_stays_known(&make().await).await;
    inbox::a_delivery_is_finished_once(&make().await).await;
    inbox::many_senders_at_once_lose_nothing(&make().await).await;
    inbox::environments_are_locked_optimistically(&make().await).await;
    inbox::environments_are_written_all_or_nothing(&make().await).await;
    inbox::two_writes_of_one_record_follow_each_other(&make().await).await;
    inbox::small_values_are_kept(&make().await).await;
    inbox::a_value_is_swapped_only_for_what_was_expected(&make().await).await;
    inbox::followers_are_woken(&make().await).await;
    outbox::a_notice_is_told_once_to_every_target(&make().await).await;
    outbox::notices_of_all_transactions_are_fanned_out(&make().await).await;
    outbox::a_failed_notice_comes_back_when_due(&make().await).await;
    outbox::what_is_over_stays_over(&make().await).await;
    outbox::notices_before_any_targets_are_not_lost(&make().await).await;
    outbox::targets_may_change(&make().await).await;
    outbox::a_refused_transaction_tells_nobody(&make().await).await;
}

/// The promises about runs of pipelines, of stores that keep them.
pub async fn runs<S: Subject>(make: impl AsyncFn() -> S) {
    runs::a_run_is_made_once_for_its_key(&make().await).await;
    runs::appends_expect_what_was_read(&make().await).await;
    runs::listing_keeps_what_has_not_finished(&make().await).await;
    runs::only_finished_ones_are_forgotten(&make().await).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn memory_keeps_the_journals_promises() {
        journal(async || Arc::new(Mem::default())).await;
    }

    #[tokio::test(start_paused = true)]
    async fn memory_keeps_the_stores_promises() {
        store(async || Arc::new(Mem::default())).await;
    }

    #[tokio::test(start_paused = true)]
    async fn memory_keeps_the_promises_about_runs() {
        runs(async || Arc::new(Mem::default())).await;
    }
}
