//! Containers as `init` understands them, and the manifest's text made of them.

use landfall_model::redact::looks_secret;

use super::dockerfile::Health;
use crate::check::syntax;
use crate::github::Repository;
use crate::scalar::duration;

#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub name: String,
    pub image: Image,
    /// Where it goes when it is built: a repository without a tag.
    pub repository: Option<String>,
    pub entry_point: Vec<String>,
    pub command: Vec<String>,
    pub working_directory: Option<String>,
    pub user: Option<String>,
    pub ports: Vec<u16>,
    pub environment: Vec<(String, Option<String>)>,
    pub depends_on: Vec<(String, &'static str)>,
    pub health: Option<Health>,
    pub essential: bool,
    /// Comments for the reader.
    pub notes: Vec<String>,
}

#[derive(Debug, Clone)]
pub(super) enum Image {
    Reference(String),
    Build { context: String, dockerfile: Option<String>, target: Option<String>, args: Vec<(String, Option<String>)> },
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            name: String::new(),
            image: Image::Reference(String::new()),
            repository: None,
            entry_point: Vec::new(),
            command: Vec::new(),
            working_directory: None,
            user: None,
            ports: Vec::new(),
            environment: Vec::new(),
            depends_on: Vec::new(),
            health: None,
            essential: true,
            notes: Vec::new(),
        }
    }
}

/// The manifest. `from`: what the containers were read from; empty for a placeholder.
pub(super) fn write(project: &str, remote: Option<&str>, drafts: Vec<Draft>, from: &str) -> String {
    let mut out = Lines(String::new());
    out.line(0, "# yaml-language-server: $schema=https://raw.githubusercontent.com/landfall/landfall/main/docs/landfall.schema.json");
    out.line(
        0,
        "# `landfall check` explains mistakes, `landfall schema` prints the schema; docs/manifest.md has every key.",
    );
    out.line(0, &format!("project: {project}"));
    out.line(0, "");
    out.line(0, "repositories:");
    out.line(1, &format!("{project}:"));
    if let Some(github) = remote.and_then(github) {
        out.line(2, &format!("github: {github}"));
    }
    out.line(2, "# Where branches are built from: a URL, or a path relative to this file.");
    out.line(2, &format!("source: {}", remote.map_or_else(|| ".".to_owned(), quoted)));
    out.line(0, "");
    out.line(0, "services:");
    out.line(1, "web:");
    match from {
        "" => out.line(2, "# No Dockerfile and no Compose file was found: put your own image here."),
        from => out.line(2, &format!("# Read from {from}.")),
    }
    if drafts.len() > 1 {
        out.line(2, "# The containers of a task share one network namespace, as on Fargate: they reach each other on localhost,");
        out.line(2, "# not by name, and each port can be used once.");
    }
    out.line(2, "containers:");
    for draft in &drafts {
        container(&mut out, draft);
    }
    // The container that nobody waits for and that has a port is the one in front.
    let waited = |name: &str| drafts.iter().any(|other| other.depends_on.iter().any(|(waited, _)| waited == name));
    let serving: Vec<&Draft> = drafts.iter().filter(|draft| !draft.ports.is_empty() && draft.essential).collect();
    let front = serving.iter().find(|draft| !waited(&draft.name)).or(serving.first());
    match front {
        Some(front) => {
            out.line(2, "# Requests to a preview's URL go here; a target is healthy when `path` answers 200 to 399.");
            out.line(2, "load_balancer:");
            out.line(3, &format!("container: {}", quoted(&front.name)));
            out.line(3, &format!("port: {}", front.ports[0]));
            out.line(3, "health_check: {path: /}");
        }
        None => {
            out.line(2, "# No port was found. With `ports` on a container, `load_balancer: {}` gives previews a URL.")
        }
    }
    out.line(0, "");
    out.line(0, "# A preview for every branch that matches, at http://BRANCH.DOMAIN:PORT/.");
    out.line(0, "previews:");
    match drafts.iter().any(|draft| draft.repository.is_some()) {
        true => {
            out.line(1, "# Those whose images are pushed.");
            out.line(1, "branches: [\"*-dev\", \"**/*-dev\"]");
        }
        false => out.line(1, "branches: [\"feature/*\"]"),
    }
    out.line(1, "routing:");
    out.line(2, &format!("host: {{domain: {project}.localhost, port: 8080}}"));
    out.line(1, "# Destroyed after this long without a push; leave out for as long as the branch exists.");
    out.line(1, "ttl: 72h");
    out.0
}

