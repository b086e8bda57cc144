use landfall_model::inventory::Tags;

use super::*;

fn request() -> PutService {
    PutService {
        name: "web".to_owned(),
        launch_type: LaunchType::Fargate,
        task_definition: "app:3".to_owned(),
        desired_count: 2,
        keep_count: false,
        deployment: DeploymentConfiguration {
            minimum_healthy_percent: 100,
            maximum_percent: 200,
            circuit_breaker: CircuitBreaker { enable: true, rollback: true, threshold: None },
            health_check_grace_period: 30,
            timeout: 600,
            strategy: Default::default(),
            alarms: None,
        },
        target: Some(TargetBinding { target_group: "arn:tg".to_owned(), container: "web".to_owned(), port: 80 }),
        tags: Tags::new(),
        adopt: false,
        replace: None,
        document: None,
    }
}

fn target() -> AwsTarget {
    AwsTarget { subnets: vec!["b".to_owned(), "a".to_owned()], ..AwsTarget::default() }
}

/// As AWS describes the service that `request` made: defaults filled in, lists in another order.
fn described() -> ecs::Service {
    let mut deployment = deployment(&request().deployment, None).unwrap();
    deployment.strategy = Some(ecs::DeploymentStrategy::Rolling);
    deployment.bake_time_in_minutes = Some(0);
    if let Some(breaker) = &mut deployment.deployment_circuit_breaker {
        breaker.reset_on_healthy_task = Some(true);
        let default = ecs::ThresholdConfiguration::builder().r#type(ecs::ThresholdType::BoundedPercent).value(50);
        breaker.threshold_configuration = Some(default.build().unwrap());
    }
    let vpc = ecs::AwsVpcConfiguration::builder()
        .set_subnets(Some(vec!["a".to_owned(), "b".to_owned()]))
        .security_groups("sg-default")
        .assign_public_ip(ecs::AssignPublicIp::Disabled)
        .build()
        .unwrap();
    let primary = ecs::Deployment::builder().id("ecs-svc/1").status("PRIMARY");
    ecs::Service::builder()
        .service_name("web")
        .task_definition("arn:aws:ecs:eu-west-1:1:task-definition/app:3")
        .desired_count(2)
        .launch_type(ecs::LaunchType::Fargate)
        .deployment_configuration(deployment)
        .set_load_balancers(Some(load_balancers(request().target.as_ref(), None)))
        .health_check_grace_period_seconds(30)
        .network_configuration(ecs::NetworkConfiguration::builder().awsvpc_configuration(vpc).build())
        .deployments(primary.rollout_state(ecs::DeploymentRolloutState::Completed).build())
        .tags(ecs::Tag::builder().key(TAG_TIMEOUT).value("600").build())
        .build()
}

fn of(service: &ecs::Service, request: &PutService) -> Change {
    change(service, request, network(&target(), true, "web").unwrap()).unwrap()
}

#[test]
fn what_aws_fills_in_is_no_difference() {
    assert!(of(&described(), &request()).is_empty());
    assert_eq!(settings(&described()), ServiceSettings { deployment: request().deployment, target: request().target });
}

#[test]
fn only_what_differs_is_sent() {
    let mut wanted = request();
    wanted.desired_count = 3;
    assert_eq!(of(&described(), &wanted), Change { desired_count: Some(3), ..Change::default() });
    wanted.keep_count = true;
    assert!(of(&described(), &wanted).is_empty(), "autoscaling sets it");
    wanted = request();
    wanted.task_definition = "arn:aws:ecs:eu-west-1:1:task-definition/app:4".to_owned();
    assert_eq!(
        of(&described(), &wanted),
        Change { task_definition: Some(wanted.task_definition.clone()), ..Change::default() }
    );
    wanted = request();
    wanted.deployment.circuit_breaker.threshold = Some(7);
    let threshold = of(&described(), &wanted).deployment.unwrap().deployment_circuit_breaker.unwrap();
    assert_eq!(threshold.threshold_configuration.unwrap().value, 7);
    wanted = request();
    wanted.deployment.health_check_grace_period = 60;
    assert_eq!(of(&described(), &wanted), Change { grace_period: Some(60), ..Change::default() });
    wanted = request();
    wanted.target = None;
    assert_eq!(of(&described(), &wanted), Change { load_balancers: Some(Vec::new()), ..Change::default() });
    let elsewhere = AwsTarget { public_ip: true, ..target() };
    let network = network(&elsewhere, true, "web").unwrap();
    assert!(change(&described(), &request(), network).unwrap().network.is_some());
}

