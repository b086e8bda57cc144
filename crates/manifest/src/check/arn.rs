//! Identifiers as AWS has them, of every partition. Lenient where AWS may come up with something new: what is refused
//! could belong to no account at all. What has the right form but digits that AWS never gives is in doubt, most likely a
//! placeholder out of somebody's example.

use super::syntax;

/// What is wrong with an identifier.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No such thing can exist.
    Wrong(String),
    /// Nothing like it was ever given out.
    Doubtful(&'static str),
}

use Fault::{Doubtful, Wrong};

type Verdict = Result<(), Fault>;

/// The parts of `arn:partition:service:region:account:resource`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arn<'t> {
    pub service: &'t str,
    pub region: &'t str,
    pub account: &'t str,
    pub resource: &'t str,
}

pub(crate) fn parse(text: &str) -> Option<Arn<'_>> {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let [scheme, partition, service, region, account, resource] = parts.as_slice() else { return None };
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let sound = *scheme == "arn"
        && (*partition == "aws" || partition.strip_prefix("aws-").is_some_and(|rest| !rest.is_empty() && plain(rest)))
        && !service.is_empty()
        && plain(service)
        && plain(region)
        && !resource.is_empty()
        && !text.chars().any(|c| c.is_whitespace() || c.is_control());
    sound.then_some(Arn { service, region, account, resource })
}

/// An ARN of this service whose resource begins like one of `kinds`; `form` shows a right one.
fn of(text: &str, service: &str, kinds: &[&str], form: &str) -> Verdict {
    let Some(arn) = parse(text).filter(|arn| arn.service == service) else { return Err(Wrong(form.to_owned())) };
    if !kinds.iter().any(|kind| arn.resource.strip_prefix(kind).is_some_and(|rest| !rest.is_empty())) {
        return Err(Wrong(form.to_owned()));
    }
    // AWS's own resources have its name or nothing in place of an account.
    if !matches!(arn.account, "" | "aws") && account(arn.account).is_err() {
        return Err(Doubtful("an account has twelve digits"));
    }
    Ok(())
}

pub(crate) fn account(text: &str) -> Verdict {
    let sound = text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
    if sound { Ok(()) } else { Err(Wrong("twelve digits".to_owned())) }
}

/// `us-east-1`, `us-gov-west-1`, `cn-north-1`, `eu-isoe-west-1` and those to come.
pub(crate) fn region(text: &str) -> Verdict {
    let parts: Vec<&str> = text.split('-').collect();
    let letters = |part: &str| part.len() > 1 && part.bytes().all(|b| b.is_ascii_lowercase());
    let sound = match parts.split_last() {
        Some((number, [_, _, ..])) => {
            !number.is_empty()
                && number.bytes().all(|b| b.is_ascii_digit())
                && parts[..parts.len() - 1].iter().all(|p| letters(p))
        }
        _ => false,
    };
    if sound { Ok(()) } else { Err(Wrong("a region is written like `eu-central-1`".to_owned())) }
}

/// What was most likely meant: the region of an availability zone, or the nearest known one.
pub(crate) fn region_meant(text: &str) -> Option<String> {
    let zone = text.trim_end_matches(|c: char| c.is_ascii_lowercase());
    if zone.len() + 1 == text.len() && region(zone).is_ok() {
        return Some(format!("`{text}` is an availability zone: use `{zone}`"));
    }
    crate::diagnostic::did_you_mean(text, REGIONS.iter().copied())
}

/// For suggestions only: any region of the right form is taken.
const REGIONS: &[&str] = &[
    "af-south-1",
    "ap-east-1",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ca-central-1",
    "cn-north-1",
    "cn-northwest-1",
    "eu-central-1",
    "eu-north-1",
    "eu-south-1",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "me-south-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-gov-east-1",
    "us-gov-west-1",
    "us-west-1",
    "us-west-2",
];

/// `prefix-` and 8 or 17 hex digits.
pub(crate) fn id(text: &str, prefix: &str) -> Verdict {
    let Some(rest) = text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-')) else {
        return Err(Wrong(format!("an id is written `{prefix}-0123456789abcdef0`")));
    };
    if rest.is_empty() || !rest.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
        return Err(Wrong(format!("an id is written `{prefix}-0123456789abcdef0`")));
    }
    if !rest.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(Doubtful("ids of AWS have the digits 0-9 and a-f"));
    }
    Ok(())
}

