//! One-off tasks at times: EventBridge Scheduler starts the service's own task definition, with another command where one is given.

use std::collections::BTreeMap;

use landfall_model::cron::Cron;
use serde::Serialize;

use super::Build;
use super::cluster::Cluster;
use super::service::{Made, launch_type};
use crate::expr::{Expr, Id};
use crate::policy::Statement;
use crate::resources::Properties;
use crate::resources::around::{
    EcsParameters, Retries, Schedule, ScheduleCapacity, ScheduleNetwork, ScheduleTarget, TimeWindow,
};

/// A task that could not be started is tried again this often, over a minute or more.
const RETRIES: u32 = 3;
/// Characters of a schedule's name; a longer one gets whatever CloudFormation gives it.
const NAME: usize = 64;

/// RunTask's overrides, which Scheduler passes on.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Overrides<'a> {
    container_overrides: [ContainerOverride<'a>; 1],
}

#[derive(Serialize)]
struct ContainerOverride<'a> {
    name: &'a str,
    command: &'a [String],
}

impl Build<'_> {
    pub(super) fn schedules(&mut self, cluster: &Cluster, made: &BTreeMap<&str, Made>) {
        for (name, schedule) in &self.environment.schedules {
            let (Some(made), Ok(cron)) = (made.get(schedule.service.as_str()), Cron::parse(&schedule.cron)) else {
                continue;
            };
            let full = format!("{}-{name}", self.prefix());
            let mut rights =
                vec![Statement::allow("StartTask", &["ecs:RunTask"], [Expr::from(&made.definition)]).when(
                    "ArnEquals",
                    "ecs:cluster",
                    cluster.arn.clone(),
                )];
            let roles: Vec<Expr> = made.roles.execution.iter().chain(&made.roles.task).cloned().collect();
            if !roles.is_empty() {
                let pass = Statement::allow("GiveTaskItsRoles", &["iam:PassRole"], roles);
                rights.push(pass.when("StringEquals", "iam:PassedToService", Expr::text("ecs-tasks.amazonaws.com")));
            }
            let role = self.role(&[name, "ScheduleRole"], "scheduler", format!("Schedule {full}"), rights);
            let overrides = Overrides {
                container_overrides: [ContainerOverride { name: &schedule.container, command: &schedule.command }],
            };
            let input = (!schedule.command.is_empty()).then(|| serde_json::to_string(&overrides).unwrap_or_default());
            let capacity = cluster.capacity.as_ref().filter(|_| made.awsvpc.is_none());
            let parameters = EcsParameters {
                task_definition_arn: Expr::from(&made.definition),
                task_count: 1,
                launch_type: capacity.is_none().then(|| launch_type(made.launch_type)),
                capacity_provider_strategy: capacity
                    .map(|capacity| ScheduleCapacity { capacity_provider: Expr::from(&capacity.provider), weight: 1 })
                    .into_iter()
                    .collect(),
                network_configuration: made
                    .awsvpc
                    .clone()
                    .map(|awsvpc_configuration| ScheduleNetwork { awsvpc_configuration }),
            };
            let properties = Schedule {
                name: (full.len() <= NAME).then_some(full),
                description: format!("{} of service {}", name, schedule.service),
                schedule_expression: cron.for_aws(),
                schedule_expression_timezone: schedule.time_zone.clone().unwrap_or_else(|| "UTC".to_owned()),
                flexible_time_window: TimeWindow { mode: "OFF" },
                target: ScheduleTarget {
                    arn: cluster.arn.clone(),
                    role_arn: role,
                    ecs_parameters: parameters,
                    input,
                    retry_policy: Retries { maximum_retry_attempts: RETRIES },
                },
            };
            self.draft.add(Id::of(&[name, "Schedule"]), Properties::Schedule(properties));
        }
    }
}
