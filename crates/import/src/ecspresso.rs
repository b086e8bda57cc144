//! ecspresso: `ecspresso.yml` with the task and service definitions that it names.
//!
//! Read only. What a manifest has no word for is listed; what cannot be known without AWS or a Terraform state (`tfstate`,
//! `ssm`, `cfn_output`), and jsonnet, is an error with its place.

mod actions;
pub mod project;
mod service;
mod task;
mod template;

use landfall_manifest::yaml::{Map, Node, Reader, scalar, shorten};
use landfall_manifest::{Diagnostic, SourceFile};

use self::template::Rendered;
use crate::write::{Lines, SCHEMA, slug, with_variables};
use crate::{Changes, Failed, Imported, codes, verified};

/// A file opened: its values may hold tokens for `${VAR}`.
struct Opened {
    reader: Reader,
    node: Node,
    rendered: Rendered,
}

/// What the parts of the import share.
struct Whole {
    changes: Changes,
    target: Target,
}

/// What the definitions say and a target has.
#[derive(Default)]
struct Target {
    execution_role: Option<String>,
    task_role: Option<String>,
    log_group: Option<String>,
    subnets: Vec<String>,
    security_groups: Vec<String>,
    public_ip: bool,
    load_balancer: bool,
}

/// `read`: the text of a file as `config` names it, relative to the configuration; `Err` says why not. `vars`: the
/// environment, for variables without a default.
///
/// # Errors
/// Everything that is wrong with the files, each with its place.
pub fn import(
    config: SourceFile,
    read: &dyn Fn(&str) -> Result<String, String>,
    vars: &dyn Fn(&str) -> Option<String>,
) -> Result<Imported, Failed> {
    let config = open(config)?;
    let map = Map::root(&config.reader, &config.node);
    let definition = |key: &str| -> Result<Option<Opened>, Failed> {
        let Some(path) = map.text(key) else { return Ok(None) };
        let refuse = |code: &'static str, message: String, label: &str, help: &str| {
            let error = Diagnostic::error(code, message).label(map.at.get(key).span(), label).help(help);
            config.reader.report(error);
            Ok(None)
        };
        if Rendered::has_token(&path) {
            let help = "write the path into a copy of the file";
            return refuse(codes::UNSUPPORTED, format!("`{key}` depends on a variable"), "which file is meant?", help);
        }
        if path.ends_with("jsonnet") || path.ends_with("libsonnet") {
            let help = "`jsonnet FILE > FILE.json`, and name that one in a copy of the file";
            return refuse(codes::UNSUPPORTED, "jsonnet is not imported yet".to_owned(), "jsonnet", help);
        }
        match read(&path) {
            Ok(text) => open(SourceFile::new(path, text)).map(Some),
            Err(why) => {
                let message = format!("cannot read `{}`: {why}", shorten(&path));
                refuse(codes::NO_FILE, message, "named here", "it is relative to the configuration")
            }
        }
    };
    if !map.has("task_definition") {
        map.missing("task_definition");
    }
    let mut failed = Vec::new();
    let mut opened = [None, None];
    for (slot, key) in opened.iter_mut().zip(["task_definition", "service_definition"]) {
        match definition(key) {
            Ok(found) => *slot = found,
            Err(one) => failed.extend(one.files),
        }
    }
    let made = match &opened {
        [Some(task), service] if failed.is_empty() && !config.reader.failed() => {
            Some(make(&map, &config.rendered, task, service.as_ref()))
        }
        _ => None,
    };
    drop(map);
    let all = std::iter::once(config).chain(opened.into_iter().flatten());
    failed.extend(all.filter(|one| one.reader.failed()).map(|one| one.reader.close()));
    match made {
        Some((manifest, changes)) if failed.is_empty() => verified(manifest, changes, vars),
        _ => Err(Failed { files: failed }),
    }
}

