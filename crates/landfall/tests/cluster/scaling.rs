//! Scaling in virtual time: whoever scales dies after each call that AWS is asked, and somebody else goes on; also beside a roll.

use std::cell::RefCell;

use landfall_awsfake::{Handle, Recorded};
use landfall_cluster::roll::Next;
use landfall_cluster::scale::Act;
use serde_json::Value;

use super::instances::{
    INFRA, TASKS, dump, is_not_there, is_there, launched, nobody_notices, nobody_notices_while_growing, picture, serve,
    wants,
};
use super::virtual_time::{
    Look, Process, SECOND, deaths, deploy, each, first, is_end, lives, nobody_hears, pass, rolls, scales,
};

/// One fleet, which may go to nothing.
const IDLE: &str = "cluster:
  name: web
  availability_zones: [us-east-1a]
ec2_instances:
  spot_fleets:
    - name: main
      min_weight: 0
      max_weight: 6
      bids: [{instance_type: t3.medium, price: 0.04}]
";
/// From one look to the next.
const EVERY: u64 = 10 * SECOND;
/// What can wait does not wait so long.
const QUIET: u64 = 90 * SECOND;
/// Of the service once it has grown.
pub(super) const MANY: u64 = 27;

/// With version `one` and a service on it, and as many instances as that takes.
async fn at_rest(infra: &'static str, tasks: u64) -> Handle {
    let fake = first().await;
    assert_eq!(rolls(&fake, 1, infra, &deploy("one"), |_| false).await, Next::Done);
    serve(&fake, "web", "shop", tasks);
    settles(&fake, 2, &Asked { infra, had: 0 }, |_| ()).await;
    fake
}

/// How many instances there are.
pub(super) fn instances(fake: &Handle) -> usize {
    dump(fake)["instances"].as_array().unwrap().len()
}

/// All services have what they want, and no instance starts or drains.
pub(super) fn rests(fake: &Handle) -> bool {
    let dump = dump(fake);
    let all = |key: &str, rests: &dyn Fn(&Value) -> bool| dump[key].as_array().unwrap().iter().all(rests);
    all("services", &|one| one["runningCount"] == one["desiredCount"] && one["pendingCount"] == 0)
        && all("instances", &|one| one["arn"].is_string() && one["draining"] == false)
}

/// Of whom, and what has to hold all the while.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) infra: &'static str,
    /// Tasks that a service had which grows.
    pub(super) had: u64,
}

/// The fewest and the most instances that there were.
pub(super) type Range = (usize, usize);

/// Looks until there has been nothing to do for a while.
pub(super) async fn settles(fake: &Handle, number: u32, asked: &Asked, looked: impl Fn(&[Act])) -> Range {
    let process = Process::new(fake, number, asked.infra).await;
    let mut scaler = process.scaler();
    let (begun, mut busy) = (fake.now(), fake.now());
    let (mut least, mut most) = (instances(fake), instances(fake));
    while fake.now() < busy + QUIET {
        assert!(fake.now() < begun + 1_000 * SECOND, "it does not end: {:#?}", picture(fake));
        if let Some((_, did)) = scales(&mut scaler, fake).await {
            looked(&did);
            if !did.is_empty() || !rests(fake) {
                busy = fake.now();
            }
        }
        let next = fake.now() + EVERY;
        while fake.now() < next {
            nobody_notices_while_growing(fake, asked.had);
            (least, most) = (least.min(instances(fake)), most.max(instances(fake)));
            pass(fake);
        }
    }
    (least, most)
}

struct Tried {
    /// As it is without deaths.
    world: Handle,
    deaths: usize,
}

