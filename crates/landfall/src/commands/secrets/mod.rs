//! `landfall secrets`: values of the secrets that containers take, where the manifest's references say they are kept. What is printed
//! is names, places and dates; values go from a person, a file or a store to a store, and nowhere else.

mod compare;
pub(in crate::commands) mod input;
mod set;
mod wanted;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt as _;
use jiff::Timestamp;
use landfall_local::LocalSecrets;
use landfall_model::app::{App, Service};
use landfall_model::secret::{LOCAL, PREVIEW};
use landfall_model::task::SecretRef;
use landfall_ports::PortError;
use landfall_ports::secrets::{SecretInfo, SecretStore};
use serde::Serialize;

use self::wanted::{Needs, NotOne, Wanted};
use crate::cli::Global;
use crate::cli::secrets::{ListArgs, SecretsCommand};
use crate::commands::{manifest, port_error};
use crate::error::{CliError, CliResult, not_found};
use crate::exit::ExitCode;
use crate::paths::state_dir;
use crate::printer::Printer;
use crate::render;

/// Looks at once. More would only wait for AWS's quota.
const AT_ONCE: usize = 8;
/// Why secrets could not be looked at: most often all have the same.
const REASONS: usize = 3;

pub(crate) async fn run(command: SecretsCommand, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    match command {
        SecretsCommand::Set(args) => set::set(&args, global, printer).await,
        SecretsCommand::List(args) => list(&args, global, printer).await,
        SecretsCommand::Copy(args) => compare::copy(&args, global, printer).await,
        SecretsCommand::Diff(args) => compare::diff(&args, global, printer).await,
    }
}

/// An environment's secrets, and where they are kept.
struct Scene {
    /// As the person called it.
    name: String,
    /// The place on AWS; `None`: this machine.
    place: Option<String>,
    store: Arc<dyn SecretStore>,
    needs: Needs,
    /// With what is under paths.
    all: Vec<Wanted>,
}

impl Scene {
    async fn open(name: &str, app: &App, global: &Global) -> CliResult<Self> {
        let services =
            |names: &[String]| -> Vec<&Service> { names.iter().filter_map(|name| app.services.get(name)).collect() };
        let (services, on, environment) = match (app.environments.get(name), &app.previews) {
            (Some(environment), _) => (services(&environment.services), environment.on.as_ref(), name),
            (None, Some(previews)) if matches!(name, "previews" | PREVIEW) => {
                (services(&previews.services), previews.on.as_ref(), PREVIEW)
            }
            (None, _) if name == LOCAL => (app.services.values().collect(), None, LOCAL),
            (None, previews) => {
                let others = previews.is_some().then_some("previews").into_iter().chain([LOCAL]);
                return Err(not_found("environment", name, app.environments.keys().map(String::as_str).chain(others)));
            }
        };
        let store: Arc<dyn SecretStore> = match on {
            None => Arc::new(LocalSecrets::new(&state_dir(global.state.clone())?)),
            Some(on) => on_aws(app, on, name).await?,
        };
        let needs = wanted::needs(&services, environment);
        let mut found = BTreeMap::new();
        let mut scene = Self { name: name.to_owned(), place: on.cloned(), store, needs, all: Vec::new() };
        for path in scene.needs.under.iter().flat_map(|under| &under.paths) {
            if !found.contains_key(path) {
                let under = scene.store.under(path).await.map_err(|error| scene.refused(error))?;
                found.insert(path.clone(), under);
            }
        }
        scene.all = wanted::all(&scene.needs, &found).map_err(|why| CliError::new(ExitCode::Conflict, why))?;
        Ok(scene)
    }

    fn refused(&self, error: PortError) -> CliError {
        let mut said = port_error(error);
        if let Some(place) = &self.place {
            said.message = format!("{place}: {}", said.message);
        }
        said
    }

    fn whereabouts(&self) -> String {
        self.place.clone().unwrap_or_else(|| "this machine".to_owned())
    }

    fn find(&self, name: &str) -> CliResult<SecretRef> {
        wanted::find(&self.needs, &self.all, name).map_err(|why| match why {
            // The name is not repeated: it may be a value in the wrong place.
            NotOne::None => {
                let error =
                    CliError::new(ExitCode::NotFound, format!("no container of {} takes such a secret", self.name));
                let names: Vec<&str> = self.all.iter().map(|one| one.name.as_str()).collect();
                let error = match names.is_empty() {
                    true => error.hint("the manifest has none under `secrets` there"),
                    false => error.hint(format!("there is: {}", names.join(", "))),
                };
                error.hint("name it under a container's `secrets` first: docs/secrets.md")
            }
            NotOne::Several(names) => {
                let message = format!("several secrets of {} are called so", self.name);
                CliError::new(ExitCode::Usage, message).hint(format!("say which: {}", names.join(", ")))
            }
        })
    }

