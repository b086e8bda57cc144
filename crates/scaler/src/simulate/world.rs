//! The world that a scaler looks at: instances that start, run and end, and ECS, which places tasks on them. The same for all
//! scalers, so what differs is theirs.
//!
//! A task is placed on the instance with the least free memory that it fits on, as `binpack` does, as soon as there is one. A
//! service's task on an instance that drains, or of a service that is deployed, gets a successor, and stops half a minute
//! after that one has its place. What an instance takes down with it is started again.

use std::collections::BTreeMap;

use super::trace::What;
use crate::cluster::Notice;
use crate::random::Random;
use crate::resources::Resources;
use crate::shape::Shape;

/// Seconds from a Spot instance's notice to its end.
const NOTICE: u64 = 120;
/// Seconds from a recommendation to rebalance to the interruption, where it comes.
const REBALANCE: u64 = 600;
/// Seconds from a task's place until it is healthy and the one whose place it takes has stopped.
const HAND_OVER: u64 = 30;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Starting { ready: u64 },
    Active,
    Draining,
    Ended,
}

#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) phase: Phase,
    pub(crate) notice: Option<(Notice, u64)>,
    pub(crate) free: Resources,
    pub(crate) tasks: Vec<usize>,
}

#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) shape: usize,
    /// Of a service; `None` of a standalone task.
    pub(crate) service: Option<usize>,
    created: u64,
    pub(crate) machine: Option<usize>,
    /// A standalone task: for how long it runs.
    seconds: u64,
    /// When it stops, where that is known.
    ends: u64,
    /// The one that stops once this one runs.
    instead_of: Option<usize>,
    successor: Option<usize>,
    gone: bool,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Service {
    pub(crate) shape: usize,
    pub(crate) desired: u64,
    /// Those that count: no successors that wait.
    tasks: Vec<usize>,
}

/// What is counted meanwhile.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    /// Seconds that each task waited for its place.
    pub(crate) waited: Vec<u64>,
    pub(crate) machine_seconds: u64,
    /// Of as many as would hold what runs, were it packed without a gap.
    pub(crate) least_seconds: u64,
    pub(crate) capacity: (f64, f64),
    pub(crate) used: (f64, f64),
    pub(crate) interruptions: u64,
    /// Tasks that an instance took down with it without having been drained before.
    pub(crate) killed: u64,
    /// Those that were still there at the end of a drain that an interruption cut short.
    pub(crate) cut_short: u64,
    pub(crate) launches: u64,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) machines: Vec<Machine>,
    /// Those that have not ended.
    pub(crate) there: Vec<usize>,
    pub(crate) tasks: Vec<Task>,
    pub(crate) waiting: Vec<usize>,
    pub(crate) shapes: Vec<Shape>,
    pub(crate) services: Vec<Service>,
    pub(crate) counts: Counts,
    /// Grows whenever anything changes that a scaler sees, but for the time.
    pub(crate) changes: u64,
    names: BTreeMap<String, usize>,
    capacity: Resources,
    boot: u64,
    /// Tasks that will end: standalone ones that run, and those whose successors run.
    ends: Vec<usize>,
    used: Resources,
    pub(crate) random: Random,
}

impl World {
    pub(crate) fn new(capacity: Resources, boot: u64, seed: u64) -> Self {
        Self {
            now: 0,
            machines: Vec::new(),
            there: Vec::new(),
            tasks: Vec::new(),
            waiting: Vec::new(),
            shapes: Vec::new(),
            services: Vec::new(),
            counts: Counts::default(),
            changes: 0,
            names: BTreeMap::new(),
            capacity,
            boot,
            ends: Vec::new(),
            used: Resources::default(),
            random: Random::new(seed),
        }
    }

    /// When next anything happens by itself.
    pub(crate) fn next(&self) -> u64 {
        let machines = self.there.iter().map(|index| &self.machines[*index]).flat_map(|machine| {
            let ready = match machine.phase {
                Phase::Starting { ready } => Some(ready),
                _ => None,
            };
            ready.into_iter().chain(machine.notice.map(|(_, at)| at))
        });
        let tasks = self.ends.iter().map(|task| self.tasks[*task].ends);
        machines.chain(tasks).min().unwrap_or(u64::MAX)
    }

