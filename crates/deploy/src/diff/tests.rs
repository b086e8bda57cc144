use serde_json::json;

use super::*;

fn request() -> Value {
    json!({
        "family": "shop-prod-web",
        "cpu": "256",
        "memory": "512",
        "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE"],
        "executionRoleArn": "arn:aws:iam::111122223333:role/exec",
        "containerDefinitions": [{
            "name": "web",
            "image": "111122223333.dkr.ecr.eu-west-1.amazonaws.com/web@sha256:aa",
            "essential": true,
            "environment": [{"name": "LOG", "value": "info"}, {"name": "EMPTY", "value": ""}],
            "secrets": [{"name": "DB", "valueFrom": "/prod/db"}],
            "portMappings": [{"containerPort": 8080, "protocol": "tcp"}],
            "healthCheck": {"command": ["CMD-SHELL", "true"]}
        }],
        "tags": [{"key": "landfall.execution", "value": "01A"}, {"key": "team", "value": "shop"}]
    })
}

/// As DescribeTaskDefinition answers about `request`.
fn describe() -> Value {
    json!({
        "taskDefinition": {
            "taskDefinitionArn": "arn:aws:ecs:eu-west-1:111122223333:task-definition/shop-prod-web:7",
            "family": "shop-prod-web",
            "revision": 7,
            "status": "ACTIVE",
            "registeredAt": 1.7e9,
            "registeredBy": "arn:aws:iam::111122223333:user/x",
            "requiresAttributes": [{"name": "com.amazonaws.ecs.capability.docker-remote-api.1.18"}],
            "compatibilities": ["EC2", "FARGATE"],
            "requiresCompatibilities": ["FARGATE"],
            "networkMode": "awsvpc",
            "cpu": "256",
            "memory": "512",
            "executionRoleArn": "arn:aws:iam::111122223333:role/exec",
            "volumes": [],
            "placementConstraints": [],
            "containerDefinitions": [{
                "name": "web",
                "image": "111122223333.dkr.ecr.eu-west-1.amazonaws.com/web@sha256:aa",
                "cpu": 0,
                "essential": true,
                "environment": [{"name": "EMPTY", "value": ""}, {"name": "LOG", "value": "info"}],
                "secrets": [{"name": "DB", "valueFrom": "/prod/db"}],
                "mountPoints": [],
                "volumesFrom": [],
                "systemControls": [],
                "portMappings": [{"containerPort": 8080, "hostPort": 8080, "protocol": "tcp"}],
                "healthCheck": {"command": ["CMD-SHELL", "true"], "interval": 30, "timeout": 5, "retries": 3}
            }]
        },
        "tags": [{"key": "team", "value": "shop"}, {"key": "landfall.execution", "value": "01B"}]
    })
}

fn definitions(from: &Value, to: &Value) -> Vec<String> {
    let sign = |change: &Change| match (&change.from, &change.to) {
        (None, _) => '+',
        (_, None) => '-',
        _ => '~',
    };
    diff(Kind::TaskDefinition, from, to).iter().map(|change| format!("{} {}", sign(change), change.path)).collect()
}

fn services(from: &Value, to: &Value) -> Vec<String> {
    diff(Kind::Service, from, to).into_iter().map(|change| change.path).collect()
}

#[test]
fn a_described_task_definition_fed_back_is_the_same() {
    assert_eq!(definitions(&describe(), &request()), Vec::<String>::new());
    assert_eq!(definitions(&request(), &describe()), Vec::<String>::new());
    let mut spelled = request();
    spelled["cpu"] = json!("0.25 vCPU");
    spelled["memory"] = json!("0.5 GB");
    spelled["executionRoleArn"] = json!("exec");
    spelled["containerDefinitions"][0]["secrets"][0]["valueFrom"] =
        json!("arn:aws:ssm:eu-west-1:111122223333:parameter/prod/db");
    assert_eq!(definitions(&describe(), &spelled), Vec::<String>::new());
}

