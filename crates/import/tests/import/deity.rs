use landfall_import::deity::{Options, import};
use landfall_import::{Failed, Imported};
use landfall_manifest::SourceFile;
use landfall_model::app::{HookAction, HookPoint, ImageSource, NotificationTarget, Routing};
use landfall_model::environment::{EnvironmentKey, SourceRef};
use landfall_planner::names::environment_names;

use crate::{app, problems, shown};

/// Both stages of the original's example.
const EXAMPLE: &str = r##"dev:
  vpc_id: "vpc-xxxxx"
  cluster: "my-cluster"
  container_name: "app"
  container_port: 4567
  task_def: "app-dev-feature"
  lb_arn: "arn:aws:elasticloadbalancing:ap-northeast-1:xxxxxxxxxxxxx:loadbalancer/app/my-app-dev/yyyyyyyyyyyyy"
  health_check:
    path: "/"
    interval: 20
  port_range: "8000-8100"
  branch_prefix: "feature"
  repo_ommit: "my_company-"
  sns_arn: "arn:aws:sns:ap-northeast-1:xxxxxxxxxxxxx:slack"
  deploy_lambda_arn: "arn:aws:lambda:ap-northeast-1:xxxxxxxxxxxxx:function:ci-deploy"
  slack:
    channel: "#test"

fargate:
  launch_type: "fargate"
  vpc_id: "vpc-xxxxx"
  subnets: "subnet-aaaaa,subnet-bbbbb"
  security_groups: "sg-xxxxx,sg-yyyyy"
  assign_public_ip: "enabled"
  cluster: "my-fargate-cluster"
  container_name: "app"
  container_port: 4567
  task_def: "app-dev-feature-fargate"
  lb_arn: "arn:aws:elasticloadbalancing:ap-northeast-1:xxxxxxxxxxxxx:loadbalancer/app/my-app-dev-fargate/yyyyyyyyyyyyy"
  health_check:
    path: "/"
    interval: 20
  port_range: "8000-8100"
  branch_prefix: "feature"
  repo_ommit: "my_company-"
  sns_arn: "arn:aws:sns:ap-northeast-1:xxxxxxxxxxxxx:slack"
  deploy_lambda_arn: "arn:aws:lambda:ap-northeast-1:xxxxxxxxxxxxx:function:ci-deploy"
  slack:
    channel: "#test"
"##;

fn from(text: &str, stage: &str, repositories: &[&str]) -> Result<Imported, Failed> {
    let repositories = repositories.iter().map(|&one| one.to_owned()).collect();
    import(SourceFile::new("conf.yml", text), &Options { stage: stage.to_owned(), repositories })
}

fn imported(text: &str, stage: &str) -> Imported {
    from(text, stage, &["acme/my_company-my-project"]).unwrap_or_else(|failed| panic!("{}", problems(Err(failed))))
}

#[test]
fn the_example_for_ec2() {
    insta::assert_snapshot!(shown(&imported(EXAMPLE, "dev")));
}

#[test]
fn the_example_for_fargate() {
    insta::assert_snapshot!(imported(EXAMPLE, "fargate").manifest);
}

#[test]
fn previews_behave_as_the_original_did() {
    let app = app(&imported(EXAMPLE, "dev"));
    let key = EnvironmentKey {
        repository: "my_company-my-project".into(),
        source: SourceRef::Branch("feature/test123".to_owned()),
    };
    let names = environment_names(&app, &key);
    assert_eq!(
        (names.target_group.as_str(), names.service.as_str()),
        ("my-project-test123-tg", "my-project-test123-service")
    );
    let web = &app.services["web"];
    assert_eq!(web.desired_count, 2);
    assert_eq!((web.deployment.minimum_healthy_percent, web.deployment.maximum_percent), (50, 200));
    assert_eq!(web.base_task_definition.as_deref(), Some("app-dev-feature"));
    assert_eq!(web.containers[0].image, ImageSource::Base);
    let balancer = web.load_balancer.as_ref().unwrap();
    assert_eq!((balancer.container.as_str(), balancer.port, balancer.deregistration_delay), ("app", 4567, 30));
    let check = &balancer.health_check;
    assert_eq!((check.interval_ms, check.timeout_ms), (20_000, 5_000));
    assert_eq!((check.healthy_threshold, check.unhealthy_threshold), (5, 2));
    assert_eq!((check.path.as_str(), check.port, check.matcher.as_str()), ("/", None, "200"));
    let previews = app.previews.as_ref().unwrap();
    assert_eq!(previews.routing, Routing::Ports { first: 8000, last: 8099 });
    assert_eq!(previews.branches, ["feature/**", "feature"]);
    let arn = "arn:aws:lambda:ap-northeast-1:xxxxxxxxxxxxx:function:ci-deploy";
    assert_eq!(previews.hooks[0].when, HookPoint::AfterCreate);
    assert_eq!(previews.hooks[0].run, HookAction::Lambda { function: arn.to_owned() });
    let NotificationTarget::Sns { envelope: Some(envelope), .. } = &app.notifications[0].to else { panic!("no topic") };
    assert_eq!((envelope.channel.as_str(), envelope.username.as_str()), ("#test", "ecs deity"));
    assert_eq!(app.aws["dev"].region.as_deref(), Some("ap-northeast-1"));
}

