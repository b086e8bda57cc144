//! The task definition, in any of the forms that `aws ecs` prints and ecspresso takes.

use landfall_model::documents::TASK_DEFINITION_TOLD;

use super::{Values, Whole};
use crate::write::{Lines, name, with_variables};
use landfall_manifest::yaml::scalar;

/// What nobody misses, beside what only a describe tells.
const SILENT: [&str; 2] = ["family", "requiresCompatibilities"];
const REASONS: &[(&str, &str)] = &[
    ("volumes", "use a `base_task_definition` for volumes"),
    ("mountPoints", "use a `base_task_definition` for volumes"),
    ("volumesFrom", "use a `base_task_definition` for volumes"),
    ("runtimePlatform", "the architecture is the image's; a `base_task_definition` may say which"),
    ("tags", "Landfall sets its own"),
    ("placementConstraints", "use a `base_task_definition`"),
    ("ephemeralStorage", "use a `base_task_definition`"),
    ("ulimits", "use a `base_task_definition`"),
    ("linuxParameters", "use a `base_task_definition`"),
    ("environmentFiles", "write the variables under `environment`"),
    ("repositoryCredentials", "the execution role pulls"),
];

pub(super) fn write(task: &Values<'_>, fargate: bool, whole: &mut Whole, out: &mut Lines) {
    for (key, value) in [("cpu", units(task, "cpu", "vcpu")), ("memory", units(task, "memory", "gb"))] {
        if let Some(value) = value {
            out.line(2, format!("{key}: {value}"));
        }
    }
    whole.target.execution_role = task.text("executionRoleArn");
    whole.target.task_role = task.text("taskRoleArn");
    if let Some(mode) = task.text("networkMode")
        && mode != "awsvpc"
    {
        let text = format!("`{}`: Landfall uses `awsvpc` on Fargate and `bridge` on EC2", mode.escape_default());
        whole.changes.dropped("networkMode", text);
    }
    let containers = task.items("containerDefinitions");
    if containers.is_empty() {
        task.map.missing("containerDefinitions");
    }
    out.line(2, "containers:");
    let whole_task = task.map.at.get("memory").is_given();
    for container in &containers {
        self::container(container, fargate || whole_task, whole, out);
    }
    whole.rest("", &task.map, &[&TASK_DEFINITION_TOLD[..], &SILENT].concat(), REASONS);
}

/// `256`, `"0.25 vCPU"`, `"0.5 GB"`: units and MiB.
fn units(task: &Values<'_>, key: &str, unit: &str) -> Option<String> {
    let text = task.map.text(key)?;
    let lower = text.to_ascii_lowercase();
    let Some(amount) = lower.strip_suffix(unit) else { return task.number(key, 1, 1_000_000_000) };
    match amount.trim().parse::<f64>() {
        Ok(amount) if amount > 0.0 && amount < 1_000_000.0 => Some(format!("{}", (amount * 1_024.0).round())),
        _ => {
            task.map.reader().wrong(
                task.map.at.get(key),
                format!("`{key}` is no amount"),
                "a number, with or without a unit",
            );
            None
        }
    }
}

fn container(container: &Values<'_>, limited: bool, whole: &mut Whole, out: &mut Lines) {
    let own = container.map.required("name");
    if super::Rendered::has_token(&own) {
        container.map.reader().wrong(
            container.map.at.get("name"),
            "the container's name is a variable",
            "write the name itself",
        );
    }
    let about = format!("{own}: ");
    out.line(3, format!("{}:", name(&own)));
    match container.text("image") {
        Some(image) => out.line(4, format!("image: {}", with_variables(&image))),
        None => container.map.missing("image"),
    }
    for (key, theirs) in [("entry_point", "entryPoint"), ("command", "command")] {
        let values = container.texts(theirs);
        if !values.is_empty() {
            out.line(4, format!("{key}: {}", flow(&values)));
        }
    }
    for (key, theirs) in [("working_directory", "workingDirectory"), ("user", "user")] {
        if let Some(value) = container.text(theirs) {
            out.line(4, format!("{key}: {}", with_variables(&value)));
        }
    }
    ports(container, &about, whole, out);
    pairs(container, "environment", "value", out, |value| with_variables(&value));
    pairs(container, "secrets", "valueFrom", out, |from| {
        let kind = if from.contains(":secretsmanager:") { "secrets_manager" } else { "ssm" };
        format!("{{{kind}: {}}}", with_variables(&from))
    });
    dependencies(container, out);
    health_check(container, out);
    if container.map.boolean("essential") == Some(false) {
        out.line(4, "essential: false");
    }
    if let Some(seconds) = container.number("stopTimeout", 0, 86_400) {
        out.line(4, format!("stop_timeout: {seconds}"));
    }
    if let Some(cpu) = container.number("cpu", 0, 1_000_000).filter(|cpu| cpu != "0") {
        out.line(4, format!("cpu: {cpu}"));
    }
    memory(container, limited, &about, whole, out);
    if container.map.boolean("readonlyRootFilesystem") == Some(true) {
        out.line(4, "readonly_root_filesystem: true");
    }
    logs(container, &about, whole);
    whole.rest(&about, &container.map, &[], REASONS);
}

fn flow(values: &[String]) -> String {
    format!("[{}]", values.iter().map(|value| with_variables(value)).collect::<Vec<_>>().join(", "))
}

