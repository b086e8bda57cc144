//! An ecspresso project as it is: configuration, task definition and service definition with their templates evaluated → an
//! [`App`] with one environment on one place on AWS, whose one service is described by those documents.
//!
//! Pure: files and the environment come in as functions, and what only AWS knows as answers. [`load`] says what it needs to
//! know ([`Loaded::Asks`]); whoever called asks for all of it at once and calls again. Broken files are told before anything
//! is asked; values that are missing are told together, with their places, after everything was.

mod app;
mod evaluate;
mod jsonnet;
mod lookup;
mod nesting;
mod shape;
mod state;
mod value;

use std::collections::BTreeSet;

use landfall_manifest::yaml::{At, Node, shorten};
use landfall_manifest::{Diagnostic, SourceFile};
use landfall_model::app::App;
use landfall_model::documents::{SERVICE_TOLD, TASK_DEFINITION_TOLD};
use serde_json::{Map, Value};

use self::evaluate::{Evaluator, Location};
use self::value::{File, Problem};
use crate::{Failed, codes};

pub use self::evaluate::FUNCTIONS;
pub use self::jsonnet::External;
pub use self::lookup::{Found, Known, Lookup};
pub use self::nesting::STACK;

/// What a project is in Landfall's words.
#[derive(Debug, Clone, PartialEq)]
pub struct EcspressoProject {
    pub app: App,
    /// The one environment of `app`.
    pub environment: String,
    /// The one service of `app`, by its key; `None` where the configuration names no service definition: such a project runs
    /// tasks only.
    pub service: Option<String>,
    /// As RegisterTaskDefinition takes it.
    pub task_definition: Value,
    /// What is in the files and does nothing here.
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Loaded {
    /// Answers are needed: ask, add them to what is known, and load again.
    Asks {
        lookups: BTreeSet<Lookup>,
        /// The configuration's, else `AWS_REGION`.
        region: Option<String>,
    },
    Project(Box<EcspressoProject>),
}

/// Where values come from, and what the project shall be called.
pub struct Inputs<'a> {
    /// The text of a file as the configuration names it: relative to the configuration, or absolute. `Err` says why not.
    pub read: &'a dyn Fn(&str) -> Result<String, String>,
    pub vars: &'a dyn Fn(&str) -> Option<String>,
    pub known: &'a Known,
    pub external: &'a External,
    /// The environment's name.
    pub environment: &'a str,
}

/// Whether a file is an ecspresso configuration: it names a task definition, and it is no manifest.
pub fn is_config(source: &SourceFile) -> bool {
    if source.path.ends_with("jsonnet") {
        return true;
    }
    let text =
        super::actions::Tokens::of(&source.text, "", "").map_or_else(|_| source.text.clone(), |tokens| tokens.text);
    let Ok((root, _)) = landfall_manifest::yaml::parse(&super::untabbed(&text)) else { return false };
    let at = At::root(&root);
    at.get("task_definition").is_given() && !at.get("project").is_given() && !at.get("services").is_given()
}

/// `config`: its path is what messages show; other files are read through `inputs`. Jsonnet wants a thread with a stack of
/// [`STACK`] bytes.
///
/// # Errors
/// Everything that is wrong with the files, each with its place.
pub fn load(config: &SourceFile, inputs: &Inputs<'_>) -> Result<Loaded, Failed> {
    let evaluator = Evaluator::new(inputs.vars, inputs.read, inputs.known);
    let mut problems: Vec<Problem> = Vec::new();
    let mut notes = Vec::new();
    let settings = match configuration(config, &evaluator, inputs, &mut problems, &mut notes) {
        Some(settings) if problems.is_empty() => settings,
        settings => return finished(&evaluator, problems, region(settings.as_ref(), inputs)),
    };
    let region = region(Some(&settings), inputs);
    let path = |key: &str| settings.get(key).and_then(Value::as_str);
    let mut document = |key: &'static str, name: &'static str, ignored: &[&str]| {
        let document = path(key).and_then(|path| definition(path, key, name, ignored, &evaluator, inputs, config));
        document.and_then(|document| document.map_err(|found| problems.extend(found)).ok())
    };
    let task = document("task_definition", "TaskDefinition", &TASK_DEFINITION_TOLD);
    let service = document("service_definition", "Service", &[&SERVICE_TOLD[..], &SAID_BESIDE].concat());
    if !problems.is_empty() || !evaluator.needs().is_empty() {
        return finished(&evaluator, problems, region);
    }
    let Some(task) = task else { return finished(&evaluator, problems, region) };
    match app::project(&settings, task, service, inputs, notes) {
        Ok(project) => Ok(Loaded::Project(Box::new(project))),
        Err(error) => {
            let file = match error.about {
                app::About::Config => config.path.as_str(),
                app::About::Task => path("task_definition").unwrap_or_default(),
                app::About::Service => path("service_definition").unwrap_or_default(),
            };
            let diagnostic = Diagnostic::error(error.code, error.message).maybe_help(error.help);
            Err(Failed { files: vec![(SourceFile::new(file, ""), vec![diagnostic])] })
        }
    }
}

