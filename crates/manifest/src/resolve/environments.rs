//! Lasting environments, authored → resolved.

use std::collections::{BTreeMap, BTreeSet};

use landfall_model::app::LongLivedEnvironment;
use landfall_model::cron::Schedule;
use landfall_model::step::RouteTarget;

use super::{aws, defaults, stack, texts, verify};
use crate::authored::{self, EnvironmentRouting};
use crate::tree::At;

/// `services`: all of the manifest, in its order. `certified`: places on AWS with a certificate.
pub(super) fn environment(
    name: String,
    environment: authored::Environment,
    project: &str,
    services: &[String],
    certified: &BTreeSet<String>,
    defined: &BTreeMap<String, authored::Service>,
    at: At<'_>,
) -> LongLivedEnvironment {
    let on = aws::text(environment.on);
    // There the stack makes a certificate.
    let in_zone = environment.stack.as_ref().is_some_and(|stack| stack.zone.is_some());
    let usual_port = match &on {
        None => defaults::PORT,
        Some(on) if certified.contains(on) || in_zone => 443,
        Some(_) => 80,
    };
    let routing = match environment.routing {
        Some(EnvironmentRouting::Host(host)) => Some(RouteTarget::Host {
            host: host.name.trim_end_matches('.').to_ascii_lowercase(),
            port: host.port.map_or(usual_port, |port| port.0),
        }),
        Some(EnvironmentRouting::Port(port)) => Some(RouteTarget::Port { port: port.0 }),
        None if on.is_none() => {
            Some(RouteTarget::Host { host: format!("{name}.{project}.localhost"), port: defaults::PORT })
        }
        None => None,
    };
    let stack = environment.stack.map(|one| stack::stack(one, &name, defined));
    LongLivedEnvironment {
        name,
        on,
        services: environment.services.unwrap_or_else(|| services.to_vec()),
        variables: texts(environment.variables),
        names: texts(environment.names),
        routing,
        target_groups: texts(environment.target_groups),
        desired_count: environment.desired_count,
        verify: environment.verify.map(|one| verify::verify(one, at.get("verify"))),
        schedules: environment.schedules.into_iter().map(|(name, one)| (name, schedule(one, defined))).collect(),
        stack,
    }
}

fn schedule(one: authored::Schedule, defined: &BTreeMap<String, authored::Service>) -> Schedule {
    Schedule {
        container: stack::container(defined, &one.service, one.container),
        service: one.service,
        command: one.command.into_iter().map(|text| text.0).collect(),
        cron: one.cron.0,
        time_zone: aws::text(one.time_zone),
    }
}
