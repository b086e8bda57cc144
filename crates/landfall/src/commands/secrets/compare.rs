//! `secrets diff` and `secrets copy`: values are compared in memory, and what is told of them is that they are the same or not.

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use landfall_model::task::SecretRef;
use landfall_ports::secrets::SecretValue;
use serde::Serialize;

use super::{AT_ONCE, Scene, wanted};
use crate::cli::Global;
use crate::cli::secrets::{CopyArgs, DiffArgs};
use crate::commands::manifest;
use crate::error::{CliError, CliResult, not_found};
use crate::exit::ExitCode;
use crate::printer::Printer;
use crate::render;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// One reference: there is only one value.
    Shared,
    Same,
    Different,
    /// There in the first one alone.
    OnlyFrom,
    OnlyTo,
    /// In neither.
    Missing,
    /// The second one's containers take no such secret.
    NotTaken,
}

impl State {
    fn words(self, from: &str, to: &str) -> String {
        match self {
            Self::Shared => "the same reference".to_owned(),
            Self::Same => "same".to_owned(),
            Self::Different => "different".to_owned(),
            Self::OnlyFrom => format!("missing in {to}"),
            Self::OnlyTo => format!("missing in {from}"),
            Self::Missing => "missing in both".to_owned(),
            Self::NotTaken => format!("no container of {to} takes it"),
        }
    }
}

#[derive(Serialize)]
struct Row {
    name: String,
    state: State,
    /// Of a copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<Action>,
    #[serde(skip)]
    value: Option<SecretValue>,
    #[serde(skip)]
    to: Option<SecretRef>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    Create,
    Overwrite,
    None,
}

#[derive(Serialize)]
struct Report {
    from: String,
    to: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    written: Option<bool>,
    secrets: Vec<Row>,
    exit_code: u8,
}

async fn read(scene: &Scene, reference: Option<&SecretRef>) -> CliResult<Option<SecretValue>> {
    match reference {
        // Of this machine: the same for all, and never copied.
        None | Some(SecretRef::Env(_) | SecretRef::File(_)) => Ok(None),
        Some(reference) => scene.store.read(reference).await.map_err(|error| scene.refused(error)),
    }
}

async fn row(name: String, from: (&Scene, Option<&SecretRef>), to: (&Scene, Option<&SecretRef>)) -> CliResult<Row> {
    let same_place = from.0.place == to.0.place;
    let machine = |reference: Option<&SecretRef>| matches!(reference, Some(SecretRef::Env(_) | SecretRef::File(_)));
    let shared = from.1 == to.1 && (same_place || machine(from.1));
    let (value, there) = match shared {
        true => (None, None),
        false => (read(from.0, from.1).await?, read(to.0, to.1).await?),
    };
    let state = match (shared, to.1, &value, &there) {
        (true, ..) => State::Shared,
        (_, None, ..) => State::NotTaken,
        (_, _, Some(one), Some(other)) if one == other => State::Same,
        (_, _, Some(_), Some(_)) => State::Different,
        (_, _, Some(_), None) => State::OnlyFrom,
        (_, _, None, Some(_)) => State::OnlyTo,
        (_, _, None, None) => State::Missing,
    };
    Ok(Row { name, state, action: None, value, to: to.1.cloned() })
}

async fn rows(
    from: (&Scene, BTreeMap<String, SecretRef>),
    to: (&Scene, BTreeMap<String, SecretRef>),
    names: Vec<String>,
) -> CliResult<Vec<Row>> {
    let one = |name: String| {
        let (a, b) = (from.1.get(&name), to.1.get(&name));
        row(name, (from.0, a), (to.0, b))
    };
    let all: Vec<CliResult<Row>> =
        futures_util::stream::iter(names.into_iter().map(one)).buffered(AT_ONCE).collect().await;
    all.into_iter().collect()
}

async fn both(from: &str, to: &str, global: &Global, printer: &Printer) -> CliResult<(Scene, Scene)> {
    if from == to {
        return Err(CliError::new(ExitCode::Usage, "two environments are compared, and these are one"));
    }
    let app = manifest::load(&global.config, printer)?;
    let from = Scene::open(from, &app, global).await?;
    Ok((from, Scene::open(to, &app, global).await?))
}

pub(super) async fn diff(args: &DiffArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    let (from, to) = both(&args.from, &args.to, global, printer).await?;
    let [one, other] = wanted::keys(&from.all, &to.all);
    let mut names: Vec<String> = one.keys().chain(other.keys()).cloned().collect();
    names.sort();
    names.dedup();
    let secrets = rows((&from, one), (&to, other), names).await?;
    let count = |states: &[State]| secrets.iter().filter(|row| states.contains(&row.state)).count();
    let missing = count(&[State::Missing]);
    let differ = secrets.len() - missing - count(&[State::Shared, State::Same]);
    let code = if differ == 0 { ExitCode::Ok } else { ExitCode::Different };
    let report = Report { from: from.name, to: to.name, written: None, secrets, exit_code: code as u8 };
    printer.emit(&report, text)?;
    let all = manifest::plural(report.secrets.len(), "secret");
    printer.note(match (differ, missing) {
        (0, 0) => format!("{} and {} have the same {all}", report.from, report.to),
        (0, _) => format!("{} and {} do not differ: of {all} both lack {missing}", report.from, report.to),
        _ => format!("{differ} of {all} differ between {} and {}", report.from, report.to),
    });
    Ok(code)
}

