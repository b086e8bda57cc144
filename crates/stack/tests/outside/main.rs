//! Templates before judges that nobody here wrote: cfn-lint, which has CloudFormation's own schemas, and two emulators that make the
//! stack and are asked by boto3 what there is. `scripts/emulators` installs all of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use std::path::{Path, PathBuf};
use std::process::Command;

use landfall_manifest::SourceFile;
use landfall_testkit::emulator::{self, Emulator};
use serde_json::Value;

const EXAMPLE: &str = include_str!("../../../../examples/stack/landfall.yml");
const EXISTING: &str = include_str!("../manifests/existing.yml");
const INSTANCES: &str = include_str!("../manifests/instances.yml");

/// YAML and JSON, each in a file.
fn printed(name: &str, manifest: &str, environment: &str) -> [PathBuf; 2] {
    let app = landfall_manifest::load(&SourceFile::new("landfall.yml", manifest), &|_| None).unwrap().app;
    let template = landfall_stack::template(&app, environment, None).unwrap();
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let files = [directory.join(format!("{name}.yml")), directory.join(format!("{name}.json"))];
    std::fs::write(&files[0], template.yaml()).unwrap();
    std::fs::write(&files[1], template.json()).unwrap();
    files
}

/// The same of its pipelines.
fn delivered() -> [PathBuf; 2] {
    let manifest = SourceFile::new("landfall.yml", include_str!("../manifests/delivery.yml"));
    let mut app = landfall_manifest::load(&manifest, &|_| None).unwrap().app;
    app.pipelines = serde_json::from_str(include_str!("../manifests/pipelines.json")).unwrap();
    let ask = landfall_stack::delivery::Ask {
        app: &app,
        pipelines: &[],
        account: None,
        region: None,
        state: None,
        url: None,
        sha256: None,
    };
    let template = landfall_stack::delivery::codepipeline(&ask).unwrap().template;
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let files = [directory.join("lint-pipelines.yml"), directory.join("lint-pipelines.json")];
    std::fs::write(&files[0], template.yaml()).unwrap();
    std::fs::write(&files[1], template.json()).unwrap();
    files
}

#[test]
fn cfn_lint_finds_nothing() {
    let all = [
        delivered(),
        printed("lint-dev", EXAMPLE, "dev"),
        printed("lint-prod", EXAMPLE, "prod"),
        printed("lint-existing", EXISTING, "prod"),
        printed("lint-instances", INSTANCES, "prod"),
    ];
    let output = Command::new(emulator::program("cfn-lint", "cfn-lint"))
        .args(["--regions", "eu-central-1", "--"])
        .args(all.iter().flatten())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.is_empty(), "{told}{}", String::from_utf8_lossy(&output.stderr));
}

/// What there is once the example's production is made, as boto3 tells it.
fn made(name: &str, emulator: &Emulator) -> Value {
    let [_, template] = printed(&format!("made-{name}"), EXAMPLE, "prod");
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/outside");
    let image =
        |name: &str| format!("123456789012.dkr.ecr.eu-central-1.amazonaws.com/shop-{name}@sha256:{}", "0".repeat(64));
    let output = Command::new(emulator::program("boto", "python"))
        .arg(directory.join("stack.py"))
        .args([&template, &directory.join(format!("{name}.strip"))])
        .arg("shop-prod")
        .args(
            [("WebAppImage", "app"), ("WebNginxImage", "nginx"), ("ApiApiImage", "api")]
                .map(|(key, of)| format!("{key}={}", image(of))),
        )
        .env("AWS_ENDPOINT_URL", &emulator.url)
        .envs([
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_DEFAULT_REGION", "eu-central-1"),
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    // Everything is there, or is known to be lacking.
    let names = |key: &str| told[key].as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned());
    let mut there: Vec<String> = names("made").chain(names("stripped")).collect();
    there.sort();
    let template: Value = serde_json::from_slice(&std::fs::read(&template).unwrap()).unwrap();
    let wanted: Vec<&String> = template["Resources"].as_object().unwrap().keys().collect();
    assert_eq!(there.iter().collect::<Vec<_>>(), wanted, "{name}");
    told
}

#[test]
fn ministack_makes_what_the_template_says() {
    insta::assert_json_snapshot!("ministack", made("ministack", &emulator::ministack(&[])));
}

#[test]
fn moto_makes_what_the_template_says() {
    insta::assert_json_snapshot!("moto", made("moto", &emulator::moto()));
}
