//! Containers: the service's own and its sidecars have the same keys, but for where the image is.

use super::{Whole, argv};
use crate::write::{Lines, flow, quoted, with_variables};
use landfall_manifest::yaml::{Map, scalar};

/// An image that Copilot built: CI pushes it and Landfall waits for it.
pub(super) fn awaited(whole: &mut Whole<'_>, service: &str, tag: &str, out: &mut Lines) {
    let image = format!(
        "${{AWS_ACCOUNT_ID:-000000000000}}.dkr.ecr.${{AWS_REGION:-us-east-1}}.amazonaws.com/{}/{service}:{tag}",
        whole.app
    );
    out.line(4, format!("await: {{image: {}}}", with_variables(&image)));
    whole.changes.pending(
        format!("{service}: image"),
        "Copilot built and pushed it; let CI push one for each commit. Set AWS_ACCOUNT_ID and AWS_REGION for Landfall, or write them there",
    );
}

pub(super) fn variables(whole: &mut Whole<'_>, about: &str, map: &Map<'_>, out: &mut Lines) {
    let variables = map.map("variables");
    let mut lines = Lines::default();
    for key in variables.keys().collect::<Vec<_>>() {
        match scalar(variables.get(key)) {
            Some(value) => match whole.substituted(&value.text) {
                Some(value) => lines.text(5, key, &value),
                None => whole.changes.dropped(
                    format!("{about}: variables.{key}"),
                    "holds the environment's name or a variable of the shell: set it under `environments.NAME.variables`",
                ),
            },
            None => whole
                .changes
                .dropped(format!("{about}: variables.{key}"), "comes out of CloudFormation: write the value"),
        }
    }
    block("environment", &lines, out);
}

pub(super) fn secrets(whole: &mut Whole<'_>, about: &str, map: &Map<'_>, out: &mut Lines) {
    let secrets = map.map("secrets");
    let mut lines = Lines::default();
    for key in secrets.keys().collect::<Vec<_>>() {
        let at = secrets.get(key);
        let (kind, text) = match scalar(at) {
            Some(value) => ("ssm", value.text.clone()),
            None => match scalar(at.get("secretsmanager")) {
                Some(value) => ("secrets_manager", value.text.clone()),
                None => {
                    let text = "comes out of CloudFormation: name the parameter or secret";
                    whole.changes.dropped(format!("{about}: secrets.{key}"), text);
                    continue;
                }
            },
        };
        let kind = if text.starts_with("arn:") && text.contains(":secretsmanager:") { "secrets_manager" } else { kind };
        match whole.substituted(&text) {
            Some(text) => lines.line(5, format!("{}: {{{kind}: {}}}", crate::write::name(key), quoted(&text))),
            None => whole.changes.dropped(
                format!("{about}: secrets.{key}"),
                "its name holds the environment's or a variable of the shell: give all environments a parameter of the same name",
            ),
        }
    }
    block("secrets", &lines, out);
}

fn block(key: &str, lines: &Lines, out: &mut Lines) {
    if !lines.0.is_empty() {
        out.line(4, format!("{key}:"));
        out.0.push_str(&lines.0);
    }
}

/// `command` and the times of a container's check; Copilot's defaults are 10s, 5s, 2 and 0s.
pub(super) fn health_check(map: &Map<'_>, out: &mut Lines) {
    if !map.has("healthcheck") {
        return;
    }
    let check = map.map("healthcheck");
    out.line(4, "health_check:");
    let command = match scalar(check.get("command")) {
        Some(line) => quoted(&line.text),
        None => match check.texts("command") {
            list if list.is_empty() => {
                flow(&["CMD-SHELL".to_owned(), "curl -f http://localhost/ || exit 1".to_owned()])
            }
            list => flow(&list),
        },
    };
    out.line(5, format!("command: {command}"));
    out.text(5, "interval", &check.text("interval").unwrap_or_else(|| "10s".to_owned()));
    out.text(5, "timeout", &check.text("timeout").unwrap_or_else(|| "5s".to_owned()));
    out.line(5, format!("retries: {}", check.int("retries", 1, 10).unwrap_or(2)));
    out.maybe(5, "start_period", check.text("start_period").as_deref());
}

pub(super) fn depends_on(map: &Map<'_>, out: &mut Lines) {
    let depends = map.map("depends_on");
    let mut lines = Lines::default();
    for key in depends.keys().collect::<Vec<_>>() {
        if let Some(condition) = depends.text(key) {
            lines.text(5, key, &condition.to_ascii_uppercase());
        }
    }
    block("depends_on", &lines, out);
}

/// `port` of a sidecar may name a protocol.
pub(super) fn port(map: &Map<'_>, key: &str) -> Option<i64> {
    let text = map.text(key)?;
    let number = text.split('/').next().and_then(|port| port.parse::<i64>().ok());
    match number.filter(|port| (1..=65_535).contains(port)) {
        Some(port) => Some(port),
        None => {
            map.reader().wrong(map.at.get(key), format!("`{}` is no port", map.path(key)), "1 to 65535");
            None
        }
    }
}

/// A sidecar; `Some` port if it has one.
pub(super) fn sidecar(whole: &mut Whole<'_>, service: &str, name: &str, map: &Map<'_>, out: &mut Lines) -> Option<i64> {
    let about = format!("{service}: sidecars.{name}");
    out.line(3, format!("{}:", crate::write::name(name)));
    let image = map.get("image");
    match scalar(image) {
        Some(reference) => out.text(4, "image", &reference.text),
        None if image.get("location").is_given() => {
            let image = map.map("image");
            if let Some(reference) = image.text("location") {
                out.text(4, "image", &reference);
            }
        }
        None if image.is_given() => awaited(whole, service, &format!("{name}-{{commit}}"), out),
        None => map.missing("image"),
    }
    let port = port(map, "port");
    if let Some(port) = port {
        out.line(4, format!("ports: [{port}]"));
    }
    if map.boolean("essential") == Some(false) {
        out.line(4, "essential: false");
    }
    argv(map, "entrypoint", out, 4, "entry_point");
    argv(map, "command", out, 4, "command");
    variables(whole, &about, map, out);
    secrets(whole, &about, map, out);
    depends_on(map, out);
    health_check(map, out);
    whole.rest(&about, map, &[]);
    port
}
