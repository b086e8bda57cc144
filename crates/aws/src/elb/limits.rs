//! Limits of Elastic Load Balancing by the error that tells of them. Figures: "Quotas for your Application Load Balancers".

use landfall_ports::PortError;

use crate::error::Failed;

/// What ran out, and what helps.
fn limit(code: &str) -> Option<&'static str> {
    Some(match code {
        "TooManyListeners" => "listeners per load balancer (50 unless raised)",
        "TooManyRules" => "rules per load balancer (100 unless raised)",
        "TooManyTargetGroups" => "target groups per region (3,000 unless raised)",
        "TooManyUniqueTargetGroupsPerLoadBalancer" => "target groups per load balancer (100; AWS does not raise it)",
        "TooManyTargets" => "targets per load balancer or group (1,000 unless raised)",
        "TooManyRegistrationsForTargetId" => "registrations of one target",
        "TooManyCertificates" => "certificates per load balancer (25 unless raised)",
        _ => return None,
    })
}

/// As the caller sees it: a limit says which and whose, the rest is by remedy already.
pub(crate) fn port_error(failed: Failed, balancer: &str, region: &str) -> PortError {
    match limit(&failed.code) {
        // No load balancer's: another one would not help.
        Some(limit) if failed.is("TooManyTargetGroups") => PortError::Full(format!(
            "region {region} is full: {limit}; destroy a preview or have the quota raised ({})",
            failed.error
        )),
        Some(limit) => PortError::Full(format!(
            "load balancer {balancer} is full: {limit}; destroy a preview, have the quota raised or use another load balancer \
             ({})",
            failed.error
        )),
        None => failed.error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::answered;

    #[test]
    fn a_limit_is_told_by_name() {
        let of = |code: &str| {
            port_error(answered("elasticloadbalancing:CreateRule on host a", 400, code, "no"), "main", "eu-west-1")
        };
        let PortError::Full(text) = of("TooManyRules") else { panic!() };
        assert!(
            text.starts_with("load balancer main is full: rules per load balancer (100") && text.contains("CreateRule")
        );
        let PortError::Full(text) = of("TooManyTargetGroups") else { panic!() };
        assert!(
            text.starts_with("region eu-west-1 is full: target groups per region") && !text.contains("balancer main")
        );
        assert!(matches!(of("TooManyUniqueTargetGroupsPerLoadBalancer"), PortError::Full(_)));
        assert!(matches!(of("PriorityInUse"), PortError::Conflict(_)));
        assert!(matches!(of("RuleNotFound"), PortError::NotFound(_)));
    }
}
