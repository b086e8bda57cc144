//! What resources may be called, as patterns of a policy: `planner::names` chooses the names, and a test holds the two together.
//!
//! A name that is too long gives way to the branch's, down to a third; so a pattern ends where a name may be cut.

use landfall_model::app::{App, LongLivedEnvironment};
use landfall_model::names::slug;

/// Patterns that hold every name, and few others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Values of the tag `landfall`.
    pub environments: Vec<String>,
    pub services: Vec<String>,
    /// Of task definitions, without a revision.
    pub families: Vec<String>,
    pub target_groups: Vec<String>,
}

/// A third of what a base name has beside its hash (`planner::names`: 50 less 13), and of a target group's (32 less 3 and 13).
const KEPT_OF_BASE: usize = 12;
const KEPT_OF_GROUP: usize = 5;
/// Of a target group's name, and of the hash in it.
const GROUP_MAX: usize = 32;
const HASH: usize = 12;

impl Names {
    /// Of all previews.
    pub fn of_previews(app: &App) -> Self {
        let mut names =
            Self { environments: Vec::new(), services: Vec::new(), families: Vec::new(), target_groups: Vec::new() };
        let project = slug(&app.project);
        for repository in app.repositories.values() {
            let name = slug(&repository.bare_name());
            let name = if name.is_empty() { project.clone() } else { name };
            let base = begins(&name, KEPT_OF_BASE);
            names.services.push(format!("{base}*-service"));
            names.families.push(format!("{base}*"));
            names.environments.push(format!("{base}*"));
            names.target_groups.push(format!("{}*-tg", begins(&name, KEPT_OF_GROUP)));
        }
        names.tidy();
        names
    }

    /// Of one long-lived environment, whose names are known.
    pub fn of_environment(app: &App, environment: &LongLivedEnvironment) -> Self {
        let begin = format!("{}-{}", app.project, environment.name);
        let mut names = Self {
            environments: vec![environment.id(&app.project).0],
            services: Vec::new(),
            families: Vec::new(),
            target_groups: Vec::new(),
        };
        for service in &environment.services {
            let whole = format!("{begin}-{service}");
            let name = environment.names.get(service).unwrap_or(&whole);
            let documents = app.services.get(service).and_then(|service| service.documents.as_ref());
            let family = documents.and_then(|documents| documents.task_definition["family"].as_str());
            names.services.push(name.clone());
            names.families.push(family.unwrap_or(name).to_owned());
            names.target_groups.push(if whole.len() <= GROUP_MAX && slug(&whole) == whole {
                whole
            } else {
                let mut cut = slug(&whole);
                cut.truncate(GROUP_MAX - HASH - 1);
                format!("{}-{}", cut.trim_end_matches('-'), "?".repeat(HASH))
            });
        }
        names.tidy();
        names
    }

    fn tidy(&mut self) {
        for patterns in [&mut self.environments, &mut self.services, &mut self.families, &mut self.target_groups] {
            patterns.sort();
            patterns.dedup();
        }
    }
}

fn begins(name: &str, kept: usize) -> String {
    if name.len() <= kept {
        return if name.is_empty() { String::new() } else { format!("{name}-") };
    }
    name[..kept].trim_end_matches('-').to_owned()
}

/// Whether a policy's pattern holds a text: `*` is any number of characters, `?` one.
pub(crate) fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((at, from)) = star else { return false };
                star = Some((at, from + 1));
                p = at + 1;
                t = from + 1;
            }
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use landfall_model::environment::{EnvironmentKey, SourceRef};
    use landfall_model::ids::RepositoryKey;
    use landfall_planner::names;
    use proptest::prelude::*;

    use super::*;

    fn app(project: &str, repository: &str, omit: Option<&str>) -> App {
        serde_json::from_value(serde_json::json!({
            "project": project,
            "repositories": {"r": {"key": "r", "github": repository, "github_id": null, "source": null, "omit": omit}},
            "services": {}, "environments": {}, "notifications": [], "webhook_secrets": [],
            "previews": {
                "branches": ["feature/*"], "ignore": [], "pull_requests": true, "services": [], "variables": {},
                "routing": {"ports": {"first": 1, "last": 2}}, "hooks": [],
                "limits": {"concurrent_builds": 1, "concurrent_executions": 1}
            },
        }))
        .unwrap()
    }

    fn all_fit(app: &App, source: SourceRef, service: &str) {
        let key = EnvironmentKey { repository: RepositoryKey::from("r"), source };
        let patterns = Names::of_previews(app);
        let holds = |patterns: &[String], name: &str| {
            assert!(patterns.iter().any(|pattern| fits(pattern, name)), "{name} is in none of {patterns:?}");
        };
        for names in [names::environment_names(app, &key), names::hashed_names(app, &key)] {
            holds(&patterns.environments, &names.base);
            holds(&patterns.target_groups, &names.target_group);
            for first in [true, false] {
                holds(&patterns.services, &names::service_name(&names, service, first));
                holds(&patterns.families, &names::family_name(&names, service, first));
            }
        }
    }

    proptest! {
        #[test]
        fn every_name_is_in_the_patterns(
            repository in "[A-Za-z0-9._-]{1,60}", branch in "(feature/)?[a-zA-Z0-9/_.-]{1,80}", service in "[a-zA-Z0-9_-]{1,120}",
            omit in proptest::option::of("[a-z-]{1,3}"), fork in 0u64..100_000,
        ) {
            let app = app("my-project", &format!("owner/{repository}"), omit.as_deref());
            all_fit(&app, SourceRef::Branch(branch), &service);
            all_fit(&app, SourceRef::ForkPullRequest(fork), &service);
        }
    }

    proptest! {
        #[test]
        fn every_name_of_an_environment_is_in_its_patterns(
            name in "[a-z][a-z0-9-]{0,20}", service in "[a-zA-Z0-9][a-zA-Z0-9_-]{0,60}", given in proptest::option::of("[a-z-]{1,40}"),
        ) {
            let mut app = app("my-project", "owner/x", None);
            let names = given.map(|given| (service.clone(), given)).into_iter().collect();
            let environment = LongLivedEnvironment {
                name, on: None, services: vec![service.clone()], variables: BTreeMap::new(), names, routing: None,
                target_groups: BTreeMap::new(), desired_count: BTreeMap::new(), verify: None, stack: None, schedules: BTreeMap::new(),
            };
            app.environments.insert(environment.name.clone(), environment.clone());
            let patterns = Names::of_environment(&app, &environment);
            let service_name = names::lasting_name(&app, &environment, &service);
            prop_assert!(fits(&patterns.services[0], &service_name) && fits(&patterns.families[0], &service_name));
            let group = names::lasting_target_group(&app, &environment, &service);
            prop_assert!(fits(&patterns.target_groups[0], &group), "{group} is not {:?}", patterns.target_groups);
            let id = environment.id("my-project");
            prop_assert_eq!(&patterns.environments[0], id.as_str());
        }
    }

    #[test]
    fn usual_names_make_narrow_patterns() {
        let names = Names::of_previews(&app("shop", "acme/my-project", None));
        assert_eq!(names.environments, ["my-project-*"]);
        assert_eq!(names.services, ["my-project-*-service"]);
        assert_eq!(names.families, ["my-project-*"]);
        assert_eq!(names.target_groups, ["my-pr*-tg"]);
    }

    #[test]
    fn patterns_as_iam_has_them() {
        assert!(fits("a*c?", "abbcd") && fits("*", "") && fits("a*b*c", "aXbYbc"));
        assert!(!fits("a*c?", "abbc") && !fits("A", "a") && !fits("", "a"));
    }
}