/// What `from` has under a path gets a place under the first path of `to`, by the same name.
fn under(to: &Scene, from: &SecretRef) -> Option<SecretRef> {
    let SecretRef::Ssm(parameter) = from else { return None };
    let path = to.needs.under.iter().find_map(|under| under.paths.first())?;
    let leaf = parameter.rsplit('/').next()?;
    Some(SecretRef::Ssm(format!("{}/{leaf}", path.trim_end_matches('/'))))
}

fn of_path(from: &Scene, reference: &SecretRef) -> bool {
    !from.needs.named.iter().any(|one| one.reference == *reference)
}

pub(super) async fn copy(args: &CopyArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    let (from, to) = both(&args.from, &args.to, global, printer).await?;
    let [one, mut other] = wanted::keys(&from.all, &to.all);
    if let Some(unknown) = args.names.iter().find(|name| !one.contains_key(*name)) {
        return Err(not_found(&format!("secret of {}", from.name), unknown, one.keys().map(String::as_str)));
    }
    for (name, reference) in &one {
        if !other.contains_key(name)
            && of_path(&from, reference)
            && let Some(place) = under(&to, reference)
        {
            other.insert(name.clone(), place);
        }
    }
    let names = one.keys().filter(|name| args.names.is_empty() || args.names.contains(name)).cloned().collect();
    let mut secrets = rows((&from, one), (&to, other), names).await?;
    for row in &mut secrets {
        row.action = Some(match row.state {
            State::OnlyFrom => Action::Create,
            State::Different => Action::Overwrite,
            _ => Action::None,
        });
    }
    let absent: Vec<&str> = secrets
        .iter()
        .filter(|row| {
            args.names.contains(&row.name) && matches!(row.state, State::OnlyTo | State::Missing | State::NotTaken)
        })
        .map(|row| row.name.as_str())
        .collect();
    if !absent.is_empty() {
        let message = format!("{} cannot be copied from {} to {}", absent.join(", "), from.name, to.name);
        return Err(CliError::new(ExitCode::NotFound, message)
            .hint(format!("`landfall secrets diff {} {}` says what is missing", from.name, to.name)));
    }
    let overwritten: Vec<&str> =
        secrets.iter().filter(|row| row.action == Some(Action::Overwrite)).map(|row| row.name.as_str()).collect();
    if args.yes && !args.overwrite && !overwritten.is_empty() {
        let message = format!("{} has another value for {}; nothing is copied", to.name, overwritten.join(", "));
        return Err(CliError::new(ExitCode::Conflict, message)
            .hint("--overwrite replaces what is there; or name those that are meant"));
    }
    let mut written = 0;
    if args.yes {
        for row in secrets.iter().filter(|row| matches!(row.action, Some(Action::Create | Action::Overwrite))) {
            let (Some(value), Some(place)) = (&row.value, &row.to) else { continue };
            to.store.write(place, value).await.map_err(|error| {
                let error = to.refused(error);
                error.hint(format!("{} before it: copied", manifest::plural(written, "secret")))
            })?;
            written += 1;
        }
    }
    let overwrite = overwritten.len();
    let would = secrets.iter().filter(|row| row.action != Some(Action::None)).count();
    let report = Report { from: from.name, to: to.name, written: Some(args.yes), secrets, exit_code: 0 };
    printer.emit(&report, text)?;
    printer.note(match (args.yes, would) {
        (_, 0) => format!("nothing to copy: {} has what {} has", report.to, report.from),
        (true, _) => format!("{} copied to {}", manifest::plural(written, "secret"), report.to),
        (false, _) if overwrite > 0 => format!(
            "nothing is copied yet: --yes --overwrite copies {}, {overwrite} of them over another value",
            manifest::plural(would, "secret")
        ),
        (false, _) => format!("nothing is copied yet: --yes copies {}", manifest::plural(would, "secret")),
    });
    Ok(ExitCode::Ok)
}

fn text(report: &Report) -> String {
    if report.secrets.is_empty() {
        return String::new();
    }
    let copies = report.written.is_some();
    let mut table = render::table(if copies { &["name", "state", "copy"] } else { &["name", "state"] });
    for row in &report.secrets {
        let mut cells = vec![row.name.clone(), row.state.words(&report.from, &report.to)];
        if copies {
            cells.push(match (row.action, report.written) {
                (Some(Action::Create), Some(true)) => "created".to_owned(),
                (Some(Action::Overwrite), Some(true)) => "overwritten".to_owned(),
                (Some(Action::Create), _) => "would be created".to_owned(),
                (Some(Action::Overwrite), _) => "would be overwritten".to_owned(),
                _ => "-".to_owned(),
            });
        }
        table.add_row(cells);
    }
    render::trimmed(&table)
}
