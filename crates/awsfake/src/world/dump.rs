//! Everything in a space, for assertions: what leaked, what was doubled, when things really ended.

use serde_json::{Value, json};

use super::space::Space;

impl Space {
    pub fn dump(&self) -> Value {
        let services: Vec<Value> = (self.ecs.services.values())
            .map(|service| {
                let rollouts: Vec<Value> = (service.rollouts.iter())
                    .map(|own| {
                        json!({
                            "arn": own.arn, "status": own.status.word(), "reason": own.reason, "created": own.created,
                            "started": own.started, "finished": own.finished, "failures": own.failures,
                        })
                    })
                    .collect();
                let mut view = self.service_view(service, true);
                view["rollouts"] = rollouts.into();
                view
            })
            .collect();
        let tasks: Vec<Value> = self.ecs.tasks.values().map(|task| self.task_view(task, true)).collect();
        let definitions: Vec<Value> = self.ecs.families.values().flatten().map(|own| own.view()).collect();
        let clusters: Vec<&String> =
            self.ecs.clusters.iter().filter(|(_, own)| own.active).map(|(name, _)| name).collect();
        let rules: Vec<Value> = (self.elb.rules.values())
            .map(|own| {
                json!({
                    "arn": own.arn, "listener": own.listener, "priority": own.priority, "conditions": own.conditions,
                    "target_groups": own.targets(), "tags": self.elb.tags.get(&own.arn),
                })
            })
            .collect();
        let listeners: Vec<Value> = (self.elb.listeners.values())
            .map(|own| json!({"arn": own.arn, "load_balancer": own.balancer, "port": own.port, "tags": self.elb.tags.get(&own.arn)}))
            .collect();
        let groups: Vec<Value> = (self.elb.target_groups.values())
            .map(|own| {
                let targets: Vec<Value> = (own.targets.iter())
                    .map(|target| json!({"id": target.id, "port": target.port, "state": target.state.word()}))
                    .collect();
                json!({"arn": own.arn, "name": own.name, "targets": targets, "tags": self.elb.tags.get(&own.arn)})
            })
            .collect();
        let balancers: Vec<Value> = (self.elb.load_balancers.values())
            .map(|own| json!({"arn": own.arn, "name": own.name, "dns": own.dns, "tags": self.elb.tags.get(&own.arn)}))
            .collect();
        let stacks: Vec<Value> = (self.cloudformation.stacks.values())
            .map(|own| {
                json!({
                    "name": own.name, "status": own.status, "parameters": own.parameters, "protected": own.protected,
                    "resources": own.resources.keys().collect::<Vec<_>>(),
                    "change_sets": own.change_sets.keys().collect::<Vec<_>>(),
                })
            })
            .collect();
        let instances: Vec<Value> = (self.fleets.instances.values())
            .map(|own| {
                let registered = own.registered.as_ref();
                json!({
                    "id": own.id, "group": own.group, "ending": own.ending, "arn": registered.map(|own| &own.arn),
                    "attributes": registered.map(|own| &own.attributes),
                    "draining": registered.is_some_and(|own| own.draining),
                })
            })
            .collect();
        let fleets: Vec<Value> = (self.fleets.groups.values())
            .map(|own| {
                let activities = own.activities.iter();
                json!({
                    "name": own.name, "stack": own.stack, "min": own.least, "max": own.most, "desired": own.desired,
                    "suspended": own.suspended.keys().collect::<Vec<_>>(), "tags": own.tags,
                    "launched": activities.filter(|one| one.launched.is_ok()).count(),
                })
            })
            .collect();
        json!({
            "instances": instances,
            "auto_scaling_groups": fleets,
            "stacks": stacks,
            "clusters": clusters,
            "services": services,
            "tasks": tasks,
            "task_definitions": definitions,
            "load_balancers": balancers,
            "target_groups": groups,
            "listeners": listeners,
            "rules": rules,
            "metrics": self.others.metrics,
            "published": self.others.published,
            "invocations": self.others.invocations,
            "parameters": self.others.parameters.keys().collect::<Vec<_>>(),
            "secrets": self.others.secrets.keys().collect::<Vec<_>>(),
        })
    }
}