/// Letters, digits, `-` and `_`, up to `longest`.
pub(crate) fn plain_name(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

pub(crate) fn cluster(text: &str) -> Verdict {
    if text.starts_with("arn:") {
        return of(text, "ecs", &["cluster/"], "arn:aws:ecs:REGION:ACCOUNT:cluster/NAME");
    }
    let rule = "a name of up to 255 letters, digits, `-` and `_`, or an ARN";
    if plain_name(text, 255) { Ok(()) } else { Err(Wrong(rule.to_owned())) }
}

/// `BUCKET` or `BUCKET/PREFIX`.
pub(crate) fn bucket(text: &str) -> Verdict {
    let (name, prefix) = text.trim_end_matches('/').split_once('/').unwrap_or((text.trim_end_matches('/'), "whole"));
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-');
    let sound = (3..=63).contains(&name.len()) && name.bytes().all(legal) && name.as_bytes()[0].is_ascii_alphanumeric();
    let part = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(|b| b.is_ascii_graphic());
    let sound = sound && prefix.len() <= 512 && prefix.split('/').all(part);
    let rule = "a bucket's name (3 to 63 of a-z, 0-9, `.` and `-`), or BUCKET/PREFIX";
    if sound { Ok(()) } else { Err(Wrong(rule.to_owned())) }
}

pub(crate) fn load_balancer(text: &str) -> Verdict {
    if text.starts_with("arn:") {
        if parse(text).is_some_and(|arn| {
            arn.resource.starts_with("loadbalancer/net/") || arn.resource.starts_with("loadbalancer/gwy/")
        }) {
            return Err(Wrong("an Application Load Balancer: `loadbalancer/app/…`".to_owned()));
        }
        let form = "arn:aws:elasticloadbalancing:REGION:ACCOUNT:loadbalancer/app/NAME/ID";
        return of(text, "elasticloadbalancing", &["loadbalancer/app/"], form);
    }
    if text.contains('.') {
        return Err(Wrong("its name or ARN, not its DNS name".to_owned()));
    }
    let sound = plain_name(text, 32) && !text.contains('_') && !text.starts_with('-') && !text.ends_with('-');
    let rule = "a name of up to 32 letters, digits and inner hyphens, or an ARN";
    if sound { Ok(()) } else { Err(Wrong(rule.to_owned())) }
}

/// The ARN of a role, for assuming it.
pub(crate) fn role_arn(text: &str) -> Verdict {
    of(text, "iam", &["role/"], "arn:aws:iam::ACCOUNT:role/NAME")
}

/// ECS takes a role's name or its ARN.
pub(crate) fn role(text: &str) -> Verdict {
    if text.starts_with("arn:") {
        return role_arn(text);
    }
    let sound = (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'+' | b'=' | b',' | b'.' | b'@' | b'-'));
    if sound { Ok(()) } else { Err(Wrong("the name of a role or arn:aws:iam::ACCOUNT:role/NAME".to_owned())) }
}

pub(crate) fn external_id(text: &str) -> Verdict {
    let sound = (2..=1_224).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@:/-".contains(&b));
    if sound { Ok(()) } else { Err(Wrong("2 to 1224 letters, digits and `_+=,.@:/-`".to_owned())) }
}

pub(crate) fn certificate(text: &str) -> Verdict {
    if parse(text).is_some_and(|arn| arn.service == "iam") {
        return of(text, "iam", &["server-certificate/"], "arn:aws:iam::ACCOUNT:server-certificate/NAME");
    }
    of(text, "acm", &["certificate/"], "arn:aws:acm:REGION:ACCOUNT:certificate/ID")
}

pub(crate) fn target_group(text: &str) -> Verdict {
    let form = "arn:aws:elasticloadbalancing:REGION:ACCOUNT:targetgroup/NAME/ID";
    of(text, "elasticloadbalancing", &["targetgroup/"], form)
}

/// A rule, or a listener where the load balancer has no rules.
pub(crate) fn listener_rule(text: &str) -> Verdict {
    let form = "`arn:aws:elasticloadbalancing:REGION:ACCOUNT:listener-rule/app/NAME/…`";
    of(text, "elasticloadbalancing", &["listener-rule/", "listener/"], form)
}

