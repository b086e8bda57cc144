//! Our tags as AWS takes them. ECS and Elastic Load Balancing share their rules: at most 50 on a resource, keys of 1 to 128 and
//! values of 0 to 256 characters out of letters, digits, spaces and `_ . : / = + - @`; keys in `aws:` are AWS's own.

use landfall_model::inventory::{TAG_ENVIRONMENT, TAG_INSTANCE, Tags};
use landfall_ports::{PortError, PortResult};

const MOST: usize = 50;

pub(crate) fn check(tags: &Tags) -> PortResult<()> {
    if tags.len() > MOST {
        return Err(PortError::Invalid(format!("{} tags; AWS allows {MOST} on a resource", tags.len())));
    }
    let legal = |text: &str| text.chars().all(|c| c.is_alphanumeric() || c.is_whitespace() || "_.:/=+-@".contains(c));
    for (key, value) in tags {
        let length = key.chars().count();
        if !(1..=128).contains(&length) || value.chars().count() > 256 || !legal(key) || !legal(value) {
            return Err(PortError::Invalid(format!(
                "tag {key}={value}: AWS takes keys of 1 to 128 and values of at most 256 letters, digits, spaces and _.:/=+-@"
            )));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(PortError::Invalid(format!("tag {key}: keys that begin with aws: are AWS's own")));
        }
    }
    Ok(())
}

/// Tags as AWS lists them, without AWS's own.
pub(crate) fn read<'a>(pairs: impl Iterator<Item = (Option<&'a str>, Option<&'a str>)>) -> Tags {
    let ours = |(key, value): (Option<&str>, Option<&str>)| {
        let key = key.filter(|key| !key.starts_with("aws:"))?;
        Some((key.to_owned(), value.unwrap_or_default().to_owned()))
    };
    pairs.filter_map(ours).collect()
}

/// Whether tags say that this installation made it, for `environment` or for any.
pub(crate) fn ours(tags: &Tags, instance: &str, environment: Option<&str>) -> bool {
    tags.get(TAG_INSTANCE).is_some_and(|tag| tag == instance)
        && match environment {
            Some(environment) => tags.get(TAG_ENVIRONMENT).is_some_and(|tag| tag == environment),
            None => tags.contains_key(TAG_ENVIRONMENT),
        }
}

#[cfg(test)]
mod tests {
    use landfall_model::inventory::{
        TAG_COMMIT, TAG_CONTENT_HASH, TAG_EXECUTION, TAG_GENERATION, TAG_INSTANCE, TAG_SERVICE,
    };

    use super::*;

    fn tags(pairs: &[(&str, &str)]) -> Tags {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_tags_that_landfall_uses_are_legal() {
        let keys =
            [TAG_ENVIRONMENT, TAG_INSTANCE, TAG_GENERATION, TAG_EXECUTION, TAG_SERVICE, TAG_COMMIT, TAG_CONTENT_HASH];
        let all = keys.iter().map(|key| ((*key).to_owned(), "exe_01J9-a.b:c/d=e+f@g h".to_owned())).collect();
        check(&all).unwrap();
    }

    #[test]
    fn what_aws_refuses_is_refused_before() {
        assert!(check(&tags(&[("a,b", "")])).is_err());
        assert!(check(&tags(&[("a", "x#y")])).is_err());
        assert!(check(&tags(&[("aws:ecs:x", "y")])).is_err());
        assert!(check(&tags(&[("a", &"x".repeat(257))])).is_err());
        assert!(check(&tags(&[("a", &"x".repeat(256))])).is_ok());
        assert!(check(&(0..51).map(|n| (n.to_string(), String::new())).collect()).is_err());
    }

    #[test]
    fn another_installation_s_tags_are_not_ours() {
        let there = tags(&[(TAG_INSTANCE, "i1"), (TAG_ENVIRONMENT, "app-x")]);
        assert!(ours(&there, "i1", None) && ours(&there, "i1", Some("app-x")));
        assert!(!ours(&there, "i2", None) && !ours(&there, "i1", Some("app-y")));
        assert!(!ours(&tags(&[(TAG_INSTANCE, "i1")]), "i1", None));
    }

    #[test]
    fn aws_s_own_tags_are_not_told() {
        let read = read([(Some("aws:ecs:clusterName"), Some("c")), (Some("a"), None)].into_iter());
        assert_eq!(read, tags(&[("a", "")]));
    }
}
