//! What a Compose file says about containers. Read through the manifest's own bounded tree; unknown parts are left out.

use super::dockerfile::Health;
use super::{Draft, Image};
use crate::tree::{self, At, Data, Node};

/// The services of a Compose file as containers, in the order written; `None` when there are none to be read.
pub(super) fn read(text: &str, directory: &str) -> Option<Vec<Draft>> {
    let (root, _) = tree::parse(text).ok()?;
    let services = At::root(&root).get("services");
    let drafts: Vec<_> = services.keys().map(|name| draft(name, services.get(name), directory)).collect();
    (!drafts.is_empty()).then_some(drafts)
}

fn draft(name: &str, at: At<'_>, directory: &str) -> Draft {
    let mut draft = Draft { name: name.to_owned(), ..Draft::default() };
    let build = at.get("build");
    draft.image = match (text(build).or(text(build.get("context"))), text(at.get("image"))) {
        (None, Some(image)) => Image::Reference(image),
        (context, _) => Image::Build {
            context: join(directory, context.as_deref().unwrap_or(".")),
            dockerfile: text(build.get("dockerfile")),
            target: text(build.get("target")),
            args: pairs(build.get("args")),
        },
    };
    draft.command = words(at.get("command"));
    draft.entry_point = words(at.get("entrypoint"));
    draft.working_directory = text(at.get("working_dir")).filter(|path| path.starts_with('/'));
    draft.user = text(at.get("user"));
    let ports = items(at.get("ports")).chain(items(at.get("expose")));
    draft.ports = ports.filter_map(port).collect();
    draft.environment = pairs(at.get("environment"));
    let depends = at.get("depends_on");
    for name in items(depends).filter_map(|item| text(place(item))) {
        draft.depends_on.push((name, "START"));
    }
    for name in depends.keys() {
        let condition = match text(depends.get(name).get("condition")).as_deref() {
            Some("service_healthy") => "HEALTHY",
            Some("service_completed_successfully") => "SUCCESS",
            _ => "START",
        };
        draft.depends_on.push((name.to_owned(), condition));
    }
    draft.health = health(at.get("healthcheck"));
    draft
}

fn health(at: At<'_>) -> Option<Health> {
    let test = at.get("test");
    let command = match text(test) {
        Some(line) => vec!["CMD-SHELL".to_owned(), line],
        None => items(test).filter_map(|item| text(place(item))).collect(),
    };
    if !matches!(command.first().map(String::as_str), Some("CMD" | "CMD-SHELL")) || command.len() < 2 {
        return None;
    }
    Some(Health {
        command: command.iter().map(|word| defaulted(word)).collect(),
        interval: text(at.get("interval")),
        timeout: text(at.get("timeout")),
        start_period: text(at.get("start_period")),
        retries: text(at.get("retries")).and_then(|retries| retries.parse().ok()),
    })
}

/// The container's side of a port: `8080:80`, `127.0.0.1:8080:80/tcp`, `80`, `{target: 80}`.
fn port(node: &Node) -> Option<u16> {
    let at = place(node);
    let written = text(at).or_else(|| text(at.get("target")))?;
    let inner = written.rsplit(':').next().unwrap_or_default();
    inner.strip_suffix("/tcp").unwrap_or(inner).parse().ok().filter(|port| *port > 0)
}

/// `KEY: value` maps and `KEY=value` lists; `None` for a value that comes from the environment.
fn pairs(at: At<'_>) -> Vec<(String, Option<String>)> {
    let from_map = at.keys().map(|key| (key.to_owned(), text(at.get(key))));
    let from_list = items(at).filter_map(|item| text(place(item))).map(|item| match item.split_once('=') {
        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
        None => (item, None),
    });
    from_map.chain(from_list).map(|(key, value)| (key, value.map(|value| defaulted(&value)))).collect()
}

/// A list as it is; a line split at white space, or left to a shell where it has quotes or operators.
fn words(at: At<'_>) -> Vec<String> {
    match text(at) {
        Some(line) if line.contains(['"', '\'', '|', '&', ';', '>', '<', '`', '\\']) => {
            vec!["sh".to_owned(), "-c".to_owned(), defaulted(&line)]
        }
        Some(line) => line.split_whitespace().map(defaulted).collect(),
        None => items(at).filter_map(|item| text(place(item))).map(|word| defaulted(&word)).collect(),
    }
}

/// Compose takes an unset variable for empty and knows `$VAR`; the manifest wants it said.
fn defaulted(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push_str("$$");
            rest = after;
            continue;
        }
        let braced = rest.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        let (reference, after) = braced.unwrap_or_else(|| {
            rest.split_at(rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len()))
        });
        rest = after;
        let end = reference.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(reference.len());
        let (name, modifier) = reference.split_at(end);
        let default = modifier.strip_prefix(":-").or_else(|| modifier.strip_prefix('-')).unwrap_or_default();
        match name {
            "" => out.push_str("$$"),
            name => out.push_str(&format!("${{{name}:-{default}}}")),
        }
    }
    out + rest
}

fn join(directory: &str, path: &str) -> String {
    let path = path.trim_start_matches("./").trim_end_matches('/');
    match (directory, path) {
        ("", "" | ".") => ".".to_owned(),
        ("", path) => path.to_owned(),
        (directory, "" | ".") => directory.to_owned(),
        (directory, path) => format!("{directory}/{path}"),
    }
}

fn text(at: At<'_>) -> Option<String> {
    match &at.node?.data {
        Data::Scalar(scalar) if at.is_given() => Some(scalar.text.clone()),
        _ => None,
    }
}

fn items<'t>(at: At<'t>) -> impl Iterator<Item = &'t Node> {
    at.node.map_or(&[][..], Node::items).iter()
}

fn place(node: &Node) -> At<'_> {
    At::root(node)
}
