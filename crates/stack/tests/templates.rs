//! Templates as they are printed, from manifests as they are written.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod application;

use std::collections::BTreeSet;

use application::application;
use landfall_manifest::SourceFile;
use landfall_model::app::App;
use landfall_stack::{BODY, Excess, Template, Unfit, excess, template};
use proptest::prelude::*;

const EXAMPLE: &str = include_str!("../../../examples/stack/landfall.yml");
const EXISTING: &str = include_str!("manifests/existing.yml");
const INSTANCES: &str = include_str!("manifests/instances.yml");
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn app(text: &str) -> App {
    match landfall_manifest::load(&SourceFile::new("landfall.yml", text), &|_| None) {
        Ok(loaded) => loaded.app,
        Err(found) => panic!("{found:#?}"),
    }
}

fn made(text: &str, environment: &str) -> Template {
    template(&app(text), environment, None).unwrap()
}

#[test]
fn templates_read_as_a_person_would_write_them() {
    insta::assert_snapshot!("dev", made(EXAMPLE, "dev").yaml());
    insta::assert_snapshot!("prod", made(EXAMPLE, "prod").yaml());
    insta::assert_snapshot!("existing", made(EXISTING, "prod").yaml());
    insta::assert_snapshot!("instances", made(INSTANCES, "prod").yaml());
}

#[test]
fn json_and_yaml_say_the_same() {
    let template = made(EXAMPLE, "prod");
    let json: serde_json::Value = serde_json::from_str(&template.json()).unwrap();
    assert_eq!(json["Resources"]["WebService"]["Properties"]["LoadBalancers"][0]["ContainerName"], "nginx");
    assert_eq!(json["Resources"]["WebService"]["Properties"]["DesiredCount"], serde_json::Value::Null);
    let ids: BTreeSet<&str> = json["Resources"].as_object().unwrap().keys().map(String::as_str).collect();
    let yaml = template.yaml();
    let lines = yaml.lines().skip_while(|line| *line != "Resources:").take_while(|line| *line != "Outputs:");
    let named: BTreeSet<&str> =
        lines.filter_map(|line| line.strip_prefix("  ")?.strip_suffix(':')).filter(|id| !id.starts_with(' ')).collect();
    assert_eq!(ids, named);
}

#[test]
fn a_commit_fills_the_images_that_are_awaited() {
    let template = template(&app(EXAMPLE), "dev", Some(COMMIT)).unwrap();
    let defaults: Vec<_> = template.parameters.iter().map(|(id, one)| (id.as_str(), one.default.clone())).collect();
    let image = |name: &str| Some(format!("123456789012.dkr.ecr.eu-central-1.amazonaws.com/shop-{name}:{COMMIT}"));
    assert_eq!(defaults, [("WebAppImage", image("app")), ("WebNginxImage", image("nginx"))]);
}

#[test]
fn one_service_more_moves_nothing_else() {
    let resources = |count: usize| made(&application(count), "prod").resources;
    let (two, three) = (resources(2), resources(3));
    for (id, resource) in &two {
        let same = three.iter().find(|(other, _)| other == id);
        assert_eq!(same.map(|(_, other)| other), Some(resource), "{id}");
    }
    assert!(three.len() > two.len());
}

#[test]
fn every_reference_leads_to_something() {
    for (text, environment) in [(EXAMPLE, "dev"), (EXAMPLE, "prod"), (EXISTING, "prod"), (INSTANCES, "prod")] {
        let template = made(text, environment);
        let json: serde_json::Value = serde_json::from_str(&template.json()).unwrap();
        let known = |id: &str| !json["Resources"][id].is_null() || !json["Parameters"][id].is_null();
        let mut asked = Vec::new();
        references(&json["Resources"], &mut asked);
        references(&json["Outputs"], &mut asked);
        assert!(asked.len() > 10);
        for id in asked {
            assert!(known(&id), "{environment}: {id}");
        }
    }
}

