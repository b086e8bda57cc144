//! Messages as people and programs read them. Pure.

use landfall_model::app::ChatEnvelope;
use landfall_model::notice::{Notice, NoticeKind};
use landfall_ports::topic::{TopicBody, TopicMessage};
use serde_json::{Value, json};

/// The body of the generic webhook: the notice itself, so that fields are the same as in `--output json`.
pub fn webhook(notice: &Notice) -> Value {
    json!({"schema": 1, "notice": notice})
}

/// The body of a Slack-compatible incoming webhook.
pub fn slack(notice: &Notice, channel: Option<&str>) -> Value {
    let mut body = json!({"text": slack_text(notice), "username": "landfall"});
    if let Some(channel) = channel {
        body["channel"] = json!(channel);
    }
    body
}

/// SNS takes 256 KiB with everything that belongs to a message; the escapes of JSON within JSON included.
const LONGEST_CAUSE: usize = 32 * 1024;
/// SNS: printable ASCII, less than 100 characters, no line breaks.
const LONGEST_SUBJECT: usize = 99;

/// A message of a topic: readable text, or in `envelope` a JSON object whose `default` is itself a JSON text with `channel`,
/// `username`, `icon_url` and `text` in Slack's markup.
pub fn topic(notice: &Notice, envelope: Option<&ChatEnvelope>) -> TopicMessage {
    let cut = |cause: &String| cause.chars().take(LONGEST_CAUSE / 4).collect::<String>();
    let notice = &Notice { cause: notice.cause.as_ref().map(cut), ..notice.clone() };
    let body = match envelope {
        None => TopicBody::Text(plain(notice)),
        Some(envelope) => {
            let mut chat =
                json!({"channel": envelope.channel, "username": envelope.username, "text": slack_text(notice)});
            if let Some(icon) = &envelope.icon_url {
                chat["icon_url"] = json!(icon);
            }
            TopicBody::ByProtocol(json!({"default": chat.to_string()}).to_string())
        }
    };
    let subject: String = notice.text.chars().filter(|c| matches!(c, ' '..='~')).take(LONGEST_SUBJECT).collect();
    let subject = Some(subject.trim().to_owned()).filter(|subject| !subject.is_empty());
    TopicMessage { id: notice.id.clone(), group: notice.environment.to_string(), subject, body }
}

fn plain(notice: &Notice) -> String {
    let mut text = notice.text.clone();
    if let Some(url) = notice.url.as_ref().filter(|url| !notice.text.contains(url.as_str())) {
        text.push_str(&format!("\n{url}"));
    }
    if let Some(links) = &notice.links {
        text.push_str(&format!("\n\n{links}"));
    }
    if let Some(cause) = &notice.cause {
        text.push_str(&format!("\n\n{}", cause.trim_end()));
    }
    text
}

fn slack_text(notice: &Notice) -> String {
    let mut text = format!("{} {}", sign(notice.kind), escape(&notice.text));
    if let Some(url) = &notice.url
        && !notice.text.contains(url.as_str())
    {
        text.push_str(&format!("\n<{}>", escape(url)));
    }
    if let Some(links) = &notice.links {
        text.push_str(&format!("\n{}", escape(links)));
    }
    if let Some(cause) = &notice.cause {
        text.push_str(&format!("\n```{}```", escape(cause.trim_end()).replace("```", "'''")));
    }
    text
}

/// The word in `text` says it too; the sign only helps the eye.
fn sign(kind: NoticeKind) -> &'static str {
    match kind {
        NoticeKind::Created | NoticeKind::Updated | NoticeKind::Deployed => ":white_check_mark:",
        NoticeKind::Destroyed => ":wastebasket:",
        NoticeKind::Failed | NoticeKind::RolledBack => ":x:",
        NoticeKind::Paused | NoticeKind::AwaitingApproval => ":raised_hand:",
        NoticeKind::Warning => ":warning:",
        NoticeKind::Queued
        | NoticeKind::Creating
        | NoticeKind::Updating
        | NoticeKind::Destroying
        | NoticeKind::Deploying
        | NoticeKind::Superseded => ":hourglass_flowing_sand:",
    }
}

