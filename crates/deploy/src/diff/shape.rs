//! A document as a tree in which order only counts where it means something: lists whose elements have a name become maps.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Kind;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    /// A scalar, a list whose order counts, or a sorted one whose order does not; also an empty list of named elements.
    Leaf(Value),
    /// An object: a field that is missing has its default.
    Map(BTreeMap<String, Node>),
    /// Elements by key, or an object whose keys are the user's: what is missing is missing.
    Keyed(BTreeMap<String, Node>),
}

impl Node {
    pub(super) fn value(&self) -> Value {
        match self {
            Node::Leaf(value) => value.clone(),
            Node::Map(fields) | Node::Keyed(fields) => {
                fields.iter().map(|(name, node)| (name.clone(), node.value())).collect::<Map<_, _>>().into()
            }
        }
    }
}

/// Where in a document: for people, and with the keys left out for the tables.
#[derive(Debug, Clone, Default)]
pub(super) struct Path {
    pub shown: String,
    pub pattern: String,
    /// The last key, where the value itself is the entry.
    pub key: String,
    pub in_entry: bool,
}

impl Path {
    pub(super) fn field(&self, name: &str) -> Self {
        let join = |before: &str| if before.is_empty() { name.to_owned() } else { format!("{before}.{name}") };
        Self { shown: join(&self.shown), pattern: join(&self.pattern), key: String::new(), in_entry: false }
    }

    pub(super) fn entry(&self, key: &str) -> Self {
        Self {
            shown: format!("{}[{key}]", self.shown),
            pattern: self.pattern.clone(),
            key: key.to_owned(),
            in_entry: true,
        }
    }
}

