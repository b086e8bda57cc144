//! Quotas of AWS's APIs as token buckets, so that Landfall waits instead of being throttled.
//!
//! AWS counts per account, region and API family; so do we, for everything in this process. A bucket may go into debt: whoever
//! takes a token is told how long to wait, so waiting is first come, first served. Others share the account, so a throttling
//! answer halves the rate for a while, whatever the table says.
//!
//! The engine cuts every handler off after some seconds, and what is cut off comes back for another token. So nobody waits
//! longer than `Family::patience`: whoever would is sent away without a token and told when to come again; and a caller that is
//! cut off while it waits gives its token back. Otherwise the debt would grow with every poll of those that never get to send.
//! Those who are sent away stand in line: each is told a time of its own, at the quota's rate. Told the same, they would all come
//! back at once, most of them for nothing, and a step that comes back reads again what it had read.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// API families as AWS counts them. ECS: "Throttle quotas for the Amazon ECS API"; Elastic Load Balancing: "Request throttling
/// for the ELB API". The rest publish none per call or far higher ones, and share a modest bucket per service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Family {
    TaskDefinitionModify,
    TaskDefinitionDelete,
    TaskDefinitionRead,
    ServiceModify,
    ServiceRead,
    ServiceDeployment,
    ClusterResourceModify,
    ClusterResourceRead,
    ClusterRead,
    EcsTagRead,
    EcsTagModify,
    ElbModify,
    ElbRead,
    Ecr,
    LogsRead,
    SecretsRead,
    SecretsWrite,
    SsmRead,
    SsmWrite,
    Sts,
    Sns,
    Lambda,
    ScalingRead,
    Ec2Read,
    IamRead,
    CloudFormationRead,
    CloudFormationWrite,
    S3Read,
    S3Write,
    AlarmsRead,
    AutoScalingRead,
    AutoScalingWrite,
    Ec2Write,
    MetricsRead,
    MetricsWrite,
}

/// Tokens at most, and tokens that come back each second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Quota {
    pub burst: f64,
    pub per_second: f64,
}

