//! Listeners and their rules, read. Pure: whose a host is, what a rule or listener forwards to, which priority is free, what
//! a URL looks like. Somebody else's weighted, redirecting, authenticating or conditional rules are read over, never broken on.

use aws_sdk_elasticloadbalancingv2::types::{Action, ActionTypeEnum, Listener, ProtocolEnum, Rule, RuleCondition};

/// API reference of CreateRule.
const LAST_PRIORITY: i32 = 50_000;

/// The hosts of a rule that answers for hosts alone; empty for any other.
pub(crate) fn hosts(rule: &Rule) -> Vec<String> {
    let conditions = rule.conditions.as_deref().unwrap_or_default();
    if !conditions.iter().all(|condition| field(condition) == "host-header") {
        return Vec::new();
    }
    conditions.iter().flat_map(|condition| values(condition).iter().map(|host| host.to_ascii_lowercase())).collect()
}

fn field(condition: &RuleCondition) -> &str {
    condition.field.as_deref().unwrap_or_default()
}

/// `Values` and `HostHeaderConfig` say the same in two ways.
fn values(condition: &RuleCondition) -> &[String] {
    let config = condition.host_header_config.as_ref().and_then(|config| config.values.as_deref());
    config.filter(|values| !values.is_empty()).or(condition.values.as_deref()).unwrap_or_default()
}

/// Rules for exactly this host and nothing else, first matching first.
pub(crate) fn of_host<'a>(rules: &'a [Rule], host: &str) -> Vec<&'a Rule> {
    let host = host.to_ascii_lowercase();
    let mut found: Vec<&Rule> = rules.iter().filter(|rule| hosts(rule).contains(&host)).collect();
    found.sort_by_key(|rule| priority(rule));
    found
}

/// `None`: the listener's default rule.
pub(crate) fn priority(rule: &Rule) -> Option<i32> {
    rule.priority.as_deref()?.parse().ok()
}

pub(crate) fn lowest_free(rules: &[Rule]) -> Option<i32> {
    let taken: std::collections::BTreeSet<i32> = rules.iter().filter_map(priority).collect();
    (1..=LAST_PRIORITY).find(|candidate| !taken.contains(candidate))
}

/// A rule before `own` that takes every request for `host` away from it.
pub(crate) fn shadowing<'a>(rules: &'a [Rule], host: &str, own: i32) -> Option<&'a Rule> {
    let host = host.to_ascii_lowercase();
    let takes_all = |rule: &Rule| {
        let conditions = rule.conditions.as_deref().unwrap_or_default();
        !conditions.is_empty()
            && conditions.iter().all(|condition| match field(condition) {
                "host-header" => values(condition).iter().any(|pattern| like(&pattern.to_ascii_lowercase(), &host)),
                "path-pattern" => path_patterns(condition).iter().any(|pattern| pattern == "*" || pattern == "/*"),
                _ => false,
            })
    };
    rules.iter().find(|rule| priority(rule).is_some_and(|priority| priority < own) && takes_all(rule))
}

fn path_patterns(condition: &RuleCondition) -> &[String] {
    let config = condition.path_pattern_config.as_ref().and_then(|config| config.values.as_deref());
    config.or(condition.values.as_deref()).unwrap_or_default()
}

/// ELB's wildcards: `*` is any text, `?` any one character.
fn like(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => (p, t) = (p + 1, t + 1),
            // Back to the last star, which takes one more.
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, t) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// The one target group that everything goes to; `None` for anything else.
pub(crate) fn forwards_to(actions: Option<&[Action]>) -> Option<&str> {
    let [action] = actions? else { return None };
    if action.r#type != Some(ActionTypeEnum::Forward) {
        return None;
    }
    let groups = action.forward_config.as_ref().and_then(|config| config.target_groups.as_deref()).unwrap_or_default();
    match groups {
        [] => action.target_group_arn.as_deref(),
        [group] => group.target_group_arn.as_deref(),
        _ => None,
    }
}

pub(crate) fn port(listener: &Listener) -> Option<u16> {
    listener.port.and_then(|port| u16::try_from(port).ok())
}

pub(crate) fn is_https(listener: &Listener) -> bool {
    listener.protocol == Some(ProtocolEnum::Https)
}

