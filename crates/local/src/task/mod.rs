//! Tasks: containers in one network namespace. `decide` and `health` are pure; `run` drives one task's life; `containers`
//! is what it asks of the engine.

pub(crate) mod containers;
pub(crate) mod decide;
pub(crate) mod health;
pub(crate) mod record;
pub(crate) mod run;
pub(crate) mod watch;
