//! Target groups as Elastic Load Balancing takes them. Pure: settings there and back, what an update changes, and AWS's
//! limits on health checks (API reference of CreateTargetGroup, for Application Load Balancers).

use aws_sdk_elasticloadbalancingv2::types::{ProtocolEnum, TargetGroup, TargetGroupAttribute, TargetTypeEnum};
use landfall_model::app::{BalancingAlgorithm, HealthCheckProtocol, TargetHealthCheck};
use landfall_model::step::EnsureTargetGroup;
use landfall_model::task::LaunchType;
use landfall_ports::load_balancer::TargetGroupSettings;
use landfall_ports::{PortError, PortResult};

const DELAY: &str = "deregistration_delay.timeout_seconds";
const ALGORITHM: &str = "load_balancing.algorithm.type";
const TRAFFIC_PORT: &str = "traffic-port";

/// A health check in ELB's units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Check {
    pub protocol: ProtocolEnum,
    pub port: String,
    pub path: String,
    /// Seconds.
    pub interval: i32,
    /// Seconds.
    pub timeout: i32,
    pub healthy: i32,
    pub unhealthy: i32,
    pub matcher: String,
}

impl Check {
    /// # Errors
    /// What ELB would refuse, by the manifest's name for it.
    pub(crate) fn new(check: &TargetHealthCheck) -> PortResult<Self> {
        let interval = whole_seconds("interval", check.interval_ms, 5, 300)?;
        let timeout = whole_seconds("timeout", check.timeout_ms, 2, 120)?;
        if timeout >= interval {
            return Err(illegal(format!("timeout ({timeout} s) must be shorter than interval ({interval} s)")));
        }
        if !check.path.starts_with('/') || check.path.len() > 1024 {
            return Err(illegal(format!("path {:?} must begin with / and have at most 1024 characters", check.path)));
        }
        matcher(&check.matcher)?;
        Ok(Self {
            protocol: match check.protocol {
                HealthCheckProtocol::Http => ProtocolEnum::Http,
                HealthCheckProtocol::Https => ProtocolEnum::Https,
            },
            port: check.port.map_or_else(|| TRAFFIC_PORT.to_owned(), |port| port.to_string()),
            path: check.path.clone(),
            interval,
            timeout,
            healthy: within("healthy threshold", check.healthy_threshold, 2, 10)?,
            unhealthy: within("unhealthy threshold", check.unhealthy_threshold, 2, 10)?,
            matcher: check.matcher.clone(),
        })
    }

    /// As a described group has it.
    pub(crate) fn of(group: &TargetGroup) -> Self {
        let matcher = group.matcher.as_ref().and_then(|matcher| matcher.http_code.clone());
        Self {
            protocol: group.health_check_protocol.clone().unwrap_or(ProtocolEnum::Http),
            port: group.health_check_port.clone().unwrap_or_else(|| TRAFFIC_PORT.to_owned()),
            path: group.health_check_path.clone().unwrap_or_else(|| "/".to_owned()),
            interval: group.health_check_interval_seconds.unwrap_or_default(),
            timeout: group.health_check_timeout_seconds.unwrap_or_default(),
            healthy: group.healthy_threshold_count.unwrap_or_default(),
            unhealthy: group.unhealthy_threshold_count.unwrap_or_default(),
            matcher: matcher.unwrap_or_else(|| "200".to_owned()),
        }
    }

    fn settings(&self) -> TargetHealthCheck {
        let count = |value: i32| u32::try_from(value).unwrap_or_default();
        TargetHealthCheck {
            protocol: match self.protocol {
                ProtocolEnum::Https => HealthCheckProtocol::Https,
                _ => HealthCheckProtocol::Http,
            },
            path: self.path.clone(),
            port: self.port.parse().ok(),
            interval_ms: count(self.interval).saturating_mul(1000),
            timeout_ms: count(self.timeout).saturating_mul(1000),
            healthy_threshold: count(self.healthy),
            unhealthy_threshold: count(self.unhealthy),
            matcher: self.matcher.clone(),
        }
    }
}

fn illegal(what: String) -> PortError {
    PortError::Invalid(format!("health_check: {what} (Elastic Load Balancing's limit)"))
}

fn whole_seconds(name: &str, ms: u32, least: i32, most: i32) -> PortResult<i32> {
    if !ms.is_multiple_of(1000) {
        return Err(illegal(format!("{name} {ms} ms must be whole seconds")));
    }
    within(&format!("{name} in seconds"), ms / 1000, least, most)
}

fn within(name: &str, value: u32, least: i32, most: i32) -> PortResult<i32> {
    let legal = i32::try_from(value).ok().filter(|value| (least..=most).contains(value));
    legal.ok_or_else(|| illegal(format!("{name} is {value} and must be {least} to {most}")))
}

/// `200`, `200,202`, `200-299` or a mix, of 200 to 499.
fn matcher(text: &str) -> PortResult<()> {
    let code = |part: &str| part.trim().parse::<u16>().ok().filter(|code| (200..=499).contains(code));
    let legal = |part: &str| match part.split_once('-') {
        Some((first, last)) => code(first).zip(code(last)).is_some_and(|(first, last)| first <= last),
        None => code(part).is_some(),
    };
    if text.split(',').all(legal) {
        return Ok(());
    }
    Err(illegal(format!("matcher {text:?} must be status codes from 200 to 499")))
}

