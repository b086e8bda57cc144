//! Words of AWS as `infra.yml` has them: their form only. Whether there is such a thing only AWS knows.

/// `vpc-0a1b2c3d`: a prefix and digits of hexadecimal; examples of older tools have one too many or too few.
pub(crate) fn is_id(text: &str, prefix: &str) -> bool {
    let digits = text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-'));
    digits.is_some_and(|digits| {
        matches!(digits.len(), 7..=9 | 17) && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// Eight digits or seventeen, as AWS makes them.
pub(crate) fn is_real_id(text: &str) -> bool {
    text.split_once('-').is_some_and(|(_, digits)| matches!(digits.len(), 8 | 17))
}

/// The region of a zone: `us-west-2` of `us-west-2a`, and of a local zone `us-west-2-lax-1a`.
pub(crate) fn region_of_zone(zone: &str) -> Option<String> {
    let words: Vec<&str> = zone.split('-').collect();
    let letters = |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    let at = words.iter().position(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    if !(2..=3).contains(&at) || !words[..at].iter().all(letters) {
        return None;
    }
    let number = match &words[at + 1..] {
        [] => numbered(words[at])?,
        [place, zone] if letters(place) && words[at].bytes().all(|byte| byte.is_ascii_digit()) => {
            numbered(zone)?;
            words[at]
        }
        _ => return None,
    };
    Some(format!("{}-{number}", words[..at].join("-")))
}

/// `2` of `2a`.
fn numbered(word: &str) -> Option<&str> {
    let number = word.strip_suffix(|c: char| c.is_ascii_lowercase())?;
    (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(number)
}

/// `t3.medium`, `c7g.2xlarge`, `m5.metal`, `u-6tb1.112xlarge`: a family and a size, as EC2 names its types
/// (<https://docs.aws.amazon.com/ec2/latest/instancetypes/instance-type-names.html>).
pub(crate) fn kind_of_instance(text: &str) -> bool {
    let Some((family, size)) = text.split_once('.') else { return false };
    let plain = |text: &str| text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    let family_fits = family.len() <= 20
        && family.starts_with(|c: char| c.is_ascii_lowercase())
        && family.contains(|c: char| c.is_ascii_digit())
        && plain(family);
    let size_fits = match size {
        "nano" | "micro" | "small" | "medium" | "large" | "metal" => true,
        _ => {
            let times = size.strip_suffix("xlarge").or_else(|| size.strip_prefix("metal-")?.strip_suffix("xl"));
            times.is_some_and(|times| times.bytes().all(|byte| byte.is_ascii_digit()))
        }
    };
    family_fits && size_fits
}

/// The processor's architecture: Graviton's families have a `g` after their generation (`m7g`, `c7gn`, `im4gn`), and `a1`.
pub(crate) fn is_arm(instance_type: &str) -> bool {
    let family = instance_type.split('.').next().unwrap_or_default();
    let after =
        family.trim_start_matches(|c: char| c.is_ascii_lowercase()).trim_start_matches(|c: char| c.is_ascii_digit());
    family == "a1" || after.starts_with('g')
}

/// Whether it has GPUs that ECS hands to tasks, which are NVIDIA's: families `p…`, `g…` and `gr…`, but for `g4ad`
/// (<https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-gpu.html>).
pub(crate) fn is_gpu(instance_type: &str) -> bool {
    let family = instance_type.split('.').next().unwrap_or_default();
    let digit = family.find(|c: char| c.is_ascii_digit()).unwrap_or_default();
    matches!(&family[..digit], "p" | "g" | "gr") && family != "g4ad"
}

/// `2m`, `90s`, `1h`: what ECS's agent reads. A number alone is minutes, as the README counts.
pub(crate) fn timeout(text: &str) -> Option<String> {
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(number) => (number, &text[number.len()..]),
        None => (text, "m"),
    };
    let value: u32 = number.parse().ok()?;
    let seconds = value.checked_mul(match unit {
        "s" => 1,
        "m" => 60,
        _ => 3600,
    })?;
    // The agent takes no less than a second; nobody waits for longer than a day.
    (1..=86_400).contains(&seconds).then(|| format!("{value}{unit}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_their_form() {
        for (text, prefix) in [
            ("vpc-88888888", "vpc"),
            ("subnet-9b2938c2", "subnet"),
            ("sg-dab3aca", "sg"),
            ("fs-123123123", "fs"),
            ("ami-0123456789abcdef0", "ami"),
        ] {
            assert!(is_id(text, prefix), "{text}");
        }
        for text in ["vpc-", "vpc-XYZ12345", "vpc-123", "subnet-88888888", "vpc88888888", "vpc-1234567890"] {
            assert!(!is_id(text, "vpc"), "{text}");
        }
    }

    #[test]
    fn zones_name_their_region() {
        for (zone, region) in [
            ("us-west-2a", "us-west-2"),
            ("us-gov-west-1b", "us-gov-west-1"),
            ("ap-southeast-12c", "ap-southeast-12"),
            ("us-west-2-lax-1a", "us-west-2"),
        ] {
            assert_eq!(region_of_zone(zone).as_deref(), Some(region), "{zone}");
        }
        for zone in ["us-west-2", "us-west", "a", "", "us-west-2A", "us-west-2-1a", "us-west-a", "2a"] {
            assert_eq!(region_of_zone(zone), None, "{zone}");
        }
    }

    #[test]
    fn instance_types_have_their_form() {
        for text in [
            "t3.medium",
            "c7g.2xlarge",
            "m5.metal",
            "u-6tb1.112xlarge",
            "t2.nano",
            "m7i.metal-24xl",
            "x2iedn.xlarge",
            "a1.large",
        ] {
            assert!(kind_of_instance(text), "{text}");
        }
        for text in ["t3", "t3.", "medium", "t3.huge", "T3.medium", "t.large", "3t.large", "t3.medium ", "t3.xl"] {
            assert!(!kind_of_instance(text), "{text}");
        }
        assert!(
            ["m7g.large", "c7gn.large", "im4gn.xlarge", "a1.large", "t4g.nano", "g5g.xlarge"].into_iter().all(is_arm)
        );
        assert!(["p4d.24xlarge", "p5.48xlarge", "g4dn.xlarge", "g5g.xlarge", "gr6.4xlarge"].into_iter().all(is_gpu));
        assert!(!["t4g.nano", "g4ad.xlarge", "c7g.large", "m5.large", "inf2.xlarge"].into_iter().any(is_gpu));
        assert!(!["m5.large", "g5.large", "t3.large", "c7i.large", "g4dn.xlarge"].into_iter().any(is_arm));
    }

    #[test]
    fn timeouts_are_the_agent_s() {
        for (text, read) in [("2m", "2m"), ("3m", "3m"), ("90s", "90s"), ("5", "5m"), ("1h", "1h")] {
            assert_eq!(timeout(text).as_deref(), Some(read), "{text}");
        }
        for text in ["", "m", "0m", "-1m", "2 m", "25h", "1d", "99999999h"] {
            assert_eq!(timeout(text), None, "{text}");
        }
    }
}
