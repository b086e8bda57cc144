//! Names of an environment and its resources.
//!
//! No two (repository, ref) pairs of one manifest share a name. The plain form `{app}-{leaf}` is used only where it can be
//! taken apart in one way: the branch is the canonical prefix plus a leaf of lower-case letters and digits (no hyphen, so
//! the last hyphen ends the app's part: `my` + `project-x` has no plain form that could equal `my-project` + `x`), the
//! app's part is the repository's name unaltered and no other repository of the manifest has it, and the leaf cannot be
//! mistaken for a hash. Everything else ends in a hash over repository and ref.

use std::fmt::Write as _;

use landfall_model::app::{App, LongLivedEnvironment};
use landfall_model::environment::{EnvironmentKey, EnvironmentNames, SourceRef};
use landfall_model::ids::RepositoryKey;
use landfall_model::names::slug;
use sha2::{Digest, Sha256};

/// Elastic Load Balancing's limit for a target group's name.
pub const TARGET_GROUP_MAX: usize = 32;
/// ECS's limit for a service's name.
pub const SERVICE_MAX: usize = 255;
/// One DNS label.
pub const LABEL_MAX: usize = 63;
/// Leaves room for `--{service}-service` and for container names made from it.
const BASE_MAX: usize = 50;
const TARGET_GROUP_SUFFIX: &str = "-tg";
const SERVICE_SUFFIX: &str = "-service";
const HASH_LEN: usize = 12;
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// All names of the environment `key`.
pub fn environment_names(app: &App, key: &EnvironmentKey) -> EnvironmentNames {
    plain_names(app, key).unwrap_or_else(|| hashed_names(app, key))
}

/// The literal text before the first wildcard of the first branch pattern, up to its last `/`: `feature/` for `feature/*`.
/// One prefix only, or `feature/x` and `fix/x` would both be plain `x`. `None` without previews.
pub fn canonical_prefix(app: &App) -> Option<&str> {
    let pattern = app.previews.as_ref()?.branches.first()?;
    let literal = pattern.split(['*', '?', '[', ']', '{', '}', '\\', '!']).next().unwrap_or_default();
    Some(literal.rfind('/').map_or("", |at| &literal[..=at]))
}

fn plain_names(app: &App, key: &EnvironmentKey) -> Option<EnvironmentNames> {
    let repository = app.repositories.get(&key.repository)?;
    let name = repository.bare_name();
    if slug(&name) != name || name.is_empty() {
        return None;
    }
    let shared = app.repositories.iter().any(|(other, r)| *other != key.repository && slug(&r.bare_name()) == name);
    let SourceRef::Branch(branch) = &key.source else { return None };
    let leaf = branch.strip_prefix(canonical_prefix(app)?)?;
    let plain = !leaf.is_empty() && leaf.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if shared || !plain || looks_like_hash(leaf) {
        return None;
    }
    let base = format!("{name}-{leaf}");
    if base.len() + TARGET_GROUP_SUFFIX.len() > TARGET_GROUP_MAX {
        return None;
    }
    let host_label = if owns_host_labels(app, &name) { leaf.to_owned() } else { base.clone() };
    Some(EnvironmentNames {
        host_label,
        target_group: format!("{base}{TARGET_GROUP_SUFFIX}"),
        service: format!("{base}{SERVICE_SUFFIX}"),
        family: base.clone(),
        base,
    })
}

