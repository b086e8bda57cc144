//! A canary for each way in which a secret gets into Landfall, and a look for all of them at everything that comes out: both streams of
//! every command at the most talkative level, the state directory as bytes (SQLite with its log), a state on S3, AWS's records, CI's
//! annotations and summaries, requests to others (each may hold its own secret and no other), arguments of processes.
//!
//! What is planted lies outside of the directory that is looked through. That the look finds something is tried first.

mod find;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use landfall_awsfake::s3::S3;
use serde_json::{Value, json};

use self::find::{Canaries, Watch};
use crate::common::fake::{FakeAws, V1};
use crate::common::github::{create, delivery_id, push, sign};
use crate::common::{eventually, http, registry, signal, text};

const LIMIT: Duration = Duration::from_secs(60);
const COMMIT: &str = "1111111111111111111111111111111111111111";

/// Somebody out there: takes every request, and remembers it.
struct Receiver {
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    /// As a registry it wants a login, and refuses whoever has one.
    fn start(registry: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&heard);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let into = Arc::clone(&into);
                std::thread::spawn(move || {
                    let request = whole(&mut stream);
                    let login = request.to_ascii_lowercase().contains("\r\nauthorization:");
                    // Whoever answers may repeat what it was told.
                    let body = format!("you sent {request}");
                    let status = match (registry, login) {
                        (false, _) if request.starts_with("POST /refused/") => "404 Not Found\r\n",
                        (false, _) => "200 OK\r\n",
                        (true, false) => "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"r\"\r\n",
                        (true, true) => "403 Forbidden\r\n",
                    };
                    into.lock().unwrap().push(request);
                    let length = body.len();
                    let _ =
                        write!(stream, "HTTP/1.1 {status}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}");
                });
            }
        });
        Self { port, heard }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

fn whole(stream: &mut std::net::TcpStream) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut bytes = Vec::new();
    let mut some = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
            if body.len() >= length.and_then(|length| length.parse().ok()).unwrap_or(0) {
                return text;
            }
        }
        match stream.read(&mut some) {
            Ok(0) | Err(_) => return text,
            Ok(read) => bytes.extend_from_slice(&some[..read]),
        }
    }
}

struct World {
    canaries: Arc<Canaries>,
    aws: FakeAws,
    s3: S3,
    /// What people and CI have lying about.
    planted: tempfile::TempDir,
    receiver: Receiver,
    registry: Receiver,
    watch: Watch,
    leaks: BTreeSet<String>,
    turn: bool,
}

impl World {
    fn new() -> Self {
        let canaries = Arc::new(Canaries::new());
        let aws = FakeAws::new();
        let s3 = aws.runtime.block_on(S3::start("acme-state", "us-east-1")).unwrap();
        let world = Self {
            watch: Watch::start(&canaries),
            planted: tempfile::Builder::new().prefix("landfall-planted-").tempdir().unwrap(),
            receiver: Receiver::start(false),
            registry: Receiver::start(true),
            leaks: BTreeSet::new(),
            turn: false,
            canaries,
            aws,
            s3,
        };
        world.set_up();
        world
    }

    fn of(&self, name: &str) -> String {
        self.canaries.of(name)
    }