fn open(source: SourceFile) -> Result<Opened, Failed> {
    if source.path.ends_with("jsonnet") {
        let found = vec![Diagnostic::error(codes::UNSUPPORTED, "jsonnet is not imported yet")];
        return Err(Failed { files: vec![(source, found)] });
    }
    let mut rendered = match template::render(&source) {
        Ok(rendered) => rendered,
        Err(found) => return Err(Failed { files: vec![(source, found)] }),
    };
    if source.path.ends_with(".json") {
        rendered.text = untabbed(&rendered.text);
    }
    let (reader, node) =
        Reader::with_text(source, codes::IN_A_FILE, &rendered.text).map_err(|one| Failed { files: vec![one] })?;
    Ok(Opened { reader, node, rendered })
}

/// JSON may be indented with tabs, YAML may not; inside of a string they stay.
fn untabbed(text: &str) -> String {
    let (mut inside, mut escaped) = (false, false);
    let replaced = text.chars().map(|c| {
        let tab = c == '\t' && !inside;
        match c {
            _ if escaped => escaped = false,
            '\\' if inside => escaped = true,
            '"' => inside = !inside,
            _ => {}
        }
        if tab { ' ' } else { c }
    });
    replaced.collect()
}

/// A file's map with what its tokens stand for.
struct Values<'t> {
    map: Map<'t>,
    rendered: &'t Rendered,
}

impl<'t> Values<'t> {
    fn new(map: Map<'t>, rendered: &'t Rendered) -> Self {
        Self { map, rendered }
    }

    fn map(&self, key: &str) -> Values<'t> {
        Values::new(self.map.map(key), self.rendered)
    }

    fn items(&self, key: &str) -> Vec<Values<'t>> {
        self.map.items(key).into_iter().map(|map| Values::new(map, self.rendered)).collect()
    }

    /// As the manifest takes it: `$` doubled, variables as `${VAR}`.
    fn text(&self, key: &str) -> Option<String> {
        self.map.text(key).map(|text| self.rendered.manifest(&text))
    }

    /// The text of an item or value that may be empty.
    fn value(&self, key: &str) -> Option<String> {
        scalar(self.map.get(key)).map(|scalar| self.rendered.manifest(&scalar.text))
    }

    fn texts(&self, key: &str) -> Vec<String> {
        let at = self.map.get(key);
        match scalar(at) {
            Some(_) => {
                self.map.reader().wrong(at, format!("`{}` is a list", self.map.path(key)), "expected a list");
                Vec::new()
            }
            None => self.map.texts(key).iter().map(|text| self.rendered.manifest(text)).collect(),
        }
    }

    /// A number, or a variable that will hold one.
    fn number(&self, key: &str, least: i64, most: i64) -> Option<String> {
        let text = self.map.text(key)?;
        if Rendered::has_token(&text) {
            return Some(with_variables(&self.rendered.manifest(&text)));
        }
        self.map.int(key, least, most).map(|number| number.to_string())
    }
}