#[test]
fn every_change_of_a_task_definition_shows_at_its_path_and_nowhere_else() {
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut wanted = request();
        change(&mut wanted);
        definitions(&describe(), &wanted)
    };
    assert_eq!(changed(&|it| it["cpu"] = json!("512")), ["~ cpu"]);
    assert_eq!(changed(&|it| it["executionRoleArn"] = json!("other")), ["~ executionRoleArn"]);
    let container = |change: &dyn Fn(&mut Value)| changed(&|it| change(&mut it["containerDefinitions"][0]));
    assert_eq!(container(&|it| it["image"] = json!("web:2")), ["~ containerDefinitions[web].image"]);
    assert_eq!(container(&|it| it["essential"] = json!(false)), ["~ containerDefinitions[web].essential"]);
    assert_eq!(
        container(&|it| it["environment"] = json!([{"name": "LOG", "value": "debug"}, {"name": "NEW", "value": ""}])),
        [
            "- containerDefinitions[web].environment[EMPTY]",
            "~ containerDefinitions[web].environment[LOG]",
            "+ containerDefinitions[web].environment[NEW]"
        ]
    );
    assert_eq!(
        container(&|it| it["healthCheck"]["interval"] = json!(10)),
        ["~ containerDefinitions[web].healthCheck.interval"]
    );
    assert_eq!(
        container(&|it| it["portMappings"] = json!([{"containerPort": 9090}])),
        [
            "- containerDefinitions[web].portMappings[8080].containerPort",
            "+ containerDefinitions[web].portMappings[9090].containerPort"
        ]
    );
    assert_eq!(container(&|it| it["secrets"] = json!([])), ["- containerDefinitions[web].secrets[DB]"]);
    let sidecar = changed(&|it| {
        let sidecar = json!({"name": "log", "image": "fluent:1", "essential": true, "links": []});
        it["containerDefinitions"].as_array_mut().unwrap().push(sidecar);
    });
    assert_eq!(sidecar, ["+ containerDefinitions[log].image", "+ containerDefinitions[log].name"]);
    assert_eq!(changed(&|it| it["tags"] = json!([])), ["- tags[team]"]);
    let volume = changed(&|it| it["volumes"] = json!([{"name": "v", "host": {}}]));
    assert_eq!(volume, ["+ volumes[v].name"]);
    assert_eq!(
        changed(&|it| it["runtimePlatform"] = json!({"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"})),
        ["~ runtimePlatform.cpuArchitecture"]
    );
}

/// The order of a command is its meaning, that of variables is none.
#[test]
fn order_counts_only_where_it_means_something() {
    let of = |command: Value, capabilities: Value| {
        json!({"family": "f", "containerDefinitions": [{
            "name": "web", "image": "i", "command": command,
            "linuxParameters": {"capabilities": {"add": capabilities}}
        }]})
    };
    let one = of(json!(["a", "b"]), json!(["NET_ADMIN", "SYS_PTRACE"]));
    assert_eq!(definitions(&one, &of(json!(["a", "b"]), json!(["SYS_PTRACE", "NET_ADMIN"]))), Vec::<String>::new());
    let turned = definitions(&one, &of(json!(["b", "a"]), json!(["NET_ADMIN"])));
    assert_eq!(
        turned,
        ["~ containerDefinitions[web].command", "~ containerDefinitions[web].linuxParameters.capabilities.add"]
    );
}

