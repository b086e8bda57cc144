//! An ecspresso project as it is, with the real binary against our fake of AWS: deployed over what is there, changed, planned,
//! rolled back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::fake::{FakeAws, V1, V2};
use common::{ends, text};
use landfall_awsfake::ImageRule;
use serde_json::{Value, json};

const CONFIG: &str = "\
region: {{ must_env `AWS_REGION` }}
cluster: main
service: shop-web
service_definition: ecs-service-def.json
task_definition: ecs-task-def.jsonnet
timeout: 5m
";

const TASK: &str = "\
local must_env = std.native('must_env');
local caller = std.native('caller_identity')();
{
  family: 'shop-web',
  cpu: '256',
  memory: '0.5 GB',
  networkMode: 'awsvpc',
  requiresCompatibilities: ['FARGATE'],
  taskRoleArn: 'arn:aws:iam::%s:role/shop' % caller.Account,
  containerDefinitions: [{
    name: 'web',
    image: must_env('IMAGE'),
    essential: true,
    environment: [{ name: 'LEVEL', value: '{{ ssm `/shop/level` }}' }],
    secrets: [{ name: 'DB', valueFrom: '{{ secretsmanager_arn `shop-db` }}:password::' }],
    dockerLabels: { Team: 'shop' },
  }],
  tags: [{ key: 'team', value: 'shop' }],
}
";

fn service(exec: bool) -> String {
    json!({
        "launchType": "FARGATE",
        "enableExecuteCommand": exec,
        "deploymentConfiguration": {"deploymentCircuitBreaker": {"enable": true, "rollback": true}},
        "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"], "securityGroups": ["sg-1"]}},
    })
    .to_string()
}

struct World {
    aws: FakeAws,
}

impl World {
    fn new() -> Self {
        let aws = FakeAws::new();
        aws.fake
            .call("ssm", "PutParameter", json!({"Name": "/shop/level", "Value": "info", "Type": "String"}))
            .unwrap();
        aws.fake.call("secretsmanager", "CreateSecret", json!({"Name": "shop-db", "SecretString": "{}"})).unwrap();
        let world = Self { aws };
        world.write("ecspresso.yml", CONFIG);
        world.write("ecs-task-def.jsonnet", TASK);
        world.write("ecs-service-def.json", &service(false));
        world
    }

    fn write(&self, name: &str, text: &str) {
        self.aws.write(name, text);
    }

    /// stdout and stderr.
    #[track_caller]
    fn ends(&self, image: &str, arguments: &[&str], code: i32) -> (String, String) {
        let mut command = self.aws.landfall(arguments);
        command
            .args(["--config", "ecspresso.yml"])
            .env_remove("LANDFALL_CONFIG")
            .env("AWS_ENDPOINT_URL", self.aws.fake.url())
            .env("IMAGE", image);
        let output = command.output().unwrap();
        (ends(&output, code, &[]), text(&output.stderr))
    }

    fn differences(&self, image: &str, command: &str, code: i32) -> Vec<String> {
        let (stdout, _) = self.ends(image, &[command, "--output", "json"], code);
        let report: Value = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"));
        let one = &report["services"][0];
        let of = |key: &str| one[key].as_array().cloned().unwrap_or_default();
        let paths = of("task_definition").into_iter().chain(of("settings"));
        paths.map(|change| change["path"].as_str().unwrap().to_owned()).collect()
    }

    fn live(&self) -> Value {
        let input = json!({"cluster": "main", "services": ["shop-web"], "include": ["TAGS"]});
        self.aws.fake.call("ecs", "DescribeServices", input).unwrap()["services"][0].clone()
    }

    fn definition(&self) -> Value {
        let handle = self.live()["taskDefinition"].clone();
        let input = json!({"taskDefinition": handle, "include": ["TAGS"]});
        self.aws.fake.call("ecs", "DescribeTaskDefinition", input).unwrap()
    }

    fn revision(&self) -> u64 {
        self.definition()["taskDefinition"]["revision"].as_u64().unwrap()
    }

    fn count(&self, operation: &str) -> usize {
        self.aws.fake.count("ecs", operation)
    }
}

