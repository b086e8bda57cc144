use std::collections::BTreeSet;

/// docs/import.md has a line `| LF-I… | …` for every code, and one for each of ECS Deity's fifteen weaknesses and cdk-ecs-cicd's.
#[test]
fn every_code_and_weakness_is_documented() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/import.md");
    let page = std::fs::read_to_string(path).unwrap();
    let documented: BTreeSet<_> =
        page.lines().filter_map(|line| line.strip_prefix("| LF-I")).map(|rest| format!("LF-I{}", &rest[..3])).collect();
    let known: BTreeSet<_> = landfall_import::CODES.iter().map(|(code, _)| (*code).to_owned()).collect();
    assert_eq!(documented, known);
    for number in 1..=15 {
        assert!(page.contains(&format!("\n| {number} | ")), "weakness {number}");
    }
    let (_, cdk) = page.split_once("\n## cdk-ecs-cicd\n").unwrap();
    for number in 1..=7 {
        assert!(cdk.contains(&format!("\n| {number} | ")), "weakness {number} of cdk-ecs-cicd");
    }
}
