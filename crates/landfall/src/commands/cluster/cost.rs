//! `cluster cost`: what instances cost, beside the same on Fargate. AWS is not asked.

use comfy_table::Cell;
use landfall_scaler::cost::{Beside, Cost, Part, cost};
use landfall_scaler::price::{Prices, Purchase};

use super::{dollars, price_error, prices};
use crate::cli::cluster::CostArgs;
use crate::error::CliResult;
use crate::exit::ExitCode;
use crate::printer::Printer;
use crate::render::{table, trimmed};

pub(super) fn run(args: &CostArgs, printer: &Printer) -> CliResult<ExitCode> {
    let prices = prices(&args.prices)?;
    let purchase = if args.spot { Purchase::Spot } else { Purchase::OnDemand };
    let parts = [Part { instance_type: args.instance_type.clone(), count: args.count, purchase }];
    let cost = cost(&parts, &prices).map_err(|error| price_error(&error, &prices))?;
    printer.emit(&cost, text)?;
    printer.note(dates(&prices));
    Ok(ExitCode::Ok)
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
