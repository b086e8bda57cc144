//! What an approver is shown, and the fingerprint of it.

use std::collections::{BTreeMap, BTreeSet};

use landfall_model::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// What would be deployed, over what. Whoever makes it leaves out what changes by itself: counts that scale, tasks that come and go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    pub environment: String,
    /// `service/container` → the image that would run, by digest.
    pub images: BTreeMap<String, String>,
    /// `service/container` → the image that runs.
    pub present: BTreeMap<String, String>,
    /// By service: digest of the configuration that would be sent.
    pub config: BTreeMap<String, String>,
    /// By service: what names its present state: its task definition and digest of its settings.
    pub state: BTreeMap<String, String>,
    /// What differs, in words: one line each. What people read.
    pub changes: Vec<String>,
    /// The release that is there now, in words. Not part of the fingerprint: `present` and `state` say it exactly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Where the release can be looked at: the stage before. Not part of the fingerprint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub look_at: Option<String>,
    /// The deployment is under way and stands: a yes lets it go on from there, and from nowhere else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
}

/// Where a stage's deployment waits for somebody: the pause hooks of ECS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// By the manifest's name of the service. What an approval is bound to.
    pub services: BTreeMap<String, Standing>,
    /// In words: one line for each service.
    pub lines: Vec<String>,
    /// Until when it waits, if that is known.
    pub until: Option<Timestamp>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// ECS's word: `POST_TEST_TRAFFIC_SHIFT`. One hook may wait in several of them, one after the other.
    pub at: String,
    /// Ids of the hooks that wait.
    pub hooks: Vec<String>,
}

impl Pause {
    /// Whether whoever said yes to that one said yes to this.
    #[must_use]
    pub fn within(&self, asked: &Self) -> bool {
        self.services.iter().all(|(service, now)| asked.services.get(service).is_some_and(|was| now.within(was)))
    }
}

impl Standing {
    /// As [`Pause::within`].
    #[must_use]
    pub fn within(&self, asked: &Self) -> bool {
        self.at == asked.at && self.hooks.iter().all(|hook| asked.hooks.contains(hook))
    }
}

/// Why two of them are not the same, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Differs(pub String);

#[derive(Serialize, PartialEq)]
struct Bound<'a> {
    environment: &'a str,
    images: &'a BTreeMap<String, String>,
    present: &'a BTreeMap<String, String>,
    config: &'a BTreeMap<String, String>,
    state: &'a BTreeMap<String, String>,
    changes: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    pause: Option<&'a BTreeMap<String, Standing>>,
}

impl Shown {
    /// `sha256:…` over all that an approval is bound to. Maps are sorted, so the same content gives the same text.
    pub fn fingerprint(&self) -> String {
        let bound = self.bound();
        // Maps with text as keys: this cannot fail. Were it to, nothing would ever match.
        let bytes = serde_json::to_vec(&bound).unwrap_or_default();
        format!("sha256:{}", hex::encode(Sha256::digest(&bytes)))
    }

    fn bound(&self) -> Bound<'_> {
        let Self { environment, images, present, config, state, changes, pause, from: _, look_at: _ } = self;
        Bound {
            environment,
            images,
            present,
            config,
            state,
            changes,
            pause: pause.as_ref().map(|pause| &pause.services),
        }
    }

    /// In what `now` is not what was shown; `None`: in nothing that counts.
    pub fn differs(&self, now: &Self) -> Option<Differs> {
        if self.bound() == now.bound() {
            return None;
        }
        let mut why = Vec::new();
        let mut maps = |was: &BTreeMap<String, String>, is: &BTreeMap<String, String>, what: &str| {
            let names: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
            let other: Vec<&str> =
                names.into_iter().filter(|name| was.get(*name) != is.get(*name)).map(String::as_str).collect();
            if !other.is_empty() {
                why.push(format!("{what} of {}", other.join(", ")));
            }
        };
        maps(&self.images, &now.images, "the image");
        maps(&self.config, &now.config, "the configuration");
        maps(&self.present, &now.present, "the image that runs");
        maps(&self.state, &now.state, "what runs");
        let why = if why.is_empty() { "what differs".to_owned() } else { why.join("; ") };
        Some(Differs(format!("{why} in {} is no longer what was shown", self.environment)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown() -> Shown {
        Shown {
            environment: "prod".into(),
            images: [("web/app".to_owned(), "sha256:a".to_owned())].into(),
            state: [("web".to_owned(), "web:3".to_owned())].into(),
            ..Shown::default()
        }
    }

    #[test]
    fn everything_that_counts_changes_the_fingerprint() {
        let before = shown();
        let changed: [fn(&mut Shown); 7] = [
            |one| one.environment = "dev".into(),
            |one| drop(one.images.insert("web/app".into(), "sha256:b".into())),
            |one| drop(one.present.insert("web/app".into(), "sha256:b".into())),
            |one| drop(one.config.insert("web".into(), "c".into())),
            |one| drop(one.state.insert("web".into(), "web:4".into())),
            |one| one.changes.push("cpu 256 → 512".into()),
            |one| {
                one.pause = Some(Pause { services: [("web".into(), Standing::default())].into(), ..Pause::default() })
            },
        ];
        for change in changed {
            let mut now = shown();
            change(&mut now);
            assert_ne!(before.fingerprint(), now.fingerprint());
            assert!(before.differs(&now).is_some());
        }
        let words = Shown { from: Some("1a2b3c4".into()), look_at: Some("http://x/".into()), ..shown() };
        assert_eq!(before.fingerprint(), words.fingerprint());
        assert_eq!(before.differs(&words), None);
    }

    #[test]
    fn what_differs_is_named() {
        let mut now = shown();
        now.state.insert("web".into(), "web:4".into());
        let Differs(why) = shown().differs(&now).unwrap();
        assert_eq!(why, "what runs of web in prod is no longer what was shown");
    }
}
