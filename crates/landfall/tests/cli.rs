//! The binary as a person and a script meet it: help, errors, exit codes, JSON. No engine, no network.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::{Command, Output, Stdio};

fn landfall(directory: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_landfall"))
        .args(args)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", directory)
        .env("COLUMNS", "100")
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Code, stdout and stderr in one text, with the directory's name taken out.
fn transcript(directory: &Path, args: &[&str]) -> String {
    let output = landfall(directory, args);
    let name = directory.to_string_lossy();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&*name, "DIR").trim_end().to_owned();
    format!(
        "exit {}\n--- stdout\n{}\n--- stderr\n{}",
        output.status.code().unwrap_or(-1),
        text(&output.stdout),
        text(&output.stderr)
    )
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

const BAD: &str = "project: My Project\nservices:\n  web:\n    cpu: 300\n    memory: 512\n    containers:\n      app:\n        imag: nginx\n        depends_on: { db: HEALTHY }\n";

#[test]
fn version_is_one_line() {
    let output = landfall(directory().path(), &["--version"]);
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("landfall {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(landfall(directory().path(), &["check", "--version"]).status.code(), Some(0));
}

#[test]
fn usage_errors_are_64() {
    let dir = directory();
    for args in [
        &["previw"][..],
        &["preview", "create"],
        &["--output", "xml", "status"],
        &["serve", "--listen", "nowhere"],
        &[],
    ] {
        assert_eq!(landfall(dir.path(), args).status.code(), Some(64), "{args:?}");
    }
    assert_eq!(landfall(dir.path(), &["--help"]).status.code(), Some(0));
    insta::assert_snapshot!(transcript(dir.path(), &["previw", "list"]));
}

#[test]
fn help_of_a_command_has_examples() {
    insta::assert_snapshot!(transcript(directory().path(), &["preview", "create", "--help"]));
}

#[test]
fn check_prints_every_problem_in_its_place() {
    let dir = directory();
    std::fs::write(dir.path().join("landfall.yml"), BAD).unwrap();
    let output = landfall(dir.path(), &["check"]);
    assert_eq!(output.status.code(), Some(65));
    let text = String::from_utf8_lossy(&output.stdout);
    for expected in ["LF-M028", "LF-M006", "landfall.yml:8", "image"] {
        assert!(text.contains(expected), "{expected} is missing:\n{text}");
    }
    let json: serde_json::Value =
        serde_json::from_slice(&landfall(dir.path(), &["check", "--output", "json"]).stdout).unwrap();
    assert_eq!(json["valid"], false);
    assert_eq!(json["exit_code"], 65);
    let problems = json["problems"].as_array().unwrap();
    assert!(problems.len() >= 3, "{json}");
    assert!(problems.iter().all(|p| p["labels"][0]["line"].as_u64().unwrap() > 0 && p["code"].is_string()), "{json}");
}

#[test]
fn a_missing_manifest_says_what_to_do() {
    insta::assert_snapshot!(transcript(directory().path(), &["check"]), @r"
    exit 66
    --- stdout
    error[LF-M001]: cannot read landfall.yml: No such file or directory (os error 2)
     |
     = help: `landfall init` writes a first manifest; `--config FILE` names another place
    --- stderr
    landfall.yml: 1 error, 0 warnings
    ");
}

#[test]
fn init_writes_what_check_accepts_and_does_not_overwrite() {
    let dir = directory();
    std::fs::write(dir.path().join("Dockerfile"), "FROM nginx\nEXPOSE 8080\n").unwrap();
    assert_eq!(landfall(dir.path(), &["init"]).status.code(), Some(0));
    assert_eq!(landfall(dir.path(), &["check"]).status.code(), Some(0), "{}", transcript(dir.path(), &["check"]));
    let again = landfall(dir.path(), &["init"]);
    assert_eq!(again.status.code(), Some(73));
    assert!(String::from_utf8_lossy(&again.stderr).contains("--force"));
    assert_eq!(landfall(dir.path(), &["init", "--force"]).status.code(), Some(0));
}

#[test]
fn schema_is_the_committed_one() {
    let output = landfall(directory().path(), &["schema"]);
    let committed = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/landfall.schema.json")).unwrap();
    assert!(output.stdout == committed, "docs/landfall.schema.json is not what `landfall schema` prints");
}

#[test]
fn completions_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = landfall(directory().path(), &["completions", shell]);
        assert!(output.status.success() && output.stdout.len() > 1000, "{shell}");
    }
}

#[test]
fn without_a_server_status_is_an_answer_and_the_rest_say_what_is_missing() {
    let dir = directory();
    insta::assert_snapshot!(transcript(dir.path(), &["status"]), @r"
    exit 0
    --- stdout
    server         not running
    state          DIR/.local/state/landfall
    load balancer  not running
    --- stderr
      hint: `landfall status ENV` looks at an environment; `landfall serve` starts a server, previews that are up go on without one
    ");
    let json: serde_json::Value =
        serde_json::from_slice(&landfall(dir.path(), &["status", "--output", "json"]).stdout).unwrap();
    assert_eq!(json["running"], false);
    insta::assert_snapshot!(transcript(dir.path(), &["preview", "list"]), @r"
    exit 66
    --- stdout

    --- stderr
    error: there is no manifest at landfall.yml
      hint: `landfall init` writes a first one; `--config FILE` names another place
      hint: no server runs for DIR/.local/state/landfall; `--state DIR` names another
    ");
    let output = landfall(dir.path(), &["preview", "list", "--output", "json"]);
    assert_eq!(output.status.code(), Some(66));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["error"]["code"], "not_found");
    assert_eq!(json["error"]["exit_code"], 66);
    assert!(!json["error"]["hints"].as_array().unwrap().is_empty());
}

#[test]
fn serve_refuses_to_start_without_a_secret() {
    let dir = directory();
    std::fs::write(
        dir.path().join("landfall.yml"),
        "project: demo\nservices: { web: { containers: { app: { image: nginx } } } }\n",
    )
    .unwrap();
    let output = landfall(dir.path(), &["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("LANDFALL_WEBHOOK_SECRET"));
    assert!(!dir.path().join(".local").exists(), "nothing was made");
}

#[test]
fn a_bad_log_filter_is_a_usage_error() {
    let output = Command::new(env!("CARGO_BIN_EXE_landfall"))
        .args(["status", "--state", "/nonexistent"])
        .env("LANDFALL_LOG", "landfall=loud")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("landfall=loud"));
}

#[test]
fn backup_of_nothing_and_restore_of_garbage() {
    let dir = directory();
    assert_eq!(landfall(dir.path(), &["backup", "b.db"]).status.code(), Some(66));
    std::fs::write(dir.path().join("garbage.db"), b"not a database at all, but long enough to look at").unwrap();
    let output = landfall(dir.path(), &["restore", "garbage.db"]);
    assert_eq!(output.status.code(), Some(73), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(landfall(dir.path(), &["restore", "missing.db"]).status.code(), Some(66));
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    let dir = directory();
    let mut child = Command::new(env!("CARGO_BIN_EXE_landfall"))
        .args(["schema"])
        .current_dir(dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).is_empty(), "{output:?}");
    assert_eq!(output.status.code(), Some(0));
}

/// The collector is a socket that keeps what it is sent.
#[cfg(feature = "otlp")]
#[test]
fn traces_reach_a_collector() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let collector = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        let mut bytes = vec![0; 65536];
        let read = stream.read(&mut bytes).unwrap();
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        String::from_utf8_lossy(&bytes[..read]).into_owned()
    });
    let dir = directory();
    let status = Command::new(env!("CARGO_BIN_EXE_landfall"))
        .args(["status", "--state"])
        .arg(dir.path())
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-team=ours")
        .env("LANDFALL_LOG", "off")
        .status()
        .unwrap();
    assert!(status.success());
    let request = collector.join().unwrap();
    assert!(request.starts_with("POST /v1/traces "), "{request}");
    assert!(request.contains("x-team: ours"), "{request}");
}

