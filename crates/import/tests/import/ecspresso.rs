use std::collections::BTreeMap;

use landfall_import::ecspresso::import;
use landfall_import::{Failed, Imported};
use landfall_manifest::SourceFile;
use landfall_model::app::ImageSource;
use landfall_model::task::{DependencyCondition, LaunchType, SecretRef};

use crate::{app_with, problems, shown};

const CONFIG: &str = r#"region: {{ must_env `AWS_REGION` }}
cluster: production
service: shop-web
service_definition: ecs-service-def.json
task_definition: ecs-task-def.json
timeout: "10m0s"
plugins:
  - name: tfstate
    config: {url: s3://bucket/terraform.tfstate}
ignore: {tags: [x]}
"#;

const TASK: &str = r#"{
	"family": "shop-web",
	"cpu": "0.25 vCPU",
	"memory": "{{ env `MEMORY` `0.5 GB` }}",
	"networkMode": "awsvpc",
	"requiresCompatibilities": ["FARGATE"],
	"executionRoleArn": "arn:aws:iam::123456789012:role/ecsTaskExecutionRole",
	"containerDefinitions": [
		{
			"name": "web",
			"image": "123456789012.dkr.ecr.{{ must_env `AWS_REGION` }}.amazonaws.com/shop:{{ must_env `TAG` | json_escape }}",
			"essential": true,
			"command": ["sh", "-c", "echo $HOME \"${X}\""],
			"portMappings": [{"containerPort": 8080, "hostPort": 8080, "protocol": "tcp"}],
			"environment": [
				{"name": "LOG_LEVEL", "value": "{{ env `LOG_LEVEL` `info` }}"},
				{"name": "EMPTY", "value": ""}
			],
			"secrets": [
				{"name": "DB", "valueFrom": "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-AbCdEf"},
				{"name": "KEY", "valueFrom": "/shop/key"}
			],
			"dependsOn": [{"containerName": "init", "condition": "SUCCESS"}],
			"healthCheck": {"command": ["CMD-SHELL", "curl -f http://localhost:8080"], "interval": 10},
			"ulimits": [{"name": "nofile", "softLimit": 1, "hardLimit": 2}],
			"mountPoints": [],
			"logConfiguration": {
				"logDriver": "awslogs",
				"options": {"awslogs-group": "/ecs/shop", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "web"}
			}
		},
		{"name": "init", "image": "busybox:1", "essential": false, "stopTimeout": 10, "memoryReservation": 64}
	]
}
"#;

const SERVICE: &str = r#"{
  "launchType": "FARGATE",
  "deploymentConfiguration": {
    "minimumHealthyPercent": 100, "maximumPercent": 150,
    "deploymentCircuitBreaker": {"enable": true, "rollback": true}
  },
  "healthCheckGracePeriodSeconds": 30,
  "networkConfiguration": {
    "awsvpcConfiguration": {
      "subnets": ["subnet-0123456789abcdef0"], "securityGroups": ["sg-0123456789abcdef0"], "assignPublicIp": "ENABLED"
    }
  },
  "loadBalancers": [{"targetGroupArn": "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/a/1",
    "containerName": "web", "containerPort": 8080}],
  "enableExecuteCommand": true,
  "schedulingStrategy": "REPLICA",
  "tags": []
}
"#;

fn vars(name: &str) -> Option<String> {
    match name {
        "AWS_REGION" => Some("us-east-1".to_owned()),
        "TAG" => Some("v1".to_owned()),
        "MEMORY" => Some("512".to_owned()),
        _ => None,
    }
}

fn from(config: &str, files: &[(&str, &str)]) -> Result<Imported, Failed> {
    let files: BTreeMap<&str, &str> = files.iter().copied().collect();
    let read = |path: &str| files.get(path).map(|&text| text.to_owned()).ok_or_else(|| "no such file".to_owned());
    import(SourceFile::new("ecspresso.yml", config), &read, &vars)
}