    /// Time goes by, and what was due by then happens.
    pub(crate) fn to(&mut self, second: u64) {
        let gone_by = second.saturating_sub(self.now);
        let machines = self.there.len() as u64;
        self.counts.machine_seconds += machines * gone_by;
        let least = |used: u64, each: u64| used.div_ceil(each.max(1));
        let Resources { cpu, memory, .. } = self.capacity;
        self.counts.least_seconds += least(self.used.cpu, cpu).max(least(self.used.memory, memory)) * gone_by;
        let seconds = gone_by as f64;
        self.counts.capacity.0 += (machines * self.capacity.cpu) as f64 * seconds;
        self.counts.capacity.1 += (machines * self.capacity.memory) as f64 * seconds;
        self.counts.used.0 += self.used.cpu as f64 * seconds;
        self.counts.used.1 += self.used.memory as f64 * seconds;
        self.now = second;
        for index in self.there.clone() {
            match self.machines[index].phase {
                Phase::Starting { ready } if ready <= second => {
                    self.machines[index].phase = Phase::Active;
                    self.changes += 1;
                }
                _ => {}
            }
            match self.machines[index].notice {
                Some((Notice::Interruption, at)) if at <= second => self.end(index, true),
                Some((Notice::Rebalance, at)) if at <= second => self.interrupt(index),
                _ => {}
            }
        }
        let ended: Vec<usize> = self.ends.iter().copied().filter(|task| self.tasks[*task].ends <= second).collect();
        ended.into_iter().for_each(|task| self.stop(task));
        self.place();
    }

    pub(crate) fn happens(&mut self, what: &What) {
        self.changes += 1;
        match what {
            What::Service { name, count, cpu, memory } => {
                let shape = self.shape(*cpu, *memory);
                let services = &mut self.services;
                let index = *self.names.entry(name.clone()).or_insert_with(|| {
                    services.push(Service::default());
                    services.len() - 1
                });
                self.services[index].shape = shape;
                self.services[index].desired = *count;
                self.want(index);
            }
            What::Task { count, cpu, memory, seconds, .. } => {
                let shape = self.shape(*cpu, *memory);
                for _ in 0..*count {
                    self.create(shape, None, *seconds);
                }
            }
            What::Deploy { name } => {
                let Some(index) = self.names.get(name).copied() else { return };
                for task in self.services[index].tasks.clone() {
                    self.succeed(task);
                }
            }
            What::Interrupt { percent } => {
                for index in self.some(*percent) {
                    self.interrupt(index);
                }
            }
            What::Rebalance { percent } => {
                let at = self.now + REBALANCE;
                for index in self.some(*percent) {
                    self.machines[index].notice.get_or_insert((Notice::Rebalance, at));
                }
            }
        }
        self.place();
    }

    fn shape(&mut self, cpu: u64, memory: u64) -> usize {
        let need = Resources::task(cpu, memory);
        self.shapes.iter().position(|other| other.need == need).unwrap_or_else(|| {
            self.shapes.push(Shape::new(&format!("shape {}", self.shapes.len()), need));
            self.shapes.len() - 1
        })
    }

    /// So many of the instances that run, or drain, and have no notice yet, picked at random.
    fn some(&mut self, percent: u64) -> Vec<usize> {
        let mut all: Vec<usize> =
            self.there.iter().copied().filter(|index| self.machines[*index].notice.is_none()).collect();
        all.retain(|index| !matches!(self.machines[*index].phase, Phase::Starting { .. }));
        let count = (all.len() as u64 * percent).div_ceil(100) as usize;
        for at in 0..count.min(all.len()) {
            let other = at + self.random.below((all.len() - at) as u64) as usize;
            all.swap(at, other);
        }
        all.truncate(count);
        all
    }