#[test]
fn a_project_is_deployed_changed_planned_and_rolled_back() {
    let world = World::new();
    world.ends(V1, &["check"], 0);
    world.ends(V1, &["deploy"], 0);
    let (live, made) = (world.live(), world.definition());
    assert_eq!((live["desiredCount"].as_u64(), live["runningCount"].as_u64()), (Some(1), Some(1)), "{live}");
    let container = &made["taskDefinition"]["containerDefinitions"][0];
    assert_eq!(container["environment"], json!([{"name": "LEVEL", "value": "info"}]));
    assert_eq!(container["dockerLabels"], json!({"Team": "shop"}));
    assert!(container["secrets"][0]["valueFrom"].as_str().unwrap().starts_with("arn:aws:secretsmanager:us-east-1:"));
    assert_eq!(made["taskDefinition"]["taskRoleArn"], "arn:aws:iam::123456789012:role/shop");
    assert!(made["tags"].as_array().unwrap().contains(&json!({"key": "team", "value": "shop"})), "{made}");

    // Nothing changed: nothing differs, and nothing is registered or updated again.
    assert_eq!(world.differences(V1, "plan", 0), [""; 0]);
    let before = (world.count("RegisterTaskDefinition"), world.count("UpdateService"));
    world.ends(V1, &["deploy"], 0);
    assert_eq!((world.count("RegisterTaskDefinition"), world.count("UpdateService")), before);

    // Somebody scales it: the file says nothing of a count, so that it stays.
    let scaled = json!({"cluster": "main", "service": "shop-web", "desiredCount": 3});
    world.aws.fake.call("ecs", "UpdateService", scaled).unwrap();
    world.write("ecs-service-def.json", &service(true));
    let changes = world.differences(V2, "plan", 2);
    assert_eq!(changes, ["containerDefinitions[web].image", "enableExecuteCommand"]);
    world.ends(V2, &["deploy"], 0);
    let live = world.live();
    assert_eq!(
        (live["desiredCount"].as_u64(), live["enableExecuteCommand"].as_bool()),
        (Some(3), Some(true)),
        "{live}"
    );
    assert_eq!(world.revision(), 2);
    assert_eq!(world.differences(V2, "plan", 0), [""; 0]);

    world.ends(V2, &["rollback"], 0);
    let live = world.live();
    assert_eq!(world.definition()["taskDefinition"]["containerDefinitions"][0]["image"], V1);
    assert_eq!(
        (live["enableExecuteCommand"].as_bool(), live["desiredCount"].as_u64()),
        (Some(false), Some(3)),
        "{live}"
    );
    let (status, _) = world.ends(V1, &["status", "default"], 0);
    assert!(status.contains("shop-web"), "{status}");
}

#[test]
fn a_service_that_somebody_else_made_is_taken_over() {
    let world = World::new();
    let definition = json!({"family": "shop-web", "cpu": "256", "memory": "512", "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE"], "taskRoleArn": "arn:aws:iam::123456789012:role/shop",
        "containerDefinitions": [{"name": "web", "image": V1, "essential": true, "dockerLabels": {"Team": "shop"},
            "environment": [{"name": "LEVEL", "value": "info"}], "secrets": [{"name": "DB", "valueFrom": secret(&world)}]}],
        "tags": [{"key": "team", "value": "shop"}]});
    world.aws.fake.call("ecs", "RegisterTaskDefinition", definition).unwrap();
    let mut made: Value = serde_json::from_str(&service(false)).unwrap();
    for (key, value) in [("cluster", "main"), ("serviceName", "shop-web"), ("taskDefinition", "shop-web:1")] {
        made[key] = json!(value);
    }
    made["desiredCount"] = json!(2);
    made["tags"] = json!([{"key": "owner", "value": "alice"}]);
    world.aws.fake.call("ecs", "CreateService", made).unwrap();
    world.ends(V1, &["deploy"], 0);
    let live = world.live();
    assert_eq!((world.revision(), live["desiredCount"].as_u64()), (1, Some(2)), "the same is not registered again");
    let keys: Vec<&str> = live["tags"].as_array().unwrap().iter().map(|tag| tag["key"].as_str().unwrap()).collect();
    assert!(keys.contains(&"owner") && keys.contains(&"landfall"), "{keys:?}");
    assert_eq!((world.count("CreateService"), world.count("UpdateService")), (0, 0));
    assert_eq!(world.differences(V1, "plan", 0), [""; 0]);
}

