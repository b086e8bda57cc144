//! docs/cli.md, made from the command line itself and from `env_vars`. This is a test: it fails when the page is stale, and
//! `UPDATE_DOCS=1 cargo test -p landfall reference` renews it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::CommandFactory;

use crate::cli::Cli;
use crate::env_vars;

fn section(out: &mut String, command: &clap::Command, path: &str, depth: usize) {
    let path = if path.is_empty() { command.get_name().to_owned() } else { format!("{path} {}", command.get_name()) };
    let mut command = command.clone().term_width(110).color(clap::ColorChoice::Never);
    if depth > 0 {
        // The same options everywhere are said once.
        command = command.mut_args(|arg| if arg.is_global_set() { arg.hide(true) } else { arg });
    }
    let text = command.render_long_help().to_string();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let _ = write!(out, "{} `{path}`\n\n```text\n{}\n```\n\n", "#".repeat((depth + 2).min(4)), lines.join("\n").trim());
    for child in command.get_subcommands().filter(|child| !child.is_hide_set() && child.get_name() != "help") {
        section(out, child, &path, depth + 1);
    }
}

/// Codes of the core and of the engine's search, which have no list of their own.
const CORE: &[(&str, &str, &str)] = &[
    ("LF-STEP-TIMEOUT", "A step was not done within its time.", "The note of the step says what it waited for."),
    (
        "LF-STEP-CALL-TIMEOUT",
        "One call of a step took too long.",
        "It is tried again by itself; is the engine overloaded?",
    ),
    ("LF-STEP-PANIC", "A defect in a step.", "Please report it with the log."),
    (
        "LF-STEP-RESULT-UNKNOWN",
        "A crash left it unknown whether something that must not be repeated was done.",
        "Look whether it was: then `landfall executions skip`, otherwise `retry`. `rerunnable: true` on a hook avoids the question.",
    ),
    (
        "LF-OUTPUT-MISSING",
        "A step needs what a skipped or failed step would have given.",
        "Retry the earlier step instead of skipping it.",
    ),
    (
        "LF-UNDO-TIMEOUT",
        "Undoing a step took too long; what it made may be left.",
        "`landfall gc --dry-run` shows what is left.",
    ),
    (
        "LF-ENGINE-MISSING",
        "There is no container engine.",
        "Install Docker, or Podman with runc: on Debian or Ubuntu `apt-get install podman runc`. See [engine](engine.md).",
    ),
];

fn page() -> String {
    let mut out = String::from(
        "# Command line\n\n<!-- Generated: UPDATE_DOCS=1 cargo test -p landfall reference -->\n\n\
         stdout is data, stderr is everything else. `--output json` works on every command that reads, and prints one document. \
         [Exit codes](exit-codes.md) are fixed; [errors](errors/README.md) have codes.\n\n\
         Commands about previews, executions and deliveries, and `gc`, talk to the running server. Where none runs they open the state \
         themselves, which takes the manifest and the container engine, reads included.\n\n## Environment variables\n\n\
         | variable | meaning |\n|---|---|\n",
    );
    for variable in env_vars::ALL {
        let what: Vec<&str> = variable.what.split_whitespace().collect();
        let _ = writeln!(out, "| `{}` | {} |", variable.name, what.join(" "));
    }
    out.push('\n');
    let mut command = Cli::command();
    command.build();
    section(&mut out, &command, "", 0);
    let trimmed = out.trim_end().to_owned();
    trimmed + "\n"
}

fn fresh(file: &str, wanted: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(file);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "docs/{file} is stale: UPDATE_DOCS=1 cargo test -p landfall reference");
}

#[test]
fn the_reference_is_fresh() {
    fresh("cli.md", &page());
}

#[test]
fn the_index_of_errors_is_fresh() {
    let mut out = String::from(
        "# Errors\n\n<!-- Generated: UPDATE_DOCS=1 cargo test -p landfall reference -->\n\n\
         Every failure that a person may meet has a code. It is in messages, in notices, in the journal and in JSON output, and \
         it does not change. [Exit codes](../exit-codes.md) are another matter: they say how a command ended.\n\n\
         Where the remedy takes more than a line there is a page: [engine](engine.md), [images](images.md), [tasks](tasks.md), \
         [routing](routing.md), [hooks](hooks.md), [leftovers](leftovers.md).\n\n\
         ## While working on an environment\n\n| code | what happened | what to do |\n|---|---|---|\n",
    );
    for code in landfall_steps::CODES {
        let _ = writeln!(out, "| `{}` | {} | {} |", code.code, code.what, code.remedy);
    }
    for (code, what, remedy) in CORE {
        let _ = writeln!(out, "| `{code}` | {what} | {remedy} |");
    }
    out.push_str("\n## With images and registries\n\n[Images](../images.md) has more.\n\n| code | what happened | what to do |\n|---|---|---|\n");
    for (code, what, remedy) in landfall_registry::codes::ALL {
        let _ = writeln!(out, "| `{code}` | {what} | {remedy} |");
    }
    out.push_str("\n## In a manifest\n\n`landfall check` shows the place and a hint. [The manifest's reference](../manifest.md) has more.\n\n| code | what is wrong |\n|---|---|\n");
    for (code, title) in landfall_manifest::codes::ALL {
        let _ = writeln!(out, "| `{code}` | {title} |");
    }
    out.push_str("\n## In another tool's files\n\n`landfall import` shows the place. [Coming from other tools](../import.md) has more.\n\n| code | what is wrong |\n|---|---|\n");
    for (code, title) in landfall_import::CODES {
        let _ = writeln!(out, "| `{code}` | {title} |");
    }
    fresh("errors/README.md", &out);
}

#[test]
fn every_visible_command_has_examples() {
    fn walk(command: &clap::Command, path: &str, missing: &mut Vec<String>) {
        let path = format!("{path} {}", command.get_name());
        let leaf = !command.has_subcommands();
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        if leaf && !help.contains("Examples:\n") {
            missing.push(path.clone());
        }
        for child in command.get_subcommands().filter(|child| !child.is_hide_set() && child.get_name() != "help") {
            walk(child, &path, missing);
        }
    }
    let mut missing = Vec::new();
    let mut command = Cli::command();
    command.build();
    walk(&command, "", &mut missing);
    assert!(missing.is_empty(), "no examples in the help of: {missing:?}");
}

/// What is told of a command in the list that it is in, and what its own help begins with. A comment on a struct of arguments would take
/// its place when they are added, which is done when the command is chosen.
#[test]
fn commands_keep_what_is_told_of_them() {
    type Told = BTreeMap<String, [Option<String>; 2]>;
    fn told(command: &clap::Command, path: &str, all: &mut Told) {
        for child in command.get_subcommands().filter(|child| child.get_name() != "help") {
            let path = format!("{path} {}", child.get_name());
            all.insert(path.clone(), [child.get_about(), child.get_long_about()].map(|text| Some(text?.to_string())));
            told(child, &path, all);
        }
    }
    let (mut before, mut after) = (Told::new(), Told::new());
    let mut command = Cli::command();
    told(&command, "", &mut before);
    command.build();
    told(&command, "", &mut after);
    assert!(before.len() > 60, "{}", before.len());
    let changed: Vec<_> = before.iter().filter(|(path, texts)| after.get(*path) != Some(texts)).collect();
    assert!(changed.is_empty(), "{changed:#?}");
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}
