//! Templates before a judge that nobody here wrote: cfn-lint, which has CloudFormation's own schemas.

use std::path::{Path, PathBuf};
use std::process::Command;

use landfall_cluster::{LABEL_CLUSTER, Rights, rights};
use landfall_iam::{ClusterWork, Where};
use landfall_stack::Template;
use landfall_stack::delivery::{ClusterAsk, ClusterImage, ClusterStage, Source, of_cluster};
use landfall_testkit::emulator;

use super::{
    BASE, FLEETS, MANAGED, README, REGRESSION, SEVERAL, cluster, health, infra, made, rebalanced, stood_in_for,
};

fn printed(name: &str, template: &Template) -> [PathBuf; 2] {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let files = [directory.join(format!("cluster-{name}.yml")), directory.join(format!("cluster-{name}.json"))];
    std::fs::write(&files[0], template.yaml()).unwrap();
    std::fs::write(&files[1], template.json()).unwrap();
    files
}

/// With the rights that its jobs have.
fn pipeline(connection: bool) -> Template {
    let infra = infra(REGRESSION);
    let of = |work| {
        let ask = Rights { infra: &infra, work, place: Where::STACK, image_given: true, pass_roles: &[] };
        rights(&ask).unwrap().statement
    };
    let source = match connection {
        true => Source::Connection("arn:aws:codeconnections:us-west-2:111122223333:connection/0a1b2c3d".to_owned()),
        false => Source::Token { secret: "GithubToken".to_owned(), key: None },
    };
    let stage = |environment: &str| ClusterStage {
        environment: environment.to_owned(),
        values: "infra.yml".to_owned(),
        rights: of(ClusterWork::Deploy),
    };
    let image =
        ClusterImage { environment: "dev".to_owned(), values: "infra.yml".to_owned(), rights: of(ClusterWork::Image) };
    let ask = ClusterAsk {
        cluster: &infra.name,
        tag: (LABEL_CLUSTER, &infra.name),
        owner: "acme",
        repository: "clusters",
        branch: "main",
        source: &source,
        images: vec![image],
        stages: ["dev", "prod"].map(stage).into(),
        url: None,
        sha256: None,
    };
    of_cluster(&ask).unwrap().template
}

/// It is sent with a request, and its roles fit.
#[test]
fn a_pipeline_fits() {
    for connection in [true, false] {
        let template = pipeline(connection);
        assert!(template.compact().len() < landfall_stack::BODY, "{}", template.compact().len());
    }
}

#[test]
fn cfn_lint_finds_nothing() {
    let mut all: Vec<PathBuf> = printed("base", &made(BASE)).into();
    // Its examples of ids are none that EC2 gives.
    let readme = README.replace("sg-dab3aca", "sg-0dab3aca");
    let (rebalanced, stood_in_for) = (rebalanced(), stood_in_for());
    let others = [
        ("readme", readme.as_str()),
        ("several", SEVERAL),
        ("fleets", FLEETS),
        ("managed", MANAGED),
        ("rebalanced", &rebalanced),
        ("stood-in-for", &stood_in_for),
    ];
    all.extend(others.into_iter().map(|(name, text)| printed(name, &made(text))[1].clone()));
    let providers = ["landfall-managed_main_1".to_owned()];
    all.extend([
        printed("cluster", &cluster(&infra(REGRESSION), &[]))[1].clone(),
        printed("cluster-managed", &cluster(&infra(MANAGED), &providers))[1].clone(),
        printed("health", &health(&infra(REGRESSION)))[1].clone(),
    ]);
    all.extend([
        printed("pipeline-connection", &pipeline(true))[0].clone(),
        printed("pipeline-token", &pipeline(false))[1].clone(),
    ]);
    let output = Command::new(emulator::program("cfn-lint", "cfn-lint"))
        // Zones that are named are those of the file.
        .args(["--regions", "eu-central-1", "--ignore-checks", "W3010", "--"])
        .args(&all)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.is_empty(), "{told}{}", String::from_utf8_lossy(&output.stderr));
}
