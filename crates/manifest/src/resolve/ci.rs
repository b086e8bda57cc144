//! CI's rules, authored → resolved.

use landfall_model::ci::{Ci, CiAction, CiRule, CiStep};

use crate::authored;
use crate::tree::At;

pub(super) fn ci(ci: authored::Ci, at: At<'_>) -> Ci {
    let rules_at = at.get("rules");
    let mut rules: Vec<CiRule> = ci.rules.into_iter().map(|(name, rule)| resolved(name, rule)).collect();
    rules.sort_by_key(|rule| rules_at.position(&rule.name));
    Ci { rules, mask: ci.mask }
}

fn resolved(name: String, rule: authored::CiRule) -> CiRule {
    let authored::CiRule { branches, ignore, tags, pull_requests, paths, steps } = rule;
    let steps = steps.into_iter().filter_map(step).collect();
    CiRule { name, branches, ignore, tags, pull_requests, paths, steps }
}

/// `None` for what a check refused.
pub(crate) fn step(step: authored::CiStep) -> Option<CiStep> {
    let run = action(&step)?;
    let name = step.name.unwrap_or_else(|| run.usual_name());
    let timeout = step.timeout.map(|timeout| u32::try_from(timeout.0 / 1_000).unwrap_or(u32::MAX));
    let args = step.args.into_iter().map(|word| word.0).collect();
    Some(CiStep { name, run, args, needs: step.needs, timeout })
}

fn action(step: &authored::CiStep) -> Option<CiAction> {
    let to = |environment: &Option<String>| environment.clone();
    Some(if let Some(commands) = &step.test {
        CiAction::Test { commands: commands.iter().map(|command| command.0.clone()).collect() }
    } else if step.build.is_some() {
        CiAction::Build
    } else if step.push.is_some() {
        CiAction::Push
    } else if let Some(environment) = to(&step.deploy) {
        CiAction::Deploy { environment }
    } else if let Some(environment) = to(&step.verify) {
        CiAction::Verify { environment }
    } else if step.preview.is_some() {
        CiAction::Preview
    } else if let Some(values) = step.cluster.clone() {
        CiAction::Cluster { values }
    } else {
        CiAction::Promote { environment: to(&step.promote)? }
    })
}
