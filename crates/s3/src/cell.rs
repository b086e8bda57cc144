//! One object that many write: read, change, write back on the condition that nobody wrote in between.
//!
//! A change is a function of what is there. It may run several times, and what it refuses it refuses from a copy that S3 just
//! said is the present one, never from an old one.
//!
//! **The answer that got lost.** A write that was not answered, or answered with an error of the server, may have happened, or
//! may yet: the request can still be on its way. Every write therefore carries a number drawn at random (its *token*), the same
//! for all attempts of one change, and the object keeps the last [`KEPT_TOKENS`] of them. After any attempt that is not
//! answered well the object is read again. With our token in it the change has happened, whatever others wrote since. Without
//! it, and with another tag than our attempt expected, no attempt so far can ever happen: each was on the condition of a tag
//! that is gone, and tags do not come back, because no two versions of an object have the same bytes. With the tag unchanged
//! an attempt may still arrive, and the next one is on the same condition with the same change: one of the two happens, and
//! the token tells.
//!
//! **Who is newer.** Answers may overtake each other inside this process; a copy is only ever replaced by one of a higher
//! count of writes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::backoff::{Backoff, random};
use crate::client::{Client, Failure, Got, If, Put};

/// More writes than that between an attempt and the look at what became of it, and its outcome stays unknown.
const KEPT_TOKENS: usize = 64;
/// A change that loses to others, or is not answered, is tried again for so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// The head of every object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Writes {
    /// How the object is to be read; a program that knows only lower ones leaves it alone.
    #[serde(default)]
    format: u32,
    count: u64,
    tokens: VecDeque<String>,
}

/// The format that this program writes.
pub(crate) const FORMAT: u32 = 1;

pub(crate) trait Object: Serialize + DeserializeOwned + Clone + Default + Send + Sync {
    fn writes(&self) -> &Writes;
    fn writes_mut(&mut self) -> &mut Writes;
}

/// What a change has to say when it refuses nothing.
pub(crate) enum Change<T> {
    Write(T),
    /// It is so already.
    Keep(T),
}

/// Why nothing was changed.
pub(crate) enum Refused<E> {
    /// By the change itself, from the present copy.
    By(E),
    Failed(Failure),
}

