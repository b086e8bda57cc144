//! What is around the services of a stack: scaling, schedules, volumes, permissions, logs.

use landfall_model::cron::Cron;
use landfall_model::task::LaunchType;

use super::Whole;
use crate::check::{Checker, arn, shown_at};
use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::scalar::Text;
use crate::tree::At;

/// What CloudWatch Logs keeps
/// (<https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html>).
const RETENTIONS: [u32; 22] =
    [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1_096, 1_827, 2_192, 2_557, 2_922, 3_288, 3_653];
impl Checker<'_, '_> {
    pub(super) fn stack_scaling(&mut self, whole: &Whole<'_>, at: At<'_>) {
        for (service, scaling) in &whole.stack.scaling {
            let scaling_at = at.get("stack").get("scaling").get(service);
            if !self.runs_there(whole.manifest, whole.environment, service, scaling_at) {
                continue;
            }
            self.limits(scaling.min.unwrap_or(1), scaling.max, 5_000, scaling_at);
            self.number(scaling.cpu, scaling_at.get("cpu"), 1, 100);
            for (key, cooldown) in
                [("scale_in_cooldown", scaling.scale_in_cooldown), ("scale_out_cooldown", scaling.scale_out_cooldown)]
            {
                self.seconds(cooldown, scaling_at.get(key), 0, 3_600);
            }
            for (name, schedule) in &scaling.schedules {
                let at = scaling_at.get("schedules").get(name);
                self.name("schedule", name, 40, at);
                self.cron(&schedule.cron, schedule.time_zone.as_ref(), at);
                if schedule.min.is_none() && schedule.max.is_none() {
                    self.error(codes::MISSING, at, "a schedule that changes nothing", "give `min`, `max` or both");
                }
                if let (Some(min), Some(_)) = (schedule.min, schedule.max) {
                    self.limits(min, schedule.max, 5_000, at);
                }
            }
            if whole.environment.desired_count.contains_key(service) {
                let count_at = at.get("desired_count").get(service);
                self.idle(count_at.key_span(), "`desired_count`", "`scaling` says how many run");
            }
        }
    }

    pub(in crate::check) fn cron(&mut self, cron: &Text, time_zone: Option<&Text>, at: At<'_>) {
        let cron_at = at.get("cron");
        if cron_at.is_given()
            && let Err(rule) = Cron::parse(&cron.0)
        {
            self.error(codes::BAD_VALUE, cron_at, format!("{} is no time of `cron`", shown_at(cron_at)), rule);
        }
        if let Some(zone) = time_zone {
            let at = at.get("time_zone");
            let legal = |c: char| c.is_ascii_alphanumeric() || "/_+-".contains(c);
            let sound = zone.0 == "UTC"
                || zone.0.split_once('/').is_some_and(|(area, city)| !area.is_empty() && !city.is_empty());
            if !sound || !zone.0.chars().all(legal) {
                self.error(
                    codes::BAD_VALUE,
                    at,
                    format!("{} is no time zone", shown_at(at)),
                    "like `Europe/Berlin`, or `UTC`",
                );
            }
        }
    }

    pub(super) fn stack_volumes(&mut self, whole: &Whole<'_>, at: At<'_>) {
        for (name, volume) in &whole.stack.volumes {
            let at = at.get("volumes").get(name);
            self.name("volume", name, 40, at);
            self.identifier(volume.file_system.as_ref(), at.get("file_system"), "file system", |text| {
                arn::id(text, "fs")
            });
            let mounts_at = at.get("mounts");
            if mounts_at.is_given() && volume.mounts.is_empty() {
                self.error(codes::MISSING, mounts_at, "a volume that nobody mounts", "empty");
            }
            for (index, mount) in volume.mounts.iter().enumerate() {
                let at = mounts_at.item(index);
                self.container_there(whole.manifest, whole.environment, &mount.service, mount.container.as_ref(), at);
                let path_at = at.get("path");
                if path_at.is_given() && (!mount.path.starts_with('/') || mount.path.contains(char::is_whitespace)) {
                    self.error(
                        codes::PATH,
                        path_at,
                        format!("{} is no absolute path", shown_at(path_at)),
                        "begins with `/`",
                    );
                }
                let service = whole.manifest.services.get(&mount.service);
                if service.is_some_and(|service| service.launch_type == LaunchType::Ec2) {
                    let error = Diagnostic::error(codes::STACK, "volumes of a stack are for services on Fargate");
                    self.push(error.label(at.get("service").span(), "runs on EC2"));
                }
            }
        }
    }

    pub(super) fn stack_permissions(&mut self, whole: &Whole<'_>, at: At<'_>) {
        let all_at = at.get("permissions");
        for (service, permissions) in &whole.stack.permissions {
            let at = all_at.get(service);
            self.runs_there(whole.manifest, whole.environment, service, at);
            for (index, permission) in permissions.iter().enumerate() {
                let at = at.item(index);
                for (key, texts) in [("actions", &permission.actions), ("resources", &permission.resources)] {
                    let at = at.get(key);
                    if at.is_given() && texts.is_empty() {
                        self.error(codes::MISSING, at, format!("`{key}` is empty"), "empty");
                    }
                    for (index, text) in texts.iter().enumerate() {
                        let sound = match key {
                            "actions" => {
                                text.0.split_once(':').is_some_and(|(who, what)| !who.is_empty() && !what.is_empty())
                            }
                            _ => text.0 == "*" || text.0.starts_with("arn:"),
                        };
                        if !sound {
                            let rule = if key == "actions" { "like `s3:GetObject`" } else { "an ARN, or `*`" };
                            let at = at.item(index);
                            self.error(codes::AWS_ID, at, format!("{} cannot be granted", shown_at(at)), rule);
                        }
                    }
                }
            }
        }
        if whole.target.is_some_and(|target| target.task_role.is_some()) && all_at.is_given() {
            self.idle(all_at.key_span(), "`permissions`", "the target's `task_role` is used as it is");
        }
    }

    pub(super) fn stack_logs(&mut self, whole: &Whole<'_>, at: At<'_>) {
        let at = at.get("log_retention");
        let Some(days) = whole.stack.log_retention else { return };
        if !RETENTIONS.contains(&days) {
            let next = RETENTIONS.iter().find(|known| **known > days).map(|next| format!("use {next}"));
            let error = Diagnostic::error(codes::OUT_OF_RANGE, format!("CloudWatch keeps no logs for {days} days"))
                .label(at.span(), "one of 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400 …")
                .maybe_help(next);
            self.push(error);
        } else if whole.target.is_some_and(|target| target.log_group.is_some()) {
            self.idle(at.key_span(), "`log_retention`", "the target's `log_group` is used as it is");
        }
    }
}
