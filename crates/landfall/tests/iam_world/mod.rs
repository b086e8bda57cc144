//! An AWS made by our fake, a manifest that uses all of it, and the real binary.

pub(crate) mod ministack;

use std::process::Output;

use landfall_awsfake::{FunctionRule, ImageRule};
use serde_json::{Value, json};

use crate::common::ends;
use crate::common::fake::{FakeAws, visitor};

pub(crate) const BRANCH: &str = "feature/test123";
const ELB: &str = "elasticloadbalancing";

pub(crate) struct World {
    pub(crate) aws: FakeAws,
    ports: bool,
    probe: u16,
}

/// The service whose previews come and go, in this account's registry. `delay`: the target group's deregistration delay.
fn web(account: &str, delay: u32) -> String {
    format!(
        r#"  web:
    cpu: 256
    memory: 512
    containers:
      app:
        await: {{ image: "{account}.dkr.ecr.us-east-1.amazonaws.com/web:{{commit}}", deadline: 60s }}
        ports: [8080]
        secrets: {{ DB: {{ secrets_manager: "db:password" }} }}
        secret_paths: ["/my-project/{{environment}}"]
    load_balancer:
      container: app
      port: 8080
      health_check: {{ path: /health{delay}, interval: 5s, timeout: 2s }}
      deregistration_delay: {delay}s
"#
    )
}

/// By digest: nobody is asked what it is.
pub(crate) fn job(ends: &str) -> String {
    format!("jobs/{ends}@sha256:{:064x}", 1)
}

fn notifications(topic: &str) -> String {
    format!(
        r#"notifications:
  ops: {{ sns: {{ topic: "{topic}" }} }}
  chat: {{ slack: {{ url_secret: {{ ssm: /slack }} }} }}
  signed: {{ webhook: {{ url: "http://127.0.0.1:9/", secret: {{ secrets_manager: signing }} }} }}
"#
    )
}

impl World {
    /// `ports`: previews on listeners of their own, instead of behind host rules.
    pub(crate) fn new(ports: bool) -> Self {
        let world = Self { aws: FakeAws::new(), ports, probe: visitor() };
        world.set_up();
        world.manifest("good", 30);
        world
    }

    fn set_up(&self) {
        let call = |service, operation, input: Value| {
            self.aws.fake.call(service, operation, input).unwrap_or_else(|error| panic!("{operation}: {error:?}"))
        };
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
        for environment in ["preview", "prod"] {
            let name = format!("/my-project/{environment}/key");
            call("ssm", "PutParameter", json!({"Name": name, "Value": "x", "Type": "SecureString"}));
        }
        call("secretsmanager", "CreateSecret", json!({"Name": "db", "SecretString": "{}"}));
        call("secretsmanager", "CreateSecret", json!({"Name": "signing", "SecretString": "s"}));
        let topic = call("sns", "CreateTopic", json!({"Name": "ops"}))["TopicArn"].clone();
        let address = "ops@example.com";
        call("sns", "Subscribe", json!({"TopicArn": topic, "Protocol": "email", "Endpoint": address}));
        call("sns", "ConfirmSubscription", json!({"TopicArn": topic, "Token": address}));
        self.aws.fake.change_rules(|rules| {
            rules.functions.push(FunctionRule { name: "seed".to_owned(), ..FunctionRule::default() });
        });
        let ends = |image: &str, code| ImageRule { image: image.to_owned(), exits: Some(code), ..ImageRule::default() };
        self.aws.fake.image(ends(&job("good"), 0));
        self.aws.fake.image(ends(&job("bad"), 3));
        let slow = ImageRule { image: job("slow"), starts_after: Some(3_600_000), ..ImageRule::default() };
        self.aws.fake.image(slow);
    }

    /// `jobs`: how the hook's task ends. `delay`: the target group's deregistration delay.
    pub(crate) fn manifest(&self, jobs: &str, delay: u32) {
        let (routing, lasting) = match self.ports {
            true => ("ports: { range: 8001-8010 }", "port: 8020"),
            false => ("host: { domain: previews.example.com, port: 80 }", "host: { name: www.example.com, port: 80 }"),
        };
        let text = format!(
            r#"project: my-project
{place}    load_balancer: front
    probe_through: 127.0.0.1:{probe}
    execution_role: arn:aws:iam::123456789012:role/execution
    log_group: /previews
services:
{web}  side:
    cpu: 256
    memory: 512
    containers:
      side: {{ image: "{stays}" }}
  jobs:
    cpu: 256
    memory: 512
    desired_count: 0
    containers:
      job: {{ image: "{jobs}" }}
environments:
  prod:
    on: cloud
    services: [web, side]
    routing: {{ {lasting} }}
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
{notifications}"#,
            place = self.aws.place(),
            probe = self.probe,
            stays = job("stays"),
            jobs = job(jobs),
            web = web("123456789012", delay),
            notifications = notifications("arn:aws:sns:us-east-1:123456789012:ops"),
        );
        self.aws.write("landfall.yml", &text);
    }

    /// From now on deployments of `side` wait at a pause hook.
    pub(crate) fn pause_side(&self) {
        let path = self.aws.path().join("landfall.yml");
        let text = std::fs::read_to_string(&path).unwrap();
        let pause = "{ strategy: blue_green, lifecycle_hooks: [{ stages: [post_test_traffic_shift], pause: { timeout: 24h, on_timeout: rollback } }] }";
        let paused = text.replace("  side:\n", &format!("  side:\n    deployment: {pause}\n"));
        assert_ne!(text, paused);
        std::fs::write(path, paused).unwrap();
    }

    pub(crate) fn landfall(&self, arguments: &[&str]) -> Output {
        self.aws.landfall(arguments).output().unwrap()
    }

    /// Which must succeed: stdout.
    #[track_caller]
    pub(crate) fn expect(&self, arguments: &[&str]) -> String {
        ends(&self.landfall(arguments), 0, &[])
    }

    #[track_caller]
    pub(crate) fn ends(&self, arguments: &[&str], code: i32) {
        ends(&self.landfall(arguments), code, &[]);
    }

    /// What `landfall iam` prints.
    pub(crate) fn policy(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.expect(&[&["iam"], arguments].concat())).unwrap()
    }

    pub(crate) fn hold_to(&self, policy: &Value) {
        self.aws.fake.clear_calls();
        self.aws.fake.script("POST", "policy", policy).unwrap();
    }

    /// A task of the preview runs that no service and no hook has.
    pub(crate) fn forget_a_task(&self) {
        let name = "my-project-test123-service";
        let asked = json!({"cluster": "main", "services": [name], "include": ["TAGS"]});
        let service = self.aws.fake.call("ecs", "DescribeServices", asked).unwrap()["services"][0].clone();
        let task = json!({
            "cluster": "main", "taskDefinition": service["taskDefinition"], "tags": service["tags"], "launchType": "FARGATE",
            "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}},
        });
        self.aws.fake.call("ecs", "RunTask", task).unwrap();
    }

    /// Somebody sends the preview's visitors elsewhere.
    pub(crate) fn meddle(&self) {
        let call = |operation, input: Value| self.aws.fake.call(ELB, operation, input).unwrap();
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
