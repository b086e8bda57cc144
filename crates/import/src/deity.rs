//! ECS Deity's `conf.yml`: one ECS service per branch, configured by stage.
//!
//! The manifest keeps what the original did where that was meant: names, two tasks, the healthy percentages, the health
//! check, the chat messages' envelope, the Lambda function that deploys. What it did by mistake (docs/import.md numbers
//! fifteen such things) is not kept, and each is said.

mod weaknesses;

use landfall_manifest::yaml::{Map, Reader, shorten};
use landfall_manifest::{Diagnostic, SourceFile, did_you_mean};

use crate::write::{Lines, SCHEMA, quoted, slug};
use crate::{Changes, Failed, Imported, codes, verified};

/// Where the original ran whatever its configuration said.
const REGION: &str = "ap-northeast-1";
const SENDER: &str = "ecs deity";
/// The longest that Lambda runs a function.
const LAMBDA_TIMEOUT: &str = "15m";

/// What the configuration does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// The top-level key of `conf.yml`.
    pub stage: String,
    /// Repositories whose branches get environments, `owner/name`. The original took any that sent a webhook.
    pub repositories: Vec<String>,
}

struct Config {
    fargate: bool,
    vpc: String,
    cluster: String,
    container: String,
    port: i64,
    task_definition: String,
    load_balancer: String,
    topic: String,
    function: String,
    channel: String,
    icon: Option<String>,
    subnets: Vec<String>,
    security_groups: Vec<String>,
    public_ip: bool,
    ports: (u16, u16),
    prefix: String,
    omit: Option<String>,
    check: Check,
}

struct Check {
    https: bool,
    path: String,
    port: Option<i64>,
    interval: i64,
    timeout: i64,
    healthy: i64,
    unhealthy: i64,
    matcher: String,
}

/// # Errors
/// Everything that is wrong with the configuration, each with its place.
pub fn import(conf: SourceFile, options: &Options) -> Result<Imported, Failed> {
    let (reader, node) = Reader::open(conf, codes::IN_A_FILE).map_err(|failed| Failed { files: vec![failed] })?;
    let root = Map::root(&reader, &node);
    let mut changes = Changes::default();
    let stage = stage(&root, &options.stage);
    let config = stage.as_ref().map(|stage| config(stage, &mut changes));
    for repository in &options.repositories {
        let sound = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        };
        if !repository.split_once('/').is_some_and(|(owner, name)| sound(owner) && sound(name)) {
            let message = format!("`{}` is no repository: `owner/name`", shorten(repository));
            reader.report(Diagnostic::error(codes::WHICH, message));
        }
    }
    drop(root);
    match config {
        Some(config) if !reader.failed() => {
            let manifest = manifest(&config, options, &mut changes);
            weaknesses::add(&config, &mut changes);
            verified(manifest, changes, &|_| None)
        }
        _ => Err(Failed { files: vec![reader.close()] }),
    }
}

fn stage<'t>(root: &Map<'t>, name: &str) -> Option<Map<'t>> {
    if root.at.get(name).is_map() {
        // Messages name keys as the stage has them.
        return Some(Map::new(root.reader(), root.get(name), String::new()));
    }
    let stages: Vec<&str> = root.keys().filter(|key| root.at.get(key).is_map()).collect();
    let known = match stages.as_slice() {
        [] => "it has no stage at all: a stage is a top-level key with a map below it".to_owned(),
        stages => format!("it has: {}", stages.join(", ")),
    };
    let error = Diagnostic::error(codes::WHICH, format!("there is no stage `{}`", shorten(name)))
        .label(root.at.key_span(), "not among the top-level keys")
        .help(known)
        .maybe_help(did_you_mean(name, stages));
    root.reader().report(error);
    None
}

