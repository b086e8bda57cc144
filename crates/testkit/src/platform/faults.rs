//! Faults: the n-th call of a method fails, before or after its effect.

use landfall_ports::{PortError, PortResult};

use super::{FakePlatform, World};

#[derive(Debug, Clone)]
pub struct Fault {
    /// `put_service`, `put_route`, …
    pub method: &'static str,
    /// The n-th call from the start of the world, 1 being the first.
    pub nth: u64,
    pub when: When,
    pub error: PortError,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Nothing happened.
    Before,
    /// It happened, and the answer was lost.
    After,
}

impl FakePlatform {
    pub fn fail(&self, fault: Fault) {
        self.lock().faults.push(fault);
    }

    /// Takes back every fault that is still to come.
    pub fn mend(&self) {
        self.lock().faults.clear();
    }

    /// Counts the call and runs it, with the faults that are due.
    pub(crate) fn call<T>(&self, method: &'static str, run: impl FnOnce(&mut World) -> PortResult<T>) -> PortResult<T> {
        let mut world = self.lock();
        let calls = world.calls.entry(method).or_default();
        *calls += 1;
        let nth = *calls;
        let due = |when: When| move |f: &Fault| f.method == method && f.nth == nth && f.when == when;
        if let Some(fault) = world.faults.iter().find(|f| due(When::Before)(f)) {
            return Err(fault.error.clone());
        }
        let result = run(&mut world);
        match world.faults.iter().find(|f| due(When::After)(f)) {
            Some(fault) => Err(fault.error.clone()),
            None => result,
        }
    }
}