impl Family {
    pub(crate) const ALL: [Family; 35] = [
        Family::TaskDefinitionModify,
        Family::TaskDefinitionDelete,
        Family::TaskDefinitionRead,
        Family::ServiceModify,
        Family::ServiceRead,
        Family::ServiceDeployment,
        Family::ClusterResourceModify,
        Family::ClusterResourceRead,
        Family::ClusterRead,
        Family::EcsTagRead,
        Family::EcsTagModify,
        Family::ElbModify,
        Family::ElbRead,
        Family::Ecr,
        Family::LogsRead,
        Family::SecretsRead,
        Family::SecretsWrite,
        Family::SsmRead,
        Family::SsmWrite,
        Family::Sts,
        Family::Sns,
        Family::Lambda,
        Family::ScalingRead,
        Family::Ec2Read,
        Family::IamRead,
        Family::CloudFormationRead,
        Family::CloudFormationWrite,
        Family::S3Read,
        Family::S3Write,
        Family::AlarmsRead,
        Family::AutoScalingRead,
        Family::AutoScalingWrite,
        Family::Ec2Write,
        Family::MetricsRead,
        Family::MetricsWrite,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Family::TaskDefinitionModify => "ecs-task-definition-modify",
            Family::TaskDefinitionDelete => "ecs-task-definition-delete",
            Family::TaskDefinitionRead => "ecs-task-definition-read",
            Family::ServiceModify => "ecs-service-modify",
            Family::ServiceRead => "ecs-service-read",
            Family::ServiceDeployment => "ecs-service-deployment",
            Family::ClusterResourceModify => "ecs-cluster-resource-modify",
            Family::ClusterResourceRead => "ecs-cluster-resource-read",
            Family::ClusterRead => "ecs-cluster-read",
            Family::EcsTagRead => "ecs-tag-read",
            Family::EcsTagModify => "ecs-tag-modify",
            Family::ElbModify => "elb-modify",
            Family::ElbRead => "elb-read",
            Family::Ecr => "ecr",
            Family::LogsRead => "logs-read",
            Family::SecretsRead => "secretsmanager-read",
            Family::SecretsWrite => "secretsmanager-write",
            Family::SsmRead => "ssm-read",
            Family::SsmWrite => "ssm-write",
            Family::Sts => "sts",
            Family::Sns => "sns",
            Family::Lambda => "lambda",
            Family::ScalingRead => "application-autoscaling-read",
            Family::Ec2Read => "ec2-read",
            Family::IamRead => "iam-read",
            Family::CloudFormationRead => "cloudformation-read",
            Family::CloudFormationWrite => "cloudformation-write",
            Family::S3Read => "s3-read",
            Family::S3Write => "s3-write",
            Family::AlarmsRead => "cloudwatch-alarms-read",
            Family::AutoScalingRead => "autoscaling-read",
            Family::AutoScalingWrite => "autoscaling-write",
            Family::Ec2Write => "ec2-write",
            Family::MetricsRead => "cloudwatch-metrics-read",
            Family::MetricsWrite => "cloudwatch-metrics-write",
        }
    }

    /// Whether a call of this family may change something: such calls wait until the account is known to be the right one.
    pub(crate) fn writes(self) -> bool {
        matches!(
            self,
            Family::TaskDefinitionModify
                | Family::TaskDefinitionDelete
                | Family::ServiceModify
                | Family::ClusterResourceModify
                | Family::EcsTagModify
                | Family::ElbModify
                | Family::SecretsWrite
                | Family::SsmWrite
                | Family::Sns
                | Family::Lambda
                | Family::CloudFormationWrite
                | Family::S3Write
                | Family::AutoScalingWrite
                | Family::Ec2Write
                | Family::MetricsWrite
        )
    }

    /// The longest wait for a token. Functions run in the background, for as long as their hook may take: nobody cuts them off.
    pub(crate) fn patience(self) -> Duration {
        match self {
            _ if self.in_background() => Duration::MAX,
            // The doctor and `verify` alone ask these, dozens at once, and nobody cuts them off.
            Family::IamRead | Family::Ec2Read => LONGEST_LOOK,
            // By `landfall secrets` alone.
            Family::SecretsWrite | Family::SsmWrite => LONGEST_LOOK,
            // By `landfall cluster` alone, one after the other.
            Family::AutoScalingRead | Family::AutoScalingWrite | Family::Ec2Write => LONGEST_LOOK,
            _ => LONGEST_WAIT,
        }
    }

    pub(crate) fn in_background(self) -> bool {
        matches!(self, Family::Lambda)
    }

    pub(crate) fn quota(self) -> Quota {
        let (burst, per_second) = match self {
            Family::TaskDefinitionModify => (20.0, 1.0),
            Family::TaskDefinitionDelete => (5.0, 1.0),
            Family::TaskDefinitionRead => (50.0, 20.0),
            Family::ServiceModify => (50.0, 5.0),
            Family::ServiceRead => (100.0, 20.0),
            Family::ServiceDeployment => (50.0, 20.0),
            Family::ClusterResourceModify => (100.0, 40.0),
            Family::ClusterResourceRead => (100.0, 20.0),
            Family::ClusterRead => (50.0, 20.0),
            Family::EcsTagRead | Family::EcsTagModify => (20.0, 10.0),
            Family::ElbRead => (40.0, 10.0),
            Family::ElbModify => (20.0, 3.0),
            Family::LogsRead | Family::Ecr | Family::ScalingRead | Family::IamRead => (10.0, 10.0),
            Family::Ec2Read => (50.0, 10.0),
            // Nothing is published; five a second is what goes well for long. A command that looks at three stacks and makes change sets of
            // them reads some twenty times, and must not stand in line for that where nobody else is.
            Family::CloudFormationRead => (20.0, 5.0),
            Family::CloudFormationWrite => (5.0, 5.0),
            // Nothing is published for Auto Scaling; EC2's actions that change something refill by 5 a second.
            Family::AutoScalingRead | Family::AutoScalingWrite | Family::Ec2Write => (20.0, 5.0),
            // Far below CloudWatch's 400 and 500 a second.
            Family::MetricsRead | Family::MetricsWrite => (20.0, 20.0),
            // "CloudWatch service quotas": DescribeAlarms, 9 a second.
            Family::AlarmsRead => (9.0, 9.0),
            Family::S3Read | Family::S3Write => (100.0, 100.0),
            // PutParameter, unless the account pays for more.
            Family::SsmWrite => (3.0, 3.0),
            Family::SecretsRead
            | Family::SecretsWrite
            | Family::SsmRead
            | Family::Sts
            | Family::Sns
            | Family::Lambda => (20.0, 20.0),
        };
        Quota { burst, per_second }
    }
}