pub(crate) fn topic(text: &str) -> Verdict {
    of(text, "sns", &[""], "arn:aws:sns:REGION:ACCOUNT:NAME")?;
    let name = parse(text).map(|arn| arn.resource).unwrap_or_default();
    let name = name.strip_suffix(".fifo").unwrap_or(name);
    let rule = "a topic's name has up to 256 letters, digits, `-` and `_`";
    if plain_name(name, 256) { Ok(()) } else { Err(Wrong(rule.to_owned())) }
}

/// A name, `ACCOUNT:function:NAME` or an ARN, each with or without `:VERSION`.
/// <https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html>
pub(crate) fn function(text: &str) -> Verdict {
    let rule = || Wrong("a function's name or arn:aws:lambda:REGION:ACCOUNT:function:NAME".to_owned());
    let name = if text.starts_with("arn:") {
        of(text, "lambda", &["function:"], "arn:aws:lambda:REGION:ACCOUNT:function:NAME")?;
        text.split_once(":function:").map(|(_, name)| name).unwrap_or_default()
    } else {
        match text.split_once(":function:") {
            Some((owner, name)) if account(owner).is_ok() => name,
            Some(_) => return Err(rule()),
            None => text,
        }
    };
    let (name, version) = name.split_once(':').map_or((name, None), |(name, version)| (name, Some(version)));
    let sound = plain_name(name, 140) && version.is_none_or(|version| version == "$LATEST" || plain_name(version, 128));
    if sound { Ok(()) } else { Err(rule()) }
}

/// `family`, `family:revision` or its ARN.
pub(crate) fn task_definition(text: &str) -> Verdict {
    let name = if text.starts_with("arn:") {
        let form = "arn:aws:ecs:REGION:ACCOUNT:task-definition/FAMILY:REVISION";
        of(text, "ecs", &["task-definition/"], form)?;
        text.split_once("task-definition/").map(|(_, name)| name).unwrap_or_default()
    } else {
        text
    };
    let (family, revision) = name.split_once(':').map_or((name, None), |(family, number)| (family, Some(number)));
    let number = |text: &str| text.parse::<u32>().is_ok_and(|number| number > 0);
    if plain_name(family, 255) && revision.is_none_or(number) {
        return Ok(());
    }
    Err(Wrong("`family`, `family:revision` or an ARN".to_owned()))
}

pub(crate) fn log_group(text: &str) -> Verdict {
    let sound =
        (1..=512).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/#".contains(&b));
    if sound { Ok(()) } else { Err(Wrong("1 to 512 letters, digits and `._-/#`".to_owned())) }
}

/// A host name or an address, without scheme and port.
pub(crate) fn address(text: &str) -> Verdict {
    let wrong = |rule: &str| Err(Wrong(rule.to_owned()));
    if text.contains("://") || text.contains('/') {
        return wrong("only the host, without scheme and path");
    }
    match syntax::http_url(&format!("http://{text}/")) {
        Err(_) => wrong("a host name or an IP address"),
        Ok(()) if !text.starts_with('[') && text.contains(':') => wrong("without a port: every preview has its own"),
        Ok(()) => Ok(()),
    }
}

