//! What Amazon SNS does: a message to a topic, for whoever has subscribed.

use async_trait::async_trait;
use landfall_model::notice::{Reader, Sent};
use serde::Serialize;

use crate::PortResult;

#[async_trait]
pub trait Topic: Send + Sync {
    /// At least once: after a lost answer the same message is published again, with the same `id`.
    async fn publish(&self, message: &TopicMessage) -> PortResult<()>;

    /// Who gets what is published, and who has not said yes to that yet.
    async fn subscribers(&self) -> PortResult<Vec<Subscriber>>;
}

/// Hears what became of notices that ask somebody something.
#[async_trait]
pub trait Hears: Send + Sync {
    /// `notice`: its id. Told again after a crash, and of each attempt.
    async fn sent(&self, notice: &str, sent: Sent);
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicMessage {
    /// The same for the same message, however often it is published; topics that keep order drop the second one.
    pub id: String,
    /// Within a group a topic that keeps order keeps it.
    pub group: String,
    /// For subscribers by e-mail.
    pub subject: Option<String>,
    pub body: TopicBody,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicBody {
    /// The same text for every protocol.
    Text(String),
    /// A JSON object from protocol to text, with `default` among them (`MessageStructure=json`).
    ByProtocol(String),
}

/// Somebody, or something, that gets what is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Subscriber {
    /// `email`, `https`, `lambda`, …
    pub protocol: String,
    pub endpoint: String,
    /// It has said yes to it. Before that nothing is sent there, and SNS says nothing of that to who publishes.
    pub confirmed: bool,
}

impl Subscriber {
    /// What others may read of it: an address of another protocol may hold a secret.
    pub fn reader(&self) -> Reader {
        let who = if self.protocol.starts_with("email") { &self.endpoint } else { &self.protocol };
        Reader { who: who.clone(), confirmed: self.confirmed }
    }
}
