//! Services and jobs: `NAME/manifest.yml`.

use landfall_manifest::Diagnostic;
use landfall_manifest::yaml::{Map, scalar};

use super::container::{awaited, depends_on, health_check, port, secrets, sidecar, variables};
use super::{Whole, argv};
use crate::codes;
use crate::write::{Lines, quoted, slug};

const TYPES: [&str; 6] = [
    "Load Balanced Web Service",
    "Backend Service",
    "Worker Service",
    "Scheduled Job",
    "Request-Driven Web Service",
    "Static Site",
];

/// Why a key is not carried over.
const REASONS: &[(&str, &str)] = &[
    ("storage", "volumes are not in a manifest; a `base_task_definition` may have them"),
    ("network", "tasks run in the subnets of the target; service discovery and Service Connect are not set up"),
    ("exec", "ECS Exec is not set up"),
    ("publish", "topics are not made by Landfall"),
    ("subscribe", "queues and subscriptions are not made by Landfall"),
    ("logging", "logs go to the target's `log_group`"),
    ("observability", "traces and alarms are not set up"),
    ("platform", "the architecture is the image's; a `base_task_definition` may say which"),
    ("taskdef_overrides", "use a `base_task_definition` for what a manifest does not have"),
    ("env_file", "write the variables under `environment`"),
    ("nlb", "network load balancers are not used"),
    ("retries", "jobs are not scheduled by Landfall"),
    ("timeout", "jobs are not scheduled by Landfall"),
    ("schedule", "jobs are not scheduled by Landfall: let EventBridge or CI call `landfall run`"),
    ("alias", "host names are DNS's matter"),
    ("stickiness", "sessions are not pinned to a target"),
    ("allowed_source_ips", "rules of the load balancer's security group do that"),
    ("path", "an environment's services are not told apart by path yet"),
    ("additional_rules", "an environment's services are not told apart by path yet"),
    ("credentials", "the execution role pulls"),
];

/// `false`: not a service of its own (a static site, or no manifest of a service at all).
pub(super) fn write(
    map: &Map<'_>,
    directory: &str,
    whole: &mut Whole<'_>,
    out: &mut Lines,
    balanced: &mut bool,
) -> bool {
    let name = map.text("name").unwrap_or_else(|| directory.to_owned());
    let kind = map.required("type");
    if !TYPES.contains(&kind.as_str()) {
        if !kind.is_empty() {
            let error = Diagnostic::error(codes::BAD_VALUE, format!("`type` cannot be `{}`", kind.escape_default()))
                .label(map.at.get("type").span(), "not a type of Copilot's")
                .help(TYPES.join(", "))
                .maybe_help(landfall_manifest::did_you_mean(&kind, TYPES));
            map.reader().report(error);
        }
        return true;
    }
    if kind == "Static Site" {
        whole.changes.dropped(name, "a static site has no containers: S3 and CloudFront stay as they are");
        return false;
    }
    let Some(legal) = slug(&name) else {
        map.reader().wrong(map.at.get("name"), "`name` has no letter", "cannot be the name of a service");
        return true;
    };
    out.line(1, format!("{legal}:"));
    out.line(
        2,
        format!(
            "cpu: {}",
            map.int("cpu", 128, 16_384).unwrap_or(if kind.starts_with("Request") { 1_024 } else { 256 })
        ),
    );
    out.line(
        2,
        format!(
            "memory: {}",
            map.int("memory", 128, 122_880).unwrap_or(if kind.starts_with("Request") { 2_048 } else { 512 })
        ),
    );
    out.line(2, "containers:");
    let image = map.map("image");
    let main = main_container(map, &image, &name, whole, out);
    let sidecars = map.map("sidecars");
    let mut ports = Vec::new();
    for sidecar_name in sidecars.keys().collect::<Vec<_>>() {
        let port = sidecar(whole, &name, sidecar_name, &sidecars.map(sidecar_name), out);
        ports.push((sidecar_name.to_owned(), port));
    }
    count(map, &kind, &name, whole, out);
    let http = Http::of(map, &kind);
    deployment(map, http.as_ref(), out);
    if let Some(http) = http {
        *balanced = true;
        balancer(map, &http, &name, main, &ports, out);
        whole.rest(&name, &http.map, REASONS);
        if let Some(check) = &http.check {
            whole.rest(&name, check, REASONS);
        }
    }
    overrides(map, &name, whole);
    if kind.starts_with("Request") {
        whole.changes.differs(
            format!("{name}: type"),
            "ran on App Runner; now on Fargate behind the load balancer, without its scaling to requests",
        );
    }
    if kind == "Backend Service" && map.at.get("http").is_given() {
        map.get("http");
        whole.changes.dropped(
            format!("{name}: http"),
            "internal load balancers are not used: previews and environments share one that is named",
        );
    }
    whole.changes.differs("variables", "COPILOT_… variables are not set; LANDFALL_… are (docs/manifest.md)");
    if map.has("on") {
        let on = map.map("on");
        whole.rest(&name, &on, REASONS);
    }
    whole.rest(&name, &image, REASONS);
    whole.rest(&name, map, REASONS);
    true
}

