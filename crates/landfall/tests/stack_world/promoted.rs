//! A pipeline over two stacks, with the real binary on ministack: dev at once, prod after a yes to what it was shown.

use serde_json::json;

use super::{COMMITS, Place};
use crate::common::ends;

const PIPELINES: &str = r#"pipelines:
  main:
    stages:
      - environment: dev
        run: [{ stack: {} }]
      - environment: prod
        requires: { quiet: { dev: [shop-errors] }, passed: [dev] }
        run: [{ stack: {} }]
        approval: { by: [anna] }
"#;

#[test]
fn a_release_goes_from_stack_to_stack() {
    let place = Place::ministack(&[]);
    place.manifest("", "      network: { new: { nat: none } }\n", PIPELINES);
    place.ask(&["alarm", "shop-errors", "OK"]);
    let digests = place.ask(&["push", "shop", COMMITS[0], COMMITS[1]]);
    let image = |commit: &str| format!("{}@{}", place.repository(), digests[commit].as_str().unwrap());
    let runs = |environment: &str| {
        place.look(environment)["services"][format!("shop-{environment}-web")]["containers"]["app"]["image"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let begun = |commit: &str| place.ends(&["pipeline", "run", "main", "--commit", commit], 10, &[]);
    let decided = |verb: &str| place.run_as("anna", &["pipeline", verb, "main"]);

    begun(COMMITS[0]);
    let shown = place.json(&["pipeline", "show", "main"], 0);
    let changes = shown["stages"][1]["approval"]["asked"]["shown"]["changes"].as_array().unwrap().clone();
    let says = |line: &str| changes.iter().any(|one| one.as_str().unwrap().contains(line));
    assert!(
        says("stack shop-prod: is made") && says("termination protection → on") && says("+ add      WebService"),
        "{changes:?}"
    );
    assert_eq!(place.ask(&["gone", "shop-prod"])["services"], json!([]), "prod is untouched");
    place.ends(&["pipeline", "approve", "main"], 73, &["not among those who decide about prod: anna"]);
    ends(&decided("approve"), 0, &["passed"]);
    assert_eq!(place.look("prod")["protected"], true);
    assert_eq!(place.json(&["release", "current", "prod"], 0)["stack"]["commit"], COMMITS[0]);

    // The next release is a revision of both; what prod would become is said, and a no leaves it as it is.
    begun(COMMITS[1]);
    let shown = place.json(&["pipeline", "show", "main"], 0);
    let changes = &shown["stages"][1]["approval"]["asked"]["shown"]["changes"];
    assert!(changes[0].as_str().unwrap().starts_with("WebAppImage: "), "{changes}");
    assert_eq!(changes.as_array().unwrap().len(), 3, "{changes}");
    ends(&decided("reject"), 0, &["rejected by"]);
    assert_eq!((runs("dev"), runs("prod")), (image(COMMITS[1]), image(COMMITS[0])));
}