/// What the configuration says, and what a request may say beside: no part of a service's definition.
const SAID_BESIDE: [&str; 5] = ["clientToken", "cluster", "clusterArn", "roleArn", "taskDefinition"];

/// Values that are missing wait until everything was asked, so that all are told at once.
fn finished(evaluator: &Evaluator<'_>, problems: Vec<Problem>, region: Option<String>) -> Result<Loaded, Failed> {
    let needs = evaluator.needs();
    let only_missing = problems.iter().flat_map(|(_, found)| found).all(|one| one.code == codes::MISSING_VALUE);
    if !needs.is_empty() && only_missing {
        Ok(Loaded::Asks { lookups: needs, region })
    } else {
        Err(Failed { files: problems })
    }
}

fn region(settings: Option<&Map<String, Value>>, inputs: &Inputs<'_>) -> Option<String> {
    let given = settings.and_then(|settings| settings.get("region")).and_then(Value::as_str).map(str::to_owned);
    given.or_else(|| (inputs.vars)("AWS_REGION")).filter(|region| !region.is_empty())
}

fn configuration(
    config: &SourceFile,
    evaluator: &Evaluator<'_>,
    inputs: &Inputs<'_>,
    problems: &mut Vec<Problem>,
    notes: &mut Vec<String>,
) -> Option<Map<String, Value>> {
    let jsonnet = config.path.ends_with("jsonnet");
    let evaluated = if jsonnet {
        // Its plugins first, alone: everything else in it may use their functions.
        match jsonnet::field(config, "plugins", evaluator, inputs.external) {
            Ok(text) => {
                let plugins: Value = serde_json::from_str(&text).unwrap_or_default();
                for plugin in plugins.as_array().into_iter().flatten() {
                    if let Err(message) = plug(plugin, evaluator) {
                        problems.push((config.clone(), vec![Diagnostic::error(codes::UNSUPPORTED, message)]));
                    }
                }
            }
            Err(found) => problems.extend(found),
        }
        if !problems.is_empty() {
            return None;
        }
        let before = evaluator.needs();
        match jsonnet::evaluate(config, evaluator, inputs.external) {
            Ok(text) => SourceFile::new(format!("{} (evaluated)", config.path), text),
            Err(found) => {
                // What came of a placeholder says nothing.
                if evaluator.needs() == before {
                    problems.extend(found);
                }
                return None;
            }
        }
    } else {
        config.clone()
    };
    let json = jsonnet || config.path.ends_with(".json");
    let file = File::open(evaluated, json, evaluator).map_err(|found| problems.push(found)).ok()?;
    if !jsonnet {
        plugins(&file, evaluator);
    }
    let settings = file.structure(&file.root, "Config", &[]);
    let at = At::root(&file.root);
    let unsupported = |key: &str, message: &str, help: &str| {
        let error = Diagnostic::error(codes::UNSUPPORTED, message).label(at.get(key).key_span(), "not supported");
        file.report(error.help(help));
    };
    if settings.contains_key("express_definition") {
        unsupported("express_definition", "express services are not supported", "name a `service_definition`");
    }
    if settings.contains_key("appspec") || settings.contains_key("codedeploy") {
        notes.push("`appspec` and `codedeploy` are left aside: deployments are ECS's own".to_owned());
    }
    if settings.contains_key("required_version") {
        notes.push("`required_version` is ecspresso's own version: it is not looked at".to_owned());
    }
    if !settings.contains_key("task_definition") && !file.is_pending() {
        let error = Diagnostic::error(codes::MISSING, "`task_definition` is missing");
        file.report(error.label(at.get("task_definition").key_span(), "needs `task_definition`"));
    }
    let given = at.get("timeout");
    if let (Some(timeout), true) = (settings.get("timeout"), given.is_given()) {
        if timeout.is_number() {
            let help = format!("ecspresso 2 reads nanoseconds, ecspresso 3 seconds; write `{timeout}s`");
            let error = Diagnostic::error(codes::BAD_VALUE, "`timeout` is a number without a unit");
            file.report(error.label(given.span(), "which unit?").help(help));
        } else if app::seconds(timeout).is_none() {
            file.wrong(given.span(), "`timeout` is a duration", "such as `10m` or `1h30m`");
        }
    }
    problems.extend(file.problem());
    Some(settings)
}

