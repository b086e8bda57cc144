//! `cluster cost`: what instances cost, beside the same on Fargate. AWS is not asked.

use comfy_table::Cell;
use landfall_cluster::{Fleet, Group, Infra};
use landfall_scaler::cost::{Beside, Cost, Mixed, Part, cost};
use landfall_scaler::price::{PriceError, Prices, Purchase};
use serde::Serialize;

use super::infra::Open;
use super::{dollars, price_error, prices};
use crate::cli::cluster::CostArgs;
use crate::error::CliResult;
use crate::exit::ExitCode;
use crate::printer::Printer;
use crate::render::{table, trimmed};

pub(super) fn run(args: &CostArgs, printer: &Printer) -> CliResult<ExitCode> {
    let prices = prices(&args.prices)?;
    let Some(instance_type) = &args.instance_type else { return of_file(args, &prices, printer) };
    let purchase = if args.spot { Purchase::Spot } else { Purchase::OnDemand };
    let parts = [Part { instance_type: instance_type.clone(), count: args.count, purchase }];
    let cost = cost(&parts, &prices).map_err(|error| price_error(&error, &prices))?;
    printer.emit(&cost, text)?;
    printer.note(dates(&prices));
    Ok(ExitCode::Ok)
}

/// What infra.yml describes: at its fleets' desired weights, and between their bounds.
#[derive(Serialize)]
struct Described {
    cluster: String,
    desired: Cost,
    minimum: Cost,
    maximum: Cost,
}

fn of_file(args: &CostArgs, prices: &Prices, printer: &Printer) -> CliResult<ExitCode> {
    let infra = Open::of(&args.values, printer)?.infra;
    let at = |weight: fn(&Fleet) -> u32, size: fn(&Group) -> u32, dearest: bool| {
        let of = |fleet: &'_ Fleet| {
            let own = mixed(fleet, weight(fleet));
            // At worst no Spot is to be had.
            let percent = if dearest && fleet.on_demand_fallback { 100 } else { own.percent };
            Mixed { percent, ..own }.parts(prices)
        };
        let fleets = infra.fleets.iter().map(of);
        let fleets: Result<Vec<Vec<Part>>, PriceError> = fleets.collect();
        let groups = infra.groups.iter().map(|group| Part {
            instance_type: group.instance_type.clone(),
            count: size(group),
            purchase: Purchase::OnDemand,
        });
        let cost =
            fleets.and_then(|fleets| cost(&fleets.into_iter().flatten().chain(groups).collect::<Vec<_>>(), prices));
        cost.map_err(|error| price_error(&error, prices))
    };
    let described = Described {
        desired: at(|fleet| fleet.desired, |group| group.desired, false)?,
        minimum: at(|fleet| fleet.min, |group| group.min, false)?,
        maximum: at(|fleet| fleet.max, |group| group.max, true)?,
        cluster: infra.name.clone(),
    };
    printer.emit(&described, |described| {
        let Described { minimum, maximum, desired, .. } = described;
        let (least, most) = (dollars(minimum.month), dollars(maximum.month));
        format!("{}\nBetween the bounds of its fleets: {least} to {most} a month.", text(desired).trim_end())
    })?;
    warn(&infra, prices, printer);
    printer.note(dates(prices));
    Ok(ExitCode::Ok)
}

/// A fleet at a weight, as its bids have it.
fn mixed(fleet: &Fleet, weight: u32) -> Mixed<'_> {
    let types = fleet.bids.iter().map(|bid| (bid.instance_type.as_str(), bid.weight)).collect();
    Mixed { weight, on_demand: fleet.on_demand.base, percent: fleet.on_demand.percent, types }
}

/// Where less is paid than Spot costs.
fn warn(infra: &Infra, prices: &Prices, printer: &Printer) {
    for fleet in infra.fleets.iter().filter(|fleet| fleet.on_demand.percent < 100) {
        for bid in &fleet.bids {
            let limit = infra.spot_limit(fleet, bid);
            let paid = (limit.micros() * u64::from(bid.weight)) as f64 / 1e6;
            let Ok(kind) = prices.get(&bid.instance_type) else { continue };
            if paid < kind.spot {
                printer.warn(format_args!(
                    "{}: {} at weight {} is bought on Spot up to {paid} dollars an hour, and costs {}: it may get none",
                    fleet.name, kind.name, bid.weight, kind.spot
                ));
            }
        }
    }
}

fn text(cost: &Cost) -> String {
    let mut parts = table(&["instances", "", "bought", "each an hour", "hour", "month"]);
    for part in &cost.parts {
        parts.add_row([
            Cell::new(part.count),
            Cell::new(&part.instance_type),
            Cell::new(match part.purchase {
                Purchase::Spot => "Spot",
                Purchase::OnDemand => "on demand",
            }),
            Cell::new(dollars(part.price)),
            Cell::new(dollars(part.hour)),
            Cell::new(dollars(part.month)),
        ]);
    }
    let size = format!("{} vCPU, {} GB", cost.vcpu, cost.memory_gb);
    let mut beside = table(&[&size, "hour", "month", "cheaper where tasks take less than"]);
    beside.add_row([Cell::new("these instances"), Cell::new(dollars(cost.hour)), Cell::new(dollars(cost.month))]);
    for (name, other) in [("Fargate", &cost.fargate), ("Fargate Spot", &cost.fargate_spot)] {
        let Beside { hour, month, cheaper_below } = other;
        let below = match cheaper_below {
            None => "-".to_owned(),
            Some(all) if *all >= 1.0 => "always".to_owned(),
            Some(part) => format!("{:.0} % of them", part * 100.0),
        };
        beside.add_row([Cell::new(name), Cell::new(dollars(*hour)), Cell::new(dollars(*month)), Cell::new(below)]);
    }
    format!("{}\n{}", trimmed(&parts), trimmed(&beside))
}

fn dates(prices: &Prices) -> String {
    format!(
        "list prices of {}: on demand {}, Spot as seen {}, Fargate {}; without disks, addresses and traffic",
        prices.region, prices.on_demand.date, prices.spot.date, prices.fargate.date
    )
}
