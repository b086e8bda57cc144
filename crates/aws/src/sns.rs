//! Notices to SNS topics.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use landfall_ports::topic::{Topic, TopicBody, TopicMessage};
use landfall_ports::{PortError, PortResult};
use sha2::{Digest as _, Sha256};

use crate::budget::Family;
use crate::call::Call;
use crate::core::Core;
use crate::signed::{Request, Signer, percent_encoded, region_of};

const TIMEOUT: Duration = crate::config::CALL_TIMEOUT;

pub(crate) struct SnsTopic {
    core: Arc<Core>,
    signer: Arc<Signer>,
    arn: String,
}

impl SnsTopic {
    /// # Errors
    /// `Invalid` for what is not the ARN of a topic.
    pub(crate) fn new(core: Arc<Core>, signer: Arc<Signer>, arn: &str) -> PortResult<Self> {
        if arn.split(':').count() != 6 || arn.split(':').nth(2) != Some("sns") {
            return Err(PortError::Invalid(format!("{arn} is not the ARN of an SNS topic")));
        }
        Ok(Self { core, signer, arn: arn.to_owned() })
    }
}

/// Publish in the query protocol.
fn form(arn: &str, message: &TopicMessage) -> String {
    let (text, structure) = match &message.body {
        TopicBody::Text(text) => (text, None),
        TopicBody::ByProtocol(json) => (json, Some("json")),
    };
    let mut fields = vec![("Action", "Publish"), ("Version", "2010-03-31"), ("TopicArn", arn), ("Message", text)];
    fields.extend(structure.map(|structure| ("MessageStructure", structure)));
    fields.extend(message.subject.as_deref().map(|subject| ("Subject", subject)));
    // What an id may hold in a topic that keeps order is less than what ours hold.
    let ordered = |text: &str| hex::encode(Sha256::digest(text));
    let (id, group) = (ordered(&message.id), ordered(&message.group));
    if arn.ends_with(".fifo") {
        fields.extend([("MessageDeduplicationId", id.as_str()), ("MessageGroupId", group.as_str())]);
    }
    let field = |(name, value): &(&str, &str)| format!("{name}={}", percent_encoded(value));
    fields.iter().map(field).collect::<Vec<_>>().join("&")
}

#[async_trait]
impl Topic for SnsTopic {
    async fn publish(&self, message: &TopicMessage) -> PortResult<()> {
        let resource = format!("topic {}", self.arn);
        let call = Call { service: "sns", action: "Publish", family: Family::Sns, resource: &resource };
        let body = form(&self.arn, message);
        let request = Request {
            service: "sns",
            region: region_of(&self.arn, &self.core.region),
            path: "/",
            headers: &[("content-type", "application/x-www-form-urlencoded; charset=utf-8")],
            body: body.as_bytes(),
            timeout: TIMEOUT,
        };
        self.signer.call(&self.core, call, &request).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(body: TopicBody) -> TopicMessage {
        TopicMessage {
            id: "exe_1/7".to_owned(),
            group: "app-x".to_owned(),
            subject: Some("up & running".to_owned()),
            body,
        }
    }

    #[test]
    fn messages_as_the_query_protocol_has_them() {
        let arn = "arn:aws:sns:us-east-1:1:t";
        let text = form(arn, &message(TopicBody::Text("a=b&c é".to_owned())));
        assert_eq!(
            text,
            "Action=Publish&Version=2010-03-31&TopicArn=arn%3Aaws%3Asns%3Aus-east-1%3A1%3At&Message=a%3Db%26c%20%C3%A9&\
             Subject=up%20%26%20running"
        );
        let json = form(arn, &message(TopicBody::ByProtocol("{}".to_owned())));
        assert!(json.contains("Message=%7B%7D&MessageStructure=json&Subject"), "{json}");
        let fifo = form("arn:aws:sns:us-east-1:1:t.fifo", &message(TopicBody::Text(String::new())));
        assert!(fifo.contains("&MessageDeduplicationId=") && fifo.contains("&MessageGroupId="), "{fifo}");
    }
}