#[test]
fn ports_of_a_bridge_are_any_port_unless_said() {
    let of = |mode: Value, mapping: Value| json!({"family": "f", "networkMode": mode, "containerDefinitions": [{"name": "web", "portMappings": [mapping]}]});
    let any = of(json!("bridge"), json!({"containerPort": 80, "hostPort": 0, "protocol": "tcp"}));
    assert_eq!(definitions(&any, &of(Value::Null, json!({"containerPort": 80}))), Vec::<String>::new());
    let fixed = of(json!("bridge"), json!({"containerPort": 80, "hostPort": 80}));
    assert_eq!(definitions(&any, &fixed), ["~ containerDefinitions[web].portMappings[80].hostPort"]);
    let two = json!([{"containerPort": 53}, {"containerPort": 53, "protocol": "udp"}]);
    let both =
        json!({"family": "f", "networkMode": "bridge", "containerDefinitions": [{"name": "web", "portMappings": two}]});
    let one = of(json!("bridge"), json!({"containerPort": 53}));
    assert_eq!(
        definitions(&one, &both),
        [
            "+ containerDefinitions[web].portMappings[53/udp].containerPort",
            "+ containerDefinitions[web].portMappings[53/udp].protocol"
        ]
    );
}

fn create() -> Value {
    json!({
        "cluster": "main",
        "serviceName": "shop-prod-web",
        "taskDefinition": "shop-prod-web",
        "desiredCount": 2,
        "launchType": "FARGATE",
        "deploymentConfiguration": {
            "minimumHealthyPercent": 100, "maximumPercent": 200,
            "deploymentCircuitBreaker": {"enable": true, "rollback": true}
        },
        "loadBalancers": [{"targetGroupArn": "arn:tg/blue", "containerName": "web", "containerPort": 8080}],
        "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-b", "subnet-a"]}},
        "healthCheckGracePeriodSeconds": 0,
        "enableECSManagedTags": true,
        "propagateTags": "SERVICE",
        "clientToken": "abc",
        "tags": [{"key": "landfall.environment", "value": "shop@prod"}]
    })
}

fn described() -> Value {
    json!({"services": [{
        "serviceArn": "arn:aws:ecs:eu-west-1:111122223333:service/main/shop-prod-web",
        "serviceName": "shop-prod-web",
        "clusterArn": "arn:aws:ecs:eu-west-1:111122223333:cluster/main",
        "loadBalancers": [{"targetGroupArn": "arn:tg/blue", "containerName": "web", "containerPort": 8080}],
        "serviceRegistries": [],
        "status": "ACTIVE",
        "desiredCount": 2, "runningCount": 1, "pendingCount": 1,
        "launchType": "FARGATE",
        "platformVersion": "LATEST", "platformFamily": "Linux",
        "taskDefinition": "arn:aws:ecs:eu-west-1:111122223333:task-definition/shop-prod-web:7",
        "deploymentConfiguration": {
            "deploymentCircuitBreaker": {"enable": true, "rollback": true},
            "maximumPercent": 200, "minimumHealthyPercent": 100,
            "strategy": "ROLLING", "bakeTimeInMinutes": 0
        },
        "deployments": [{"id": "ecs-svc/1", "status": "PRIMARY", "rolloutState": "IN_PROGRESS"}],
        "roleArn": "arn:aws:iam::111122223333:role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS",
        "events": [{"id": "1", "message": "(service x) has started 1 tasks"}],
        "createdAt": 1.7e9,
        "placementConstraints": [], "placementStrategy": [],
        "networkConfiguration": {"awsvpcConfiguration": {
            "subnets": ["subnet-a", "subnet-b"], "securityGroups": ["sg-default"], "assignPublicIp": "DISABLED"
        }},
        "healthCheckGracePeriodSeconds": 0,
        "schedulingStrategy": "REPLICA",
        "deploymentController": {"type": "ECS"},
        "createdBy": "arn:aws:iam::111122223333:role/x",
        "enableECSManagedTags": true, "propagateTags": "SERVICE", "enableExecuteCommand": false,
        "availabilityZoneRebalancing": "ENABLED",
        "tags": []
    }]})
}