fn ports(container: &Values<'_>, about: &str, whole: &mut Whole, out: &mut Lines) {
    let mut ports = Vec::new();
    for mapping in container.items("portMappings") {
        if mapping.text("protocol").is_some_and(|protocol| protocol != "tcp") {
            whole.changes.dropped(format!("{about}portMappings"), "only TCP ports are mapped");
            mapping.map.get("containerPort");
            mapping.map.get("hostPort");
            continue;
        }
        let port = mapping.number("containerPort", 1, 65_535);
        let host = mapping.number("hostPort", 0, 65_535);
        if host.as_deref().is_some_and(|host| host != "0" && Some(host) != port.as_deref()) {
            whole.changes.dropped(format!("{about}portMappings.hostPort"), "host ports are given out by ECS");
        }
        ports.extend(port.filter(|port| !ports.contains(port)));
        whole.rest(
            about,
            &mapping.map,
            &[],
            &[("name", "Service Connect is not set up"), ("appProtocol", "Service Connect is not set up")],
        );
    }
    if !ports.is_empty() {
        out.line(4, format!("ports: [{}]", ports.join(", ")));
    }
}

/// `[{name, value}]` → a map.
fn pairs(container: &Values<'_>, key: &str, value_key: &str, out: &mut Lines, value: impl Fn(String) -> String) {
    let items = container.items(key);
    if !items.is_empty() {
        out.line(4, format!("{key}:"));
    }
    for item in items {
        let variable = item.map.required("name");
        let text = item.value(value_key).unwrap_or_default();
        if super::Rendered::has_token(&variable) {
            let message = "the name of a variable cannot be a variable";
            item.map.reader().wrong(item.map.at.get("name"), message, "write the name itself");
        } else {
            out.line(5, format!("{}: {}", name(&variable), value(text)));
        }
    }
}

fn dependencies(container: &Values<'_>, out: &mut Lines) {
    let items = container.items("dependsOn");
    if !items.is_empty() {
        out.line(4, "depends_on:");
    }
    for item in items {
        let other = item.map.required("containerName");
        let condition = item.map.required("condition");
        out.line(5, format!("{}: {}", name(&other), with_variables(&condition)));
    }
}

/// ECS's own defaults: 30s, 5s, 3 and none.
fn health_check(container: &Values<'_>, out: &mut Lines) {
    if !container.map.has("healthCheck") {
        return;
    }
    let check = container.map("healthCheck");
    let number = |key: &str, default: &str| check.number(key, 0, 3_600).unwrap_or_else(|| default.to_owned());
    let mut command = check.texts("command");
    // The API takes a command without its first word as a shell line.
    if command.len() == 1 {
        command.insert(0, "CMD-SHELL".to_owned());
    }
    out.line(4, "health_check:");
    out.line(5, format!("command: {}", flow(&command)));
    out.line(5, format!("interval: {}", number("interval", "30")));
    out.line(5, format!("timeout: {}", number("timeout", "5")));
    out.line(5, format!("retries: {}", number("retries", "3")));
    if let Some(period) = check.number("startPeriod", 0, 300) {
        out.line(5, format!("start_period: {period}"));
    }
}

fn memory(container: &Values<'_>, limited: bool, about: &str, whole: &mut Whole, out: &mut Lines) {
    let hard = container.number("memory", 1, 100_000_000);
    let soft = container.number("memoryReservation", 1, 100_000_000);
    match (hard, soft) {
        (Some(hard), soft) => {
            out.line(4, format!("memory: {hard}"));
            if soft.is_some() {
                whole.changes.dropped(format!("{about}memoryReservation"), "only the hard limit is kept");
            }
        }
        (None, Some(_)) if limited => {
            whole.changes.dropped(format!("{about}memoryReservation"), "the task's own limit is kept");
        }
        (None, Some(soft)) => {
            out.line(4, format!("memory: {soft}"));
            let text =
                "was a reservation and is a hard limit now: the container is killed beyond it, so make it large enough";
            whole.changes.differs(format!("{about}memoryReservation"), text);
        }
        (None, None) => {}
    }
}

fn logs(container: &Values<'_>, about: &str, whole: &mut Whole) {
    if !container.map.has("logConfiguration") {
        return;
    }
    let logs = container.map("logConfiguration");
    let driver = logs.text("logDriver").unwrap_or_default();
    let options = logs.map("options");
    let group = options.text("awslogs-group");
    for key in ["awslogs-region", "awslogs-stream-prefix", "awslogs-create-group"] {
        options.map.get(key);
    }
    match group {
        Some(group) if driver == "awslogs" => {
            let first = whole.target.log_group.get_or_insert_with(|| group.clone());
            if *first != group {
                let text = format!("a target has one log group: `{}`", first.escape_default());
                whole.changes.dropped(format!("{about}logConfiguration"), text);
            }
        }
        _ => whole
            .changes
            .dropped(format!("{about}logConfiguration"), "only `awslogs` is known: use a `base_task_definition`"),
    }
    if scalar(logs.map.get("secretOptions")).is_none() && logs.map.at.get("secretOptions").is_given() {
        whole.changes.dropped(format!("{about}logConfiguration.secretOptions"), "has no equivalent");
    }
    whole.rest(about, &options.map, &[], &[]);
}
