//! `cluster init`: a first `infra.yml`, for the default VPC of the account. AWS is only read.

use std::path::Path;

use landfall_cluster::{Found, LONGEST_NAME, first, is_name};
use landfall_manifest::legal_name;
use landfall_scaler::price::Prices;

use super::reach::Reach;
use super::{price_error, prices};
use crate::cli::cluster::{ClusterInitArgs, PricesArgs};
use crate::commands::write_file;
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::printer::Printer;

/// Small, of one size, and almost everywhere.
const TYPES: [&str; 2] = ["t3.medium", "t3a.medium"];

pub(super) async fn run(args: &ClusterInitArgs, printer: &Printer) -> CliResult<ExitCode> {
    let path = &args.values.values;
    let name = args.name.clone().unwrap_or_else(|| directory(path));
    if !is_name(&name) {
        let rule = format!("a letter, then letters, digits and hyphens, {LONGEST_NAME} at most: --name");
        return Err(CliError::new(ExitCode::Usage, format!("no cluster can be called `{name}`")).hint(rule));
    }
    let (region, vpc, subnets) = Reach::named(&name, printer).await?.default_network().await?;
    let table = prices(&PricesArgs { prices: None })?;
    let price = |kind: &&str| Ok(((*kind).to_owned(), table.get(kind)?.on_demand));
    let bids: Result<Vec<(String, f64)>, _> = TYPES.iter().map(price).collect();
    let bids = bids.map_err(|error| price_error(&error, &table))?;
    let Prices { region: of, on_demand, .. } = &table;
    let prices = format!("what its type costs on demand in {of}, as of {}", on_demand.date);
    let text =
        first(&Found { name: &name, region: &region, vpc: &vpc, subnets: &subnets, bids: &bids, prices: &prices });
    if args.stdout {
        printer.raw(&text)?;
        return Ok(ExitCode::Ok);
    }
    write_file(path, &text, args.force, "`--stdout` prints a first one beside it, `--force` overwrites it")?;
    printer.note(format_args!("wrote {}: cluster {name} in {vpc}, the default VPC of {region}", path.display()));
    printer.hint("look it over, then `landfall cluster check`, `landfall cluster cost` and `landfall cluster deploy`");
    if printer.json() {
        let ids: Vec<&String> = subnets.iter().map(|(id, _)| id).collect();
        printer.json_data(&serde_json::json!({
            "file": path, "cluster": name, "region": region, "vpc": vpc, "subnets": ids,
        }))?;
    }
    Ok(ExitCode::Ok)
}

/// The name of the directory that the file is in.
fn directory(path: &Path) -> String {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = parent.canonicalize().ok().and_then(|parent| Some(parent.file_name()?.to_string_lossy().into_owned()));
    name.and_then(|name| legal_name(&name, LONGEST_NAME)).unwrap_or_else(|| "main".to_owned())
}