    fn plant(&self, name: &str, text: &str) -> PathBuf {
        let path = self.planted.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    fn set_up(&self) {
        let call = |service, operation, input: Value| {
            self.aws.fake.call(service, operation, input).unwrap_or_else(|error| panic!("{operation}: {error:?}"))
        };
        for environment in ["prod", "preview"] {
            let secret = json!({
                "key": self.of("manager"), "other": self.of("managerother"), "hook": self.of("managerhook"),
            })
            .to_string();
            call(
                "secretsmanager",
                "CreateSecret",
                json!({"Name": format!("shop/{environment}"), "SecretString": secret}),
            );
            for name in ["stdin", "file", "env-file", "from-env"] {
                let name = format!("/shop/{environment}/{name}");
                call("ssm", "PutParameter", json!({"Name": name, "Type": "SecureString", "Value": self.of("before")}));
            }
        }
        for (name, canary) in [("/shop/signing", "signing"), ("/shop/hooks/preview", "parameterhook")] {
            call("ssm", "PutParameter", json!({"Name": name, "Type": "SecureString", "Value": self.of(canary)}));
        }
        self.plant("value", &self.of("file"));
        self.plant("prod.env", &format!("ENV_FILE='{}'\n", self.of("envfile")));
        self.plant("npmrc", &self.of("buildfile"));
        let login = json!({"username": "somebody", "password": self.of("login")});
        let logins = json!({"auths": {format!("127.0.0.1:{}", self.registry.port): login}});
        self.plant("docker/config.json", &logins.to_string());
        self.plant("outgoing", &self.of("outgoing"));
        registry::layout(&self.aws.path().join("out"), "one");
        // A builder that says what it was called with, in a file that is looked through.
        let bin = self.aws.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        for tool in ["docker", "podman", "buildah"] {
            std::fs::write(bin.join(tool), "#!/bin/sh\necho \"$0 $@\" >> \"$HOME/tools.log\"\nexit 1\n").unwrap();
            std::fs::set_permissions(bin.join(tool), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        std::fs::write(self.aws.path().join("Dockerfile"), "FROM scratch\n").unwrap();
        self.manifest();
    }

    fn manifest(&self) {
        let manifest = format!(
            r#"project: my-project
{place}    execution_role: arn:aws:iam::123456789012:role/execution
services:
  web:
    cpu: 256
    memory: 512
    containers:
      app:
        image: "{V1}"
        environment: {{ LEVEL: info }}
        env_file: [open.env]
        ci_variables: [BUILD_NUMBER]
        secrets:
          STDIN: {{ ssm: "/shop/{{environment}}/stdin" }}
          FILE: {{ ssm: "/shop/{{environment}}/file" }}
          ENV_FILE: {{ ssm: "/shop/{{environment}}/env-file" }}
          CI_TOKEN: {{ ssm: "/shop/{{environment}}/from-env" }}
          MANAGER: {{ secrets_manager: "shop/{{environment}}:key" }}
        secret_paths: ["/shop/{{environment}}"]
  built:
    cpu: 256
    memory: 512
    containers:
      app:
        await: {{ image: "127.0.0.1:{registry}/built:{{commit}}", build: {{}} }}
environments:
  prod: {{ on: cloud, services: [web] }}
  dev: {{ services: [web] }}
previews:
  on: cloud
  services: [web]
  routing: {{ host: {{ domain: previews.example.com, port: 80 }} }}
  hooks:
    tell:
      when: after_create
      rerunnable: true
      run:
        http:
          url: "{hook}"
          secret: {{ env: HOOK_TOKEN }}
          secret_headers:
            X-Api-Key: {{ env: HOOK_HEADER }}
            X-Parameter: {{ ssm: "/shop/hooks/{{environment}}" }}
            X-Secret: {{ secrets_manager: "shop/{{environment}}:hook" }}
notifications:
  chat: {{ slack: {{ url_secret: {{ env: SLACK_URL }} }} }}
  dead: {{ slack: {{ url_secret: {{ env: DEAD_URL }} }} }}
  refused: {{ slack: {{ url_secret: {{ env: REFUSED_URL }} }} }}
  signed: {{ webhook: {{ url: "{signed}", secret: {{ ssm: /shop/signing }} }} }}
  signed_too: {{ webhook: {{ url: "{signed}", secret: {{ secrets_manager: "shop/preview:other" }} }} }}
chatops:
  slack: {{ signing_secret: {{ env: SLACK_SIGNING }}, outgoing_token: {{ file: {outgoing} }} }}
ci:
  mask: [LICENCE]
  rules:
    all:
      branches: ["**"]
      steps:
        - test: ["echo $CI_TOKEN and $LICENCE", "sh -c 'echo $CI_TOKEN >&2; exit 3'"]
"#,
            place = self.aws.place(),
            registry = self.registry.port,
            hook = self.receiver.url("/hook"),
            signed = self.receiver.url("/signed"),
            outgoing = self.planted.path().join("outgoing").display(),
        );
        self.aws.write("landfall.yml", &manifest);
        self.aws.write("open.env", "REGION=west\n");
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.aws.landfall(arguments);
        let path = format!("{}:{}", self.aws.path().join("bin").display(), std::env::var("PATH").unwrap());
        command
            .env("PATH", path)
            .env("LANDFALL_LOG", "trace")
            .env("BUILD_NUMBER", "17")
            .env("AWS_SECRET_ACCESS_KEY", self.of("awskey"))
            .env("AWS_SESSION_TOKEN", self.of("awssession"))
            .env("AWS_ENDPOINT_URL_S3", self.s3.url())
            .env("DOCKER_CONFIG", self.planted.path().join("docker"))
            .env("LANDFALL_WEBHOOK_SECRET", self.of("webhook"))
            .env("HOOK_TOKEN", self.of("hooktoken"))
            .env("HOOK_HEADER", self.of("hookheader"))
            .env("SLACK_URL", self.receiver.url(&format!("/slack/{}", self.of("slackurl"))))
            .env("DEAD_URL", format!("http://127.0.0.1:9/{}", self.of("deadurl")))
            .env("REFUSED_URL", self.receiver.url(&format!("/refused/{}", self.of("refusedurl"))))
            .env("SLACK_SIGNING", self.of("slacksigning"))
            .env("CI_TOKEN", self.of("citoken"))
            .env("LICENCE", self.of("licence"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn leak(&mut self, place: &str, bytes: &[u8]) {
        for name in self.canaries.found(bytes) {
            // With its line, for whoever mends it.
            let text = text(bytes);
            let line = text.lines().find(|line| !self.canaries.found(line.as_bytes()).is_empty()).unwrap_or_default();
            self.leaks.insert(format!("{place}: {name}: {}", line.chars().take(300).collect::<String>()));
        }
    }

    fn saw(&mut self, what: &str, output: &Output) {
        self.leak(&format!("{what}: stdout"), &output.stdout);
        self.leak(&format!("{what}: stderr"), &output.stderr);
    }

    /// Ends with one of `codes`, and nothing of it shows a canary. With logs as text and as JSON, in turn.
    #[track_caller]
    fn run(&mut self, arguments: &[&str], codes: &[i32]) {
        self.turn = !self.turn;
        let format = if self.turn { "text" } else { "json" };
        let output = self.command(&[arguments, &["--log-format", format]].concat()).output().unwrap();
        let said = || format!("{arguments:?}: {}\n{}", text(&output.stdout), last(&text(&output.stderr)));
        assert!(codes.contains(&output.status.code().unwrap_or(-1)), "{}", said());
        assert!(self.quiet(arguments) || output.stderr.len() > 2_000, "it did not say much: {}", said());
        self.saw(&arguments.join(" "), &output);
    }

    /// Those that ask nobody.
    fn quiet(&self, arguments: &[&str]) -> bool {
        matches!(
            arguments[0],
            "check" | "iam" | "build" | "executions" | "releases" | "status" | "preview" | "deliveries"
        ) || arguments.iter().any(|one| matches!(*one, "dev" | "list") || one.ends_with("bad.env"))
    }

    #[track_caller]
    fn feed(&mut self, arguments: &[&str], input: &str, code: i32) {
        let output = crate::fed(&mut self.command(arguments), input);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", last(&text(&output.stderr)));
        self.saw(&arguments.join(" "), &output);
    }

    fn nothing_leaked(&mut self, after: &str) {
        let arguments = self.watch.seen();
        self.leaks.extend(arguments);
        let below = self.canaries.below(self.aws.path());
        self.leaks.extend(below);
        let state = self.aws.fake.state().to_string();
        self.leak("AWS's records", state.as_bytes());
        for key in self.s3.keys("acme-state") {
            let object = self.s3.object("acme-state", &key).unwrap_or_default();
            self.leak(&format!("s3://acme-state/{key}"), &object);
        }
        let leaks: Vec<&String> = self.leaks.iter().collect();
        assert!(leaks.is_empty(), "{after}: {leaks:#?}");
    }
}

fn last(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// The look itself: in bytes of any kind, as base64 wherever it begins, and among arguments.
#[test]
fn what_is_there_is_found() {
    let canaries = Arc::new(Canaries::new());
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(canaries.below(directory.path()), BTreeSet::new());
    std::fs::create_dir(directory.path().join("deep")).unwrap();
    let mut bytes = vec![0, 159, 146, 150, b'c', b'n'];
    bytes.extend(canaries.of("planted").as_bytes());
    bytes.push(0xff);
    std::fs::write(directory.path().join("deep/file"), bytes).unwrap();
    let found: Vec<String> = canaries.below(directory.path()).into_iter().collect();
    assert!(found.len() == 1 && found[0].ends_with("deep/file: planted"), "{found:?}");
    // `somebody:cnry…` and two other lengths before it, as logins are sent: by a tool that we did not write.
    for user in ["", "a", "ab", "somebody:"] {
        let mut encoder = Command::new("base64").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        encoder.stdin.take().unwrap().write_all(format!("{user}{}", canaries.of("login")).as_bytes()).unwrap();
        let encoded = encoder.wait_with_output().unwrap().stdout;
        assert_eq!(canaries.found(&encoded), BTreeSet::from(["(base64)".to_owned()]), "{user}");
    }
    let watch = Watch::start(&canaries);
    let mut child =
        Command::new("sh").args(["-c", "read line", &canaries.of("argument")]).stdin(Stdio::piped()).spawn().unwrap();
    eventually("the watch sees it", LIMIT, || {
        match watch.seen().iter().any(|seen| seen.starts_with("argument among")) {
            true => Ok(()),
            false => Err("not yet".to_owned()),
        }
    });
    drop(child.stdin.take());
    child.wait().unwrap();
}

/// And where it would lie if it did get out: a value in the open is found in all those places.
#[test]
fn what_is_in_the_open_is_found_where_a_secret_would_be() {
    let world = World::new();
    let path = world.aws.path().join("landfall.yml");
    let open = std::fs::read_to_string(&path).unwrap().replace("LEVEL: info", &format!("LEVEL: {}", world.of("open")));
    // Given from outside, so that the manifest itself is no find.
    let manifest = world.plant("landfall.yml", &open);
    world.plant("open.env", "REGION=west\n");
    std::fs::remove_file(path).unwrap();
    let run = |arguments: &[&str]| {
        let output = world.command(arguments).env("LANDFALL_CONFIG", &manifest).output().unwrap();
        assert!(matches!(output.status.code(), Some(0 | 2)), "{arguments:?}: {}", last(&text(&output.stderr)));
        output
    };
    let found = |bytes: &[u8]| world.canaries.found(bytes).contains("open");
    assert!(found(&run(&["diff", "prod"]).stdout));
    // The engine's own log at that level.
    run(&["deploy", "prod", "--commit", COMMIT]);
    run(&["deploy", "prod", "--commit", COMMIT, "--state", "s3://acme-state/shop"]);
    assert!(found(world.aws.fake.state().to_string().as_bytes()), "AWS's records");
    let objects: Vec<_> =
        world.s3.keys("acme-state").iter().filter_map(|key| world.s3.object("acme-state", key)).collect();
    assert!(objects.iter().any(|object| found(object)), "a state on S3");
    let below = world.canaries.below(world.aws.path());
    assert!(below.iter().any(|one| one.contains("landfall.db")), "SQLite: {below:?}");
}

#[test]
fn no_command_shows_a_secret() {
    let mut world = World::new();
    // In by every way that `secrets` has, among them those that are refused.
    world.feed(&["secrets", "set", "prod", "STDIN"], &world.of("stdin"), 0);
    let file = world.planted.path().join("value").display().to_string();
    world.run(&["secrets", "set", "prod", "FILE", "--file", &file], &[0]);
    let env_file = world.planted.path().join("prod.env").display().to_string();
    world.run(&["secrets", "set", "prod", "--env-file", &env_file], &[0]);
    world.run(&["secrets", "set", "prod", "CI_TOKEN", "--from-env"], &[0]);
    world.feed(&["secrets", "set", "prod", "MANAGER"], &world.of("managerset"), 0);
    world.feed(&["secrets", "set", "prod", "FRESH"], &world.of("fresh"), 0);
    // AWS repeats this one when it refuses it.
    world.feed(&["secrets", "set", "prod", "STDIN"], &format!("{{{{{}}}}}", world.of("refused")), 64);
    world.plant("bad.env", &format!("STDIN={}\nnonsense {}\n", world.of("badline"), world.of("badline")));
    let bad = world.planted.path().join("bad.env").display().to_string();
    world.run(&["secrets", "set", "prod", "--env-file", &bad], &[64]);
    for arguments in [
        &["secrets", "list", "prod"][..],
        &["secrets", "list", "prod", "--output", "json"],
        &["secrets", "diff", "prod", "previews"],
        &["secrets", "diff", "prod", "previews", "--output", "json"],
        &["secrets", "copy", "prod", "previews"],
        &["secrets", "copy", "prod", "previews", "--overwrite", "--yes"],
    ] {
        world.run(arguments, &[0, 2]);
    }
    world.nothing_leaked("secrets");
    let value =
        world.aws.fake.call("ssm", "GetParameter", json!({"Name": "/shop/preview/stdin", "WithDecryption": true}));
    assert_eq!(value.unwrap()["Parameter"]["Value"], world.of("stdin"), "what is looked for went in");

    // Through a deployment and all that looks at it.
    for arguments in [
        &["check"][..],
        &["plan", "prod", "--output", "json"],
        &["deploy", "prod", "--commit", COMMIT],
        &["deploy", "prod", "--commit", COMMIT, "--force", "--output", "json"],
        &["diff", "prod"],
        &["drift", "prod"],
        &["iam", "prod", "--secrets"],
        &["status", "prod"],
        &["status", "prod", "--output", "json"],
        &["releases", "prod", "--all", "--output", "json"],
        &["executions", "list", "--output", "json"],
        &["logs", "prod"],
        &["deploy", "prod", "--state", "s3://acme-state/shop"],
        &["releases", "prod", "--state", "s3://acme-state/shop"],
    ] {
        world.run(arguments, &[0, 2]);
    }
    // To the release before, of which nothing differs.
    world.run(&["rollback", "prod"], &[0, 1, 64, 66]);
    // Roles and networks that the fake has not: what is wrong is told, and so is all else.
    world.run(&["verify", "prod"], &[0, 1]);
    world.run(&["doctor"], &[0, 1]);
    assert!(!world.s3.keys("acme-state").is_empty(), "the state on S3 was written");
    let asked = json!({"taskDefinition": "my-project-prod-web"});
    let registered = world.aws.fake.call("ecs", "DescribeTaskDefinition", asked).unwrap().to_string();
    for reference in ["/shop/prod/stdin", ":key::", "/shop/prod/FRESH"] {
        assert!(registered.contains(reference), "{reference} in {registered}");
    }
    world.nothing_leaked("a deployment");

    // Builders and registries.
    let secret = format!("id=npm,src={}", world.planted.path().join("npmrc").display());
    world.run(&["build", "built", "--secret", &secret, "--secret", "id=ci,env=CI_TOKEN"], &[1, 64, 69]);
    assert!(world.aws.path().join("tools.log").exists(), "a builder was called");
    let target = format!("http://127.0.0.1:{}/app:v1", world.registry.port);
    world.run(&["push", "--from", "out", &target], &[1, 69, 77]);
    world.run(&["images", "list", &format!("http://127.0.0.1:{}/app", world.registry.port)], &[1, 66, 69, 77]);
    let logins = world.registry.heard();
    assert!(logins.iter().any(|heard| heard.to_ascii_lowercase().contains("authorization: basic")), "{logins:?}");
    world.nothing_leaked("builds and registries");

    // A CI job, whose steps print what they should not.
    let summary = world.aws.path().join("summary.md");
    for (arguments, codes) in [(&["ci"][..], [3, 1]), (&["ci", "plan"], [0, 0]), (&["ci", "resume"], [3, 1])] {
        let mut command = world.command(arguments);
        command.envs([("GITHUB_ACTIONS", "true"), ("GITHUB_REPOSITORY", "acme/shop"), ("GITHUB_EVENT_NAME", "push")]);
        command.envs([("GITHUB_SHA", COMMIT), ("GITHUB_REF", "refs/heads/main")]).env("GITHUB_STEP_SUMMARY", &summary);
        let mut output = command.output().unwrap();
        assert!(codes.contains(&output.status.code().unwrap()), "{arguments:?}: {}", text(&output.stderr));
        // The one line that tells the host what to hide, which the host takes out.
        let masked = format!("::add-mask::{}", world.of("licence"));
        output.stdout = text(&output.stdout).replace(&masked, "").into_bytes();
        world.saw("ci", &output);
    }
    assert!(summary.exists());
    world.nothing_leaked("a CI job");

    // This machine's own store is one file of its owner's, and the only one.
    world.feed(&["secrets", "set", "dev", "STDIN"], &world.of("local"), 0);
    world.run(&["secrets", "list", "dev"], &[0]);
    let store = world.aws.path().join("state/local/secrets.json");
    let found = world.canaries.below(world.aws.path());
    assert_eq!(found, BTreeSet::from([format!("{}: local", store.display())]));
    assert_eq!(std::fs::metadata(&store).unwrap().permissions().mode() & 0o777, 0o600);
}

/// A server's secrets: webhooks, a chat, hooks and notices, and that each goes to its own destination alone.
#[test]
fn no_server_shows_a_secret() {
    let mut world = World::new();
    let port = landfall_testkit::ports::port();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let log = std::fs::File::create(world.aws.path().join("serve.log")).unwrap();
    let mut serve = world.command(&["serve", "--listen", &address.to_string(), "--log-format", "json"]);
    let server = serve.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    let mut server = Ends(server);
    let wait = |what: &str, done: &dyn Fn() -> bool| {
        eventually(what, LIMIT, || done().then_some(()).ok_or_else(|| world_log(&world)));
    };
    wait("the server listens", &|| http::get(address, "/healthz", None).is_ok_and(|answer| answer.status == 200));
    let deliver = |event: &str, payload: &Value, secret: &str| {
        let body = payload.to_string().into_bytes();
        let id = delivery_id();
        let signature = sign(secret, &body);
        let headers = [("X-GitHub-Event", event), ("X-GitHub-Delivery", &id), ("X-Hub-Signature-256", &signature)];
        http::request(address, "POST", "/webhooks/github", None, &headers, &body).unwrap().status
    };
    let branch = "feature/test123";
    assert_eq!(deliver("create", &create(branch), "somebody else's"), 401);
    assert_eq!(deliver("create", &create(branch), &world.of("webhook")) / 100, 2);
    let zero = "0".repeat(40);
    assert_eq!(deliver("push", &push(branch, &zero, COMMIT), &world.of("webhook")) / 100, 2);
    wait("hook and notices are sent", &|| {
        let heard = world.receiver.heard();
        ["/hook", "/slack/", "/signed", "/refused/"]
            .iter()
            .all(|path| heard.iter().any(|one| one.starts_with(&format!("POST {path}"))))
    });
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    for token in [world.of("outgoing"), "wrong".to_owned()] {
        let body =
            format!("token={token}&text=landfall+list&trigger_word=landfall&channel_id=C1&user_id=U1&user_name=u");
        let answer = http::request(address, "POST", "/webhooks/slack/outgoing", None, &form, body.as_bytes()).unwrap();
        world.leak("an answer to a chat", answer.body.as_bytes());
    }
    let metrics = http::get(address, "/metrics", None).unwrap().body;
    world.leak("/metrics", metrics.as_bytes());
    for arguments in [
        &["status", "--output", "json"][..],
        &["preview", "list", "--output", "json"],
        &["executions", "list", "--output", "json"],
        &["deliveries", "--output", "json"],
    ] {
        world.run(arguments, &[0]);
    }
    // What came back from the hook repeats what it was sent, and is kept without that.
    let logs = std::fs::read_dir(world.aws.path().join("state/hooks")).unwrap().map(|entry| entry.unwrap().path());
    let kept = logs.map(|path| std::fs::read_to_string(path).unwrap_or_default()).collect::<String>();
    assert!(kept.to_ascii_lowercase().contains("authorization: bearer ***"), "{kept}");
    // SQLite's log is there as long as the server is.
    assert!(world.aws.path().join("state/landfall.db-wal").exists());
    world.nothing_leaked("a running server");
    signal(server.0.id(), "TERM");
    assert!(server.0.wait().unwrap().success());
    world.nothing_leaked("a stopped server");

    for request in world.receiver.heard() {
        let path = request.split(' ').nth(1).unwrap();
        let may: &[&str] = match path {
            "/hook" => &["hooktoken", "hookheader", "managerhook", "parameterhook"],
            "/signed" => &[],
            path if path.starts_with("/refused/") => &["refusedurl"],
            _ => &["slackurl"],
        };
        let found = world.canaries.found(request.as_bytes());
        assert_eq!(found, may.iter().map(|name| (*name).to_owned()).collect(), "{path}");
    }
}

fn world_log(world: &World) -> String {
    last(&std::fs::read_to_string(world.aws.path().join("serve.log")).unwrap_or_default())
}

struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
