//! What people are told of runs, through the outbox that everything else goes through, and the links to decide by.

use std::time::Duration;

use async_trait::async_trait;
use landfall_model::Timestamp;
use landfall_model::notice::{Notice, Sent};
use landfall_pipeline::link::{Claim, PURPOSE, mint};
use landfall_pipeline::{Input, NoticeDraft, Run, asked_by};
use landfall_ports::store::StoreResult;
use landfall_ports::topic::Hears;

use super::{handle, read};
use crate::Service;
use crate::service::Inner;

/// Where the page of a run is, under the server's public URL: followed by the run's id and `?token=`.
pub const PAGE: &str = "/pipelines/runs/";
const KEY: &str = "pipeline.link_key";
/// A link of an approval without a deadline.
const LINK_LIVES: Duration = Duration::from_secs(7 * 86_400);

/// The installation's key that signs links, made once and kept in the store.
///
/// # Errors
/// Of the store.
pub async fn link_key(inner: &crate::Service) -> StoreResult<Vec<u8>> {
    key(&inner.inner).await
}

pub(crate) async fn key(inner: &Inner) -> StoreResult<Vec<u8>> {
    if let Some(text) = inner.store.meta_get(KEY).await? {
        return Ok(text.into_bytes());
    }
    let text: String = (0..4).map(|_| format!("{:016x}", inner.clock.entropy())).collect();
    if inner.store.meta_swap(KEY, None, &text).await? {
        return Ok(text.into_bytes());
    }
    Ok(inner.store.meta_get(KEY).await?.unwrap_or(text).into_bytes())
}

pub(super) async fn notices(
    inner: &Inner,
    run: &Run,
    drafts: Vec<NoticeDraft>,
    now: Timestamp,
) -> StoreResult<Vec<Notice>> {
    let mut all = Vec::new();
    for draft in drafts {
        let links = match draft.fingerprint.as_ref().filter(|_| !draft.approvers.is_empty()) {
            Some(fingerprint) => Some(links(inner, run, &draft, fingerprint, now).await?),
            None => None,
        };
        let environment = inner.app.environments.get(&draft.environment);
        let id = environment.map_or_else(|| draft.environment.as_str().into(), |one| one.id(&inner.app.project));
        all.push(Notice {
            id: format!("{}/{}", run.id(), draft.key),
            kind: draft.kind,
            environment: id,
            execution: None,
            text: draft.text,
            url: None,
            cause: draft.details,
            links,
            at: now,
            to: draft.to,
        });
    }
    Ok(all)
}

#[async_trait]
impl Hears for Service {
    async fn sent(&self, notice: &str, sent: Sent) {
        let inner = &*self.inner;
        let Some((id, stage, round)) = asked_by(notice) else { return };
        let recorded = async {
            read(inner).await?;
            // The world is as it was: nothing is looked at again for this.
            let looked = inner.pipelines.get(&id).and_then(|(_, looked)| looked);
            handle(inner, &id, Input::Sent { stage, round, sent }).await?;
            if let Some(at) = looked {
                inner.pipelines.looked(&id, at);
            }
            StoreResult::Ok(())
        };
        if let Err(error) = recorded.await {
            tracing::warn!(run = %id, %error, "to whom its question was sent is not recorded");
        }
    }
}

/// A line for each who may decide. Where the server has no public URL, the command.
async fn links(
    inner: &Inner,
    run: &Run,
    draft: &NoticeDraft,
    fingerprint: &str,
    now: Timestamp,
) -> StoreResult<String> {
    let Some(public) = &inner.config.public_url else {
        let id = run.id();
        return Ok(format!("landfall pipeline show {id}\nlandfall pipeline approve {id} --fingerprint {fingerprint}"));
    };
    let key = key(inner).await?;
    let lives = jiff::SignedDuration::try_from(LINK_LIVES).unwrap_or_default();
    let expires = draft.expires.unwrap_or_else(|| now.checked_add(lives).unwrap_or(Timestamp::MAX));
    let mut lines = Vec::new();
    for approver in &draft.approvers {
        let claim = Claim {
            purpose: PURPOSE.to_owned(),
            run: run.id().clone(),
            stage: draft.environment.clone(),
            fingerprint: fingerprint.to_owned(),
            approver: approver.clone(),
            expires,
            nonce: format!("{:016x}", inner.clock.entropy()),
        };
        let base = public.trim_end_matches('/');
        lines.push(format!("{approver}: {base}{PAGE}{}?token={}", run.id(), mint(&key, &claim)));
    }
    Ok(lines.join("\n"))
}
