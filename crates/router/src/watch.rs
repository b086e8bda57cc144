//! Timeouts of client connections without a timer per request.
//!
//! Each connection has a [`Watch`]; the worker looks at all of them a few times a second and wakes the connection whose
//! time is over. Timeouts are therefore up to [`TICK`] late, which none of them minds. The connection's own task then
//! sees `expired` and acts by phase: a request without an answer gets 504, everything else is closed.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use crate::table::Target;

pub(crate) const TICK: Duration = Duration::from_millis(200);
/// Between two requests of a client connection.
const KEEP_ALIVE_MS: u64 = 75_000;
/// From the first byte of a request's head to its last.
const HEAD_MS: u64 = 10_000;
/// Raw head bytes kept for checks that parsed headers no longer allow.
const HEAD_BYTES: usize = 64 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Between requests.
    Idle,
    /// A head has begun to arrive.
    Head,
    /// The target has the request; no answer yet.
    Waiting,
    /// The answer is on its way, or the connection is a tunnel.
    Body,
}

#[derive(Debug)]
pub(crate) struct Watch {
    /// The worker's clock: milliseconds, as of the last tick.
    now: Rc<Cell<u64>>,
    phase: Cell<Phase>,
    last: Cell<u64>,
    limit: Cell<u64>,
    expired: Cell<bool>,
    /// The target that holds the request.
    target: RefCell<Option<Arc<Target>>>,
    waker: RefCell<Option<Waker>>,
    head: RefCell<Vec<u8>>,
}

impl Watch {
    pub(crate) fn new(now: Rc<Cell<u64>>) -> Self {
        Self {
            last: Cell::new(now.get()),
            now,
            phase: Cell::new(Phase::Idle),
            limit: Cell::new(KEEP_ALIVE_MS),
            expired: Cell::new(false),
            target: RefCell::default(),
            waker: RefCell::default(),
            head: RefCell::default(),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    pub(crate) fn expired(&self) -> bool {
        self.expired.get()
    }

    /// The target's deregistration delay is over.
    pub(crate) fn is_cut(&self) -> bool {
        let target = self.target.borrow();
        target.as_ref().is_some_and(|target| target.cut.load(std::sync::atomic::Ordering::Acquire))
    }

    fn enter(&self, phase: Phase, limit: u64) {
        self.phase.set(phase);
        self.limit.set(limit);
        self.last.set(self.now.get());
        self.expired.set(false);
    }

    /// A request was parsed and is on its way to a target.
    pub(crate) fn waiting(&self, idle_timeout_ms: u64) {
        self.enter(Phase::Waiting, idle_timeout_ms);
    }

    pub(crate) fn at_target(&self, target: Option<Arc<Target>>) {
        *self.target.borrow_mut() = target;
    }

    /// The answer begins; its limit is that of the request.
    pub(crate) fn answering(&self) {
        self.enter(Phase::Body, self.limit.get());
    }

    pub(crate) fn idle(&self) {
        self.enter(Phase::Idle, KEEP_ALIVE_MS);
        self.at_target(None);
    }

    /// The raw head of the request just parsed. What follows it in the buffer is the next request's only when this one
    /// has no body.
    pub(crate) fn take_head(&self, has_body: bool, inspect: bool) -> Option<Vec<u8>> {
        let mut head = self.head.borrow_mut();
        if !inspect && has_body {
            head.clear();
            return None;
        }
        let end = end_of_head(&head);
        let taken = inspect.then(|| head.get(..end).unwrap_or_default().to_vec());
        if has_body {
            head.clear();
        } else {
            head.drain(..end);
        }
        taken
    }

    pub(crate) fn register(&self, waker: &Waker) {
        let mut slot = self.waker.borrow_mut();
        if !slot.as_ref().is_some_and(|current| current.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }

    pub(crate) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// The worker's look.
    pub(crate) fn tick(&self) {
        if self.now.get().saturating_sub(self.last.get()) > self.limit.get() && !self.expired.replace(true) {
            self.wake();
        }
    }

    pub(crate) fn moved(&self) {
        // A head must arrive whole in its time, however steadily it drips.
        if self.phase.get() != Phase::Head {
            self.last.set(self.now.get());
        }
    }

    pub(crate) fn received(&self, bytes: &[u8]) {
        match self.phase.get() {
            Phase::Idle => {
                self.enter(Phase::Head, HEAD_MS);
                self.keep(bytes);
            }
            Phase::Head => self.keep(bytes),
            Phase::Waiting | Phase::Body => self.moved(),
        }
    }

    fn keep(&self, bytes: &[u8]) {
        let mut head = self.head.borrow_mut();
        let room = HEAD_BYTES.saturating_sub(head.len());
        head.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }
}

/// Where the first head in `bytes` ends; lines may end in a bare line feed, as the parser allows.
fn end_of_head(bytes: &[u8]) -> usize {
    for at in memchr::memchr_iter(b'\n', bytes) {
        match bytes.get(at + 1..) {
            Some([b'\n', ..]) => return at + 2,
            Some([b'\r', b'\n', ..]) => return at + 3,
            _ => {}
        }
    }
    bytes.len()
}