#[test]
fn what_failed_is_undone_with_its_settings() {
    let world = World::new();
    world.ends(V1, &["deploy"], 0);
    world.aws.fake.image(ImageRule { image: V2.to_owned(), exits: Some(1), ..ImageRule::default() });
    let mut document: Value = serde_json::from_str(&service(true)).unwrap();
    document["desiredCount"] = json!(2);
    document["deploymentConfiguration"]["deploymentCircuitBreaker"]["rollback"] = json!(false);
    world.write("ecs-service-def.json", &document.to_string());
    let (_, stderr) = world.ends(V2, &["deploy", "--fail-fast", "2"], 3);
    assert!(stderr.contains("shop-web"), "{stderr}");
    let live = world.live();
    assert_eq!(world.definition()["taskDefinition"]["containerDefinitions"][0]["image"], V1);
    assert_eq!(
        (live["enableExecuteCommand"].as_bool(), live["desiredCount"].as_u64()),
        (Some(false), Some(1)),
        "{live}"
    );
    assert_eq!(live["deploymentConfiguration"]["deploymentCircuitBreaker"]["rollback"], true);
}

fn secret(world: &World) -> String {
    let found = world.aws.fake.call("secretsmanager", "DescribeSecret", json!({"SecretId": "shop-db"})).unwrap();
    format!("{}:password::", found["ARN"].as_str().unwrap())
}

#[test]
fn what_is_missing_is_told_with_its_place_and_no_value() {
    let world = World::new();
    world.write("ecs-task-def.jsonnet", &TASK.replace("/shop/level", "/shop/none").replace("'IMAGE'", "'NOT_SET'"));
    let (_, stderr) = world.ends(V1, &["deploy"], 65);
    assert!(stderr.contains("NOT_SET is not set") && stderr.contains("ecs-task-def.jsonnet:12:12"), "{stderr}");
    world.write("ecs-task-def.jsonnet", &TASK.replace("/shop/level", "/shop/none"));
    let (_, stderr) = world.ends(V1, &["plan"], 65);
    assert!(stderr.contains("SSM parameter /shop/none cannot be looked up"), "{stderr}");
    assert_eq!(world.count("RegisterTaskDefinition"), 0);
    world.write("ecs-service-def.json", &json!({"deploymentController": {"type": "CODE_DEPLOY"}}).to_string());
    world.write("ecs-task-def.jsonnet", TASK);
    let (_, stderr) = world.ends(V1, &["deploy"], 65);
    assert!(stderr.contains("CODE_DEPLOY") && stderr.contains("BLUE_GREEN"), "{stderr}");
}

/// As the GitHub action takes it: the file names the family, and an image may be put in.
#[test]
fn a_task_definition_file_is_deployed_to_a_service_of_a_manifest() {
    let world = World::new();
    world.ends(V1, &["deploy"], 0);
    let manifest = json!({
        "project": "shop-web",
        "aws": {"cloud": {"region": "us-east-1", "cluster": "main", "network": {"subnets": ["subnet-1"]}}},
        "services": {"web": {"cpu": 256, "memory": 512, "containers": {"web": {"image": V1}}}},
        "environments": {"default": {"on": "cloud", "services": ["web"], "names": {"web": "shop-web"}}},
    });
    world.write("ecspresso.yml", &manifest.to_string());
    let mut described = world.definition()["taskDefinition"].clone();
    described["containerDefinitions"][0]["dockerLabels"]["Log"] = json!("{{.Name}}");
    world.write("task.json", &described.to_string());
    let image = format!("web={V2}");
    world.ends(V1, &["deploy", "--task-definition", "task.json", "--image", &image], 0);
    let made = world.definition()["taskDefinition"].clone();
    let container = &made["containerDefinitions"][0];
    assert_eq!((&made["family"], made["revision"].as_u64()), (&json!("shop-web"), Some(2)));
    assert_eq!((&container["image"], &container["dockerLabels"]["Log"]), (&json!(V2), &json!("{{.Name}}")));
    assert_eq!(container["secrets"].as_array().unwrap().len(), 1);

    described["containerDefinitions"][0]["imagee"] = json!("x");
    world.write("task.json", &described.to_string());
    let (_, stderr) = world.ends(V1, &["deploy", "--task-definition", "task.json"], 65);
    assert!(
        stderr.contains("`containerDefinitions[0].imagee`") && stderr.contains("did you mean `image`?"),
        "{stderr}"
    );
}
