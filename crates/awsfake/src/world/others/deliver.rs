//! SNS and Lambda: what was published and invoked is kept for assertions.

use serde::Serialize;
use serde_json::{Value, json};

use crate::world::error::{Answer, AwsError};
use crate::world::space::Space;
use crate::world::value::{leaf, needed, text};

#[derive(Debug, Clone, Serialize)]
pub struct Published {
    pub topic: String,
    pub subject: Option<String>,
    pub structure: Option<String>,
    pub message: String,
    pub attributes: Value,
}

#[derive(Debug, Clone)]
pub struct Subscription {
    topic: String,
    protocol: String,
    endpoint: String,
    /// Its ARN; `None`: the link that was mailed was not followed yet.
    confirmed: Option<String>,
}

impl Subscription {
    fn view(&self) -> Value {
        json!({
            "SubscriptionArn": self.confirmed.as_deref().unwrap_or("PendingConfirmation"),
            "Owner": self.topic.split(':').nth(4),
            "Protocol": self.protocol,
            "Endpoint": self.endpoint,
            "TopicArn": self.topic,
        })
    }
}

impl Space {
    pub fn sns_call(&mut self, operation: &str, input: &Value) -> Answer {
        match operation {
            "CreateTopic" => {
                let arn = self.arn("sns", needed(input, "Name")?);
                if !self.others.topics.contains(&arn) {
                    self.others.topics.push(arn.clone());
                }
                Ok(json!({"TopicArn": arn}))
            }
            "Publish" => {
                let topic = text(input, "TopicArn").or_else(|| text(input, "TargetArn"));
                let topic = topic.ok_or_else(|| AwsError::new("InvalidParameter", "Invalid parameter: TopicArn"))?;
                self.topic(topic)?;
                let message = text(input, "Message").unwrap_or_default().to_owned();
                if message.is_empty() {
                    return Err(AwsError::new("InvalidParameter", "Invalid parameter: Empty message"));
                }
                let structure = text(input, "MessageStructure").map(str::to_owned);
                if structure.as_deref() == Some("json") {
                    let parsed: Option<Value> = serde_json::from_str(&message).ok();
                    if !parsed.is_some_and(|parsed| parsed.get("default").is_some_and(Value::is_string)) {
                        let words = "Invalid parameter: Message Structure - No default entry in JSON message body";
                        return Err(AwsError::new("InvalidParameter", words));
                    }
                }
                let id = self.ids.uuid();
                self.others.published.push(Published {
                    topic: topic.to_owned(),
                    subject: text(input, "Subject").map(str::to_owned),
                    structure,
                    message,
                    attributes: input.get("MessageAttributes").cloned().unwrap_or_default(),
                });
                Ok(json!({"MessageId": id}))
            }
            "GetTopicAttributes" => {
                let topic = needed(input, "TopicArn")?;
                self.topic(topic)?;
                Ok(json!({"Attributes": {"TopicArn": topic, "Owner": self.account}}))
            }
            // By mail, which is confirmed by whoever has the address.
            "Subscribe" => {
                let of = |key| needed(input, key).map(str::to_owned);
                let (topic, protocol, endpoint) = (of("TopicArn")?, of("Protocol")?, of("Endpoint")?);
                self.topic(&topic)?;
                if !protocol.starts_with("email") || !endpoint.contains('@') {
                    return Err(AwsError::new("InvalidParameter", "Invalid parameter: Email address"));
                }
                let new = Subscription { topic, protocol, endpoint, confirmed: None };
                let same = |known: &&Subscription| {
                    (&known.topic, &known.protocol, &known.endpoint) == (&new.topic, &new.protocol, &new.endpoint)
                };
                let known = self.others.subscriptions.iter().find(same).map(|known| known.confirmed.clone());
                let arn = known.clone().flatten().unwrap_or_else(|| "pending confirmation".to_owned());
                if known.is_none() {
                    self.others.subscriptions.push(new);
                }
                Ok(json!({"SubscriptionArn": arn}))
            }
            // Tokens go by mail; here an address is its own.
            "ConfirmSubscription" => {
                let (topic, token) = (needed(input, "TopicArn")?, needed(input, "Token")?);
                self.topic(topic)?;
                let arn = format!("{topic}:{}", self.ids.uuid());
                let mut all = self.others.subscriptions.iter_mut();
                let found = all.find(|one| one.topic == topic && one.endpoint == token);
                let found = found.ok_or_else(|| AwsError::new("InvalidParameter", "Invalid parameter: Token"))?;
                let arn = found.confirmed.get_or_insert(arn).clone();
                Ok(json!({"SubscriptionArn": arn}))
            }
            "ListSubscriptionsByTopic" => {
                let topic = needed(input, "TopicArn")?;
                self.topic(topic)?;
                let own = self.others.subscriptions.iter().filter(|one| one.topic == topic);
                Ok(json!({"Subscriptions": own.map(Subscription::view).collect::<Vec<_>>()}))
            }
            "ListTopics" => {
                let topics: Vec<Value> = self.others.topics.iter().map(|arn| json!({"TopicArn": arn})).collect();
                Ok(json!({"Topics": topics}))
            }
            _ => Err(AwsError::new(
                "InvalidAction",
                format!("Could not find operation {operation} for version 2010-03-31"),
            )),
        }
    }

    fn topic(&self, arn: &str) -> Result<(), AwsError> {
        if self.others.topics.iter().any(|own| own == arn) {
            return Ok(());
        }
        Err(AwsError::new("NotFound", "Topic does not exist").status(404))
    }

    /// The rule of a function by name or ARN, with or without a qualifier.
    fn function(&self, name: &str) -> Result<&crate::world::rules::FunctionRule, AwsError> {
        let short = name.split(":function:").last().unwrap_or(name);
        let short = short.split(':').next().unwrap_or(short);
        let found = self
            .rules
            .functions
            .iter()
            .rev()
            .find(|rule| rule.name == name || leaf(&rule.name).split(":function:").last() == Some(short));
        found.ok_or_else(|| {
            let arn = self.arn("lambda", &format!("function:{short}"));
            AwsError::new("ResourceNotFoundException", format!("Function not found: {arn}")).status(404)
        })
    }

    /// `Invoke` answers `{status, headers, payload}`, which the protocol layer takes apart: its body is the payload itself.
    pub fn lambda_call(&mut self, operation: &str, input: &Value) -> Answer {
        let name = text(input, "FunctionName").unwrap_or_default().to_owned();
        let rule = self.function(&name)?.clone();
        match operation {
            "GetFunction" => Ok(json!({
                "Configuration": {
                    "FunctionName": rule.name,
                    "FunctionArn": self.arn("lambda", &format!("function:{}", rule.name)),
                    "State": "Active",
                },
            })),
            "Invoke" => {
                let kind = text(input, "InvocationType").unwrap_or("RequestResponse").to_owned();
                let payload = input.get("Payload").cloned().unwrap_or_default();
                if kind != "DryRun" {
                    self.others.invocations.push((name, payload));
                }
                let status = match kind.as_str() {
                    "Event" => 202,
                    "DryRun" => 204,
                    _ => 200,
                };
                let payload = if status == 200 { rule.answer } else { Value::Null };
                Ok(json!({"status": status, "error": rule.error, "payload": payload}))
            }
            _ => Err(AwsError::unknown_operation("lambda", operation)),
        }
    }
}
