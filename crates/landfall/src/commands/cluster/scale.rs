//! `cluster scale`: one look at a cluster and what is decided about it, or one every few seconds. A scheduler's function and a loop on a
//! machine are the same: nothing is kept here.

use std::path::Path;
use std::time::{Duration, Instant};

use landfall_cluster::Infra;
use landfall_cluster::scale::{Act, Round};
use landfall_ports::PortError;
use landfall_scaler::decide::Change;
use landfall_steps::scale::Scaler;
use serde::Serialize;

use super::infra::Open;
use super::prices;
use super::reach::Reach;
use super::roll::now;
use crate::cli::cluster::{ClusterScaleArgs, PricesArgs, ValuesArgs};
use crate::commands::manifest::plural;
use crate::commands::port_error;
use crate::error::CliResult;
use crate::exit::ExitCode;
use crate::printer::Printer;
use crate::progress::{Mark, Progress};
use crate::stop::Stop;

/// How often a server looks.
const BESIDE: Duration = Duration::from_secs(10);
/// After what does not pass by itself.
const AGAIN: Duration = Duration::from_secs(60);
/// Metrics are published no oftener: CloudWatch keeps one datapoint a minute.
const PUBLISHED: Duration = Duration::from_secs(60);

/// As printed with `--output json`: of a loop one document for each look that found something to do.
#[derive(Debug, Serialize)]
struct Told<'a> {
    cluster: &'a str,
    /// Of the largest task: how many more could be placed.
    schedulable: Option<u64>,
    /// What `infra.yml` says because of which the fleets are left as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_alone: Option<&'static str>,
    /// None where they are left as they are.
    fleets: Vec<Fleet<'a>>,
    reasons: Vec<String>,
    notes: &'a [String],
    /// What was done, in order; with `--dry-run` what would be.
    acts: &'a [Act],
}

#[derive(Debug, Serialize)]
struct Fleet<'a> {
    fleet: &'a str,
    /// Its weight once all is done.
    target: u64,
    reasons: Vec<String>,
}

impl<'a> Told<'a> {
    fn of(infra: &'a Infra, round: &'a Round, acts: &'a [Act]) -> Self {
        let said = |change: &'a Change| Fleet {
            fleet: &change.fleet,
            target: change.target,
            reasons: change.reasons.iter().map(ToString::to_string).collect(),
        };
        Self {
            cluster: &infra.name,
            schedulable: round.schedulable,
            left_alone: infra.left_alone(),
            fleets: round.decision.fleets.iter().map(said).collect(),
            reasons: round.decision.reasons.iter().map(ToString::to_string).collect(),
            notes: &round.notes,
            acts,
        }
    }

    fn text(&self) -> String {
        let width = self.fleets.iter().map(|fleet| fleet.fleet.len()).max().unwrap_or(0);
        let mut text = String::new();
        for fleet in &self.fleets {
            text.push_str(&format!("{:width$}  weight {}\n", fleet.fleet, fleet.target));
            fleet.reasons.iter().for_each(|reason| text.push_str(&format!("  {reason}\n")));
        }
        self.reasons.iter().for_each(|reason| text.push_str(&format!("{reason}\n")));
        match self.schedulable {
            Some(count) => text.push_str(&format!("room for {} more of the largest kind", plural_u64(count, "task"))),
            None => text.push_str("nothing is wanted of it"),
        }
        if let Some(why) = self.left_alone {
            text.push_str(&format!("\n{}", stays(why)));
        }
        text
    }
}

fn stays(why: &str) -> String {
    format!("the fleets are left as they are: infra.yml says `{why}`")
}

fn plural_u64(count: u64, what: &str) -> String {
    plural(usize::try_from(count).unwrap_or(usize::MAX), what)
}