/// `host:port`.
pub(crate) fn host_and_port(text: &str) -> Verdict {
    let has_port = text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0));
    if has_port && !text.contains('/') && syntax::http_url(&format!("http://{text}/")).is_ok() {
        return Ok(());
    }
    Err(Wrong("`host:port`".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Check = fn(&str) -> Verdict;

    fn vpc(text: &str) -> Verdict {
        id(text, "vpc")
    }

    #[test]
    fn what_aws_accepts_is_accepted_in_every_partition() {
        let good: &[(Check, &[&str])] = &[
            (
                region,
                &["us-east-1", "us-gov-west-1", "cn-northwest-1", "us-isob-east-1", "eusc-de-east-1", "xx-new-12"],
            ),
            (account, &["012345678901"]),
            (vpc, &["vpc-12345678", "vpc-0123456789abcdef0"]),
            (cluster, &["default", "My_Cluster-1", "arn:aws-cn:ecs:cn-north-1:123456789012:cluster/dev"]),
            (
                load_balancer,
                &[
                    "my-alb",
                    "arn:aws-us-gov:elasticloadbalancing:us-gov-west-1:123456789012:loadbalancer/app/a/50dc6c495c0c9188",
                ],
            ),
            (role, &["ecsTaskExecutionRole", "arn:aws:iam::123456789012:role/path/to/Name@x"]),
            (
                certificate,
                &[
                    "arn:aws:acm:eu-west-1:123456789012:certificate/1-2",
                    "arn:aws-cn:iam::123456789012:server-certificate/x",
                ],
            ),
            (
                topic,
                &["arn:aws:sns:us-east-1:123456789012:slack", "arn:aws-iso-b:sns:us-isob-east-1:123456789012:a.fifo"],
            ),
            (
                function,
                &[
                    "ci-deploy",
                    "ci-deploy:live",
                    "ci-deploy:$LATEST",
                    "123456789012:function:ci-deploy",
                    "arn:aws-cn:lambda:cn-north-1:123456789012:function:ci-deploy:7",
                ],
            ),
            (
                task_definition,
                &["web", "web:12", "Web_1-x", "arn:aws:ecs:us-east-1:123456789012:task-definition/web:3"],
            ),
            (log_group, &["/ecs/my.app#1_x-y"]),
            (address, &["my-alb-123.eu-west-1.elb.amazonaws.com", "localhost", "10.0.0.1", "[::1]"]),
            (host_and_port, &["127.0.0.1:8080", "localhost:4566", "[::1]:80"]),
            (external_id, &["a1:b/c-d"]),
        ];
        for (check, texts) in good {
            for text in *texts {
                assert_eq!(check(text), Ok(()), "{text}");
            }
        }
    }

    #[test]
    fn what_no_account_can_have_is_refused() {
        let bad: &[(Check, &[&str])] = &[
            (region, &["", "us-east", "us-east-1a", "US-EAST-1", "useast1", "us--1", "frankfurt"]),
            (account, &["", "12345678901", "1234567890123", "12345678901a", "1234-5678-901"]),
            (vpc, &["", "vpc", "vpc-", "subnet-12345678", "vpc-1234 5678", "vpc-ABC"]),
            (cluster, &["", "a b", "arn:aws:ecs:us-east-1:123456789012:service/x", "arn:aws:s3:::x"]),
            (
                load_balancer,
                &[
                    "",
                    "-a",
                    "a_b",
                    "my-alb-123.eu-west-1.elb.amazonaws.com",
                    "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/net/a/1",
                    "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/a/1",
                ],
            ),
            (
                role_arn,
                &[
                    "name",
                    "arn:aws:iam::123456789012:user/x",
                    "arn:aws:iam::123456789012:role/",
                    "arn:amazon:iam::1:role/x",
                ],
            ),
            (certificate, &["x", "arn:aws:acm:us-east-1:123456789012:x"]),
            (topic, &["slack", "arn:aws:sqs:us-east-1:123456789012:slack", "arn:aws:sns:us-east-1:123456789012:a b"]),
            (function, &["", "a b", "x:y:z", "12:function:x", "arn:aws:lambda:us-east-1:123456789012:layer:x"]),
            (task_definition, &["", "web:", "web:0", "web:x", "a/b", "a:1:2"]),
            (log_group, &["", "a b", "a:*"]),
            (address, &["", "http://x", "x:80", "x/y", "a b"]),
            (host_and_port, &["", "x", "x:0", "x:y", "http://x:80"]),
        ];
        for (check, texts) in bad {
            for text in *texts {
                assert!(matches!(check(text), Err(Wrong(_))), "{text}");
            }
        }
    }

    #[test]
    fn placeholders_are_in_doubt_and_no_error() {
        for text in ["vpc-xxxxx", "vpc-yourvpc"] {
            assert!(matches!(vpc(text), Err(Doubtful(_))), "{text}");
        }
        assert!(matches!(topic("arn:aws:sns:ap-northeast-1:xxxxxxxxxxxxx:slack"), Err(Doubtful(_))));
        assert!(matches!(function("arn:aws:lambda:ap-northeast-1:xxxxxxxxxxxxx:function:ci"), Err(Doubtful(_))));
    }

    #[test]
    fn the_region_that_was_meant() {
        assert_eq!(
            region_meant("us-east-1a").as_deref(),
            Some("`us-east-1a` is an availability zone: use `us-east-1`")
        );
        assert_eq!(region_meant("eu-centrl-1").as_deref(), Some("did you mean `eu-central-1`?"));
        assert_eq!(region_meant("frankfurt"), None);
    }
}
