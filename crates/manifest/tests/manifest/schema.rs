use landfall_manifest::schema;

/// Rewrite the committed file with `LANDFALL_UPDATE=1 cargo test -p landfall-manifest schema`.
#[test]
fn the_committed_schema_is_fresh() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/landfall.schema.json");
    if std::env::var_os("LANDFALL_UPDATE").is_some() {
        std::fs::write(path, schema()).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(committed == schema(), "stale: run `LANDFALL_UPDATE=1 cargo test -p landfall-manifest schema`");
}

#[test]
fn editors_get_descriptions_and_closed_objects() {
    let schema: serde_json::Value = serde_json::from_str(&schema()).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["required"], serde_json::json!(["project", "services"]));
    let mut open = Vec::new();
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        assert!(
            definition["description"].is_string() || definition["oneOf"].is_array() || definition["enum"].is_array(),
            "{name} says nothing"
        );
        if definition["properties"].is_object() && definition["additionalProperties"] != false {
            open.push(name);
        }
        for (key, property) in definition["properties"].as_object().into_iter().flatten() {
            assert!(property["description"].is_string(), "{name}.{key} says nothing");
        }
    }
    assert!(open.is_empty(), "accept unknown keys: {open:?}");
}