fn container(out: &mut Lines, draft: &Draft) {
    for note in &draft.notes {
        out.line(3, &format!("# {}", note.replace(['\n', '\r'], " ")));
    }
    out.line(3, &format!("{}:", quoted(&draft.name)));
    match &draft.image {
        Image::Reference(image) => out.line(4, &format!("image: {}", quoted(image))),
        Image::Build { context, dockerfile, target, args } => {
            let mut depth = 4;
            if let Some(repository) = &draft.repository {
                out.line(4, "# `landfall push` sends it there, and deployments wait until it is.");
                out.line(4, "await:");
                out.line(5, &format!("image: {}", serde_json::Value::from(format!("{repository}:{{commit}}"))));
                depth = 5;
            }
            out.line(depth, "build:");
            out.line(depth + 1, &format!("context: {}", quoted(context)));
            for (key, value) in [("dockerfile", dockerfile), ("target", target)] {
                if let Some(value) = value {
                    out.line(depth + 1, &format!("{key}: {}", quoted(value)));
                }
            }
            if !args.is_empty() {
                out.line(depth + 1, "args:");
                for (name, value) in args {
                    let value = value.clone().unwrap_or_else(|| format!("${{{name}:-}}"));
                    out.line(depth + 2, &format!("{}: {}", quoted(name), quoted(&value)));
                }
            }
        }
    }
    for (key, words) in [("entry_point", &draft.entry_point), ("command", &draft.command)] {
        if !words.is_empty() {
            out.line(4, &format!("{key}: {}", list(words)));
        }
    }
    for (key, value) in [("working_directory", &draft.working_directory), ("user", &draft.user)] {
        if let Some(value) = value {
            out.line(4, &format!("{key}: {}", quoted(value)));
        }
    }
    if !draft.ports.is_empty() {
        let ports = draft.ports.iter().map(u16::to_string).collect::<Vec<_>>();
        out.line(4, &format!("ports: [{}]", ports.join(", ")));
    }
    let sound = draft.environment.iter().filter(|(name, _)| syntax::variable_name(name));
    let (secret, open): (Vec<_>, Vec<_>) = sound.partition(|(name, _)| looks_secret(name) && !name.ends_with("_FILE"));
    if !open.is_empty() {
        out.line(4, "environment:");
        for (name, value) in open {
            let value = value.clone().unwrap_or_else(|| format!("${{{name}:-}}"));
            out.line(5, &format!("{}: {}", quoted(name), quoted(&value)));
        }
    }
    if !secret.is_empty() {
        out.line(4, "# By reference: set these variables where Landfall runs, or use `file:`.");
        out.line(4, "secrets:");
        for (name, _) in secret {
            out.line(5, &format!("{}: {{env: {}}}", quoted(name), quoted(name)));
        }
    }
    if !draft.depends_on.is_empty() {
        out.line(4, "depends_on:");
        for (name, condition) in &draft.depends_on {
            out.line(5, &format!("{}: {condition}", quoted(name)));
        }
    }
    if let Some(health) = &draft.health {
        out.line(4, "health_check:");
        match health.command.as_slice() {
            [kind, line] if kind == "CMD-SHELL" => out.line(5, &format!("command: {}", quoted(line))),
            words => out.line(5, &format!("command: {}", list(words))),
        }
        let seconds = |text: &Option<String>, least: u64, most: u64| {
            let ms = duration(text.as_deref()?).ok()?;
            Some((ms.div_ceil(1_000)).clamp(least, most))
        };
        let timeout = seconds(&health.timeout, 1, 60);
        let interval = seconds(&health.interval, 1, 300).or(timeout).map(|interval| interval.max(timeout.unwrap_or(1)));
        for (key, value) in
            [("interval", interval), ("timeout", timeout), ("start_period", seconds(&health.start_period, 0, 300))]
        {
            if let Some(value) = value {
                out.line(5, &format!("{key}: {value}s"));
            }
        }
        if let Some(retries) = health.retries {
            out.line(5, &format!("retries: {}", retries.clamp(1, 10)));
        }
    }
    if !draft.essential {
        out.line(4, "# Another container waits for this one to finish, so the task outlives it.");
        out.line(4, "essential: false");
    }
}

/// `owner/name` of a GitHub remote.
fn github(remote: &str) -> Option<String> {
    let repository = Repository::of_origin(remote).ok()?.to_string();
    syntax::github_repository(&repository).then_some(repository)
}

struct Lines(String);

impl Lines {
    fn line(&mut self, depth: usize, text: &str) {
        if !text.is_empty() {
            self.0.push_str(&"  ".repeat(depth));
        }
        self.0.push_str(text);
        self.0.push('\n');
    }
}

/// Plain where YAML cannot misread it, else in double quotes, whose escapes are JSON's.
fn quoted(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '.')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-@".contains(&b) || b == b':')
        && !text.ends_with(':')
        && !matches!(text.to_ascii_lowercase().as_str(), "true" | "false" | "null" | "yes" | "no" | "on" | "off")
        && text.parse::<f64>().is_err();
    if plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

fn list(words: &[String]) -> String {
    format!(
        "[{}]",
        words.iter().map(|word| serde_json::Value::from(word.as_str()).to_string()).collect::<Vec<_>>().join(", ")
    )
}
