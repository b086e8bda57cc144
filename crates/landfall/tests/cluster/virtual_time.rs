//! A cluster in virtual time: whoever rolls it and whoever scales it, look by look, and their deaths. A look asks much and changes nothing,
//! and no time passes in it: of deaths between two of its questions one is as good as any, and so is one after each of two looks that
//! decided the same.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use futures_util::{StreamExt as _, stream};
use landfall_aws::{AwsOptions, AwsPlatform};
use landfall_awsfake::faults::Fault;
use landfall_awsfake::world::is_read;
use landfall_awsfake::{Fake, Handle, REGION, Recorded};
use landfall_cluster::roll::{Goal, Next, Patience, next};
use landfall_cluster::scale::{Act, Round};
use landfall_cluster::{Around, Infra, Version, load};
use landfall_manifest::SourceFile;
use landfall_model::aws::AwsTarget;
use landfall_ports::PortError;
use landfall_ports::container_instances::ContainerInstances;
use landfall_ports::fleets::Fleets;
use landfall_ports::stacks::Stacks;
use landfall_scaler::price::Prices;
use landfall_steps::cluster::{Cluster, Did};
use landfall_steps::scale::Scaler;
use serde_json::Value;

use super::instances::{nobody_notices, with_instances};

const PATIENCE: Patience = Patience { registers: 60, starts: 30, stays: 2, moves: 60, recovers: 600 };
/// Deaths that are tried at a time: while some wait for what one process may ask of CloudFormation in a second, others have the processor.
const AT_ONCE: usize = 64;
const REAL_HOUR_MS: u64 = 3_600_000;
pub(super) const SECOND: u64 = 1_000;

pub(super) fn version(name: &str) -> Version {
    Version::parse(name, "web").unwrap()
}

pub(super) fn deploy(name: &str) -> Goal {
    Goal::Deploy { version: version(name), fresh: true }
}

/// Without a cluster.
pub(super) async fn first() -> Handle {
    let (_, fake) = Fake { scale: 0.0, ..Fake::default() }.run().await.unwrap();
    with_instances(&fake, 20 * SECOND);
    fake.change_rules(|rules| rules.instances.as_mut().unwrap().ends = 15 * SECOND);
    fake
}

/// A process of its own: it has its own quota of calls.
pub(super) struct Process {
    infra: Infra,
    prices: Prices,
    stacks: Arc<dyn Stacks>,
    instances: Arc<dyn ContainerInstances>,
    fleets: Arc<dyn Fleets>,
}

impl Process {
    pub(super) async fn new(fake: &Handle, number: u32, infra: &str) -> Self {
        let target = AwsTarget {
            name: "web".to_owned(),
            region: Some(REGION.to_owned()),
            endpoint: Some(format!("{}/{number}", fake.url())),
            cluster: "web".to_owned(),
            ..AwsTarget::default()
        };
        let credentials = SharedCredentialsProvider::new(Credentials::new("AKIATEST", "test", None, None, "test"));
        let options = AwsOptions { instance: "none".to_owned() };
        let platform = AwsPlatform::connect_as(&target, options, credentials).await.unwrap();
        Self {
            infra: load(SourceFile::new("infra.yml", infra.to_owned()), None).unwrap().infra,
            prices: Prices::embedded().unwrap(),
            stacks: platform.stacks(),
            instances: platform.container_instances(),
            fleets: platform.fleets(),
        }
    }

    pub(super) fn roller(&self, asked: &Goal) -> Roller<'_> {
        let image = Some("ami-0a1b2c3d4e5f60718".to_owned());
        let cluster = Cluster::new(&self.infra, Around::default(), image, &*self.stacks, &*self.instances);
        Roller { cluster, goal: asked.clone() }
    }

    pub(super) fn scaler(&self) -> Scaler<'_> {
        Scaler::new(&self.infra, &self.prices, &*self.stacks, &*self.instances, &*self.fleets)
    }
}

fn now(fake: &Handle) -> i64 {
    i64::try_from(fake.now() / SECOND).unwrap()
}

/// Whoever rolls, as `landfall cluster deploy` does.
pub(super) struct Roller<'a> {
    cluster: Cluster<'a>,
    goal: Goal,
}

