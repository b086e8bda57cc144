//! One account in one region: its resources and the queue of what happens next.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use serde_json::Value;

use super::cloudformation::CloudFormation;
use super::ecs::Ecs;
use super::elb::Elb;
use super::error::{Answer, AwsError};
use super::fleets::Fleets;
use super::ids::Ids;
use super::others::Others;
use super::rules::{ImageRule, Rules};
use super::{Caller, Millis};

/// Something that happens by itself. An event whose generation is not the thing's own any more is stale and ignored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// A service's scheduler looks.
    Service {
        arn: String,
        generation: u64,
    },
    /// A task goes on to its next state.
    Task {
        id: String,
        generation: u64,
    },
    /// A container of a running task does what its image does.
    Container {
        task: String,
        step: ContainerStep,
    },
    /// A health check of a target, or the end of its draining.
    Target {
        group: String,
        id: String,
        port: u64,
        generation: u64,
    },
    /// A stopped task or an INACTIVE service is forgotten.
    ForgetTask {
        id: String,
    },
    ForgetService {
        arn: String,
    },
    LoadBalancer {
        arn: String,
    },
    /// The next thing happens to a stack.
    Stack {
        name: String,
        generation: u64,
    },
    /// The agent of an instance registers it.
    Instance {
        id: String,
    },
    /// An instance that was terminated is gone.
    Ended {
        id: String,
    },
    /// Auto Scaling tries again to launch what is missing.
    Group {
        name: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ContainerStep {
    Exit,
    Healthy,
    Unhealthy,
    Settled,
}

#[derive(Debug, Clone)]
pub struct Space {
    pub account: String,
    pub region: String,
    pub now: Millis,
    pub rules: Arc<Rules>,
    pub ids: Ids,
    pub ecs: Ecs,
    pub elb: Elb,
    pub others: Others,
    pub cloudformation: CloudFormation,
    pub fleets: Fleets,
    queue: BinaryHeap<Reverse<(Millis, u64, Event)>>,
    sequence: u64,
    /// How often a rule with `times` was used, by its place.
    spent: BTreeMap<usize, u32>,
}

impl Space {
    pub fn new(account: &str, region: &str, rules: Arc<Rules>, now: Millis) -> Self {
        Self {
            account: account.to_owned(),
            region: region.to_owned(),
            now,
            rules,
            ids: Ids::new(&format!("{account}/{region}")),
            ecs: Ecs::default(),
            elb: Elb::default(),
            others: Others::default(),
            cloudformation: CloudFormation::default(),
            fleets: Fleets::default(),
            queue: BinaryHeap::new(),
            sequence: 0,
            spent: BTreeMap::new(),
        }
    }

    pub fn at(&mut self, when: Millis, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse((when.max(self.now), self.sequence, event)));
    }

    pub fn next_event(&self) -> Option<Millis> {
        self.queue.peek().map(|Reverse((when, ..))| *when)
    }

    /// Events in order of time; each sees the time at which it happens, so nothing depends on how often anybody looks.
    pub fn run_until(&mut self, to: Millis) {
        while let Some(Reverse((when, ..))) = self.queue.peek() {
            if *when > to {
                break;
            }
            let Some(Reverse((when, _, event))) = self.queue.pop() else { break };
            self.now = when;
            match event {
                Event::Service { arn, generation } => self.service_event(&arn, generation),
                Event::Task { id, generation } => self.task_event(&id, generation),
                Event::Container { task, step } => self.container_event(&task, step),
                Event::Target { group, id, port, generation } => self.target_event(&group, &id, port, generation),
                Event::ForgetTask { id } => self.forget_task(&id),
                Event::ForgetService { arn } => self.forget_service(&arn),
                Event::LoadBalancer { arn } => self.load_balancer_event(&arn),
                Event::Stack { name, generation } => self.stack_event(&name, generation),
                Event::Instance { id } => self.instance_event(&id),
                Event::Ended { id } => self.ended_event(&id),
                Event::Group { name } => self.group_event(&name),
            }
        }
        self.now = self.now.max(to);
    }

    pub fn call(&mut self, caller: &Caller, service: &str, operation: &str, input: &Value) -> Answer {
        match service {
            "ecs" => self.ecs_call(caller, operation, input),
            "elasticloadbalancing" => self.elb_call(operation, input),
            "sts" => self.sts_call(caller, operation, input),
            "ssm" => self.ssm_call(operation, input),
            "secretsmanager" => self.secrets_call(operation, input),
            "logs" => self.logs_call(operation, input),
            "ecr" => self.ecr_call(operation, input),
            "sns" => self.sns_call(operation, input),
            "lambda" => self.lambda_call(operation, input),
            "monitoring" => self.alarms_call(operation, input),
            "iam" => self.iam_call(operation, input),
            "cloudformation" => self.cloudformation_call(operation, input),
            "autoscaling" => self.autoscaling_call(operation, input),
            "ec2" => self.ec2_call(operation, input),
            "tagging" => self.tagging_call(operation, input),
            _ => Err(AwsError::unknown_operation(service, operation)),
        }
    }

    /// `arn:aws:SERVICE:REGION:ACCOUNT:REST`
    pub fn arn(&self, service: &str, rest: &str) -> String {
        format!("arn:aws:{service}:{}:{}:{rest}", self.region, self.account)
    }

    /// The rule for an image, counted where it holds only so many times.
    pub fn image_rule(&mut self, image: &str) -> ImageRule {
        let rules = Arc::clone(&self.rules);
        for (place, rule) in rules.images.iter().enumerate().rev() {
            if !image.contains(&rule.image) {
                continue;
            }
            let used = self.spent.entry(place).or_default();
            if rule.times.is_some_and(|times| *used >= times) {
                continue;
            }
            *used += 1;
            return rule.clone();
        }
        ImageRule::default()
    }
}
