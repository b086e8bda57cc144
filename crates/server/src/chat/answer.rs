//! What a chat is answered. Pure.

use landfall_model::Timestamp;
use landfall_model::app::App;
use landfall_model::environment::{EnvironmentKey, EnvironmentRecord, Phase};
use landfall_model::names::short_commit;
use landfall_ports::store::DeliveryOutcome;
use serde_json::{Value, json};

use super::command::{Command, Unclear};
use crate::metrics::word;

pub(super) const REPLAYED: &str = "This command was taken already; nothing is done twice.";
pub(super) const NOT_STORED: &str =
    "The command could not be written down, so it is not done. Try it again in a moment.";
/// Lines of a list; Slack cuts a message at 40,000 characters.
const LINES: usize = 50;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    text: String,
    /// For the whole channel, or only for whoever asked.
    in_channel: bool,
}

impl Answer {
    pub(super) fn privately(text: impl Into<String>) -> Self {
        Self { text: text.into(), in_channel: false }
    }

    fn to_all(text: String) -> Self {
        Self { text, in_channel: true }
    }

    /// To a slash command.
    pub(super) fn command(&self) -> Value {
        let kind = if self.in_channel { "in_channel" } else { "ephemeral" };
        json!({"response_type": kind, "text": self.text})
    }

    /// To an outgoing webhook, whose answers everybody sees.
    pub(super) fn outgoing(&self) -> Value {
        json!({"text": self.text})
    }
}

/// The three characters that mean something to Slack.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// In backticks, which nothing in it may end.
fn code(text: &str) -> String {
    format!("`{}`", escaped(&text.replace('`', "'")))
}

pub(super) fn unclear(unclear: &Unclear) -> String {
    let help = "`help` says what there is.";
    match unclear {
        Unclear::Unknown { word, near: Some(near) } => {
            format!("There is no command {}. Did you mean `{near}`? {help}", code(word))
        }
        Unclear::Unknown { word, near: None } => format!("There is no command {}. {help}", code(word)),
        Unclear::Missing { word } => format!("`{word}` of which branch? Write `{word} BRANCH`."),
        Unclear::TooMany { word, first } => format!("`{word}` does not know what to do with {}. {help}", code(first)),
        Unclear::Malformed { branch } => format!("{} cannot be the name of a branch.", code(branch)),
    }
}

pub(super) fn help(app: &App) -> String {
    let several = app.repositories.len() > 1;
    let repository = if several { " REPO" } else { "" };
    let mut text = format!(
        "*Landfall* for {}\n\
         • `create BRANCH{repository}`, or the branch alone: bring up its preview, or update it to the branch's tip\n\
         • `destroy BRANCH`: take it away\n\
         • `list`: the previews there are\n\
         • `status BRANCH`: one of them\n\
         • `sleep BRANCH`, `wake BRANCH`: run none of its tasks, or run them again",
        escaped(&app.project)
    );
    if let Some(previews) = &app.previews {
        let patterns: Vec<String> = previews.branches.iter().map(|pattern| code(pattern)).collect();
        text.push_str(&format!("\nBranches: {}", patterns.join(", ")));
    }
    if several {
        let keys: Vec<String> = app.repositories.keys().map(|key| code(key.as_str())).collect();
        text.push_str(&format!("\nRepositories: {}", keys.join(", ")));
    }
    text
}

pub(super) fn list(records: &[EnvironmentRecord], now: Timestamp) -> String {
    let records: Vec<_> = records.iter().filter(|record| record.phase != Phase::Destroyed).collect();
    if records.is_empty() {
        return "There are no previews.".to_owned();
    }
    let mut lines: Vec<String> = records.iter().take(LINES).map(|record| format!("• {}", line(record, now))).collect();
    if records.len() > LINES {
        lines.push(format!("… and {} more", records.len() - LINES));
    }
    lines.join("\n")
}

pub(super) fn status(record: &EnvironmentRecord, now: Timestamp) -> String {
    line(record, now)
}

fn line(record: &EnvironmentRecord, now: Timestamp) -> String {
    let mut line = format!("*{}* is {}", escaped(record.id.as_str()), phase(record.phase));
    line.push_str(&format!(": {}", code(&record.key.source.to_string())));
    if let Some(commit) = &record.commit {
        line.push_str(&format!(" at {}", code(short_commit(commit))));
    }
    if let Some(url) = record.url.as_ref().filter(|_| record.phase != Phase::Destroyed) {
        line.push_str(&format!(" <{}>", escaped(url)));
    }
    let minutes = (now.as_second() - record.last_activity.as_second()).max(0) / 60;
    match minutes {
        0 => line.push_str(", asked for just now"),
        1..120 => line.push_str(&format!(", asked for {minutes} min ago")),
        120..2_880 => line.push_str(&format!(", asked for {} h ago", minutes / 60)),
        _ => line.push_str(&format!(", asked for {} d ago", minutes / 1_440)),
    }
    if let Some(message) = &record.message {
        let message: String = message.chars().take(500).collect();
        line.push_str(&format!("\n> {}", escaped(&message.replace('\n', " "))));
    }
    line
}

fn phase(phase: Phase) -> String {
    word(&phase).replace('_', " ")
}

/// Right after it was written down. ECS Deity's own sentence for `create`.
pub(super) fn accepted(
    command: &Command,
    environment: &EnvironmentKey,
    outcome: Option<&DeliveryOutcome>,
    record: Option<&EnvironmentRecord>,
) -> Answer {
    if let Some(DeliveryOutcome::Ignored { why } | DeliveryOutcome::Rejected { why }) = outcome {
        let branch = code(&environment.source.to_string());
        return Answer::privately(format!("{branch}: {}", escaped(why)));
    }
    let repository = escaped(environment.repository.as_str());
    let branch = code(&environment.source.to_string());
    let url = record.and_then(|record| record.url.as_ref()).map_or(String::new(), |url| format!(" <{}>", escaped(url)));
    Answer::to_all(match command {
        Command::Create { .. } => format!("Going to create {repository} env for {branch}"),
        Command::Destroy { .. } => format!("Going to destroy {repository} env of {branch}"),
        Command::Wake { .. } => format!("Going to wake {repository} env of {branch}{url}"),
        Command::Sleep { .. } => format!("Going to put {repository} env of {branch} to sleep"),
        Command::Help | Command::List | Command::Status { .. } => branch,
    })
}

/// Once it is done, or cannot be.
pub(super) fn ended(record: &EnvironmentRecord, now: Timestamp) -> Value {
    json!({"response_type": "in_channel", "replace_original": false, "text": line(record, now)})
}
