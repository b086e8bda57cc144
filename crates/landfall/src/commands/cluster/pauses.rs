//! Between two looks: each pause is twice as long as the one before, until there is no more time or somebody presses Ctrl-C.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::{Duration, Instant};

pub(super) const FIRST: Duration = Duration::from_millis(50);

pub(super) struct Pauses {
    interrupted: Pin<Box<dyn Future<Output = io::Result<()>> + Send>>,
    deadline: Instant,
    next: Duration,
    longest: Duration,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Paused {
    Over,
    /// The time is up.
    Late,
    Interrupted,
}

impl Pauses {
    /// Ctrl-C is heard from now on. `timeout`: seconds for all of it; `longest`: of one pause.
    pub(super) async fn within(timeout: u64, longest: Duration) -> Self {
        let deadline = Instant::now() + Duration::from_secs(timeout);
        let mut pauses = Self { interrupted: Box::pin(tokio::signal::ctrl_c()), deadline, next: FIRST, longest };
        let _ = futures_util::poll!(pauses.interrupted.as_mut());
        pauses
    }

    /// Something was done: what follows is looked for at once.
    pub(super) fn soon(&mut self) {
        self.next = FIRST;
    }

    /// Nobody answers.
    pub(super) fn long(&mut self) {
        self.next = self.longest;
    }

    pub(super) async fn pass(&mut self) -> Paused {
        if Instant::now() > self.deadline {
            return Paused::Late;
        }
        tokio::select! {
            () = tokio::time::sleep(self.next) => {
                self.next = (self.next * 2).min(self.longest);
                Paused::Over
            }
            _ = &mut self.interrupted => Paused::Interrupted,
        }
    }
}
