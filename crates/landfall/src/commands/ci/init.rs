//! `landfall ci init`: the host's file, and beside it the least policies of what the manifest's rules deploy.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use landfall_ci::files::{Binary, For, Needs, Settings, render};
use landfall_iam::{Ask, Policy, StateBucket, Unfit, least, probes, push, records, releases};
use landfall_model::app::{App, ImageSource};
use landfall_model::ci::{Ci, CiAction, CiStep};

use crate::cli::Global;
use crate::cli::ci::{BinaryFrom, CiInit, HostName};
use crate::commands::iam::refused;
use crate::commands::{manifest, release_url, write_file};
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::paths;
use crate::printer::Printer;

pub(super) fn run(args: &CiInit, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    let app = manifest::load(&global.config, printer)?;
    let ci = app.ci.as_ref().ok_or_else(|| super::without_rules(&global.config))?;
    let host = match args.host {
        HostName::Github => For::GitHub,
        HostName::Gitlab => For::GitLab,
        HostName::Circleci => For::CircleCi,
        HostName::Travis => For::Travis,
        HostName::Codebuild => For::CodeBuild,
    };
    let settings = settings(args, host, ci, &app, global)?;
    let text = render(host, &settings);
    if args.stdout {
        printer.raw(&text)?;
        return Ok(ExitCode::Ok);
    }
    let root = paths::root(&global.config)?;
    let mut written = vec![(root.join(host.path()), text)];
    written.extend(policies(&app, ci, global, settings.region.as_deref(), &root, printer)?);
    for (path, text) in &written {
        if let Some(directory) = path.parent() {
            let failed = |error| CliError::io(format!("cannot make {}", directory.display()), &error);
            std::fs::create_dir_all(directory).map_err(failed)?;
        }
        write_file(path, text, args.force, "`--stdout` prints it, `--force` overwrites it")?;
        printer.note(format_args!("wrote {}", path.strip_prefix(&root).unwrap_or(path).display()));
    }
    if settings.needs.aws && host.has_oidc() {
        printer.hint(format_args!("`landfall iam ENV --trust {}` prints who may take the role", host.word()));
    }
    printer.hint("look it over; `landfall ci plan --branch BRANCH` says what would run");
    if printer.json() {
        let paths: Vec<&PathBuf> = written.iter().map(|(path, _)| path).collect();
        printer.json_data(&serde_json::json!({ "files": paths }))?;
    }
    Ok(ExitCode::Ok)
}

fn settings(args: &CiInit, host: For, ci: &Ci, app: &App, global: &Global) -> CliResult<Settings> {
    let clusters =
        ci.rules.iter().flat_map(|rule| &rule.steps).any(|step| matches!(step.run, CiAction::Cluster { .. }));
    let state = global.state.as_ref().and_then(|state| state.to_str()).filter(|state| state.starts_with("s3://"));
    let pushed = pushes(ci) && !landfall_iam::pushed(app).is_empty();
    let mut needs = Needs::of(ci, !app.aws.is_empty() || clusters || pushed);
    // The record of every job is there.
    needs.aws |= state.is_some();
    let usage = |text: &str, hint: &str| CliError::new(ExitCode::Usage, text).hint(hint);
    if needs.aws && host.has_oidc() && args.role.is_none() {
        let hint = "--role ARN; `landfall iam ENV` prints its policy, `landfall iam ENV --trust` who may take it";
        return Err(usage("which role do jobs take on AWS? Keys that last are not written", hint));
    }
    let version = env!("CARGO_PKG_VERSION");
    let binary = match (args.binary, &args.sha256, &args.image) {
        (BinaryFrom::Release, Some(sha256), _) => {
            Binary::Release { url: args.url.clone().unwrap_or_else(release_url), sha256: sha256.clone() }
        }
        (BinaryFrom::Release, None, _) => {
            let hint = "--sha256 HEX, as the release's .sha256 file has it; or --binary image, or --binary cargo";
            return Err(usage("which checksum has the release? None that is not checked is run", hint));
        }
        (BinaryFrom::Image, _, Some(reference)) => Binary::Image { reference: reference.clone() },
        (BinaryFrom::Image, ..) => {
            return Err(usage("which image has the binary?", "--image REFERENCE, best by its digest"));
        }
        (BinaryFrom::Cargo, ..) => Binary::Cargo {
            source: args.url.clone().unwrap_or_else(|| env!("CARGO_PKG_REPOSITORY").to_owned()),
            rev: args.rev.clone().unwrap_or_else(|| format!("v{version}")),
        },
    };
    let regions: BTreeSet<&String> = app.aws.values().filter_map(|target| target.region.as_ref()).collect();
    let only = regions.first().filter(|_| regions.len() == 1).map(|region| (*region).clone());
    Ok(Settings {
        binary,
        role: args.role.clone(),
        region: args.region.clone().or(only),
        state: state.map(str::to_owned),
        needs,
        beside: host
            .registry()
            .is_some_and(|registry| awaited(app).any(|image| image.starts_with(&format!("{registry}/")))),
    })
}