fn everything() -> Imported {
    let task = TASK.replace("{{ env `MEMORY` `0.5 GB` }}", "0.5 GB");
    from(CONFIG, &[("ecs-task-def.json", &task), ("ecs-service-def.json", SERVICE)])
        .unwrap_or_else(|failed| panic!("{}", problems(Err(failed))))
}

#[test]
fn a_service_on_fargate() {
    insta::assert_snapshot!(shown(&everything()));
}

#[test]
fn what_the_manifest_then_means() {
    let result = everything();
    let app = app_with(&result, &vars);
    let web = &app.services["shop-web"];
    assert_eq!((web.launch_type, web.cpu, web.memory), (LaunchType::Fargate, Some(256), Some(512)));
    assert_eq!((web.deployment.minimum_healthy_percent, web.deployment.maximum_percent), (100, 150));
    assert_eq!((web.deployment.timeout, web.deployment.health_check_grace_period), (600, 30));
    let main = &web.containers[0];
    assert_eq!(main.image, ImageSource::Reference("123456789012.dkr.ecr.us-east-1.amazonaws.com/shop:v1".into()));
    assert_eq!(main.settings.command, ["sh", "-c", "echo $HOME \"${X}\""]);
    assert_eq!(main.settings.environment["LOG_LEVEL"], "info");
    assert_eq!(main.settings.environment["EMPTY"], "");
    assert!(matches!(&main.settings.secrets["DB"], SecretRef::SecretsManager(arn) if arn.ends_with("db-AbCdEf")));
    assert_eq!(main.settings.secrets["KEY"], SecretRef::Ssm("/shop/key".into()));
    assert_eq!(main.settings.depends_on[0].condition, DependencyCondition::Success);
    let check = main.settings.health_check.as_ref().unwrap();
    assert_eq!((check.interval, check.timeout, check.retries), (10, 5, 3));
    assert_eq!(web.load_balancer.as_ref().map(|lb| (lb.container.as_str(), lb.port)), Some(("web", 8080)));
    let target = &app.aws["production"];
    assert_eq!((target.region.as_deref(), target.log_group.as_deref()), (Some("us-east-1"), Some("/ecs/shop")));
    assert!(target.public_ip);
    assert_eq!(app.environments["production"].on.as_deref(), Some("production"));
    // The variables are asked for at each deployment, not once now.
    let later = |name: &str| if name == "TAG" { Some("v2".to_owned()) } else { vars(name) };
    let ImageSource::Reference(image) = &app_with(&result, &later).services["shop-web"].containers[0].image else {
        panic!("no reference")
    };
    assert!(image.ends_with(":v2"));
}

#[test]
fn a_definition_in_every_form_and_notation() {
    let wrapped = "{\"taskDefinition\": {\"taskDefinitionArn\": \"x\", \"revision\": 3, \"family\": \"job\", \"cpu\": \"256\", \
                   \"memory\": \"1 GB\", \"requiresCompatibilities\": [\"FARGATE\"], \"containerDefinitions\": \
                   [{\"name\": \"job\", \"image\": \"busybox\", \"cpu\": 0, \"secrets\": [], \"mountPoints\": []}]}, \"tags\": []}";
    let yaml = "family: job\ncpu: 256\nmemory: \"1024\"\nrequiresCompatibilities: [FARGATE]\ncontainerDefinitions:\n  - {name: job, image: busybox}\n";
    for (path, text) in [("task.json", wrapped), ("task.yaml", yaml)] {
        let config = format!("{{\"cluster\": \"c\", \"task_definition\": \"{path}\"}}");
        let service = "{\"launchType\": \"FARGATE\", \"desiredCount\": 3, \"networkConfiguration\": {\"awsvpcConfiguration\": {\"subnets\": [\"subnet-12345678\"]}}}";
        let config = config.replace("}", ", \"service_definition\": \"s.json\"}");
        let result =
            from(&config, &[(path, text), ("s.json", service)]).unwrap_or_else(|f| panic!("{}", problems(Err(f))));
        let app = app_with(&result, &vars);
        assert_eq!((app.services["job"].memory, app.services["job"].desired_count), (Some(1024), 3), "{path}");
    }
}

