//! Messages as people and programs read them. Pure.

use landfall_model::notice::{Notice, NoticeKind};
use serde_json::{Value, json};

/// The body of the generic webhook: the notice itself, so that fields are the same as in `--output json`.
pub fn webhook(notice: &Notice) -> Value {
    json!({"schema": 1, "notice": notice})
}

/// The body of a Slack-compatible incoming webhook.
pub fn slack(notice: &Notice, channel: Option<&str>) -> Value {
    let mut text = format!("{} {}", sign(notice.kind), escape(&notice.text));
    if let Some(url) = &notice.url
        && !notice.text.contains(url.as_str())
    {
        text.push_str(&format!("\n<{}>", escape(url)));
    }
    if let Some(cause) = &notice.cause {
        text.push_str(&format!("\n```{}```", escape(cause.trim_end()).replace("```", "'''")));
    }
    let mut body = json!({"text": text, "username": "landfall"});
    if let Some(channel) = channel {
        body["channel"] = json!(channel);
    }
    body
}

/// The word in `text` says it too; the sign only helps the eye.
fn sign(kind: NoticeKind) -> &'static str {
    match kind {
        NoticeKind::Created | NoticeKind::Updated => ":white_check_mark:",
        NoticeKind::Destroyed => ":wastebasket:",
        NoticeKind::Failed | NoticeKind::RolledBack => ":x:",
        NoticeKind::Paused | NoticeKind::AwaitingApproval => ":raised_hand:",
        NoticeKind::Warning => ":warning:",
        NoticeKind::Queued
        | NoticeKind::Creating
        | NoticeKind::Updating
        | NoticeKind::Destroying
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
    fn webhook_bodies_carry_the_notice_itself() {
        let body = webhook(&notice(NoticeKind::Created, "up"));
        assert_eq!(body["schema"], 1);
        assert_eq!(body["notice"]["kind"], "created");
        assert_eq!(body["notice"]["id"], "exe_1/7");
        assert_eq!(serde_json::from_value::<Notice>(body["notice"].clone()).unwrap().text, "up");
    }
}