pub(super) async fn run(args: &ClusterScaleArgs, printer: &Printer) -> CliResult<ExitCode> {
    let infra = Open::of(&args.values, printer)?.infra;
    let prices = prices(&args.prices)?;
    let reach = Reach::of(&infra, printer).await?;
    let mut scaler = Scaler::new(&infra, &prices, &*reach.stacks, &*reach.instances, &*reach.fleets);
    match args.every {
        Some(seconds) => {
            let mut stop = Stop::listen()?;
            every(&mut scaler, Duration::from_secs(seconds), !args.no_metrics, printer, stop.asked()).await?;
            printer.note(format_args!("cluster {}: interrupted; it stays as it is now", infra.name));
            Ok(ExitCode::Ok)
        }
        None => once(&mut scaler, args, printer).await,
    }
}

async fn once(scaler: &mut Scaler<'_>, args: &ClusterScaleArgs, printer: &Printer) -> CliResult<ExitCode> {
    let round = scaler.look(now()).await.map_err(port_error)?;
    round.notes.iter().for_each(|note| printer.warn(note));
    let name = &scaler.infra.name;
    if args.dry_run {
        printer.emit(&Told::of(scaler.infra, &round, &round.acts), Told::text)?;
        round.acts.iter().for_each(|act| printer.note(format_args!("would: {}", said(act))));
        return Ok(match round.acts.len() {
            0 => settled(scaler.infra, printer),
            count => {
                printer.note(format_args!("cluster {name}: {} to do; nothing was done", plural(count, "thing")));
                ExitCode::Different
            }
        });
    }
    let progress = Progress::new(*printer);
    let (did, failed) = act(scaler, &round, |act, mark| progress.line(mark, &said(act), None)).await;
    // Those who watch the metric watch it also where something could not be done.
    if !args.no_metrics {
        scaler.publish(&round).await.map_err(port_error)?;
    }
    progress.finish();
    printer.emit(&Told::of(scaler.infra, &round, &did), Told::text)?;
    if let Some(error) = failed {
        return Err(port_error(error).hint("what was done is done; the next look goes on from there"));
    }
    Ok(match did.len() {
        0 => settled(scaler.infra, printer),
        count => {
            let done = plural(count, "thing");
            printer.note(format_args!("cluster {name}: {done} done; `landfall cluster status` shows it"));
            ExitCode::Ok
        }
    })
}

fn settled(infra: &Infra, printer: &Printer) -> ExitCode {
    // Of one that is left alone that is said already.
    if infra.left_alone().is_none() {
        printer.note(format_args!("cluster {}: nothing to do", infra.name));
    }
    ExitCode::Ok
}

/// Until it is interrupted, but never between two acts. What passes by itself is waited for; two that run at once do the same things, and
/// neither harms the other.
async fn every(
    scaler: &mut Scaler<'_>,
    pause: Duration,
    metrics: bool,
    printer: &Printer,
    stop: impl Future<Output = ()>,
) -> CliResult<()> {
    let mut stop = std::pin::pin!(stop);
    let mut published: Option<Instant> = None;
    let mut notes: Vec<String> = Vec::new();
    let name = scaler.infra.name.clone();
    printer.note(format_args!("cluster {name}: a look every {} s, until it is interrupted", pause.as_secs()));
    if let Some(why) = scaler.infra.left_alone() {
        let besides = if metrics { "; its metrics are published" } else { "" };
        printer.note(format_args!("cluster {name}: {}{besides}", stays(why)));
    }
    loop {
        let round = tokio::select! {
            round = scaler.look(now()) => round,
            () = &mut stop => return Ok(()),
        };
        match round {
            Ok(round) => {
                round.notes.iter().filter(|note| !notes.contains(note)).for_each(|note| printer.warn(note));
                notes.clone_from(&round.notes);
                let (did, failed) = act(scaler, &round, |_, _| {}).await;
                tell(&Told::of(scaler.infra, &round, &did), printer)?;
                endures(failed.map_or(Ok(()), Err), printer)?;
                if metrics && published.is_none_or(|at| at.elapsed() >= PUBLISHED) {
                    endures(scaler.publish(&round).await, printer)?;
                    published = Some(Instant::now());
                }
            }
            Err(error) => endures(Err(error), printer)?,
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = &mut stop => return Ok(()),
        }
    }
}

