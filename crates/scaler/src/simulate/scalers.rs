//! The three that are compared, each looking at the world as often as it does and changing what it would.
//!
//! Parameters of the others are fixed here, so that nobody tunes them: docs/clusters.md says where they are from.

use std::collections::BTreeMap;

use super::Options;
use super::world::{Phase, World};
use crate::cluster::{Cluster, Fleet, Instance, Notice, Offer, Policy, Service, State, Status, Tasks};
use crate::compatible::{self, Step, Wanted};
use crate::decide::{Reason, decide};
use crate::pack::need;
use crate::price::Purchase;
use crate::resources::Resources;
use crate::shape::{Host, Kind};

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    Landfall,
    /// ecs-cluster-deployer's scaler.
    Original,
    /// ECS capacity providers with managed scaling.
    Managed,
}

impl Who {
    pub const ALL: [Self; 3] = [Self::Landfall, Self::Original, Self::Managed];

    pub fn name(self) -> &'static str {
        match self {
            Self::Landfall => "landfall",
            Self::Original => "ecs-cluster-deployer",
            Self::Managed => "ECS managed scaling",
        }
    }

    /// Seconds between two looks.
    pub(super) fn every(self) -> u64 {
        match self {
            Self::Landfall => 5,
            Self::Original | Self::Managed => 60,
        }
    }
}

/// Data points that ECS's alarm for scaling in takes, one a minute.
const POINTS: u32 = 15;
/// What ECS always starts with from zero.
const FROM_ZERO: u64 = 2;
/// Minutes of which ecs-cluster-deployer takes the average.
const MINUTES: usize = 4;

pub(super) struct Scaler {
    who: Who,
    kind: Kind,
    /// As Landfall and the original are given it.
    fleet: Fleet,
    metrics: Vec<f64>,
    target: u64,
    points: u32,
    /// The world as it was when Landfall found nothing to do, nor anything to wait for.
    quiet: Option<u64>,
}

impl Scaler {
    pub(super) fn new(who: Who, kind: Kind, options: &Options) -> Self {
        let policy = match who {
            Who::Original => Policy::compatible(),
            _ => options.policy.clone(),
        };
        let offer = Offer { kind: kind.clone(), purchase: Purchase::Spot, weight: 1, short_until: None };
        let fleet = Fleet {
            name: "main".to_owned(),
            status: Status::Active,
            min_weight: 0,
            max_weight: options.max,
            policy,
            instead_of: None,
            unseen: Default::default(),
            replacing: false,
            next_permitted: None,
            signal: None,
            offers: vec![offer],
        };
        Self { who, kind, fleet, metrics: Vec::new(), target: 0, points: 0, quiet: None }
    }

    pub(super) fn look(&mut self, world: &mut World) {
        match self.who {
            Who::Landfall => self.landfall(world),
            Who::Original => self.original(world),
            Who::Managed => self.managed(world),
        }
    }

    fn landfall(&mut self, world: &mut World) {
        if self.quiet == Some(world.changes) {
            return;
        }
        let cluster = self.seen(world);
        let decision = decide(&cluster);
        let Some(change) = decision.fleets.first() else { return };
        let index = |id: &String| id.parse::<usize>().ok();
        change.undrain.iter().filter_map(index).for_each(|index| world.undrain(index));
        world.launch(change.launched());
        change.drain.iter().filter_map(index).for_each(|index| world.drain(index));
        change.terminate.iter().filter_map(index).for_each(|index| world.end(index, false));
        if let Some(at) = change.next_permitted {
            self.fleet.next_permitted = Some(at.to_string());
        }
        let waits = change.reasons.iter().any(|reason| matches!(reason, Reason::Cooldown { .. }));
        self.quiet = (decision.is_nothing() && !waits).then_some(world.changes);
    }