/// How the elements of a list are told apart.
#[derive(Clone, Copy)]
enum Elements {
    /// By this field.
    By(&'static str),
    /// By the first field; the second one is all there is besides.
    Pair(&'static str, &'static str),
    /// By port and protocol.
    Ports,
    /// By container and port.
    Balancers,
    /// Their order means nothing.
    Set,
}

use Elements::{Balancers, By, Pair, Ports, Set};

const TASK_DEFINITION: &[(&str, Elements)] = &[
    ("containerDefinitions", By("name")),
    ("containerDefinitions.dependsOn", Pair("containerName", "condition")),
    ("containerDefinitions.environment", Pair("name", "value")),
    ("containerDefinitions.extraHosts", Pair("hostname", "ipAddress")),
    ("containerDefinitions.linuxParameters.capabilities.add", Set),
    ("containerDefinitions.linuxParameters.capabilities.drop", Set),
    ("containerDefinitions.linuxParameters.devices", By("hostPath")),
    ("containerDefinitions.linuxParameters.tmpfs", By("containerPath")),
    ("containerDefinitions.logConfiguration.secretOptions", Pair("name", "valueFrom")),
    ("containerDefinitions.mountPoints", By("containerPath")),
    ("containerDefinitions.portMappings", Ports),
    ("containerDefinitions.resourceRequirements", Pair("type", "value")),
    ("containerDefinitions.secrets", Pair("name", "valueFrom")),
    ("containerDefinitions.systemControls", Pair("namespace", "value")),
    ("containerDefinitions.ulimits", By("name")),
    ("containerDefinitions.volumesFrom", By("sourceContainer")),
    ("inferenceAccelerators", Pair("deviceName", "deviceType")),
    ("placementConstraints", Set),
    ("proxyConfiguration.properties", Pair("name", "value")),
    ("requiresCompatibilities", Set),
    ("tags", Pair("key", "value")),
    ("volumes", By("name")),
];

const SERVICE: &[(&str, Elements)] = &[
    ("capacityProviderStrategy", By("capacityProvider")),
    ("deploymentConfiguration.alarms.alarmNames", Set),
    ("deploymentConfiguration.lifecycleHooks", By("hookTargetArn")),
    ("deploymentConfiguration.lifecycleHooks.lifecycleStages", Set),
    ("loadBalancers", Balancers),
    ("networkConfiguration.awsvpcConfiguration.securityGroups", Set),
    ("networkConfiguration.awsvpcConfiguration.subnets", Set),
    ("placementConstraints", Set),
    ("serviceConnectConfiguration.services", By("portName")),
    ("serviceRegistries", By("registryArn")),
    ("tags", Pair("key", "value")),
    ("volumeConfigurations", By("name")),
    ("vpcLatticeConfigurations", By("targetGroupArn")),
];

/// Objects whose keys are the user's.
const MAPS: &[&str] = &[
    "containerDefinitions.dockerLabels",
    "containerDefinitions.firelensConfiguration.options",
    "containerDefinitions.logConfiguration.options",
    "serviceConnectConfiguration.logConfiguration.options",
    "volumes.dockerVolumeConfiguration.driverOpts",
    "volumes.dockerVolumeConfiguration.labels",
];

/// `None`: there is no document.
pub(super) fn of(kind: Kind, document: Value) -> Option<Node> {
    match document {
        Value::Null => None,
        document => Some(node(kind, document, "")),
    }
}

fn node(kind: Kind, value: Value, pattern: &str) -> Node {
    match value {
        Value::Object(fields) if MAPS.contains(&pattern) => {
            Node::Keyed(fields.into_iter().map(|(key, value)| (key, Node::Leaf(value))).collect())
        }
        Value::Object(fields) => Node::Map(object(kind, fields, pattern)),
        Value::Array(elements) => list(kind, elements, pattern),
        leaf => Node::Leaf(leaf),
    }
}

fn object(kind: Kind, fields: Map<String, Value>, pattern: &str) -> BTreeMap<String, Node> {
    let below = |name: &str| if pattern.is_empty() { name.to_owned() } else { format!("{pattern}.{name}") };
    let field = |(name, value): (String, Value)| {
        let node = node(kind, value, &below(&name));
        (name, node)
    };
    fields.into_iter().map(field).collect()
}

fn list(kind: Kind, mut elements: Vec<Value>, pattern: &str) -> Node {
    let table = match kind {
        Kind::TaskDefinition => TASK_DEFINITION,
        Kind::Service => SERVICE,
    };
    let Some((_, how)) = table.iter().find(|(known, _)| *known == pattern) else { return Node::Leaf(elements.into()) };
    if let Set = how {
        elements.sort_by_key(Value::to_string);
        elements.dedup();
        return Node::Leaf(elements.into());
    }
    let keys: Option<Vec<String>> = elements.iter().map(|element| key(*how, element)).collect();
    let Some(keys) = keys.filter(|keys| !keys.is_empty()) else { return Node::Leaf(elements.into()) };
    let mut entries = BTreeMap::new();
    for (key, element) in keys.into_iter().zip(elements) {
        let node = match (*how, element) {
            (Pair(name, value), Value::Object(mut fields)) if only(&fields, name, value) => {
                Node::Leaf(fields.remove(value).unwrap_or(Value::Null))
            }
            (_, Value::Object(fields)) => Node::Map(object(kind, fields, pattern)),
            (_, element) => Node::Leaf(element),
        };
        let mut free = key.clone();
        let mut number = 1;
        while entries.contains_key(&free) {
            number += 1;
            free = format!("{key} #{number}");
        }
        entries.insert(free, node);
    }
    Node::Keyed(entries)
}

fn only(fields: &Map<String, Value>, name: &str, value: &str) -> bool {
    fields.keys().all(|field| field == name || field == value)
}

/// `None`: an element without what tells it apart; then the list is compared as it is.
fn key(how: Elements, element: &Value) -> Option<String> {
    let text = |name: &str| match element.get(name) {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    match how {
        By(name) | Pair(name, _) => text(name),
        Ports => {
            let port = text("containerPort").or_else(|| text("containerPortRange"))?;
            let protocol = text("protocol").unwrap_or_else(|| "tcp".to_owned());
            Some(if protocol == "tcp" { port } else { format!("{port}/{protocol}") })
        }
        Balancers => match (text("containerName"), text("containerPort")) {
            (Some(container), Some(port)) => Some(format!("{container}:{port}")),
            _ => text("targetGroupArn").or_else(|| text("loadBalancerName")),
        },
        Set => None,
    }
}
