//! Documents made at random, and AWS played by `described`: it orders, fills in and adds as DescribeTaskDefinition does.

use proptest::prelude::*;
use proptest::sample::subsequence;
use serde_json::{Map, json};

use super::*;

fn name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9]{0,5}"
}

fn pairs(first: &'static str, second: &'static str) -> impl Strategy<Value = Vec<Value>> {
    let pairs = proptest::collection::btree_map("[A-Z]{1,6}", "[ -~]{0,8}", 0..4);
    pairs.prop_map(move |all| all.into_iter().map(|(name, value)| json!({first: name, second: value})).collect())
}

fn container(name: String) -> impl Strategy<Value = Value> {
    let ports = subsequence(vec![80, 443, 8080, 9090], 0..3);
    let command = proptest::option::of(proptest::collection::vec("[a-z]{1,4}", 1..3));
    let check = proptest::option::of((proptest::option::of(1..100), proptest::option::of(1..10)));
    let parts =
        (pairs("name", "value"), pairs("name", "valueFrom"), ports, command, check, any::<Option<bool>>(), 0..3);
    parts.prop_map(move |(environment, secrets, ports, command, check, essential, cpu)| {
        let mut made = Map::new();
        let mut put = |key: &str, value: Value| made.insert(key.to_owned(), value);
        put("name", json!(name));
        put("image", json!(format!("{name}:1")));
        if !environment.is_empty() {
            put("environment", environment.into());
        }
        if !secrets.is_empty() {
            put("secrets", secrets.into());
        }
        if !ports.is_empty() {
            put("portMappings", ports.into_iter().map(|port| json!({"containerPort": port})).collect());
        }
        if let Some(command) = command {
            put("command", json!(command));
        }
        if let Some((interval, retries)) = check {
            put("healthCheck", json!({"command": ["CMD", "true"], "interval": interval, "retries": retries}));
        }
        if let Some(essential) = essential {
            put("essential", json!(essential));
        }
        if cpu > 0 {
            put("cpu", json!(cpu));
        }
        made.into()
    })
}

fn definition() -> impl Strategy<Value = Value> {
    let names = proptest::collection::btree_set(name(), 1..4);
    let containers = names.prop_flat_map(|names| names.into_iter().map(container).collect::<Vec<_>>());
    (containers, prop_oneof![Just("awsvpc"), Just("bridge")], pairs("key", "value"), 1_u32..17).prop_map(
        |(containers, mode, tags, cpu)| {
            json!({
                "family": "f", "networkMode": mode, "cpu": (cpu * 256).to_string(), "memory": "2048",
                "containerDefinitions": containers, "tags": tags
            })
        },
    )
}

/// `seed` turns every list whose order means nothing.
fn described(request: &Value, seed: usize) -> Value {
    let mut made = request.clone();
    let turn = |list: &mut Value| {
        if let Some(list) = list.as_array_mut()
            && !list.is_empty()
        {
            let by = seed % list.len();
            list.rotate_left(by);
        }
    };
    let awsvpc = request["networkMode"] == "awsvpc";
    for container in made["containerDefinitions"].as_array_mut().unwrap() {
        let container = container.as_object_mut().unwrap();
        for key in ["environment", "mountPoints", "volumesFrom", "portMappings", "systemControls"] {
            container.entry(key).or_insert(json!([]));
        }
        container.entry("cpu").or_insert(json!(0));
        container.entry("essential").or_insert(json!(true));
        for mapping in container["portMappings"].as_array_mut().unwrap() {
            mapping["protocol"] = json!("tcp");
            mapping["hostPort"] = if awsvpc { mapping["containerPort"].clone() } else { json!(0) };
        }
        if let Some(check) = container.get_mut("healthCheck").and_then(Value::as_object_mut) {
            for (key, usual) in [("interval", 30), ("timeout", 5), ("retries", 3)] {
                if check.get(key).is_none_or(Value::is_null) {
                    check.insert(key.to_owned(), json!(usual));
                }
            }
        }
        for key in ["environment", "secrets", "portMappings"] {
            if let Some(list) = container.get_mut(key) {
                turn(list);
            }
        }
    }
    turn(&mut made["containerDefinitions"]);
    let mut tags = made.as_object_mut().unwrap().remove("tags").unwrap();
    turn(&mut tags);
    tags.as_array_mut().unwrap().push(json!({"key": "landfall.execution", "value": seed.to_string()}));
    for (key, value) in [
        ("revision", json!(seed)),
        ("status", json!("ACTIVE")),
        ("volumes", json!([])),
        ("placementConstraints", json!([])),
        ("compatibilities", json!(["EC2"])),
        ("requiresAttributes", json!([{"name": "x"}])),
        ("taskDefinitionArn", json!(format!("arn:aws:ecs:eu-west-1:1:task-definition/f:{seed}"))),
    ] {
        made[key] = value;
    }
    json!({"taskDefinition": made, "tags": tags})
}

