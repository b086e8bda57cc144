//! Drains the outbox.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use landfall_model::app::ChatEnvelope;
use landfall_model::notice::{NoticeKind, Sent};
use landfall_ports::Lazy;
use landfall_ports::clock::Clock;
use landfall_ports::store::{OutboxRow, Store, StoreResult};
use landfall_ports::topic::{Hears, Subscriber, Topic};

use crate::coalesce::coalesce;
use crate::send;

/// Attempts at one message before it is given up with an error in the log: about two hours.
const ATTEMPTS: u32 = 12;
const FIRST_RETRY_S: i64 = 2;
const MAX_RETRY_S: i64 = 900;
const BATCH: u32 = 100;
const IDLE: Duration = Duration::from_secs(5);
/// For who has subscribed to a topic: other notices wait meanwhile.
const LOOK: Duration = Duration::from_secs(5);

/// Where notices go; secrets already looked up by the caller.
#[derive(Clone)]
pub struct Target {
    pub name: String,
    pub kind: TargetKind,
    /// Kinds that are sent; empty means all.
    pub on: Vec<NoticeKind>,
}

#[derive(Clone)]
pub enum TargetKind {
    Log,
    Webhook {
        url: String,
        secret: Option<String>,
    },
    Slack {
        url: String,
        channel: Option<String>,
    },
    /// With `envelope` the message is the one that a chat forwarder behind the topic takes apart.
    Topic {
        topic: Arc<dyn Topic>,
        envelope: Option<ChatEnvelope>,
    },
}

/// Sends what the outbox holds. One at a time per target, so that messages arrive in order; a target that fails waits
/// alone.
pub struct Notifier {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    client: Lazy<reqwest::Client>,
    targets: BTreeMap<String, Target>,
    hears: Option<Arc<dyn Hears>>,
}

impl Notifier {
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, targets: Vec<Target>) -> Self {
        let targets = targets.into_iter().map(|target| (target.name.clone(), target)).collect();
        Self { store, clock, client: Lazy::new(send::client), targets, hears: None }
    }

    /// Tells of each notice that asks for approval to whom it was sent.
    #[must_use]
    pub fn heard_by(self, hears: Arc<dyn Hears>) -> Self {
        Self { hears: Some(hears), ..self }
    }

    /// Runs until it is told to stop. Registers the targets first: notices from then on are meant for them. A round that has begun
    /// is finished: what was sent and not marked would be sent again.
    pub async fn run(&self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        let names: Vec<String> = self.targets.keys().cloned().collect();
        while let Err(error) = self.store.set_notification_targets(names.clone()).await {
            tracing::warn!(%error, "notification targets not registered yet");
            tokio::select! {
                () = &mut stop => return,
                () = tokio::time::sleep(IDLE) => {}
            }
        }
        loop {
            let idle = match self.drain().await {
                Ok(settled) => settled == 0,
                Err(error) => {
                    tracing::warn!(%error, "outbox unavailable");
                    true
                }
            };
            tokio::select! {
                biased;
                () = &mut stop => return,
                () = tokio::time::sleep(IDLE), if idle => {}
                () = self.store.changed(), if idle => {}
                () = std::future::ready(()), if !idle => {}
            }
        }
    }

    /// One round: everything that is due now. Returns how many rows it settled.
    pub async fn drain(&self) -> StoreResult<usize> {
        let due = self.store.due_notices(self.clock.now(), BATCH).await?;
        let (send, overtaken) = coalesce(due);
        let mut settled = overtaken.len();
        if !overtaken.is_empty() {
            self.store.notices_done(overtaken).await?;
        }
        let mut by_target: BTreeMap<String, Vec<OutboxRow>> = BTreeMap::new();
        for row in send {
            by_target.entry(row.target.clone()).or_default().push(row);
        }
        let rounds = by_target.into_iter().map(|(name, rows)| self.one_target(name, rows));
        for done in futures_util::future::join_all(rounds).await {
            settled += done?;
        }
        Ok(settled)
    }

    /// In order; the first failure ends the target's round.
    async fn one_target(&self, name: String, rows: Vec<OutboxRow>) -> StoreResult<usize> {
        let mut settled = 0;
        for row in rows {
            let (to, kind) = (&row.notice.to, &row.notice.kind);
            // One that is for some is for those, whatever kinds they want otherwise.
            let wants = |t: &&Target| match to.is_empty() {
                true => t.on.is_empty() || t.on.contains(kind),
                false => to.contains(&t.name),
            };
            let wanted = self.targets.get(&name).filter(wants);
            let result = match wanted {
                Some(target) => send::send(&self.client, target, &row.notice).await,
                // A target that left the manifest, or a kind that it does not want.
                None => Ok(()),
            };
            settled += 1;
            match result {
                Ok(()) => {
                    self.tell(wanted, &row, None).await;
                    self.store.notices_done(vec![row.seq]).await?;
                }
                Err(error) => {
                    self.tell(wanted, &row, Some(&error)).await;
                    let retry_at = self.retry_at(row.attempts);
                    match retry_at {
                        Some(at) => {
                            tracing::warn!(target = name, notice = row.notice.id, error, %at, "notice not delivered; will be tried again")
                        }
                        None => tracing::error!(
                            target = name,
                            notice = row.notice.id,
                            error,
                            text = row.notice.text,
                            "notice given up"
                        ),
                    }
                    self.store.notice_failed(row.seq, error, retry_at).await?;
                    break;
                }
            }
        }
        Ok(settled)
    }

    async fn tell(&self, target: Option<&Target>, row: &OutboxRow, error: Option<&str>) {
        let asks = row.notice.kind == NoticeKind::AwaitingApproval;
        let (Some(hears), Some(target)) = (self.hears.as_ref().filter(|_| asks), target) else { return };
        let readers = match &target.kind {
            TargetKind::Topic { topic, .. } if error.is_none() => {
                // It is sent: that this cannot be told is no reason to send it again.
                let found = tokio::time::timeout(LOOK, topic.subscribers()).await;
                let found = found.ok().and_then(|found| {
                    found.inspect_err(|error| tracing::debug!(%error, "who has subscribed is not known")).ok()
                });
                found.map(|all| all.iter().map(Subscriber::reader).collect())
            }
            _ => None,
        };
        hears.sent(&row.notice.id, Sent { to: target.name.clone(), error: error.map(str::to_owned), readers }).await;
    }

    /// `attempts`: those before the one that failed now.
    fn retry_at(&self, attempts: u32) -> Option<landfall_model::Timestamp> {
        if attempts + 1 >= ATTEMPTS {
            return None;
        }
        let wait = FIRST_RETRY_S.saturating_mul(1 << attempts.min(20)).min(MAX_RETRY_S);
        self.clock.now().checked_add(SignedDuration::from_secs(wait)).ok()
    }
}
