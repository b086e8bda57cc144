//! `landfall secrets` and what containers' secrets become: the real binary on our fake of AWS, on moto, and with this machine's own
//! store. `canary` seeds secrets through every way in and looks for them in everything that comes out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod canary;
mod common;

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use common::fake::{FakeAws, V1};
use common::{ends, text};
use landfall_testkit::emulator;
use serde_json::{Value, json};

/// Standard input holds `input`.
fn fed(command: &mut Command, input: &str) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that refuses does not read.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

struct World {
    aws: FakeAws,
}

impl World {
    fn new() -> Self {
        let world = Self { aws: FakeAws::new() };
        world.manifest(&world.aws.place(), "");
        world
    }

    /// `app`: more of the container.
    fn manifest(&self, place: &str, app: &str) {
        let manifest = format!(
            r#"project: shop
{place}    execution_role: arn:aws:iam::123456789012:role/execution
services:
  web:
    cpu: 256
    memory: 512
    containers:
      app:
        image: "{V1}"
        secrets:
          DATABASE_PASSWORD: {{ ssm: "/shop/{{environment}}/database-password" }}
          API_USER: {{ secrets_manager: "shop/{{environment}}/api:user" }}
          API_KEY: {{ secrets_manager: "shop/{{environment}}/api:key" }}
          COMMON: {{ ssm: /shop/common }}
{app}environments:
  staging: {{ on: cloud }}
  prod: {{ on: cloud }}
"#
        );
        self.aws.write("landfall.yml", &manifest);
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.aws.landfall(arguments).output().unwrap()
    }

    fn fed(&self, arguments: &[&str], input: &str) -> Output {
        fed(&mut self.aws.landfall(arguments), input)
    }

    fn set(&self, environment: &str, name: &str, value: &str) {
        ends(&self.fed(&["secrets", "set", environment, name], value), 0, &[]);
    }

    fn json(&self, arguments: &[&str], code: i32) -> Value {
        let stdout = ends(&self.run(&[arguments, &["--output", "json"]].concat()), code, &[]);
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"))
    }

    fn parameter(&self, name: &str) -> Option<String> {
        let found = self.aws.fake.call("ssm", "GetParameter", json!({"Name": name, "WithDecryption": true}));
        Some(found.ok()?["Parameter"]["Value"].as_str().unwrap().to_owned())
    }

    fn secret(&self, name: &str) -> Value {
        let found = self.aws.fake.call("secretsmanager", "GetSecretValue", json!({"SecretId": name})).unwrap();
        serde_json::from_str(found["SecretString"].as_str().unwrap()).unwrap()
    }

    /// Of the only container of the newest revision: its `environment` and `secrets`, by name.
    fn registered(&self, family: &str) -> (Value, Value) {
        let found = self.aws.fake.call("ecs", "DescribeTaskDefinition", json!({"taskDefinition": family})).unwrap();
        let container = &found["taskDefinition"]["containerDefinitions"][0];
        let by_name = |key: &str, value: &str| {
            let all = container[key].as_array().into_iter().flatten();
            Value::Object(all.map(|one| (one["name"].as_str().unwrap().to_owned(), one[value].clone())).collect())
        };
        (by_name("environment", "value"), by_name("secrets", "valueFrom"))
    }
}

