//! Locks: an environment that somebody locked takes no deployment, rollback or scaling until somebody unlocks it.

use landfall_model::ids::EnvironmentId;

use super::{Answer, LockState, place};
use crate::control::ControlError;
use crate::service::Inner;

fn key(id: &EnvironmentId) -> String {
    format!("lock/{id}")
}

pub(super) async fn held(inner: &Inner, id: &EnvironmentId) -> Answer<Option<LockState>> {
    let text = inner.store.meta_get(&key(id)).await?.filter(|text| !text.is_empty());
    let read = |text: String| {
        serde_json::from_str(&text).map_err(|error| {
            ControlError::Internal(format!("the lock of {id} cannot be read ({error}); `landfall unlock` removes it"))
        })
    };
    text.map(read).transpose()
}

/// # Errors
/// `Locked`, with who and why.
pub(super) async fn refuse(inner: &Inner, id: &EnvironmentId, name: &str) -> Answer<()> {
    match held(inner, id).await? {
        None => Ok(()),
        Some(LockState { reason, by, at }) => {
            Err(ControlError::Locked(format!("environment {name} was locked by {by} at {at:.0}: {reason}")))
        }
    }
}

/// Takes the lock. One that is held stays with its owner.
pub(crate) async fn lock(inner: &Inner, name: &str, reason: String, by: String) -> Answer<LockState> {
    let place = place(inner, name)?;
    let state = LockState { reason, by, at: inner.clock.now() };
    let text = serde_json::to_string(&state).map_err(|error| ControlError::Internal(error.to_string()))?;
    loop {
        let before = inner.store.meta_get(&key(&place.id)).await?;
        refuse(inner, &place.id, &place.environment.name).await?;
        // Of two who lock at once, perhaps on two machines, one gets it.
        if inner.store.meta_swap(&key(&place.id), before.as_deref(), &text).await? {
            return Ok(state);
        }
    }
}

/// What was held, if anything was.
pub(crate) async fn unlock(inner: &Inner, name: &str) -> Answer<Option<LockState>> {
    let place = place(inner, name)?;
    // One that cannot be read is removed all the same.
    let before = held(inner, &place.id).await.unwrap_or_default();
    inner.store.meta_put(&key(&place.id), "").await?;
    Ok(before)
}
