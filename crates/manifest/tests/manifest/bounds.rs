//! Input made to exhaust: an error with a place, in bounded time.

use std::time::{Duration, Instant};

use landfall_manifest::{MAX_BYTES, read_file};

use crate::{codes_of, found, loaded};

/// Generous: a debug build on a busy machine; the work itself is bounded by node and byte budgets.
const PATIENCE: Duration = Duration::from_secs(20);

fn quick(text: &str) -> Vec<&'static str> {
    let begin = Instant::now();
    let codes = codes_of(text);
    assert!(begin.elapsed() < PATIENCE, "took {:?}", begin.elapsed());
    codes
}

#[test]
fn a_billion_laughs_are_refused() {
    let mut text = String::from("x-a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for n in 1..12 {
        let refs = vec![format!("*a{}", n - 1); 9].join(", ");
        text += &format!("x-a{n}: &a{n} [{refs}]\n");
    }
    assert_eq!(quick(&text), ["LF-M003"]);
}

#[test]
fn an_alias_inside_of_its_anchor_is_refused() {
    assert_eq!(quick("project: &a [*a]\n"), ["LF-M002"]);
    assert_eq!(quick("x-a: &a {b: *a}\n"), ["LF-M002"]);
}

#[test]
fn deep_nesting_is_refused() {
    assert_eq!(quick(&"[".repeat(100_000)), ["LF-M003"]);
    assert_eq!(quick(&"{a: ".repeat(100_000)), ["LF-M003"]);
    assert_eq!(quick(&"- ".repeat(100_000)), ["LF-M003"]);
    let block: String = (0..200).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
    assert_eq!(quick(&block), ["LF-M003"]);
}

#[test]
fn huge_but_flat_input_is_answered() {
    let keys: String = (0..40_000).map(|n| format!("k{n}: v\n")).collect();
    assert!(!quick(&keys).is_empty());
    let doubled = "a: 1\n".repeat(100_000);
    assert!(!quick(&doubled).is_empty());
    quick(&format!("project: {}\n", "x".repeat(MAX_BYTES - 100)));
    quick(&"&a ".repeat(100_000));
    quick(&format!("project: \"{}", "\\u0041".repeat(100_000)));
    assert_eq!(quick(&" ".repeat(MAX_BYTES + 1)), ["LF-M003"]);
}

#[test]
fn many_containers_are_checked_in_bounded_time() {
    let mut text = String::from("project: shop\nservices:\n  web:\n    containers:\n");
    for n in 0..1_000 {
        text += &format!("      c{n}: {{image: nginx, depends_on: {{c{}: START}}}}\n", (n + 1) % 1_000);
    }
    assert_eq!(quick(&text), ["LF-M016"]);
}

#[test]
fn anchors_and_merge_keys_save_repetition() {
    let app = loaded(
        "x-common: &common {image: nginx, stop_timeout: 5s}\nproject: shop\nservices:\n  web:\n    containers:\n      \
         a: {<<: *common}\n      b: {<<: *common, image: busybox}\n      c: {image: alpine, <<: [*common]}\n",
    )
    .app;
    let containers = &app.services["web"].containers;
    let image = |n: usize| serde_json::to_value(&containers[n].image).unwrap()["reference"].clone();
    assert_eq!((image(0), image(1), image(2)), ("nginx".into(), "busybox".into(), "alpine".into()));
    assert!(containers.iter().all(|container| container.settings.stop_timeout == 5));
}

#[test]
fn one_mistake_behind_an_anchor_is_one_message() {
    let text = "x-c: &c {imag: nginx, image: nginx}\nproject: shop\nservices:\n  a: {containers: {a: *c}}\n  \
                b: {containers: {a: *c}}\n";
    assert_eq!(found(text).len(), 1);
}

#[test]
fn files_are_read_with_care() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("landfall.yml");
    let message = |path: &std::path::Path| {
        let error = read_file(path).unwrap_err();
        assert_eq!(error.code, "LF-M001");
        error.message
    };
    assert!(message(&path).contains("cannot read"));
    assert!(message(dir.path()).contains("is a directory"));
    std::fs::write(&path, vec![b'#'; MAX_BYTES + 1]).unwrap();
    assert!(message(&path).contains("larger than"));
    std::fs::write(&path, b"project: a\nx: \xff\n").unwrap();
    assert!(message(&path).contains("not UTF-8: line 2"));
    std::fs::write(&path, "project: a\n").unwrap();
    let source = read_file(&path).unwrap();
    assert_eq!((source.text.as_str(), source.directory.as_path()), ("project: a\n", dir.path()));
}

#[test]
fn relative_sources_are_relative_to_the_manifest() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("landfall.yml");
    let text = "project: shop\nrepositories: {a: {source: .}, b: {source: ../x}, c: {source: 'git@github.com:a/b'}}\n\
                services: {web: {containers: {app: {image: nginx, secrets: {K: {file: keys/k}}}}}}\n";
    std::fs::write(&path, text).unwrap();
    let app = landfall_manifest::load(&read_file(&path).unwrap(), &crate::nothing).unwrap().app;
    let source = |key: &str| app.repositories[&key.into()].source.clone().unwrap();
    assert_eq!(std::path::Path::new(&source("a")), dir.path());
    assert_eq!(std::path::Path::new(&source("b")), dir.path().parent().unwrap().join("x"));
    assert_eq!(source("c"), "git@github.com:a/b");
    let secrets = &app.services["web"].containers[0].settings.secrets;
    assert_eq!(
        secrets["K"],
        landfall_model::task::SecretRef::File(dir.path().join("keys/k").to_string_lossy().into_owned())
    );
}