/// Tasks in awsvpc mode, always so on Fargate, are targets by their own address; else a target is an instance and the port that
/// it gave the container. `base_awsvpc`: the task definition that theirs is laid over is in that mode.
pub(crate) fn target_type(launch_type: LaunchType, base_awsvpc: bool) -> PortResult<TargetTypeEnum> {
    match launch_type {
        LaunchType::Fargate => Ok(TargetTypeEnum::Ip),
        LaunchType::Ec2 if base_awsvpc => Ok(TargetTypeEnum::Ip),
        LaunchType::Ec2 => Ok(TargetTypeEnum::Instance),
        LaunchType::Local => Err(PortError::Invalid("launch_type local is never meant for AWS".to_owned())),
    }
}

/// All that a request says besides the name, legal on AWS.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wanted {
    pub check: Check,
    pub target_type: TargetTypeEnum,
    pub port: i32,
    attributes: [(&'static str, String); 2],
}

impl Wanted {
    pub(crate) fn new(request: &EnsureTargetGroup, base_awsvpc: bool) -> PortResult<Self> {
        if request.deregistration_delay > 3600 {
            let delay = request.deregistration_delay;
            return Err(PortError::Invalid(format!("deregistration_delay is {delay} s and must be at most 3600")));
        }
        if !legal_name(&request.name) {
            let limit = "1 to 32 letters, digits and hyphens, no hyphen at either end, and not `internal-` in front";
            return Err(PortError::Invalid(format!("{} is no name of a target group: {limit}", request.name)));
        }
        Ok(Self {
            check: Check::new(&request.health_check)?,
            target_type: target_type(request.launch_type, base_awsvpc)?,
            port: i32::from(request.port),
            attributes: [
                (DELAY, request.deregistration_delay.to_string()),
                (ALGORITHM, algorithm(request.algorithm).to_owned()),
            ],
        })
    }

    /// Attributes that differ from those the group has.
    pub(crate) fn changed(&self, actual: &[TargetGroupAttribute]) -> Vec<TargetGroupAttribute> {
        let differs = |key: &str, value: &str| attribute(actual, key) != Some(value);
        let changed = self.attributes.iter().filter(|(key, value)| differs(key, value));
        changed.map(|(key, value)| TargetGroupAttribute::builder().key(*key).value(value).build()).collect()
    }

    /// What only a new group can change.
    pub(crate) fn unchangeable(&self, group: &TargetGroup, vpc: Option<&str>) -> Option<String> {
        if group.target_type.as_ref().is_some_and(|actual| *actual != self.target_type) {
            let actual = group.target_type.as_ref().map_or("", TargetTypeEnum::as_str);
            return Some(format!("its targets are of type {actual}, and {} is needed", self.target_type.as_str()));
        }
        let (actual, vpc) = (group.vpc_id.as_deref()?, vpc?);
        (actual != vpc).then(|| format!("it is in {actual}, and the target says {vpc}"))
    }
}

fn legal_name(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.starts_with("internal-")
}

fn attribute<'a>(attributes: &'a [TargetGroupAttribute], key: &str) -> Option<&'a str> {
    attributes.iter().find(|attribute| attribute.key.as_deref() == Some(key))?.value.as_deref()
}

fn algorithm(algorithm: BalancingAlgorithm) -> &'static str {
    match algorithm {
        BalancingAlgorithm::RoundRobin => "round_robin",
        BalancingAlgorithm::LeastOutstandingRequests => "least_outstanding_requests",
    }
}

