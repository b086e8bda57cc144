//! Projects as they are in the wild: the fixtures' files, answers as AWS would give them, and what comes out.

use std::collections::{BTreeMap, BTreeSet};

use landfall_import::Failed;
use landfall_import::ecspresso::project::{
    EcspressoProject, External, FUNCTIONS, Found, Inputs, Known, Loaded, Lookup, STACK, is_config, load,
};
use landfall_manifest::{SourceFile, render};
use landfall_model::app::ImageSource;
use landfall_model::task::LaunchType;
use proptest::prelude::*;

pub(crate) type Answers<'a> = &'a dyn Fn(&Lookup) -> Result<Found, String>;

pub(crate) fn no_answers(lookup: &Lookup) -> Result<Found, String> {
    Err(format!("nobody knows {lookup}"))
}

/// On a thread with the stack that Jsonnet wants.
pub(crate) fn with_stack<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work).unwrap();
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// As the binary does it; also the questions of each round.
pub(crate) fn rounds(
    config: &SourceFile,
    read: &dyn Fn(&str) -> Result<String, String>,
    vars: &dyn Fn(&str) -> Option<String>,
    external: &External,
    answers: Answers<'_>,
) -> (Result<EcspressoProject, Failed>, Vec<BTreeSet<Lookup>>) {
    let (mut known, mut asked) = (Known::new(), Vec::new());
    loop {
        let inputs = Inputs { read, vars, known: &known, external, environment: "default" };
        match load(config, &inputs) {
            Ok(Loaded::Asks { lookups, .. }) => {
                assert!(lookups.iter().all(|lookup| !known.contains_key(lookup)), "asked twice");
                assert!(!lookups.is_empty() && asked.len() < 9);
                known.extend(lookups.iter().map(|lookup| (lookup.clone(), answers(lookup))));
                asked.push(lookups);
            }
            Ok(Loaded::Project(project)) => return (Ok(*project), asked),
            Err(failed) => return (Err(failed), asked),
        }
    }
}

pub(crate) fn fixture(path: &str) -> Result<String, String> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/ecspresso/");
    std::fs::read_to_string(format!("{root}{path}")).map_err(|_| "no such file".to_owned())
}

pub(crate) fn shown(failed: &Failed) -> String {
    failed.files.iter().map(|(source, found)| render(found, source, false)).collect()
}

fn vars(name: &str) -> Option<String> {
    let value = match name {
        "AWS_REGION" => "eu-west-1",
        "TAG" => "v1.2.3",
        "IMAGE" => "registry.example.com/worker:v7",
        "GREETING" => "say \"hello\"\tand \\ go",
        _ => return None,
    };
    Some(value.to_owned())
}

fn map(pairs: &[(&str, &str)]) -> Result<Found, String> {
    Ok(Found::Map(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()))
}

pub(crate) fn answers(lookup: &Lookup) -> Result<Found, String> {
    match lookup {
        Lookup::State { bucket, key, .. }
            if (bucket.as_str(), key.as_str()) == ("acme-terraform", "network/terraform.tfstate") =>
        {
            let state = serde_json::json!({
                "version": 4,
                "outputs": {
                    "private_subnets": {"value": ["subnet-a", "subnet-b"], "type": ["list", "string"]},
                    "queues": {"value": {"mail": "q1"}, "type": ["map", "string"]}
                },
                "resources": [{"mode": "managed", "type": "aws_iam_role", "name": "execution",
                    "instances": [{"attributes": {"arn": "arn:aws:iam::123456789012:role/execution"}}]}]
            });
            Ok(Found::Text(state.to_string()))
        }
        Lookup::CallerIdentity => {
            map(&[("Account", "123456789012"), ("Arn", "arn:aws:iam::123456789012:user/ci"), ("UserId", "X")])
        }
        Lookup::SecretArn(name) if name == "shop/db" => {
            Ok(Found::Text("arn:aws:secretsmanager:eu-west-1:123456789012:secret:shop/db-AbCdEf".to_owned()))
        }
        Lookup::Parameter(name) if name == "/platform/envoy-image" => Ok(Found::Text("envoy:v1.30".to_owned())),
        Lookup::Parameter(name) if name == "/platform/log-image" => Ok(Found::Text("fluent-bit:3".to_owned())),
        Lookup::StackOutputs(stack) if stack == "shop-lb" => map(&[
            ("BlueTargetGroup", "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/blue/1"),
            ("GreenTargetGroup", "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/green/2"),
            ("ListenerRule", "arn:aws:elasticloadbalancing:eu-west-1:123456789012:listener-rule/app/x/3/4/5"),
        ]),
        Lookup::Exports => map(&[("shop-security-group", "sg-0123")]),
        other => Err(format!("{other} is not there")),
    }
}