const DEITY: &str = r##"dev:
  vpc_id: vpc-12345678
  cluster: my-cluster
  container_name: app
  container_port: 4567
  task_def: app-dev-feature
  lb_arn: arn:aws:elasticloadbalancing:ap-northeast-1:123456789012:loadbalancer/app/my-app-dev/50dc6c495c0c9188
  sns_arn: arn:aws:sns:ap-northeast-1:123456789012:slack
  deploy_lambda_arn: arn:aws:lambda:ap-northeast-1:123456789012:function:ci-deploy
  slack: {channel: "#test"}
"##;

#[test]
fn an_imported_manifest_passes_the_check() {
    let dir = directory();
    std::fs::write(dir.path().join("conf.yml"), DEITY).unwrap();
    let import = ["import", "deity", "conf.yml", "--stage", "dev", "--repository", "acme/my-project"];
    let printed = landfall(dir.path(), &import);
    assert_eq!(printed.status.code(), Some(0));
    let stderr = String::from_utf8_lossy(&printed.stderr).into_owned();
    assert!(stderr.contains("Behaves otherwise:\n  1: anyone could create"), "{stderr}");
    let to = landfall(dir.path(), &[&import[..], &["--to", "landfall.yml"]].concat());
    assert_eq!((to.status.code(), to.stdout.len()), (Some(0), 0));
    assert_eq!(std::fs::read(dir.path().join("landfall.yml")).unwrap(), printed.stdout);
    assert_eq!(landfall(dir.path(), &["check"]).status.code(), Some(0));
    assert_eq!(landfall(dir.path(), &[&import[..], &["--to", "landfall.yml"]].concat()).status.code(), Some(73));
    assert_eq!(
        landfall(dir.path(), &[&import[..], &["--to", "landfall.yml", "--force"]].concat()).status.code(),
        Some(0)
    );
    let data = landfall(dir.path(), &[&import[..], &["--output", "json"]].concat());
    let data: serde_json::Value = serde_json::from_slice(&data.stdout).unwrap();
    assert_eq!(data["changes"][0]["kind"], "to_do");
    assert!(data["manifest"].as_str().unwrap().contains("omit: ") == DEITY.contains("repo_ommit"));
}

