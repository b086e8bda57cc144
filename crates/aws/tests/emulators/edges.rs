//! The load balancer port where no emulator goes: lost answers, eventual consistency, races with other processes, limits,
//! pages, changing health. On the stateful fake, whose answers moto and ministack confirm elsewhere.

use std::time::{Duration, Instant};

use landfall_aws::AwsPlatform;
use landfall_awsfake::faults::{Fault, FaultError};
use landfall_awsfake::{Fake, Handle};
use landfall_model::aws::AwsTarget;
use landfall_model::inventory::ResourceKind;
use landfall_model::step::{EnsureTargetGroup, RouteTarget};
use landfall_ports::load_balancer::{LoadBalancer, TargetState};
use landfall_ports::{PortError, PortResult};
use serde_json::{Value, json};

use crate::elb::{group, host, tags};
use crate::place::connect;

const ELB: &str = "elasticloadbalancing";

struct Edge {
    fake: Handle,
    platform: AwsPlatform,
    target: AwsTarget,
    /// ARN of the load balancer.
    balancer: String,
}

async fn edge(frozen: bool) -> Edge {
    let (url, fake) = if frozen { Fake::start_frozen().await } else { Fake::start().await }.unwrap();
    let input = json!({"Name": "main", "Subnets": ["subnet-1", "subnet-2"]});
    let made = fake.call(ELB, "CreateLoadBalancer", input).unwrap();
    let target = AwsTarget {
        name: "test".to_owned(),
        region: Some(landfall_awsfake::REGION.to_owned()),
        endpoint: Some(url),
        cluster: "main".to_owned(),
        load_balancer: Some("main".to_owned()),
        ..AwsTarget::default()
    };
    let balancer = made["LoadBalancers"][0]["LoadBalancerArn"].as_str().unwrap().to_owned();
    Edge { fake, platform: connect(&target).await, target, balancer }
}

impl Edge {
    fn count(&self, operation: &str, field: &str, input: Value) -> usize {
        self.fake.call(ELB, operation, input).unwrap()[field].as_array().unwrap().len()
    }

    /// Target groups, listeners, rules that are no default ones.
    fn there(&self) -> (usize, usize, usize) {
        let of = json!({"LoadBalancerArn": self.balancer});
        let listeners = self.fake.call(ELB, "DescribeListeners", of).unwrap();
        let listeners = listeners["Listeners"].as_array().unwrap();
        let rules = |listener: &Value| {
            self.count("DescribeRules", "Rules", json!({"ListenerArn": listener["ListenerArn"]})) - 1
        };
        let groups = self.count("DescribeTargetGroups", "TargetGroups", json!({}));
        (groups, listeners.len(), listeners.iter().map(rules).sum())
    }

    fn foreign_listener(&self, port: u16) -> String {
        let action = json!([{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "503"}}]);
        let input =
            json!({"LoadBalancerArn": self.balancer, "Port": port, "Protocol": "HTTP", "DefaultActions": action});
        let made = self.fake.call(ELB, "CreateListener", input).unwrap();
        made["Listeners"][0]["ListenerArn"].as_str().unwrap().to_owned()
    }

    fn foreign_rule(&self, listener: &str, priority: u32) {
        let condition =
            json!([{"Field": "host-header", "HostHeaderConfig": {"Values": [format!("f{priority}.example")]}}]);
        let action = json!([{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "503"}}]);
        let input = json!({"ListenerArn": listener, "Priority": priority, "Conditions": condition, "Actions": action});
        self.fake.call(ELB, "CreateRule", input).unwrap();
    }

    fn lag(&self, ms: u64) {
        self.fake.script("POST", "consistency", &json!({"lag_ms": ms})).unwrap();
    }
}

fn on(operation: &str) -> Fault {
    Fault { service: Some(ELB.to_owned()), operation: Some(operation.to_owned()), times: Some(1), ..Fault::default() }
}