fn references(value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(map) => {
            for (key, inner) in map {
                match (key.as_str(), inner) {
                    ("Ref", serde_json::Value::String(id)) if id.starts_with("AWS::") => {}
                    ("Ref", serde_json::Value::String(id)) => found.push(id.clone()),
                    ("Fn::GetAtt", serde_json::Value::Array(parts)) => {
                        found.push(parts[0].as_str().unwrap().to_owned());
                    }
                    ("Fn::Sub", serde_json::Value::String(text)) => {
                        let names = text.split("${").skip(1).filter_map(|rest| rest.split(['}', '.']).next());
                        found.extend(names.filter(|name| !name.starts_with("AWS::")).map(str::to_owned));
                    }
                    ("DependsOn", serde_json::Value::Array(ids)) => {
                        found.extend(ids.iter().filter_map(|id| Some(id.as_str()?.to_owned())));
                    }
                    (_, inner) => references(inner, found),
                }
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn names_are_those_of_a_deployment() {
    let app = app(EXISTING);
    let environment = &app.environments["prod"];
    let template = template(&app, "prod", None).unwrap();
    let json: serde_json::Value = serde_json::from_str(&template.json()).unwrap();
    for (service, id) in [("web", "Web"), ("worker", "Worker")] {
        let name = landfall_planner::names::lasting_name(&app, environment, service);
        assert_eq!(json["Resources"][format!("{id}Service")]["Properties"]["ServiceName"], name);
        assert_eq!(json["Resources"][format!("{id}TaskDefinition")]["Properties"]["Family"], name);
    }
}

#[test]
fn what_cannot_be_is_said() {
    let app = app(EXAMPLE);
    assert_eq!(template(&app, "test", None), Err(Unfit::NoEnvironment("test".to_owned())));
    let mut without = app.clone();
    without.environments.get_mut("dev").unwrap().stack = None;
    assert_eq!(template(&without, "dev", None), Err(Unfit::NoStack("dev".to_owned())));
    let mut here = app.clone();
    here.environments.get_mut("dev").unwrap().on = None;
    assert_eq!(template(&here, "dev", None), Err(Unfit::NoPlace("dev".to_owned())));
    // `a1` and `a-1` are one logical id.
    let mut twins = app.clone();
    for name in ["a1", "a-1"] {
        let mut twin = twins.services["api"].clone();
        (twin.name, twin.load_balancer) = (name.to_owned(), None);
        twins.services.insert(name.to_owned(), twin);
        twins.environments.get_mut("dev").unwrap().services.push(name.to_owned());
    }
    let Err(Unfit::SameId(id)) = template(&twins, "dev", None) else { panic!("two services of one id") };
    assert!(id.as_str().starts_with("A1"), "{id}");
}

#[test]
fn cloudformation_s_limits_are_held() {
    let ten = made(&application(10), "prod");
    assert_eq!(excess(&ten, &ten.json()), Ok(()));
    let whole = made(EXAMPLE, "prod").yaml();
    assert!(whole.len() < BODY, "{} bytes", whole.len());
    let many = made(&application(60), "prod");
    assert!(matches!(excess(&many, &many.json()), Err(Excess::Count { what: "resources", .. })));
    assert_eq!(excess(&ten, &" ".repeat(1_000_001)), Err(Excess::Whole(1_000_001)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the order in which the manifest has things, and however often it is asked.
    #[test]
    fn the_same_manifest_gives_the_same_bytes(seed in any::<u64>(), count in 1_usize..6) {
        let text = application(count);
        let first = made(&text, "prod");
        prop_assert_eq!(first.json(), made(&text, "prod").json());
        // Keys of maps that have no order, turned around.
        let (head, tail) = text.split_once("environments:\n").unwrap();
        let (environment, scaling) = tail.split_once("      scaling:\n").unwrap();
        let (scaling, rules) = scaling.split_once("      rules:\n").unwrap_or((scaling, ""));
        let turned = |block: &str| {
            let mut lines: Vec<&str> = block.lines().collect();
            if !lines.is_empty() {
                let by = usize::try_from(seed % 7).unwrap() % lines.len();
                lines.rotate_left(by);
            }
            lines.iter().map(|line| format!("{line}\n")).collect::<String>()
        };
        let rules = if rules.is_empty() { String::new() } else { format!("      rules:\n{}", turned(rules)) };
        let other = format!("{head}environments:\n{environment}      scaling:\n{}{rules}", turned(scaling));
        prop_assert_eq!(made(&other, "prod").yaml(), first.yaml());
    }
}
