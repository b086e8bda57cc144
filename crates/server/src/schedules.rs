//! Scheduled tasks of the lasting environments on this machine; in a stack EventBridge Scheduler runs them.
//!
//! Each time that a schedule names is an execution of its own, whose key is that time: a server that dies and comes back, and another
//! one on the same state, begin none twice, and the journal has what became of each. A time at which no server ran is passed over, as
//! `cron` does it; so is one that lies back further than `LATE` because the machine slept.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use landfall_engine::NewPlan;
use landfall_model::cron::{Cron, Schedule};
use landfall_model::ids::SYSTEM_ACTOR;
use landfall_planner::{lint, plan};
use tokio_util::sync::CancellationToken;

use crate::control::ControlError;
use crate::deploy;
use crate::service::Inner;

/// Clocks jump: the time is looked at this often, however far the next task is.
const LOOK: Duration = Duration::from_secs(15);
/// At least so long between two looks: a task that could not be begun is tried again then.
const AGAIN: Duration = Duration::from_millis(500);
/// A task that could not be begun within this is left out until its next time.
const LATE: SignedDuration = SignedDuration::from_secs(60);

struct Timer<'a> {
    environment: &'a str,
    name: &'a str,
    schedule: &'a Schedule,
    cron: Cron,
    zone: TimeZone,
    next: Option<Timestamp>,
}

/// Only a server does this.
pub(crate) async fn run(inner: &Inner, cancel: &CancellationToken) {
    if inner.config.reconcile_every.is_none() {
        return;
    }
    let mut timers = timers(inner, inner.clock.now());
    while let Some(next) = timers.iter().filter_map(|timer| timer.next).min() {
        let wait = Duration::try_from(next.duration_since(inner.clock.now())).unwrap_or_default();
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(wait.clamp(AGAIN, LOOK)) => {}
        }
        let now = inner.clock.now();
        for timer in &mut timers {
            let Some(due) = timer.next.filter(|due| *due <= now) else { continue };
            let after = timer.cron.after(now, &timer.zone);
            let (environment, schedule) = (timer.environment, timer.name);
            if now.duration_since(due) > LATE {
                tracing::warn!(environment, schedule, %due, "that time has gone by: the task is not run");
                timer.next = after;
                continue;
            }
            match begin(inner, timer, due).await {
                Ok(()) => timer.next = after,
                Err(error) if error.passes() => {
                    tracing::warn!(environment, schedule, %due, %error, "the scheduled task is not begun yet");
                }
                Err(error) => {
                    tracing::error!(environment, schedule, %due, %error, "the scheduled task is not run");
                    timer.next = after;
                }
            }
        }
    }
}

fn timers(inner: &Inner, now: Timestamp) -> Vec<Timer<'_>> {
    let mut timers = Vec::new();
    for environment in inner.app.environments.values().filter(|environment| environment.on.is_none()) {
        for (name, schedule) in &environment.schedules {
            // The manifest was checked, but whether this machine knows the zone it could not say.
            let Ok(cron) = Cron::parse(&schedule.cron) else { continue };
            let zone = match schedule.time_zone.as_deref().map_or(Ok(TimeZone::UTC), TimeZone::get) {
                Ok(zone) => zone,
                Err(error) => {
                    let environment = &environment.name;
                    tracing::error!(environment, schedule = name, %error, "never run: this machine does not know the time zone");
                    continue;
                }
            };
            let next = cron.after(now, &zone);
            timers.push(Timer { environment: &environment.name, name, schedule, cron, zone, next });
        }
    }
    timers
}

async fn begin(inner: &Inner, timer: &Timer<'_>, due: Timestamp) -> Result<(), ControlError> {
    let place = deploy::place(inner, timer.environment)?;
    let found = deploy::running(inner, &place, &timer.schedule.service).await?;
    let execution = inner.engine.new_id(inner.clock.now());
    let plan = plan::scheduled(
        &inner.app.project,
        place.environment,
        (timer.name, timer.schedule),
        found.task_definition,
        &inner.instance,
        &execution,
    );
    lint::check(&plan).map_err(ControlError::Invalid)?;
    let dedup_key = format!("{}/{due}", plan.environment);
    let title = format!("scheduled task {}", plan.environment);
    let new = NewPlan { id: Some(execution), dedup_key, plan, intent: SYSTEM_ACTOR.to_owned(), notices: Vec::new() };
    let submitted = inner.engine.submit(new).await?;
    if !submitted.existing {
        tracing::info!(environment = timer.environment, execution = %submitted.id, title, %due, "begun");
    }
    Ok(())
}