#[test]
fn every_key_has_the_originals_default() {
    let least = r##"
prod_1:
  vpc_id: vpc-12345678
  cluster: c
  container_name: App_1
  container_port: "80"
  task_def: t
  lb_arn: arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/app/a/50dc6c495c0c9188
  sns_arn: arn:aws:sns:us-east-1:123456789012:slack
  deploy_lambda_arn: arn:aws:lambda:us-east-1:123456789012:function:x
  slack: {channel: "#c"}
  health_check: {protocol: '', port: '', path: '', interval: '', matcher: ''}
  repo_ommit: ''
"##;
    let result = imported(least, "prod_1");
    let app = app(&result);
    let check = &app.services["web"].load_balancer.as_ref().unwrap().health_check;
    assert_eq!((check.interval_ms, check.timeout_ms, check.path.as_str()), (30_000, 5_000, "/"));
    let previews = app.previews.as_ref().unwrap();
    assert_eq!(previews.routing, Routing::Ports { first: 8000, last: 8099 });
    let target = app.preview_target().unwrap();
    assert_eq!((target.name.as_str(), target.region.as_deref()), ("prod-1", Some("us-east-1")));
    assert_eq!(target.account.as_deref(), Some("123456789012"));
    assert_eq!(app.repositories.values().next().unwrap().omit, None);
}

#[test]
fn every_key_that_was_set_is_kept_or_named() {
    let text = EXAMPLE.replace(
        "    interval: 20\n",
        "    interval: 10\n    timeout: 3\n    port: 8081\n    protocol: https\n    healthy_count: 3\n    unhealthy_count: 4\n    \
         matcher: 200-299\n    grace: 3\n",
    );
    let text = text.replace(
        "  cluster: \"my-cluster\"",
        "  cluster: my-cluster\n  sls_prefix: x-\n  icon_url: https://x.example/i.png\n  colour: red",
    );
    let text =
        text.replacen("8000-8100", "9000-9001", 1).replacen("branch_prefix: \"feature\"", "branch_prefix: env", 1);
    let result = imported(&text, "dev");
    let app = app(&result);
    let check = &app.services["web"].load_balancer.as_ref().unwrap().health_check;
    assert_eq!((check.port, check.interval_ms, check.timeout_ms), (Some(8081), 10_000, 3_000));
    assert_eq!((check.healthy_threshold, check.unhealthy_threshold, check.matcher.as_str()), (3, 4, "200-299"));
    let previews = app.previews.as_ref().unwrap();
    assert_eq!(previews.routing, Routing::Ports { first: 9000, last: 9000 });
    assert_eq!(previews.branches, ["env/**", "env"]);
    let about: Vec<_> = result.changes.iter().map(|change| change.about.as_str()).collect();
    for key in ["health_check.port", "health_check.grace", "sls_prefix", "colour"] {
        assert!(about.contains(&key), "{key} is not in {about:?}");
    }
}

#[test]
fn all_weaknesses_are_named() {
    let result = imported(EXAMPLE, "dev");
    for number in 1..=15 {
        let number = number.to_string();
        assert!(result.changes.iter().any(|change| change.about == number), "{number}");
    }
}

#[test]
fn without_a_repository_there_is_something_to_do() {
    let result = from(EXAMPLE, "dev", &[]).unwrap();
    assert_eq!(app(&result).repositories.keys().next().unwrap().as_str(), "my_company-my-project");
    assert_eq!(result.changes[0].about, "repositories");
}

#[test]
fn mistakes_are_all_reported_with_their_places() {
    let text = r##"
dev:
  launch_type: fargate
  vpc_id: vpc-12345678
  cluster: [a]
  container_port: 99999
  task_def: ${self:custom.task}
  lb_arn: arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/app/a/1
  sns_arn:
  port_range: 8000-8000
  branch_prefix: feature/*
  health_check: {protocol: TCP, interval: 5, healthy_count: 1}
  slack: {}
"##;
    insta::assert_snapshot!(problems(from(text, "dev", &["nobody"])));
}

#[test]
fn a_stage_that_is_not_there() {
    insta::assert_snapshot!(problems(from(EXAMPLE, "fargat", &[])));
    assert!(problems(from("[1, 2]\n", "dev", &[])).contains("a map of keys"));
}

#[test]
fn what_the_check_refuses_is_shown_as_it_would_be_written() {
    let text = EXAMPLE.replace("loadbalancer/app/my-app-dev/", "loadbalancer/net/my-app-dev/");
    assert!(problems(from(&text, "dev", &[])).contains("Application Load Balancer"));
}

#[test]
fn hostile_files_are_answered() {
    for text in
        ["", "{", "\t", "a: &a [*a]", "- - - x", "dev: *x", "dev: !!python/object x", "\u{feff}dev: {}", "dev: {a: b}}"]
    {
        assert!(from(text, "dev", &[]).is_err(), "{text:?}");
    }
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for n in 1..12 {
        bomb += &format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(", "));
    }
    assert!(problems(from(&bomb, "dev", &[])).contains("LF-M003"));
    assert!(problems(from(&"[".repeat(100_000), "dev", &[])).contains("LF-M003"));
    // Nothing that a value holds becomes a key or a variable of the manifest.
    let text = EXAMPLE.replace("\"#test\"", "\"#x\\n  injected: ${HOME} {env: $$X}\"");
    assert!(from(&text, "dev", &[]).is_ok_and(|result| {
        let NotificationTarget::Sns { envelope, .. } = app(&result).notifications[0].to.clone() else {
            panic!("no topic")
        };
        envelope.unwrap().channel == "#x\n  injected: ${HOME} {env: $$X}"
    }));
    let bad = EXAMPLE.replace("container_name: \"app\"", "container_name: \"a b\"");
    assert!(problems(from(&bad, "dev", &[])).contains("LF-M028"));
}