/// Scaled from this world on: once without deaths, and once for each.
async fn matrix(before: &Handle, asked: Asked) -> Tried {
    let (_, world) = before.fork().await.unwrap();
    let looks = RefCell::new(Vec::<Look<Vec<Act>>>::new());
    let range = settles(&world, 1, &asked, |did| looks.borrow_mut().push((world.calls().len(), did.to_vec()))).await;
    // It goes one way only.
    let (was, is) = (instances(before), instances(&world));
    assert_eq!(range, (was.min(is), was.max(is)), "{asked:?}");
    let (expected, launches) = (picture(&world), launched(&world));
    let places = deaths(&world.calls(), &looks.into_inner());
    let tried = places.len();
    each(before, places, async |fake, after| {
        let what = || format!("{asked:?}, dead after call {after}: {:?}", world.calls()[after].operation);
        nobody_hears(&fake, after);
        if lives(&fake, settles(&fake, 1, &asked, |_| ())).await.is_some() {
            panic!("it ended before: {}", what());
        }
        fake.advance(3 * SECOND);
        let (least, most) = settles(&fake, 2, &asked, |_| ()).await;
        assert!(least >= range.0 && most <= range.1, "{}", what());
        assert_eq!(picture(&fake), expected, "{}", what());
        assert_eq!(launched(&fake), launches, "{}", what());
    })
    .await;
    Tried { world, deaths: tried }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_s_fleet_grows_and_shrinks_whoever_dies() {
    let fake = at_rest(INFRA, TASKS).await;
    wants(&fake, "shop", MANY);
    let grown = matrix(&fake, Asked { infra: INFRA, had: TASKS }).await;
    assert!(grown.deaths > 3, "{}", grown.deaths);
    is_there(&grown.world, &[&format!("service \"shop\": {MANY} of {MANY}")]);
    assert!(instances(&grown.world) > instances(&fake), "{:#?}", picture(&grown.world));

    wants(&grown.world, "shop", TASKS);
    grown.world.advance(SECOND);
    let shrunk = matrix(&grown.world, Asked { infra: INFRA, had: u64::MAX }).await;
    assert!(shrunk.deaths > 5, "{}", shrunk.deaths);
    assert_eq!(instances(&shrunk.world), instances(&fake), "{:#?}", picture(&shrunk.world));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_fleet_goes_to_nothing_and_comes_back_whoever_dies() {
    let fake = at_rest(IDLE, MANY).await;
    let before = picture(&fake);
    wants(&fake, "shop", 0);
    fake.advance(SECOND);
    let idle = matrix(&fake, Asked { infra: IDLE, had: u64::MAX }).await;
    assert!(idle.deaths > 8, "{}", idle.deaths);
    is_there(&idle.world, &["group of \"web-asg-one\": 0 to 6, 0", "service \"shop\": 0 of 0"]);
    assert_eq!(instances(&idle.world), 0);

    wants(&idle.world, "shop", MANY);
    let back = matrix(&idle.world, Asked { infra: IDLE, had: 0 }).await;
    assert!(back.deaths > 3, "{}", back.deaths);
    assert_eq!(picture(&back.world), before);
}

/// What was asked for that changes how many instances there are, or where tasks run, in words that do not tell of ids.
pub(super) fn changes(fake: &Handle) -> Vec<String> {
    let told = |call: &Recorded| {
        let input = &call.input;
        match call.operation.as_str() {
            "SetDesiredCapacity" => Some(format!("{} {}", input["AutoScalingGroupName"], input["DesiredCapacity"])),
            "TerminateInstanceInAutoScalingGroup" => Some(format!("terminate {}", input["InstanceId"])),
            "UpdateContainerInstancesState" => Some(format!("{} {}", input["status"], input["containerInstances"])),
            _ => None,
        }
    };
    fake.calls().iter().filter_map(told).collect()
}

/// Who begins with as much as is needed drains what is too much, and ends it: nothing is taken back, and nothing is launched besides.
#[track_caller]
fn goes_one_way(fake: &Handle) {
    let changes = changes(fake);
    let goes = |change: &String| change.starts_with("\"DRAINING\"") || change.starts_with("terminate ");
    assert!(!changes.is_empty() && changes.iter().all(goes), "{changes:#?}");
}

/// Somebody deploys version two, and somebody else scales at each of their steps. Whoever asks where nobody hears dies, and begins anew.
async fn deployed_and_scaled(fake: &Handle, armed: bool) -> Next {
    let (rolling, scaling) = (Process::new(fake, 1, INFRA).await, Process::new(fake, 2, INFRA).await);
    let asked = deploy("two");
    let (mut roller, mut scaler) = (rolling.roller(&asked), scaling.scaler());
    let begun = fake.now();
    let (mut alive, mut end, mut busy) = (!armed, None, begun);
    while end.is_none() || fake.now() < busy + QUIET {
        assert!(fake.now() < begun + 2_000 * SECOND, "it does not end: {:#?}", picture(fake));
        if end.is_none() {
            let step = roller.step(fake);
            let step = if alive { Some(step.await) } else { lives(fake, step).await };
            match step {
                Some(decided) => end = decided.filter(is_end),
                None => {
                    (alive, roller) = (true, rolling.roller(&asked));
                    fake.advance(3 * SECOND);
                }
            }
            nobody_notices(fake);
        }
        let look = scales(&mut scaler, fake);
        let look = if alive { Some(look.await) } else { lives(fake, look).await };
        match look {
            Some(Some((_, did))) if did.is_empty() && rests(fake) && end.is_some() => {}
            Some(_) => busy = fake.now(),
            None => {
                (alive, scaler) = (true, scaling.scaler());
                fake.advance(3 * SECOND);
            }
        }
        nobody_notices(fake);
        for _ in 0..if end.is_some() { 3 } else { 1 } {
            pass(fake);
            nobody_notices(fake);
        }
    }
    assert!(alive, "nobody died");
    end.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_takes_the_other_s_place_while_somebody_scales_whoever_dies() {
    let before = at_rest(INFRA, TASKS).await;
    let (_, world) = before.fork().await.unwrap();
    assert_eq!(deployed_and_scaled(&world, false).await, Next::Done);
    let expected = picture(&world);
    is_there(&world, &["instance of two/main, active", "task of \"service:shop\" on Some(\"two\")"]);
    for gone in ["asg-one", "of one/", "draining"] {
        is_not_there(&world, gone);
    }
    let (most, launches) = (changes(&world).len(), launched(&world));
    goes_one_way(&world);
    let places = deaths::<()>(&world.calls(), &[]);
    assert!(places.len() > 18, "{}", places.len());
    each(&before, places, async |fake, after| {
        let what = || format!("dead after call {after}: {:?}", world.calls()[after].operation);
        nobody_hears(&fake, after);
        assert_eq!(deployed_and_scaled(&fake, true).await, Next::Done, "{}", what());
        assert_eq!(picture(&fake), expected, "{}", what());
        assert_eq!(launched(&fake), launches, "{}", what());
        goes_one_way(&fake);
        // One thing may be asked twice, as nobody knows that it was done.
        assert!(changes(&fake).len() <= most + 1, "{}: {:#?}", what(), changes(&fake));
    })
    .await;
}
