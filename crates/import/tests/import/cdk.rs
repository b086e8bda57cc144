use landfall_import::cdk::{Options, import};
use landfall_import::{ChangeKind, Failed, Imported};
use landfall_manifest::SourceFile;
use landfall_model::app::ImageSource;
use landfall_model::pipeline::Work;

use crate::{app, problems, shown};

/// As the original's README has it: two of its lines have no semicolon.
const EXAMPLE: &str = "export const githubOwner = 'peerjako-aws';
export const repoName = 'cdk-ecs-cicd';
export const gitDevBranch = 'dev'
export const gitProdBranch = 'master'
export const awsSecretsGitHubTokenName = 'github-personal-access-token';
export const ssmImageTagParamName = 'penguinapp-imagetag';
export const stagingValidationEmail = 'validation@test.com';
";

fn from(text: &str) -> Result<Imported, Failed> {
    let options = Options { account: Some("123456789012".to_owned()), region: Some("eu-west-1".to_owned()) };
    import(SourceFile::new("config.ts", text), &options)
}

fn imported(text: &str) -> Imported {
    from(text).unwrap_or_else(|failed| panic!("{}", problems(Err(failed))))
}

#[test]
fn the_example() {
    insta::assert_snapshot!(shown(&imported(EXAMPLE)));
}

#[test]
fn the_same_as_an_object_is_the_same() {
    let object = r#"/* Configuration. */
interface Config { githubOwner: string; [key: string]: string | object }

// Whoever reads this: change it.
export const config: Config = {
    githubOwner: "peerjako-aws", // the owner
    'repoName': `cdk-ecs-cicd`,
    branches: { gitDevBranch: 'dev', gitProdBranch: 'ma\x73ter', },
    awsSecretsGitHubTokenName: 'github-personal-access-token',
    "ssmImageTagParamName": 'penguinapp-imagetag',
    stagingValidationEmail: 'validation@test.com',
} as const;

export default config;
"#;
    assert_eq!(imported(object), imported(EXAMPLE));
}

#[test]
fn traffic_reaches_nginx_and_every_environment_is_a_stack() {
    let app = app(&imported(EXAMPLE));
    let web = &app.services["web"];
    assert_eq!(web.load_balancer.as_ref().map(|one| (one.container.as_str(), one.port)), Some(("nginx", 80)));
    for container in &web.containers {
        let ImageSource::Await(source) = &container.image else { panic!("{container:?}") };
        let name = format!("123456789012.dkr.ecr.eu-west-1.amazonaws.com/cdk-ecs-cicd-{}:{{commit}}", container.name);
        assert_eq!(source.image, name);
        assert!(source.build.is_some());
    }
    for name in ["dev", "staging", "prod"] {
        let environment = &app.environments[name];
        assert_eq!(environment.on.as_deref(), Some(name));
        let scaling = &environment.stack.as_ref().unwrap().scaling["web"];
        assert_eq!((scaling.min, scaling.max, scaling.cpu), (1, 4, 50));
        assert_eq!(scaling.schedules.len(), 2);
    }
}

#[test]
fn both_pipelines_are_there() {
    let app = app(&imported(EXAMPLE));
    let (dev, second) = (&app.pipelines["dev"], &app.pipelines["staging-prod"]);
    assert_eq!(dev.on.branches, ["dev"]);
    assert_eq!(dev.stages.iter().map(|stage| stage.environment.as_str()).collect::<Vec<_>>(), ["dev"]);
    let published = Work::Publish {
        parameters: vec!["penguinapp-imagetag".to_owned(), "/cdk-ecs-cicd/dev/{service}/image-tag".to_owned()],
    };
    assert_eq!(dev.stages[0].run, [Work::Deploy {}, Work::Verify {}, published]);
    assert_eq!(second.on.after.as_deref(), Some("dev"));
    let asked: Vec<(&str, bool)> =
        second.stages.iter().map(|stage| (stage.environment.as_str(), stage.approval.is_some())).collect();
    assert_eq!(asked, [("staging", false), ("prod", true)]);
}

#[test]
fn every_key_and_every_weakness_is_named() {
    let result = imported(&format!("{EXAMPLE}export const colour = 'red';\nconst other = {{ port: 80 }};\n"));
    for about in ["awsSecretsGitHubTokenName", "colour", "other.port"] {
        let change = result.changes.iter().find(|change| change.about == about);
        assert_eq!(change.map(|change| change.kind), Some(ChangeKind::NotCarriedOver), "{about}");
    }
    for number in 1..=7 {
        let number = number.to_string();
        assert!(result.changes.iter().any(|change| change.about == number), "{number}");
    }
}

#[test]
fn without_an_account_nobody_s_stands_there() {
    let result = import(SourceFile::new("config.ts", EXAMPLE), &Options::default()).unwrap();
    let app = app(&result);
    assert_eq!(app.aws["prod"].account.as_deref(), Some("000000000000"));
    assert_eq!(app.aws["prod"].region.as_deref(), Some("eu-west-1"));
    assert_eq!((result.changes[0].kind, result.changes[0].about.as_str()), (ChangeKind::ToDo, "aws"));
    let wrong = Options { account: Some("12".to_owned()), region: Some("Ireland".to_owned()) };
    let found = problems(import(SourceFile::new("config.ts", EXAMPLE), &wrong));
    assert!(found.contains("`12` is no account") && found.contains("`Ireland` is no region"), "{found}");
}

#[test]
fn mistakes_are_all_reported_with_their_places() {
    let text = "export const githubOwner = 'a/b';
export const reponame = 'x';
export const gitDevBranch = 'dev'; export const gitDevBranch = 'other';
export const gitProdBranch = 7;
export const awsSecretsGitHubTokenName = '';
export const ssmImageTagParamName = 'a b';
export const stagingValidationEmail = 'nobody';
";
    insta::assert_snapshot!(problems(from(text)));
}

#[test]
fn what_is_worked_out_is_refused_with_its_place() {
    let text = "import { owner } from './owner';
export const githubOwner = owner;
export const repoName = process.env.REPO || 'x';
export const gitDevBranch = `${repoName}-dev`;
export const gitProdBranch = 'mas' + 'ter'
export const awsSecretsGitHubTokenName = f();
export const ssmImageTagParamName = { ...rest };
export const stagingValidationEmail = 'validation@test.com
";
    // The text without an end is told alone: what follows it is anybody's guess.
    assert!(problems(from(text)).contains("config.ts:8:39"));
    insta::assert_snapshot!(problems(from(&text.replace("@test.com\n", "@test.com'\n"))));
}

#[test]
fn hostile_values_stay_values() {
    for (key, old, value) in [
        ("githubOwner", "peerjako-aws", "a: b"),
        ("repoName", "cdk-ecs-cicd", "x\\n  injected: 1"),
        ("gitDevBranch", "'dev'", "'${HOME}'"),
        ("gitProdBranch", "master", "**"),
        ("ssmImageTagParamName", "penguinapp-imagetag", "a\\u0000"),
        ("stagingValidationEmail", "validation@test.com", "a@b.c\\n- evil"),
    ] {
        let found = problems(from(&EXAMPLE.replacen(old, value, 1)));
        assert!(found.contains("LF-I002") && found.contains(key), "{found}");
    }
    for text in ["", "{", "not typescript at all", "\0", "export const", "[[[["] {
        assert!(from(text).is_err(), "{text:?}");
    }
    assert!(from(&format!("export const a = {}", "[".repeat(200_000))).is_err());
    let app = app(&imported(&EXAMPLE.replace("'cdk-ecs-cicd'", "'My_App.v2'")));
    assert_eq!(app.project, "my-app-v2");
}
