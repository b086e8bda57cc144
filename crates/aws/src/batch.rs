//! Many callers, few calls: what several ask for at once is fetched together.
//!
//! Nothing else is kept: an answer always comes of a call that began after it was asked for, so that it is never older than the
//! question. While one fetch is under way the questions that arrive pile up for the next, so the more is asked, the fuller
//! the batches. A fetch runs in its own task: whoever stops waiting takes no answer from the others.
//!
//! A fetch of many pages may take longer than its askers are let wait: its answer is kept for a while for whoever asks again, who
//! would else begin anew each time and never come to an end.
//!
//! Who follows something asks again and again, each in its own rhythm, so that fifty would never meet. Once more is followed
//! than one call takes, those questions wait for a common tick: from then on they are answered, and asked again, together.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use landfall_ports::{PortError, PortResult};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// So often tasks that are ready are let go first: they may ask for the same.
const TURNS: usize = 16;
/// When many are followed: at most one round of calls in so long.
const TICK: Duration = Duration::from_secs(1);
/// A fetch that takes longer than this may outlive its askers: the engine cuts a handler off after 12 s.
const LONG: Duration = Duration::from_secs(8);
/// For so long since it was begun an answer that nobody was left to hear is kept for whoever asks again.
const KEPT: Duration = Duration::from_secs(120);
/// Who asks again within so long follows.
const FOLLOWS: Duration = Duration::from_secs(5);

type Waiting<K, V> = Vec<(K, oneshot::Sender<PortResult<V>>)>;

pub(crate) struct Batcher<K, V> {
    /// Keys that one call takes.
    most: usize,
    waiting: Mutex<Waiting<K, V>>,
    fetching: tokio::sync::Mutex<()>,
    /// When each key was last asked for by somebody who follows it.
    followed: Mutex<HashMap<K, Instant>>,
    /// Answers whose askers were cut off before they came, with the time at which they were begun.
    unclaimed: Mutex<HashMap<K, (Instant, V)>>,
    /// Somebody cannot wait for the tick.
    hurry: Notify,
    since: Instant,
}

