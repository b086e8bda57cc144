//! docs/why-not-deity.md names a test for every weakness of ECS Deity; the tests are there.

use std::path::Path;

#[test]
fn every_weakness_names_tests_that_exist() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let page = std::fs::read_to_string(root.join("docs/why-not-deity.md")).unwrap();
    let mut seen = Vec::new();
    for row in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let Ok(number) = cells[0].trim().parse::<u32>() else { continue };
        seen.push(number);
        let proofs: Vec<&str> = cells[3].split('`').filter(|text| text.contains("::")).collect();
        assert!(!proofs.is_empty(), "nothing proves weakness {number}");
        for proof in proofs {
            let (path, name) = proof.split_once("::").unwrap();
            let text = std::fs::read_to_string(root.join("crates").join(path)).unwrap_or_else(|error| {
                panic!("weakness {number} is proven in {path}: {error}");
            });
            let at =
                text.find(&format!("fn {name}(")).unwrap_or_else(|| panic!("weakness {number}: no {name} in {path}"));
            let attribute = text[..at].rfind("test").is_some_and(|attribute| at - attribute < 200);
            let listed = text.contains("\non!(") && text.matches(name).count() > 1;
            assert!(attribute || listed || text[..at].contains("proptest!"), "{proof} is no test");
        }
    }
    assert_eq!(seen, (1..=15).collect::<Vec<_>>());
}