/// The plugins come first: everything else in the file may use their functions.
fn plugins(file: &File<'_>, evaluator: &Evaluator<'_>) {
    let at = At::root(&file.root).get("plugins");
    for (index, node) in at.node.map(Node::items).unwrap_or_default().iter().enumerate() {
        let plugin = Value::Object(file.structure(node, "Plugin", &[]));
        if let Err(message) = plug(&plugin, evaluator) {
            let span = At::root(node).get("name").span();
            let span = if node.entries().is_empty() { at.item(index).span() } else { span };
            file.report(Diagnostic::error(codes::UNSUPPORTED, message).label(span, "this plugin"));
        }
    }
}

fn plug(plugin: &Value, evaluator: &Evaluator<'_>) -> Result<(), String> {
    let name = plugin["name"].as_str().unwrap_or_default();
    let prefix = plugin["func_prefix"].as_str().unwrap_or_default();
    let config = |key: &str| plugin["config"][key].as_str().filter(|text| !text.is_empty());
    let location = match (name.eq_ignore_ascii_case("tfstate"), config("path"), config("url")) {
        (false, ..) => None,
        (true, Some(path), _) => Some(Location::File(path.to_owned())),
        (true, None, Some(url)) => Some(state_at(url)?),
        (true, None, None) => return Err("the plugin `tfstate` needs `path` or `url` under `config`".to_owned()),
    };
    evaluator.plug(name, prefix, location)
}

fn state_at(url: &str) -> Result<Location, String> {
    match url.split_once("://") {
        Some(("s3", rest)) => match rest.split_once('/') {
            Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() => {
                Ok(Location::Bucket { bucket: bucket.to_owned(), key: key.to_owned(), region: None })
            }
            _ => Err(format!("`{}` names no bucket and key", shorten(url))),
        },
        Some(("file", path)) => Ok(Location::File(path.to_owned())),
        None => Ok(Location::File(url.to_owned())),
        Some((scheme, _)) => {
            Err(format!("Terraform states are read from files and from S3, not from `{}://`", shorten(scheme)))
        }
    }
}

