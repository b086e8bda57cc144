//! AWS: what is refused and why, and what the defaults become there.

use landfall_manifest::{load, read_file, render};
use landfall_model::app::{HealthCheckProtocol, HookAction, ImageSource, NotificationTarget, Routing};

use crate::{codes_of, found, loaded, nothing, rendered};

/// A manifest with these services and previews on a target that has everything.
fn on_aws(services: &str) -> String {
    format!(
        "project: shop\naws:\n  dev:\n    cluster: dev\n    load_balancer: dev\n    execution_role: exec\n    \
         network: {{subnets: [subnet-0123456789abcdef0]}}\nservices:\n{services}\
         previews: {{on: dev, routing: {{ports: {{range: 8000-8049}}}}}}\n"
    )
}

const WEB: &str = "  web:\n    cpu: 256\n    memory: 512\n    load_balancer: {}\n    \
                   containers: {app: {image: nginx, ports: [80]}}\n";

macro_rules! snapshot {
    ($($name:ident: $text:expr;)*) => {
        $(#[test] fn $name() { insta::assert_snapshot!(rendered($text)); })*
    };
}

snapshot! {
    targets: "\
project: shop
aws:
  dev:
    region: us-east1
    profile: ''
    endpoint: localhost:4566
    account: 12345678901
    role: {arn: arn:aws:iam::123456789012:user/me, external_id: x}
    cluster: arn:aws:ecs:us-east-1:123456789012:service/web
    load_balancer: my-alb-1.us-east-1.elb.amazonaws.com
    address: https://previews.example.com/
    probe_through: localhost
    vpc: vpc_12345678
    network: {subnets: [sn-1, subnet-12345678, subnet-12345678], security_groups: [default]}
    execution_role: 'arn:aws:iam::123456789012:policy/x'
    task_role: a role
    log_group: /ecs/*
    certificate: arn:aws:acm:us-east-1:123456789012:cert/1
  zone: {region: eu-west-1a, cluster: 'arn:aws:ecs:eu-west-1:123456789012:cluster/dev', account: '210987654321'}
  placeholder: {cluster: dev, vpc: vpc-xxxxx, network: {subnets: [subnet-aaaaa, subnet-yyyyy]}}
  Empty: {}
services: {web: {containers: {app: {image: nginx}}}}
environments:
  prod: {on: plaecholder}
";
    services: "\
project: shop
aws: {dev: {cluster: dev, log_group: /ecs/dev}}
services:
  local: {launch_type: local, containers: {app: {image: nginx}}}
  unsized: {containers: {app: {image: nginx}}}
  ec2: {launch_type: ec2, containers: {app: {image: nginx, memory: 64}, side: {image: nginx}}}
  web:
    cpu: 256
    memory: 512
    containers:
      app:
        build: {}
        ports: [80]
        secrets: {A: {env: A}, B: {file: b}, C: {ssm: /c}, D: {secrets_manager: d}}
        health_check: {command: 'true', interval: 2s, timeout: 1s}
    deployment: {circuit_breaker: {threshold: 5}}
    load_balancer:
      health_check: {interval: 1500ms, timeout: 1s, healthy_threshold: 1}
      idle_timeout: 30s
  based:
    base_task_definition: arn:aws:ecs:us-east-1:123456789012:task-definition/
    containers: {app: {essential: false, stop_timeout: 5s}}
    load_balancer: {}
previews: {on: dev}
";
    this_machine: "\
project: shop
services:
  web:
    base_task_definition: web
    containers: {app: {}}
    load_balancer: {port: 80, health_check: {protocol: https}}
  api: {containers: {app: {}}}
previews:
  hooks:
    deploy: {when: after_create, run: {lambda: {function: 'ci deploy'}}}
    task: {when: after_create, run: {task: {service: web, container: other, command: [x]}}}
notifications:
  chat: {sns: {topic: slack, envelope: {channel: '', icon_url: x}}}
";
    previews_and_topics: "\
project: shop
aws: {dev: {cluster: a}, prod: {cluster: b}}
services: {web: {base_task_definition: web, launch_type: ec2, containers: {app: {}}}}
previews: {on: devv, routing: {host: {domain: shop.localhost}}}
environments: {prod: {on: prod}, here: {services: [web]}}
notifications: {chat: {sns: {topic: 'arn:aws:sns:us-east-1:123456789012:slack', on: dve}}}
";
}

#[test]
fn the_example_for_aws_loads_without_a_warning() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/aws-preview/landfall.yml");
    let source = read_file(path.as_ref()).unwrap();
    let result = load(&source, &nothing).unwrap_or_else(|found| panic!("{}", render(&found, &source, false)));
    assert_eq!(result.warnings, []);
    let app = result.app;
    let target = app.preview_target().unwrap();
    assert_eq!((target.name.as_str(), target.account.as_deref()), ("dev", Some("123456789012")));
    assert_eq!(target.subnets.len(), 2);
    assert!(target.public_ip);
    let check = &app.services["web"].load_balancer.as_ref().unwrap().health_check;
    assert_eq!((check.interval_ms, check.timeout_ms, check.protocol), (5_000, 2_000, HealthCheckProtocol::Http));
    assert_eq!(app.services["worker"].base_task_definition.as_deref(), Some("my-project-worker"));
    let previews = app.previews.as_ref().unwrap();
    assert_eq!(previews.routing, Routing::Host { domain: "previews.example.com".into(), port: 443 });
    assert_eq!(previews.limits.concurrent_executions, 64);
    assert_eq!(previews.hooks[0].run, HookAction::Lambda { function: "my-project-seed".into() });
    let NotificationTarget::Sns { on, envelope, .. } = &app.notifications[0].to else { panic!("not a topic") };
    assert_eq!((on.as_str(), envelope.as_ref().unwrap().username.as_str()), ("dev", "landfall"));
}

#[test]
fn nothing_is_said_about_what_works() {
    assert_eq!(found(&on_aws(WEB)), []);
    // The load balancer's port may stand in the base task definition, and so may the image and what is waited for.
    let based = "  web:\n    base_task_definition: web:3\n    load_balancer: {port: 4567}\n    \
                 containers: {app: {depends_on: {other: HEALTHY}}}\n";
    let app = loaded(&on_aws(based)).app;
    let web = &app.services["web"];
    assert_eq!(web.load_balancer.as_ref().map(|lb| (lb.container.as_str(), lb.port)), Some(("app", 4567)));
    assert_eq!(web.containers[0].image, ImageSource::Base);
}

#[test]
fn defaults_are_ones_that_aws_takes_only_where_something_runs_there() {
    let text = on_aws(&format!(
        "{WEB}  here:\n    load_balancer: {{}}\n    \
         containers: {{app: {{image: nginx, ports: [80], health_check: {{command: x}}}}}}\n"
    ))
    .replace("previews: {", "environments: {dev: {services: [here]}}\npreviews: {services: [web], ");
    let app = loaded(&text).app;
    let times = |name: &str| {
        let check = &app.services[name].load_balancer.as_ref().unwrap().health_check;
        (check.interval_ms, check.timeout_ms)
    };
    assert_eq!(times("web"), (5_000, 2_000));
    assert_eq!(times("here"), (2_000, 1_000));
    let checked = WEB.replace("ports: [80]", "ports: [80], health_check: {command: x}");
    let app = loaded(&on_aws(&checked)).app;
    let check = app.services["web"].containers[0].settings.health_check.as_ref().unwrap();
    assert_eq!((check.interval, check.timeout), (5, 2));
}

#[test]
fn a_range_beyond_the_usual_quota_is_a_warning() {
    let text = on_aws(WEB).replace("8000-8049", "8000-8099");
    assert_eq!(codes_of(&text), ["LF-M045"]);
    assert_eq!(codes_of(&on_aws(WEB).replace("8000-8049", "80-90")), [""; 0]);
    assert_eq!(codes_of(&on_aws(WEB).replace("8000-8049", "0-9")), ["LF-M025"]);
}

#[test]
fn hosts_of_this_machine_are_for_emulators_on_it() {
    let text = on_aws(WEB).replace("ports: {range: 8000-8049}", "host: {domain: Shop.localhost.}");
    assert_eq!(codes_of(&text), ["LF-M042"]);
    let emulated = text.replace("cluster: dev", "cluster: dev\n    endpoint: http://127.0.0.1:4566");
    assert_eq!(codes_of(&emulated), [""; 0]);
    assert_eq!(codes_of(&text.replace("host: {domain: Shop.localhost.}", "host: {}")), ["LF-M042"]);
}

#[test]
fn every_partition_is_taken() {
    for (partition, region) in [("aws", "eu-west-1"), ("aws-cn", "cn-north-1"), ("aws-us-gov", "us-gov-west-1")] {
        let text = on_aws(WEB).replace(
            "cluster: dev",
            &format!("region: {region}\n    account: 123456789012\n    cluster: arn:{partition}:ecs:{region}:123456789012:cluster/dev"),
        );
        assert_eq!(codes_of(&text), [""; 0], "{partition}");
    }
}

#[test]
fn an_account_is_not_a_number() {
    let text = on_aws(WEB).replace("cluster: dev", "account: 012345678901\n    cluster: 7");
    let target = &loaded(&text).app.aws["dev"];
    assert_eq!((target.account.as_deref(), target.cluster.as_str()), (Some("012345678901"), "7"));
}
