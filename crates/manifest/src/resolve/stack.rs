//! The stack of an environment, authored → resolved.

use std::collections::BTreeMap;

use landfall_model::stack::{
    Cluster, Instances, Mount, Network, Permission, Rule, Scaling, ScalingSchedule, Stack, Volume,
};

use super::aws::text;
use super::{list, secs};
use crate::authored::{self, StackCluster, StackNetwork};

const BLOCK: &str = "10.0.0.0/16";
const LOG_RETENTION: u32 = 30;
const CPU: u32 = 50;
const COOLDOWN: u32 = 60;

/// The container that is meant: the one given, else the service's usual one.
pub(super) fn container(
    services: &BTreeMap<String, authored::Service>,
    service: &str,
    given: Option<String>,
) -> String {
    given.or_else(|| usual_container(services.get(service)?).map(str::to_owned)).unwrap_or_default()
}

/// Of this environment. `services`: all of the manifest, for containers that are not named.
pub(super) fn stack(
    stack: authored::Stack,
    environment: &str,
    services: &BTreeMap<String, authored::Service>,
) -> Stack {
    let network = match stack.network {
        Some(StackNetwork::Existing(existing)) => {
            Network::Existing { load_balancer_subnets: list(existing.load_balancer_subnets) }
        }
        Some(StackNetwork::New(new)) => self::network(new),
        None => self::network(authored::NewNetwork::default()),
    };
    let cluster = match stack.cluster {
        Some(StackCluster::Existing(_)) => Cluster::Existing,
        Some(StackCluster::New(new)) => Cluster::New {
            instances: new.instances.map(|all| Instances {
                kind: all.r#type.0,
                min: all.min.unwrap_or_default(),
                max: all.max.unwrap_or(1),
            }),
        },
        None => Cluster::New { instances: None },
    };
    let mount = |mount: authored::StackMount| Mount {
        container: container(services, &mount.service, mount.container),
        service: mount.service,
        path: mount.path,
        read_only: mount.read_only,
    };
    let volumes = stack.volumes.into_iter().map(|(name, volume)| {
        let mounts = volume.mounts.into_iter().map(mount).collect();
        (name, Volume { file_system: text(volume.file_system), mounts })
    });
    let rules = stack.rules.into_iter().map(|(service, rule)| {
        let hosts = list(rule.hosts).iter().map(|host| host.trim_end_matches('.').to_ascii_lowercase()).collect();
        (service, Rule { hosts, paths: list(rule.paths), priority: rule.priority })
    });
    let permission =
        |one: authored::StackPermission| Permission { actions: list(one.actions), resources: list(one.resources) };
    let permissions =
        stack.permissions.into_iter().map(|(service, all)| (service, all.into_iter().map(permission).collect()));
    Stack {
        network,
        cluster,
        internal: stack.internal,
        zone: text(stack.zone),
        rules: rules.collect(),
        scaling: stack.scaling.into_iter().map(|(service, one)| (service, scaling(one))).collect(),
        volumes: volumes.collect(),
        permissions: permissions.collect(),
        log_retention: stack.log_retention.unwrap_or(LOG_RETENTION),
        role: text(stack.role),
        termination_protection: stack.termination_protection.unwrap_or_else(|| environment.starts_with("prod")),
        template_bucket: text(stack.template_bucket).map(|place| place.trim_end_matches('/').to_owned()),
    }
}

fn network(new: authored::NewNetwork) -> Network {
    Network::New { cidr: new.cidr.unwrap_or_else(|| BLOCK.to_owned()), nat: new.nat.unwrap_or_default() }
}

fn scaling(one: authored::StackScaling) -> Scaling {
    let min = one.min.unwrap_or(1);
    let schedule = |one: authored::StackScalingSchedule| ScalingSchedule {
        cron: one.cron.0,
        time_zone: text(one.time_zone),
        min: one.min,
        max: one.max,
    };
    Scaling {
        min,
        max: one.max.unwrap_or(min),
        cpu: one.cpu.unwrap_or(CPU),
        scale_in_cooldown: secs(one.scale_in_cooldown, COOLDOWN),
        scale_out_cooldown: secs(one.scale_out_cooldown, COOLDOWN),
        schedules: one.schedules.into_iter().map(|(name, one)| (name, schedule(one))).collect(),
    }
}

/// The service's only container, or the one behind the load balancer.
pub(crate) fn usual_container(service: &authored::Service) -> Option<&str> {
    let mut all = service.containers.keys();
    let only = all.next().filter(|_| all.next().is_none());
    if let Some(only) = only {
        return Some(only);
    }
    let (name, _) = super::binding(service)?;
    service.containers.keys().find(|own| **own == name).map(String::as_str)
}