/// The names with a hash: for refs without a plain form, and where another environment already holds the plain one (a
/// manifest that changed its patterns may ask for that).
pub fn hashed_names(app: &App, key: &EnvironmentKey) -> EnvironmentNames {
    let project = slug(&app.project);
    let repository =
        app.repositories.get(&key.repository).map_or_else(|| slug(key.repository.as_str()), |r| slug(&r.bare_name()));
    let name = if repository.is_empty() { project } else { repository };
    let leaf = match &key.source {
        SourceRef::Branch(branch) => {
            let text = canonical_prefix(app).and_then(|prefix| branch.strip_prefix(prefix)).unwrap_or(branch);
            slug(text)
        }
        SourceRef::ForkPullRequest(number) => format!("pr-{number}"),
    };
    let hash = hash(app, key);
    let fitted = |max: usize| join(&fit(&name, &leaf, max - HASH_LEN - 1), &hash);
    let host = if owns_host_labels(app, &name) {
        fit("", &leaf, LABEL_MAX - HASH_LEN - 1)
    } else {
        fit(&name, &leaf, LABEL_MAX - HASH_LEN - 1)
    };
    let base = fitted(BASE_MAX);
    EnvironmentNames {
        host_label: join(&host, &hash),
        target_group: format!("{}{TARGET_GROUP_SUFFIX}", fitted(TARGET_GROUP_MAX - TARGET_GROUP_SUFFIX.len())),
        service: format!("{base}{SERVICE_SUFFIX}"),
        family: base.clone(),
        base,
    }
}

/// The ECS service name of a manifest service. The first service of a preview has the plain one.
pub fn service_name(names: &EnvironmentNames, service: &str, first: bool) -> String {
    if first {
        return names.service.clone();
    }
    format!("{}--{}{SERVICE_SUFFIX}", names.base, service_part(service))
}

/// The task definition family of a manifest service.
pub fn family_name(names: &EnvironmentNames, service: &str, first: bool) -> String {
    if first {
        return names.family.clone();
    }
    format!("{}--{}", names.family, service_part(service))
}

/// The name of a service (and of its family) in a lasting environment: the one it has already, or `{project}-{environment}-{service}`.
pub fn lasting_name(app: &App, environment: &LongLivedEnvironment, service: &str) -> String {
    let given = environment.names.get(service);
    given.cloned().unwrap_or_else(|| format!("{}-{}-{service}", app.project, environment.name))
}

/// The names of all its services.
pub fn lasting_services(app: &App, environment: &LongLivedEnvironment) -> Vec<String> {
    environment.services.iter().map(|service| lasting_name(app, environment, service)).collect()
}

/// As [`lasting_name`], at most 32 characters.
pub fn lasting_target_group(app: &App, environment: &LongLivedEnvironment, service: &str) -> String {
    let whole = format!("{}-{}-{service}", app.project, environment.name);
    if whole.len() <= TARGET_GROUP_MAX && slug(&whole) == whole {
        return whole;
    }
    let hash = encode(&Sha256::digest(whole.as_bytes()));
    join(&cut(&slug(&whole), TARGET_GROUP_MAX - HASH_LEN - 1), &hash)
}

/// Whether `handle` is the platform's for the target group `name`: the name itself, or its ARN.
pub fn is_target_group(handle: &str, name: &str) -> bool {
    handle == name || handle.contains(&format!(":targetgroup/{name}/"))
}

/// A manifest's service name as part of a name: as written where that is legal and short, else with a hash.
fn service_part(service: &str) -> String {
    let text = slug(service);
    if text == service && text.len() <= 100 {
        return text;
    }
    join(&cut(&text, 80), &encode(&Sha256::digest(service.as_bytes())))
}

/// Whether this repository's leaves stand alone as host labels. One repository at most may, or two would answer at one host.
fn owns_host_labels(app: &App, name: &str) -> bool {
    app.repositories.len() == 1 || name == app.project
}

fn cut(text: &str, max: usize) -> String {
    let end = text.len().min(max);
    text[..end].trim_end_matches('-').to_owned()
}

fn join(left: &str, right: &str) -> String {
    match (left.is_empty(), right.is_empty()) {
        (true, _) => right.to_owned(),
        (_, true) => left.to_owned(),
        _ => format!("{left}-{right}"),
    }
}