impl<K, V> Batcher<K, V>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + 'static,
{
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            waiting: Mutex::default(),
            fetching: tokio::sync::Mutex::default(),
            followed: Mutex::default(),
            unclaimed: Mutex::default(),
            hurry: Notify::new(),
            since: Instant::now(),
        })
    }

    /// `fetch` takes at most `most` keys and answers every one of them.
    pub(crate) async fn get<F, A>(self: &Arc<Self>, key: K, fetch: F) -> PortResult<V>
    where
        F: Fn(Vec<K>) -> A + Send + Sync + 'static,
        A: Future<Output = PortResult<HashMap<K, V>>> + Send,
    {
        self.ask(key, fetch, None).await
    }

    /// As `get`, for what is asked again and again.
    pub(crate) async fn follow<F, A>(self: &Arc<Self>, key: K, fetch: F) -> PortResult<V>
    where
        F: Fn(Vec<K>) -> A + Send + Sync + 'static,
        A: Future<Output = PortResult<HashMap<K, V>>> + Send,
    {
        let now = Instant::now();
        let crowded = {
            let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
            followed.insert(key.clone(), now);
            if followed.len() > self.most {
                followed.retain(|_, at| now.duration_since(*at) <= FOLLOWS);
            }
            followed.len() > self.most
        };
        let tick = crowded.then(|| self.until_tick(now));
        self.ask(key, fetch, tick).await
    }

    fn until_tick(&self, now: Instant) -> Duration {
        let tick = TICK.as_nanos();
        let into = now.duration_since(self.since).as_nanos() % tick;
        Duration::from_nanos(u64::try_from(tick - into).unwrap_or_default())
    }

    async fn ask<F, A>(self: &Arc<Self>, key: K, fetch: F, tick: Option<Duration>) -> PortResult<V>
    where
        F: Fn(Vec<K>) -> A + Send + Sync + 'static,
        A: Future<Output = PortResult<HashMap<K, V>>> + Send,
    {
        let (answer, answered) = oneshot::channel();
        let first = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.push((key, answer));
            waiting.len() == 1
        };
        if first {
            let batcher = Arc::clone(self);
            tokio::spawn(async move { batcher.run(fetch, tick).await });
        } else if tick.is_none() {
            self.hurry.notify_one();
        }
        answered.await.unwrap_or_else(|_| Err(PortError::Unavailable("the call was given up".to_owned())))
    }

    async fn run<F, A>(&self, fetch: F, tick: Option<Duration>)
    where
        F: Fn(Vec<K>) -> A,
        A: Future<Output = PortResult<HashMap<K, V>>>,
    {
        if let Some(tick) = tick {
            // A call to hurry that nobody heard only makes this round an early one.
            let _ = tokio::time::timeout(tick, self.hurry.notified()).await;
        } else {
            // Those who ask at the same moment have had their turn by then; who comes later goes with the next.
            for _ in 0..TURNS {
                tokio::task::yield_now().await;
            }
        }
        let _one = self.fetching.lock().await;
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        let mut seen = HashSet::new();
        let keys: Vec<K> =
            waiting.iter().map(|(key, _)| key).filter(|key| seen.insert((*key).clone())).cloned().collect();
        let mut answers: HashMap<K, PortResult<V>> = HashMap::new();
        let begun = Instant::now();
        let mut left = keys;
        left.retain(|key| {
            let kept = self.unclaimed.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
            let Some((_, value)) = kept.filter(|(at, _)| at.elapsed() <= KEPT) else { return true };
            answers.insert(key.clone(), Ok(value));
            false
        });
        for chunk in left.chunks(self.most.max(1)) {
            match fetch(chunk.to_vec()).await {
                Ok(found) => answers.extend(found.into_iter().map(|(key, value)| (key, Ok(value)))),
                Err(error) => answers.extend(chunk.iter().map(|key| (key.clone(), Err(error.clone())))),
            }
        }
        for (key, answer) in waiting {
            let missing = || Err(PortError::Bug("a batch left a key without an answer".to_owned()));
            let told = answers.get(&key).cloned().unwrap_or_else(missing);
            // Nobody may be waiting any more: after so long, whoever was cut off asks again.
            if let Err(Ok(value)) = answer.send(told)
                && begun.elapsed() >= LONG
            {
                self.unclaimed.lock().unwrap_or_else(PoisonError::into_inner).insert(key, (begun, value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Calls = Arc<Mutex<Vec<usize>>>;

    fn fetch(calls: Calls) -> impl Fn(Vec<u32>) -> futures::Boxed + Send + Sync + 'static {
        move |keys| {
            let calls = Arc::clone(&calls);
            Box::pin(async move {
                calls.lock().unwrap().push(keys.len());
                tokio::time::sleep(Duration::from_millis(50)).await;
                if keys.contains(&666) {
                    return Err(PortError::Unavailable("no".to_owned()));
                }
                Ok(keys.into_iter().map(|key| (key, key * 2)).collect())
            })
        }
    }

    mod futures {
        pub(super) type Boxed = std::pin::Pin<
            Box<dyn Future<Output = landfall_ports::PortResult<std::collections::HashMap<u32, u32>>> + Send>,
        >;
    }

    #[tokio::test(start_paused = true)]
    async fn fifty_at_once_are_five_calls_of_ten_and_doubles_count_once() {
        let (batcher, calls) = (Batcher::new(10), Calls::default());
        let mut tasks = tokio::task::JoinSet::new();
        for key in (0..50).chain(0..50) {
            let (batcher, calls) = (Arc::clone(&batcher), Arc::clone(&calls));
            tasks.spawn(async move { (key, batcher.get(key, fetch(calls)).await.unwrap()) });
        }
        assert!(tasks.join_all().await.into_iter().all(|(key, value)| value == key * 2));
        assert_eq!(*calls.lock().unwrap(), [10; 5]);
    }

    /// Each in its own rhythm.
    #[tokio::test(start_paused = true)]
    async fn fifty_that_are_followed_come_to_be_asked_for_together() {
        let (batcher, calls) = (Batcher::new(10), Calls::default());
        let mut tasks = tokio::task::JoinSet::new();
        for key in 0..50_u64 {
            let (batcher, calls) = (Arc::clone(&batcher), Arc::clone(&calls));
            tasks.spawn(async move {
                tokio::time::sleep(Duration::from_millis(key * 37)).await;
                for _ in 0..30 {
                    batcher.follow(u32::try_from(key).unwrap(), fetch(Arc::clone(&calls))).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(1_000 + key % 7)).await;
                }
            });
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
        calls.lock().unwrap().clear();
        tokio::time::sleep(Duration::from_secs(20)).await;
        let calls = calls.lock().unwrap().clone();
        assert!(calls.len() <= 20 * 5, "{} calls in 20 ticks", calls.len());
        assert!(calls.iter().sum::<usize>() >= 50 * 9, "{calls:?}");
        tasks.shutdown().await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_cannot_wait_does_not_and_few_that_are_followed_do_not_either() {
        let (batcher, calls) = (Batcher::new(2), Calls::default());
        let begun = Instant::now();
        for key in 0..2 {
            batcher.follow(key, fetch(Arc::clone(&calls))).await.unwrap();
        }
        assert!(begun.elapsed() < Duration::from_millis(200), "{:?}", begun.elapsed());
        let third = {
            let (batcher, calls) = (Arc::clone(&batcher), Arc::clone(&calls));
            tokio::spawn(async move { batcher.follow(2, fetch(calls)).await })
        };
        tokio::time::sleep(Duration::from_millis(10)).await;
        let asked = Instant::now();
        assert_eq!(batcher.get(9, fetch(Arc::clone(&calls))).await.unwrap(), 18);
        assert!(asked.elapsed() < Duration::from_millis(200), "{:?}", asked.elapsed());
        third.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn questions_during_a_fetch_wait_for_the_next_one() {
        let (batcher, calls) = (Batcher::new(10), Calls::default());
        let ask = |key| {
            let (batcher, calls) = (Arc::clone(&batcher), Arc::clone(&calls));
            tokio::spawn(async move { batcher.get(key, fetch(calls)).await })
        };
        let first = ask(1);
        tokio::time::sleep(Duration::from_millis(20)).await;
        let later = [ask(1), ask(2)];
        first.await.unwrap().unwrap();
        for answer in later {
            answer.await.unwrap().unwrap();
        }
        assert_eq!(*calls.lock().unwrap(), [1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_everybody_s_of_its_call_only() {
        let (batcher, calls) = (Batcher::new(1), Calls::default());
        let bad = batcher.get(666, fetch(Arc::clone(&calls)));
        let good = batcher.get(3, fetch(Arc::clone(&calls)));
        let (bad, good) = tokio::join!(bad, good);
        assert!(matches!(bad, Err(PortError::Unavailable(_))));
        assert_eq!(good.unwrap(), 6);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_answer_waits_for_whoever_was_cut_off() {
        let (batcher, calls) = (Batcher::new(1), Calls::default());
        let pages = |calls: Calls| {
            move |keys: Vec<u32>| -> futures::Boxed {
                let calls = Arc::clone(&calls);
                Box::pin(async move {
                    calls.lock().unwrap().push(keys.len());
                    tokio::time::sleep(Duration::from_secs(25)).await;
                    Ok(keys.into_iter().map(|key| (key, key * 2)).collect())
                })
            }
        };
        let cut = Duration::from_secs(12);
        let mut answer = None;
        for _ in 0..4 {
            answer = tokio::time::timeout(cut, batcher.get(1, pages(Arc::clone(&calls)))).await.ok();
            if answer.is_some() {
                break;
            }
        }
        assert_eq!(answer.unwrap().unwrap(), 2);
        assert_eq!(calls.lock().unwrap().len(), 1, "one listing, asked for three times");
        // Told once: the next question is answered by what is there now.
        drop(tokio::time::timeout(cut, batcher.get(1, pages(Arc::clone(&calls)))).await);
        assert_eq!(calls.lock().unwrap().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_stops_waiting_keeps_nobody_from_an_answer() {
        let (batcher, calls) = (Batcher::new(10), Calls::default());
        let impatient = {
            let (batcher, calls) = (Arc::clone(&batcher), Arc::clone(&calls));
            tokio::spawn(async move { batcher.get(1, fetch(calls)).await })
        };
        tokio::time::sleep(Duration::from_millis(1)).await;
        let patient = {
            let (batcher, calls) = (Arc::clone(&batcher), Arc::clone(&calls));
            tokio::spawn(async move { batcher.get(2, fetch(calls)).await })
        };
        tokio::time::sleep(Duration::from_millis(1)).await;
        impatient.abort();
        assert_eq!(patient.await.unwrap().unwrap(), 4);
    }
}
