//! The load balancer port against emulators that nobody here wrote. moto is the stricter one; ministack has a data plane.

use std::sync::Arc;

use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, FixedResponseActionConfig, ForwardActionConfig, HostHeaderConditionConfig, ProtocolEnum,
    RedirectActionConfig, RedirectActionStatusCodeEnum, RuleCondition, TargetDescription, TargetGroupTuple,
    TargetTypeEnum,
};
use landfall_model::app::{BalancingAlgorithm, HealthCheckProtocol, TargetHealthCheck};
use landfall_model::inventory::{ResourceKind, TAG_ENVIRONMENT, TAG_EXECUTION, TAG_INSTANCE, Tags};
use landfall_model::step::{EnsureTargetGroup, RouteTarget};
use landfall_model::task::LaunchType;
use landfall_ports::PortError;
use landfall_ports::load_balancer::{LoadBalancer, TargetGroupSettings, TargetState};
use serde_json::json;

use crate::edges::insist;
use crate::place::{INSTANCE, Kind, Place};

pub(crate) fn tags(environment: &str, execution: &str) -> Tags {
    let pairs = [(TAG_ENVIRONMENT, environment), (TAG_EXECUTION, execution)];
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub(crate) fn group(name: &str, environment: &str) -> EnsureTargetGroup {
    EnsureTargetGroup {
        name: name.to_owned(),
        launch_type: LaunchType::Fargate,
        base: None,
        port: 4567,
        health_check: TargetHealthCheck {
            protocol: HealthCheckProtocol::Http,
            path: "/up".to_owned(),
            port: Some(9000),
            interval_ms: 20_000,
            timeout_ms: 4_000,
            healthy_threshold: 3,
            unhealthy_threshold: 4,
            matcher: "200-299".to_owned(),
        },
        deregistration_delay: 30,
        algorithm: BalancingAlgorithm::LeastOutstandingRequests,
        idle_timeout: 60,
        tags: tags(environment, "exe_1"),
    }
}

pub(crate) fn host(host: &str, port: u16) -> RouteTarget {
    RouteTarget::Host { host: host.to_owned(), port }
}

async fn made(balancer: &dyn LoadBalancer, name: &str, environment: &str) -> String {
    balancer.put_target_group(&group(name, environment)).await.unwrap().handle
}

/// Names of what an environment owns, by kind.
async fn owned(balancer: &dyn LoadBalancer, environment: &str) -> Vec<(ResourceKind, String)> {
    let listing = balancer.list_owned(Some(environment)).await.unwrap();
    assert!(listing.complete);
    let mut owned: Vec<_> = listing.items.into_iter().map(|item| (item.kind, item.name)).collect();
    owned.sort();
    owned
}

async fn target_groups(place: Place) {
    let balancer = place.platform.load_balancer();
    let request = group("app-x-tg", "app-x");
    assert!(balancer.describe_target_group("app-x-tg").await.unwrap().is_none());
    let put = balancer.put_target_group(&request).await.unwrap();
    assert!(put.created && put.handle.starts_with("arn:"), "{put:?}");
    let found = balancer.describe_target_group("app-x-tg").await.unwrap().unwrap();
    assert_eq!(found.settings, TargetGroupSettings::from(&request));
    assert_eq!(found.tags[TAG_INSTANCE], INSTANCE);

    // Again, as after a lost answer: found, and still this execution's.
    assert_eq!(balancer.put_target_group(&request).await.unwrap(), put);
    // Changed by a later execution: the settings are, the tags stay.
    let changed = EnsureTargetGroup {
        health_check: TargetHealthCheck {
            path: "/".to_owned(),
            port: None,
            matcher: "200".to_owned(),
            protocol: HealthCheckProtocol::Https,
            ..request.health_check.clone()
        },
        deregistration_delay: 5,
        algorithm: BalancingAlgorithm::RoundRobin,
        tags: tags("app-x", "exe_2"),
        ..request.clone()
    };
    let second = balancer.put_target_group(&changed).await.unwrap();
    assert_eq!((second.handle.as_str(), second.created), (put.handle.as_str(), false));
    let found = balancer.describe_target_group("app-x-tg").await.unwrap().unwrap();
    assert_eq!((found.settings, found.tags[TAG_EXECUTION].as_str()), (TargetGroupSettings::from(&changed), "exe_1"));

    let foreign = balancer.put_target_group(&group("app-x-tg", "app-y")).await.unwrap_err();
    assert!(matches!(&foreign, PortError::Conflict(text) if text.contains("environment app-x")), "{foreign}");
    let illegal = TargetHealthCheck { interval_ms: 1_500, ..request.health_check.clone() };
    let illegal = balancer.put_target_group(&EnsureTargetGroup { health_check: illegal, ..request.clone() }).await;
    assert!(matches!(illegal, Err(PortError::Invalid(_))));
    let instances = EnsureTargetGroup { launch_type: LaunchType::Ec2, ..request.clone() };
    let immutable = balancer.put_target_group(&instances).await.unwrap_err();
    assert!(matches!(&immutable, PortError::Conflict(text) if text.contains("type ip")), "{immutable}");

    balancer.delete_target_group("app-x-tg", "app-y").await.unwrap();
    assert_eq!(owned(&*balancer, "app-x").await, [(ResourceKind::TargetGroup, "app-x-tg".to_owned())]);
    if place.kind == Kind::Moto {
        let route = host("x.example", 80);
        balancer.put_route(&route, &put.handle, &tags("app-x", "exe_1")).await.unwrap();
        let used = balancer.delete_target_group("app-x-tg", "app-x").await.unwrap_err();
        assert!(matches!(used, PortError::Conflict(_)), "{used}");
        balancer.delete_route(&route, "app-x").await.unwrap();
    }
    balancer.delete_target_group("app-x-tg", "app-x").await.unwrap();
    balancer.delete_target_group("app-x-tg", "app-x").await.unwrap();
    assert!(owned(&*balancer, "app-x").await.is_empty());
}

/// Unless the task definition below is in awsvpc mode.
async fn ec2_targets_are_instances(place: Place) {
    let balancer = place.platform.load_balancer();
    for mode in ["bridge", "awsvpc"] {
        let container = json!({"name": "app", "image": "x", "memory": 128, "essential": true});
        let base = json!({"family": mode, "networkMode": mode, "containerDefinitions": [container]});
        place.raw.json("ecs", "AmazonEC2ContainerServiceV20141113.RegisterTaskDefinition", base).await;
    }
    let cases = [
        (None, TargetTypeEnum::Instance),
        (Some("bridge"), TargetTypeEnum::Instance),
        (Some("awsvpc"), TargetTypeEnum::Ip),
        (Some("awsvpc:1"), TargetTypeEnum::Ip),
    ];
    for (n, (base, expected)) in cases.into_iter().enumerate() {
        let request = group(&format!("ec2-{n}-tg"), "app-x");
        let request = EnsureTargetGroup { launch_type: LaunchType::Ec2, base: base.map(str::to_owned), ..request };
        let handle = balancer.put_target_group(&request).await.unwrap().handle;
        let found = place.elb.describe_target_groups().target_group_arns(&handle).send().await.unwrap();
        assert_eq!(found.target_groups()[0].target_type(), Some(&expected), "{base:?}");
        assert_eq!(found.target_groups()[0].vpc_id(), Some(place.vpc.as_str()));
    }
    let request = EnsureTargetGroup { launch_type: LaunchType::Ec2, base: Some("none".to_owned()), ..group("n", "x") };
    let missing = balancer.put_target_group(&request).await.unwrap_err();
    assert!(matches!(&missing, PortError::NotFound(text) if text.contains("none")), "{missing}");
}

async fn host_rules(place: Place) {
    let balancer = place.platform.load_balancer();
    let (x, y) = (made(&*balancer, "x-tg", "app-x").await, made(&*balancer, "y-tg", "app-y").await);
    let put = balancer.put_route(&host("x.example", 8080), &x, &tags("app-x", "exe_1")).await.unwrap();
    assert_eq!((put.created, put.url.as_deref()), (true, Some("http://x.example:8080/")));
    balancer.put_route(&host("y.example", 8080), &y, &tags("app-y", "exe_2")).await.unwrap();
    let listener = place.listener(8080).await.unwrap();
    assert_eq!(listener.default_actions()[0].fixed_response_config().unwrap().status_code(), Some("404"));
    assert_eq!(place.priorities(&listener).await, ["1", "2", "default"]);

    // Again is the same rule; another target group is a change of it; another environment is refused.
    assert_eq!(balancer.put_route(&host("x.example", 8080), &x, &tags("app-x", "exe_1")).await.unwrap(), put);
    let moved = balancer.put_route(&host("X.example", 8080), &y, &tags("app-x", "exe_3")).await.unwrap();
    assert_eq!((moved.handle.as_str(), moved.created), (put.handle.as_str(), false));
    let foreign = balancer.put_route(&host("x.example", 8080), &y, &tags("app-y", "exe_2")).await.unwrap_err();
    assert!(matches!(&foreign, PortError::Conflict(text) if text.contains("environment app-x")), "{foreign}");

    let listing = balancer.routes().await.unwrap();
    let mut routes: Vec<_> = listing.items.iter().map(|item| (item.route.clone(), item.target_group.clone())).collect();
    routes.sort_by_key(|(route, _)| route.url());
    assert_eq!(routes, [(host("x.example", 8080), y.clone()), (host("y.example", 8080), y.clone())]);
    assert_eq!(balancer.busy_ports(8000, 8100).await.unwrap(), [8080]);

    balancer.delete_route(&host("x.example", 8080), "app-y").await.unwrap();
    assert_eq!(place.priorities(&listener).await, ["1", "2", "default"]);
    balancer.delete_route(&host("x.example", 8080), "app-x").await.unwrap();
    balancer.delete_route(&host("x.example", 8080), "app-x").await.unwrap();
    balancer.delete_route(&host("nobody.example", 9999), "app-x").await.unwrap();
    assert_eq!(place.priorities(&listener).await, ["2", "default"]);
    // The freed one is taken again; the shared listener is nobody's and stays.
    balancer.put_route(&host("z.example", 8080), &x, &tags("app-x", "exe_4")).await.unwrap();
    assert_eq!(place.priorities(&listener).await, ["1", "2", "default"]);
    let expected = [(ResourceKind::TargetGroup, "x-tg".to_owned()), (ResourceKind::Rule, "z.example:8080".to_owned())];
    assert_eq!(owned(&*balancer, "app-x").await, expected);
    for item in balancer.list_owned(Some("app-x")).await.unwrap().items.iter().rev() {
        balancer.delete_owned(item).await.unwrap();
    }
    assert!(owned(&*balancer, "app-x").await.is_empty());
    assert_eq!(owned(&*balancer, "app-y").await.len(), 2);
}

async fn what_others_put_there_is_left_and_read_over(place: Place) {
    let balancer = place.platform.load_balancer();
    let ours = made(&*balancer, "x-tg", "app-x").await;
    let theirs = place.foreign_group("theirs-tg").await;
    let tuple = |weight| TargetGroupTuple::builder().target_group_arn(&theirs).weight(weight).build();
    let weighted = ForwardActionConfig::builder().target_groups(tuple(1)).target_groups(tuple(9)).build();
    let weighted = Action::builder().r#type(ActionTypeEnum::Forward).forward_config(weighted).build();
    let redirect = RedirectActionConfig::builder().status_code(RedirectActionStatusCodeEnum::Http301).port("443");
    let redirect =
        Action::builder().r#type(ActionTypeEnum::Redirect).redirect_config(redirect.protocol("HTTPS").build()).build();
    let fixed = FixedResponseActionConfig::builder().status_code("503").build();
    let fixed = Action::builder().r#type(ActionTypeEnum::FixedResponse).fixed_response_config(fixed).build();
    let mut listeners = Vec::new();
    for (port, action) in [(80, redirect), (8001, weighted.clone()), (8002, fixed)] {
        listeners.push(place.foreign_listener(port, action).await);
    }
    let hosts = HostHeaderConditionConfig::builder().values("taken.example").build();
    let condition = RuleCondition::builder().field("host-header").host_header_config(hosts).build();
    let rule = place.elb.create_rule().listener_arn(&listeners[1]).priority(1).conditions(condition).actions(weighted);
    rule.send().await.unwrap();

    assert_eq!(balancer.busy_ports(1, 9000).await.unwrap(), [80, 8001, 8002]);
    assert!(balancer.routes().await.unwrap().items.is_empty());
    // A port and a host that are taken are refused, whoever has them.
    let port = balancer.put_route(&RouteTarget::Port { port: 8002 }, &ours, &tags("app-x", "exe_1")).await.unwrap_err();
    assert!(matches!(&port, PortError::Conflict(text) if text.contains("no tag of Landfall")), "{port}");
    let taken = balancer.put_route(&host("taken.example", 8001), &ours, &tags("app-x", "exe_1")).await.unwrap_err();
    assert!(matches!(&taken, PortError::Conflict(text) if text.contains("taken.example")), "{taken}");
    // On somebody's listener there may be rules of ours beside theirs.
    let put = balancer.put_route(&host("x.example", 8001), &ours, &tags("app-x", "exe_1")).await.unwrap();
    assert_eq!(place.rule_priority(&put.handle).await, "2");
    assert_eq!(balancer.routes().await.unwrap().items.len(), 1);
    balancer.delete_route(&RouteTarget::Port { port: 8002 }, "app-x").await.unwrap();
    balancer.delete_route(&host("taken.example", 8001), "app-x").await.unwrap();
    balancer.delete_route(&host("x.example", 8001), "app-x").await.unwrap();
    assert_eq!(balancer.busy_ports(1, 9000).await.unwrap(), [80, 8001, 8002]);
    assert!(balancer.delete_target_group("theirs-tg", "app-x").await.is_ok());
    assert!(balancer.describe_target_group("theirs-tg").await.unwrap().is_some());
}

async fn ports_of_their_own(place: Place) {
    let balancer = place.platform.load_balancer();
    let (x, y) = (made(&*balancer, "x-tg", "app-x").await, made(&*balancer, "y-tg", "app-y").await);
    let port = RouteTarget::Port { port: 8003 };
    let put = balancer.put_route(&port, &x, &tags("app-x", "exe_1")).await.unwrap();
    let address = place.platform.load_balancer_address().await.unwrap();
    assert_eq!((put.created, put.url), (true, Some(format!("http://{address}:8003/"))));
    assert!(balancer.put_route(&port, &x, &tags("app-x", "exe_1")).await.unwrap().created);
    // The announced port is always the one that is there.
    let later = balancer.put_route(&port, &y, &tags("app-x", "exe_2")).await.unwrap();
    assert_eq!((later.handle.as_str(), later.created), (put.handle.as_str(), false));
    let taken = balancer.put_route(&port, &y, &tags("app-y", "exe_2")).await.unwrap_err();
    assert!(matches!(&taken, PortError::Conflict(text) if text.contains("environment app-x")), "{taken}");
    // No host rule goes on a listener that will be deleted with its environment.
    let rule = balancer.put_route(&host("y.example", 8003), &y, &tags("app-y", "exe_2")).await.unwrap_err();
    assert!(matches!(&rule, PortError::Conflict(text) if text.contains("environment app-x")), "{rule}");
    let routes = balancer.routes().await.unwrap();
    assert_eq!((routes.items[0].route.clone(), routes.items[0].target_group.as_str()), (port.clone(), y.as_str()));
    balancer.delete_route(&port, "app-y").await.unwrap();
    assert_eq!(balancer.busy_ports(8000, 8100).await.unwrap(), [8003]);
    balancer.delete_route(&port, "app-x").await.unwrap();
    balancer.delete_route(&port, "app-x").await.unwrap();
    assert!(balancer.busy_ports(8000, 8100).await.unwrap().is_empty());
}

async fn many_at_once(place: Place) {
    let balancer = place.platform.load_balancer();
    // ELB's own defaults, so that each is one call of the modest quota.
    let puts = (0..21).map(|n| {
        let balancer = Arc::clone(&balancer);
        tokio::spawn(async move {
            let environment = format!("app-{n}");
            let request = EnsureTargetGroup {
                deregistration_delay: 300,
                algorithm: BalancingAlgorithm::RoundRobin,
                ..group(&format!("many-{n}-tg"), &environment)
            };
            // More than the quota has in five seconds: some are sent away and come again.
            let group = insist(|| balancer.put_target_group(&request)).await.handle;
            if n < 8 {
                let (route, ours) = (host(&format!("many-{n}.example"), 8080), tags(&environment, "exe_1"));
                insist(|| balancer.put_route(&route, &group, &ours)).await;
            }
        })
    });
    for put in puts.collect::<Vec<_>>() {
        put.await.unwrap();
    }
    let listener = place.listener(8080).await.unwrap();
    assert_eq!(place.priorities(&listener).await, ["1", "2", "3", "4", "5", "6", "7", "8", "default"]);
    // More than one batch of tags, and all of them, by one who has seen none before.
    let listing = place.with(|_| ()).await.load_balancer().list_owned(None).await.unwrap();
    assert_eq!((listing.items.len(), listing.complete), (29, true));
    let expected = [(ResourceKind::TargetGroup, "many-7-tg"), (ResourceKind::Rule, "many-7.example:8080")];
    assert_eq!(owned(&*balancer, "app-7").await, expected.map(|(kind, name)| (kind, name.to_owned())));
}

async fn https_with_a_certificate(place: Place) {
    let platform = place.with(|target| {
        target.certificate = Some(place.certificate.clone());
        target.address = Some("previews.example".to_owned());
    });
    let balancer = platform.await.load_balancer();
    let x = made(&*balancer, "x-tg", "app-x").await;
    let put = balancer.put_route(&host("x.example", 443), &x, &tags("app-x", "exe_1")).await.unwrap();
    assert_eq!(put.url.as_deref(), Some("https://x.example/"));
    let port = RouteTarget::Port { port: 8443 };
    let put = balancer.put_route(&port, &x, &tags("app-x", "exe_1")).await.unwrap();
    assert_eq!(put.url.as_deref(), Some("https://previews.example:8443/"));
    let listener = place.listener(8443).await.unwrap();
    assert_eq!(listener.protocol(), Some(&ProtocolEnum::Https));
    assert_eq!(listener.certificates()[0].certificate_arn(), Some(place.certificate.as_str()));
    assert_eq!(listener.ssl_policy(), Some("ELBSecurityPolicy-TLS13-1-2-2021-06"));
    // A listener that was made without it gets it.
    let plain = place.platform.load_balancer();
    let plain_port = RouteTarget::Port { port: 8444 };
    plain.put_route(&plain_port, &x, &tags("app-x", "exe_1")).await.unwrap();
    let put = balancer.put_route(&plain_port, &x, &tags("app-x", "exe_1")).await.unwrap();
    assert_eq!(put.url.as_deref(), Some("https://previews.example:8444/"));
    assert_eq!(place.listener(8444).await.unwrap().protocol(), Some(&ProtocolEnum::Https));
}

async fn what_is_not_there_is_said(place: Place) {
    let missing = place.with(|target| target.load_balancer = Some("no-such".to_owned())).await.load_balancer();
    let error = missing.list_owned(None).await.unwrap_err();
    assert!(matches!(&error, PortError::NotFound(text) if text.contains("no-such")), "{error}");
    let none = place.with(|target| target.load_balancer = None).await.load_balancer();
    let error = none.put_route(&host("x.example", 80), "arn:x", &tags("app-x", "exe_1")).await.unwrap_err();
    assert!(matches!(&error, PortError::Invalid(text) if text.contains("load_balancer is not set")), "{error}");
    let listing = none.list_owned(None).await.unwrap();
    assert!(listing.complete && listing.items.is_empty());
    let gone = place.platform.load_balancer().target_health("no-such-tg").await.unwrap_err();
    assert!(matches!(gone, PortError::NotFound(_)), "{gone}");
}

on!(moto: target_groups, ec2_targets_are_instances, host_rules, what_others_put_there_is_left_and_read_over,
    ports_of_their_own, many_at_once, https_with_a_certificate, what_is_not_there_is_said);
on!(ministack: target_groups, ec2_targets_are_instances, host_rules, what_others_put_there_is_left_and_read_over,
    ports_of_their_own, many_at_once, https_with_a_certificate, what_is_not_there_is_said);

/// Requests really go through the rule to the target, and the probe sees what a visitor sees.
#[tokio::test]
async fn requests_reach_the_target_of_their_host() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let place = Place::with_a_data_plane().await;
    let through = format!("{}/_alb/{}", place.raw.endpoint, place.name);
    let balancer = place.with(|target| target.probe_through = Some(through)).await.load_balancer();
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = server.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = server.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"HTTP/1.1 418 Teapot\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
        }
    });
    let group = made(&*balancer, "x-tg", "app-x").await;
    let put = balancer.put_route(&host("x.example", 8080), &group, &tags("app-x", "exe_1")).await.unwrap();
    let url = put.url.unwrap();
    assert_ne!(balancer.probe(&url).await.unwrap(), Some(418));
    let target = TargetDescription::builder().id("127.0.0.1").port(i32::from(port)).build();
    place.elb.register_targets().target_group_arn(&group).targets(target).send().await.unwrap();
    assert_eq!(balancer.probe(&url).await.unwrap(), Some(418));
    assert_eq!(balancer.probe("http://other.example:8080/").await.unwrap(), None, "the listener alone");
    let health = balancer.target_health(&group).await.unwrap();
    assert_eq!((health[0].target.clone(), health[0].state), (format!("127.0.0.1:{port}"), TargetState::Healthy));
    assert_eq!(balancer.target_health("x-tg").await.unwrap(), health);
    balancer.delete_route(&host("x.example", 8080), "app-x").await.unwrap();
    assert_eq!(balancer.probe(&url).await.unwrap(), None);
}