fn open(directory: &str, file: &str) -> (Result<EcspressoProject, Failed>, Vec<BTreeSet<Lookup>>) {
    let text = fixture(&format!("{directory}/{file}")).unwrap();
    let read = |path: &str| fixture(&format!("{directory}/{path}"));
    let config = SourceFile::new(file, text);
    assert!(is_config(&config), "{file} is recognised");
    let external = External {
        text: [("stage".to_owned(), "staging".to_owned())].into(),
        code: [("count".to_owned(), "1 + 1".to_owned())].into(),
    };
    rounds(&config, &read, &vars, &external, &answers)
}

fn opened(directory: &str, file: &str) -> (EcspressoProject, Vec<BTreeSet<Lookup>>) {
    let (result, asked) = open(directory, file);
    (result.unwrap_or_else(|failed| panic!("{}", shown(&failed))), asked)
}

#[test]
fn a_service_with_everything_in_its_files() {
    let (project, asked) = opened("fargate", "ecspresso.yml");
    assert_eq!(asked.len(), 1, "everything is asked for at once");
    assert_eq!(asked[0].len(), 6, "{:?}", asked[0]);
    insta::assert_json_snapshot!("fargate_task", project.task_definition);
    let service = &project.app.services["shop-web"];
    insta::assert_json_snapshot!("fargate_service", service.documents.as_ref().unwrap().service);
    let target = &project.app.aws["default"];
    assert_eq!((target.region.as_deref(), target.cluster.as_str()), (Some("eu-west-1"), "production"));
    let environment = &project.app.environments["default"];
    assert_eq!(environment.names["shop-web"], "shop-web");
    assert!(environment.desired_count.is_empty(), "the live count stays");
    assert_eq!(environment.id(&project.app.project).as_str(), "shop-web@default");
    assert_eq!((service.deployment.timeout, service.launch_type), (600, LaunchType::Fargate));
    let image = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/shop:v1.2.3";
    assert_eq!(service.containers[0].image, ImageSource::Reference(image.to_owned()));
    assert_eq!(project.notes.len(), 1, "{:?}", project.notes);
}

#[test]
fn yaml_with_values_that_are_not_text() {
    let (project, asked) = opened("yaml", "ecspresso.yaml");
    assert!(asked.is_empty(), "nothing is asked of AWS");
    insta::assert_json_snapshot!("yaml_task", project.task_definition);
    insta::assert_json_snapshot!("yaml_service", project.app.services["worker"].documents.as_ref().unwrap().service);
    assert_eq!(project.app.environments["default"].desired_count["worker"], 2);
    assert_eq!(project.app.aws["default"].region.as_deref(), Some("eu-west-1"), "AWS_REGION");
}

#[test]
fn jsonnet_with_imports_functions_and_external_variables() {
    let (project, asked) = opened("jsonnet", "ecspresso.jsonnet");
    assert_eq!(asked.len(), 1, "{asked:?}");
    insta::assert_json_snapshot!("jsonnet_task", project.task_definition);
    insta::assert_json_snapshot!("jsonnet_service", project.app.services["api"].documents.as_ref().unwrap().service);
    assert_eq!(
        (project.app.aws["default"].cluster.as_str(), project.app.services["api"].deployment.timeout),
        ("staging", 300)
    );
}

#[test]
fn a_task_definition_alone_in_the_words_of_other_sdks() {
    let (project, _) = opened("ec2", "ecspresso.json");
    insta::assert_json_snapshot!("ec2_task", project.task_definition);
    assert!(project.service.is_none() && project.app.services.is_empty());
    assert_eq!(project.app.aws["default"].cluster, "batch");
}

#[test]
fn everything_that_is_missing_is_told_at_once_with_its_place() {
    let text = fixture("fargate/ecspresso.yml").unwrap();
    let read = |path: &str| fixture(&format!("fargate/{path}"));
    let none = |name: &str| (name == "AWS_REGION").then(|| "eu-west-1".to_owned());
    let config = SourceFile::new("ecspresso.yml", text);
    let (result, asked) = rounds(&config, &read, &none, &External::default(), &no_answers);
    assert_eq!(asked.len(), 1);
    insta::assert_snapshot!(shown(&result.unwrap_err()));
}