impl Roller<'_> {
    /// A look and what it decides, done. `None`: AWS was away.
    pub(super) async fn step(&mut self, fake: &Handle) -> Option<Next> {
        let facts = match self.cluster.look(&self.goal, now(fake)).await {
            Ok(facts) => facts,
            Err(error) if error.passes() => return None,
            Err(error) => panic!("{error}"),
        };
        let doing = next(&self.goal, &facts, PATIENCE);
        if is_end(&doing) {
            return Some(doing);
        }
        for _ in 0..6 {
            match self.cluster.act(&doing, &facts).await {
                Ok(Did::Soon) => fake.advance(SECOND / 10),
                Ok(Did::It) => {
                    self.goal.did(&doing);
                    break;
                }
                Ok(Did::Pending) => break,
                Err(error) if error.passes() => break,
                other => panic!("{doing:?}: {other:?}"),
            }
        }
        Some(doing)
    }
}

pub(super) fn is_end(decided: &Next) -> bool {
    matches!(decided, Next::Done | Next::Failed { .. })
}

/// A look of whoever scales, as `landfall cluster scale` takes it, and what it did; what passes ends it. `None`: AWS was away.
pub(super) async fn scales(scaler: &mut Scaler<'_>, fake: &Handle) -> Option<(Round, Vec<Act>)> {
    let passes = |error: &PortError| error.passes() || matches!(error, PortError::Conflict(_));
    let round = match scaler.look(now(fake)).await {
        Ok(round) => round,
        Err(error) if passes(&error) => return None,
        Err(error) => panic!("{error}"),
    };
    let mut did = Vec::new();
    for act in &round.acts {
        match scaler.act(act, now(fake)).await {
            Ok(true) => did.push(act.clone()),
            Ok(false) => {}
            Err(error) if passes(&error) => break,
            Err(error) => panic!("{act:?}: {error}"),
        }
    }
    Some((round, did))
}

/// To what happens next, within a few seconds.
pub(super) fn pass(fake: &Handle) {
    let told = fake.script("GET", "now", &Value::Null).unwrap();
    let next = told["next"].as_u64().unwrap_or(u64::MAX);
    fake.advance(next.saturating_sub(fake.now()).clamp(SECOND / 5, 5 * SECOND));
}

/// From look to look, as `landfall cluster` does. `stop`: where it is left alone.
pub(super) async fn rolls(fake: &Handle, number: u32, infra: &str, asked: &Goal, stop: impl Fn(&Next) -> bool) -> Next {
    let process = Process::new(fake, number, infra).await;
    let mut roller = process.roller(asked);
    for _ in 0..1_000 {
        if let Some(doing) = roller.step(fake).await
            && (is_end(&doing) || stop(&doing))
        {
            return doing;
        }
        pass(fake);
        nobody_notices(fake);
    }
    panic!("{asked:?} does not end: {:#?}", super::instances::picture(fake));
}

/// The next call but so many has its effect, and whoever asked never hears of it.
pub(super) fn nobody_hears(fake: &Handle, after: usize) {
    let skip = u32::try_from(after).unwrap();
    fake.fault(Fault { skip, times: Some(1), lose_response: true, latency_ms: REAL_HOUR_MS, ..Fault::default() });
}

async fn struck(fake: &Handle) {
    while fake.script("GET", "faults", &Value::Null).unwrap()[0]["fired"] == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What comes of it; `None`: it died where [`nobody_hears`].
pub(super) async fn lives<T>(fake: &Handle, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = work => Some(done),
        () = struck(fake) => {
            fake.clear_faults();
            None
        }
    }
}

/// A look: how many calls there were after it, and what it decided.
pub(super) type Look<T> = (usize, T);

/// Calls after which a death is another one than that after the call before: around what changes something, and where a look ended and the
/// next one decided something else.
pub(super) fn deaths<T: PartialEq>(calls: &[Recorded], looks: &[Look<T>]) -> Vec<usize> {
    let writes = |at: usize| calls.get(at).is_some_and(|call| !is_read(&call.operation));
    let turns = looks.iter().enumerate().filter(|(at, look)| looks.get(at + 1).is_none_or(|next| next.1 != look.1));
    // What the last look decided, which is the end, is not among them.
    let turns: BTreeSet<usize> = turns.map(|(_, look)| look.0).chain([calls.len()]).collect();
    (0..calls.len()).filter(|at| writes(*at) || writes(at + 1) || turns.contains(&(at + 1))).collect()
}

/// Each of them in a world of its own.
pub(super) async fn each(before: &Handle, places: Vec<usize>, case: impl AsyncFn(Handle, usize)) {
    let case = async |after: usize| {
        let (_, fake) = before.fork().await.unwrap();
        case(fake, after).await;
    };
    stream::iter(places).map(case).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
}
