use landfall_import::copilot::{Options, import};
use landfall_import::{Failed, Files, Imported};
use landfall_model::app::ImageSource;
use landfall_model::task::SecretRef;

use crate::{app, problems, shown};

const WORKSPACE: &str = "application: shop\n";

const WEB: &str = r##"# The manifest for the "frontend" service.
name: frontend
type: Load Balanced Web Service

http:
  path: '/'
  healthcheck:
    path: /_healthcheck
    success_codes: '200,301'
    healthy_threshold: 3
    interval: 15s
    timeout: 10s
    grace_period: 45s
  deregistration_delay: 50s
  alias: shop.example.com
  target_container: nginx

image:
  build:
    dockerfile: frontend/Dockerfile
    context: ./frontend
  port: 8080
  depends_on:
    setup: success
  healthcheck:
    command: ["CMD-SHELL", "curl -f http://localhost:8080 || exit 1"]
    interval: 10s

cpu: 512
memory: 1024
count:
  range: 2-10
  cpu_percentage: 70
exec: true
entrypoint: "/bin/app --name 'a b'"
variables:
  LOG_LEVEL: info
  PRICE: "$5 and ${COPILOT_APPLICATION_NAME}"
  TABLE:
    from_cfn: shop-Table
secrets:
  GITHUB_TOKEN: GITHUB_TOKEN
  DB:
    secretsmanager: 'demo/test/mysql'
  PER_ENV: /copilot/${COPILOT_APPLICATION_NAME}/${COPILOT_ENVIRONMENT_NAME}/secrets/x

sidecars:
  nginx:
    port: 80
    image: nginx:1.29
    variables: {NGINX_PORT: 80}
  setup:
    image: {build: ./setup}
    essential: false
storage:
  volumes: {}
network:
  vpc: {placement: private}
deployment:
  rolling: recreate
taskdef_overrides:
  - path: x
    value: y
environments:
  test:
    variables: {LOG_LEVEL: debug}
  prod:
    count: 5
    variables: {LOG_LEVEL: warn}
"##;

const API: &str = "name: api\ntype: Backend Service\nimage: {location: 'public.ecr.aws/acme/api:1', port: 9000}\ncount: 2\n\
                   environments: {test: {variables: {LOG_LEVEL: trace}}}\n";
const WORKER: &str =
    "name: worker\ntype: Worker Service\nimage: {build: Dockerfile}\nsubscribe: {topics: []}\ncommand: [run, now]\n";
const JOB: &str =
    "name: report\ntype: Scheduled Job\non: {schedule: '@daily'}\nretries: 3\ntimeout: 1h\nimage: {build: .}\n";
const RUNNER: &str =
    "name: runner\ntype: Request-Driven Web Service\nhttp: {healthcheck: /up}\nimage: {build: ., port: 80}\n";
const SITE: &str = "name: site\ntype: Static Site\nfiles: []\n";
const TEST: &str = "name: test\ntype: Environment\nobservability: {container_insights: true}\n";
const PROD: &str = r#"
name: prod
type: Environment
network:
  vpc:
    id: vpc-0123456789abcdef0
    subnets:
      public: [{id: subnet-0123456789abcdef0}, {id: subnet-0123456789abcdef1}]
http:
  public:
    certificates: ['arn:aws:acm:eu-west-1:123456789012:certificate/1']
