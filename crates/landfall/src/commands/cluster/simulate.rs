//! `cluster simulate`: a workload replayed against three scalers. AWS is not asked.

use std::path::Path;

use comfy_table::Cell;
use landfall_scaler::cluster::Policy;
use landfall_scaler::price::Purchase;
use landfall_scaler::simulate::{Generator, Options, Outcome, Trace, Who, simulate, svg};
use serde::Serialize;

use super::{dollars, price_error, prices};
use crate::cli::cluster::{SimulateArgs, Workload};
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::printer::Printer;
use crate::render::{table, trimmed};

#[derive(Serialize)]
struct Report {
    instance_type: String,
    purchase: Purchase,
    boot: u64,
    max: u64,
    seed: u64,
    outcomes: Vec<Outcome>,
}

pub(super) fn run(args: &SimulateArgs, printer: &Printer) -> CliResult<ExitCode> {
    let prices = prices(&args.prices)?;
    if args.task_threshold_out >= args.task_threshold_in {
        let message = "it would scale out and in at once";
        return Err(
            CliError::new(ExitCode::Usage, message).hint("--task-threshold-out is less than --task-threshold-in")
        );
    }
    let options = Options {
        instance_type: prices.get(&args.instance_type).map_err(|error| price_error(&error, &prices))?.clone(),
        purchase: if args.on_demand { Purchase::OnDemand } else { Purchase::Spot },
        boot: args.boot,
        max: args.max,
        seed: args.seed,
        policy: Policy { out_below: args.task_threshold_out, in_above: args.task_threshold_in, ..Policy::default() },
    };
    let mut outcomes = Vec::new();
    for trace in traces(args)? {
        let own: Vec<Outcome> = Who::ALL.iter().map(|who| simulate(&trace, *who, &options)).collect();
        if let Some(directory) = &args.write {
            write(directory, &trace, &own, &options)?;
        }
        outcomes.extend(own);
    }
    let report = Report {
        instance_type: args.instance_type.clone(),
        purchase: options.purchase,
        boot: args.boot,
        max: args.max,
        seed: args.seed,
        outcomes,
    };
    printer.emit(&report, |report| text(&report.outcomes))?;
    printer.note(format_args!(
        "waiting: median, 95th and 99th per cent; beyond start: what all tasks waited longer than the {} s that an instance takes",
        args.boot
    ));
    if let Some(directory) = &args.write {
        printer.note(format_args!("workloads and plots are in {}", directory.display()));
    }
    Ok(ExitCode::Ok)
}

fn traces(args: &SimulateArgs) -> CliResult<Vec<Trace>> {
    let Some(path) = &args.trace else {
        let given = args.generate.iter().map(|workload| match workload {
            Workload::Diurnal => Generator::Diurnal,
            Workload::Batch => Generator::Batch,
            Workload::Deploys => Generator::Deploys,
            Workload::Storm => Generator::Storm,
        });
        let given: Vec<Generator> = if args.generate.is_empty() { Generator::ALL.to_vec() } else { given.collect() };
        return Ok(given.into_iter().map(|generator| generator.trace(args.seed)).collect());
    };
    let text = std::fs::read_to_string(path)
        .map_err(|error| CliError::io(format!("cannot read {}", path.display()), &error))?;
    let name = path.file_stem().map_or_else(|| "trace".into(), |stem| stem.to_string_lossy());
    let trace = Trace::parse(&name, &text).map_err(|error| {
        CliError::new(ExitCode::Usage, format!("{}: {error}", path.display())).hint(
            "docs/clusters.md tells the form; `landfall cluster simulate --generate batch --write DIR` writes one",
        )
    })?;
    Ok(vec![trace])
}

fn write(directory: &Path, trace: &Trace, outcomes: &[Outcome], options: &Options) -> CliResult<()> {
    let file = |extension: &str, text: String| {
        let path = directory.join(format!("{}.{extension}", trace.name));
        std::fs::write(&path, text).map_err(|error| CliError::io(format!("cannot write {}", path.display()), &error))
    };
    std::fs::create_dir_all(directory)
        .map_err(|error| CliError::io(format!("cannot make {}", directory.display()), &error))?;
    file("csv", trace.csv())?;
    let title = format!("{}, on {}", trace.name, options.instance_type.name);
    file("svg", svg(&title, outcomes))
}

fn text(outcomes: &[Outcome]) -> String {
    let mut rows = table(&[
        "workload",
        "scaler",
        "waiting s",
        "beyond start s",
        "instance-hours",
        "at least",
        "cost",
        "used",
        "interrupted",
        "killed",
        "cut short",
        "never run",
    ]);
    for outcome in outcomes {
        rows.add_row([
            Cell::new(if outcome.who == Who::Landfall { outcome.trace.as_str() } else { "" }),
            Cell::new(outcome.who.name()),
            Cell::new(format!("{} {} {}", outcome.pending_p50, outcome.pending_p95, outcome.pending_p99)),
            Cell::new(outcome.beyond_boot),
            Cell::new(format!("{:.1}", outcome.instance_hours)),
            Cell::new(format!("{:.1}", outcome.least_hours)),
            Cell::new(dollars(outcome.cost)),
            Cell::new(format!("{:.0} %", outcome.utilisation * 100.0)),
            Cell::new(outcome.interruptions),
            Cell::new(outcome.killed_undrained),
            Cell::new(outcome.cut_short),
            Cell::new(outcome.never_placed),
        ]);
    }
    trimmed(&rows)
}
