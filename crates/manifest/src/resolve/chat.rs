//! Commands from a chat, sleep and CircleCI's pipelines, authored → resolved.

use landfall_model::app::{ChatOps, CircleCi, SlackCommands, Sleep};
use landfall_model::task::SecretRef;

use super::{Here, defaults, secs};
use crate::authored;
use crate::scalar::Text;

const CIRCLECI: &str = "https://circleci.com";

pub(super) fn chatops(here: &Here<'_>, chatops: authored::ChatOps) -> ChatOps {
    let texts = |texts: Vec<Text>| texts.into_iter().map(|text| text.0).collect();
    let slack = chatops.slack.map(|slack| SlackCommands {
        signing_secret: slack.signing_secret.map(|secret| here.secret(secret)),
        outgoing_token: slack.outgoing_token.map(|secret| here.secret(secret)),
        channels: texts(slack.channels),
        users: texts(slack.users),
    });
    ChatOps { slack }
}

pub(super) fn sleep(sleep: &authored::Sleep) -> Option<Sleep> {
    Some(Sleep { after: sleep.after?.0 / 1_000, hold: secs(sleep.hold, defaults::HOLD) })
}

pub(super) fn circleci(here: &Here<'_>, hook: authored::CircleCiHook) -> CircleCi {
    let host = hook.host.unwrap_or_else(|| CIRCLECI.to_owned());
    CircleCi {
        host: host.trim_end_matches('/').to_owned(),
        project: hook.project,
        branch: hook.branch.map_or_else(|| "{branch}".to_owned(), |branch| branch.0),
        parameters: hook.parameters.into_iter().map(|(name, value)| (name, value.0)).collect(),
        // A hook without one was refused.
        token: here.secret(hook.token.unwrap_or_else(|| SecretRef::Env(String::new()))),
        wait: hook.wait,
    }
}