#[test]
fn a_value_comes_from_a_person_a_stream_or_a_file_and_never_from_an_argument() {
    let world = World::new();
    let said = ends(
        &world.fed(&["secrets", "set", "prod", "DATABASE_PASSWORD"], "hunter2\n"),
        0,
        &["landfall deploy prod --force"],
    );
    assert!(said.contains("ssm /shop/prod/database-password") && said.contains("created"), "{said}");
    assert_eq!(world.parameter("/shop/prod/database-password").as_deref(), Some("hunter2"));
    world.aws.write("key.pem", "-----BEGIN\nabc\n-----END\n");
    ends(&world.run(&["secrets", "set", "prod", "API_KEY", "--file", "key.pem"]), 0, &[]);
    let mut of_ci = world.aws.landfall(&["secrets", "set", "prod", "API_USER", "--from-env"]);
    ends(&of_ci.env("API_USER", "ci-user").output().unwrap(), 0, &[]);
    assert_eq!(world.secret("shop/prod/api"), json!({"key": "-----BEGIN\nabc\n-----END", "user": "ci-user"}));
    // Many at once.
    world.aws.write("prod.env", "# of prod\nexport DATABASE_PASSWORD='hunter3'\nAPI_USER=other # by hand\n");
    let said = ends(&world.run(&["secrets", "set", "prod", "--env-file", "prod.env"]), 0, &["2 secrets of prod set"]);
    assert!(said.contains("changed") && !said.contains("hunter3"), "{said}");
    assert_eq!(world.parameter("/shop/prod/database-password").as_deref(), Some("hunter3"));
    assert_eq!(world.secret("shop/prod/api")["user"], "other");
    // Nothing is written where one of them has no place.
    world.aws.write("more.env", "DATABASE_PASSWORD=x\nUNHEARD_OF=secret-value\n");
    let refused = world.run(&["secrets", "set", "prod", "--env-file", "more.env"]);
    ends(&refused, 66, &["UNHEARD_OF", "landfall secrets set prod DATABASE_PASSWORD --env-file more.env"]);
    assert_eq!(world.parameter("/shop/prod/database-password").as_deref(), Some("hunter3"));
    ends(&world.run(&["secrets", "set", "prod", "DATABASE_PASSWORD", "--env-file", "more.env"]), 0, &[]);
    assert_eq!(world.parameter("/shop/prod/database-password").as_deref(), Some("x"));
    // What is or looks like a value is refused, and not said again.
    for arguments in [
        &["secrets", "set", "prod", "DATABASE_PASSWORD=hunter9"][..],
        &["secrets", "set", "prod", "DATABASE_PASSWORD", "hunter9"],
        &["secrets", "set", "prod", "hunter9!"],
        &["secrets", "set", "prod", "hunter9"],
    ] {
        let output = world.fed(arguments, "v");
        assert!(matches!(output.status.code(), Some(64 | 66)), "{arguments:?}: {output:?}");
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(!said.contains("hunter9") && said.contains("hint:"), "{said}");
    }
    ends(&world.fed(&["secrets", "set", "prod", "DATABASE_PASSWORD"], "\n"), 64, &["standard input is empty"]);
    ends(&world.run(&["secrets", "set", "prod"]), 64, &["which secret?"]);
    assert_eq!(world.parameter("/shop/prod/database-password").as_deref(), Some("x"));
}