/// `None`: reported in the configuration's name.
fn definition(
    path: &str,
    key: &str,
    name: &'static str,
    shown: &[&str],
    evaluator: &Evaluator<'_>,
    inputs: &Inputs<'_>,
    config: &SourceFile,
) -> Option<Result<Map<String, Value>, Vec<Problem>>> {
    let text = match (inputs.read)(path) {
        Ok(text) => text,
        Err(why) => {
            let message = format!("cannot read `{}`: {why}", shorten(path));
            let mut error = Diagnostic::error(codes::NO_FILE, message);
            if let Some(found) = config.text.find(key) {
                error = error.label(landfall_manifest::Span::new(found, found + key.len()), "named here");
            }
            let found =
                landfall_manifest::yaml::finish(vec![error.help("it is relative to the configuration")], &config.text);
            return Some(Err(vec![(config.clone(), found)]));
        }
    };
    let source = SourceFile::new(path, text);
    let jsonnet = path.ends_with("jsonnet");
    let source = if jsonnet {
        let before = evaluator.needs();
        match jsonnet::evaluate(&source, evaluator, inputs.external) {
            Ok(text) => SourceFile::new(format!("{path} (evaluated)"), text),
            // What came of a placeholder says nothing.
            Err(_) if evaluator.needs() != before => return None,
            Err(found) => return Some(Err(found)),
        }
    } else {
        source
    };
    let file = match File::open(source, jsonnet || path.ends_with(".json"), evaluator) {
        Ok(file) => file,
        Err(found) => return Some(Err(vec![masked(found, inputs.known)])),
    };
    let document = document(&file, name, shown);
    match file.problem() {
        Some(found) if jsonnet => Some(Err(vec![masked(found, inputs.known)])),
        Some(found) => Some(Err(vec![found])),
        None => Some(Ok(document)),
    }
}

/// A task definition in a file of its own, JSON or YAML in any of its forms, as RegisterTaskDefinition takes it. No templates.
///
/// # Errors
/// Everything that is wrong with it, each with its place.
pub fn task_definition(source: &SourceFile) -> Result<Value, Failed> {
    let known = Known::new();
    let read = |_: &str| Err(String::new());
    let evaluator = Evaluator::new(&|_| None, &read, &known);
    let file = File::plain(source.clone(), source.path.ends_with(".json"), &evaluator);
    let file = file.map_err(|problem| Failed { files: vec![problem] })?;
    let mut task = document(&file, "TaskDefinition", &TASK_DEFINITION_TOLD);
    if let Some(problem) = file.problem() {
        return Err(Failed { files: vec![problem] });
    }
    app::finish(&mut task).map_err(|error| {
        let diagnostic = Diagnostic::error(error.code, error.message).maybe_help(error.help);
        Failed { files: vec![(source.clone(), vec![diagnostic])] }
    })?;
    Ok(Value::Object(task))
}

/// Under its wrapping or bare.
fn document(file: &File<'_>, name: &'static str, shown: &[&str]) -> Map<String, Value> {
    let at = At::root(&file.root);
    let wrapper = if name == "Service" { "service" } else { "taskDefinition" };
    let inside =
        at.keys().find(|key| key.eq_ignore_ascii_case(wrapper)).map(|key| at.get(key)).filter(|at| at.is_map());
    let node = inside.and_then(|at| at.node).unwrap_or(&file.root);
    let mut document = file.structure(node, name, shown);
    if inside.is_some() {
        // Beside what is wrapped, `describe-task-definition` has the tags.
        for (key, child) in file.root.entries() {
            match shape::field(name, &key.text) {
                Some(("tags", kind)) if !document.contains_key("tags") => {
                    document.extend(file.value(child, kind, "tags").map(|tags| ("tags".to_owned(), tags)));
                }
                _ if key.text.eq_ignore_ascii_case(wrapper) => {}
                _ => file.wrong(key.span, format!("`{}` beside `{wrapper}`", shorten(&key.text)), "not known here"),
            }
        }
    }
    document
}

/// What Jsonnet made has values in it, and some may be secret: none that was looked up is shown.
fn masked((mut source, found): Problem, known: &Known) -> Problem {
    let mut hide = |value: &str| {
        let quoted = Value::from(value).to_string();
        for text in [&quoted[1..quoted.len() - 1], value] {
            if text.len() > 3 {
                source.text = source.text.replace(text, &"*".repeat(text.len()));
            }
        }
    };
    for (lookup, answer) in known {
        match (lookup, answer) {
            (Lookup::Parameter(_), Ok(Found::Text(text))) => hide(text),
            (Lookup::Parameter(_), Ok(Found::List(items))) => items.iter().for_each(|item| hide(item)),
            _ => {}
        }
    }
    (source, found)
}