/// `idle_timeout`: the load balancer's own; ELB has none per target group.
pub(crate) fn settings(
    group: &TargetGroup,
    attributes: &[TargetGroupAttribute],
    idle_timeout: u32,
) -> TargetGroupSettings {
    TargetGroupSettings {
        health_check: Check::of(group).settings(),
        deregistration_delay: attribute(attributes, DELAY).and_then(|delay| delay.parse().ok()).unwrap_or(300),
        algorithm: match attribute(attributes, ALGORITHM) {
            Some("least_outstanding_requests") => BalancingAlgorithm::LeastOutstandingRequests,
            _ => BalancingAlgorithm::RoundRobin,
        },
        idle_timeout,
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_elasticloadbalancingv2::types::Matcher;
    use landfall_model::inventory::Tags;

    use super::*;

    fn check() -> TargetHealthCheck {
        TargetHealthCheck {
            protocol: HealthCheckProtocol::Https,
            path: "/up".to_owned(),
            port: Some(9000),
            interval_ms: 20_000,
            timeout_ms: 5_000,
            healthy_threshold: 5,
            unhealthy_threshold: 2,
            matcher: "200-299,302".to_owned(),
        }
    }

    fn request(launch_type: LaunchType) -> EnsureTargetGroup {
        EnsureTargetGroup {
            name: "my-project-test123-tg".to_owned(),
            launch_type,
            base: None,
            port: 80,
            health_check: check(),
            deregistration_delay: 30,
            algorithm: BalancingAlgorithm::LeastOutstandingRequests,
            idle_timeout: 60,
            tags: Tags::new(),
        }
    }

    fn described(check: &Check) -> TargetGroup {
        TargetGroup::builder()
            .health_check_protocol(check.protocol.clone())
            .health_check_port(&check.port)
            .health_check_path(&check.path)
            .health_check_interval_seconds(check.interval)
            .health_check_timeout_seconds(check.timeout)
            .healthy_threshold_count(check.healthy)
            .unhealthy_threshold_count(check.unhealthy)
            .matcher(Matcher::builder().http_code(&check.matcher).build())
            .target_type(TargetTypeEnum::Ip)
            .vpc_id("vpc-1")
            .build()
    }

    #[test]
    fn every_key_of_a_health_check_is_honoured_and_read_back() {
        let found = Check::new(&check()).unwrap();
        assert_eq!(
            (found.port.as_str(), found.interval, found.timeout, found.healthy, found.unhealthy),
            ("9000", 20, 5, 5, 2)
        );
        assert_eq!(
            (found.protocol.as_str(), found.path.as_str(), found.matcher.as_str()),
            ("HTTPS", "/up", "200-299,302")
        );
        assert_eq!(Check::of(&described(&found)), found);
        assert_eq!(found.settings(), check());
        let traffic = TargetHealthCheck { port: None, ..check() };
        assert_eq!(Check::new(&traffic).unwrap().port, "traffic-port");
        assert_eq!(Check::new(&traffic).unwrap().settings(), traffic);
    }

    #[test]
    fn what_elb_would_refuse_is_said_by_its_name() {
        let cases = [
            (TargetHealthCheck { interval_ms: 5_500, ..check() }, "interval 5500 ms must be whole seconds"),
            (TargetHealthCheck { interval_ms: 4_000, timeout_ms: 2_000, ..check() }, "interval in seconds is 4"),
            (TargetHealthCheck { timeout_ms: 1_000, ..check() }, "timeout in seconds is 1 and must be 2 to 120"),
            (TargetHealthCheck { timeout_ms: 20_000, ..check() }, "must be shorter than interval"),
            (TargetHealthCheck { healthy_threshold: 1, ..check() }, "healthy threshold is 1"),
            (TargetHealthCheck { unhealthy_threshold: 11, ..check() }, "unhealthy threshold is 11"),
            (TargetHealthCheck { matcher: "200-599".to_owned(), ..check() }, "matcher"),
            (TargetHealthCheck { matcher: "299-200".to_owned(), ..check() }, "matcher"),
            (TargetHealthCheck { path: "up".to_owned(), ..check() }, "path"),
        ];
        for (check, part) in cases {
            let error = Check::new(&check).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn targets_are_addresses_in_awsvpc_mode_and_instances_else() {
        assert_eq!(target_type(LaunchType::Fargate, false).unwrap().as_str(), "ip");
        assert_eq!(target_type(LaunchType::Ec2, false).unwrap().as_str(), "instance");
        assert_eq!(target_type(LaunchType::Ec2, true).unwrap().as_str(), "ip");
        assert!(target_type(LaunchType::Local, false).is_err());
    }

    #[test]
    fn only_what_differs_is_changed() {
        let wanted = Wanted::new(&request(LaunchType::Fargate), false).unwrap();
        let attribute = |key: &str, value: &str| TargetGroupAttribute::builder().key(key).value(value).build();
        let actual =
            [attribute(DELAY, "30"), attribute(ALGORITHM, "round_robin"), attribute("stickiness.enabled", "true")];
        assert_eq!(wanted.changed(&actual), [attribute(ALGORITHM, "least_outstanding_requests")]);
        assert_eq!(wanted.changed(&[]).len(), 2);
        let group = described(&wanted.check);
        assert_eq!(settings(&group, &actual[..1], 60).deregistration_delay, 30);
        let same = [attribute(DELAY, "30"), attribute(ALGORITHM, "least_outstanding_requests")];
        assert_eq!(settings(&group, &same, 60), TargetGroupSettings::from(&request(LaunchType::Fargate)));
    }

    #[test]
    fn type_and_vpc_cannot_be_changed() {
        let wanted = Wanted::new(&request(LaunchType::Fargate), false).unwrap();
        let group = described(&wanted.check);
        assert_eq!(wanted.unchangeable(&group, Some("vpc-1")), None);
        assert!(wanted.unchangeable(&group, Some("vpc-2")).unwrap().contains("vpc-1"));
        let instance = Wanted::new(&request(LaunchType::Ec2), false).unwrap();
        assert!(instance.unchangeable(&group, None).unwrap().contains("type ip"));
    }

    #[test]
    fn names_are_legal_before_they_are_sent() {
        for name in ["", "-a", "a-", "internal-a", "a_b", "a.b", &"x".repeat(33)] {
            let request = EnsureTargetGroup { name: name.to_owned(), ..request(LaunchType::Fargate) };
            assert!(Wanted::new(&request, false).is_err(), "{name}");
        }
    }
}
