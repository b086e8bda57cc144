//! An AWS made by our fake, a manifest that uses all of it, and the real binary.

pub(crate) mod ministack;

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use landfall_awsfake::{Fake, FunctionRule, Handle, ImageRule};
use serde_json::{Value, json};

pub(crate) const BRANCH: &str = "feature/test123";
const ELB: &str = "elasticloadbalancing";

pub(crate) struct World {
    pub(crate) fake: Handle,
    pub(crate) config: PathBuf,
    directory: tempfile::TempDir,
    ports: bool,
    probe: u16,
    _runtime: tokio::runtime::Runtime,
}

/// Answers every request with 200: what is behind the load balancer.
pub(crate) fn visitor() -> u16 {
    use std::io::{Read as _, Write as _};

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
        }
    });
    port
}

impl World {
    /// `ports`: previews on listeners of their own, instead of behind host rules.
    pub(crate) fn new(ports: bool) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (_, fake) = runtime.block_on(Fake { scale: 20.0, ..Fake::default() }.run()).unwrap();
        let directory = tempfile::Builder::new().prefix("landfall-iam-").tempdir().unwrap();
        let world = Self {
            config: directory.path().join("landfall.yml"),
            fake,
            directory,
            ports,
            probe: visitor(),
            _runtime: runtime,
        };
        world.set_up();
        world.manifest("good", 30);
        world
    }

    fn set_up(&self) {
        let call = |service, operation, input: Value| {
            self.fake.call(service, operation, input).unwrap_or_else(|error| panic!("{operation}: {error:?}"))
        };
        call("ecs", "CreateCluster", json!({"clusterName": "main"}));
        call(ELB, "CreateLoadBalancer", json!({"Name": "front", "Subnets": ["subnet-1", "subnet-2"]}));
        call("ecr", "CreateRepository", json!({"repositoryName": "web"}));
        for digit in ["1", "2"] {
            let image = json!({"repositoryName": "web", "imageManifest": format!("{{\"n\":{digit}}}"), "imageTag": digit.repeat(40)});
            call("ecr", "PutImage", image);
        }
        call("logs", "CreateLogGroup", json!({"logGroupName": "/previews"}));
        call(
            "ssm",
            "PutParameter",
            json!({"Name": "/slack", "Value": "http://127.0.0.1:9/hook", "Type": "SecureString"}),
        );
        call("secretsmanager", "CreateSecret", json!({"Name": "db", "SecretString": "{}"}));
        call("secretsmanager", "CreateSecret", json!({"Name": "signing", "SecretString": "s"}));
        call("sns", "CreateTopic", json!({"Name": "ops"}));
        self.fake.change_rules(|rules| {
            rules.functions.push(FunctionRule { name: "seed".to_owned(), ..FunctionRule::default() });
        });
        let ends = |image: &str, code| ImageRule { image: image.to_owned(), exits: Some(code), ..ImageRule::default() };
        self.fake.image(ends("jobs:good", 0));
        self.fake.image(ends("jobs:bad", 3));
    }

    /// `jobs`: how the hook's task ends. `delay`: the target group's deregistration delay.
    pub(crate) fn manifest(&self, jobs: &str, delay: u32) {
        let routing = match self.ports {
            true => "ports: { range: 8001-8010 }",
            false => "host: { domain: previews.example.com, port: 80 }",
        };
        let text = format!(
            r#"project: my-project
aws:
  cloud:
    region: us-east-1
    endpoint: {endpoint}
    account: "123456789012"
    cluster: main
    load_balancer: front
    probe_through: 127.0.0.1:{probe}
    network: {{ subnets: [subnet-1], security_groups: [sg-1] }}
    execution_role: arn:aws:iam::123456789012:role/execution
    log_group: /previews
services:
  web:
    cpu: 256
    memory: 512
    containers:
      app:
        await: {{ image: "123456789012.dkr.ecr.us-east-1.amazonaws.com/web:{{commit}}", deadline: 60s }}
        ports: [8080]
        secrets: {{ DB: {{ secrets_manager: "db:password" }} }}
    load_balancer:
      container: app
      port: 8080
      health_check: {{ path: /health{delay}, interval: 5s, timeout: 2s }}
      deregistration_delay: {delay}s
  side:
    cpu: 256
    memory: 512
    containers:
      side: {{ image: "jobs:stays" }}
  jobs:
    cpu: 256
    memory: 512
    desired_count: 0
    containers:
      job: {{ image: "jobs:{jobs}" }}
previews:
  on: cloud
  branches: ["feature/*"]
  services: [web, side, jobs]
  routing: {{ {routing} }}
  hooks:
    migrate:
      when: after_create
      run: {{ task: {{ service: jobs, command: [migrate] }} }}
      timeout: 20s
    seed:
      when: after_create
      run: {{ lambda: {{ function: seed }} }}
      timeout: 20s
notifications:
  ops: {{ sns: {{ topic: "arn:aws:sns:us-east-1:123456789012:ops" }} }}
  chat: {{ slack: {{ url_secret: {{ ssm: /slack }} }} }}
  signed: {{ webhook: {{ url: "http://127.0.0.1:9/", secret: {{ secrets_manager: signing }} }} }}
"#,
            endpoint = self.fake.url(),
            probe = self.probe,
        );
        std::fs::write(&self.config, text).unwrap();
    }

    pub(crate) fn landfall(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_landfall"))
            .args(arguments)
            .env("LANDFALL_STATE", self.directory.path().join("state"))
            .env("LANDFALL_CONFIG", &self.config)
            .envs([("AWS_ACCESS_KEY_ID", "AKIATEST"), ("AWS_SECRET_ACCESS_KEY", "test"), ("NO_COLOR", "1")])
            .env_remove("LANDFALL_LOG")
            .env_remove("RUST_LOG")
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    pub(crate) fn expect(&self, arguments: &[&str]) -> Output {
        let output = self.landfall(arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}\n{}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        output
    }

    /// What `landfall iam` prints.
    pub(crate) fn policy(&self, arguments: &[&str]) -> Value {
        let output = self.expect(&[&["iam"], arguments].concat());
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub(crate) fn hold_to(&self, policy: &Value) {
        self.fake.clear_calls();
        self.fake.script("POST", "policy", policy).unwrap();
    }

    /// A task of the preview runs that no service and no hook has.
    pub(crate) fn forget_a_task(&self) {
        let name = "my-project-test123-service";
        let asked = json!({"cluster": "main", "services": [name], "include": ["TAGS"]});
        let service = self.fake.call("ecs", "DescribeServices", asked).unwrap()["services"][0].clone();
        let task = json!({
            "cluster": "main", "taskDefinition": service["taskDefinition"], "tags": service["tags"], "launchType": "FARGATE",
            "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}},
        });
        self.fake.call("ecs", "RunTask", task).unwrap();
    }

    /// Somebody sends the preview's visitors elsewhere.
    pub(crate) fn meddle(&self) {
        let call = |operation, input: Value| self.fake.call(ELB, operation, input).unwrap();
        let balancers = call("DescribeLoadBalancers", json!({}));
        let balancer = &balancers["LoadBalancers"][0];
        let group = json!({"Name": "elsewhere", "Protocol": "HTTP", "Port": "80", "VpcId": balancer["VpcId"], "TargetType": "ip"});
        let made = call("CreateTargetGroup", group);
        let forward = json!([{"Type": "forward", "TargetGroupArn": made["TargetGroups"][0]["TargetGroupArn"]}]);
        let listeners = call("DescribeListeners", json!({"LoadBalancerArn": balancer["LoadBalancerArn"]}));
        let listener = &listeners["Listeners"][0]["ListenerArn"];
        if self.ports {
            call("ModifyListener", json!({"ListenerArn": listener, "DefaultActions": forward}));
            return;
        }
        let rules = call("DescribeRules", json!({"ListenerArn": listener}));
        let own = rules["Rules"].as_array().unwrap().iter().find(|rule| rule["IsDefault"] == false).unwrap();
        call("ModifyRule", json!({"RuleArn": own["RuleArn"], "Actions": forward}));
    }
}
