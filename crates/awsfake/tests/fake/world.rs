//! A world with a cluster, a load balancer and a service's parts, in the fewest words.

use landfall_awsfake::world::{Caller, Millis, World};
use landfall_awsfake::{ImageRule, Rules};
use serde_json::{Value, json};

pub(crate) const SECOND: Millis = 1_000;

pub(crate) struct Aws {
    pub(crate) world: World,
    pub(crate) now: Millis,
    caller: Caller,
}

impl Aws {
    pub(crate) fn new(rules: Rules) -> Self {
        let caller = Caller {
            account: "123456789012".to_owned(),
            region: "eu-central-1".to_owned(),
            arn: "arn:aws:iam::123456789012:user/test".to_owned(),
        };
        let now = 1_700_000_000_000;
        let mut aws = Self { world: World::new(rules, now), now, caller };
        aws.ecs("CreateCluster", json!({"clusterName": "c"}));
        aws
    }

    pub(crate) fn with_images(images: Vec<ImageRule>) -> Self {
        Self::new(Rules { images, ..Rules::default() })
    }

    pub(crate) fn attempt(&mut self, service: &str, operation: &str, input: &Value) -> Result<Value, String> {
        let caller = self.caller.clone();
        self.world.call(self.now, &caller, service, operation, input).map_err(|error| error.code)
    }

    pub(crate) fn ecs(&mut self, operation: &str, input: Value) -> Value {
        self.attempt("ecs", operation, &input).unwrap_or_else(|code| panic!("{operation}: {code}"))
    }

    pub(crate) fn elb(&mut self, operation: &str, input: Value) -> Value {
        self.attempt("elasticloadbalancing", operation, &input).unwrap_or_else(|code| panic!("{operation}: {code}"))
    }

    pub(crate) fn pass(&mut self, by: Millis) {
        self.now += by;
        self.world.advance(self.now);
    }

    /// To the next thing that happens by itself, at most a minute ahead.
    pub(crate) fn step(&mut self) {
        let next = self.world.next_event().unwrap_or(u64::MAX).clamp(self.now + 1, self.now + 60 * SECOND);
        self.pass(next - self.now);
    }

    /// Registers a revision of `family` with this image and returns its ARN.
    pub(crate) fn register(&mut self, family: &str, image: &str, container: Value) -> String {
        let mut own = json!({"name": "web", "image": image, "memory": 64, "portMappings": [{"containerPort": 80}]});
        for (key, value) in container.as_object().into_iter().flatten() {
            own[key] = value.clone();
        }
        let input = json!({
            "family": family, "networkMode": "awsvpc", "cpu": "256", "memory": "512",
            "requiresCompatibilities": ["FARGATE"], "containerDefinitions": [own],
        });
        let answer = self.ecs("RegisterTaskDefinition", input);
        answer["taskDefinition"]["taskDefinitionArn"].as_str().unwrap().to_owned()
    }

    pub(crate) fn create(&mut self, name: &str, definition: &str, desired: u64, more: Value) -> Value {
        let mut input = json!({
            "cluster": "c", "serviceName": name, "taskDefinition": definition, "desiredCount": desired,
            "launchType": "FARGATE", "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}},
            "deploymentConfiguration": {"deploymentCircuitBreaker": {"enable": true, "rollback": true}},
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            input[key] = value.clone();
        }
        self.ecs("CreateService", input)["service"].clone()
    }

    pub(crate) fn update(&mut self, name: &str, more: Value) -> Value {
        let mut input = json!({"cluster": "c", "service": name});
        for (key, value) in more.as_object().into_iter().flatten() {
            input[key] = value.clone();
        }
        self.ecs("UpdateService", input)["service"].clone()
    }

    pub(crate) fn service(&mut self, name: &str) -> Value {
        self.ecs("DescribeServices", json!({"cluster": "c", "services": [name]}))["services"][0].clone()
    }

    /// The newest service deployment.
    pub(crate) fn rollout(&mut self, name: &str) -> Value {
        let list = self.ecs("ListServiceDeployments", json!({"cluster": "c", "service": name}));
        let arn = list["serviceDeployments"][0]["serviceDeploymentArn"].clone();
        self.ecs("DescribeServiceDeployments", json!({"serviceDeploymentArns": [arn]}))["serviceDeployments"][0].clone()
    }

    /// Lets time pass until the newest service deployment is over; returns it.
    pub(crate) fn finish(&mut self, name: &str) -> Value {
        for _ in 0..5_000 {
            let rollout = self.rollout(name);
            if ["SUCCESSFUL", "STOPPED", "ROLLBACK_SUCCESSFUL", "ROLLBACK_FAILED"].contains(&word(&rollout["status"])) {
                return rollout;
            }
            self.step();
        }
        panic!("the deployment of {name} does not end: {}", self.rollout(name));
    }

    pub(crate) fn events(&mut self, name: &str) -> Vec<String> {
        let events = self.service(name)["events"].as_array().unwrap().clone();
        events.iter().rev().map(|event| word(&event["message"]).to_owned()).collect()
    }

    /// A load balancer with a listener on port 80 that forwards to a new group of IP targets; the group's ARN.
    pub(crate) fn group(&mut self, name: &str, delay: u64) -> String {
        let balancer = self.elb("CreateLoadBalancer", json!({"Name": "lb", "Subnets": ["a", "b"]}));
        let balancer = balancer["LoadBalancers"][0]["LoadBalancerArn"].clone();
        let group = json!({
            "Name": name, "Protocol": "HTTP", "Port": "80", "VpcId": "vpc-1", "TargetType": "ip",
            "HealthCheckIntervalSeconds": "10", "UnhealthyThresholdCount": "2",
        });
        let group = self.elb("CreateTargetGroup", group)["TargetGroups"][0]["TargetGroupArn"].clone();
        let attributes = json!([{"Key": "deregistration_delay.timeout_seconds", "Value": delay.to_string()}]);
        self.elb("ModifyTargetGroupAttributes", json!({"TargetGroupArn": group, "Attributes": attributes}));
        let listeners = self.elb("DescribeListeners", json!({"LoadBalancerArn": balancer}));
        let port = 80 + listeners["Listeners"].as_array().unwrap().len();
        let action = json!([{"Type": "forward", "TargetGroupArn": group}]);
        let listener = json!({"LoadBalancerArn": balancer, "Port": port.to_string(), "Protocol": "HTTP", "DefaultActions": action});
        self.elb("CreateListener", listener);
        word(&group).to_owned()
    }

    pub(crate) fn health(&mut self, group: &str) -> Vec<(String, String)> {
        let health = self.elb("DescribeTargetHealth", json!({"TargetGroupArn": group}));
        let rows = health["TargetHealthDescriptions"].as_array().unwrap().clone();
        let own = |row: &Value, key: &str| row["TargetHealth"][key].as_str().unwrap_or_default().to_owned();
        rows.iter().map(|row| (own(row, "State"), own(row, "Reason"))).collect()
    }
}

pub(crate) fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// `loadBalancers` of a service whose container `web` listens on 80.
pub(crate) fn behind(group: &str) -> Value {
    json!({"loadBalancers": [{"targetGroupArn": group, "containerName": "web", "containerPort": 80}]})
}
