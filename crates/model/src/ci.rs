//! What a CI job does for which event: rules and their steps, resolved. What a step waits for is decided here, so that the check of a
//! manifest and the run of a job mean the same.

use serde::{Deserialize, Serialize};

/// The manifest's `ci:` section.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ci {
    /// In the order written. Every rule that matches adds its steps; a step that several have is done once.
    pub rules: Vec<CiRule>,
    /// Names of environment variables whose values never show in the output, beside those that look like secrets.
    pub mask: Vec<String>,
}

/// For which events, and what is done then. A rule without `branches`, `tags` and `pull_requests` matches nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CiRule {
    pub name: String,
    /// A push matches with one of `branches` and none of `ignore` (globs; `*` stops at `/`, `**` does not).
    pub branches: Vec<String>,
    pub ignore: Vec<String>,
    pub tags: Vec<String>,
    pub pull_requests: bool,
    /// Where there are some, one of the paths that a push or a pull request changed must match one of these. A tag changes none.
    pub paths: Vec<String>,
    pub steps: Vec<CiStep>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CiStep {
    /// Unlike any other's of the flow: `test`, `deploy staging`, or as written.
    pub name: String,
    pub run: CiAction,
    /// More words for the landfall command; none of a test's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Names of steps; `None`: as [`needs`] has it.
    pub needs: Option<Vec<String>>,
    /// Seconds until it is stopped and counts as failed.
    pub timeout: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CiAction {
    /// Shell lines, one after another; the first that fails ends the step.
    Test {
        commands: Vec<String>,
    },
    /// Every image of the manifest.
    Build,
    /// What was built, to its registry.
    Push,
    Deploy {
        environment: String,
    },
    /// The environment's probes.
    Verify {
        environment: String,
    },
    /// The branch's preview, brought up or updated.
    Preview,
    /// A deployment of the image that the commit has already; nothing is built.
    Promote {
        environment: String,
    },
    /// The cluster of an `infra.yml`, rolled to the commit.
    Cluster {
        values: String,
    },
}

impl CiAction {
    /// What a step of this kind is called unless it has a name of its own.
    pub fn usual_name(&self) -> String {
        match self {
            CiAction::Test { .. } => "test".to_owned(),
            CiAction::Build => "build".to_owned(),
            CiAction::Push => "push".to_owned(),
            CiAction::Deploy { environment } => format!("deploy {environment}"),
            CiAction::Verify { environment } => format!("verify {environment}"),
            CiAction::Preview => "preview".to_owned(),
            CiAction::Promote { environment } => format!("promote {environment}"),
            CiAction::Cluster { values } => format!("cluster {values}"),
        }
    }

    /// Whether it changes something outside of the job, or takes secrets to do: nothing for a stranger's pull request.
    pub fn reaches_out(&self) -> bool {
        !matches!(self, CiAction::Test { .. } | CiAction::Build)
    }
}

/// 0: tests and builds that need nothing but such, at the beginning; 1: pushes, after these; 2: after both, one after another as written.
fn ranks(steps: &[CiStep]) -> Vec<u8> {
    let early = |step: &CiStep| matches!(step.run, CiAction::Test { .. } | CiAction::Build);
    let mut ranks: Vec<u8> = steps
        .iter()
        .map(|step| match step.run {
            CiAction::Push => 1,
            _ if early(step) => 0,
            _ => 2,
        })
        .collect();
    // What waits for something later is later itself, and so is what waits for that.
    for _ in steps {
        for (at, step) in steps.iter().enumerate().filter(|(_, step)| early(step)) {
            let needs = step.needs.iter().flatten();
            let later =
                |name: &String| steps.iter().position(|other| other.name == *name).is_some_and(|at| ranks[at] > 0);
            if needs.into_iter().any(later) {
                ranks[at] = 2;
            }
        }
    }
    ranks
}

/// By step, the indices of those that it waits for. Tests and builds wait for nothing; a push for all of them that do not
/// come after it; whatever else for
/// these and for what is written before it. `needs` replaces that; what it names and the flow does not have is not waited for.
pub fn needs(steps: &[CiStep]) -> Vec<Vec<usize>> {
    let named = |names: &[String]| {
        let here = |name: &String| steps.iter().position(|step| step.name == *name);
        names.iter().filter_map(here).collect()
    };
    let ranks = ranks(steps);
    let usual = |at: usize| {
        let own = ranks[at];
        let before = |other: &usize| {
            let rank = ranks[*other];
            rank < own || (rank == 2 && own == 2 && *other < at)
        };
        (0..steps.len()).filter(before).collect()
    };
    let one = |(at, step): (usize, &CiStep)| step.needs.as_ref().map_or_else(|| usual(at), |names| named(names));
    steps.iter().enumerate().map(one).collect()
}

/// Indices in an order in which each comes after what it waits for, as written otherwise; `Err`: those that wait for each other.
///
/// # Errors
/// The steps of a circle and what waits for them, as written.
pub fn order(needs: &[Vec<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    let mut done: Vec<usize> = Vec::with_capacity(needs.len());
    while done.len() < needs.len() {
        let ready = |at: &usize| !done.contains(at) && needs[*at].iter().all(|need| done.contains(need));
        match (0..needs.len()).find(ready) {
            Some(next) => done.push(next),
            None => return Err((0..needs.len()).filter(|at| !done.contains(at)).collect()),
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(run: CiAction, needs: Option<&[&str]>) -> CiStep {
        let needs = needs.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        CiStep { name: run.usual_name(), run, args: Vec::new(), needs, timeout: None }
    }

    fn test() -> CiAction {
        CiAction::Test { commands: vec!["true".to_owned()] }
    }

    fn to(environment: &str) -> String {
        environment.to_owned()
    }

    #[test]
    fn tests_and_builds_come_first_and_deployments_one_after_another() {
        let steps = [
            step(CiAction::Deploy { environment: to("staging") }, None),
            step(CiAction::Verify { environment: to("staging") }, None),
            step(CiAction::Push, None),
            step(test(), None),
            step(CiAction::Build, None),
            step(CiAction::Promote { environment: to("prod") }, None),
        ];
        let needs = needs(&steps);
        assert_eq!(needs[2], [3, 4]);
        assert_eq!(needs[0], [2, 3, 4]);
        assert_eq!(needs[1], [0, 2, 3, 4]);
        assert_eq!(needs[5], [0, 1, 2, 3, 4]);
        assert!(needs[3].is_empty() && needs[4].is_empty());
        assert_eq!(order(&needs), Ok(vec![3, 4, 2, 0, 1, 5]));
    }

    #[test]
    fn what_is_written_replaces_the_usual_and_a_late_test_is_waited_for() {
        let late = CiStep { name: "smoke".to_owned(), ..step(test(), Some(&["deploy staging"])) };
        let steps = [
            step(CiAction::Build, None),
            step(CiAction::Push, Some(&["build", "lint"])),
            step(CiAction::Deploy { environment: to("staging") }, Some(&["push"])),
            late,
            step(CiAction::Deploy { environment: to("prod") }, None),
        ];
        assert_eq!(needs(&steps), [vec![], vec![0], vec![1], vec![2], vec![0, 1, 2, 3]]);
    }

    #[test]
    fn a_push_waits_for_tests_and_builds_that_wait_for_each_other() {
        let named = |name: &str, run, needs| CiStep { name: name.to_owned(), ..step(run, Some(needs)) };
        let steps = [
            step(test(), None),
            step(CiAction::Build, Some(&["test"])),
            named("lint", test(), &["test"]),
            step(CiAction::Push, None),
            named("smoke", test(), &["deploy staging"]),
            named("after smoke", test(), &["smoke"]),
            step(CiAction::Deploy { environment: to("staging") }, None),
        ];
        let needs = needs(&steps);
        assert_eq!(needs[3], [0, 1, 2]);
        assert_eq!(order(&needs), Err(vec![4, 5, 6]), "a deployment comes after what is written before it");
        let steps: Vec<CiStep> = [0, 1, 2, 3, 6, 4, 5].map(|at| steps[at].clone()).into();
        assert_eq!(order(&super::needs(&steps)), Ok(vec![0, 1, 2, 3, 4, 5, 6]));
    }

    #[test]
    fn a_circle_is_told() {
        let steps = [
            step(test(), None),
            step(CiAction::Push, Some(&["deploy prod"])),
            step(CiAction::Deploy { environment: to("prod") }, None),
        ];
        assert_eq!(order(&needs(&steps)), Err(vec![1, 2]));
    }
}