fn make(config: &Map<'_>, rendered: &Rendered, task: &Opened, service: Option<&Opened>) -> (String, Changes) {
    let mut whole = Whole { changes: Changes::default(), target: Target::default() };
    let config = Values::new(Map::new(config.reader(), config.at, String::new()), rendered);
    for key in ["task_definition", "service_definition"] {
        config.map.get(key);
    }
    let cluster = config.text("cluster").unwrap_or_else(|| "default".to_owned());
    let task_root = Map::root(&task.reader, &task.node);
    // The output of `describe-task-definition` as it is.
    let task_map =
        if task_root.at.get("taskDefinition").is_map() { task_root.map("taskDefinition") } else { task_root };
    let task_values = Values::new(task_map, &task.rendered);
    let service_values = service.map(|opened| Values::new(Map::root(&opened.reader, &opened.node), &opened.rendered));
    let name = config.text("service").or_else(|| task_values.map.text("family")).unwrap_or_default();
    let plain = |text: &str| slug(&text.replace("${", "").replace(['?', '}'], ""));
    let project = plain(&name).unwrap_or_else(|| "app".to_owned());
    let place = plain(&cluster).unwrap_or_else(|| "default".to_owned());

    let mut lines = Lines::default();
    lines.line(1, format!("{project}:"));
    let fargate = service::is_fargate(service_values.as_ref(), &task_values);
    lines.line(2, format!("launch_type: {}", if fargate { "fargate" } else { "ec2" }));
    task::write(&task_values, fargate, &mut whole, &mut lines);
    service::write(service_values.as_ref(), config.text("timeout").as_deref(), &mut whole, &mut lines);

    let mut out = Lines::default();
    out.line(0, SCHEMA);
    out.remark(0, "From ecspresso's files. docs/import.md says what is and is not carried over.");
    out.line(0, format!("project: {project}"));
    out.line(0, "");
    out.line(0, "aws:");
    out.line(1, format!("{place}:"));
    let mut text = |depth: usize, key: &str, value: Option<&String>| {
        if let Some(value) = value {
            out.line(depth, format!("{key}: {}", with_variables(value)));
        }
    };
    let target = &whole.target;
    text(2, "region", config.text("region").as_ref());
    text(2, "cluster", Some(&cluster));
    if target.load_balancer {
        text(2, "load_balancer", Some(&"replace-me".to_owned()));
        whole.changes.pending(
            format!("aws.{place}.load_balancer"),
            "ecspresso names a target group, Landfall makes its own on a load balancer: name that one. The target group's health check is not in \
             these files either: say it under `load_balancer.health_check`",
        );
    }
    text(2, "execution_role", target.execution_role.as_ref());
    text(2, "task_role", target.task_role.as_ref());
    text(2, "log_group", target.log_group.as_ref());
    if !target.subnets.is_empty() {
        let list = |values: &[String]| values.iter().map(|value| with_variables(value)).collect::<Vec<_>>().join(", ");
        out.line(2, "network:");
        out.line(3, format!("subnets: [{}]", list(&target.subnets)));
        if !target.security_groups.is_empty() {
            out.line(3, format!("security_groups: [{}]", list(&target.security_groups)));
        }
        out.line(3, format!("public_ip: {}", target.public_ip));
    }
    out.line(0, "");
    out.line(0, "services:");
    out.0.push_str(&lines.0);
    out.line(0, "");
    out.line(0, "environments:");
    out.line(1, format!("{place}: {{on: {place}}}"));
    whole.changes.differs("service", "names of the ECS service and the task definition family are Landfall's own: nothing that ecspresso deployed is touched");
    for key in config.map.rest() {
        let why = match key.as_str() {
            "plugins" => "Terraform states and CloudFormation are not read; nothing in these files needs them",
            "appspec" | "codedeploy" => "CodeDeploy is not used",
            "ignore" | "required_version" | "filter_command" => "a setting of ecspresso itself",
            _ => "has no equivalent",
        };
        whole.changes.dropped(key, why);
    }
    (out.0, whole.changes)
}

impl Whole {
    fn rest(&mut self, prefix: &str, map: &Map<'_>, silent: &[&str], reasons: &[(&str, &str)]) {
        for key in map.rest() {
            let last = key.rsplit('.').next().unwrap_or(&key);
            if silent.contains(&last) || is_empty(map, last) {
                continue;
            }
            let reason = reasons.iter().find(|(known, _)| *known == last).map_or("has no equivalent", |(_, why)| why);
            self.changes.dropped(format!("{prefix}{key}"), reason);
        }
    }
}

/// `[]`, `{}`, null: says nothing.
fn is_empty(map: &Map<'_>, key: &str) -> bool {
    let at = map.at.get(key);
    !at.is_given()
        || scalar(at).is_none() && at.node.is_some_and(|node| node.items().is_empty() && node.entries().is_empty())
}