fn config(stage: &Map<'_>, changes: &mut Changes) -> Config {
    let reader = stage.reader();
    for key in stage.keys() {
        serverless(stage, key);
    }
    let fargate = match stage.text("launch_type").map(|text| text.to_ascii_lowercase()).as_deref() {
        None | Some("ec2") => false,
        Some("fargate") => true,
        Some(_) => {
            reader.wrong(stage.at.get("launch_type"), "`launch_type` is `ec2` or `fargate`", "neither");
            false
        }
    };
    let slack = stage.map("slack");
    if !stage.has("slack") {
        stage.missing("slack");
    }
    let config = Config {
        fargate,
        vpc: stage.required("vpc_id"),
        cluster: stage.required("cluster"),
        container: stage.required("container_name"),
        port: port(stage, "container_port"),
        task_definition: stage.required("task_def"),
        load_balancer: stage.required("lb_arn"),
        topic: stage.required("sns_arn"),
        function: stage.required("deploy_lambda_arn"),
        channel: if stage.has("slack") { slack.required("channel") } else { String::new() },
        icon: stage.text("icon_url").or_else(|| slack.text("icon_url")),
        subnets: stage.texts("subnets"),
        security_groups: stage.texts("security_groups"),
        public_ip: stage.boolean("assign_public_ip").unwrap_or(true),
        ports: ports(stage),
        prefix: prefix(stage),
        omit: stage.text("repo_ommit"),
        check: check(&stage.map("health_check"), changes),
    };
    if fargate && config.subnets.is_empty() {
        stage.missing("subnets");
    }
    if let Some(prefix) = stage.text("sls_prefix") {
        let text = format!("the Serverless service was called `{prefix}ecs-deity`; nothing of Landfall has that name");
        changes.dropped("sls_prefix", text);
    }
    for key in stage.rest().into_iter().chain(slack.rest()) {
        changes.dropped(key, "the original did not know this key");
    }
    config
}

/// What Serverless would have replaced is not known here.
fn serverless(stage: &Map<'_>, key: &str) {
    let at = stage.at.get(key);
    if landfall_manifest::yaml::scalar(at).is_some_and(|scalar| scalar.text.contains("${")) {
        let error = Diagnostic::error(codes::UNSUPPORTED, format!("`{}` is a variable of Serverless", shorten(key)))
            .label(at.span(), "its value is not known here")
            .help("write the value itself into a copy of the file");
        stage.reader().report(error);
    }
}

fn port(stage: &Map<'_>, key: &str) -> i64 {
    if !stage.has(key) {
        stage.missing(key);
    }
    stage.int(key, 1, 65_535).unwrap_or(80)
}

/// `8000-8100` without its end, as Python's `range`.
fn ports(stage: &Map<'_>) -> (u16, u16) {
    let text = stage.text("port_range").unwrap_or_else(|| "8000-8100".to_owned());
    let bounds = text.split_once('-').and_then(|(first, end)| {
        let (first, end) = (first.trim().parse::<u16>().ok()?, end.trim().parse::<u32>().ok()?);
        let last = u16::try_from(end.checked_sub(1)?).ok()?;
        (first > 0 && first <= last).then_some((first, last))
    });
    bounds.unwrap_or_else(|| {
        let message = format!("`port_range` cannot be `{}`", shorten(&text));
        stage.reader().wrong(stage.at.get("port_range"), message, "first port and the one after the last: `8000-8100`");
        (8000, 8099)
    })
}

fn prefix(stage: &Map<'_>) -> String {
    let prefix = stage.text("branch_prefix").unwrap_or_else(|| "feature".to_owned());
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if !prefix.bytes().all(plain) {
        let at = stage.at.get("branch_prefix");
        let message = format!("`branch_prefix` cannot be `{}`", shorten(&prefix));
        stage.reader().wrong(at, message, "the text before a branch's first `/`: letters, digits, `-`, `_` and `.`");
    }
    prefix
}