    fn seen(&self, world: &World) -> Cluster {
        let instances = world.there.iter().map(|index| {
            let machine = &world.machines[*index];
            let mut tasks: BTreeMap<usize, u64> = BTreeMap::new();
            for task in machine.tasks.iter().map(|task| &world.tasks[*task]).filter(|task| task.service.is_some()) {
                *tasks.entry(task.shape).or_default() += 1;
            }
            let standalone = machine.tasks.len() as u64 - tasks.values().sum::<u64>();
            let tasks = tasks.into_iter().map(|(shape, count)| Tasks { shape, count });
            Instance {
                id: index.to_string(),
                fleet: 0,
                offer: 0,
                state: match machine.phase {
                    Phase::Starting { .. } => State::Starting,
                    Phase::Draining => State::Draining,
                    Phase::Active | Phase::Ended => State::Active,
                },
                host: Host { free: machine.free, ..self.kind.empty() },
                tasks: tasks.collect(),
                standalone,
                // As `landfall cluster scale` sees it, which hears of no recommendation.
                notice: machine.notice.map(|(notice, _)| notice).filter(|notice| *notice == Notice::Interruption),
            }
        });
        let waiting = world.waiting_by_shape().into_iter().enumerate();
        Cluster {
            now: world.now as i64,
            shapes: world.shapes.clone(),
            services: world.services.iter().map(|own| Service { shape: own.shape, desired: own.desired }).collect(),
            waiting: waiting.map(|(shape, count)| Tasks { shape, count }).collect(),
            fleets: vec![self.fleet.clone()],
            instances: instances.collect(),
        }
    }

    /// Its Spot fleet keeps its target, ends whichever instance it likes, and drains none.
    fn original(&mut self, world: &mut World) {
        let active = world.there.iter().map(|index| &world.machines[*index]);
        let remaining: Vec<(u64, u64)> = active
            .filter(|machine| machine.phase == Phase::Active)
            .map(|machine| (machine.free.cpu, machine.free.memory))
            .collect();
        let services = world.services.iter().map(|service| {
            let Resources { cpu, memory, .. } = world.shapes[service.shape].need;
            Wanted { cpu, memory, desired: service.desired }
        });
        self.metrics.push(compatible::metric(&services.collect::<Vec<_>>(), &remaining).schedulable);
        if self.metrics.len() > MINUTES {
            self.metrics.remove(0);
        }
        self.fleet.signal = Some(self.metrics.iter().sum::<f64>() / self.metrics.len() as f64);
        let now = world.now as i64;
        let step = compatible::active(&self.fleet, self.target, world.running(), now);
        if !matches!(step, Step::Cooldown(_)) {
            self.fleet.next_permitted = Some((now + self.fleet.policy.cooldown).to_string());
        }
        if let Step::Target(target) = step {
            self.target = target;
        }
        while world.there.len() as u64 > self.target {
            let any = world.random.below(world.there.len() as u64) as usize;
            world.end(world.there[any], false);
        }
        world.launch(self.target - world.there.len() as u64);
    }

    /// CapacityProviderReservation = M ÷ N × 100, once a minute, target 100. How many are needed is read in the way that is best for
    /// it: all that waits packed together, at once. What starts or warms up holds nothing up: it counts as there, and where
    /// more are needed the difference is launched (target tracking's rule for warm-up, EC2 Auto Scaling user guide).
    fn managed(&mut self, world: &mut World) {
        // The group starts others for those that were interrupted.
        let have = world.there.len() as u64;
        if have < self.target {
            world.launch(self.target - have);
        }
        let have = world.there.len() as u64;
        let counts = world.waiting_by_shape();
        let waiting: u64 = counts.iter().sum();
        let ready = |index: &usize| matches!(world.machines[*index].phase, Phase::Active | Phase::Draining);
        if waiting > 0 {
            self.points = 0;
            let more = need(&world.shapes, &counts, std::slice::from_ref(&self.kind)).instances();
            let registered = world.there.iter().filter(|index| ready(index)).count() as u64;
            // Those that start are among `more`: what waits is for them first.
            let wanted = match have {
                0 => FROM_ZERO,
                _ => (registered + more).max(have),
            };
            self.target = wanted.min(self.fleet.max_weight);
            world.launch(self.target.saturating_sub(have));
            return;
        }
        let empty: Vec<usize> = world
            .there
            .iter()
            .copied()
            .filter(|index| world.machines[*index].phase == Phase::Active && world.machines[*index].tasks.is_empty())
            .collect();
        self.points = if empty.is_empty() { 0 } else { self.points + 1 };
        if self.points >= POINTS {
            // At least one, at most half of the group, a minute.
            let count = (have / 2).max(1).min(empty.len() as u64);
            for index in empty.into_iter().take(count as usize) {
                world.end(index, false);
            }
            self.target = world.there.len() as u64;
        }
    }
}