#[test]
fn a_described_service_fed_back_is_the_same() {
    assert_eq!(services(&described(), &create()), Vec::<String>::new());
    let inner = &described()["services"][0];
    assert_eq!(services(&described(), inner), Vec::<String>::new());
    assert_eq!(
        services(&create(), &described()),
        ["availabilityZoneRebalancing", "networkConfiguration.awsvpcConfiguration.securityGroups"]
    );
}

#[test]
fn a_service_is_compared_in_what_the_newer_document_names() {
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut wanted = create();
        change(&mut wanted);
        services(&described(), &wanted)
    };
    assert_eq!(changed(&|it| it["desiredCount"] = json!(3)), ["desiredCount"]);
    assert_eq!(changed(&|it| drop(it.as_object_mut().unwrap().remove("desiredCount"))), Vec::<String>::new());
    assert_eq!(changed(&|it| it["enableExecuteCommand"] = json!(true)), ["enableExecuteCommand"]);
    assert_eq!(changed(&|it| it["enableExecuteCommand"] = json!(false)), Vec::<String>::new());
    assert_eq!(changed(&|it| it["platformVersion"] = json!("1.4.0")), ["platformVersion"]);
    assert_eq!(changed(&|it| it["taskDefinition"] = json!("shop-prod-web:9")), Vec::<String>::new());
    assert_eq!(changed(&|it| it["taskDefinition"] = json!("other")), ["taskDefinition"]);
    assert_eq!(
        changed(&|it| it["loadBalancers"] = json!([])),
        [
            "loadBalancers[web:8080].containerName",
            "loadBalancers[web:8080].containerPort",
            "loadBalancers[web:8080].targetGroupArn"
        ]
    );
    assert_eq!(
        changed(&|it| it["loadBalancers"][0]["targetGroupArn"] = json!("arn:tg/other")),
        ["loadBalancers[web:8080].targetGroupArn"]
    );
    assert_eq!(
        changed(&|it| it["networkConfiguration"]["awsvpcConfiguration"]["subnets"] = json!(["subnet-a"])),
        ["networkConfiguration.awsvpcConfiguration.subnets"]
    );
    let breaker = changed(&|it| it["deploymentConfiguration"]["deploymentCircuitBreaker"]["rollback"] = json!(false));
    assert_eq!(breaker, ["deploymentConfiguration.deploymentCircuitBreaker.rollback"]);
}

#[test]
fn a_live_count_under_autoscaling_is_nobody_s_difference() {
    let mut live = described()["services"][0].clone();
    live["desiredCount"] = json!(17);
    assert_eq!(services(&live, &create()), ["desiredCount"]);
    live["scalableTarget"] = json!({"minCapacity": 2, "maxCapacity": 20});
    assert_eq!(services(&live, &create()), Vec::<String>::new());
}

#[test]
fn blue_and_green_may_have_changed_places() {
    let balancer = |group: &str, other: &str| {
        json!([{
            "targetGroupArn": format!("arn:tg/{group}"), "containerName": "web", "containerPort": 8080,
            "advancedConfiguration": {"alternateTargetGroupArn": format!("arn:tg/{other}"), "productionListenerRule": "arn:rule"}
        }])
    };
    let (mut live, mut wanted) = (described()["services"][0].clone(), create());
    live["loadBalancers"] = balancer("green", "blue");
    wanted["loadBalancers"] = balancer("blue", "green");
    assert_eq!(services(&live, &wanted), Vec::<String>::new());
    // A document that names one group only.
    assert_eq!(services(&live, &create()), Vec::<String>::new());
    wanted["loadBalancers"] = balancer("blue", "red");
    assert_eq!(services(&live, &wanted), ["loadBalancers[web:8080].advancedConfiguration.alternateTargetGroupArn"]);
    // CodeDeploy keeps the present group in its task sets.
    live["deploymentController"] = json!({"type": "CODE_DEPLOY"});
    assert_eq!(services(&live, &create()), Vec::<String>::new());
}