#[test]
fn a_cdk_configuration_becomes_three_stacks() {
    let dir = directory();
    let config = "export const githubOwner = 'acme';\nexport const repoName = 'shop';\nexport const gitDevBranch = 'dev'\nexport const \
                  gitProdBranch = 'master'\nexport const awsSecretsGitHubTokenName = 'token';\nexport const ssmImageTagParamName = \
                  'shop-imagetag';\nexport const stagingValidationEmail = 'a@example.com';\n";
    std::fs::write(dir.path().join("config.ts"), config).unwrap();
    let import = ["import", "cdk-config", "config.ts", "--account", "123456789012", "--to", "landfall.yml"];
    let output = landfall(dir.path(), &import);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0), "{said}");
    assert!(said.contains("To do:\n") && said.contains("\nBehaves otherwise:\n  1: "), "{said}");
    let check = landfall(dir.path(), &["check"]);
    assert_eq!(check.status.code(), Some(0), "{}", String::from_utf8_lossy(&check.stderr));
    for environment in ["dev", "staging", "prod"] {
        let made = landfall(dir.path(), &["template", environment, "--output", "json"]);
        let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
        assert_eq!(made["Resources"]["WebService"]["Properties"]["LoadBalancers"][0]["ContainerName"], "nginx");
        assert_eq!(made["Resources"].as_object().unwrap().len(), 33, "{environment}");
    }
    let exported = landfall(dir.path(), &["pipeline", "export", "codepipeline", "--output", "json"]);
    let exported: serde_json::Value = serde_json::from_slice(&exported.stdout).unwrap();
    for name in ["DevPipeline", "StagingProdPipeline"] {
        assert_eq!(exported["Resources"][name]["Type"], "AWS::CodePipeline::Pipeline", "{name}");
    }
    std::fs::write(dir.path().join("config.ts"), config.replace("'acme'", "process.env.OWNER")).unwrap();
    let refused = landfall(dir.path(), &["import", "cdk-config", "config.ts"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(65));
    assert!(said.contains("config.ts:1:28"), "{said}");
}