#[cfg(test)]
mod tests {
    use aws_sdk_elasticloadbalancingv2::types::{
        ForwardActionConfig, HostHeaderConditionConfig, PathPatternConditionConfig, TargetGroupTuple,
    };

    use super::*;

    fn host(values: &[&str]) -> RuleCondition {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        let config = HostHeaderConditionConfig::builder().set_values(Some(values)).build();
        RuleCondition::builder().field("host-header").host_header_config(config).build()
    }

    fn path(pattern: &str) -> RuleCondition {
        let config = PathPatternConditionConfig::builder().values(pattern).build();
        RuleCondition::builder().field("path-pattern").path_pattern_config(config).build()
    }

    fn rule(priority: &str, conditions: Vec<RuleCondition>) -> Rule {
        Rule::builder().rule_arn(priority).priority(priority).set_conditions(Some(conditions)).build()
    }

    fn forward(group: &str) -> Action {
        Action::builder().r#type(ActionTypeEnum::Forward).target_group_arn(group).build()
    }

    #[test]
    fn a_host_is_found_among_all_kinds_of_rules() {
        let old_form = RuleCondition::builder().field("host-header").values("A.example").build();
        let rules = [
            rule("default", Vec::new()),
            rule("9", vec![host(&["a.example"])]),
            rule("3", vec![old_form]),
            rule("1", vec![host(&["a.example"]), path("/api/*")]),
            rule("2", vec![RuleCondition::builder().field("source-ip").build()]),
            rule("4", vec![host(&["*.example"])]),
        ];
        let found: Vec<_> = of_host(&rules, "a.EXAMPLE").iter().filter_map(|rule| priority(rule)).collect();
        assert_eq!(found, [3, 9]);
        assert!(of_host(&rules, "b.example").is_empty());
    }

    #[test]
    fn the_lowest_free_priority_is_taken() {
        assert_eq!(lowest_free(&[rule("default", Vec::new())]), Some(1));
        assert_eq!(lowest_free(&[rule("1", Vec::new()), rule("2", Vec::new()), rule("4", Vec::new())]), Some(3));
        let all: Vec<_> = (1..=LAST_PRIORITY).map(|n| rule(&n.to_string(), Vec::new())).collect();
        assert_eq!(lowest_free(&all), None);
    }

    #[test]
    fn a_wildcard_in_front_takes_the_host_away() {
        let rules = [
            rule("1", vec![host(&["*.example"]), path("/health")]),
            rule("2", vec![host(&["*.other", "?-x.example"])]),
            rule("5", vec![host(&["*.example"]), path("/*")]),
        ];
        assert!(shadowing(&rules, "a.example", 5).is_none());
        assert_eq!(shadowing(&rules, "a.example", 6).and_then(priority), Some(5));
        assert_eq!(shadowing(&rules, "a-X.example", 3).and_then(priority), Some(2));
        assert!(shadowing(&[rule("default", Vec::new())], "a.example", 3).is_none());
    }

    #[test]
    fn wildcards() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*.example", "a.b.example", true),
            ("*.example", "example", false),
            ("a*b*c", "axxbyybc", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("abc", "abcd", false),
            ("", "", true),
        ] {
            assert_eq!(like(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn weighted_and_redirecting_actions_forward_to_no_one_group() {
        let weighted = |groups: &[&str]| {
            let tuple = |group: &&str| TargetGroupTuple::builder().target_group_arn(*group).weight(1).build();
            let config = ForwardActionConfig::builder().set_target_groups(Some(groups.iter().map(tuple).collect()));
            Action::builder().r#type(ActionTypeEnum::Forward).forward_config(config.build()).build()
        };
        assert_eq!(forwards_to(Some(&[forward("a")])), Some("a"));
        assert_eq!(forwards_to(Some(&[weighted(&["b"])])), Some("b"));
        assert_eq!(forwards_to(Some(&[weighted(&["a", "b"])])), None);
        let redirect = Action::builder().r#type(ActionTypeEnum::Redirect).build();
        let login = Action::builder().r#type(ActionTypeEnum::AuthenticateOidc).build();
        assert_eq!(forwards_to(Some(std::slice::from_ref(&redirect))), None);
        assert_eq!(forwards_to(Some(&[login, forward("a")])), None);
        assert_eq!((forwards_to(Some(&[])), forwards_to(None)), (None, None));
    }
}