fn check(map: &Map<'_>, changes: &mut Changes) -> Check {
    let reader = map.reader();
    let https = match map.text("protocol").map(|text| text.to_ascii_uppercase()).as_deref() {
        None | Some("HTTP") => false,
        Some("HTTPS") => true,
        Some(_) => {
            reader.wrong(map.at.get("protocol"), "a target group for HTTP is checked by HTTP or HTTPS", "neither");
            false
        }
    };
    let port = match map.text("port").as_deref() {
        None | Some("traffic-port") => None,
        Some(_) => map.int("port", 1, 65_535),
    };
    if let Some(port) = port {
        let text = format!("was ignored, the traffic port was checked; now port {port} is. Remove `port` to keep that");
        changes.differs("health_check.port", text);
    }
    let check = Check {
        https,
        path: map.text("path").unwrap_or_else(|| "/".to_owned()),
        port,
        interval: map.int("interval", 5, 300).unwrap_or(30),
        timeout: map.int("timeout", 2, 120).unwrap_or(5),
        healthy: map.int("healthy_count", 2, 10).unwrap_or(5),
        unhealthy: map.int("unhealthy_count", 2, 10).unwrap_or(2),
        matcher: map.text("matcher").unwrap_or_else(|| "200".to_owned()),
    };
    if check.timeout >= check.interval {
        let at = if map.at.get("timeout").is_given() { map.at.get("timeout") } else { map.at.get("interval") };
        let message = format!("a timeout of {}s does not fit into an interval of {}s", check.timeout, check.interval);
        reader.wrong(at, message, "Elastic Load Balancing refuses this; the defaults are 5s and 30s");
    }
    for key in map.rest() {
        changes.dropped(key, "the original did not know this key");
    }
    check
}

fn manifest(config: &Config, options: &Options, changes: &mut Changes) -> String {
    let mut out = Lines::default();
    let names = repositories(config, options, changes);
    let project = names.iter().find_map(|(_, name)| slug(&bare(config, name)));
    let project = project.or_else(|| slug(&config.task_definition)).unwrap_or_else(|| "previews".to_owned());
    out.line(0, SCHEMA);
    out.remark(
        0,
        &format!(
            "From ECS Deity's configuration, stage `{}`. docs/import.md says what changes.",
            options.stage.escape_default()
        ),
    );
    out.text(0, "project", &project);
    out.line(0, "");
    target(config, options, &mut out);
    out.line(0, "");
    out.line(0, "repositories:");
    for (github, name) in &names {
        out.line(1, format!("{}:", crate::write::name(name)));
        out.text(2, "github", github);
        out.text(2, "source", &format!("https://github.com/{github}.git"));
        out.maybe(2, "omit", config.omit.as_deref());
    }
    out.line(0, "");
    service(config, &mut out);
    out.line(0, "");
    previews(config, options, &mut out);
    out.line(0, "");
    out.line(0, "notifications:");
    out.line(1, "slack:");
    out.line(2, "sns:");
    out.text(3, "topic", &config.topic);
    out.line(3, "envelope:");
    out.text(4, "channel", &config.channel);
    out.text(4, "username", SENDER);
    out.maybe(4, "icon_url", config.icon.as_deref());
    out.line(0, "");
    out.line(0, "webhook:");
    out.line(1, "secrets:");
    out.line(2, "- {env: GITHUB_WEBHOOK_SECRET}");
    changes.pending(
        "GITHUB_WEBHOOK_SECRET",
        "give GitHub's webhook a secret and Landfall this variable; its URL ends in /webhooks/github",
    );
    out.0
}

/// `owner/name` and the name alone, which is the key.
fn repositories(config: &Config, options: &Options, changes: &mut Changes) -> Vec<(String, String)> {
    let mut names: Vec<(String, String)> = Vec::new();
    for github in &options.repositories {
        let name = github.rsplit('/').next().unwrap_or(github).to_owned();
        if !names.iter().any(|(known, _)| known.eq_ignore_ascii_case(github)) {
            names.push((github.clone(), name));
        }
    }
    if names.is_empty() {
        let name = format!("{}my-project", config.omit.as_deref().unwrap_or_default());
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let name = if name.bytes().all(plain) { name } else { "my-project".to_owned() };
        changes.pending("repositories", "the original took every repository that sent it a webhook: name yours, or import again with --repository OWNER/NAME");
        names.push((format!("owner/{name}"), name));
    }
    let mut keys = std::collections::BTreeSet::new();
    for (github, name) in &mut names {
        // Two owners may have a repository of the same name; keys are unique.
        if !keys.insert(name.clone()) {
            *name = github.replace('/', "-");
            keys.insert(name.clone());
        }
    }
    names
}