/// `{name}-{leaf}` in at most `max` characters; the name gives way first, down to a third.
fn fit(name: &str, leaf: &str, max: usize) -> String {
    let whole = join(name, leaf);
    if whole.len() <= max {
        return whole;
    }
    let for_name = name.len().min((max / 3).max(max.saturating_sub(leaf.len() + 1)));
    let name = cut(name, for_name);
    let leaf = cut(leaf, if name.is_empty() { max } else { max - name.len() - 1 });
    join(&name, &leaf)
}

/// 58 bits of SHA-256 over the identity, each part with its length so that no two identities are the same bytes.
fn hash(app: &App, key: &EnvironmentKey) -> String {
    let RepositoryKey(repository) = &key.repository;
    let mut text = String::from("landfall names 1");
    let (kind, source) = match &key.source {
        SourceRef::Branch(branch) => ("branch", branch.clone()),
        SourceRef::ForkPullRequest(number) => ("fork", number.to_string()),
    };
    for part in [app.project.as_str(), repository, kind, &source] {
        let _ = write!(text, "|{}:{part}", part.len());
    }
    encode(&Sha256::digest(text.as_bytes()))
}

/// A digit and eleven base-32 characters: the digit in front keeps ordinary words from looking like a hash.
fn encode(digest: &[u8]) -> String {
    let mut out = String::with_capacity(HASH_LEN);
    let mut bytes = digest.iter();
    out.push(char::from(b'0' + bytes.next().copied().unwrap_or_default() % 10));
    out.extend(bytes.take(HASH_LEN - 1).map(|b| char::from(BASE32[usize::from(b & 31)])));
    out
}

