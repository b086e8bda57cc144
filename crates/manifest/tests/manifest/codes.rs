use std::collections::BTreeSet;

use landfall_manifest::codes::ALL;

/// docs/manifest.md has a line `| LF-M… | …` for every code, and no other.
#[test]
fn every_code_is_documented() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/manifest.md");
    let text = std::fs::read_to_string(path).unwrap();
    let documented: BTreeSet<_> =
        text.lines().filter_map(|line| line.strip_prefix("| LF-M")).map(|rest| format!("LF-M{}", &rest[..3])).collect();
    let known: BTreeSet<_> = ALL.iter().map(|(code, _)| (*code).to_owned()).collect();
    assert_eq!(documented, known);
}

/// Every key that the schema knows stands in docs/manifest.md as `key`.
#[test]
fn every_key_is_documented() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/manifest.md");
    let text = std::fs::read_to_string(path).unwrap();
    let schema: serde_json::Value = serde_json::from_str(&landfall_manifest::schema()).unwrap();
    let root = std::iter::once(&schema);
    let objects = root.chain(schema["$defs"].as_object().unwrap().values());
    let missing: Vec<_> = objects
        .flat_map(|object| object["properties"].as_object().into_iter().flatten().map(|(key, _)| key))
        .filter(|key| !text.contains(&format!("`{key}`")))
        .collect();
    assert!(missing.is_empty(), "not in docs/manifest.md: {missing:?}");
}