/// As the engine does with what may pass by itself.
pub(crate) async fn insist<T, F: Future<Output = PortResult<T>>>(call: impl Fn() -> F) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match call().await {
            Ok(done) => return done,
            Err(error) if error.passes() && Instant::now() < deadline => {
                tracing::debug!(%error, "again");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

async fn make_everything(balancer: &dyn LoadBalancer) {
    let ours = tags("app-x", "exe_1");
    let group = insist(|| async { balancer.put_target_group(&group("x-tg", "app-x")).await }).await;
    insist(|| balancer.put_route(&RouteTarget::Port { port: 8001 }, &group.handle, &ours)).await;
    let route = host("x.example", 80);
    insist(|| balancer.put_route(&route, &group.handle, &ours)).await;
}

async fn delete_everything(balancer: &dyn LoadBalancer) {
    let route = host("x.example", 80);
    insist(|| balancer.delete_route(&route, "app-x")).await;
    insist(|| balancer.delete_route(&RouteTarget::Port { port: 8001 }, "app-x")).await;
    insist(|| balancer.delete_target_group("x-tg", "app-x")).await;
}

#[tokio::test]
async fn a_lost_answer_doubles_and_leaves_nothing() {
    for operation in ["CreateTargetGroup", "ModifyTargetGroupAttributes", "CreateListener", "CreateRule"] {
        for cut in [true, false] {
            let edge = edge(false).await;
            edge.fake.fault(Fault { lose_response: !cut, cut, ..on(operation) });
            make_everything(&*edge.platform.load_balancer()).await;
            assert_eq!(edge.there(), (1, 2, 1), "{operation}");
            // By a successor that has seen nothing.
            delete_everything(&*connect(&edge.target).await.load_balancer()).await;
            assert_eq!(edge.there(), (0, 1, 0), "{operation}: the shared listener stays");
        }
    }
    for operation in ["DeleteRule", "DeleteListener", "DeleteTargetGroup"] {
        let edge = edge(false).await;
        make_everything(&*edge.platform.load_balancer()).await;
        edge.fake.fault(Fault { lose_response: true, ..on(operation) });
        delete_everything(&*edge.platform.load_balancer()).await;
        assert_eq!(edge.there(), (0, 1, 0), "{operation}");
    }
}

#[tokio::test]
async fn a_tenth_of_all_calls_may_fail_before_and_after_their_effect() {
    let edge = edge(false).await;
    let any = |fault: Fault| Fault { service: Some(ELB.to_owned()), percent: Some(5), times: None, ..fault };
    edge.fake.fault(any(Fault { lose_response: true, ..Fault::default() }));
    let error = FaultError { code: "InternalFailure".to_owned(), message: String::new(), status: 500 };
    edge.fake.fault(any(Fault { error: Some(error), ..Fault::default() }));
    let balancer = edge.platform.load_balancer();
    for _ in 0..4 {
        make_everything(&*balancer).await;
        assert_eq!(edge.there(), (1, 2, 1));
        let listing = insist(|| balancer.list_owned(Some("app-x"))).await;
        assert_eq!((listing.items.len(), listing.complete), (3, true));
        delete_everything(&*balancer).await;
        assert_eq!(edge.there(), (0, 1, 0));
    }
}

#[tokio::test]
async fn what_is_not_everywhere_known_yet_is_neither_doubled_nor_forgotten() {
    let edge = edge(false).await;
    edge.lag(300);
    let balancer = edge.platform.load_balancer();
    make_everything(&*balancer).await;
    // Again at once by somebody who remembers nothing.
    make_everything(&*connect(&edge.target).await.load_balancer()).await;
    assert_eq!(edge.there(), (1, 2, 1));
    delete_everything(&*balancer).await;
    insist(|| async {
        let route = host("x.example", 80);
        balancer.delete_route(&route, "app-x").await?;
        balancer.delete_route(&RouteTarget::Port { port: 8001 }, "app-x").await?;
        balancer.delete_target_group("x-tg", "app-x").await?;
        match edge.there() {
            (0, 1, 0) => Ok(()),
            there => Err(PortError::Unavailable(format!("{there:?}"))),
        }
    })
    .await;
}

#[tokio::test]
async fn a_port_that_another_process_takes_meanwhile_is_refused() {
    let edge = edge(true).await;
    let balancer = edge.platform.load_balancer();
    let handle = balancer.put_target_group(&group("x-tg", "app-x")).await.unwrap().handle;
    // Seen by nobody who looks, and there all the same.
    edge.lag(1_000);
    edge.foreign_listener(8002);
    let (port, ours) = (RouteTarget::Port { port: 8002 }, tags("app-x", "exe_1"));
    let put = || balancer.put_route(&port, &handle, &ours);
    let unseen = put().await.unwrap_err();
    assert!(matches!(&unseen, PortError::Unavailable(text) if text.contains("DuplicateListener")), "{unseen}");
    edge.fake.advance(2_000);
    let seen = put().await.unwrap_err();
    assert!(matches!(&seen, PortError::Conflict(text) if text.contains("no tag of Landfall")), "{seen}");
}

#[tokio::test]
async fn a_priority_that_another_process_takes_meanwhile_is_looked_for_again() {
    let edge = edge(true).await;
    let balancer = edge.platform.load_balancer();
    let handle = balancer.put_target_group(&group("x-tg", "app-x")).await.unwrap().handle;
    let listener = edge.foreign_listener(80);
    edge.lag(1_000);
    edge.foreign_rule(&listener, 1);
    let (route, ours) = (host("x.example", 80), tags("app-x", "exe_1"));
    let unseen = balancer.put_route(&route, &handle, &ours).await.unwrap_err();
    assert!(matches!(&unseen, PortError::Unavailable(text) if text.contains("PriorityInUse")), "{unseen}");
    edge.fake.advance(2_000);
    let put = balancer.put_route(&route, &handle, &ours).await.unwrap();
    let rule = edge.fake.call(ELB, "DescribeRules", json!({"RuleArns": [put.handle]})).unwrap();
    assert_eq!(rule["Rules"][0]["Priority"], "2");
    assert_eq!(edge.there().2, 2);
}

#[tokio::test]
async fn what_is_full_says_which_limit() {
    let edge = edge(false).await;
    edge.fake.change_rules(|rules| {
        rules.limits.listeners_per_load_balancer = 2;
        rules.limits.rules_per_load_balancer = 2;
        rules.limits.target_groups_per_load_balancer = 2;
        rules.limits.target_groups = 3;
    });
    let balancer = edge.platform.load_balancer();
    let mut handles = Vec::new();
    for name in ["a", "b", "c"] {
        handles.push(balancer.put_target_group(&group(&format!("{name}-tg"), "app-x")).await.unwrap().handle);
    }
    let told = |result: PortResult<_>, begin: &str, part: &str| {
        let Err(PortError::Full(text)) = result.map(|_: landfall_ports::load_balancer::Put| ()) else {
            panic!("{part}")
        };
        assert!(text.starts_with(begin) && text.contains(part), "{text}");
    };
    let full = |result, part: &str| told(result, "load balancer main is full: ", part);
    let region = format!("region {} is full: ", landfall_awsfake::REGION);
    told(balancer.put_target_group(&group("d-tg", "app-x")).await, &region, "target groups per region");
    let ours = tags("app-x", "exe_1");
    let put = |name: &str, handle: usize| {
        let (balancer, ours, handle) = (&balancer, &ours, &handles[handle]);
        let route = host(&format!("{name}.example"), 80);
        async move { balancer.put_route(&route, handle, ours).await }
    };
    put("a", 0).await.unwrap();
    put("b", 1).await.unwrap();
    full(put("c", 0).await, "rules per load balancer");
    balancer.delete_route(&host("a.example", 80), "app-x").await.unwrap();
    // There is room again: what waited goes on.
    put("c", 0).await.unwrap();
    balancer.delete_route(&host("c.example", 80), "app-x").await.unwrap();
    put("c", 0).await.unwrap();
    edge.fake.change_rules(|rules| rules.limits.rules_per_load_balancer = 100);
    full(put("d", 2).await, "target groups per load balancer");
    balancer.put_route(&RouteTarget::Port { port: 8001 }, &handles[0], &ours).await.unwrap();
    full(
        balancer.put_route(&RouteTarget::Port { port: 8002 }, &handles[0], &ours).await,
        "listeners per load balancer",
    );
    assert_eq!(edge.there(), (3, 2, 2));
}

#[tokio::test]
async fn listings_go_to_the_last_page_and_know_when_they_are_not_complete() {
    let edge = edge(false).await;
    let balancer = edge.platform.load_balancer();
    for n in 0..410 {
        let input = json!({
            "Name": format!("other-{n:03}"), "Protocol": "HTTP", "Port": "80", "VpcId": "vpc-1",
            "Tags": [{"Key": "team", "Value": "other"}],
        });
        edge.fake.call(ELB, "CreateTargetGroup", input).unwrap();
    }
    // The last by name and by age.
    balancer.put_target_group(&group("zz-tg", "app-x")).await.unwrap();
    let list = || balancer.list_owned(Some("app-x"));
    let listing = list().await.unwrap();
    assert_eq!((listing.items.len(), listing.complete), (1, true));
    assert_eq!((listing.items[0].kind, listing.items[0].name.as_str()), (ResourceKind::TargetGroup, "zz-tg"));
    // Twenty at a time, and never again what has been seen.
    assert_eq!(edge.fake.count(ELB, "DescribeTags"), 21);
    list().await.unwrap();
    assert_eq!(edge.fake.count(ELB, "DescribeTags"), 21);

    let vanished = FaultError { code: "TargetGroupNotFound".to_owned(), message: "gone".to_owned(), status: 400 };
    balancer.put_target_group(&group("zy-tg", "app-x")).await.unwrap();
    let other = connect(&edge.target).await.load_balancer();
    edge.fake.fault(Fault { error: Some(vanished.clone()), ..on("DescribeTags") });
    let listing = other.list_owned(Some("app-x")).await.unwrap();
    assert_eq!((listing.items.len(), listing.complete), (2, true), "read again");
    edge.fake.fault(Fault { error: Some(vanished), times: None, ..on("DescribeTargetGroups") });
    let listing = other.list_owned(Some("app-x")).await.unwrap();
    assert_eq!((listing.items.len(), listing.complete), (0, false));
}

#[tokio::test]
async fn a_load_balancer_that_went_is_told_and_its_successor_is_found() {
    let edge = edge(false).await;
    let balancer = edge.platform.load_balancer();
    assert!(balancer.list_owned(None).await.unwrap().complete);
    edge.fake.call(ELB, "DeleteLoadBalancer", json!({"LoadBalancerArn": edge.balancer})).unwrap();
    let gone = balancer.list_owned(None).await.unwrap_err();
    assert!(matches!(&gone, PortError::NotFound(text) if text.contains("aws.test.load_balancer")), "{gone}");
    let input = json!({"Name": "main", "Subnets": ["subnet-1", "subnet-2"]});
    edge.fake.call(ELB, "CreateLoadBalancer", input).unwrap();
    assert!(balancer.list_owned(None).await.unwrap().complete);
}

#[tokio::test]
async fn denials_name_the_action_and_throttling_is_waited_out() {
    let edge = edge(false).await;
    let balancer = edge.platform.load_balancer();
    let throttled = FaultError { code: "Throttling".to_owned(), message: "Rate exceeded".to_owned(), status: 400 };
    edge.fake.fault(Fault { error: Some(throttled), times: Some(2), ..on("CreateTargetGroup") });
    let handle = balancer.put_target_group(&group("x-tg", "app-x")).await.unwrap().handle;
    assert_eq!(edge.fake.count(ELB, "CreateTargetGroup"), 3);
    let denied =
        FaultError { code: "AccessDenied".to_owned(), message: "User: x is not authorized".to_owned(), status: 403 };
    edge.fake.fault(Fault { error: Some(denied), ..on("CreateListener") });
    let error = balancer.put_route(&host("x.example", 80), &handle, &tags("app-x", "exe_1")).await.unwrap_err();
    let expected = "elasticloadbalancing:CreateListener on port 80 of load balancer main: AccessDenied";
    assert!(matches!(&error, PortError::Denied(text) if text.starts_with(expected)), "{error}");
}

#[tokio::test]
async fn the_health_of_targets_is_told_as_it_changes() {
    let edge = edge(true).await;
    let balancer = edge.platform.load_balancer();
    let request = EnsureTargetGroup { deregistration_delay: 30, ..group("x-tg", "app-x") };
    let handle = balancer.put_target_group(&request).await.unwrap().handle;
    let targets = json!({"TargetGroupArn": handle, "Targets": [{"Id": "10.0.0.7", "Port": 4567}]});
    edge.fake.call(ELB, "RegisterTargets", targets.clone()).unwrap();
    let health = || async { balancer.target_health(&handle).await.unwrap().into_iter().next() };
    let unused = health().await.unwrap();
    assert_eq!((unused.state, unused.target.as_str()), (TargetState::Unhealthy, "10.0.0.7:4567"));
    assert!(unused.reason.unwrap().starts_with("unused: "));
    balancer.put_route(&host("x.example", 80), &handle, &tags("app-x", "exe_1")).await.unwrap();
    edge.fake.call(ELB, "DeregisterTargets", targets.clone()).unwrap();
    edge.fake.advance(31_000);
    edge.fake.call(ELB, "RegisterTargets", targets.clone()).unwrap();
    assert_eq!(health().await.unwrap().state, TargetState::Initial);
    edge.fake.advance(300_000);
    assert_eq!(health().await.unwrap().state, TargetState::Healthy);
    edge.fake.script("POST", "target", &json!({"group": handle, "fault": "502"})).unwrap();
    edge.fake.advance(300_000);
    let bad = health().await.unwrap();
    assert_eq!(bad.state, TargetState::Unhealthy);
    assert!(bad.reason.as_ref().unwrap().contains("502"), "{bad:?}");
    edge.fake.call(ELB, "DeregisterTargets", targets).unwrap();
    assert_eq!(health().await.unwrap().state, TargetState::Draining);
    edge.fake.advance(31_000);
    assert_eq!(health().await, None);
}