"#;
const PIPELINE: &str = r#"
name: main
version: 1
source:
  provider: GitHub
  properties: {branch: main, repository: https://github.com/acme/shop}
stages:
  - name: test
    test_commands: [make test]
  - name: prod
    requires_approval: true
"#;

fn files(all: &[(&str, &str)]) -> Files {
    all.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

fn from(all: &[(&str, &str)]) -> Result<Imported, Failed> {
    import(&files(all), &Options { directory: "shop".to_owned() })
}

fn everything() -> Imported {
    let result = from(&[
        ("copilot/.workspace", WORKSPACE),
        ("copilot/frontend/manifest.yml", WEB),
        ("copilot/frontend/addons/table.yml", "Resources: {}\n"),
        ("copilot/api/manifest.yml", API),
        ("copilot/worker/manifest.yml", WORKER),
        ("copilot/report/manifest.yml", JOB),
        ("copilot/runner/manifest.yml", RUNNER),
        ("copilot/site/manifest.yml", SITE),
        ("copilot/environments/test/manifest.yml", TEST),
        ("copilot/environments/prod/manifest.yml", PROD),
        ("copilot/pipelines/main/manifest.yml", PIPELINE),
        ("copilot/pipelines/main/buildspec.yml", "version: 0.2\n"),
    ]);
    result.unwrap_or_else(|failed| panic!("{}", problems(Err(failed))))
}

#[test]
fn a_whole_application() {
    insta::assert_snapshot!(shown(&everything()));
}

#[test]
fn what_the_manifest_then_means() {
    let app = app(&everything());
    assert_eq!(app.project, "shop");
    assert_eq!(app.services.keys().collect::<Vec<_>>(), ["api", "frontend", "report", "runner", "worker"]);
    let web = &app.services["frontend"];
    assert_eq!((web.cpu, web.memory, web.desired_count), (Some(512), Some(1024), 2));
    let balancer = web.load_balancer.as_ref().unwrap();
    assert_eq!((balancer.container.as_str(), balancer.port, balancer.deregistration_delay), ("nginx", 80, 50));
    assert_eq!((balancer.health_check.interval_ms, balancer.health_check.matcher.as_str()), (15_000, "200,301"));
    assert_eq!((web.deployment.minimum_healthy_percent, web.deployment.health_check_grace_period), (0, 45));
    let main = &web.containers[0];
    assert!(
        matches!(&main.image, ImageSource::Await(image) if image.image.ends_with("amazonaws.com/shop/frontend:{commit}"))
    );
    assert_eq!(main.settings.entry_point, ["/bin/app", "--name", "a b"]);
    assert_eq!(main.settings.environment["PRICE"], "$5 and shop");
    assert_eq!(main.settings.secrets["DB"], SecretRef::SecretsManager("demo/test/mysql".into()));
    assert_eq!(main.settings.secrets["GITHUB_TOKEN"], SecretRef::Ssm("GITHUB_TOKEN".into()));
    assert!(!main.settings.secrets.contains_key("PER_ENV"));
    assert_eq!(app.services["report"].desired_count, 0);
    assert_eq!(app.environments["prod"].variables["LOG_LEVEL"], "warn");
    // Two services set it differently in `test`: neither wins.
    assert!(app.environments["test"].variables.is_empty());
    assert_eq!(app.aws["prod"].subnets.len(), 2);
    assert_eq!(app.repositories.keys().next().unwrap().as_str(), "shop");
}

#[test]
fn nothing_that_was_written_is_passed_over() {
    let about: Vec<_> = everything().changes.into_iter().map(|change| change.about).collect();
    for key in [
        "frontend: exec",
        "frontend: storage",
        "frontend: network",
        "frontend: taskdef_overrides",
        "frontend: http.alias",
        "frontend: count",
        "frontend: variables.TABLE",
        "frontend: secrets.PER_ENV",
        "frontend: environments.prod.count",
        "frontend/addons/table.yml",
        "worker: subscribe",
        "report: on.schedule",
        "report: retries",
        "report: timeout",
        "runner: type",
        "site",
        "environments/test: observability",
        "pipelines/main/buildspec.yml",
        "pipelines/main/manifest.yml: stages",
    ] {
        assert!(about.iter().any(|one| one == key), "{key} is not in {about:#?}");
    }
}

#[test]
fn the_directory_itself_and_one_service_are_enough() {
    let result = from(&[("worker/manifest.yml", WORKER)]).unwrap();
    let app = app(&result);
    assert_eq!((app.project.as_str(), app.environments.keys().next().unwrap().as_str()), ("shop", "test"));
    let secret =
        WEB.replace("environments:\n  test:\n    variables: {LOG_LEVEL: debug}\n  prod:", "environments:\n  prod:");
    let app = crate::app(&from(&[("frontend/manifest.yml", &secret)]).unwrap());
    let secrets = &app.services["frontend"].containers[0].settings.secrets;
    assert_eq!(secrets["PER_ENV"], SecretRef::Ssm("/copilot/shop/prod/secrets/x".into()));
}

#[test]
fn mistakes_are_reported_in_every_file() {
    insta::assert_snapshot!(problems(from(&[
        ("web/manifest.yml", "name: web\ntype: Load Balanced Webservice\n"),
        (
            "api/manifest.yml",
            "name: api\ntype: Load Balanced Web Service\ncpu: x\nimage: {build: .}\nsidecars: {a: {port: http}}\n"
        ),
        ("job/manifest.yml", "type: [a]\n"),
    ])));
    insta::assert_snapshot!(problems(from(&[
        ("broken/manifest.yml", "name: {\n"),
        ("tabs/manifest.yml", "\tname: x\n"),
    ])));
}

#[test]
fn hostile_files_are_answered() {
    assert!(problems(from(&[])).contains("no Copilot manifest"));
    assert!(problems(from(&[("copilot/README.md", "x")])).contains("no Copilot manifest"));
    for text in ["", "[]", "x", "type: Worker Service\nname: '!!'\n", "type: Worker Service\nsidecars: [a]\n"] {
        assert!(from(&[("a/manifest.yml", text)]).is_err(), "{text:?}");
    }
    let injected = "name: w\ntype: Worker Service\nvariables: {'A\\n  b: c': x, OK: \"y\\nz: ${HOME}\"}\n";
    assert!(from(&[("w/manifest.yml", injected)]).is_err());
    let fine = "name: w\ntype: Worker Service\nvariables: {OK: \"y\\nz: {commit} # $x\"}\nimage: {build: .}\n";
    let app = app(&from(&[("w/manifest.yml", fine)]).unwrap());
    assert_eq!(app.services["w"].containers[0].settings.environment["OK"], "y\nz: {commit} # $x");
}
