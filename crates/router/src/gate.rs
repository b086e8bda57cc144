//! The waker of one connection to a target.
//!
//! A connection is polled by the task of the client that uses it, and the parts of it that hyper ties with channels
//! (sender, connection, body) wake each other whenever something passes between them. Such a wake arrives while that
//! very task is running and is about to poll the other part anyway; left alone it would make the task run once more per
//! request and find nothing to do. So whatever feeds the connection is run [`quiet`](Gate::quiet), and polls it next.
//!
//! No other wake can be lost that way: the rest come from the connection's socket, whose driver runs in the worker's own
//! thread between two polls, or from the connection's own poll (hyper or tokio giving way to other tasks), which is not
//! quiet.
//!
//! Between two requests nobody polls the connection. Its last poll left this waker with the socket, so as long as it was
//! not [`stirred`](Gate::stirred), the connection is as it was: open.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use crate::table::lock;

#[derive(Debug)]
struct Inner {
    quiet: AtomicBool,
    stirred: AtomicBool,
    /// Who uses the connection, or was the last to.
    task: Mutex<Option<Waker>>,
}

impl Wake for Inner {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.quiet.load(Ordering::Relaxed) {
            return;
        }
        self.stirred.store(true, Ordering::Relaxed);
        if let Some(task) = &*lock(&self.task) {
            task.wake_by_ref();
        }
    }
}

#[derive(Debug)]
pub(crate) struct Gate {
    inner: Arc<Inner>,
    waker: Waker,
}

impl Gate {
    pub(crate) fn new() -> Self {
        let inner = Inner { quiet: AtomicBool::new(false), stirred: AtomicBool::new(true), task: Mutex::new(None) };
        let inner = Arc::new(inner);
        Self { waker: Waker::from(inner.clone()), inner }
    }

    /// Polls the connection for this task.
    pub(crate) fn poll_for<T>(&self, task: &Waker, poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        {
            let mut current = lock(&self.inner.task);
            if !current.as_ref().is_some_and(|current| current.will_wake(task)) {
                *current = Some(task.clone());
            }
        }
        self.poll(poll)
    }

    /// Polls the connection for nobody.
    pub(crate) fn poll<T>(&self, poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        self.inner.stirred.store(false, Ordering::Relaxed);
        poll(&mut Context::from_waker(&self.waker))
    }

    /// Something happened on the socket since the last poll, or may have.
    pub(crate) fn stirred(&self) -> bool {
        self.inner.stirred.load(Ordering::Relaxed)
    }

    /// Runs a step that wakes the connection, without waking the task: whoever calls this polls the connection before it
    /// waits for anything from it.
    pub(crate) fn quiet<T>(&self, step: impl FnOnce() -> T) -> T {
        self.inner.quiet.store(true, Ordering::Relaxed);
        let result = step();
        self.inner.quiet.store(false, Ordering::Relaxed);
        result
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn wakes_reach_the_last_task_unless_quiet() {
        let (first, second) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let gate = Gate::new();
        let mut kept = None;
        let _: Poll<()> = gate.poll_for(&Waker::from(first.clone()), |cx| {
            kept = Some(cx.waker().clone());
            Poll::Pending
        });
        assert!(!gate.stirred());
        let _: Poll<()> = gate.poll_for(&Waker::from(second.clone()), |_| Poll::Pending);
        let wake = || kept.as_ref().map(Waker::wake_by_ref);
        gate.quiet(wake);
        assert!(!gate.stirred());
        assert_eq!(second.0.load(Ordering::Relaxed), 0);
        wake();
        assert!(gate.stirred());
        assert_eq!((first.0.load(Ordering::Relaxed), second.0.load(Ordering::Relaxed)), (0, 1));
        let _: Poll<()> = gate.poll(|_| Poll::Pending);
        assert!(!gate.stirred());
    }
}
