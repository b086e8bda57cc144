//! The one way to AWS: every call waits for its quota, is timed, counted, traced, and retried while AWS says it comes too fast.
//!
//! A throttled request was not carried out, so repeating it is always safe; so is a read, which has no effect, and is repeated
//! for a moment where there was no answer, as not everybody who reads is a step. Nothing else is repeated here: after a time-out or a
//! cut connection nobody knows whether the effect is there, and the engine repeats the whole, idempotent step.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use landfall_ports::{PortError, PortResult};
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::budget::{Budgets, Family, random};
use crate::clients::Lazily;
use crate::error::{Failed, failed};

/// What is called, in IAM's words, and on what: `ecs`, `UpdateService`, `service web`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub service: &'static str,
    pub action: &'static str,
    pub family: Family,
    pub resource: &'a str,
}

impl<'a> Call<'a> {
    pub(crate) fn ecs(action: &'static str, family: Family, resource: &'a str) -> Self {
        Self { service: "ecs", action, family, resource }
    }

    fn reads(&self) -> bool {
        ["Describe", "Get", "List"].iter().any(|verb| self.action.starts_with(verb))
    }

    /// For messages.
    pub(crate) fn what(&self) -> String {
        format!("{}:{} on {}", self.service, self.action, self.resource)
    }
}

const THROTTLED_TRIES: u32 = 8;
/// Of a read without an answer, and for how long: a region that is down is told soon.
const READ_TRIES: u32 = 5;
const LONGEST_READING: Duration = Duration::from_secs(4);
/// A connection that is dead without saying so is found out sooner than by the call's own time-out.
const FIRST_READING: Duration = Duration::from_secs(3);
const FIRST_PAUSE_MS: u64 = 50;
const FIRST_BACKOFF_MS: u64 = 200;
const LONGEST_BACKOFF_MS: u64 = 5_000;
/// Within what the engine gives a handler: later the engine asks again.
const LONGEST_RETRYING: Duration = Duration::from_secs(8);

pub(crate) struct Caller {
    budgets: Arc<Budgets>,
    sts: Arc<Lazily<aws_sdk_sts::Client>>,
    /// The account that the target names.
    expected: Option<String>,
    account: OnceCell<String>,
}

impl Caller {
    pub(crate) fn new(key: String, sts: Arc<Lazily<aws_sdk_sts::Client>>, expected: Option<String>) -> Self {
        Self { budgets: Budgets::shared(key), sts, expected, account: OnceCell::new() }
    }

    /// Sends a request, again while it is throttled. Where the target names an account, nothing is written before the
    /// credentials are known to belong to it.
    pub(crate) async fn call<T, E, F, S>(&self, call: Call<'_>, send: S) -> Result<T, Failed>
    where
        S: Fn() -> F,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let once = || async { send().await.map_err(|error| failed(&call.what(), error)) };
        self.guarded(call, once).await
    }

