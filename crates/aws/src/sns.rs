//! Notices to SNS topics.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use landfall_ports::topic::{Subscriber, Topic, TopicBody, TopicMessage};
use landfall_ports::{PortError, PortResult};
use sha2::{Digest as _, Sha256};

use crate::budget::Family;
use crate::call::Call;
use crate::core::Core;
use crate::error::Failed;
use crate::signed::{self, Request, Signer, percent_encoded, region_of};
use crate::xml::Element;

const TIMEOUT: Duration = crate::config::CALL_TIMEOUT;
const VERSION: &str = "2010-03-31";
/// A hundred subscribers to a page.
const MOST_PAGES: usize = 100;

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

/// Who gets what is published, and who has not said yes to it yet.
pub(crate) async fn subscribers(core: &Core, signer: &Signer, topic: &str) -> Result<Vec<Subscriber>, Failed> {
    let resource = format!("topic {topic}");
    let call = Call { service: "sns", action: "ListSubscriptionsByTopic", family: Family::Sns, resource: &resource };
    let (mut all, mut next) = (Vec::new(), None);
    for _ in 0..MOST_PAGES {
        let mut parameters = vec![("TopicArn".to_owned(), topic.to_owned())];
        parameters.extend(next.map(|token| ("NextToken".to_owned(), token)));
        let region = region_of(topic, &core.region);
        let answer = signed::query(signer, core, call, region, VERSION, &parameters).await?;
        let result = Element::parse(&answer).and_then(|root| root.child("ListSubscriptionsByTopicResult").cloned());
        let unreadable = || PortError::Unavailable(format!("{}: the answer has no result", call.what()));
        let result = result.ok_or_else(unreadable)?;
        all.extend(result.members("Subscriptions").map(subscriber));
        next = result.get("NextToken");
        if next.is_none() {
            all.sort_by(|a, b| (&a.protocol, &a.endpoint).cmp(&(&b.protocol, &b.endpoint)));
            return Ok(all);
        }
    }
    Err(PortError::Unavailable(format!("{}: a listing without an end", call.what())).into())
}

fn subscriber(of: &Element) -> Subscriber {
    Subscriber {
        protocol: of.text("Protocol"),
        endpoint: of.text("Endpoint"),
        // Else it is `PendingConfirmation`, or `Deleted`.
        confirmed: of.text("SubscriptionArn").starts_with("arn:"),
    }
}

/// AWS mails a link to that address, again where it was not followed; nothing is sent there before it is.
pub(crate) async fn subscribe(core: &Core, signer: &Signer, topic: &str, address: &str) -> PortResult<()> {
    let resource = format!("topic {topic}");
    let call = Call { service: "sns", action: "Subscribe", family: Family::Sns, resource: &resource };
    let parameters = [("TopicArn", topic), ("Protocol", "email"), ("Endpoint", address)];
    let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned()));
    signed::query(signer, core, call, region_of(topic, &core.region), VERSION, &parameters).await?;
    Ok(())
}

/// Publish in the query protocol.
fn form(arn: &str, message: &TopicMessage) -> String {
    let (text, structure) = match &message.body {
        TopicBody::Text(text) => (text, None),
        TopicBody::ByProtocol(json) => (json, Some("json")),
    };
    let mut fields = vec![("Action", "Publish"), ("Version", VERSION), ("TopicArn", arn), ("Message", text)];
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

    async fn subscribers(&self) -> PortResult<Vec<Subscriber>> {
        Ok(subscribers(&self.core, &self.signer, &self.arn).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_not_said_yes_is_pending() {
        let member = |arn: &str| {
            let text = format!(
                "<member><SubscriptionArn>{arn}</SubscriptionArn><Protocol>email</Protocol><Endpoint>a@b.c</Endpoint></member>"
            );
            subscriber(&Element::parse(&text).unwrap()).confirmed
        };
        assert!(member("arn:aws:sns:eu-west-1:1:ops:0a1b"));
        assert!(!member("PendingConfirmation") && !member("Deleted"));
    }

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
