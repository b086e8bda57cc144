//! Commands from a chat, sleep, CircleCI's pipelines.

use super::{Checker, shown_at};
use crate::authored::{CircleCiHook, Manifest, Previews, SlackCommands};
use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::tree::{At, shorten};

/// Names that a pipeline parameter may have, by CircleCI's configuration reference: `^[a-z][a-z0-9_-]+$`.
fn parameter_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
    name.len() > 1 && name.as_bytes()[0].is_ascii_lowercase() && name.bytes().all(legal)
}

/// `gh/acme/my-project`: three parts of what a path may hold.
fn project_slug(slug: &str) -> bool {
    let legal = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    slug.split('/').count() == 3 && slug.split('/').all(legal)
}

fn slack_id(text: &str, first: &[char]) -> bool {
    text.len() >= 3
        && text.starts_with(first)
        && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

impl Checker<'_, '_> {
    pub(super) fn chatops(&mut self, manifest: &Manifest) {
        let at = self.root.get("chatops");
        let Some(slack) = manifest.chatops.as_ref().and_then(|chatops| chatops.slack.as_ref()) else { return };
        self.slack_commands(slack, at.get("slack"));
        if manifest.previews.is_none() && !self.root.get("previews").is_given() {
            let warning =
                Diagnostic::warning(codes::NEVER_BUILT, "there are no previews that a command could be about")
                    .label(at.key_span(), "")
                    .help("add `previews: {}`");
            self.push(warning);
        }
    }

    fn slack_commands(&mut self, slack: &SlackCommands, at: At<'_>) {
        if !at.get("signing_secret").is_given() && !at.get("outgoing_token").is_given() {
            let error = Diagnostic::error(codes::MISSING, "how does a command prove that it comes from Slack?")
                .label(at.key_span(), "neither `signing_secret` nor `outgoing_token`")
                .help("the signing secret is under Basic Information of the Slack app");
            self.push(error);
        }
        for (key, secret) in [("signing_secret", &slack.signing_secret), ("outgoing_token", &slack.outgoing_token)] {
            if let Some(secret) = secret {
                self.secret_ref(secret, at.get(key));
            }
        }
        for (index, channel) in slack.channels.iter().enumerate() {
            let at = at.get("channels").item(index);
            let name = channel.0.strip_prefix('#').is_some_and(|name| !name.trim().is_empty());
            if !name && !slack_id(&channel.0, &['C', 'G', 'D']) {
                let error = Diagnostic::error(codes::BAD_VALUE, format!("{} is no channel of Slack", shown_at(at)));
                self.push(error.label(at.span(), "neither an id nor a name").help("write `C0123ABCD` or `#name`"));
            }
        }
        for (index, user) in slack.users.iter().enumerate() {
            let at = at.get("users").item(index);
            if !slack_id(&user.0, &['U', 'W']) {
                let error = Diagnostic::error(codes::BAD_VALUE, format!("{} is no id of a user", shown_at(at)))
                    .label(at.span(), "not an id")
                    .help("names can be changed by whoever has them; the id (`U0123ABCD`) is in the user's profile");
                self.push(error);
            }
        }
    }

    pub(super) fn sleep(&mut self, previews: &Previews, at: At<'_>) {
        let Some(sleep) = &previews.sleep else { return };
        self.seconds(sleep.after, at.get("after"), 5, 315_360_000);
        self.seconds(sleep.hold, at.get("hold"), 1, 600);
        if previews.on.is_some() {
            let error = Diagnostic::error(codes::NOT_ON_AWS, "nobody sees the requests of previews on AWS")
                .label(at.key_span(), "a load balancer of AWS tells neither when it was used last nor holds a request")
                .help("remove it; `landfall preview sleep NAME` and `wake NAME` work everywhere");
            self.push(error);
        }
    }

    pub(super) fn circleci(&mut self, hook: &CircleCiHook, at: At<'_>) {
        if at.get("project").is_given() && !project_slug(&hook.project) {
            let at = at.get("project");
            let error = Diagnostic::error(codes::BAD_VALUE, format!("{} is no project of CircleCI", shown_at(at)))
                .label(at.span(), "not a slug")
                .help("write `gh/OWNER/NAME`; the project's settings show it");
            self.push(error);
        }
        for name in hook.parameters.keys().filter(|name| !parameter_name(name)) {
            let at = at.get("parameters").get(name);
            let message = format!("`{}` cannot be the name of a pipeline parameter", shorten(name));
            let error = Diagnostic::error(codes::NAME, message);
            self.push(error.label(at.key_span(), "lower-case letters, digits, `-` and `_`, at least two"));
        }
        if let Some(token) = &hook.token {
            self.secret_ref(token, at.get("token"));
        }
        if let Some(host) = &hook.host {
            self.url(host, at.get("host"));
        }
    }
}