#[test]
fn broken_files_are_told_before_anything_is_asked() {
    let files: BTreeMap<&str, &str> = [
        ("task.json", "{\"family\": \"w\", \"containerDefinitons\": [], \"cpu\": [1], \"containerDefinitions\": [{\"name\": \"w\", \
                       \"image\": \"{{ ssm `/image` }}\", \"memory\": \"64\", \"portMapping\": [], \"essential\": \"yes\", \
                       \"command\": \"run\", \"environment\": [{\"name\": \"A\", \"value\": \"{{ if true }}\"}]}]}"),
        ("service.yml", "desiredCount: two\nloadBalancer: []\nlaunchType: FARGATE\nLaunchType: EC2\nnetworkConfiguration: x\n"),
    ]
    .into();
    let read = |path: &str| files.get(path).map(|text| (*text).to_owned()).ok_or_else(|| "no such file".to_owned());
    let config = "cluster: c\nservice: w\ntask_definition: task.json\nservice_definition: service.yml\ntimeout: 10m\n";
    let (result, asked) =
        rounds(&SourceFile::new("ecspresso.yml", config), &read, &vars, &External::default(), &no_answers);
    assert!(asked.is_empty());
    insta::assert_snapshot!(shown(&result.unwrap_err()));
}

fn one(config: &str, task: &str, service: &str) -> Result<EcspressoProject, String> {
    let read = |path: &str| match path {
        "task.json" | "task.yml" => Ok(task.to_owned()),
        "service.json" => Ok(service.to_owned()),
        _ => Err("no such file".to_owned()),
    };
    let (result, _) = rounds(&SourceFile::new("ecspresso.yml", config), &read, &vars, &External::default(), &answers);
    result.map_err(|failed| shown(&failed))
}

const CONFIG: &str = "cluster: c\nservice: w\ntask_definition: task.json\nservice_definition: service.json\n";
const TASK: &str = "{\"family\": \"w\", \"containerDefinitions\": [{\"name\": \"w\", \"image\": \"x\"}]}";

#[test]
fn what_cannot_be_done_is_refused_and_says_what_to_do() {
    for (config, task, service, part) in [
        (CONFIG, TASK, "{\"deploymentController\": {\"type\": \"CODE_DEPLOY\"}}", "BLUE_GREEN"),
        (CONFIG, TASK, "{\"deploymentController\": {\"type\": \"EXTERNAL\"}}", "EXTERNAL"),
        (CONFIG, TASK, "{\"loadBalancers\": [{\"containerName\": \"v\"}]}", "no such container"),
        (CONFIG, "{\"family\": \"w\"}", "{}", "containerDefinitions"),
        (CONFIG, "{\"containerDefinitions\": []}", "{}", "family"),
        (
            CONFIG,
            "{\"family\": \"w\", \"containerDefinitions\": [{\"name\": \"w\"}]}",
            "{}",
            "containerDefinitions[0].image",
        ),
        (CONFIG, "{\"taskDefinition\": {}, \"other\": 1}", "{}", "beside `taskDefinition`"),
        (
            "cluster: c\ntask_definition: task.json\nservice_definition: service.json\n",
            TASK,
            "{}",
            "`service` is missing",
        ),
        ("cluster: c\nservice: w\nservice_definition: service.json\n", TASK, "{}", "`task_definition` is missing"),
        ("task_definition: gone.json\n", TASK, "{}", "cannot read `gone.json`"),
        ("task_definition: task.json\ntimeout: 600\n", TASK, "{}", "write `600s`"),
        ("task_definition: task.json\ntimeout: soon\n", TASK, "{}", "`timeout` is a duration"),
        ("task_definition: task.json\nplugins: [{name: external}]\n", TASK, "{}", "`external`"),
        ("task_definition: task.json\nplugins: [{name: tfstate}]\n", TASK, "{}", "`path` or `url`"),
        ("task_definition: task.json\nplugins: [{name: tfstate, config: {url: gs://b/k}}]\n", TASK, "{}", "gs://"),
        (
            "task_definition: task.json\nplugins: [{name: cloudformation}, {name: cloudformation}]\n",
            TASK,
            "{}",
            "func_prefix",
        ),
        ("task_definition: task.json\nexpress_definition: e.json\n", TASK, "{}", "express"),
        ("task_definition: task.json\nclutser: c\n", TASK, "{}", "did you mean `cluster`?"),
    ] {
        let error = one(config, task, service).unwrap_err();
        assert!(error.contains(part), "{part}: {error}");
    }
}

