//! From rules and an event to the steps of a flow, with why each rule did or did not match.

use globset::GlobBuilder;
use landfall_model::ci::{Ci, CiAction, CiRule, CiStep, needs, order};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::context::{CiContext, Event};

/// The paths that an event changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    Paths(Vec<String>),
    /// And why they are not known. Then every path counts as changed: rather too much is done than too little.
    Unknown(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    pub rule: String,
    pub matches: bool,
    pub why: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedStep {
    pub name: String,
    pub run: CiAction,
    /// More words for the landfall command.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Names of steps of this flow.
    pub needs: Vec<String>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
    /// The rules that ask for it.
    pub rules: Vec<String>,
}

/// A step that a matching rule has and this event does not get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    pub step: String,
    pub why: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Flow {
    pub context: CiContext,
    pub rules: Vec<Verdict>,
    /// Each after what it needs.
    pub steps: Vec<PlannedStep>,
    pub left_out: Vec<LeftOut>,
}

/// Whether the changed paths decide anything here.
pub fn asks_for_paths(ci: &Ci, event: &Event) -> bool {
    ci.rules.iter().any(|rule| !rule.paths.is_empty() && refs(rule, event).is_ok())
        && !matches!(event, Event::Tag { .. })
}

/// What would run.
///
/// # Errors
/// Steps of several rules that wait for each other, or that have one name and mean different things.
pub fn plan(ci: &Ci, context: CiContext, changed: &Changed) -> Result<Flow, String> {
    let mut rules = Vec::new();
    let mut chosen: Vec<(CiStep, Vec<String>)> = Vec::new();
    let mut left_out: Vec<LeftOut> = Vec::new();
    for rule in &ci.rules {
        let verdict = matches(rule, &context.event, changed);
        for step in rule.steps.iter().filter(|_| verdict.is_ok()) {
            if let Err(why) = allowed(step, &context.event) {
                if !left_out.iter().any(|one| one.step == step.name) {
                    left_out.push(LeftOut { step: step.name.clone(), why });
                }
                continue;
            }
            match chosen.iter_mut().find(|(other, _)| other.name == step.name) {
                Some((other, from)) if other == step => from.push(rule.name.clone()),
                Some((_, from)) => {
                    let others = from.join("`, `");
                    return Err(format!(
                        "step `{}` is one thing in rule `{others}` and another in rule `{}`, and both match",
                        step.name, rule.name
                    ));
                }
                None => chosen.push((step.clone(), vec![rule.name.clone()])),
            }
        }
        let matches = verdict.is_ok();
        rules.push(Verdict { rule: rule.name.clone(), matches, why: verdict.unwrap_or_else(|why| why) });
    }
    let (steps, from): (Vec<CiStep>, Vec<Vec<String>>) = chosen.into_iter().unzip();
    let needs = needs(&steps);
    let sorted = order(&needs).map_err(|circle| {
        let names: Vec<&str> = circle.into_iter().map(|at| steps[at].name.as_str()).collect();
        format!("these steps wait for each other: {}", names.join(", "))
    })?;
    let planned = |at: usize| PlannedStep {
        name: steps[at].name.clone(),
        run: steps[at].run.clone(),
        args: steps[at].args.clone(),
        needs: needs[at].iter().map(|need| steps[*need].name.clone()).collect(),
        timeout: steps[at].timeout,
        rules: from[at].clone(),
    };
    let steps = sorted.into_iter().map(planned).collect();
    Ok(Flow { context, rules, steps, left_out })
}

/// What a stranger's pull request does not get, and what makes no sense for the event.
fn allowed(step: &CiStep, event: &Event) -> Result<(), String> {
    match event {
        Event::PullRequest { fork: true, .. } if step.run.reaches_out() => {
            Err("a fork's pull request gets tests and builds only".to_owned())
        }
        Event::Tag { .. } | Event::Manual if step.run == CiAction::Preview => {
            Err("a preview belongs to a branch".to_owned())
        }
        _ => Ok(()),
    }
}

/// `Ok`: it matches, and by what; `Err`: it does not, and why.
fn matches(rule: &CiRule, event: &Event, changed: &Changed) -> Result<String, String> {
    let by = refs(rule, event)?;
    if rule.paths.is_empty() || matches!(event, Event::Tag { .. }) {
        return Ok(by);
    }
    match changed {
        Changed::Unknown(why) => Ok(format!("{by}; what changed is not known ({why}), so every path counts")),
        Changed::Paths(paths) => {
            let hit = |path: &&String| any(&rule.paths, path).is_some();
            match paths.iter().find(hit) {
                Some(path) => Ok(format!("{by}, and {path} changed")),
                None => {
                    let files = match paths.len() {
                        0 => "nothing changed".to_owned(),
                        1 => format!("only {} changed", paths[0]),
                        n => format!("none of the {n} paths that changed matches"),
                    };
                    Err(format!("{by}, but {files}, and its paths are {}", listed(&rule.paths)))
                }
            }
        }
    }
}

/// By the event alone.
fn refs(rule: &CiRule, event: &Event) -> Result<String, String> {
    match event {
        Event::Push { branch } => {
            if let Some(ignored) = any(&rule.ignore, branch) {
                return Err(format!("branch {branch} matches `{ignored}`, which it ignores"));
            }
            one_of("branch", branch, &rule.branches, "pushes to branches")
        }
        Event::Tag { tag } => one_of("tag", tag, &rule.tags, "tags"),
        Event::PullRequest { number, .. } if rule.pull_requests => Ok(format!("pull request #{number}")),
        Event::PullRequest { .. } => Err("it is not for pull requests".to_owned()),
        Event::Manual => Err("the commit has neither branch, tag nor pull request".to_owned()),
    }
}

fn one_of(what: &str, name: &str, patterns: &[String], all: &str) -> Result<String, String> {
    match any(patterns, name) {
        Some(pattern) => Ok(format!("{what} {name} matches `{pattern}`")),
        None if patterns.is_empty() => Err(format!("it is not for {all}")),
        None => Err(format!("{what} {name} does not match {}", listed(patterns))),
    }
}

fn listed(patterns: &[String]) -> String {
    let all: Vec<String> = patterns.iter().map(|pattern| format!("`{pattern}`")).collect();
    all.join(", ")
}

/// The first pattern that matches. The manifest's check refused what is none.
fn any<'p>(patterns: &'p [String], text: &str) -> Option<&'p str> {
    let hit = |pattern: &&String| {
        let glob = GlobBuilder::new(pattern).literal_separator(true).build();
        glob.is_ok_and(|glob| glob.compile_matcher().is_match(text))
    };
    patterns.iter().find(hit).map(String::as_str)
}

