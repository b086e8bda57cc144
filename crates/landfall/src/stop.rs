//! What tells a command to end: Ctrl-C, a CI host that cancels its job, a terminal that goes away.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::{CliError, CliResult};

pub(crate) struct Stop {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Stop {
    /// From now on none of them ends the process by itself.
    pub(crate) fn listen() -> CliResult<Self> {
        let of = |kind| signal(kind).map_err(|error| CliError::io("signals cannot be waited for", &error));
        Ok(Self {
            interrupt: of(SignalKind::interrupt())?,
            terminate: of(SignalKind::terminate())?,
            hangup: of(SignalKind::hangup())?,
        })
    }

    /// Until one of them comes.
    pub(crate) async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