#[test]
fn pipelines_are_exported_for_codepipeline() {
    let dir = directory();
    let manifest = "project: shop\nrepositories: {shop: {github: acme/shop}}\naws:\n  main: {region: eu-central-1, account: \"123456789012\", \
                    cluster: c, execution_role: r, network: {subnets: [subnet-11111111]}}\nservices:\n  web:\n    cpu: 256\n    memory: \
                    512\n    containers: {app: {await: {image: \"123456789012.dkr.ecr.eu-central-1.amazonaws.com/shop:{commit}\", \
                    build: {}}}}\nenvironments:\n  prod: {on: main}\npipelines:\n  ship: {on: {branches: [main]}, stages: \
                    [{environment: prod}]}\n";
    std::fs::write(dir.path().join("landfall.yml"), manifest).unwrap();
    let export = ["pipeline", "export", "codepipeline"];
    let yaml = landfall(dir.path(), &export);
    let said = String::from_utf8_lossy(&yaml.stderr).into_owned();
    assert!(yaml.status.success() && yaml.stdout.starts_with(b"AWSTemplateFormatVersion: "), "{said}");
    assert!(said.contains(" resources, 3 parameters, "), "{said}");
    let json =
        landfall(dir.path(), &[&export[..], &["ship", "--output", "json", "--sha256", &"a".repeat(64)]].concat());
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["Parameters"]["LandfallSha256"]["Default"], "a".repeat(64));
    assert_eq!(json["Resources"]["ShipPipeline"]["Type"], "AWS::CodePipeline::Pipeline");
    let code = |more: &[&str]| landfall(dir.path(), &[&export[..], more].concat()).status.code();
    assert_eq!(code(&["shop"]), Some(66));
    assert_eq!(code(&["--sha256", "abc"]), Some(64));
    assert_eq!(code(&["--url", "http://example.com/landfall"]), Some(64));
    std::fs::write(dir.path().join("landfall.yml"), manifest.split("pipelines:").next().unwrap()).unwrap();
    assert_eq!(code(&[]), Some(64));
}

#[test]
fn what_cannot_be_imported_says_where() {
    let dir = directory();
    let code = |args: &[&str]| landfall(dir.path(), args).status.code();
    assert_eq!(code(&["import", "deity", "conf.yml", "--stage", "dev"]), Some(66));
    std::fs::write(dir.path().join("conf.yml"), DEITY.replace("  cluster: my-cluster\n", "")).unwrap();
    let shown = transcript(dir.path(), &["import", "deity", "conf.yml", "--stage", "dev"]);
    assert!(shown.starts_with("exit 65\n--- stdout\n\n") && shown.contains("conf.yml:1:1"), "{shown}");
    assert_eq!(code(&["import", "copilot", "."]), Some(65));
    assert_eq!(code(&["import", "copilot", "nowhere"]), Some(66));
    assert_eq!(code(&["import", "deity", "conf.yml"]), Some(64));
}