/// A handler makes up to five calls one after the other, and the engine cuts it off after 12 s.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(2);
const LONGEST_LOOK: Duration = Duration::from_secs(30);
/// With a longer wait nothing new is begun that takes several calls of a family: those begun must find tokens.
const LONGEST_BEFORE: Duration = Duration::from_secs(1);
/// Nobody is sent away for longer: some of those ahead in the line may never come back.
const LONGEST_AWAY_MS: u64 = 60_000;
/// How long a throttling answer slows a family down; after it, the rate doubles every so often until it is back.
const SLOW_MS: u64 = 15_000;
/// Answers to requests that were under way together tell of one and the same excess.
const ONE_EXCESS_MS: u64 = 1_000;
const LEAST_FACTOR: f64 = 1.0 / 16.0;

/// One family's bucket. Time in milliseconds since any fixed moment.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    quota: Quota,
    tokens: f64,
    at_ms: u64,
    /// Of the documented rate, after throttling.
    factor: f64,
    slow_until_ms: u64,
    slowed_at_ms: Option<u64>,
    /// The time told to the last one who was sent away.
    promised_ms: u64,
}

impl Bucket {
    pub(crate) fn new(quota: Quota, now_ms: u64) -> Self {
        Self {
            quota,
            tokens: quota.burst,
            at_ms: now_ms,
            factor: 1.0,
            slow_until_ms: 0,
            slowed_at_ms: None,
            promised_ms: 0,
        }
    }

    /// Takes a token, if need be one that is still to come, and says in how many milliseconds it may be used.
    ///
    /// # Errors
    /// When to come again, where the wait is longer than `most_ms`; then nothing is taken.
    pub(crate) fn take(&mut self, now_ms: u64, most_ms: u64) -> Result<u64, u64> {
        self.refill(now_ms);
        self.tokens -= 1.0;
        if self.tokens >= 0.0 {
            return Ok(0);
        }
        let wait = self.time_of(-self.tokens);
        if wait <= most_ms {
            return Ok(wait);
        }
        self.give_back();
        let behind = self.promised_ms.saturating_add(self.time_of(1.0));
        self.promised_ms = behind.max(now_ms + wait).min(now_ms + wait.max(LONGEST_AWAY_MS));
        Err(self.promised_ms - now_ms)
    }

    /// As `take`, and takes nothing.
    pub(crate) fn room(&mut self, now_ms: u64, most_ms: u64) -> Result<(), u64> {
        self.take(now_ms, most_ms)?;
        self.give_back();
        Ok(())
    }

    /// Milliseconds in which so many tokens come back.
    fn time_of(&self, tokens: f64) -> u64 {
        let seconds = tokens / (self.quota.per_second * self.factor);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and far below u64::MAX")]
        let wait = (seconds * 1000.0).ceil() as u64;
        wait
    }

    fn give_back(&mut self) {
        self.tokens = (self.tokens + 1.0).min(self.quota.burst);
    }

    /// AWS said no: whatever we believed to have is gone.
    pub(crate) fn throttled(&mut self, now_ms: u64) {
        self.refill(now_ms);
        self.tokens = self.tokens.min(0.0);
        if self.slowed_at_ms.is_some_and(|at| now_ms.saturating_sub(at) < ONE_EXCESS_MS) {
            return;
        }
        self.slowed_at_ms = Some(now_ms);
        self.factor = (self.factor / 2.0).max(LEAST_FACTOR);
        self.slow_until_ms = now_ms + SLOW_MS;
    }

    fn refill(&mut self, now_ms: u64) {
        while self.factor < 1.0 && self.slow_until_ms <= now_ms {
            self.add_until(self.slow_until_ms);
            self.factor = (self.factor * 2.0).min(1.0);
            self.slow_until_ms += SLOW_MS;
        }
        self.add_until(now_ms);
    }

    fn add_until(&mut self, until_ms: u64) {
        let passed = until_ms.saturating_sub(self.at_ms);
        #[allow(clippy::cast_precision_loss, reason = "milliseconds of a process's life")]
        let seconds = passed as f64 / 1000.0;
        self.tokens = (self.tokens + seconds * self.quota.per_second * self.factor).min(self.quota.burst);
        self.at_ms = self.at_ms.max(until_ms);
    }
}

struct Slot {
    bucket: Mutex<Bucket>,
    sent: AtomicU64,
}

/// A token that was taken and not yet used: dropped, it goes back.
struct Taken<'a> {
    slot: &'a Slot,
    used: bool,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if !self.used {
            locked(&self.slot.bucket).give_back();
        }
    }
}