#[test]
fn what_only_deployments_tell_is_found_there() {
    let mut live = described()["services"][0].clone();
    let connect =
        json!({"enabled": true, "namespace": "n", "services": [{"portName": "http", "discoveryName": "web"}]});
    live["deployments"][0]["serviceConnectConfiguration"] = connect.clone();
    let mut wanted = create();
    wanted["serviceConnectConfiguration"] = connect;
    assert_eq!(services(&live, &wanted), Vec::<String>::new());
    wanted["serviceConnectConfiguration"]["services"][0]["discoveryName"] = json!("other");
    assert_eq!(services(&live, &wanted), ["serviceConnectConfiguration.services[http].discoveryName"]);
}

#[test]
fn a_daemon_has_its_own_defaults() {
    let live = json!({"serviceName": "d", "schedulingStrategy": "DAEMON", "desiredCount": 3,
        "deploymentConfiguration": {"maximumPercent": 100, "minimumHealthyPercent": 0}});
    let wanted =
        json!({"serviceName": "d", "schedulingStrategy": "DAEMON", "deploymentConfiguration": {"maximumPercent": 100}});
    assert_eq!(services(&live, &wanted), Vec::<String>::new());
}

#[test]
fn what_is_not_there_yet_is_all_new() {
    let changes = diff(Kind::Service, &Value::Null, &create());
    assert!(changes.iter().all(|change| change.from.is_none()), "{changes:?}");
    let paths: Vec<&str> = changes.iter().map(|change| change.path.as_str()).collect();
    assert!(paths.contains(&"desiredCount") && paths.contains(&"loadBalancers[web:8080].targetGroupArn"), "{paths:?}");
    // Not what AWS would fill in anyway.
    assert!(!paths.contains(&"healthCheckGracePeriodSeconds"), "{paths:?}");
    assert_eq!(diff(Kind::TaskDefinition, &request(), &Value::Null).len(), definitions(&Value::Null, &request()).len());
}

#[test]
fn secrets_are_not_shown_and_their_change_is() {
    let of = |password: &str, url: &str| {
        let environment = json!([
            {"name": "DB_PASSWORD", "value": password}, {"name": "DATABASE_URL", "value": url}, {"name": "LOG", "value": url.len().to_string()}
        ]);
        json!({"family": "f", "containerDefinitions": [{"name": "web", "environment": environment}]})
    };
    let changes = diff(
        Kind::TaskDefinition,
        &of("hunter2", "postgres://u:hunter2@db/x"),
        &of("hunter3", "postgres://u:hunter34@db/x"),
    );
    let json = serde_json::to_string(&changes).unwrap();
    assert!(!json.contains("hunter"), "{json}");
    assert_eq!(
        text(&changes),
        "~ containerDefinitions[web].environment[DATABASE_URL]  \"postgres://…@db/x\" (its secret part differs)\n\
         ~ containerDefinitions[web].environment[DB_PASSWORD]   (hidden) (its secret part differs)\n\
         ~ containerDefinitions[web].environment[LOG]           25 → 26\n"
    );
}

#[test]
fn text_is_aligned_and_has_no_control_characters() {
    let change =
        |path: &str, from: Option<Value>, to: Option<Value>| Change { path: path.to_owned(), from, to, hidden: false };
    let changes = [
        change("cpu", Some(json!(256)), Some(json!(512))),
        change("containerDefinitions[web].command", None, Some(json!(["a", "b"]))),
        change("tags[x]", Some(json!("a\u{1b}[31m b")), None),
        change("tags[y]", Some(json!("")), Some(json!("y"))),
    ];
    assert_eq!(
        text(&changes),
        "~ cpu                                256 → 512\n\
         + containerDefinitions[web].command  [\"a\",\"b\"]\n\
         - tags[x]                            \"a\\u{1b}[31m b\"\n\
         ~ tags[y]                            \"\" → y\n"
    );
    assert_eq!(text(&[]), "");
}
