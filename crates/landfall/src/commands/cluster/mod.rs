//! `cluster`: clusters of EC2 instances. What only computes needs no runtime and asks nobody.

mod ami;
mod cost;
mod iam;
mod infra;
mod init;
mod pauses;
mod pipeline;
mod reach;
mod roll;
pub(super) mod scale;
mod simulate;
mod status;
mod template;

use std::path::Path;

use landfall_iam::{ClusterWork, Policy, Where};
use landfall_scaler::price::{PriceError, Prices};

pub(super) use self::infra::of_manifest;

use crate::cli::cluster::{AmiCommand, ClusterCommand, ClusterOnAwsCommand, PricesArgs, ValuesArgs};
use crate::error::{CliError, CliResult, not_found};
use crate::exit::ExitCode;
use crate::printer::Printer;

pub(crate) fn run(command: &ClusterCommand, printer: &Printer) -> CliResult<ExitCode> {
    match command {
        ClusterCommand::Check(args) => infra::check(args, printer),
        ClusterCommand::Template(args) => template::run(args, printer),
        ClusterCommand::Cost(args) => cost::run(args, printer),
        ClusterCommand::Simulate(args) => simulate::run(args, printer),
        ClusterCommand::Iam(args) => iam::run(args, printer),
        ClusterCommand::OnAws(_) => Err(CliError::internal("a command that asks AWS, without a runtime")),
    }
}

pub(crate) async fn on_aws(command: &ClusterOnAwsCommand, printer: &Printer) -> CliResult<ExitCode> {
    match command {
        ClusterOnAwsCommand::Init(args) => init::run(args, printer).await,
        ClusterOnAwsCommand::Plan(args) => status::plan(args, printer).await,
        ClusterOnAwsCommand::Deploy(args) => roll::deploy(args, printer).await,
        ClusterOnAwsCommand::Scale(args) => scale::run(args, printer).await,
        ClusterOnAwsCommand::Ami(AmiCommand::Build(args)) => ami::build(args, printer).await,
        ClusterOnAwsCommand::Ami(AmiCommand::List(args)) => ami::list(args, printer).await,
        ClusterOnAwsCommand::Status(args) => status::status(args, printer).await,
        ClusterOnAwsCommand::Activate(args) => roll::activate(args, printer).await,
        ClusterOnAwsCommand::Deactivate(args) => roll::deactivate(args, printer).await,
        ClusterOnAwsCommand::PutPipeline(args) => pipeline::run(args, printer).await,
        ClusterOnAwsCommand::Destroy(args) => roll::destroy(args, printer).await,
    }
}

/// A cluster's name, and what somebody needs on AWS to deploy it.
pub(super) fn deploying(values: &Path, region: Option<&str>, printer: &Printer) -> CliResult<(String, Policy)> {
    let infra = infra::Open::of(&ValuesArgs { values: values.to_path_buf() }, printer)?.infra;
    let policy = iam::of(&infra, ClusterWork::Deploy, Where::of(region, None), false, &[])?;
    iam::told(&infra, ClusterWork::Deploy, &[], printer);
    Ok((infra.name, policy))
}

/// The table in the binary, or the file that was given instead.
fn prices(args: &PricesArgs) -> CliResult<Prices> {
    let Some(path) = &args.prices else {
        return Prices::embedded().map_err(|error| CliError::internal("the embedded table of prices").cause(&error));
    };
    let text = std::fs::read_to_string(path)
        .map_err(|error| CliError::io(format!("cannot read {}", path.display()), &error))?;
    Prices::parse(&text).map_err(|error| {
        CliError::new(ExitCode::Usage, format!("{}: {error}", path.display()))
            .hint("docs/clusters.md shows what a table of prices holds")
    })
}

fn price_error(error: &PriceError, prices: &Prices) -> CliError {
    match error {
        PriceError::NoType(name) => {
            not_found("instance type in the table of prices", name, prices.types.iter().map(|kind| kind.name.as_str()))
                .hint("--prices FILE gives another table: docs/clusters.md")
        }
        other => CliError::new(ExitCode::Usage, other.to_string()),
    }
}

fn dollars(amount: f64) -> String {
    // The sum of no prices is -0.
    match amount + 0.0 {
        amount if amount < 10.0 => format!("${amount:.4}"),
        amount => format!("${amount:.2}"),
    }
}
