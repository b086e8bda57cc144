//! What resources may be called, as patterns of a policy: `planner::names` chooses the names, and a test holds the two together.
//!
//! A name that is too long gives way to the branch's, down to a third; so a pattern ends where a name may be cut.

use landfall_model::app::{App, LongLivedEnvironment, Repository};

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

impl Names {
    /// Of all previews.
    pub fn of_previews(app: &App) -> Self {
        let mut names =
            Self { environments: Vec::new(), services: Vec::new(), families: Vec::new(), target_groups: Vec::new() };
        let project = slug(&app.project);
        for repository in app.repositories.values() {
            let name = slug(&bare_name(repository));
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

    /// Of one long-lived environment, whose names are no secrets.
    pub(crate) fn of_environment(app: &App, environment: &LongLivedEnvironment) -> Self {
        let begin = format!("{}-{}", app.project, environment.name);
        let name = |service: &String| format!("{begin}-{service}");
        let all: Vec<String> = environment.services.iter().map(name).collect();
        let mut names = Self {
            environments: vec![format!("{}@{}", app.project, environment.name)],
            services: all.clone(),
            families: all,
            target_groups: vec![format!("{}*", begins(&begin, KEPT_OF_GROUP))],
        };
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

/// As of `planner::names`.
fn bare_name(repository: &Repository) -> String {
    let full = repository.github.as_deref().unwrap_or(repository.key.as_str());
    let bare = full.rsplit('/').next().unwrap_or(full);
    match repository.omit.as_deref() {
        Some(omit) if !omit.is_empty() => bare.replace(omit, ""),
        _ => bare.to_owned(),
    }
}

/// Lower-case letters, digits and single inner hyphens, as of `planner::names`.
pub(crate) fn slug(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            out.push(c.to_ascii_lowercase());
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    out.trim_end_matches('-').to_owned()
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