/// Slack's three control characters.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use landfall_model::Timestamp;

    use super::*;

    fn notice(kind: NoticeKind, text: &str) -> Notice {
        Notice {
            id: "exe_1/7".into(),
            kind,
            environment: "my-project-test123".into(),
            execution: Some("exe_1".into()),
            text: text.into(),
            url: Some("http://test123.my-project.localhost:8080/".into()),
            cause: None,
            at: Timestamp::UNIX_EPOCH,
            links: None,
            to: Vec::new(),
        }
    }

    #[test]
    fn slack_messages() {
        let up = slack(&notice(NoticeKind::Created, "my-project-test123 is up at 1a2b3c4"), Some("#previews"));
        assert_eq!(
            up,
            json!({
                "text": ":white_check_mark: my-project-test123 is up at 1a2b3c4\n<http://test123.my-project.localhost:8080/>",
                "username": "landfall",
                "channel": "#previews",
            })
        );
        let mut failed = notice(NoticeKind::Failed, "a <b> & c failed");
        failed.url = None;
        failed.cause = Some("exit code 3\n```app: boom```\n".into());
        assert_eq!(slack(&failed, None)["text"], ":x: a &lt;b&gt; &amp; c failed\n```exit code 3\n'''app: boom'''```");
    }

    #[test]
    fn a_chat_forwarder_finds_its_envelope() {
        let mut notice = notice(NoticeKind::Created, "my-project-test123 is up");
        notice.cause = Some("\u{1}é".repeat(60_000));
        let envelope = |icon_url| ChatEnvelope { channel: "#test".into(), username: "ecs deity".into(), icon_url };
        let message = topic(&notice, Some(&envelope(Some("http://h/i.png".into()))));
        assert_eq!((message.id.as_str(), message.group.as_str()), ("exe_1/7", "my-project-test123"));
        let TopicBody::ByProtocol(body) = message.body else { panic!("no envelope") };
        assert!(body.len() < 250 * 1024, "{}", body.len());
        let outer: Value = serde_json::from_str(&body).unwrap();
        let chat: Value = serde_json::from_str(outer["default"].as_str().unwrap()).unwrap();
        assert_eq!(chat["channel"], "#test");
        assert_eq!((&chat["username"], &chat["icon_url"]), (&json!("ecs deity"), &json!("http://h/i.png")));
        let text = chat["text"].as_str().unwrap();
        assert!(text.starts_with(":white_check_mark: my-project-test123 is up\n<http://test123"), "{text:.80}");
        notice.cause = None;
        let TopicBody::ByProtocol(body) = topic(&notice, Some(&envelope(None))).body else { panic!("no envelope") };
        assert!(!body.contains("icon_url"));
    }

    #[test]
    fn no_sender_is_left_for_the_next_message() {
        let notice = notice(NoticeKind::Created, "my-project-test123 is up");
        let sender = |username: &str, icon_url: Option<&str>| {
            let envelope = ChatEnvelope {
                channel: "#test".into(),
                username: username.into(),
                icon_url: icon_url.map(str::to_owned),
            };
            let TopicBody::ByProtocol(body) = topic(&notice, Some(&envelope)).body else { panic!("no envelope") };
            let outer: Value = serde_json::from_str(&body).unwrap();
            let chat: Value = serde_json::from_str(outer["default"].as_str().unwrap()).unwrap();
            (chat["username"].clone(), chat["icon_url"].clone())
        };
        assert_eq!(sender("ECS", Some("http://h/ecs.png")), (json!("ECS"), json!("http://h/ecs.png")));
        assert_eq!(sender("ecs deity", None), (json!("ecs deity"), Value::Null));
    }

    #[test]
    fn a_plain_message_is_text_with_a_legal_subject() {
        let mut notice = notice(NoticeKind::Failed, "a\tfailed: é");
        notice.cause = Some("exit code 3\n".into());
        let message = topic(&notice, None);
        assert_eq!(message.subject.as_deref(), Some("afailed:"));
        let text = "a\tfailed: é\nhttp://test123.my-project.localhost:8080/\n\nexit code 3";
        assert_eq!(message.body, TopicBody::Text(text.into()));
        notice.text = "x".repeat(300);
        assert_eq!(topic(&notice, None).subject.unwrap().len(), 99);
        notice.text = "\n".into();
        assert_eq!(topic(&notice, None).subject, None);
    }

    #[test]
    fn webhook_bodies_carry_the_notice_itself() {
        let body = webhook(&notice(NoticeKind::Created, "up"));
        assert_eq!(body["schema"], 1);
        assert_eq!(body["notice"]["kind"], "created");
        assert_eq!(body["notice"]["id"], "exe_1/7");
        assert_eq!(serde_json::from_value::<Notice>(body["notice"].clone()).unwrap().text, "up");
    }
}
