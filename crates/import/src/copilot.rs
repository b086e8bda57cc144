//! AWS Copilot: a directory of environment, service and pipeline manifests.
//!
//! Copilot's names for what it made in CloudFormation (cluster, load balancer, roles) are not in its files: they are written
//! as placeholders and listed as things to do. What Landfall has no equivalent for is listed, key by key.

mod container;
mod environment;
mod pipeline;
mod service;

use std::collections::BTreeMap;

use landfall_manifest::yaml::{Map, Reader};
use landfall_manifest::{Diagnostic, SourceFile};

use crate::write::{Lines, SCHEMA, flow, slug};
use crate::{Changes, Failed, Files, Imported, codes, verified};

/// What the directory is called where nothing in it says so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    pub directory: String,
}

/// Environment → variable → value, as the services override them.
type Overrides = BTreeMap<String, BTreeMap<String, String>>;

/// What all parts need to know.
struct Whole<'f> {
    app: String,
    environments: Vec<String>,
    changes: Changes,
    overrides: Overrides,
    /// Variables of an environment that two services set differently; they go to neither.
    contradicted: Vec<(String, String)>,
    files: &'f Files,
}

struct Opened {
    /// Path inside of the Copilot directory.
    path: String,
    reader: Reader,
    node: landfall_manifest::yaml::Node,
}

/// `files`: the Copilot directory, or one that has it as `copilot/`.
///
/// # Errors
/// Everything that is wrong with the files, each with its place.
pub fn import(files: &Files, options: &Options) -> Result<Imported, Failed> {
    let prefix = if files.keys().any(|path| path.starts_with("copilot/")) { "copilot/" } else { "" };
    let inner: Files =
        files.iter().filter_map(|(path, text)| Some((path.strip_prefix(prefix)?.to_owned(), text.clone()))).collect();
    let mut failed = Vec::new();
    let mut opened = Vec::new();
    for (path, text) in inner.iter().filter(|(path, _)| is_manifest(path)) {
        match Reader::open(SourceFile::new(format!("{prefix}{path}"), text.clone()), codes::IN_A_FILE) {
            Ok((reader, node)) => opened.push(Opened { path: path.clone(), reader, node }),
            Err(one) => failed.push(one),
        }
    }
    if opened.is_empty() && failed.is_empty() {
        let message =
            "there is no Copilot manifest: `.workspace`, `SERVICE/manifest.yml`, `environments/NAME/manifest.yml`";
        let found = vec![Diagnostic::error(codes::WHICH, message)];
        return Err(Failed { files: vec![(SourceFile::new(options.directory.as_str(), ""), found)] });
    }
    let made = if failed.is_empty() { Some(make(&opened, &inner, options)) } else { None };
    failed.extend(opened.into_iter().filter(|one| one.reader.failed()).map(|one| one.reader.close()));
    match made {
        Some((manifest, changes)) if failed.is_empty() => verified(manifest, changes, &|_| None),
        _ => Err(Failed { files: failed }),
    }
}

fn is_manifest(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    path == ".workspace" || path == "pipeline.yml" || matches!(name, "manifest.yml" | "manifest.yaml")
}

