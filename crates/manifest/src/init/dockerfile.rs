//! What a Dockerfile says about the container made from it: ports, health check, stages. Not a full parser: what it does not
//! understand it leaves out.

use std::collections::BTreeMap;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Dockerfile {
    pub ports: Vec<u16>,
    pub health: Option<Health>,
    /// A stage meant for production that is not the last one.
    pub target: Option<String>,
}

/// A health check as ECS writes it; durations as text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Health {
    pub command: Vec<String>,
    pub interval: Option<String>,
    pub timeout: Option<String>,
    pub start_period: Option<String>,
    pub retries: Option<u32>,
}

#[derive(Debug, Clone, Default)]
struct Stage {
    name: String,
    ports: Vec<u16>,
    health: Option<Health>,
}

pub(super) fn read(text: &str) -> Dockerfile {
    let mut stages: Vec<Stage> = Vec::new();
    let mut variables: BTreeMap<String, String> = BTreeMap::new();
    for line in logical_lines(text) {
        let Some((word, rest)) = line.split_once(char::is_whitespace) else { continue };
        let rest = rest.trim();
        match word.to_ascii_uppercase().as_str() {
            "FROM" => {
                let words: Vec<_> = rest.split_whitespace().filter(|word| !word.starts_with("--")).collect();
                let base = words.first().copied().unwrap_or_default();
                let name = words.get(2).copied().unwrap_or_default();
                // A stage on top of another keeps its ports and health check.
                let inherited = stages.iter().find(|stage| !base.is_empty() && stage.name.eq_ignore_ascii_case(base));
                let inherited = inherited.cloned().unwrap_or_default();
                stages.push(Stage { name: name.to_owned(), ..inherited });
            }
            "ENV" | "ARG" => {
                for pair in rest.split_whitespace() {
                    if let Some((name, value)) = pair.split_once('=') {
                        variables.insert(name.to_owned(), value.trim_matches(['"', '\'']).to_owned());
                    }
                }
            }
            "EXPOSE" => {
                let ports = rest.split_whitespace().filter_map(|port| {
                    let variable = port.trim_start_matches('$').trim_matches(['{', '}']);
                    let port = if port.starts_with('$') { variables.get(variable)?.as_str() } else { port };
                    port.strip_suffix("/tcp").unwrap_or(port).parse().ok().filter(|port| *port > 0)
                });
                let ports: Vec<u16> = ports.collect();
                if let Some(stage) = stages.last_mut() {
                    stage.ports.extend(ports);
                }
            }
            "HEALTHCHECK" => {
                if let Some(stage) = stages.last_mut() {
                    stage.health = health(rest);
                }
            }
            _ => {}
        }
    }
    let Some(mut chosen) = stages.last().cloned() else { return Dockerfile::default() };
    let mut target = None;
    let production =
        |stage: &&Stage| matches!(stage.name.as_str(), "production" | "prod" | "runtime" | "release" | "final");
    if !production(&&chosen)
        && let Some(stage) = stages.iter().rfind(production)
    {
        chosen = stage.clone();
        target = Some(stage.name.clone());
    }
    chosen.ports.sort_unstable();
    chosen.ports.dedup();
    Dockerfile { ports: chosen.ports, health: chosen.health, target }
}

fn health(text: &str) -> Option<Health> {
    let mut health = Health::default();
    let mut rest = text;
    while let Some(option) = rest.strip_prefix("--") {
        let (option, after) = option.split_once(char::is_whitespace)?;
        let (name, value) = option.split_once('=')?;
        match name {
            "interval" => health.interval = Some(value.to_owned()),
            "timeout" => health.timeout = Some(value.to_owned()),
            "start-period" => health.start_period = Some(value.to_owned()),
            "retries" => health.retries = value.parse().ok(),
            _ => {}
        }
        rest = after.trim_start();
    }
    let command = rest.strip_prefix("CMD")?.trim();
    health.command = match serde_json::from_str::<Vec<String>>(command) {
        Ok(argv) if !argv.is_empty() => std::iter::once("CMD".to_owned()).chain(argv).collect(),
        _ if command.is_empty() => return None,
        _ => vec!["CMD-SHELL".to_owned(), command.to_owned()],
    };
    // The manifest's own interpolation must leave the shell's variables alone.
    health.command.iter_mut().for_each(|word| *word = word.replace('$', "$$"));
    Some(health)
}

/// Lines with continuations joined, without comments and blank lines.
fn logical_lines(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut current = String::new();
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with('#') || (line.is_empty() && current.is_empty()) {
            continue;
        }
        match line.strip_suffix('\\') {
            Some(head) => {
                current.push_str(head);
                current.push(' ');
            }
            None => {
                current.push_str(line);
                out.push(std::mem::take(&mut current));
            }
        }
    }
    out.push(current);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_health_and_stages_are_found() {
        let text = "ARG V=20\nFROM node:$V AS base\nENV PORT=3000\nEXPOSE $PORT 9229/tcp 53/udp\n\
                    HEALTHCHECK --interval=10s --retries=4 \\\n  # why\n  CMD curl -f localhost:$PORT\n\
                    FROM base AS production\nFROM base AS test\nEXPOSE 1\n";
        let read = read(text);
        assert_eq!(read.ports, [3000, 9229]);
        assert_eq!(read.target.as_deref(), Some("production"));
        let health = read.health.unwrap();
        assert_eq!(health.command, ["CMD-SHELL", "curl -f localhost:$$PORT"]);
        assert_eq!((health.interval.as_deref(), health.retries), (Some("10s"), Some(4)));
        assert_eq!(super::read(""), Dockerfile::default());
    }
}
