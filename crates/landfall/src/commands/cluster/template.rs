//! `cluster template`: the cluster's stacks as templates. Nothing is asked of AWS.

use landfall_cluster::{Around, Part, Unfit, Version, cluster, compute, health, providers, stack_name};
use landfall_stack::{Template, excess};
use serde_json::Value;

use super::infra::Open;
use crate::cli::cluster::{ClusterPart, ClusterTemplateArgs};
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::printer::Printer;

pub(super) fn run(args: &ClusterTemplateArgs, printer: &Printer) -> CliResult<ExitCode> {
    let open = Open::of(&args.version.values, printer)?;
    let wants = |part| args.part.is_none_or(|wanted| wanted == part);
    let version = match wants(ClusterPart::Compute) {
        true => Some(open.version(&args.version)?),
        false => None,
    };
    let mut all: Vec<(String, Template)> = Vec::new();
    let name = &open.infra.name;
    if wants(ClusterPart::Cluster) {
        let providers = version.iter().flat_map(|version| providers(&open.infra, version)).collect::<Vec<_>>();
        all.push((stack_name(name, Part::Cluster, None), cluster(&open.infra, &providers)));
    }
    if wants(ClusterPart::Health) {
        all.push((stack_name(name, Part::Health, None), health(&open.infra)));
    }
    if let Some(version) = &version {
        let around = Around { user_data: open.user_data(printer)?, ..Around::default() };
        let template = instances(&open, version, &around)?;
        all.push((stack_name(name, Part::Compute, Some(version)), template));
    }
    let mut stacks = serde_json::Map::new();
    let mut text = String::new();
    for (stack, template) in &all {
        let json = template.json();
        excess(template, &json).map_err(|excess| CliError::new(ExitCode::InvalidManifest, excess.to_string()))?;
        let yaml = template.yaml();
        text.push_str(&if args.part.is_none() { format!("--- # {stack}\n{yaml}") } else { yaml });
        let value = serde_json::from_str(&json).unwrap_or(Value::Null);
        stacks.insert(stack.clone(), value);
        printer.note(format_args!("{stack}: {} resources, {} bytes", template.resources.len(), json.len()));
    }
    match (printer.json(), all.as_slice(), args.part) {
        (true, [(_, only)], Some(_)) => printer.raw(&only.json())?,
        (true, ..) => printer.json_data(&stacks)?,
        (false, ..) => printer.raw(&text)?,
    }
    Ok(ExitCode::Ok)
}

pub(super) fn instances(open: &Open, version: &Version, around: &Around) -> CliResult<Template> {
    compute(&open.infra, version, around).map_err(unfit)
}

pub(super) fn unfit(unfit: Unfit) -> CliError {
    let error = CliError::new(ExitCode::InvalidManifest, unfit.to_string());
    match unfit {
        Unfit::Subnets(_) => {
            error.hint("name them in infra.yml: `cluster.subnets`. `landfall cluster deploy` looks them up by itself")
        }
        Unfit::UserData(_) => error.hint("put what is long into the image, or fetch it from S3 in the script"),
        Unfit::Delimiter(_) | Unfit::SameId(_) => error,
    }
}