/// The port of the service's own container.
fn main_container(map: &Map<'_>, image: &Map<'_>, name: &str, whole: &mut Whole<'_>, out: &mut Lines) -> Option<i64> {
    out.line(3, format!("{}:", crate::write::name(name)));
    match image.text("location") {
        Some(location) => match whole.substituted(&location) {
            Some(location) => out.text(4, "image", &location),
            None => awaited(whole, name, "{commit}", out),
        },
        None => {
            image.get("build");
            awaited(whole, name, "{commit}", out);
        }
    }
    let port = port(image, "port");
    let mut all: Vec<i64> = port.into_iter().collect();
    all.extend(map.at.get("http").is_map().then(|| map.map("http").int("target_port", 1, 65_535)).flatten());
    all.sort_unstable();
    all.dedup();
    if !all.is_empty() && scalar(map.at.get("http").get("target_container")).is_none() {
        out.line(4, format!("ports: [{}]", all.iter().map(i64::to_string).collect::<Vec<_>>().join(", ")));
    } else if let Some(port) = port {
        out.line(4, format!("ports: [{port}]"));
    }
    argv(map, "entrypoint", out, 4, "entry_point");
    argv(map, "command", out, 4, "command");
    variables(whole, name, map, out);
    secrets(whole, name, map, out);
    depends_on(image, out);
    health_check(image, out);
    port
}

fn count(map: &Map<'_>, kind: &str, name: &str, whole: &mut Whole<'_>, out: &mut Lines) {
    let at = map.get("count");
    let count = match scalar(at) {
        Some(_) => map.int("count", 0, 5_000).unwrap_or(1),
        None if at.is_map() => {
            let map = map.map("count");
            whole.changes.dropped(
                format!("{name}: count"),
                "autoscaling is not set up by Landfall, which leaves a scaled count alone; Spot is not asked for",
            );
            let range = map.text("range").or_else(|| scalar(at.get("range").get("min")).map(|min| min.text.clone()));
            let least =
                range.as_deref().and_then(|range| range.split('-').next()).and_then(|least| least.trim().parse().ok());
            least.or_else(|| map.int("spot", 0, 5_000)).unwrap_or(1)
        }
        None if kind == "Scheduled Job" => 0,
        None => 1,
    };
    out.line(2, format!("desired_count: {count}"));
}

/// What Copilot says under `http`, where the service has a load balancer.
struct Http<'t> {
    map: Map<'t>,
    /// `healthcheck` as a map.
    check: Option<Map<'t>>,
}

impl<'t> Http<'t> {
    fn of(map: &Map<'t>, kind: &str) -> Option<Self> {
        let at = map.get("http");
        let off = scalar(at).is_some_and(|scalar| scalar.text == "false");
        if !(kind.starts_with("Load Balanced") || kind.starts_with("Request")) || off {
            return None;
        }
        let map = map.map("http");
        let check = map.get("healthcheck").is_map().then(|| map.map("healthcheck"));
        if map.at.get("path").is_given() && scalar(map.at.get("path")).is_some_and(|path| path.text == "/") {
            map.get("path");
        }
        Some(Self { map, check })
    }
}

