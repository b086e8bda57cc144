//! `cluster cost`: what instances cost, beside the same on Fargate. AWS is not asked.

use comfy_table::Cell;
use landfall_cluster::{Fleet, Group, Infra};
use landfall_scaler::cost::{Beside, Cost, Part, cost};
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
    let at = |fleet: fn(&Fleet) -> u32, group: fn(&Group) -> u32| {
        let parts = parts(&infra, prices, fleet, group).map_err(|error| price_error(&error, prices))?;
        cost(&parts, prices).map_err(|error| price_error(&error, prices))
    };
    let described = Described {
        desired: at(|fleet| fleet.desired, |group| group.desired)?,
        minimum: at(|fleet| fleet.min, |group| group.min)?,
        maximum: at(|fleet| fleet.max, |group| group.max)?,
        cluster: infra.name.clone(),
    };
    printer.emit(&described, |described| {
        let Described { minimum, maximum, desired, .. } = described;
        let (least, most) = (dollars(minimum.month), dollars(maximum.month));
        format!("{}\nBetween the bounds of its fleets: {least} to {most} a month.", text(desired).trim_end())
    })?;
    for bid in infra.fleets.iter().flat_map(|fleet| &fleet.bids) {
        let offered = bid.price.micros() as f64 / 1e6;
        let seen = prices.get(&bid.instance_type).map_or(0.0, |kind| kind.spot);
        if offered * f64::from(bid.weight) < seen {
            let (name, price) = (&bid.instance_type, &bid.price);
            printer.warn(format_args!("{name}: the bid of {price} is below the Spot price, {seen}: it may get none"));
        }
    }
    printer.note(dates(prices));
    Ok(ExitCode::Ok)
}

/// Each fleet as so many of the bid that is cheapest for its weight; what is on demand in it, and groups, by the list.
fn parts(
    infra: &Infra,
    prices: &Prices,
    fleet: fn(&Fleet) -> u32,
    group: fn(&Group) -> u32,
) -> Result<Vec<Part>, PriceError> {
    let mut parts = Vec::new();
    let mut add = |instance_type: &str, count: u32, purchase| {
        if count > 0 {
            parts.push(Part { instance_type: instance_type.to_owned(), count, purchase });
        }
    };
    for one in &infra.fleets {
        let weight = fleet(one);
        let base = one.on_demand.base.min(weight);
        let on_demand = base + (u64::from(weight - base) * u64::from(one.on_demand.percent)).div_ceil(100) as u32;
        let on_demand = on_demand.min(weight);
        for (weight, purchase) in [(on_demand, Purchase::OnDemand), (weight - on_demand, Purchase::Spot)] {
            let mut cheapest: Option<(f64, &str, u32)> = None;
            for bid in &one.bids {
                let price = prices.get(&bid.instance_type)?.price(purchase) / f64::from(bid.weight.max(1));
                if cheapest.is_none_or(|(least, ..)| price < least) {
                    cheapest = Some((price, &bid.instance_type, bid.weight.max(1)));
                }
            }
            if let Some((_, name, each)) = cheapest {
                add(name, weight.div_ceil(each), purchase);
            }
        }
    }
    for one in &infra.groups {
        prices.get(&one.instance_type)?;
        add(&one.instance_type, group(one), Purchase::OnDemand);
    }
    Ok(parts)
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