impl Flow {
    /// The same for the same steps of the same commit and event: what a killed job is continued by.
    pub fn fingerprint(&self) -> String {
        let about = serde_json::json!({
            "commit": self.context.commit,
            "event": self.context.event,
            "repository": self.context.repository,
            "steps": self.steps,
        });
        hex::encode(&Sha256::digest(about.to_string())[..16])
    }

    /// For a person.
    pub fn text(&self) -> String {
        use std::fmt::Write as _;

        let CiContext { host, event, repository, commit, .. } = &self.context;
        let mut out = format!("{}: {}", host.name(), event.title());
        for (of, what) in [(" of ", repository), (" at ", commit)] {
            if let Some(what) = what {
                let _ = write!(out, "{of}{what}");
            }
        }
        out.push_str("\n\nrules\n");
        let width = self.rules.iter().map(|rule| rule.rule.chars().count()).max().unwrap_or(0);
        for Verdict { rule, matches, why } in &self.rules {
            let _ = writeln!(out, "  {} {rule:<width$}  {why}", if *matches { "✓" } else { "-" });
        }
        if self.steps.is_empty() {
            out.push_str("\nnothing would run\n");
        } else {
            out.push_str("\nsteps\n");
        }
        let width = self.steps.iter().map(|step| step.name.chars().count()).max().unwrap_or(0);
        for step in &self.steps {
            let after = match step.needs.as_slice() {
                [] => "at once".to_owned(),
                needs => format!("after {}", needs.join(", ")),
            };
            let _ = writeln!(out, "  {:<width$}  {after}", step.name);
            if let CiAction::Test { commands } = &step.run {
                for line in commands.iter().flat_map(|command| command.lines()) {
                    let _ = writeln!(out, "    $ {line}");
                }
            }
        }
        for LeftOut { step, why } in &self.left_out {
            let _ = writeln!(out, "  {step}: left out, {why}");
        }
        out
    }
}

#[cfg(test)]
mod tests;
