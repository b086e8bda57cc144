//! `secrets set`: one value from a person, standard input, a file or a variable; or many from an env file.

use landfall_manifest::env_file;
use landfall_model::task::SecretRef;
use landfall_ports::secrets::{SecretValue, Written};
use serde::Serialize;

use super::{Scene, input, wanted};
use crate::cli::Global;
use crate::cli::secrets::SetArgs;
use crate::commands::manifest;
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::printer::Printer;
use crate::render;

#[derive(Serialize)]
struct Set {
    name: String,
    kind: &'static str,
    reference: String,
    /// `created` or `changed`
    result: &'static str,
    #[serde(skip)]
    line: String,
}

#[derive(Serialize)]
struct Report {
    environment: String,
    place: String,
    secrets: Vec<Set>,
}

pub(super) async fn set(args: &SetArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    no_values(args)?;
    let app = manifest::load(&global.config, printer)?;
    let scene = Scene::open(&args.environment, &app, global).await?;
    let values = match &args.env_file {
        Some(path) => of_env_file(&scene, path, &args.names)?,
        None => {
            // Found before a person types, or whoever writes to standard input has finished.
            let found: Vec<_> = args.names.iter().map(|name| settable(&scene, name)).collect::<CliResult<_>>()?;
            let with_value = |(name, reference): (&String, SecretRef)| {
                let value = input::value(name, args)?;
                Ok((name.clone(), reference, value))
            };
            args.names.iter().zip(found).map(with_value).collect::<CliResult<Vec<_>>>()?
        }
    };
    let mut report = Report { environment: scene.name.clone(), place: scene.whereabouts(), secrets: Vec::new() };
    for (name, reference, value) in values {
        let written = match scene.store.write(&reference, &value).await {
            Ok(written) => written,
            Err(error) => {
                let error = scene.refused(error);
                printer.emit(&report, text)?;
                return Err(match report.secrets.as_slice() {
                    [] => error,
                    done => error.hint(format!("{} before it: written", manifest::plural(done.len(), "secret"))),
                });
            }
        };
        let (kind, shown) = wanted::shown(&reference);
        let result = match written {
            Written::Created => "created",
            Written::Changed => "changed",
        };
        report.secrets.push(Set { name, kind, reference: shown, result, line: wanted::line(&reference) });
    }
    printer.emit(&report, text)?;
    let count = manifest::plural(report.secrets.len(), "secret");
    let next = match scene.name.as_str() {
        name if app.environments.contains_key(name) => format!("`landfall deploy {name} --force` starts tasks with it"),
        _ => "tasks that start from now on have it".to_owned(),
    };
    printer.note(format_args!("{count} of {} set, on {}; {next}", scene.name, report.place));
    Ok(ExitCode::Ok)
}

/// What looks like a value among the arguments is never repeated.
fn no_values(args: &SetArgs) -> CliResult<()> {
    let refused = |message: &str| {
        Err(CliError::new(ExitCode::Usage, message)
            .hint("a value is never an argument: those are in the shell's history and in the list of processes")
            .hint(format!(
                "leave it out and be asked, or `… | landfall secrets set {} NAME`, or --file FILE; then change what was shown",
                args.environment
            )))
    };
    let name = |name: &String| {
        let name = name.rsplit(':').next().unwrap_or(name);
        let legal = !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit());
        legal && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
    };
    if args.names.iter().any(|one| one.contains('=')) {
        return refused("NAME=VALUE is not taken");
    }
    if !args.names.iter().all(name) {
        return refused("an argument is no name of an environment variable");
    }
    match (args.names.len(), args.env_file.is_some() || args.from_env) {
        (0, _) if args.env_file.is_none() => Err(CliError::new(ExitCode::Usage, "which secret?")
            .hint(format!("landfall secrets set {} NAME", args.environment))),
        (0 | 1, _) | (_, true) => Ok(()),
        _ => refused("one name at a time, and nothing after it"),
    }
}

fn settable(scene: &Scene, name: &str) -> CliResult<SecretRef> {
    let reference = scene.find(name)?;
    match &reference {
        SecretRef::Env(variable) => Err(CliError::new(
            ExitCode::Usage,
            format!("{name} of {} is the variable {variable} of Landfall's own process", scene.name),
        )
        .hint("set it where Landfall is started, or refer to `{ssm: …}`, which this machine keeps too")),
        SecretRef::File(path) => {
            Err(CliError::new(ExitCode::Usage, format!("{name} of {} is the file {path}", scene.name))
                .hint("write the file, or refer to `{ssm: …}`, which this machine keeps too"))
        }
        SecretRef::Ssm(_) | SecretRef::SecretsManager(_) => Ok(reference),
    }
}

fn of_env_file(
    scene: &Scene,
    path: &std::path::Path,
    names: &[String],
) -> CliResult<Vec<(String, SecretRef, SecretValue)>> {
    let shown = path.display();
    let text = String::from_utf8(input::of_file(path)?)
        .map_err(|_| CliError::new(ExitCode::Usage, format!("{shown} is not text (UTF-8)")))?;
    let pairs = env_file::parse(&text).map_err(|bad| {
        CliError::new(ExitCode::Usage, format!("line {} of {shown}: {}", bad.line, bad.why))
            .hint("each line is NAME=VALUE, a comment or blank; quotes may hold several lines")
    })?;
    let missing: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| pairs.iter().all(|pair| pair.name != *name)).collect();
    if !missing.is_empty() {
        return Err(CliError::new(ExitCode::NotFound, format!("{shown} has no {}", missing.join(", "))));
    }
    let chosen: Vec<_> = pairs.iter().filter(|pair| names.is_empty() || names.contains(&pair.name)).collect();
    let (known, unknown): (Vec<_>, Vec<_>) =
        chosen.into_iter().partition(|pair| names.contains(&pair.name) || scene.find(&pair.name).is_ok());
    if !unknown.is_empty() {
        let unknown: Vec<&str> = unknown.iter().map(|pair| pair.name.as_str()).collect();
        let named: Vec<&str> = known.iter().map(|pair| pair.name.as_str()).collect();
        let message = format!("no container of {} takes these secrets of {shown}: {}", scene.name, unknown.join(", "));
        let error = CliError::new(ExitCode::NotFound, message);
        return Err(match named.is_empty() {
            true => error.hint("name them under a container's `secrets` first: docs/secrets.md"),
            false => error.hint(format!(
                "the others alone: landfall secrets set {} {} --env-file {shown}",
                scene.name,
                named.join(" ")
            )),
        });
    }
    if known.is_empty() {
        return Err(CliError::new(ExitCode::Usage, format!("{shown} sets nothing")));
    }
    let of = |pair: &env_file::Pair| {
        let whence = format!("{} (line {} of {shown})", pair.name, pair.line);
        Ok((pair.name.clone(), settable(scene, &pair.name)?, input::checked(&pair.value, &whence)?))
    };
    known.into_iter().map(of).collect()
}

fn text(report: &Report) -> String {
    if report.secrets.is_empty() {
        return String::new();
    }
    let mut table = render::table(&["name", "kept as", "result"]);
    for one in &report.secrets {
        table.add_row([one.name.as_str(), one.line.as_str(), one.result]);
    }
    render::trimmed(&table)
}