/// Any JSON, with the fields that the code looks for among its keys.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z:/. ]{0,12}".prop_map(Value::from),
    ];
    let key = prop_oneof![
        "[a-z]{1,3}",
        proptest::sample::select(vec![
            "taskDefinition",
            "services",
            "tags",
            "key",
            "containerDefinitions",
            "name",
            "portMappings",
            "containerPort",
            "hostPort",
            "environment",
            "value",
            "cpu",
            "memory",
            "loadBalancers",
            "deployments",
            "deploymentConfiguration",
            "advancedConfiguration",
            "schedulingStrategy",
            "networkMode",
        ])
        .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(key.clone(), inner, 0..5)
                .prop_map(|fields| fields.into_iter().collect::<Map<_, _>>().into()),
        ]
    })
}

proptest! {
    #[test]
    fn a_describe_fed_back_differs_in_nothing(request in definition(), seed in 1_usize..50) {
        let there = described(&request, seed);
        prop_assert_eq!(diff(Kind::TaskDefinition, &there, &request), vec![]);
        prop_assert_eq!(diff(Kind::TaskDefinition, &request, &there), vec![]);
        prop_assert_eq!(diff(Kind::TaskDefinition, &there, &described(&request, seed + 1)), vec![]);
    }

    #[test]
    fn a_changed_image_or_variable_is_exactly_one_change(request in definition(), seed in 1_usize..50) {
        let there = described(&request, seed);
        let (mut image, mut added) = (request.clone(), request.clone());
        let name = request["containerDefinitions"][0]["name"].as_str().unwrap().to_owned();
        image["containerDefinitions"][0]["image"] = json!("other:2");
        let changes = diff(Kind::TaskDefinition, &there, &image);
        prop_assert_eq!(changes.len(), 1);
        prop_assert_eq!(&changes[0].path, &format!("containerDefinitions[{name}].image"));
        let mut environment = request["containerDefinitions"][0]["environment"].as_array().cloned().unwrap_or_default();
        environment.push(json!({"name": "ADDED_ONE", "value": ""}));
        added["containerDefinitions"][0]["environment"] = environment.into();
        let changes = diff(Kind::TaskDefinition, &there, &added);
        prop_assert_eq!(changes.len(), 1);
        prop_assert_eq!(&changes[0].path, &format!("containerDefinitions[{name}].environment[ADDED_ONE]"));
        prop_assert_eq!(&changes[0].from, &None);
    }

    /// What goes one way comes back the other way, and two documents are the same or they differ.
    #[test]
    fn both_ways_tell_the_same(one in definition(), other in definition()) {
        let there = diff(Kind::TaskDefinition, &one, &other);
        let back = diff(Kind::TaskDefinition, &other, &one);
        let turned: Vec<Change> =
            back.into_iter().map(|it| Change { from: it.to, to: it.from, ..it }).collect();
        prop_assert_eq!(&there, &turned);
        let paths: BTreeSet<&str> = there.iter().map(|change| change.path.as_str()).collect();
        prop_assert_eq!(paths.len(), there.len());
        prop_assert_eq!(text(&there).lines().count(), there.len());
    }

    #[test]
    fn nothing_is_too_strange(one in anything(), other in anything()) {
        for kind in [Kind::TaskDefinition, Kind::Service] {
            prop_assert_eq!(diff(kind, &one, &one), vec![]);
            let changes = diff(kind, &one, &other);
            prop_assert_eq!(text(&changes).lines().count(), changes.len());
        }
    }
}