/// Beside a server, for as long as that runs. What ends it elsewhere is told here, and tried again.
pub(crate) async fn beside(values: &Path, printer: &Printer) {
    let scaled = async || -> CliResult<()> {
        let infra = Open::of(&ValuesArgs { values: values.to_path_buf() }, printer)?.infra;
        let prices = prices(&PricesArgs { prices: None })?;
        let reach = Reach::of(&infra, printer).await?;
        let mut scaler = Scaler::new(&infra, &prices, &*reach.stacks, &*reach.instances, &*reach.fleets);
        // Nothing waits for what is only counted.
        let pause = if infra.left_alone().is_some() { PUBLISHED } else { BESIDE };
        every(&mut scaler, pause, true, printer, std::future::pending()).await
    };
    loop {
        if let Err(error) = scaled().await {
            printer.error(&error);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// What a look found to do, one after the other, as far as it goes: what was done, and what stopped it.
async fn act(scaler: &Scaler<'_>, round: &Round, each: impl Fn(&Act, Mark)) -> (Vec<Act>, Option<PortError>) {
    let mut did = Vec::new();
    for act in &round.acts {
        match scaler.act(act, now()).await {
            Ok(true) => {
                each(act, Mark::Done);
                did.push(act.clone());
            }
            // The next look decides anew.
            Ok(false) => each(act, Mark::Skipped),
            Err(error) => {
                each(act, Mark::Failed);
                return (did, Some(error));
            }
        }
    }
    (did, None)
}

fn tell(told: &Told<'_>, printer: &Printer) -> CliResult<()> {
    if told.acts.is_empty() {
        return Ok(());
    }
    if printer.json() {
        return printer.json_data(told);
    }
    for act in told.acts {
        printer.note(format_args!("{}: {}", told.cluster, said(act)));
    }
    for fleet in &told.fleets {
        fleet.reasons.iter().for_each(|reason| printer.note(format_args!("  {}: {reason}", fleet.fleet)));
    }
    Ok(())
}

/// What passes is told, and the next look goes on.
fn endures(told: Result<(), PortError>, printer: &Printer) -> CliResult<()> {
    match told {
        Err(error) if passes(&error) => {
            printer.warn(&error);
            Ok(())
        }
        told => told.map_err(port_error),
    }
}

/// Somebody else changed it meanwhile, or AWS is away for a moment.
fn passes(error: &PortError) -> bool {
    matches!(error, PortError::Unavailable(_) | PortError::Throttled { .. } | PortError::Conflict(_))
}

fn said(act: &Act) -> String {
    let instances = |count: usize| plural(count, "instance");
    match act {
        Act::Drain { fleet, instances: some } => format!("{fleet}: {} drained", instances(some.len())),
        Act::Undrain { fleet, instances: some } => format!("{fleet}: {} take tasks again", instances(some.len())),
        Act::Terminate { fleet, instance, left: Some(left), .. } => {
            format!("{fleet}: {instance} terminated, weight {left}")
        }
        Act::Terminate { fleet, instance, left: None, .. } => format!("{fleet}: {instance} terminated and replaced"),
        Act::Release { fleet, instance, .. } => format!("{fleet}: {instance} has drained, Auto Scaling ends it"),
        Act::Resize { fleet, from, to, .. } => format!("{fleet}: weight {from} becomes {to}"),
        Act::KeepUneven { fleet, .. } => {
            format!("{fleet}: Auto Scaling ends no more instances to be even between zones")
        }
        Act::Note { fleet, next_permitted, .. } => {
            let at = landfall_model::Timestamp::from_second(*next_permitted).map(|at| at.to_string());
            format!("{fleet}: what can wait waits until {}", at.unwrap_or_else(|_| next_permitted.to_string()))
        }
        Act::Delete { version } => format!("version {version} is deleted: nothing is left of it"),
    }
}
