//! Rules of CI: what is taken, in which order, and what is refused and where.

use landfall_model::ci::{CiAction, CiRule, CiStep};

use crate::{codes_of, loaded, rendered};

const WEB: &str = "project: shop\nservices: {web: {load_balancer: {}, containers: {app: {image: nginx, ports: [80]}}}}\n\
                   environments: {dev: {}, prod: {}}\n";

fn ci(rules: &str) -> String {
    format!("{WEB}ci:\n  rules:\n{rules}")
}

#[test]
fn rules_and_steps_keep_their_order() {
    let text = ci(
        "    zebra:\n      branches: [master]\n      ignore: [wip]\n      paths: [\"web/**\"]\n      steps:\n        \
                   - test: [make, 8080]\n          name: unit\n          timeout: 5m\n        - build:\n        - push: {}\n        \
                   - deploy: dev\n          needs: [push]\n    ant: {tags: ['v*'], pull_requests: true, steps: [{promote: prod}, {verify: prod}]}\n",
    ) + "  mask: [LICENCE]\n";
    let ci = loaded(&text).app.ci.unwrap();
    assert_eq!(ci.mask, ["LICENCE"]);
    let [zebra, ant] = ci.rules.as_slice() else { panic!("{ci:?}") };
    let step = |name: &str, run, needs: Option<&str>, timeout| CiStep {
        name: name.to_owned(),
        run,
        args: Vec::new(),
        needs: needs.map(|need| vec![need.to_owned()]),
        timeout,
    };
    let expected = CiRule {
        name: "zebra".to_owned(),
        branches: vec!["master".to_owned()],
        ignore: vec!["wip".to_owned()],
        paths: vec!["web/**".to_owned()],
        steps: vec![
            step("unit", CiAction::Test { commands: vec!["make".to_owned(), "8080".to_owned()] }, None, Some(300)),
            step("build", CiAction::Build, None, None),
            step("push", CiAction::Push, None, None),
            step("deploy dev", CiAction::Deploy { environment: "dev".to_owned() }, Some("push"), None),
        ],
        ..CiRule::default()
    };
    assert_eq!(*zebra, expected);
    let names: Vec<&str> = ant.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(
        (ant.tags.as_slice(), ant.pull_requests, names),
        (&["v*".to_owned()][..], true, vec!["promote prod", "verify prod"])
    );
}

#[test]
fn a_step_of_landfalls_own_may_have_more_words() {
    let rule = |step: &str| ci(&format!("    one: {{branches: [a], steps: [{step}]}}\n"));
    let ci = loaded(&rule("{build: , args: [--platform, linux/arm64, 7]}")).app.ci.unwrap();
    assert_eq!(ci.rules[0].steps[0].args, ["--platform", "linux/arm64", "7"]);
    let refused = rendered(&rule("{test: [make], args: [-k]}"));
    assert!(refused.contains("a test's commands have their words themselves"), "{refused}");
}

#[test]
fn what_is_wrong_is_told_in_its_place() {
    let text = ci(
        "    one:\n      branches: [\"[\", refs/heads/a]\n      tags: [refs/tags/v1]\n      paths: [./web, /api]\n      steps:\n        \
                   - deploy: pord\n        - test: []\n        - preview:\n        - build:\n          push:\n        - {}\n        \
                   - verify: dev\n          needs: [biuld]\n          timeout: 1500ms\n          name: \" x\"\n    Two:\n      steps: []\n",
    );
    insta::assert_snapshot!(rendered(&text));
}