fn bare(config: &Config, name: &str) -> String {
    config.omit.as_deref().map_or_else(|| name.to_owned(), |omit| name.replace(omit, ""))
}

fn target(config: &Config, options: &Options, out: &mut Lines) {
    let parts: Vec<&str> = config.load_balancer.split(':').collect();
    let region = parts.get(3).copied().filter(|region| !region.is_empty()).unwrap_or(REGION);
    let account = parts.get(4).copied().filter(|id| id.len() == 12 && id.bytes().all(|b| b.is_ascii_digit()));
    out.line(0, "aws:");
    out.line(1, format!("{}:", target_name(options)));
    out.text(2, "region", region);
    out.maybe(2, "account", account);
    out.text(2, "cluster", &config.cluster);
    out.text(2, "load_balancer", &config.load_balancer);
    out.text(2, "vpc", &config.vpc);
    if config.fargate {
        out.line(2, "network:");
        out.list(3, "subnets", &config.subnets);
        out.list(3, "security_groups", &config.security_groups);
        out.line(3, format!("public_ip: {}", config.public_ip));
    }
}

fn target_name(options: &Options) -> String {
    slug(&options.stage).unwrap_or_else(|| "aws".to_owned())
}

fn service(config: &Config, out: &mut Lines) {
    let check = &config.check;
    out.line(0, "services:");
    out.line(1, "web:");
    out.line(2, format!("launch_type: {}", if config.fargate { "fargate" } else { "ec2" }));
    out.text(2, "base_task_definition", &config.task_definition);
    out.line(2, "containers:");
    out.remark(
        3,
        "Runs the base's image until the hook below has deployed. To let Landfall put the branch's image in:",
    );
    out.remark(3, "await: {image: \"ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME:{commit}\"}");
    out.line(3, format!("{}: {{}}", crate::write::name(&config.container)));
    out.line(2, "desired_count: 2");
    out.line(2, "deployment: {minimum_healthy_percent: 50, maximum_percent: 200}");
    out.line(2, "load_balancer:");
    out.text(3, "container", &config.container);
    out.line(3, format!("port: {}", config.port));
    out.line(3, "health_check:");
    if check.https {
        out.line(4, "protocol: https");
    }
    out.text(4, "path", &check.path);
    if let Some(port) = check.port {
        out.line(4, format!("port: {port}"));
    }
    out.line(4, format!("interval: {}s", check.interval));
    out.line(4, format!("timeout: {}s", check.timeout));
    out.line(4, format!("healthy_threshold: {}", check.healthy));
    out.line(4, format!("unhealthy_threshold: {}", check.unhealthy));
    out.text(4, "matcher", &check.matcher);
    out.line(3, "deregistration_delay: 30s");
}

fn previews(config: &Config, options: &Options, out: &mut Lines) {
    let prefix = &config.prefix;
    out.line(0, "previews:");
    out.line(1, format!("on: {}", target_name(options)));
    out.line(1, format!("branches: [{}, {}]", quoted(&format!("{prefix}/**")), quoted(prefix)));
    out.line(1, format!("routing: {{ports: {{range: {}-{}}}}}", config.ports.0, config.ports.1));
    out.line(1, "hooks:");
    for (name, when) in [("deploy", "after_create"), ("deploy-again", "after_update")] {
        out.line(2, format!("{name}:"));
        out.line(3, format!("when: {when}"));
        out.line(3, format!("run: {{lambda: {{function: {}}}}}", quoted(&config.function)));
        out.line(3, format!("timeout: {LAMBDA_TIMEOUT}"));
    }
}