    /// What may be known without the value.
    async fn look(&self, reference: &SecretRef) -> Result<Option<SecretInfo>, PortError> {
        let here =
            |there: bool, remark: &str| there.then(|| SecretInfo { changed: None, remark: Some(remark.to_owned()) });
        match reference {
            SecretRef::Env(name) => Ok(here(std::env::var_os(name).is_some(), "a variable of Landfall's process")),
            SecretRef::File(path) => Ok(here(std::path::Path::new(path).is_file(), "a file of Landfall's host")),
            _ => self.store.look(reference).await,
        }
    }
}

#[cfg(feature = "aws")]
async fn on_aws(app: &App, on: &str, _: &str) -> CliResult<Arc<dyn SecretStore>> {
    use landfall_aws::{AwsOptions, AwsPlatform};

    let target = app.aws.get(on);
    let target = target.ok_or_else(|| CliError::internal("a place on AWS that the manifest does not have"))?;
    let platform = AwsPlatform::connect(target, AwsOptions { instance: String::new() }).await;
    Ok(platform.map_err(|error| crate::places::refused(on, error))?.secrets())
}

#[cfg(not(feature = "aws"))]
#[allow(clippy::unused_async)]
async fn on_aws(_: &App, on: &str, what: &str) -> CliResult<Arc<dyn SecretStore>> {
    Err(crate::places::without(on, what))
}

#[derive(Serialize)]
struct Listed {
    name: String,
    kind: &'static str,
    reference: String,
    containers: Vec<String>,
    /// `None`: could not be looked at.
    present: Option<bool>,
    changed: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remark: Option<String>,
    #[serde(skip)]
    line: String,
}

#[derive(Serialize)]
struct List {
    environment: String,
    place: String,
    secrets: Vec<Listed>,
    exit_code: u8,
}

async fn list(args: &ListArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    let app = manifest::load(&global.config, printer)?;
    let scene = Scene::open(&args.environment, &app, global).await?;
    let looks = futures_util::stream::iter(&scene.all).map(|one| scene.look(&one.reference)).buffered(AT_ONCE);
    let looks: Vec<_> = looks.collect().await;
    // The first one's reason: most often all have the same.
    let unknown = looks.iter().find_map(|look| look.as_ref().err());
    let code = unknown.map_or(ExitCode::Ok, |error| port_error(error.clone()).code);
    let row = |(one, look): (&Wanted, Result<Option<SecretInfo>, PortError>)| {
        let (kind, reference) = wanted::shown(&one.reference);
        let (present, info) = match look {
            Ok(info) => (Some(info.is_some()), info.unwrap_or_default()),
            Err(error) => (None, SecretInfo { changed: None, remark: Some(error.to_string()) }),
        };
        Listed {
            name: one.name.clone(),
            kind,
            reference,
            containers: one.users.clone(),
            present,
            changed: info.changed,
            remark: info.remark,
            line: wanted::line(&one.reference),
        }
    };
    let secrets: Vec<Listed> = scene.all.iter().zip(looks).map(row).collect();
    let list = List { environment: scene.name.clone(), place: scene.whereabouts(), secrets, exit_code: code as u8 };
    printer.emit(&list, |list| list_text(list, Timestamp::now()))?;
    let unknown = list.secrets.iter().filter(|one| one.present.is_none());
    unknown.filter_map(|one| one.remark.as_ref()).take(REASONS).for_each(|why| printer.warn(why));
    let count = |present| list.secrets.iter().filter(|one| one.present == present).count();
    let whole = match list.secrets.len() {
        0 => format!("no container of {} takes a secret: docs/secrets.md", scene.name),
        all => match (count(Some(false)), count(None)) {
            (0, 0) => format!("{} of {} there, on {}", manifest::plural(all, "secret"), scene.name, list.place),
            (0, unknown) => format!("{unknown} of {} could not be looked at", manifest::plural(all, "secret")),
            (missing, unknown) => format!(
                "{missing} of {} missing{}: `landfall secrets set {} NAME`",
                manifest::plural(all, "secret"),
                if unknown > 0 { format!(", {unknown} could not be looked at") } else { String::new() },
                scene.name
            ),
        },
    };
    printer.note(whole);
    Ok(code)
}

fn list_text(list: &List, now: Timestamp) -> String {
    if list.secrets.is_empty() {
        return String::new();
    }
    let mut table = render::table(&["name", "kept as", "containers", "there", "changed"]);
    for one in &list.secrets {
        let there = match one.present {
            Some(true) => "yes",
            Some(false) => "missing",
            None => "?",
        };
        let changed = one.changed.map_or_else(|| "-".to_owned(), |at| render::ago(at, now));
        let there = match &one.remark {
            Some(remark) if one.present.is_some() => format!("{there} ({remark})"),
            _ => there.to_owned(),
        };
        table.add_row([one.name.clone(), one.line.clone(), one.containers.join(", "), there, changed]);
    }
    render::trimmed(&table)
}