fn looks_like_hash(leaf: &str) -> bool {
    leaf.len() == HASH_LEN && leaf.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::collections::BTreeMap;

    use landfall_model::app::Repository;
    use proptest::prelude::*;

    use super::*;
    use crate::fixture;

    fn branch(repository: &str, name: &str) -> EnvironmentKey {
        EnvironmentKey { repository: repository.into(), source: SourceRef::Branch(name.to_owned()) }
    }

    fn app(repositories: &[(&str, Option<&str>, Option<&str>)]) -> App {
        let mut app = fixture::app();
        app.repositories = repositories
            .iter()
            .map(|(key, github, omit)| {
                let repository = Repository {
                    key: (*key).into(),
                    github: github.map(str::to_owned),
                    github_id: None,
                    source: None,
                    omit: omit.map(str::to_owned),
                };
                ((*key).into(), repository)
            })
            .collect();
        app
    }

    #[test]
    fn simple_branches_are_named_as_the_original_did() {
        let app = app(&[("my-project", None, None)]);
        let names = environment_names(&app, &branch("my-project", "feature/test123"));
        assert_eq!(names.base, "my-project-test123");
        assert_eq!(names.target_group, "my-project-test123-tg");
        assert_eq!(names.service, "my-project-test123-service");
        assert_eq!(names.host_label, "test123");
    }

    #[test]
    fn omitted_text_goes_from_the_repository_name() {
        let app = app(&[("shop", Some("acme/my_company-my-project"), Some("my_company-"))]);
        assert_eq!(environment_names(&app, &branch("shop", "feature/x")).base, "my-project-x");
    }

    #[test]
    fn every_other_shape_gets_a_hash() {
        let app = app(&[("my-project", None, None)]);
        for name in [
            "feature/a/x",
            "feature/b/x",
            "fix/x",
            "x",
            "feature/X",
            "feature/a-b",
            "feature/",
            "feature/é",
            "feature/0abcdefghijk",
            "",
            "..",
            "feature/a\0b",
            "feature/abcdefghijklmnopqrs",
        ] {
            let names = environment_names(&app, &branch("my-project", name));
            let last = names.base.rsplit('-').next().unwrap();
            assert!(looks_like_hash(last), "{name:?} gave {}", names.base);
        }
        assert_eq!(
            environment_names(&app, &branch("my-project", "feature/a/x")).base.len(),
            "my-project-a-x-".len() + HASH_LEN
        );
    }

    #[test]
    fn repositories_reduced_to_one_name_are_told_apart() {
        let app = app(&[("a", Some("one/web"), None), ("b", Some("two/web"), None)]);
        let a = environment_names(&app, &branch("a", "feature/x"));
        let b = environment_names(&app, &branch("b", "feature/x"));
        assert_ne!(a.base, b.base);
        assert_ne!(a.host_label, b.host_label);
    }

    #[test]
    fn services_of_one_environment_never_meet_those_of_another() {
        let app = app(&[("my-project", None, None), ("my-project-x", None, None)]);
        let worker = service_name(&environment_names(&app, &branch("my-project", "feature/x")), "worker", false);
        let other = environment_names(&app, &branch("my-project-x", "feature/worker")).service;
        assert_eq!(worker, "my-project-x--worker-service");
        assert_eq!(other, "my-project-x-worker-service");
    }

    fn legal(text: &str, max: usize) -> bool {
        !text.is_empty()
            && text.len() <= max
            && !text.starts_with('-')
            && !text.ends_with('-')
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    }

    fn hostile() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("feature/".to_owned()),
            Just("Feature/".to_owned()),
            Just("..".to_owned()),
            Just("-".to_owned()),
            Just("--".to_owned()),
            Just("/".to_owned()),
            Just("\0".to_owned()),
            Just("'\"`$(id)".to_owned()),
            Just("ünï".to_owned()),
            Just("ſ".to_owned()),
            Just("\u{202e}".to_owned()),
            Just("project".to_owned()),
            Just("worker".to_owned()),
            Just("x".to_owned()),
            Just("X".to_owned()),
            Just("pr-7".to_owned()),
            "[0-9][a-z2-7]{11}",
            "[a-z0-9]{1,30}",
            "\\PC{0,8}",
            Just("a".repeat(200)),
        ];
        prop::collection::vec(piece, 0..5).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn names_are_legal_stable_and_never_shared(refs in prop::collection::vec(hostile(), 1..24), numbers in prop::collection::vec(0u64..40, 0..4)) {
            let app = app(&[
                ("my", None, None),
                ("my-project", None, None),
                ("project", Some("acme/My-Project"), None),
                ("my-project-x", None, None),
                ("omitted", Some("acme/co-my"), Some("co-")),
                ("dots", Some("acme/.."), None),
            ]);
            let mut keys = Vec::new();
            for repository in app.repositories.keys().cloned().chain(["github:77".into()]) {
                keys.extend(refs.iter().map(|r| EnvironmentKey { repository: repository.clone(), source: SourceRef::Branch(r.clone()) }));
                keys.extend(refs.iter().map(|r| EnvironmentKey { repository: repository.clone(), source: SourceRef::Branch(format!("feature/{r}")) }));
                keys.extend(numbers.iter().map(|n| EnvironmentKey { repository: repository.clone(), source: SourceRef::ForkPullRequest(*n) }));
            }
            let mut seen: [BTreeMap<String, EnvironmentKey>; 4] = Default::default();
            for key in keys {
                let names = environment_names(&app, &key);
                prop_assert_eq!(&names, &environment_names(&app, &key));
                prop_assert!(legal(&names.base, BASE_MAX), "{:?}", names);
                prop_assert!(!names.base.contains("--"));
                prop_assert!(legal(&names.host_label, LABEL_MAX), "{:?}", names);
                prop_assert!(legal(&names.target_group, TARGET_GROUP_MAX), "{:?}", names);
                prop_assert!(legal(&service_name(&names, "worker", false), SERVICE_MAX));
                let texts = [&names.base, &names.host_label, &names.target_group, &names.service];
                for (map, text) in seen.iter_mut().zip(texts) {
                    let before = map.insert(text.clone(), key.clone());
                    prop_assert!(before.is_none_or(|b| b == key), "{} is shared", text);
                }
            }
        }
    }
}