fn make(opened: &[Opened], files: &Files, options: &Options) -> (String, Changes) {
    let root = |one: &'_ Opened| -> usize { one.path.split('/').count() };
    let maps: Vec<(&Opened, Map<'_>)> = opened.iter().map(|one| (one, Map::root(&one.reader, &one.node))).collect();
    let workspace = maps.iter().find(|(one, _)| one.path == ".workspace").and_then(|(_, map)| map.text("application"));
    let app = workspace.clone().or_else(|| slug(&options.directory)).unwrap_or_else(|| "app".to_owned());
    let of = |prefix: &str| -> Vec<&(&Opened, Map<'_>)> {
        maps.iter().filter(|(one, _)| one.path.starts_with(prefix) && root(one) == 3).collect()
    };
    let environments = of("environments/");
    let mut whole = Whole {
        app: app.clone(),
        environments: environment::names(&environments, &maps),
        changes: Changes::default(),
        overrides: Overrides::new(),
        contradicted: Vec::new(),
        files,
    };
    if workspace.is_none() {
        whole
            .changes
            .pending("project", format!("there is no `.workspace` with the application's name: `{app}` is a guess"));
    }
    let mut services = Lines::default();
    let mut balanced = false;
    let mut count = 0;
    for (one, map) in maps.iter().filter(|(one, _)| root(one) == 2) {
        count += usize::from(service::write(
            map,
            one.path.split('/').next().unwrap_or_default(),
            &mut whole,
            &mut services,
            &mut balanced,
        ));
    }
    if count == 0 {
        let (_, map) = &maps[0];
        map.reader().report(Diagnostic::error(codes::WHICH, "no service or job is among the manifests"));
    }
    let mut repositories = Lines::default();
    for (one, map) in maps.iter().filter(|(one, _)| one.path == "pipeline.yml").chain(of("pipelines/")) {
        pipeline::write(map, &one.path, &mut whole, &mut repositories);
    }
    let mut out = Lines::default();
    out.line(0, SCHEMA);
    out.remark(0, "From Copilot's manifests. docs/import.md says what is and is not carried over.");
    out.text(0, "project", &slug(&app).unwrap_or_else(|| "app".to_owned()));
    out.line(0, "");
    out.line(0, "aws:");
    for name in whole.environments.clone() {
        let manifest = environments.iter().find(|(one, map)| environment::name(one, map) == name).map(|(_, map)| map);
        environment::target(&name, manifest, balanced, &mut whole, &mut out);
    }
    if !repositories.0.is_empty() {
        out.line(0, "");
        out.line(0, "repositories:");
        out.0.push_str(&repositories.0);
    }
    out.line(0, "");
    out.line(0, "services:");
    out.0.push_str(&services.0);
    out.line(0, "");
    out.line(0, "environments:");
    for name in &whole.environments {
        out.line(1, format!("{}:", environment::legal(name)));
        out.line(2, format!("on: {}", environment::legal(name)));
        let variables: Vec<_> = whole.overrides.get(name).into_iter().flatten().collect();
        let variables: Vec<_> = variables
            .into_iter()
            .filter(|(key, _)| !whole.contradicted.contains(&(name.clone(), (*key).clone())))
            .collect();
        if !variables.is_empty() {
            out.line(2, "variables:");
            for (key, value) in variables {
                out.text(3, key, value);
            }
        }
    }
    out.line(0, "");
    out.remark(0, "Copilot has no previews. For one per branch:");
    out.remark(
        0,
        &format!(
            "previews: {{on: {}, routing: {{ports: {{range: 8000-8049}}}}}}",
            environment::legal(whole.environments.first().map_or("test", String::as_str))
        ),
    );
    whole.addons();
    (out.0, whole.changes)
}

impl Whole<'_> {
    /// Files beside the manifests that hold CloudFormation or build instructions.
    fn addons(&mut self) {
        for path in self.files.keys() {
            if path.contains("/addons/") {
                self.changes.dropped(
                    path.clone(),
                    "CloudFormation templates are not read: deploy the stack by itself and refer to what it makes",
                );
            } else if path.contains("/overrides/") {
                self.changes.dropped(path.clone(), "patches of Copilot's CloudFormation templates");
            } else if path.ends_with("buildspec.yml") {
                self.changes.dropped(path.clone(), "instructions for CodeBuild");
            }
        }
    }

    /// Keys that nobody read, with a reason where there is a known one.
    fn rest(&mut self, of: &str, map: &Map<'_>, reasons: &[(&str, &str)]) {
        for key in map.rest() {
            let last = key.rsplit('.').next().unwrap_or(&key);
            let reason = reasons.iter().find(|(known, _)| *known == last).map_or("has no equivalent", |(_, text)| text);
            self.changes.dropped(format!("{of}: {key}"), reason);
        }
    }

    /// `${COPILOT_APPLICATION_NAME}` and, where there is but one, the environment's name.
    fn substituted(&self, text: &str) -> Option<String> {
        let mut out = text.replace("${COPILOT_APPLICATION_NAME}", &self.app);
        if let [only] = self.environments.as_slice() {
            out = out.replace("${COPILOT_ENVIRONMENT_NAME}", only);
        }
        (!out.contains("${")).then_some(out)
    }

    fn variable(&mut self, environment: &str, service: &str, key: &str, value: String) {
        let place = format!("environments.{environment}.variables.{key}");
        let variables = self.overrides.entry(environment.to_owned()).or_default();
        if variables.get(key).is_some_and(|other| *other != value) {
            self.contradicted.push((environment.to_owned(), key.to_owned()));
            self.changes.0.retain(|change| !change.about.ends_with(&place));
            self.changes.dropped(place, "services set it differently, and an environment has one value: none is set");
        } else if !self.contradicted.iter().any(|one| one.0 == environment && one.1 == key) {
            variables.insert(key.to_owned(), value);
            let text = "is set in every container of that environment now, not in this service's alone";
            self.changes.differs(format!("{service}: {place}"), text);
        }
    }
}

/// A program and its arguments as a shell would split them: blanks, single and double quotes.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None::<char>);
    for c in text.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// A list, or a line that is split.
fn argv(map: &Map<'_>, key: &str, out: &mut Lines, depth: usize, name: &str) {
    let at = map.get(key);
    let values = match landfall_manifest::yaml::scalar(at) {
        Some(scalar) => words(&scalar.text),
        None => map.texts(key),
    };
    if !values.is_empty() {
        out.line(depth, format!("{name}: {}", flow(&values)));
    }
}
