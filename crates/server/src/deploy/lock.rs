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

/// `by`: who asks. What a run of a pipeline does in a stage is done under its own lock.
///
/// # Errors
/// `Locked`, with who and why.
pub(super) async fn refuse(inner: &Inner, id: &EnvironmentId, name: &str, by: &str) -> Answer<()> {
    let own = |lock: &LockState| {
        let rest = by.strip_prefix(lock.by.as_str());
        lock.by.starts_with("pipeline:") && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match held(inner, id).await? {
        None => Ok(()),
        Some(lock) if own(&lock) => Ok(()),
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
        refuse(inner, &place.id, &place.environment.name, &state.by).await?;
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

/// By the environment's name.
pub(crate) async fn lock_of(inner: &Inner, name: &str) -> Answer<Option<LockState>> {
    held(inner, &place(inner, name)?.id).await
}

/// Removes the lock if it is held by `by`; somebody else's stays.
pub(crate) async fn unlock_if(inner: &Inner, name: &str, by: &str) -> Answer<()> {
    let place = place(inner, name)?;
    let text = inner.store.meta_get(&key(&place.id)).await?;
    if held(inner, &place.id).await?.is_some_and(|lock| lock.by == by) {
        // Whoever has taken it since keeps it.
        inner.store.meta_swap(&key(&place.id), text.as_deref(), "").await?;
    }
    Ok(())
}