impl<E> From<Failure> for Refused<E> {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

#[derive(Clone)]
struct Copy<T> {
    value: Arc<T>,
    /// `None`: the object is not there.
    etag: Option<String>,
    /// When S3 was asked for it, or wrote it.
    asked: Instant,
}

pub(crate) struct Cell<T> {
    client: Arc<Client>,
    name: String,
    copy: Mutex<Option<Copy<T>>>,
    /// Changes of this process take turns, so that they lose to other processes only.
    turn: tokio::sync::Mutex<()>,
}

impl<T: Object> Cell<T> {
    pub(crate) fn new(client: Arc<Client>, name: String) -> Self {
        Self { client, name, copy: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }

    fn copy(&self) -> MutexGuard<'_, Option<Copy<T>>> {
        self.copy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last copy, however old; `None` before the first read.
    pub(crate) fn known(&self) -> Option<Arc<T>> {
        self.copy().as_ref().map(|copy| copy.value.clone())
    }

    /// What is there; the default value where nothing is.
    pub(crate) async fn read(&self) -> Result<Arc<T>, Failure> {
        Ok(self.refresh().await?.value)
    }

    /// What was there at most `age` ago.
    pub(crate) async fn read_within(&self, age: Duration) -> Result<Arc<T>, Failure> {
        let recent = self.copy().as_ref().filter(|copy| copy.asked.elapsed() < age).map(|copy| copy.value.clone());
        match recent {
            Some(value) => Ok(value),
            None => self.read().await,
        }
    }

    /// Writes the first version of an object whose name was drawn for it: that nothing is there need not be asked.
    pub(crate) async fn create(&self, value: T) -> Result<(), Failure> {
        *self.copy() = Some(Copy { value: Arc::new(T::default()), etag: None, asked: Instant::now() });
        let written = self.change(|object| {
            let writes = object.writes().clone();
            *object = value.clone();
            *object.writes_mut() = writes;
            Ok::<_, ()>(Change::Write(()))
        });
        match written.await {
            Err(Refused::Failed(failure)) => Err(failure),
            Ok(()) | Err(Refused::By(())) => Ok(()),
        }
    }

    async fn refresh(&self) -> Result<Copy<T>, Failure> {
        let before = self.copy().clone();
        let asked = Instant::now();
        let etag = before.as_ref().and_then(|copy| copy.etag.as_deref());
        let found = match self.client.get(&self.name, etag).await? {
            Got::Found { etag, body } => Copy { value: Arc::new(self.decode(&body)?), etag: Some(etag), asked },
            Got::Missing => Copy { value: Arc::new(T::default()), etag: None, asked },
            Got::Same => match before {
                Some(copy) => Copy { asked, ..copy },
                None => return Err(Failure::Corrupt(format!("{}: unchanged, and never read", self.place()))),
            },
        };
        Ok(self.keep(found))
    }

    /// Keeps the newer of the two, and returns it. Nothing is newer than something only if it was asked for later.
    fn keep(&self, found: Copy<T>) -> Copy<T> {
        let mut known = self.copy();
        if let Some(known) = &*known {
            let newer = match found.etag {
                Some(_) => known.value.writes().count > found.value.writes().count,
                None => known.etag.is_some() && known.asked > found.asked,
            };
            if newer {
                return known.clone();
            }
        }
        *known = Some(found.clone());
        found
    }

    fn place(&self) -> String {
        format!("{}/{}", self.client.address(), self.name)
    }

    fn decode(&self, body: &[u8]) -> Result<T, Failure> {
        #[derive(Deserialize)]
        struct Head {
            #[serde(default)]
            writes: Writes,
        }
        let unreadable = |error: serde_json::Error| Failure::Corrupt(format!("{}: {error}", self.place()));
        let head: Head = serde_json::from_slice(body).map_err(unreadable)?;
        if head.writes.format > FORMAT {
            let (place, format) = (self.place(), head.writes.format);
            return Err(Failure::Corrupt(format!(
                "{place} is of format {format}, and this landfall knows {FORMAT}: update it"
            )));
        }
        serde_json::from_slice(body).map_err(unreadable)
    }

    /// Makes one change. Durable when it returns.
    pub(crate) async fn change<R, E>(
        &self,
        mut change: impl FnMut(&mut T) -> Result<Change<R>, E>,
    ) -> Result<R, Refused<E>> {
        let _turn = self.turn.lock().await;
        let token = format!("{:016x}", random());
        let mut backoff = Backoff::new(PATIENCE);
        // Optimistic: the copy at hand first.
        let known = self.copy().clone();
        let (mut base, mut is_fresh) = match known {
            Some(copy) => (copy, false),
            None => (self.refresh().await?, true),
        };
        loop {
            let mut next = T::clone(&base.value);
            let result = match change(&mut next) {
                Ok(Change::Write(result)) => result,
                other => {
                    if is_fresh {
                        return match other {
                            Ok(Change::Keep(result) | Change::Write(result)) => Ok(result),
                            Err(refusal) => Err(Refused::By(refusal)),
                        };
                    }
                    (base, is_fresh) = (self.refresh().await?, true);
                    continue;
                }
            };
            stamp(next.writes_mut(), &token);
            let body = serde_json::to_vec(&next)
                .map_err(|error| Failure::Corrupt(format!("{} cannot be written: {error}", self.place())))?;
            let condition = base.etag.as_deref().map_or(If::Absent, If::Tag);
            let asked = Instant::now();
            let why = match self.client.put(&self.name, Bytes::from(body), condition).await? {
                Put::Done { etag } => {
                    self.keep(Copy { value: Arc::new(next), etag: Some(etag), asked });
                    return Ok(result);
                }
                Put::Lost => None,
                Put::Unknown(why) => Some(why),
            };
            // Lost to somebody else, or to an attempt of ours that was not answered: the object knows.
            if why.is_some() && !backoff.wait().await {
                return Err(Failure::Unavailable(why.unwrap_or_default()).into());
            }
            let now = self.refresh().await?;
            let writes = now.value.writes();
            if writes.tokens.contains(&token) {
                return Ok(result);
            }
            if writes.count.saturating_sub(base.value.writes().count) >= KEPT_TOKENS as u64 {
                let text = format!("{}: so much was written meanwhile that a write's outcome is lost", self.place());
                return Err(Failure::Unavailable(text).into());
            }
            if why.is_none() && !backoff.wait().await {
                let text = format!("{}: others write without end", self.place());
                return Err(Failure::Unavailable(text).into());
            }
            (base, is_fresh) = (now, true);
        }
    }
}

fn stamp(writes: &mut Writes, token: &str) {
    writes.format = FORMAT;
    writes.count += 1;
    writes.tokens.push_back(token.to_owned());
    while writes.tokens.len() > KEPT_TOKENS {
        writes.tokens.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_tokens_are_kept() {
        let mut writes = Writes::default();
        for n in 0..100 {
            stamp(&mut writes, &n.to_string());
        }
        assert_eq!((writes.count, writes.tokens.len()), (100, KEPT_TOKENS));
        assert_eq!(writes.tokens.back().map(String::as_str), Some("99"));
    }
}