    /// The notice of two minutes; the agent drains by itself, as it does where it is told to.
    fn interrupt(&mut self, index: usize) {
        self.counts.interruptions += 1;
        self.machines[index].notice = Some((Notice::Interruption, self.now + NOTICE));
        self.drain(index);
    }

    fn create(&mut self, shape: usize, service: Option<usize>, seconds: u64) -> usize {
        self.tasks.push(Task {
            shape,
            service,
            created: self.now,
            machine: None,
            seconds,
            ends: u64::MAX,
            instead_of: None,
            successor: None,
            gone: false,
        });
        let task = self.tasks.len() - 1;
        self.waiting.push(task);
        task
    }

    /// Starts and stops tasks until there are as many as are wanted: those that wait go first, then those on the instance
    /// that has most of them.
    fn want(&mut self, service: usize) {
        loop {
            let Service { shape, desired, ref tasks } = self.services[service];
            let have = tasks.len() as u64;
            if have < desired {
                let task = self.create(shape, Some(service), 0);
                self.services[service].tasks.push(task);
            } else if have > desired {
                let mut on: BTreeMap<usize, u64> = BTreeMap::new();
                for task in tasks {
                    *on.entry(self.tasks[*task].machine.unwrap_or(usize::MAX)).or_default() += 1;
                }
                let rank = |task: &&usize| {
                    let machine = self.tasks[**task].machine;
                    (machine.is_none(), machine.map_or(0, |machine| on[&machine]), **task)
                };
                let Some(task) = tasks.iter().max_by_key(rank).copied() else { break };
                self.stop(task);
            } else {
                break;
            }
        }
    }

    /// A successor, where it has none.
    fn succeed(&mut self, task: usize) {
        let Task { shape, service: Some(service), machine: Some(_), successor: None, .. } = self.tasks[task] else {
            return;
        };
        let next = self.create(shape, Some(service), 0);
        self.tasks[next].instead_of = Some(task);
        self.tasks[task].successor = Some(next);
    }

    /// Ends a task for good, with the successor that waits for it.
    fn stop(&mut self, task: usize) {
        if std::mem::replace(&mut self.tasks[task].gone, true) {
            return;
        }
        self.changes += 1;
        let Task { service, successor, .. } = self.tasks[task];
        self.leave(task);
        self.waiting.retain(|other| *other != task);
        if let Some(service) = service {
            self.services[service].tasks.retain(|other| *other != task);
        }
        if let Some(next) = successor.filter(|next| self.tasks[*next].machine.is_none()) {
            self.tasks[next].gone = true;
            self.waiting.retain(|other| *other != next);
        }
    }

    /// Off its instance.
    fn leave(&mut self, task: usize) {
        self.ends.retain(|other| *other != task);
        if let Some(machine) = self.tasks[task].machine {
            let need = self.shapes[self.tasks[task].shape].need;
            let machine = &mut self.machines[machine];
            machine.free = machine.free.plus(&need);
            machine.tasks.retain(|other| *other != task);
            self.used = self.used.less(&need);
        }
    }

    fn place(&mut self) {
        let mut full = vec![false; self.shapes.len()];
        for task in self.waiting.clone() {
            let shape = self.tasks[task].shape;
            if full[shape] {
                continue;
            }
            let need = self.shapes[shape].need;
            let takes = |index: &&usize| {
                let machine = &self.machines[**index];
                machine.phase == Phase::Active && machine.free.times(&need) > 0
            };
            let machine =
                self.there.iter().filter(takes).min_by_key(|index| self.machines[**index].free.memory).copied();
            match machine {
                None => full[shape] = true,
                Some(machine) => self.run(task, machine),
            }
        }
    }