/// What a template puts in must not change what is around it, as it would in the file's text.
#[test]
fn values_that_would_break_the_file_are_refused() {
    let task = |value: &str| {
        format!("{{\"family\": \"w\", \"containerDefinitions\": [{{\"name\": \"w\", \"image\": {value}}}]}}")
    };
    let error = one(CONFIG, &task("\"{{ must_env `GREETING` }}\""), "{}").unwrap_err();
    assert!(error.contains("json_escape") && !error.contains("hello"), "{error}");
    let project = one(CONFIG, &task("\"a\\n{{ must_env `GREETING` | json_escape }}\\u00e9\""), "{}").unwrap();
    assert_eq!(project.task_definition["containerDefinitions"][0]["image"], "a\nsay \"hello\"\tand \\ goé");
    assert!(one(CONFIG, &task("{{ must_env `TAG` }}"), "{}").unwrap_err().contains("json_escape"));
    let yaml = CONFIG.replace("task.json", "task.yml");
    let task = |value: &str| format!("family: w\ncontainerDefinitions:\n- name: w\n  image: {value}\n");
    let image = |value: &str| {
        let project = one(&yaml, &task(value), "{}")?;
        Ok::<_, String>(project.task_definition["containerDefinitions"][0]["image"].as_str().unwrap().to_owned())
    };
    assert_eq!(image("{{ must_env `TAG` }}").as_deref(), Ok("v1.2.3"));
    assert_eq!(image("x:{{ env `NO` `7` }}").as_deref(), Ok("x:7"));
    assert_eq!(image("{{ env `NO` `7` }}").as_deref(), Ok("7"));
    assert_eq!(image("'{{ must_env `TAG` }}'").as_deref(), Ok("v1.2.3"));
    for value in [
        "{{ env `NO` `a: b` }}",
        "{{ env `NO` `a #b` }}",
        "{{ env `NO` `&a` }}",
        "{{ env `NO` `{a: b}` }}",
        "{{ env `NO` `[` }}",
    ] {
        assert!(image(value).is_err(), "{value}");
    }
}

#[test]
fn secrets_that_were_looked_up_are_not_shown() {
    let secret = |_: &Lookup| Ok(Found::Text("hunter2-and-more".to_owned()));
    let read = |path: &str| match path {
        "task.jsonnet" => Ok("{family: 'w', containerDefinitions: [{name: 'w', image: 'x', cpu: 'a', environment: \
                              [{name: 'A', value: std.native('ssm')('/secret')}, std.native('ssm')('/secret')]}]}"
            .to_owned()),
        _ => Err("no such file".to_owned()),
    };
    let config = SourceFile::new("ecspresso.yml", "task_definition: task.jsonnet\n");
    let (result, _) = rounds(&config, &read, &vars, &External::default(), &secret);
    let error = shown(&result.unwrap_err());
    assert!(error.contains("`containerDefinitions[0].cpu`") && !error.contains("hunter2"), "{error}");
}

#[test]
fn what_is_no_project_is_left_to_the_manifest() {
    for text in ["project: p\nservices: {}\n", "task_definition: x\nservices: {}\n", "", "[]", "cluster: c\n", "{{"] {
        assert!(!is_config(&SourceFile::new("landfall.yml", text)), "{text}");
    }
    assert!(is_config(&SourceFile::new("x.yml", "cluster: {{ must_env `C` }}\ntask_definition: t.json\n")));
    assert!(is_config(&SourceFile::new("x.json", "{\n\t\"task_definition\": \"t.json\"}")));
}

/// docs/ecspresso.md lists every function, with what it takes.
#[test]
fn every_function_is_documented() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ecspresso.md")).unwrap();
    let documented: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | ").map(|(function, _)| function))
        .collect();
    for (name, takes) in FUNCTIONS {
        let line = format!("{name} {takes}");
        assert!(documented.contains(line.trim()), "{line}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever is in the files, there is an answer.
    #[test]
    fn no_file_makes_it_panic(
        config in "\\PC{0,120}",
        pieces in prop::collection::vec(
            prop::sample::select(vec![
                "{{", "}}", " env `A` ", "ssm `/x` 1", "|", "json_escape", "{", "}", "[", "]", ":", ",", "\"", "'", "\n", "  ",
                "family", "containerDefinitions", "name", "local a = ", "std.native('env')('A', 'b')", "self", "+", "function(x)",
                "- ", "&a", "*a", "\u{e000}0\u{e001}", "{{- tfstate `a.b` -}}", "1e999", "null", "é",
            ]),
            0..30,
        ),
    ) {
        let text = pieces.concat();
        let read = |path: &str| if path == "gone" { Err("gone".to_owned()) } else { Ok(text.clone()) };
        for config in [
            config.as_str(),
            text.as_str(),
            "cluster: c\nservice: s\ntask_definition: a.json\nservice_definition: b.yml\nplugins: [{name: tfstate, config: {path: s}}]\n",
            "cluster: c\nservice: s\ntask_definition: a.jsonnet\nservice_definition: b.jsonnet\n",
        ] {
            for name in ["ecspresso.yml", "ecspresso.json", "ecspresso.jsonnet"] {
                let (result, _) = rounds(&SourceFile::new(name, config), &read, &vars, &External::default(), &no_answers);
                if let Err(failed) = result {
                    prop_assert!(failed.files.iter().any(|(_, found)| !found.is_empty()));
                }
            }
        }
    }
}