#[test]
fn circles_and_names_that_two_steps_have_are_refused() {
    let of = |steps: &str| codes_of(&ci(&format!("    a: {{branches: ['**'], steps: [{steps}]}}\n")));
    assert_eq!(of("{build: }, {push: , needs: [deploy dev]}, {deploy: dev}"), ["LF-M016"]);
    assert_eq!(of("{test: [a]}, {test: [b]}"), ["LF-M048"]);
    assert!(of("{test: [a]}, {test: [b], name: lint}, {push: , needs: [test]}").is_empty());
    let two =
        "    a: {branches: ['**'], steps: [{test: [a]}]}\n    b: {branches: [x], steps: [{test: [b]}, {build: }]}\n";
    assert_eq!(codes_of(&ci(two)), ["LF-M048"]);
    let same =
        "    a: {branches: ['**'], steps: [{test: [a]}]}\n    b: {branches: [x], steps: [{test: [a]}, {push: }]}\n";
    assert!(codes_of(&ci(same)).is_empty());
}

#[test]
fn a_rule_for_nothing_is_a_warning_and_a_misspelt_kind_is_named() {
    assert_eq!(codes_of(&ci("    a: {steps: [{build: }]}\n")), ["LF-M034"]);
    assert_eq!(codes_of(&ci("    a: {branches: [x], steps: [{deplyo: dev}]}\n")), ["LF-M006"]);
    assert_eq!(codes_of(&format!("{WEB}ci: {{}}\n")), ["LF-M008"]);
}

#[test]
fn probes_of_an_environment_have_their_defaults_and_their_order() {
    use landfall_model::probe::{Probe, Verify};

    let of = |verify: &str| {
        loaded(
            &format!("{WEB}environments: {{dev: {{verify: {verify}}}}}\n")
                .replace("environments: {dev: {}, prod: {}}\n", ""),
        )
    };
    let verify = |text: &str| of(text).app.environments["dev"].verify.clone().unwrap();
    assert_eq!(verify("{}"), Verify::default());
    let made = verify(
        "{deadline: 5m, url: 'https://x.example/base', probes: {zebra: {path: /z?a, status: 200, body: 8, within: 500ms}, ant: {headers: {X-A: b}}}}",
    );
    let zebra = Probe {
        name: "zebra".to_owned(),
        path: "/z?a".to_owned(),
        status: "200".to_owned(),
        body: Some("8".to_owned()),
        within: Some(500),
        ..Probe::default()
    };
    assert_eq!((made.deadline, made.url.as_deref(), &made.probes[0]), (300, Some("https://x.example/base"), &zebra));
    assert_eq!((made.probes[1].name.as_str(), made.probes[1].headers["X-A"].as_str()), ("ant", "b"));
    let wrong = |verify: &str| {
        codes_of(
            &format!("{WEB}environments: {{dev: {{verify: {verify}}}}}\n")
                .replace("environments: {dev: {}, prod: {}}\n", ""),
        )
    };
    for (text, code) in [
        ("{url: x}", "LF-M031"),
        ("{deadline: 2h}", "LF-M032"),
        ("{probes: {a: {path: z}}}", "LF-M031"),
        ("{probes: {a: {status: 200-100}}}", "LF-M030"),
        ("{probes: {a: {body: ''}}}", "LF-M009"),
        ("{probes: {a: {headers: {'x y': z}}}}", "LF-M009"),
        ("{probes: {a: {within: 61s}}}", "LF-M032"),
        ("{probes: {A: {}}}", "LF-M028"),
    ] {
        assert_eq!(wrong(text), [code], "{text}");
    }
}

/// A repository of clusters has no services.
#[test]
fn a_cluster_is_a_step_that_needs_no_service() {
    let of = |step: &str| {
        format!("project: clusters\nservices: {{}}\nci: {{rules: {{all: {{branches: [main], steps: [{step}]}}}}}}\n")
    };
    let app = loaded(&of("{cluster: infra.yml}"));
    let step = &app.app.ci.unwrap().rules[0].steps[0];
    assert_eq!(step.run, CiAction::Cluster { values: "infra.yml".to_owned() });
    assert_eq!((step.name.as_str(), step.run.reaches_out()), ("cluster infra.yml", true));
    assert!(rendered(&of("{test: [make]}")).contains("`services` is empty"));
    assert!(rendered(&of("{cluster: ''}")).contains("a cluster without its file"));
}
