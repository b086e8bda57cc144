//! Pipelines: what the manifest says, and every rule of `check/pipeline.rs` as a person sees it broken.

use landfall_model::pipeline::{OnDeadline, OnFailure, Work};

use super::{codes_of, loaded, rendered};

const SHOP: &str = "project: shop\n\
    aws: {main: {region: eu-west-1, cluster: main}}\n\
    notifications: {team: {log: {}}}\n\
    services:\n  web:\n    cpu: 256\n    memory: 512\n    containers: {app: {await: {image: \"r.example/app:{commit}\"}, ports: [80]}}\n\
    environments: {dev: {}, staging: {}, prod: {}}\n";

fn with(pipelines: &str) -> String {
    format!("{SHOP}pipelines:\n{pipelines}")
}

#[test]
fn a_whole_pipeline_is_read() {
    let app = loaded(&with(
        "  main:
    on: {branches: [main], ignore: [\"tmp/*\"]}
    stages:
      - environment: dev
        image_tag: [\"/shop/{environment}/{service}\", shop-imagetag]
      - environment: staging
        copy: {r.example/app: s.example/app}
      - environment: prod
        requires:
          passed: [dev]
          bake: 10m
          checks: {smoke: {url: \"https://ci.example/ok\", status: 200, body: green}}
        approval: {by: [anna, ben], count: 2, deadline: 72h, on_deadline: cancel, notify: [team]}
        run:
          - task: {service: web, command: [migrate, up], timeout: 5m}
          - deploy: {}
          - verify: {}
        on_failure: rollback
",
    ))
    .app;
    let main = &app.pipelines["main"];
    assert_eq!((main.name.as_str(), main.on.branches.as_slice()), ("main", &["main".to_owned()][..]));
    let titles = |index: usize| main.stages[index].run.iter().map(Work::title).collect::<Vec<_>>();
    assert_eq!(titles(0), ["deploy", "verify", "publish /shop/dev/{service}, shop-imagetag"]);
    assert_eq!(titles(1), ["copy images", "deploy", "verify"]);
    assert_eq!(titles(2), ["task web: migrate up", "deploy", "verify"]);
    let prod = &main.stages[2];
    assert_eq!((prod.on_failure, prod.requires.bake), (OnFailure::Rollback, 600));
    assert_eq!(prod.requires.passed, ["dev"]);
    let check = &prod.requires.checks[0];
    assert_eq!((check.probe.name.as_str(), check.probe.status.as_str()), ("smoke", "200"));
    let approval = prod.approval.as_ref().unwrap();
    assert_eq!((approval.count, approval.deadline, approval.on_deadline), (2, Some(259_200), OnDeadline::Cancel));
    assert!(!approval.self_approval);
    assert_eq!(app.pipelines["main"].stages[0].approval, None);
}

#[test]
fn what_cannot_work_is_refused_in_its_place() {
    for (pipelines, codes) in [
        ("  main: {stages: [{environment: nowhere}]}\n", &["LF-M047"][..]),
        ("  main: {stages: []}\n", &["LF-M009"]),
        ("  main: {stages: [{environment: dev}, {environment: dev}]}\n", &["LF-M009"]),
        ("  main: {stages: [{environment: dev, run: []}]}\n", &["LF-M009"]),
        ("  main: {stages: [{environment: dev, run: [{}]}]}\n", &["LF-M022"]),
        ("  main: {stages: [{environment: dev, run: [{deploy: {}, verify: {}}]}]}\n", &["LF-M022"]),
        ("  main: {stages: [{environment: dev, run: [{stack: {}}]}]}\n", &["LF-M051"]),
        ("  main: {stages: [{environment: dev, run: [{task: {service: db, command: [x]}}]}]}\n", &["LF-M026"]),
        (
            "  main: {stages: [{environment: dev, run: [{task: {service: web, container: db, command: [x]}}]}]}\n",
            &["LF-M026"],
        ),
        ("  main: {stages: [{environment: dev, run: [{task: {service: web, command: []}}]}]}\n", &["LF-M009"]),
        ("  main: {stages: [{environment: dev, approval: {by: []}}]}\n", &["LF-M009"]),
        ("  main: {stages: [{environment: dev, approval: {}}]}\n", &["LF-M008"]),
        ("  main: {stages: [{environment: dev, approval: {by: [anna], count: 2}}]}\n", &["LF-M032"]),
        ("  main: {stages: [{environment: dev, approval: {by: [anna, Anna]}}]}\n", &["LF-M009"]),
        ("  main: {stages: [{environment: dev, approval: {by: [\"cli:anna\"]}}]}\n", &["LF-M028"]),
        ("  main: {stages: [{environment: dev, approval: {by: [anna], notify: [nobody]}}]}\n", &["LF-M009"]),
        ("  main: {stages: [{environment: dev, approval: {by: [anna], deadline: 1500ms}}]}\n", &["LF-M032"]),
        ("  main: {on: {branches: [\"[\"]}, stages: [{environment: dev}]}\n", &["LF-M023"]),
        ("  main: {on: {after: other}, stages: [{environment: dev}]}\n", &["LF-M009"]),
        ("  main: {on: {after: main}, stages: [{environment: dev}]}\n", &["LF-M016"]),
        ("  main: {stages: [{environment: dev, requires: {passed: [nowhere]}}]}\n", &["LF-M047"]),
        ("  main: {stages: [{environment: dev, requires: {bake: 5m}}]}\n", &["LF-M046"]),
        ("  main: {stages: [{environment: dev, requires: {quiet: {dev: [x]}}}]}\n", &["LF-M044"]),
        ("  main: {stages: [{environment: dev, requires: {checks: {a: {url: /ok}}}}]}\n", &["LF-M031"]),
        ("  main: {stages: [{environment: dev, copy: {\"r.example/app@sha256:ab\": s.example/app}}]}\n", &["LF-M033"]),
        ("  main: {stages: [{environment: dev, image_tag: [\"a b\"]}]}\n", &["LF-M040"]),
    ] {
        assert_eq!(codes_of(&with(pipelines)), codes, "{pipelines}");
    }
}

#[test]
fn what_the_deployment_builds_cannot_be_promoted() {
    let text = with("  main: {stages: [{environment: dev}]}\n")
        .replace("await: {image: \"r.example/app:{commit}\"}", "build: {}")
        .replace("environments:", "repositories: {shop: {source: .}}\nenvironments:");
    let shown = rendered(&text);
    assert!(
        shown.contains("image of web/app is built by the deployment: a pipeline promotes what was pushed"),
        "{shown}"
    );
    assert!(shown.contains("lets `landfall build` and `landfall push` make it once"), "{shown}");
}