#[test]
fn directories_and_definitions_are_found() {
    let dir = directory();
    let write = |path: &str, text: &str| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("shop/copilot/.workspace", "application: shop\n");
    write("shop/copilot/worker/manifest.yml", "name: worker\ntype: Worker Service\nimage: {location: busybox}\n");
    write("shop/node_modules/x/manifest.yml", "not: [valid\n");
    for from in ["shop", "shop/copilot"] {
        let output = landfall(dir.path(), &["import", "copilot", from, "--to", "copilot.yml", "--force"]);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(landfall(dir.path(), &["check", "--config", "copilot.yml"]).status.code(), Some(0));
    }
    write("ecs/ecspresso.yml", "cluster: c\ntask_definition: defs/task.json\n");
    let task = "{\"family\": \"w\", \"containerDefinitions\": [{\"name\": \"w\", \"image\": \"x:{{ env `TAG` `v1` }}\", \"memory\": 64}]}";
    write("ecs/defs/task.json", task);
    let output = landfall(dir.path(), &["import", "ecspresso", "ecs/ecspresso.yml"]);
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("x:${TAG:-v1}"),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn an_environment_is_printed_as_a_template() {
    let directory = directory();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/stack/landfall.yml");
    std::fs::copy(example, directory.path().join("landfall.yml")).unwrap();
    let yaml = landfall(directory.path(), &["template", "dev"]);
    assert!(yaml.status.success());
    assert!(yaml.stdout.starts_with(b"AWSTemplateFormatVersion: \"2010-09-09\"\n"));
    let said = String::from_utf8(yaml.stderr).unwrap();
    assert!(said.contains("19 resources, 2 parameters"), "{said}");
    assert_eq!(landfall(directory.path(), &["template", "dev"]).stdout, yaml.stdout);
    let json = landfall(directory.path(), &["template", "prod", "--commit", "1a2b3c4", "--output", "json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let image = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/shop-app:1a2b3c4";
    assert_eq!(json["Parameters"]["WebAppImage"]["Default"], image);
    for change in [&["rollback", "prod"][..], &["scale", "prod", "web=2"]] {
        let refused = transcript(directory.path(), change);
        assert!(refused.contains("prod is a stack and changes through it only"), "{refused}");
    }
    let unknown = transcript(directory.path(), &["template", "prd"]);
    assert!(unknown.starts_with("exit 66") && unknown.contains("did you mean `prod`?"), "{unknown}");
    let plain = "project: shop\nservices: {web: {containers: {app: {image: nginx}}}}\nenvironments: {dev: {}}\n";
    std::fs::write(directory.path().join("landfall.yml"), plain).unwrap();
    let none = transcript(directory.path(), &["template", "dev"]);
    assert!(none.contains("environment dev has no `stack`") && none.contains("docs/stacks.md"), "{none}");
    let none = transcript(directory.path(), &["stack", "plan", "dev"]);
    assert!(none.starts_with("exit 64") && none.contains("environment dev has no `stack`"), "{none}");
}

#[test]
fn a_cluster_is_checked_and_made_into_templates_without_aws() {
    let directory = tempfile::tempdir().unwrap();
    let readme = include_str!("../../cluster/tests/cluster/files/readme.yml");
    std::fs::write(directory.path().join("infra.yml"), readme).unwrap();
    let checked = landfall(directory.path(), &["cluster", "check", "--output", "json"]);
    let told: serde_json::Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!((checked.status.code(), &told["cluster"]["name"]), (Some(0), &serde_json::json!("dev-cluster")));
    let notes = told["notes"].to_string();
    assert!(notes.contains("autoscaling: true, as the README says"), "{notes}");
    let made = landfall(directory.path(), &["cluster", "template", "--version", "1a2b3c4", "--output", "json"]);
    let stacks: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    let names: Vec<&String> = stacks.as_object().unwrap().keys().collect();
    assert_eq!(names, ["dev-cluster-asg-1a2b3c4", "dev-cluster-cluster", "dev-cluster-cluster-health-task"]);
    let yaml = landfall(directory.path(), &["cluster", "template", "compute", "--version", "1a2b3c4"]);
    assert!(String::from_utf8_lossy(&yaml.stdout).contains("ECS_CLUSTER=dev-cluster\n"));
    let wrong = landfall(directory.path(), &["cluster", "template", "compute", "--version", "1.0"]);
    assert_eq!(wrong.status.code(), Some(64), "{}", String::from_utf8_lossy(&wrong.stderr));
    std::fs::write(directory.path().join("infra.yml"), readme.replace("max_weight", "max_wieght")).unwrap();
    let refused = landfall(directory.path(), &["cluster", "check"]);
    assert_eq!(refused.status.code(), Some(65));
    assert!(String::from_utf8_lossy(&refused.stdout).contains("did you mean `max_weight`?"));
    let none = landfall(directory.path(), &["cluster", "check", "--values", "none.yml"]);
    assert_eq!(none.status.code(), Some(66));
}

#[test]
fn a_cluster_may_be_a_part_of_the_manifest() {
    let directory = tempfile::tempdir().unwrap();
    let write = |cluster: &str| {
        let service = "services: {web: {cpu: 256, memory: 512, containers: {web: {image: nginx}}}}";
        std::fs::write(directory.path().join("landfall.yml"), format!("project: shop\n{service}\n{cluster}")).unwrap();
    };
    let ends = |arguments: &[&str], code: i32| {
        let output = landfall(directory.path(), arguments);
        let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{told}");
        told
    };
    write("");
    ends(&["cluster", "check"], 66);
    let fleets =
        "{spot_fleets: [{name: main, min_weight: 0, max_weight: 2, bids: [{instance_type: t3.small, price: 0.01}]}]}";
    write(&format!("cluster: {{cluster: {{name: web, keypair: '${{KEY}}'}}, ec2_instances: {fleets}}}\n"));
    assert!(ends(&["check"], 0).contains("landfall.yml is valid"), "a variable is none there");
    write(&format!("cluster: {{cluster: {{name: web}}, ec2_instances: {fleets}}}\n"));
    assert!(ends(&["check"], 0).contains("landfall.yml is valid: project shop"));
    assert!(ends(&["cluster", "check"], 0).contains("landfall.yml is valid: cluster web"));
    assert!(ends(&["cluster", "template", "compute", "--version", "1"], 0).contains("ECS_CLUSTER=web"));
    write(&format!("cluster: {{cluster: {{nam: web}}, ec2_instances: {fleets}}}\n"));
    let told = ends(&["check"], 65);
    assert!(told.contains("unknown key `cluster.cluster.nam`") && told.contains("landfall.yml:3"), "{told}");
    write(&format!("\"cluster\": {{cluster: {{nam: web}}, ec2_instances: {fleets}}}\n"));
    assert!(ends(&["check"], 65).contains("unknown key `cluster.cluster.nam`"), "a key in quotes is a key");
    write("cluster: [\n");
    assert!(ends(&["cluster", "check"], 65).contains("landfall.yml:"), "what is no YAML is told");
    // A file of its own comes first.
    std::fs::write(directory.path().join("infra.yml"), format!("cluster: {{name: own}}\nec2_instances: {fleets}\n"))
        .unwrap();
    assert!(ends(&["cluster", "check"], 0).contains("infra.yml is valid: cluster own"));
}

#[test]
fn cluster_cost_and_simulation_ask_nobody() {
    let dir = directory();
    let output =
        landfall(dir.path(), &["cluster", "cost", "--instance-type", "t3.medium", "--count", "3", "--output", "json"]);
    let cost: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!((cost["hour"].as_f64().unwrap() - 0.1248).abs() < 1e-9, "{cost}");
    let infra = "cluster: { name: web }\nec2_instances:\n  spot_fleets:\n    - { name: main, desired_weight: 3, min_weight: 0, max_weight: 8, \
                 bids: [{ instance_type: t3.medium, price: 0.01, weight: 2 }, { instance_type: t3.small, price: 0.02 }] }\n";
    std::fs::write(dir.path().join("infra.yml"), infra).unwrap();
    let output = landfall(dir.path(), &["cluster", "cost", "--output", "json"]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    // Three of weight 1 at 0.0067 are cheaper for it than two of weight 2 at 0.017.
    assert_eq!(
        (&told["desired"]["parts"][0]["instance_type"], &told["desired"]["parts"][0]["count"]),
        (&"t3.small".into(), &3.into())
    );
    assert_eq!((&told["minimum"]["hour"], &told["maximum"]["vcpu"]), (&0.0.into(), &16.into()));
    // An Auto Scaling group has one highest price, 0.0065 here: the lower bid is none. In a Spot Fleet it is.
    let low = infra.replace("price: 0.01", "price: 0.001").replace("price: 0.02", "price: 0.0065");
    std::fs::write(dir.path().join("infra.yml"), &low).unwrap();
    let group = transcript(dir.path(), &["cluster", "cost"]);
    assert!(group.contains("main: t3.small at weight 1 is bought on Spot up to 0.0065 dollars an hour"), "{group}");
    assert!(group.contains("main: t3.medium at weight 2 is bought on Spot up to 0.013 dollars an hour"), "{group}");
    let enough = infra.replace("price: 0.01", "price: 0.001");
    std::fs::write(dir.path().join("infra.yml"), &enough).unwrap();
    let group = transcript(dir.path(), &["cluster", "cost"]);
    assert!(group.starts_with("exit 0") && !group.contains("is bought on Spot"), "{group}");
    let fleets = enough.replace("ec2_instances:\n", "ec2_instances:\n  compatibility: spot_fleets\n");
    std::fs::write(dir.path().join("infra.yml"), fleets).unwrap();
    let request = transcript(dir.path(), &["cluster", "cost"]);
    assert!(request.contains("main: t3.medium at weight 2 is bought on Spot up to 0.002 dollars an hour"), "{request}");
    assert!(!request.contains("main: t3.small"), "{request}");
    let unknown = transcript(dir.path(), &["cluster", "cost", "--instance-type", "t3.mediun"]);
    assert!(unknown.starts_with("exit 66") && unknown.contains("did you mean `t3.medium`?"), "{unknown}");

    std::fs::write(dir.path().join("w.csv"), "0,service,web,4,512,1024\n310,task,job,12,1024,2048,600\n").unwrap();
    let args = ["cluster", "simulate", "w.csv", "--write", "out", "--output", "json"];
    let output = landfall(dir.path(), &args);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let outcomes = report["outcomes"].as_array().unwrap();
    assert_eq!(
        outcomes.iter().map(|one| one["who"].as_str().unwrap()).collect::<Vec<_>>(),
        ["landfall", "original", "managed"]
    );
    assert_eq!(outcomes[0]["never_placed"], 0);
    assert!(outcomes[0]["beyond_boot"].as_u64() < outcomes[2]["beyond_boot"].as_u64(), "{report}");
    let plot = std::fs::read_to_string(dir.path().join("out/w.svg")).unwrap();
    assert!(plot.starts_with("<svg") && plot.contains("ECS managed scaling"));
    // What was written can be read again, and comes to the same.
    let again = landfall(dir.path(), &["cluster", "simulate", "out/w.csv", "--output", "json"]);
    assert_eq!(again.stdout, output.stdout);

    // Three times the margin costs more.
    let args = [
        "cluster",
        "simulate",
        "out/w.csv",
        "--task-threshold-out",
        "3",
        "--task-threshold-in",
        "10",
        "--output",
        "json",
    ];
    let wide: serde_json::Value = serde_json::from_slice(&landfall(dir.path(), &args).stdout).unwrap();
    let hours = |report: &serde_json::Value| report["outcomes"][0]["instance_hours"].as_f64().unwrap();
    assert!(hours(&wide) > hours(&report), "{wide}\n{report}");
    let crossed = transcript(dir.path(), &["cluster", "simulate", "--task-threshold-in", "1"]);
    assert!(crossed.starts_with("exit 64") && crossed.contains("out and in at once"), "{crossed}");

    std::fs::write(dir.path().join("bad.csv"), "0,service,web,4,512,1024\n5,sevrice,web,1,1,1\n").unwrap();
    let bad = transcript(dir.path(), &["cluster", "simulate", "bad.csv"]);
    assert!(bad.starts_with("exit 64") && bad.contains("bad.csv: line 2: `sevrice` is none of"), "{bad}");
}