#[test]
fn a_failed_deployment_is_tried_again() {
    let mut failed = described();
    let primary = failed.deployments.as_mut().unwrap().first_mut().unwrap();
    primary.rollout_state = Some(ecs::DeploymentRolloutState::Failed);
    assert_eq!(of(&failed, &request()), Change { force: true, ..Change::default() });
    // With another definition that is a new deployment anyway.
    let other = PutService { task_definition: "app:4".to_owned(), ..request() };
    assert!(!of(&failed, &other).force);
}

#[test]
fn the_named_deployment_gives_way_while_it_is_primary() {
    let named = |id: &str| PutService { replace: Some(id.to_owned()), ..request() };
    assert_eq!(of(&described(), &named("ecs-svc/1")), Change { force: true, ..Change::default() });
    assert!(of(&described(), &named("ecs-svc/0")).is_empty());
}

#[test]
fn a_service_that_was_taken_over_keeps_its_load_balancer() {
    let adopted = PutService { adopt: true, target: None, ..request() };
    assert!(of(&described(), &adopted).is_empty());
}

#[test]
fn several_load_balancers_stay_or_the_update_is_refused() {
    let to =
        |group: &str| Some(TargetBinding { target_group: group.to_owned(), container: "web".to_owned(), port: 80 });
    let mut several = described();
    let both = ["arn:a", "arn:tg"].map(|group| load_balancers(to(group).as_ref(), None)).concat();
    several.load_balancers = Some(both);
    let adopted = PutService { adopt: true, ..request() };
    assert!(of(&several, &adopted).is_empty(), "one of them is the target, though not the first");
    let elsewhere = PutService { target: to("arn:new"), ..adopted };
    let Err(PortError::Invalid(text)) = change(&several, &elsewhere, None) else { panic!("all but one would go") };
    assert!(
        ["service web", "arn:a, arn:tg", "arn:new", "`target_groups`"].iter().all(|says| text.contains(says)),
        "{text}"
    );
    assert_eq!(of(&described(), &elsewhere).load_balancers.unwrap().len(), 1, "one alone gives way");
    let ours = PutService { adopt: false, ..elsewhere };
    assert_eq!(of(&several, &ours).load_balancers.unwrap().len(), 1);
}

#[test]
fn security_groups_that_nobody_asks_for_stay() {
    let moved = AwsTarget { subnets: vec!["c".to_owned()], ..AwsTarget::default() };
    let sent = |target: &AwsTarget| {
        let network = change(&described(), &request(), network(target, true, "web").unwrap()).unwrap().network;
        network.unwrap().awsvpc_configuration.unwrap()
    };
    assert_eq!(
        (sent(&moved).subnets(), sent(&moved).security_groups()),
        (&["c".to_owned()][..], &["sg-default".to_owned()][..])
    );
    let named = AwsTarget { security_groups: vec!["sg-1".to_owned()], ..moved };
    assert_eq!(sent(&named).security_groups(), ["sg-1"]);
}

#[test]
fn a_service_cannot_change_where_it_runs() {
    let moved = PutService { launch_type: LaunchType::Ec2, ..request() };
    assert!(matches!(change(&described(), &moved, None), Err(PortError::Conflict(_))));
    let local = PutService { launch_type: LaunchType::Local, ..request() };
    assert!(matches!(change(&described(), &local, None), Err(PortError::Invalid(_))));
}

#[test]
fn awsvpc_without_subnets_says_what_to_give() {
    let error = network(&AwsTarget::default(), true, "service web").unwrap_err().to_string();
    assert!(error.contains("service web") && error.contains("`subnets`"), "{error}");
    assert_eq!(network(&AwsTarget::default(), false, "service web").unwrap(), None);
}
