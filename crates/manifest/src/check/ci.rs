//! CI's rules: patterns, environments and steps that exist, and an order in which they can run.

use std::collections::BTreeMap;

use landfall_model::ci::{CiStep, needs, order};

use super::{Checker, known, shown_at, syntax};
use crate::authored::{self, CiRule, Manifest};
use crate::codes;
use crate::diagnostic::{Diagnostic, did_you_mean};
use crate::resolve;
use crate::shape::listed;
use crate::tree::{At, shorten};

const KINDS: [&str; 8] = ["test", "build", "push", "deploy", "verify", "preview", "promote", "cluster"];
const NAME: usize = 60;

impl<'t> Checker<'_, 't> {
    pub(super) fn ci(&mut self, manifest: &Manifest) {
        let at = self.root.get("ci");
        let Some(ci) = &manifest.ci else { return };
        let rules_at = at.get("rules");
        let all: Vec<(String, String)> = ci.rules.iter().flat_map(|(rule, own)| names(rule, own)).collect();
        for (name, rule) in &ci.rules {
            let at = rules_at.get(name);
            self.name("rule", name, NAME, at);
            self.rule(manifest, rule, at, &all);
        }
        self.one_name_one_thing(&ci.rules, rules_at);
        for (index, variable) in ci.mask.iter().enumerate() {
            self.variable_name(variable, at.get("mask").item(index));
        }
    }

    fn rule(&mut self, manifest: &Manifest, rule: &CiRule, at: At<'t>, all: &[(String, String)]) {
        self.patterns("branches", &rule.branches, "branch", Some("refs/heads/"), at);
        self.patterns("ignore", &rule.ignore, "branch", Some("refs/heads/"), at);
        self.patterns("tags", &rule.tags, "tag", Some("refs/tags/"), at);
        self.patterns("paths", &rule.paths, "path", None, at);
        let given = ["branches", "tags", "pull_requests"].iter().any(|key| at.get(key).is_given());
        if !given || (rule.branches.is_empty() && rule.tags.is_empty() && !rule.pull_requests) {
            let warning = Diagnostic::warning(codes::NEVER_BUILT, "this rule matches no event")
                .label(at.key_span(), "neither branches, tags nor pull requests")
                .help("add `branches: [\"**\"]` for every branch");
            self.push(warning);
        }
        let steps_at = at.get("steps");
        if rule.steps.is_empty() && steps_at.is_given() {
            self.error(codes::BAD_VALUE, steps_at, "a rule without steps", "empty");
        }
        for (index, step) in rule.steps.iter().enumerate() {
            self.step(manifest, step, steps_at.item(index), all);
        }
        self.can_be_ordered(rule, steps_at);
    }

    pub(super) fn patterns(&mut self, key: &str, patterns: &[String], what: &str, full: Option<&str>, at: At<'_>) {
        for (index, pattern) in patterns.iter().enumerate() {
            let item = at.get(key).item(index);
            if let Err(rule) = syntax::glob(pattern) {
                let error = Diagnostic::error(codes::GLOB, format!("{} is no {what} pattern", shown_at(item)))
                    .label(item.span(), rule)
                    .help("`*` stops at `/`, `**` does not, `{a,b}` is either, `[0-9]` is one of");
                self.push(error);
            } else if let Some(short) = full.and_then(|full| pattern.strip_prefix(full)) {
                let warning =
                    Diagnostic::warning(codes::NEVER_BUILT, format!("patterns match the short name of a {what}"))
                        .label(item.span(), "matches nothing")
                        .help(format!("use `{}`", shorten(short)));
                self.push(warning);
            } else if full.is_none()
                && let Some(inner) = pattern.strip_prefix("./").or_else(|| pattern.strip_prefix('/'))
            {
                let warning =
                    Diagnostic::warning(codes::NEVER_BUILT, "paths begin at the repository's root, without `/`")
                        .label(item.span(), "matches nothing")
                        .help(format!("use `{}`", shorten(inner)));
                self.push(warning);
            }
        }
    }

    fn step(&mut self, manifest: &Manifest, step: &authored::CiStep, at: At<'t>, all: &[(String, String)]) {
        if at.keys().all(|key| matches!(key, "args" | "name" | "needs" | "timeout")) {
            let message = format!("a step needs one of {}", listed(KINDS.iter().copied(), "or"));
            self.error(codes::EXACTLY_ONE, at, message, "none given");
            return;
        }
        if !self.exactly_one("a step", at, &KINDS) {
            return;
        }
        if step.test.is_some() && !step.args.is_empty() {
            let error = Diagnostic::error(codes::BAD_VALUE, "a test's commands have their words themselves")
                .label(at.get("args").span(), "for no command of landfall's")
                .help("write them into the lines of `test`");
            self.push(error);
        }
        if let Some(commands) = &step.test {
            let at = at.get("test");
            if commands.is_empty() || commands.iter().all(|command| command.0.trim().is_empty()) {
                self.error(codes::BAD_VALUE, at, "a test without commands", "empty");
            }
        }
        if step.cluster.as_ref().is_some_and(|values| values.trim().is_empty()) {
            self.error(codes::BAD_VALUE, at.get("cluster"), "a cluster without its file", "`infra.yml`, usually");
        }
        for (key, environment) in [("deploy", &step.deploy), ("verify", &step.verify), ("promote", &step.promote)] {
            if let Some(environment) = environment {
                self.environment_ref(manifest, environment, at.get(key));
            }
        }
        if step.preview.is_some() && manifest.previews.is_none() && !self.root.get("previews").is_given() {
            let error = Diagnostic::error(codes::UNKNOWN_ENVIRONMENT, "there are no previews")
                .label(at.get("preview").key_span(), "what should come up?")
                .help("add `previews: {}`");
            self.push(error);
        }
        if let Some(name) = &step.name {
            let at = at.get("name");
            if name.trim() != name || name.is_empty() || name.len() > NAME || name.chars().any(char::is_control) {
                let error = Diagnostic::error(codes::NAME, format!("{} cannot be the name of a step", shown_at(at)));
                self.push(error.label(at.span(), format!("one line, 1 to {NAME} characters")));
            }
        }
        self.seconds(step.timeout, at.get("timeout"), 1, 86_400);
        for (index, need) in step.needs.iter().flatten().enumerate() {
            let at = at.get("needs").item(index);
            let names = || all.iter().map(|(_, name)| name.as_str());
            if !names().any(|name| name == need) {
                let mut each: Vec<&str> = names().collect();
                each.sort_unstable();
                each.dedup();
                let error = Diagnostic::error(codes::UNKNOWN_STEP, format!("there is no step {}", shown_at(at)))
                    .label(at.span(), "no rule has it")
                    .help(known("step", each.iter().copied()))
                    .maybe_help(did_you_mean(need, each.iter().copied()));
                self.push(error);
            }
        }
    }

    pub(super) fn environment_ref(&mut self, manifest: &Manifest, name: &str, at: At<'_>) {
        if manifest.environments.contains_key(name) || self.root.get("environments").get(name).is_given() {
            return;
        }
        let all = || manifest.environments.keys().map(String::as_str);
        let error = Diagnostic::error(codes::UNKNOWN_ENVIRONMENT, format!("there is no environment {}", shown_at(at)))
            .label(at.span(), "not defined under `environments`")
            .help(known("environment", all()))
            .maybe_help(did_you_mean(name, all()));
        self.push(error);
    }

    /// No two steps of one rule have one name, and none waits for itself, however far around.
    fn can_be_ordered(&mut self, rule: &CiRule, at: At<'_>) {
        let steps: Vec<(usize, CiStep)> = resolved(rule);
        for (nth, (index, step)) in steps.iter().enumerate() {
            if let Some((first, _)) = steps[..nth].iter().find(|(_, other)| other.name == step.name) {
                let message = format!("two steps of one rule are called `{}`", shorten(&step.name));
                let error = Diagnostic::error(codes::UNKNOWN_STEP, message)
                    .label(at.item(*index).span(), "the second one")
                    .label(at.item(*first).span(), "the first one")
                    .help("give one of them a `name`");
                self.push(error);
                return;
            }
        }
        let own: Vec<CiStep> = steps.iter().map(|(_, step)| step.clone()).collect();
        if let Err(circle) = order(&needs(&own)) {
            let names: Vec<&str> = circle.iter().map(|nth| own[*nth].name.as_str()).collect();
            let written = circle.iter().map(|nth| steps[*nth].0).find(|index| rule.steps[*index].needs.is_some());
            let message = format!("these steps wait for each other: {}", names.join(", "));
            let place = written.map_or(at, |index| at.item(index).get("needs"));
            self.error(codes::CYCLE, place, message, "closes the circle");
        }
    }

    /// A name that several rules use for different things could not run where both match.
    fn one_name_one_thing(&mut self, rules: &BTreeMap<String, CiRule>, at: At<'_>) {
        let mut seen: BTreeMap<String, (CiStep, &str)> = BTreeMap::new();
        for (name, rule) in rules {
            for (index, step) in resolved(rule) {
                match seen.get(&step.name) {
                    Some((other, first)) if *other != step && *first != name.as_str() => {
                        let message =
                            format!("step `{}` is another thing in rule `{}`", shorten(&step.name), shorten(first));
                        let warning = Diagnostic::warning(codes::UNKNOWN_STEP, message)
                            .label(
                                at.get(name).get("steps").item(index).span(),
                                "an event that matches both is refused",
                            )
                            .help("give one of them a `name`, or make them the same");
                        self.push(warning);
                    }
                    Some(_) => {}
                    None => {
                        seen.insert(step.name.clone(), (step, name));
                    }
                }
            }
        }
    }
}

/// Steps that were not refused, with their place.
fn resolved(rule: &CiRule) -> Vec<(usize, CiStep)> {
    let one = |(index, step): (usize, &authored::CiStep)| Some((index, resolve::ci_step(step.clone())?));
    rule.steps.iter().enumerate().filter_map(one).collect()
}

fn names(rule: &str, own: &CiRule) -> Vec<(String, String)> {
    resolved(own).into_iter().map(|(_, step)| (rule.to_owned(), step.name)).collect()
}