#[test]
fn on_ec2_reservations_become_limits_and_that_is_said() {
    let task = "{\"family\": \"w\", \"networkMode\": \"bridge\", \"containerDefinitions\": [{\"name\": \"w\", \"image\": \"x\", \
                \"memoryReservation\": 128, \"portMappings\": [{\"containerPort\": 53, \"protocol\": \"udp\"}]}]}";
    let result = from("cluster: c\ntask_definition: t.json\n", &[("t.json", task)]).unwrap();
    assert_eq!(app_with(&result, &vars).services["w"].containers[0].settings.memory, Some(128));
    for about in ["w: memoryReservation", "w: portMappings", "service_definition", "networkMode"] {
        assert!(result.changes.iter().any(|change| change.about == about), "{about}");
    }
}

#[test]
fn what_needs_more_than_files_is_refused_with_its_place() {
    let config = CONFIG.replace("production", "{{ tfstate `aws_ecs_cluster.main.name` }}");
    insta::assert_snapshot!(problems(from(&config, &[])));
    let task =
        TASK.replace("/shop/key", "{{ secretsmanager_arn `key` }}").replace("/ecs/shop", "{{ cfn_output `a` `b` }}");
    insta::assert_snapshot!(problems(from(CONFIG, &[("ecs-task-def.json", &task), ("ecs-service-def.json", SERVICE)])));
    let jsonnet =
        CONFIG.replace("ecs-task-def.json", "ecs-task-def.jsonnet").replace("ecs-service-def.json", "gone.json");
    insta::assert_snapshot!(problems(from(&jsonnet, &[])));
}

#[test]
fn mistakes_are_all_reported() {
    let task = "{\"cpu\": \"much\", \"memory\": \"-1 GB\", \"containerDefinitions\": [{\"image\": 1, \"command\": \"x\", \
                \"portMappings\": [{\"containerPort\": 99999}]}, {\"name\": \"{{ must_env `NAME` }}\"}]}";
    insta::assert_snapshot!(problems(from("task_definition: t.json\n", &[("t.json", task)])));
    assert!(problems(from("cluster: c\n", &[])).contains("`task_definition` is missing"));
}

#[test]
fn a_variable_that_is_not_set_is_named() {
    let files = [(
        "t.json",
        "{\"containerDefinitions\": [{\"name\": \"a\", \"image\": \"x:{{ must_env `NOT_SET` }}\", \"memory\": 64}]}",
    )];
    assert!(problems(from("task_definition: t.json\n", &files)).contains("NOT_SET"));
}

#[test]
fn hostile_files_are_answered() {
    for config in
        ["", "{{", "{{}}", "{{ \u{e000} }}", "[]", "task_definition: [a]\n", "task_definition: {{ must_env `A` }}\n"]
    {
        assert!(from(config, &[]).is_err(), "{config:?}");
    }
    for task in [
        "",
        "[",
        "{\"containerDefinitions\": 5}",
        "{\"containerDefinitions\": [5]}",
        "{\"a\": \"\\ud83d\"}",
        "{\"a\": 1, \"a\": 2}",
    ] {
        assert!(from("task_definition: t.json\n", &[("t.json", task)]).is_err(), "{task:?}");
    }
    assert!(problems(from("task_definition: t.json\n", &[("t.json", &"[".repeat(100_000))])).contains("LF-M003"));
    assert!(from(&"{{ env `A` }}".repeat(20_000), &[]).is_err());
    let injected = "{\"family\": \"w\", \"containerDefinitions\": [{\"name\": \"w\", \"image\": \"x\", \"memory\": 64, \"environment\": \
                    [{\"name\": \"A\", \"value\": \"b\\n    injected: ${HOME}\"}]}]}";
    let result = from("task_definition: t.json\n", &[("t.json", injected)]).unwrap();
    let settings = &app_with(&result, &vars).services["w"].containers[0].settings;
    assert_eq!(settings.environment["A"], "b\n    injected: ${HOME}");
}
