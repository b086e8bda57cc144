//! `s3://BUCKET/PREFIX`, as people write it.

use std::fmt;

/// Where a state is. Everything of it is under `prefix/`; two states in one bucket have two prefixes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    pub bucket: String,
    /// Without slashes at its ends; empty: the bucket is the state's alone.
    pub prefix: String,
}

/// Why a text is no address; says what is expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}: {why}")]
pub struct InvalidAddress {
    text: String,
    why: &'static str,
}

const SCHEME: &str = "s3://";

impl Address {
    /// Whether the text means one, right or wrong.
    pub fn is_meant(text: &str) -> bool {
        text.get(..SCHEME.len()).is_some_and(|start| start.eq_ignore_ascii_case(SCHEME))
    }

    /// # Errors
    /// No `s3://`, a bucket name that S3 does not allow, or a kind of bucket whose requests are signed otherwise.
    pub fn parse(text: &str) -> Result<Self, InvalidAddress> {
        let invalid = |why| InvalidAddress { text: text.to_owned(), why };
        if !Self::is_meant(text) {
            return Err(invalid("a state on S3 is written s3://BUCKET/PREFIX"));
        }
        let rest = &text[SCHEME.len()..];
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.starts_with("arn:") {
            return Err(invalid("access points are not supported: name the bucket"));
        }
        if bucket.ends_with("--x-s3") {
            return Err(invalid("directory buckets are not supported: take a general purpose bucket"));
        }
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' || c == '-';
        if !(3..=63).contains(&bucket.len()) || !bucket.chars().all(legal) {
            return Err(invalid("a bucket's name has 3 to 63 of a-z, 0-9, `.` and `-`"));
        }
        let prefix = prefix.trim_end_matches('/');
        if prefix.len() > 512 || prefix.split('/').any(|part| part.is_empty() && !prefix.is_empty()) {
            return Err(invalid("the prefix has empty parts, or more than 512 bytes"));
        }
        if prefix.contains(['?', '#']) || prefix.split('/').any(|part| part == "." || part == "..") {
            return Err(invalid("the prefix has `?`, `#`, `.` or `..`"));
        }
        Ok(Self { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }

    pub(crate) fn key(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}/{name}", self.prefix) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.bucket)?;
        if self.prefix.is_empty() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_bucket_and_perhaps_a_prefix() {
        let of = |text| Address::parse(text).map(|address| (address.key("state.json"), address.to_string()));
        let both = |key: &str, text: &str| Ok((key.to_owned(), text.to_owned()));
        assert_eq!(of("s3://acme-state/web/prod/"), both("web/prod/state.json", "s3://acme-state/web/prod"));
        assert_eq!(of("S3://acme-state"), both("state.json", "s3://acme-state"));
        for wrong in [
            "/var/lib/landfall",
            "s3://",
            "s3:///x",
            "s3://Acme/x",
            "s3://a/x",
            "s3://acme-state//x",
            "s3://acme-state/x//y",
            "s3://acme-state/x/../y",
            "s3://acme-state/x?y",
            "s3://acme--usw2-az1--x-s3/x",
            "s3://arn:aws:s3:eu-west-1:1:accesspoint/x",
        ] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