    fn run(&mut self, task: usize, machine: usize) {
        self.changes += 1;
        let need = self.shapes[self.tasks[task].shape].need;
        self.machines[machine].free = self.machines[machine].free.less(&need);
        self.machines[machine].tasks.push(task);
        self.used = self.used.plus(&need);
        self.waiting.retain(|other| *other != task);
        self.counts.waited.push(self.now - self.tasks[task].created);
        self.tasks[task].machine = Some(machine);
        if self.tasks[task].service.is_none() {
            self.tasks[task].ends = self.now + self.tasks[task].seconds;
            self.ends.push(task);
        }
        if let Some(old) = self.tasks[task].instead_of.take() {
            self.tasks[old].ends = self.now + HAND_OVER;
            self.ends.push(old);
            if let Some(service) = self.tasks[task].service {
                self.services[service].tasks.retain(|other| *other != old);
                self.services[service].tasks.push(task);
            }
        }
    }

    pub(crate) fn launch(&mut self, count: u64) {
        self.changes += count;
        for _ in 0..count {
            self.there.push(self.machines.len());
            self.counts.launches += 1;
            self.machines.push(Machine {
                phase: Phase::Starting { ready: self.now + self.boot },
                notice: None,
                free: self.capacity,
                tasks: Vec::new(),
            });
        }
    }

    pub(crate) fn drain(&mut self, index: usize) {
        self.changes += 1;
        match self.machines[index].phase {
            Phase::Active => {
                self.machines[index].phase = Phase::Draining;
                for task in self.machines[index].tasks.clone() {
                    self.succeed(task);
                }
            }
            Phase::Starting { .. } => self.end(index, true),
            Phase::Draining | Phase::Ended => {}
        }
        self.place();
    }

    /// It takes tasks again; successors that still wait are not needed.
    pub(crate) fn undrain(&mut self, index: usize) {
        self.changes += 1;
        if self.machines[index].phase == Phase::Draining && self.machines[index].notice.is_none() {
            self.machines[index].phase = Phase::Active;
            for task in self.machines[index].tasks.clone() {
                if let Some(next) = self.tasks[task].successor.filter(|next| self.tasks[*next].machine.is_none()) {
                    self.tasks[next].gone = true;
                    self.waiting.retain(|other| *other != next);
                    self.tasks[task].successor = None;
                }
            }
            self.place();
        }
    }

    /// Ends an instance and what runs on it. Services start others; whoever wanted a standalone task asks for it again.
    pub(crate) fn end(&mut self, index: usize, interrupted: bool) {
        self.changes += 1;
        let drained = self.machines[index].phase == Phase::Draining;
        self.machines[index].phase = Phase::Ended;
        self.there.retain(|other| *other != index);
        for task in self.machines[index].tasks.clone() {
            let Task { shape, service, seconds, successor, .. } = self.tasks[task];
            let replaced = successor.is_some_and(|next| self.tasks[next].machine.is_some());
            match (replaced, interrupted && drained) {
                (true, _) => {}
                (false, true) => self.counts.cut_short += 1,
                (false, false) => self.counts.killed += 1,
            }
            // A successor that waits counts from now on.
            let next = successor.filter(|next| self.tasks[*next].machine.is_none());
            self.tasks[task].successor = None;
            self.stop(task);
            match (service, next) {
                (Some(service), Some(next)) => {
                    self.tasks[next].instead_of = None;
                    self.services[service].tasks.push(next);
                }
                (Some(service), None) => self.want(service),
                (None, _) => {
                    self.create(shape, None, seconds);
                }
            }
        }
        self.place();
    }

    /// How many tasks run.
    pub(crate) fn running(&self) -> u64 {
        self.there.iter().map(|index| self.machines[*index].tasks.len() as u64).sum()
    }

    /// Of each shape, how many wait.
    pub(crate) fn waiting_by_shape(&self) -> Vec<u64> {
        let mut counts = vec![0; self.shapes.len()];
        for task in &self.waiting {
            counts[self.tasks[*task].shape] += 1;
        }
        counts
    }

    /// From now on it counts; what waits has waited no time yet.
    pub(crate) fn count_from_now(&mut self) {
        self.counts = Counts::default();
        for task in &self.waiting {
            self.tasks[*task].created = self.now;
        }
    }

    /// At the end: what still waits has waited so long.
    pub(crate) fn close(&mut self) {
        self.counts.waited.extend(self.waiting.iter().map(|task| self.now - self.tasks[*task].created));
    }
}