/// On a terminal what is typed is not shown, a correction counts, and Ctrl-C changes nothing.
#[test]
fn a_terminal_shows_nothing_of_what_is_typed() {
    let world = World::new();
    let program = format!("{} secrets set prod DATABASE_PASSWORD", common::landfall());
    let typed = |keys: &str| {
        let like = world.aws.landfall(&[]);
        let mut script = Command::new("script");
        script
            .args(["-qec", &program, "/dev/null"])
            .env_clear()
            .envs(like.get_envs().filter_map(|(k, v)| Some((k, v?))));
        let mut child = script
            .current_dir(world.aws.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("script (util-linux) is needed");
        // Typed when asked, as a person does: what comes earlier the terminal itself would show.
        let mut shown = String::new();
        let mut stdout = child.stdout.take().unwrap();
        while !shown.contains("(not shown): ") {
            let mut some = [0; 256];
            let read = std::io::Read::read(&mut stdout, &mut some).unwrap();
            assert!(read > 0, "{shown}");
            shown.push_str(&String::from_utf8_lossy(&some[..read]));
        }
        child.stdin.as_mut().unwrap().write_all(keys.as_bytes()).unwrap();
        let mut rest = Vec::new();
        std::io::Read::read_to_end(&mut stdout, &mut rest).unwrap();
        (shown + &text(&rest), child.wait().unwrap().code())
    };
    let (shown, code) = typed("hunter22\u{7f}\r");
    assert_eq!(code, Some(0), "{shown}");
    assert!(!shown.contains("hunter"), "{shown}");
    assert_eq!(world.parameter("/shop/prod/database-password").as_deref(), Some("hunter2"));
    let (shown, code) = typed("hunter3\u{3}");
    assert_eq!(code, Some(6), "{shown}");
    assert!(!shown.contains("hunter"), "{shown}");
    assert_eq!(world.parameter("/shop/prod/database-password").as_deref(), Some("hunter2"));
}

#[test]
fn what_is_there_is_listed_compared_and_copied_without_a_value() {
    let world = World::new();
    world.set("staging", "DATABASE_PASSWORD", "one");
    world.set("staging", "API_USER", "u");
    world.set("staging", "API_KEY", "k-of-staging");
    world.set("prod", "API_KEY", "k-of-prod");
    world.set("prod", "API_USER", "u");
    world.set("prod", "COMMON", "c");
    let list = world.json(&["secrets", "list", "prod"], 0);
    let of = |name: &str| {
        let found = list["secrets"].as_array().unwrap().iter().find(|one| one["name"] == name);
        found.unwrap_or_else(|| panic!("{name}: {list:#}")).clone()
    };
    assert_eq!((list["place"].as_str(), list["secrets"].as_array().unwrap().len()), (Some("cloud"), 4));
    assert_eq!(of("DATABASE_PASSWORD")["present"], false);
    assert_eq!(of("COMMON")["present"], true);
    assert_eq!(of("COMMON")["containers"], json!(["web/app"]));
    assert!(of("COMMON")["changed"].is_string());
    let said = ends(
        &world.run(&["secrets", "list", "prod"]),
        0,
        &["1 of 4 secrets missing: `landfall secrets set prod NAME`"],
    );
    assert!(said.contains("secrets_manager shop/prod/api key user"), "{said}");

    let diff = world.json(&["secrets", "diff", "staging", "prod"], 2);
    let state = |name: &str| {
        diff["secrets"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap()["state"].clone()
    };
    assert_eq!(state("DATABASE_PASSWORD"), "only_from");
    assert_eq!(
        (state("API_USER"), state("API_KEY"), state("COMMON")),
        (json!("same"), json!("different"), json!("shared"))
    );

    // A look first.
    let dry = world.run(&["secrets", "copy", "staging", "prod"]);
    let said =
        ends(&dry, 0, &["nothing is copied yet: --yes --overwrite copies 2 secrets, 1 of them over another value"]);
    assert!(said.contains("would be created") && said.contains("would be overwritten"), "{said}");
    assert_eq!(world.parameter("/shop/prod/database-password"), None);
    ends(
        &world.run(&["secrets", "copy", "staging", "prod", "--yes"]),
        73,
        &["another value for API_KEY", "--overwrite"],
    );
    assert_eq!(world.parameter("/shop/prod/database-password"), None);
    ends(
        &world.run(&["secrets", "copy", "staging", "prod", "DATABASE_PASSWORD", "--yes"]),
        0,
        &["1 secret copied to prod"],
    );
    assert_eq!(world.parameter("/shop/prod/database-password").as_deref(), Some("one"));
    ends(&world.run(&["secrets", "copy", "staging", "prod", "--overwrite", "--yes"]), 0, &["1 secret copied"]);
    assert_eq!(world.secret("shop/prod/api"), json!({"key": "k-of-staging", "user": "u"}));
    ends(&world.run(&["secrets", "diff", "staging", "prod"]), 0, &["staging and prod have the same 4 secrets"]);
    ends(&world.run(&["secrets", "list", "nowhere"]), 66, &["no environment called"]);
    ends(&world.run(&["secrets", "copy", "prod", "staging", "NONE"]), 66, &["no secret of prod called `NONE`"]);
}

/// Names under a path become secrets by reference; env files and CI's variables are in the open, and never what looks like a secret.
#[test]
fn a_task_definition_holds_references_to_secrets_and_the_rest_in_the_open() {
    let world = World::new();
    let more = r#"        environment: { LOG_LEVEL: info }
        env_file: [web.env]
        ci_variables: [BUILD_NUMBER]
        secret_paths: ["/shop/{environment}"]
"#;
    world.manifest(&world.aws.place(), more);
    world.aws.write("web.env", "LOG_LEVEL=debug\nREGION=\"eu west\"\n");
    world.set("prod", "DATABASE_PASSWORD", "hunter2");
    world.set("prod", "API_USER", "u");
    // A name that the manifest does not have goes under the path.
    world.set("prod", "MAIL_TOKEN", "hunter2");
    let without =
        ends(&world.run(&["deploy", "prod"]), 64, &["BUILD_NUMBER of web/app is taken from where Landfall runs"]);
    assert_eq!(without, "");
    let deploy = |number: &str| {
        let mut command = world.aws.landfall(&["deploy", "prod"]);
        ends(&command.env("BUILD_NUMBER", number).output().unwrap(), 0, &[]);
    };
    deploy("17");
    let (environment, secrets) = world.registered("shop-prod-web");
    assert_eq!(environment["LOG_LEVEL"], "info", "what stands in the manifest wins");
    assert_eq!((&environment["REGION"], &environment["BUILD_NUMBER"]), (&json!("eu west"), &json!("17")));
    let arn = secrets["API_KEY"].as_str().unwrap();
    assert!(arn.starts_with("arn:aws:secretsmanager:us-east-1:123456789012:secret:shop/prod/api-"), "{arn}");
    assert!(arn.ends_with(":key::"), "{arn}");
    assert_eq!(secrets["DATABASE_PASSWORD"], "/shop/prod/database-password");
    assert_eq!(secrets["MAIL_TOKEN"], "/shop/prod/MAIL_TOKEN");
    assert_eq!(secrets.as_object().unwrap().len(), 5);
    assert!(!format!("{environment}{secrets}").contains("hunter2"));
    // One more under the path is another revision.
    world.set("prod", "NEW_TOKEN", "hunter2");
    deploy("17");
    assert_eq!(world.registered("shop-prod-web").1["NEW_TOKEN"], "/shop/prod/NEW_TOKEN");

    // What looks like a secret stays out, and its value is not said.
    world.aws.write("web.env", "A=1\nDB_PASSWORD=hunter2\n");
    let refused = world.run(&["check"]);
    let said = ends(&refused, 65, &[]);
    assert!(said.contains("LF-M050") && said.contains("line 2 of web.env") && !said.contains("hunter2"), "{said}");
    world.aws.write("web.env", "nonsense hunter2\n");
    let said = ends(&world.run(&["check"]), 65, &[]);
    assert!(said.contains("LF-M049") && !said.contains("hunter2"), "{said}");
    world.manifest(&world.aws.place(), "        ci_variables: [NPM_TOKEN]\n");
    let said = ends(&world.run(&["check"]), 65, &[]);
    assert!(said.contains("landfall secrets set ENV NPM_TOKEN --from-env"), "{said}");
}

/// The same commands without AWS: a file that its owner alone may read, and the same references.
#[test]
fn this_machine_keeps_what_aws_would() {
    use std::os::unix::fs::PermissionsExt as _;

    let directory = tempfile::Builder::new().prefix("landfall-test-").tempdir().unwrap();
    let manifest = r#"project: shop
services:
  web:
    launch_type: local
    containers:
      app:
        image: "shop/web:1"
        secrets:
          DATABASE_PASSWORD: { ssm: "/shop/{environment}/database-password" }
          HOST_TOKEN: { env: HOST_TOKEN }
        secret_paths: ["/shop/{environment}/all"]
environments:
  dev: {}
"#;
    std::fs::write(directory.path().join("landfall.yml"), manifest).unwrap();
    let run = |arguments: &[&str]| common::fake::landfall(directory.path(), arguments);
    ends(&fed(&mut run(&["secrets", "set", "dev", "DATABASE_PASSWORD"]), "hunter2"), 0, &["on this machine"]);
    ends(&fed(&mut run(&["secrets", "set", "dev", "MORE"]), "hunter2"), 0, &[]);
    ends(&fed(&mut run(&["secrets", "set", "dev", "HOST_TOKEN"]), "x"), 64, &["Landfall's own process"]);
    let file = directory.path().join("state/local/secrets.json");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let said = ends(&run(&["secrets", "list", "dev"]).output().unwrap(), 0, &["1 of 3 secrets missing"]);
    assert!(said.contains("ssm /shop/dev/all/MORE") && !said.contains("hunter2"), "{said}");
    let said = ends(&run(&["secrets", "copy", "dev", "local", "--yes"]).output().unwrap(), 0, &["2 secrets copied"]);
    assert!(said.contains("created"), "{said}");
    ends(&run(&["secrets", "diff", "dev", "local"]).output().unwrap(), 0, &[]);
}

/// An AWS that nobody here wrote, over the wire.
#[test]
fn moto_takes_what_is_set_and_copied() {
    let moto = emulator::moto();
    let world = World::new();
    let place = world.aws.place().replace(&world.aws.fake.url(), &moto.url);
    world.manifest(&place, "        secret_paths: [\"/shop/{environment}\"]\n");
    world.set("staging", "DATABASE_PASSWORD", "hunter2");
    world.set("staging", "API_KEY", "k");
    world.set("staging", "API_USER", "u");
    world.set("staging", "MORE", "m");
    ends(&world.run(&["secrets", "copy", "staging", "prod", "--yes"]), 0, &["4 secrets copied to prod"]);
    let diff = world.json(&["secrets", "diff", "staging", "prod"], 0);
    assert!(diff["secrets"].as_array().unwrap().iter().all(|one| one["state"] != "different"), "{diff:#}");
    let list = world.json(&["secrets", "list", "prod"], 0);
    let missing: Vec<&Value> =
        list["secrets"].as_array().unwrap().iter().filter(|one| one["present"] == false).collect();
    assert_eq!(missing.len(), 1, "{list:#}");
    assert_eq!(missing[0]["name"], "COMMON");
}

/// `secrets` does what the policy of `iam --secrets` allows, and the policy of a deployment allows none of it.
#[test]
fn the_policy_for_secrets_is_one_of_its_own() {
    let world = World::new();
    world.manifest(&world.aws.place(), "        secret_paths: [\"/shop/{environment}/all\"]\n");
    let policy = |arguments: &[&str]| -> Value { serde_json::from_str(&ends(&world.run(arguments), 0, &[])).unwrap() };
    world.aws.fake.script("POST", "policy", &policy(&["iam", "prod", "--secrets"])).unwrap();
    world.set("prod", "DATABASE_PASSWORD", "x");
    world.set("prod", "API_KEY", "x");
    world.set("prod", "API_KEY", "y");
    world.set("prod", "MORE", "y");
    let refused = world.fed(&["secrets", "set", "staging", "API_KEY"], "x");
    ends(&refused, 77, &["not allowed"]);
    world.aws.fake.script("POST", "policy", &policy(&["iam", "prod"])).unwrap();
    ends(&world.fed(&["secrets", "set", "prod", "DATABASE_PASSWORD"], "z"), 77, &[]);
}

/// What there is to see is shown, and the command ends as what it could not see says.
#[test]
fn what_could_not_be_looked_at_is_no_success() {
    let world = World::new();
    let allow = json!({"Effect": "Allow", "Action": ["ssm:DescribeParameters"], "Resource": "*"});
    let policy = json!({"Version": "2012-10-17", "Statement": [allow]});
    world.aws.fake.script("POST", "policy", &policy).unwrap();
    let list = world.json(&["secrets", "list", "prod"], 77);
    let present: Vec<&Value> = list["secrets"].as_array().unwrap().iter().map(|one| &one["present"]).collect();
    assert_eq!(present, [&Value::Null, &Value::Null, &json!(false), &json!(false)], "{list:#}");
    assert_eq!(list["exit_code"], 77);
    ends(&world.run(&["secrets", "list", "prod"]), 77, &["2 of 4 secrets missing, 2 could not be looked at"]);
}