    /// As `call`, for requests that are signed without an SDK client; `once` maps its own errors (`error::answered`).
    pub(crate) async fn guarded<T, F, S>(&self, call: Call<'_>, once: S) -> Result<T, Failed>
    where
        S: Fn() -> F,
        F: Future<Output = Result<T, Failed>>,
    {
        if call.family.writes() {
            self.right_account(&call).await?;
        }
        // Boxed: the SDK's futures nest so deep that the compiler gives up on what awaits several of them.
        Box::pin(self.paced(call, once)).await
    }

    async fn paced<T, F, S>(&self, call: Call<'_>, once: S) -> Result<T, Failed>
    where
        S: Fn() -> F,
        F: Future<Output = Result<T, Failed>>,
    {
        let span = tracing::debug_span!(
            "aws",
            service = call.service,
            operation = call.action,
            resource = call.resource,
            waited_ms = tracing::field::Empty,
            duration_ms = tracing::field::Empty,
            tries = tracing::field::Empty,
            error = tracing::field::Empty,
        );
        let recorder = span.clone();
        let work = async move {
            let since = Instant::now();
            let most = if call.family.in_background() { Duration::MAX } else { LONGEST_RETRYING };
            let mut waited = Duration::ZERO;
            let mut tries = 0;
            loop {
                let patience = call.family.patience().min(most.saturating_sub(since.elapsed()));
                waited += self.budgets.take(call.family, patience).await.map_err(|wait| full(&call, wait))?;
                let begun = Instant::now();
                tries += 1;
                let result = if call.reads() && tries == 1 {
                    let silent = |_| Err(PortError::Unavailable(format!("{}: no answer in time", call.what())).into());
                    tokio::time::timeout(FIRST_READING, once()).await.unwrap_or_else(silent)
                } else {
                    once().await
                };
                recorder.record("waited_ms", millis(waited));
                recorder.record("duration_ms", millis(begun.elapsed()));
                recorder.record("tries", tries);
                let Err(mut failure) = result else { return result };
                recorder.record("error", failure.error.to_string());
                if matches!(failure.error, PortError::Unavailable(_)) && call.reads() && tries < READ_TRIES {
                    let pause = Duration::from_millis(doubled(FIRST_PAUSE_MS, tries, random()));
                    if since.elapsed().saturating_add(pause) < LONGEST_READING {
                        tracing::debug!(service = call.service, operation = call.action, "asked again");
                        tokio::time::sleep(pause).await;
                        continue;
                    }
                }
                let PortError::Throttled { retry_after_ms, .. } = &mut failure.error else { return Err(failure) };
                self.budgets.throttled(call.family);
                let backoff = doubled(FIRST_BACKOFF_MS, tries, random());
                let pause = Duration::from_millis(backoff);
                if tries >= THROTTLED_TRIES || since.elapsed().saturating_add(pause) >= most {
                    retry_after_ms.get_or_insert(LONGEST_BACKOFF_MS);
                    return Err(failure);
                }
                tracing::debug!(service = call.service, operation = call.action, backoff, "throttled");
                waited += pause;
                tokio::time::sleep(pause).await;
            }
        };
        work.instrument(span).await
    }

    /// Before what is read for a write: `Throttled` where its family's quota is used up for now.
    pub(crate) fn room(&self, call: Call<'_>) -> PortResult<()> {
        self.budgets.room(call.family).map_err(|wait| full(&call, wait).error)
    }

    /// The account that the credentials belong to.
    pub(crate) async fn account(&self) -> Result<&str, Failed> {
        let ask = || async {
            let call =
                Call { service: "sts", action: "GetCallerIdentity", family: Family::Sts, resource: "the credentials" };
            let once = || async {
                let sent = self.sts.get_caller_identity().send().await;
                sent.map_err(|error| failed(&call.what(), error))
            };
            let identity = Box::pin(self.paced(call, once)).await?;
            let account = identity.account.filter(|account| !account.is_empty());
            account.ok_or_else(|| Failed::from(PortError::Bug(format!("{}: the answer has no account", call.what()))))
        };
        Ok(self.account.get_or_try_init(ask).await?)
    }

    pub(crate) async fn right_account(&self, call: &Call<'_>) -> PortResult<()> {
        let Some(expected) = &self.expected else { return Ok(()) };
        let actual = self.account().await?;
        if actual == expected {
            return Ok(());
        }
        Err(PortError::Denied(format!(
            "{}: not sent: the credentials belong to account {actual}, and the target names {expected}",
            call.what()
        )))
    }

    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.budgets.counts().collect()
    }
}

fn full(call: &Call<'_>, wait: Duration) -> Failed {
    let message = format!(
        "{}: not sent: this process uses AWS's quota for {} up for the next {} s",
        call.what(),
        call.family.name(),
        wait.as_secs()
    );
    PortError::Throttled { message, retry_after_ms: Some(millis(wait)) }.into()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Doubling, with a random half ("equal jitter").
fn doubled(first_ms: u64, tries: u32, random: u64) -> u64 {
    let whole = first_ms.saturating_mul(1 << tries.min(10)).min(LONGEST_BACKOFF_MS);
    whole / 2 + random % (whole / 2 + 1)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::error::answered;

    fn caller(key: &str) -> Caller {
        let config = aws_sdk_sts::Config::builder()
            .behavior_version(aws_sdk_sts::config::BehaviorVersion::latest())
            .region(aws_sdk_sts::config::Region::new("us-east-1"))
            .build();
        let sts = Lazily::new(Box::new(|| aws_sdk_sts::Client::from_conf(config)));
        Caller::new(key.to_owned(), Arc::new(sts), None)
    }

    const READ: Call<'_> =
        Call { service: "ecs", action: "DescribeServices", family: Family::ServiceRead, resource: "service web" };

    #[tokio::test(start_paused = true)]
    async fn throttled_requests_are_sent_again_and_counted() {
        let (caller, asked) = (caller("test throttled"), AtomicU32::new(0));
        let once = || async {
            if asked.fetch_add(1, Ordering::Relaxed) < 2 {
                Err(answered("x", 400, "ThrottlingException", "Rate exceeded"))
            } else {
                Ok(7)
            }
        };
        assert_eq!(caller.guarded(READ, once).await.unwrap(), 7);
        assert_eq!(caller.counts().get("ecs-service-read"), Some(&3));
    }

    #[tokio::test(start_paused = true)]
    async fn endless_throttling_is_told_with_a_time_to_wait() {
        let caller = caller("test endless");
        let once = || async { Err::<(), _>(answered("x", 400, "ThrottlingException", "Rate exceeded")) };
        let failure = caller.guarded(READ, once).await.unwrap_err();
        assert!(matches!(failure.error, PortError::Throttled { retry_after_ms: Some(_), .. }));
        assert!((4..=u64::from(THROTTLED_TRIES)).contains(&caller.counts()["ecs-service-read"]));
    }

    /// The engine cuts a handler off after 12 s and learns nothing then.
    #[tokio::test(start_paused = true)]
    async fn throttling_and_a_used_up_quota_are_told_within_the_engine_s_time() {
        let caller = caller("test engine");
        let throttled = || async { Err::<(), _>(answered("x", 400, "ThrottlingException", "Rate exceeded")) };
        let register = Call { action: "RegisterTaskDefinition", family: Family::TaskDefinitionModify, ..READ };
        for _ in 0..5 {
            let begun = Instant::now();
            let failure = caller.guarded(register, throttled).await.unwrap_err();
            assert!(matches!(failure.error, PortError::Throttled { retry_after_ms: Some(_), .. }));
            assert!(begun.elapsed() <= Duration::from_secs(9), "{:?}", begun.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_function_in_the_background_waits_for_its_turn() {
        let caller = caller("test background");
        let throttled = || async { Err::<(), _>(answered("x", 429, "TooManyRequestsException", "")) };
        let invoke = Call { service: "lambda", action: "InvokeFunction", family: Family::Lambda, ..READ };
        caller.guarded(invoke, throttled).await.unwrap_err();
        assert_eq!(caller.counts()["lambda"], u64::from(THROTTLED_TRIES));
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_without_an_answer_is_repeated_for_a_moment_and_nothing_else_is() {
        let caller = caller("test once");
        let (broken, asked) = (|| answered("x", 500, "ServerException", ""), AtomicU32::new(0));
        let begun = Instant::now();
        let failure = caller.guarded(READ, || async { Err::<(), _>(broken()) }).await.unwrap_err();
        assert!(matches!(failure.error, PortError::Unavailable(_)));
        assert_eq!(caller.counts()["ecs-service-read"], u64::from(READ_TRIES));
        assert!(begun.elapsed() < LONGEST_READING);
        let second = || async { if asked.fetch_add(1, Ordering::Relaxed) == 0 { Err(broken()) } else { Ok(7) } };
        assert_eq!(caller.guarded(READ, second).await.unwrap(), 7);
        // One that takes its time has it the second time, and no third: whoever asked may be cut off.
        let slow = |broken| async move {
            tokio::time::sleep(LONGEST_READING).await;
            Err::<(), _>(broken)
        };
        caller.guarded(READ, || slow(broken())).await.unwrap_err();
        assert_eq!(caller.counts()["ecs-service-read"], u64::from(READ_TRIES) + 4);
        for action in ["UpdateService", "StopServiceDeployment", "TagResource"] {
            let write = Call { action, family: Family::ServiceDeployment, ..READ };
            caller.guarded(write, || async { Err::<(), _>(broken()) }).await.unwrap_err();
        }
        assert_eq!(caller.counts()["ecs-service-deployment"], 3);
        // What was answered is an answer.
        let denied = || async { Err::<(), _>(answered("x", 400, "AccessDeniedException", "")) };
        caller.guarded(READ, denied).await.unwrap_err();
        assert_eq!(caller.counts()["ecs-service-read"], u64::from(READ_TRIES) + 5);
    }

    #[test]
    fn backoff_grows_and_stays_within_its_bounds() {
        assert_eq!(doubled(FIRST_BACKOFF_MS, 1, 0), 200);
        assert_eq!(doubled(FIRST_BACKOFF_MS, 1, 200), 400);
        assert!((1..60).all(|tries| (200..=LONGEST_BACKOFF_MS).contains(&doubled(FIRST_BACKOFF_MS, tries, 12_345))));
    }
}
