use std::collections::BTreeMap;

use landfall_model::task::{Dependency, HealthCheck};

use super::*;

const REGION: &str = "eu-west-1";

fn target() -> AwsTarget {
    AwsTarget {
        execution_role: Some("arn:aws:iam::1:role/execution".to_owned()),
        log_group: Some("/apps".to_owned()),
        ..AwsTarget::default()
    }
}

fn ours() -> TaskDefinition {
    TaskDefinition {
        family: "app".to_owned(),
        cpu: Some(256),
        memory: Some(512),
        containers: vec![ContainerDefinition {
            name: "web".to_owned(),
            image: "web:1".to_owned(),
            settings: ContainerSettings {
                ports: vec![80],
                environment: BTreeMap::from([("A".to_owned(), "1".to_owned())]),
                depends_on: vec![Dependency { container: "db".to_owned(), condition: DependencyCondition::Healthy }],
                health_check: Some(HealthCheck {
                    command: vec!["CMD-SHELL".to_owned(), "true".to_owned()],
                    interval: 5,
                    timeout: 2,
                    retries: 4,
                    start_period: 10,
                }),
                essential: true,
                stop_timeout: 20,
                ..ContainerSettings::default()
            },
        }],
        ..TaskDefinition::default()
    }
}

fn made(definition: &TaskDefinition, base: Option<&ecs::TaskDefinition>) -> PortResult<ecs::TaskDefinition> {
    let secrets = BTreeMap::from([("web".to_owned(), ValueFrom::from([("DB".to_owned(), "/db".to_owned())]))]);
    build(definition, base, &target(), REGION, &secrets)
}

#[test]
fn a_definition_alone_says_everything_that_was_asked_for() {
    let made = made(&ours(), None).unwrap();
    let web = &made.container_definitions()[0];
    assert_eq!((web.essential, web.stop_timeout), (Some(true), Some(20)));
    assert_eq!(web.port_mappings()[0].host_port(), None, "awsvpc: the container's own");
    let check = web.health_check().unwrap();
    assert_eq!(
        (check.interval(), check.timeout(), check.retries(), check.start_period()),
        (Some(5), Some(2), Some(4), Some(10))
    );
    assert_eq!(web.depends_on()[0].condition(), &ecs::ContainerCondition::Healthy);
    assert_eq!(log_of(web), Some(("/apps".to_owned(), "app".to_owned())));
    assert_eq!(made.execution_role_arn(), Some("arn:aws:iam::1:role/execution"));
}

#[test]
fn on_instances_ports_are_dynamic_and_memory_is_said_somewhere() {
    let mut definition = TaskDefinition { launch_type: LaunchType::Ec2, cpu: None, memory: None, ..ours() };
    let bridge = made(&definition, None).unwrap();
    let web = &bridge.container_definitions()[0];
    assert_eq!(bridge.network_mode(), Some(&ecs::NetworkMode::Bridge));
    assert_eq!(web.port_mappings()[0].host_port(), Some(0));
    assert_eq!(web.memory_reservation(), Some(LEAST_MEMORY));
    definition.containers[0].settings.memory = Some(300);
    let web = made(&definition, None).unwrap().container_definitions.unwrap().remove(0);
    assert_eq!((web.memory, web.memory_reservation), (Some(300), None));
}

#[test]
fn a_variable_of_ours_takes_the_place_of_a_secret_of_the_base_and_the_other_way_round() {
    let theirs = ecs::ContainerDefinition::builder()
        .name("web")
        .image("web:base")
        .stop_timeout(99)
        .secrets(ecs::Secret::builder().name("A").value_from("/a").build().unwrap())
        .environment(ecs::KeyValuePair::builder().name("DB").value("plain").build())
        .environment(ecs::KeyValuePair::builder().name("KEPT").value("1").build())
        .build();
    let base = ecs::TaskDefinition::builder().family("base").revision(7).container_definitions(theirs).build();
    let web = made(&ours(), Some(&base)).unwrap().container_definitions.unwrap().remove(0);
    let variables: Vec<_> = web.environment().iter().map(|pair| pair.name().unwrap()).collect();
    let secrets: Vec<_> = web.secrets().iter().map(ecs::Secret::name).collect();
    assert_eq!((variables, secrets), (vec!["KEPT", "A"], vec!["DB"]));
    assert_eq!(web.stop_timeout, Some(99), "the base's");
}

#[test]
fn a_base_keeps_its_image_where_ours_has_none_and_its_own_log() {
    let log = ecs::LogConfiguration::builder().log_driver(ecs::LogDriver::Fluentd).build().unwrap();
    let theirs = ecs::ContainerDefinition::builder().name("web").image("web:base").log_configuration(log);
    let base = ecs::TaskDefinition::builder()
        .requires_compatibilities(ecs::Compatibility::Ec2)
        .requires_compatibilities(ecs::Compatibility::Fargate)
        .cpu("1024")
        .container_definitions(theirs.build())
        .build();
    let mut definition = TaskDefinition { cpu: None, ..ours() };
    definition.containers[0].image = String::new();
    let over = made(&definition, Some(&base)).unwrap();
    let web = &over.container_definitions()[0];
    assert_eq!((web.image(), log_of(web)), (Some("web:base"), None));
    assert_eq!((over.cpu(), over.memory()), (Some("1024"), Some("512")));
    assert_eq!(over.requires_compatibilities(), [ecs::Compatibility::Fargate]);
    let error = made(&definition, None).unwrap_err().to_string();
    assert!(error.contains("web has no image"), "{error}");
}

#[test]
fn what_cannot_run_is_refused_with_the_remedy() {
    let local = TaskDefinition { launch_type: LaunchType::Local, ..ours() };
    assert!(matches!(made(&local, None), Err(PortError::Invalid(_))));
    let no_role = AwsTarget { execution_role: None, ..target() };
    let error = build(&ours(), None, &no_role, REGION, &BTreeMap::new()).unwrap_err().to_string();
    assert!(error.contains("execution_role"), "{error}");
}

#[test]
fn the_hash_follows_everything_that_decides() {
    let nothing = BTreeMap::new();
    let hash =
        |definition: &TaskDefinition, base: Option<&str>, target: &AwsTarget, environment: &str, instance: &str| {
            content_hash(definition, base, target, &nothing, environment, instance).unwrap()
        };
    let (definition, target) = (ours(), target());
    let first = hash(&definition, None, &target, "e", "i");
    assert_eq!(first, hash(&definition, None, &target, "e", "i"));
    let other_role = AwsTarget { task_role: Some("r".to_owned()), ..target.clone() };
    let mut other_image = definition.clone();
    other_image.containers[0].image = "web:2".to_owned();
    let secrets = BTreeMap::from([("web".to_owned(), ValueFrom::from([("DB".to_owned(), "/db".to_owned())]))]);
    let others = [
        hash(&definition, Some("base:1"), &target, "e", "i"),
        hash(&definition, None, &other_role, "e", "i"),
        hash(&definition, None, &target, "f", "i"),
        hash(&definition, None, &target, "e", "j"),
        hash(&other_image, None, &target, "e", "i"),
        content_hash(&definition, None, &target, &secrets, "e", "i").unwrap(),
    ];
    assert!(others.iter().all(|other| *other != first));
}
