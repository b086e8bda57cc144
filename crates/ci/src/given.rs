//! An event that a person gives instead of the host's: `--branch`, `--tag`, `--pull-request`, or a file.

use serde_json::Value;

use crate::context::{CiContext, Compare, Event};
use crate::detect::before;

/// A webhook's payload as GitHub sends it for a push, a tag or a pull request, laid over where we are.
///
/// # Errors
/// What the file lacks, in a sentence.
pub fn of_payload(bytes: &[u8], here: CiContext) -> Result<CiContext, String> {
    let payload: Value = serde_json::from_slice(bytes).map_err(|error| format!("it is not JSON: {error}"))?;
    let text = |pointer: &str| payload.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let repository = text("/repository/full_name").or(here.repository.clone());
    if payload["pull_request"].is_object() {
        let number = payload["pull_request"]["number"].as_u64().or_else(|| payload["number"].as_u64());
        let base = text("/pull_request/base/ref").unwrap_or_default();
        let from = text("/pull_request/head/repo/full_name");
        let event = Event::PullRequest {
            number: number.ok_or("its pull request has no `number`")?,
            head: text("/pull_request/head/ref").unwrap_or_default(),
            fork: from.is_none() || from != repository,
            base: base.clone(),
        };
        let compare = (!base.is_empty()).then(|| Compare::Branch(format!("origin/{base}")));
        return Ok(CiContext { event, repository, commit: text("/pull_request/head/sha"), compare, ..here });
    }
    let full =
        text("/ref").ok_or("it has neither `ref` nor `pull_request`: not a payload of push, create or pull_request")?;
    let event = match (full.strip_prefix("refs/heads/"), full.strip_prefix("refs/tags/"), text("/ref_type").as_deref())
    {
        (Some(branch), ..) => Event::Push { branch: branch.to_owned() },
        (_, Some(tag), _) => Event::Tag { tag: tag.to_owned() },
        // Of `create`, the name is short.
        (_, _, Some("tag")) => Event::Tag { tag: full },
        (_, _, Some("branch")) => Event::Push { branch: full },
        _ => return Err(format!("`ref` {full} is neither a branch nor a tag")),
    };
    let commit = text("/after").or(here.commit.clone());
    let zeros = |commit: &String| commit.bytes().all(|byte| byte == b'0');
    let compare = before(text("/before").as_deref());
    if commit.as_ref().is_some_and(zeros) {
        return Err("it tells that the ref was deleted: nothing runs for that".to_owned());
    }
    Ok(CiContext { event, repository, commit, compare: Some(compare), ..here })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::context::Host;

    fn here() -> CiContext {
        CiContext {
            host: Host::Laptop,
            event: Event::Manual,
            repository: None,
            commit: Some("c0".to_owned()),
            compare: None,
            job: None,
            url: None,
            actor: None,
        }
    }

    #[test]
    fn payloads_of_github_are_understood() {
        let of = |text: &str| of_payload(text.as_bytes(), here());
        let push = of(r#"{"ref":"refs/heads/a/b","before":"b1","after":"c1","repository":{"full_name":"acme/shop"}}"#)
            .unwrap();
        assert_eq!(push.event, Event::Push { branch: "a/b".to_owned() });
        assert_eq!((push.commit.as_deref(), push.compare), (Some("c1"), Some(Compare::Commit("b1".to_owned()))));
        let tag = of(r#"{"ref":"v1","ref_type":"tag"}"#).unwrap();
        assert_eq!((tag.event, tag.commit.as_deref()), (Event::Tag { tag: "v1".to_owned() }, Some("c0")));
        let fork = r#"{"number":7,"pull_request":{"head":{"ref":"x","sha":"h","repo":{"full_name":"eve/shop"}},"base":{"ref":"master"}},
            "repository":{"full_name":"acme/shop"}}"#;
        let fork = of(fork).unwrap();
        assert!(matches!(fork.event, Event::PullRequest { number: 7, fork: true, .. }), "{fork:?}");
        assert_eq!(
            (fork.commit.as_deref(), fork.compare),
            (Some("h"), Some(Compare::Branch("origin/master".to_owned())))
        );
        for (text, said) in [
            ("{}", "neither"),
            ("x", "not JSON"),
            (r#"{"ref":"refs/notes/x"}"#, "neither a branch nor a tag"),
            (r#"{"ref":"refs/heads/x","after":"0000"}"#, "deleted"),
        ] {
            assert!(of(text).unwrap_err().contains(said), "{text}");
        }
    }
}
