//! Application Auto Scaling of a service: near a percentage of CPU, and between limits that may change by the time of day.

use landfall_model::cron::Cron;

use super::Build;
use super::cluster::Cluster;
use crate::expr::{Expr, Id};
use crate::resources::Properties;
use crate::resources::around::{Capacity, Metric, ScalableTarget, ScalingPolicy, ScheduledAction, TargetTracking};

impl Build<'_> {
    pub(super) fn scaling(&mut self, service: &str, id: &Id, cluster: &Cluster) {
        let stack = self.stack;
        let Some(scaling) = stack.scaling.get(service) else { return };
        let scheduled = scaling.schedules.iter().filter_map(|(name, schedule)| {
            Some(ScheduledAction {
                scheduled_action_name: name.clone(),
                schedule: Cron::parse(&schedule.cron).ok()?.for_aws(),
                timezone: schedule.time_zone.clone(),
                scalable_target_action: Capacity { min_capacity: schedule.min, max_capacity: schedule.max },
            })
        });
        let target = ScalableTarget {
            service_namespace: "ecs",
            scalable_dimension: "ecs:service:DesiredCount",
            resource_id: Expr::sub(format!("service/{}/${{{id}.Name}}", cluster.name.within())),
            min_capacity: scaling.min,
            max_capacity: scaling.max,
            scheduled_actions: scheduled.collect(),
        };
        let target = self.draft.add(Id::of(&[service, "ScalableTarget"]), Properties::ScalableTarget(target));
        let policy = ScalingPolicy {
            policy_name: format!("{} cpu", self.full_name(service)),
            policy_type: "TargetTrackingScaling",
            scaling_target_id: Expr::from(&target),
            target_tracking_scaling_policy_configuration: TargetTracking {
                predefined_metric_specification: Metric { predefined_metric_type: "ECSServiceAverageCPUUtilization" },
                target_value: scaling.cpu,
                scale_in_cooldown: scaling.scale_in_cooldown,
                scale_out_cooldown: scaling.scale_out_cooldown,
            },
        };
        self.draft.add(Id::of(&[service, "CpuScaling"]), Properties::ScalingPolicy(policy));
    }
}
