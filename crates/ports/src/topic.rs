//! What Amazon SNS does: a message to a topic, for whoever has subscribed.

use async_trait::async_trait;
use serde::Serialize;

use crate::PortResult;

#[async_trait]
pub trait Topic: Send + Sync {
    /// At least once: after a lost answer the same message is published again, with the same `id`.
    async fn publish(&self, message: &TopicMessage) -> PortResult<()>;
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