/// All buckets of one account and region, and how many requests each family has sent.
pub(crate) struct Budgets {
    begun: Instant,
    slots: HashMap<Family, Slot>,
}

impl Budgets {
    pub(crate) fn new(quota: impl Fn(Family) -> Quota) -> Self {
        let slot =
            |family| (family, Slot { bucket: Mutex::new(Bucket::new(quota(family), 0)), sent: AtomicU64::new(0) });
        Self { begun: Instant::now(), slots: Family::ALL.into_iter().map(slot).collect() }
    }

    /// The one of this process for an account and region.
    pub(crate) fn shared(key: String) -> Arc<Self> {
        static ALL: LazyLock<Mutex<HashMap<String, Arc<Budgets>>>> = LazyLock::new(Mutex::default);
        Arc::clone(locked(&ALL).entry(key).or_insert_with(|| Arc::new(Self::new(Family::quota))))
    }

    /// Waits until a request of this family may be sent, and says how long that took. Jitter of at most a tenth of the wait
    /// keeps processes that share an account apart.
    ///
    /// # Errors
    /// The wait, where it is longer than `most`; then nothing is taken.
    pub(crate) async fn take(&self, family: Family, most: Duration) -> Result<Duration, Duration> {
        let Some(slot) = self.slots.get(&family) else { return Ok(Duration::ZERO) };
        let most = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
        let wait = locked(&slot.bucket).take(self.now_ms(), most).map_err(Duration::from_millis)?;
        let mut taken = Taken { slot, used: false };
        let wait = Duration::from_millis(wait + random() % (wait / 10 + 1));
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        taken.used = true;
        slot.sent.fetch_add(1, Ordering::Relaxed);
        Ok(wait)
    }

    /// Whether it makes sense to begin what ends in calls of this family: what is read before them would be read for nothing.
    ///
    /// # Errors
    /// When to come again.
    pub(crate) fn room(&self, family: Family) -> Result<(), Duration> {
        let Some(slot) = self.slots.get(&family) else { return Ok(()) };
        let most = u64::try_from(LONGEST_BEFORE.as_millis()).unwrap_or(u64::MAX);
        locked(&slot.bucket).room(self.now_ms(), most).map_err(Duration::from_millis)
    }

    pub(crate) fn throttled(&self, family: Family) {
        if let Some(slot) = self.slots.get(&family) {
            locked(&slot.bucket).throttled(self.now_ms());
        }
    }