/// Of the repositories that a rule pushes to, of each environment on AWS that one deploys to, of previews, of the releases that are
/// promoted, and of what probes look for.
fn policies(
    app: &App,
    ci: &Ci,
    global: &Global,
    region: Option<&str>,
    root: &Path,
    printer: &Printer,
) -> CliResult<Vec<(PathBuf, String)>> {
    let mut out = Vec::new();
    let mut add = |name: &str, policy: &Policy| {
        let text = serde_json::to_string_pretty(policy).map_err(|_| CliError::internal("a policy that is no JSON"))?;
        out.push((root.join("iam").join(format!("landfall-{name}.json")), text + "\n"));
        CliResult::Ok(())
    };
    let steps = || ci.rules.iter().flat_map(|rule| &rule.steps);
    if pushes(ci) && !landfall_iam::pushed(app).is_empty() {
        let creates =
            |step: &CiStep| step.run == CiAction::Push && step.args.iter().any(|word| word == "--create-repository");
        let creates = steps().any(creates);
        add("push", &push(app, creates).map_err(|unfit| refused(&unfit, app))?.policy)?;
    }
    let files: BTreeSet<&String> = steps()
        .filter_map(|step| match &step.run {
            CiAction::Cluster { values } => Some(values),
            _ => None,
        })
        .collect();
    for values in files {
        let (cluster, policy) = crate::commands::cluster::deploying(&root.join(values), region, printer)?;
        add(&format!("cluster-{cluster}"), &policy)?;
    }
    let ask = Ask {
        app,
        environment: None,
        account: None,
        region,
        pass_roles: &[],
        checks: false,
        secrets: false,
        state: global.state.as_deref().and_then(|state| StateBucket::parse(state.to_str()?)),
    };
    let probed = |name: &str| {
        let verifies = |action: &CiAction| matches!(action, CiAction::Verify { environment } if environment == name);
        steps().any(|step| verifies(&step.run))
    };
    let promotes = steps().any(|step| matches!(step.run, CiAction::Promote { .. }));
    for (name, found) in [("releases", promotes.then(|| releases(&ask))), ("verify", Some(probes(&ask, probed)))] {
        match found {
            Some(Ok(found)) => add(name, &found.policy)?,
            None | Some(Err(Unfit::NothingAwaited | Unfit::NothingSought)) => {}
            Some(Err(unfit)) => return Err(refused(&unfit, app)),
        }
    }
    let of = |action: &CiAction| match action {
        CiAction::Deploy { environment } | CiAction::Promote { environment } => Some(Some(environment.clone())),
        CiAction::Preview => Some(None),
        _ => None,
    };
    let wanted: BTreeSet<Option<String>> = steps().filter_map(|step| of(&step.run)).collect();
    let mut of_state = ask.state.as_ref();
    for environment in wanted {
        let on = match &environment {
            Some(name) => app.environments.get(name).and_then(|one| one.on.as_ref()),
            None => app.previews.as_ref().and_then(|previews| previews.on.as_ref()),
        };
        if on.is_none() {
            continue;
        }
        let policy = least(&Ask { environment: environment.as_deref(), ..ask.clone() })
            .map_err(|unfit| refused(&unfit, app))?
            .policy;
        add(environment.as_deref().unwrap_or("previews"), &policy)?;
        of_state = None;
    }
    if let Some(state) = of_state {
        add("state", &records(state, &ask))?;
    }
    Ok(out)
}

fn awaited(app: &App) -> impl Iterator<Item = &String> {
    let containers = app.services.values().flat_map(|service| &service.containers);
    containers.filter_map(|container| match &container.image {
        ImageSource::Await(awaited) => Some(&awaited.image),
        _ => None,
    })
}

fn pushes(ci: &Ci) -> bool {
    ci.rules.iter().flat_map(|rule| &rule.steps).any(|step| step.run == CiAction::Push)
}