fn deployment(map: &Map<'_>, http: Option<&Http<'_>>, out: &mut Lines) {
    let deployment = map.map("deployment");
    let mut keys = Vec::new();
    if deployment.text("rolling").as_deref() == Some("recreate") {
        keys.push("minimum_healthy_percent: 0, maximum_percent: 100".to_owned());
    }
    if let Some(http) = http {
        let grace = http.check.as_ref().and_then(|check| check.text("grace_period"));
        keys.push(format!("health_check_grace_period: {}", quoted(&grace.unwrap_or_else(|| "60s".to_owned()))));
    }
    if !keys.is_empty() {
        out.line(2, format!("deployment: {{{}}}", keys.join(", ")));
    }
}

fn balancer(
    map: &Map<'_>,
    http: &Http<'_>,
    name: &str,
    main: Option<i64>,
    sidecars: &[(String, Option<i64>)],
    out: &mut Lines,
) {
    let target = http.map.text("target_container").or_else(|| http.map.text("targetContainer"));
    let container = target.unwrap_or_else(|| name.to_owned());
    let of_sidecar = sidecars.iter().find(|(sidecar, _)| *sidecar == container).and_then(|(_, port)| *port);
    let target_port = http.map.int("target_port", 1, 65_535);
    let Some(port) = target_port.or(of_sidecar).or(main) else {
        map.map("image").missing("port");
        return;
    };
    out.line(2, "load_balancer:");
    out.text(3, "container", &container);
    out.line(3, format!("port: {port}"));
    out.line(3, "health_check:");
    let given = scalar(http.map.at.get("healthcheck")).map(|path| path.text.clone());
    let path = given.or_else(|| http.check.as_ref().and_then(|check| check.text("path")));
    out.text(4, "path", &path.unwrap_or_else(|| "/".to_owned()));
    if let Some(port) = http.check.as_ref().and_then(|check| check.int("port", 1, 65_535)) {
        out.line(4, format!("port: {port}"));
    }
    times(http.check.as_ref(), out);
    out.text(3, "deregistration_delay", &http.map.text("deregistration_delay").unwrap_or_else(|| "60s".to_owned()));
}

/// Copilot's defaults: 10s, 5s, 2, 2 and 200.
fn times(check: Option<&Map<'_>>, out: &mut Lines) {
    let text = |key: &str, default: &str| check.and_then(|map| map.text(key)).unwrap_or_else(|| default.to_owned());
    let number = |key: &str| check.and_then(|map| map.int(key, 2, 10)).unwrap_or(2);
    out.text(4, "interval", &text("interval", "10s"));
    out.text(4, "timeout", &text("timeout", "5s"));
    out.line(4, format!("healthy_threshold: {}", number("healthy_threshold")));
    out.line(4, format!("unhealthy_threshold: {}", number("unhealthy_threshold")));
    out.text(4, "matcher", &text("success_codes", "200"));
}

fn overrides(map: &Map<'_>, name: &str, whole: &mut Whole<'_>) {
    let environments = map.map("environments");
    for environment in environments.keys().collect::<Vec<_>>() {
        let one = environments.map(environment);
        let known = whole.environments.iter().any(|known| known == environment);
        let variables = one.map("variables");
        for key in variables.keys().collect::<Vec<_>>() {
            match variables.text(key).and_then(|value| whole.substituted(&value)) {
                Some(value) if known => whole.variable(environment, name, key, value),
                _ => whole.changes.dropped(
                    format!("{name}: environments.{environment}.variables.{key}"),
                    "the environment has no manifest, or the value is not known here",
                ),
            }
        }
        whole.rest(
            name,
            &one,
            &[("count", "desired counts are the same in every environment; `landfall scale` changes one")],
        );
    }
}