    /// Requests sent, of families that sent any.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let count = |(family, slot): (&Family, &Slot)| (family.name(), slot.sent.load(Ordering::Relaxed));
        self.slots.iter().map(count).filter(|(_, sent)| *sent > 0)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Good enough to spread retries.
pub(crate) fn random() -> u64 {
    RandomState::new().hash_one(0_u8)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: Quota = Quota { burst: 5.0, per_second: 2.0 };

    fn take(bucket: &mut Bucket, now_ms: u64) -> u64 {
        bucket.take(now_ms, u64::MAX).unwrap()
    }

    #[test]
    fn a_burst_is_free_and_the_rest_comes_at_the_rate() {
        let mut bucket = Bucket::new(QUOTA, 0);
        let waits: Vec<u64> = (0..9).map(|_| take(&mut bucket, 0)).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 500, 1000, 1500, 2000]);
        // A quiet second later, two of the four owed have come back.
        assert_eq!(take(&mut bucket, 1000), 1500);
    }

    #[test]
    fn an_idle_bucket_holds_no_more_than_its_burst() {
        let mut bucket = Bucket::new(QUOTA, 0);
        assert_eq!((0..6).map(|_| take(&mut bucket, 3_600_000)).filter(|wait| *wait == 0).count(), 5);
    }

    #[test]
    fn throttling_halves_the_rate_for_a_while_and_it_comes_back_by_doubling() {
        let mut bucket = Bucket::new(QUOTA, 0);
        bucket.throttled(0);
        assert_eq!(take(&mut bucket, 0), 1000);
        // The same excess seen by a second request under way.
        bucket.throttled(300);
        assert_eq!(bucket.factor, 0.5);
        bucket.throttled(2_000);
        assert_eq!(bucket.factor, 0.25);
        bucket.refill(2_000 + SLOW_MS);
        assert_eq!(bucket.factor, 0.5);
        bucket.refill(2_000 + 2 * SLOW_MS);
        assert_eq!(bucket.factor, 1.0);
    }

    #[test]
    fn throttling_never_stops_a_family() {
        let mut bucket = Bucket::new(QUOTA, 0);
        (0..20).for_each(|n| bucket.throttled(n * ONE_EXCESS_MS));
        assert_eq!(bucket.factor, LEAST_FACTOR);
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing() {
        let mut bucket = Bucket::new(QUOTA, 10_000);
        (0..5).for_each(|_| assert_eq!(take(&mut bucket, 10_000), 0));
        assert_eq!(take(&mut bucket, 4_000), 500);
    }

    /// 50 registrations at once: the burst of 20, then one a second.
    #[tokio::test(start_paused = true)]
    async fn registering_fifty_task_definitions_takes_half_a_minute_of_virtual_time() {
        let budgets = Arc::new(Budgets::new(Family::quota));
        let begun = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let budgets = Arc::clone(&budgets);
            tasks.spawn(async move {
                while let Err(wait) = budgets.take(Family::TaskDefinitionModify, LONGEST_WAIT).await {
                    tokio::time::sleep(wait).await;
                }
            });
        }
        tasks.join_all().await;
        let took = begun.elapsed().as_secs_f64();
        // Jitter apart, everybody comes back when there is a token.
        assert!((30.0..=32.0).contains(&took), "{took}");
        assert_eq!(budgets.counts().collect::<Vec<_>>(), [("ecs-task-definition-modify", 50)]);
    }

    #[test]
    fn whoever_would_wait_too_long_is_sent_away_and_takes_nothing() {
        let mut bucket = Bucket::new(QUOTA, 0);
        (0..7).for_each(|_| assert!(bucket.take(0, 1_000).is_ok()));
        (0..100).for_each(|n| assert_eq!(bucket.take(0, 1_000), Err(1_500 + n * 500), "each its own time"));
        assert_eq!(bucket.take(500, 1_000), Ok(1_000));
    }

    #[test]
    fn a_look_for_room_takes_nothing_and_stands_in_line() {
        let mut bucket = Bucket::new(QUOTA, 0);
        (0..7).for_each(|_| assert_eq!(bucket.room(0, 1_000), Ok(())));
        (0..7).for_each(|_| assert!(bucket.take(0, 1_000).is_ok()));
        assert_eq!(bucket.room(0, 1_000), Err(1_500));
        assert_eq!(bucket.take(0, 1_000), Err(2_000));
        assert_eq!(bucket.room(500, 1_000), Ok(()));
    }

    #[test]
    fn the_line_is_never_longer_than_a_minute_and_ends_with_its_last_one() {
        let mut bucket = Bucket::new(QUOTA, 0);
        (0..7).for_each(|_| assert!(bucket.take(0, 1_000).is_ok()));
        let longest = (0..1_000).filter_map(|_| bucket.take(0, 1_000).err()).max();
        assert_eq!(longest, Some(LONGEST_AWAY_MS));
        (0..7).for_each(|_| assert!(bucket.take(100_000, 1_000).is_ok()));
        assert_eq!(bucket.take(100_000, 1_000), Err(1_500));
    }

    /// Polls that the engine cuts off again and again would put the bucket ever deeper into debt.
    #[tokio::test(start_paused = true)]
    async fn a_caller_that_is_cut_off_while_it_waits_gives_its_token_back() {
        let budgets = Budgets::new(|_| QUOTA);
        for _ in 0..7 {
            let _ = tokio::time::timeout(Duration::ZERO, budgets.take(Family::Sns, LONGEST_WAIT)).await;
        }
        for _ in 0..50 {
            let cut = tokio::time::timeout(Duration::from_millis(1), budgets.take(Family::Sns, LONGEST_WAIT)).await;
            assert!(cut.is_err());
        }
        assert_eq!(budgets.counts().collect::<Vec<_>>(), [("sns", 5)], "what was not sent is not counted");
        let wait = budgets.take(Family::Sns, LONGEST_WAIT).await.unwrap();
        assert!(wait <= Duration::from_millis(550), "{wait:?}");
    }

    #[test]
    fn one_process_has_one_budget_per_account_and_region() {
        let (first, again) = (Budgets::shared("1 eu".to_owned()), Budgets::shared("1 eu".to_owned()));
        assert!(Arc::ptr_eq(&first, &again));
        assert!(!Arc::ptr_eq(&first, &Budgets::shared("2 eu".to_owned())));
    }

    #[test]
    fn every_family_is_listed_once() {
        let names: std::collections::BTreeSet<_> = Family::ALL.iter().map(|family| family.name()).collect();
        assert_eq!(names.len(), Family::ALL.len());
    }
}
