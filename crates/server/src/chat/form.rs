//! Slack's form: what of it counts, and what names the request.

use sha2::{Digest, Sha256};

/// Fields beyond these are left alone; of a field given twice the first counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) token: String,
    pub(super) team_id: String,
    pub(super) channel_id: String,
    pub(super) channel_name: String,
    pub(super) user_id: String,
    pub(super) user_name: String,
    pub(super) text: String,
    pub(super) trigger_word: String,
    pub(super) trigger_id: String,
    /// Of an outgoing webhook: the message's time, unique in its channel.
    pub(super) timestamp: String,
    pub(super) response_url: Option<String>,
    /// Slack looks whether our certificate is good.
    pub(super) ssl_check: bool,
    pub(super) is_bot: bool,
}

/// More pairs than any request of Slack has.
const MAX_PAIRS: usize = 100;

impl Form {
    pub(super) fn parse(body: &[u8]) -> Result<Self, &'static str> {
        if std::str::from_utf8(body).is_err() {
            return Err("the form is not UTF-8");
        }
        let mut form = Form::default();
        let mut given = std::collections::BTreeSet::new();
        for (index, (name, value)) in form_urlencoded::parse(body).enumerate() {
            if index >= MAX_PAIRS {
                return Err("the form has more fields than Slack sends");
            }
            if !given.insert(name.clone().into_owned()) {
                continue;
            }
            let value = value.into_owned();
            match name.as_ref() {
                "token" => form.token = value,
                "team_id" => form.team_id = value,
                "channel_id" => form.channel_id = value,
                "channel_name" => form.channel_name = value,
                "user_id" => form.user_id = value,
                "user_name" => form.user_name = value,
                "text" => form.text = unescaped(&value),
                "trigger_word" => form.trigger_word = unescaped(&value),
                "trigger_id" => form.trigger_id = value,
                "timestamp" => form.timestamp = value,
                "response_url" => form.response_url = Some(value).filter(|url| !url.is_empty()),
                "ssl_check" => form.ssl_check = value == "1",
                "bot_id" => form.is_bot |= !value.is_empty(),
                _ => {}
            }
        }
        form.is_bot |= form.user_name == "slackbot";
        Ok(form)
    }

    /// The message without the word that made Slack send it.
    pub(super) fn without_trigger(&self) -> &str {
        let text = self.text.trim_start();
        text.strip_prefix(self.trigger_word.as_str()).map_or(text, |rest| rest.trim_start_matches(':'))
    }

    /// The same for a request that comes again. A hash: what Slack names requests by says who may answer them.
    pub(super) fn id(&self, from: u8) -> String {
        let mut hash = Sha256::new();
        hash.update([from]);
        for part in [&self.team_id, &self.channel_id, &self.user_id, &self.trigger_id, &self.timestamp, &self.text] {
            hash.update(part.len().to_be_bytes());
            hash.update(part.as_bytes());
        }
        let digest = hex::encode(hash.finalize());
        format!("slack:{}", digest.get(..32).unwrap_or(&digest))
    }

    /// For people who read journals; short, and of one line.
    pub(super) fn actor(&self) -> String {
        let name = if self.user_name.is_empty() { &self.user_id } else { &self.user_name };
        let legal = |c: &char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-');
        let name: String = name.chars().filter(legal).take(64).collect();
        if name.is_empty() { "unknown".to_owned() } else { name }
    }
}

/// Slack escapes three characters in what people write.
fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_slack_documents_is_read() {
        let body = b"token=gIkuvaNzQIHg97ATvDxqgjtO&team_id=T0001&channel_id=C2147483705&channel_name=test&user_id=U2147483697\
                     &user_name=Steve&command=%2Flandfall&text=create+feature%2Flogin&response_url=https%3A%2F%2Fhooks.slack.com\
                     %2Fcommands%2F1234%2F5678&trigger_id=13345224609.738474920.8088930838d88f008e0&unknown=1&text=destroy+x";
        let form = Form::parse(body).unwrap();
        assert_eq!(form.text, "create feature/login", "of a field given twice the first counts");
        assert_eq!(form.response_url.as_deref(), Some("https://hooks.slack.com/commands/1234/5678"));
        assert_eq!((form.actor().as_str(), form.channel_name.as_str()), ("Steve", "test"));
        assert!(!form.ssl_check && !form.is_bot);
        assert_eq!(form.id(0), Form::parse(body).unwrap().id(0));
        assert_ne!(form.id(0), form.id(1));
        assert_ne!(form.id(0), Form { trigger_id: "other".to_owned(), ..form.clone() }.id(0));
        assert!(!form.id(0).contains("8088930838"), "nothing of it in the clear");
    }

    #[test]
    fn the_trigger_word_is_taken_off() {
        let of = |word: &str, text: &str| {
            let form = Form { trigger_word: word.to_owned(), text: text.to_owned(), ..Form::default() };
            form.without_trigger().trim().to_owned()
        };
        assert_eq!(of("dev", "dev feature/test"), "feature/test");
        assert_eq!(of("dev:", "dev: list"), "list");
        assert_eq!(of("dev", "dev: list"), "list");
        assert_eq!(of("", "list"), "list");
        assert_eq!(Form { text: unescaped("a&lt;b&amp;gt;"), ..Form::default() }.text, "a<b&gt;");
    }

    #[test]
    fn too_much_and_no_text_are_refused() {
        assert!(Form::parse(b"text=\xff\xfe").is_err());
        assert!(Form::parse(&b"a=1&".repeat(100)).is_ok());
        assert!(Form::parse(&b"a=1&".repeat(101)).is_err());
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Ok(form) = Form::parse(&body) {
                prop_assert!(form.actor().chars().count() <= 64);
                prop_assert_eq!(form.id(0).len(), 38);
                let _ = form.without_trigger();
            }
        }

        #[test]
        fn what_is_encoded_is_read_back(text in "\\PC{0,80}", user in "[A-Z0-9]{1,12}") {
            let body = form_urlencoded::Serializer::new(String::new())
                .append_pair("user_id", &user).append_pair("text", &text.replace('&', "&amp;")).finish();
            let form = Form::parse(body.as_bytes()).unwrap();
            prop_assert_eq!(form.text, unescaped(&text.replace('&', "&amp;")));
            prop_assert_eq!(form.user_id, user);
        }
    }
}
