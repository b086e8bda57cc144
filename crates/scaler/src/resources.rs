//! What tasks need and instances have, in ECS's units.

/// Of a task: what it needs. Of an instance: what it has, or what of it is free.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resources {
    /// CPU units: 1,024 are one vCPU.
    pub cpu: u64,
    /// MiB.
    pub memory: u64,
    /// Whole GPUs.
    pub gpu: u64,
    /// Network interfaces for tasks of network mode `awsvpc`: a task needs one, an instance has those that are not its own.
    pub eni: u64,
    /// How many tasks: a task is one; `u64::MAX` on an instance where nothing limits them.
    pub tasks: u64,
}

/// How many kinds of resource there are.
pub(crate) const KINDS: usize = 5;

impl Resources {
    /// One task.
    pub fn task(cpu: u64, memory: u64) -> Self {
        Self { cpu, memory, tasks: 1, ..Self::default() }
    }

    /// An instance without GPUs, of as many interfaces and tasks as one likes.
    pub fn instance(cpu: u64, memory: u64) -> Self {
        Self { cpu, memory, gpu: 0, eni: u64::MAX, tasks: u64::MAX }
    }

    pub(crate) fn array(&self) -> [u64; KINDS] {
        [self.cpu, self.memory, self.gpu, self.eni, self.tasks]
    }

    pub(crate) fn of(array: [u64; KINDS]) -> Self {
        let [cpu, memory, gpu, eni, tasks] = array;
        Self { cpu, memory, gpu, eni, tasks }
    }

    /// How many times `need` goes into this; `u64::MAX` where it needs nothing.
    pub fn times(&self, need: &Resources) -> u64 {
        times(&self.array(), &need.array())
    }

    #[must_use]
    pub fn less(&self, other: &Resources) -> Self {
        let mut own = self.array();
        take(&mut own, &other.array(), 1);
        Self::of(own)
    }

    #[must_use]
    pub fn plus(&self, other: &Resources) -> Self {
        let mut own = self.array();
        give(&mut own, &other.array(), 1);
        Self::of(own)
    }

    #[must_use]
    pub fn by(&self, count: u64) -> Self {
        Self::of(self.array().map(|amount| amount.saturating_mul(count)))
    }
}

/// Takes so many of `need` off what is free. Unlimited stays unlimited.
pub(crate) fn take(free: &mut [u64; KINDS], need: &[u64; KINDS], count: u64) {
    for (free, need) in free.iter_mut().zip(need).filter(|(free, _)| **free != u64::MAX) {
        *free = free.saturating_sub(need.saturating_mul(count));
    }
}

/// Gives them back.
pub(crate) fn give(free: &mut [u64; KINDS], need: &[u64; KINDS], count: u64) {
    for (free, need) in free.iter_mut().zip(need) {
        *free = free.saturating_add(need.saturating_mul(count));
    }
}

pub(crate) fn times(have: &[u64; KINDS], need: &[u64; KINDS]) -> u64 {
    let mut least = u64::MAX;
    for (have, need) in have.iter().zip(need) {
        if *need > 0 && *have != u64::MAX {
            least = least.min(have / need);
        }
    }
    least
}
