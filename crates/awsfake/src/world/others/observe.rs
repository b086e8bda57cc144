//! CloudWatch Logs, alarms and metrics.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::world::Millis;
use crate::world::error::{Answer, AwsError};
use crate::world::space::Space;
use crate::world::value::{boolean, list, needed, number, page, required, seconds, text, texts};

#[derive(Debug, Clone, Default)]
pub struct LogGroup {
    arn: String,
    created: Millis,
    /// Time and line, by stream.
    streams: BTreeMap<String, Vec<(Millis, String)>>,
    retention: Option<u64>,
}

#[derive(Debug, Clone)]
pub struct Alarm {
    state: String,
    reason: String,
    input: Value,
    updated: Millis,
}

fn missing(what: &str) -> AwsError {
    AwsError::new("ResourceNotFoundException", format!("The specified log {what} does not exist."))
}

impl Space {
    /// As a task's log driver writes: the group must be there, the stream is made.
    pub fn append_logs(&mut self, group: &str, stream: &str, lines: &[Value]) {
        let now = self.now;
        let Some(group) = self.others.log_groups.get_mut(group) else { return };
        let own = group.streams.entry(stream.to_owned()).or_default();
        own.extend(lines.iter().filter_map(Value::as_str).map(|line| (now, line.to_owned())));
    }

    fn log_group(&mut self, input: &Value) -> Result<&mut LogGroup, AwsError> {
        let name = text(input, "logGroupName").or_else(|| text(input, "logGroupIdentifier"));
        let name = name.and_then(|name| name.split(":log-group:").last()).unwrap_or_default();
        self.others.log_groups.get_mut(name.trim_end_matches(":*")).ok_or_else(|| missing("group"))
    }

    pub fn logs_call(&mut self, operation: &str, input: &Value) -> Answer {
        let now = self.now;
        match operation {
            "CreateLogGroup" => {
                let name = required(input, "logGroupName")?.to_owned();
                if self.others.log_groups.contains_key(&name) {
                    let message = "The specified log group already exists";
                    return Err(AwsError::new("ResourceAlreadyExistsException", message));
                }
                let arn = self.arn("logs", &format!("log-group:{name}:*"));
                let group = LogGroup { arn, created: now, ..LogGroup::default() };
                self.others.log_groups.insert(name, group);
                Ok(json!({}))
            }
            "DeleteLogGroup" => {
                let gone = self.others.log_groups.remove(required(input, "logGroupName")?);
                gone.map(|_| json!({})).ok_or_else(|| missing("group"))
            }
            "PutRetentionPolicy" => {
                self.log_group(input)?.retention = number(input, "retentionInDays");
                Ok(json!({}))
            }
            "DescribeLogGroups" => {
                let prefix = text(input, "logGroupNamePrefix").unwrap_or_default();
                let rows = self.others.log_groups.iter().filter(|(name, _)| name.starts_with(prefix));
                let rows = rows
                    .map(|(name, own)| {
                        let view = json!({
                            "logGroupName": name,
                            "arn": own.arn,
                            "creationTime": own.created,
                            "retentionInDays": own.retention,
                        });
                        (name.clone(), crate::world::value::trimmed(view))
                    })
                    .collect();
                paged("logGroups", rows, input)
            }
            "CreateLogStream" => {
                let stream = required(input, "logStreamName")?.to_owned();
                let group = self.log_group(input)?;
                if group.streams.contains_key(&stream) {
                    let message = "The specified log stream already exists";
                    return Err(AwsError::new("ResourceAlreadyExistsException", message));
                }
                group.streams.insert(stream, Vec::new());
                Ok(json!({}))
            }
            "PutLogEvents" => {
                let stream = required(input, "logStreamName")?.to_owned();
                let group = self.log_group(input)?;
                let own = group.streams.get_mut(&stream).ok_or_else(|| missing("stream"))?;
                let events = list(input, "logEvents").iter();
                own.extend(events.filter_map(|event| {
                    Some((number(event, "timestamp").unwrap_or(now), text(event, "message")?.to_owned()))
                }));
                Ok(json!({"nextSequenceToken": "fake"}))
            }
            "DescribeLogStreams" => {
                let prefix = text(input, "logStreamNamePrefix").unwrap_or_default().to_owned();
                let group = self.log_group(input)?;
                let rows = group.streams.iter().filter(|(name, _)| name.starts_with(&prefix));
                let rows = rows
                    .map(|(name, lines)| {
                        let mut view =
                            json!({"logStreamName": name, "arn": format!("{}:log-stream:{name}", group.arn)});
                        if let (Some(first), Some(last)) = (lines.first(), lines.last()) {
                            view["firstEventTimestamp"] = first.0.into();
                            view["lastEventTimestamp"] = last.0.into();
                        }
                        (name.clone(), view)
                    })
                    .collect();
                paged("logStreams", rows, input)
            }
            "GetLogEvents" => self.get_log_events(input),
            "FilterLogEvents" => self.filter_log_events(input),
            _ => Err(AwsError::unknown_operation("logs", operation)),
        }
    }

    /// Tokens are `f/N` and `b/N`: what comes from the Nth line on, what came before it. At the end the same token again.
    fn get_log_events(&mut self, input: &Value) -> Answer {
        let now = self.now;
        let stream = required(input, "logStreamName")?.to_owned();
        let group = self.log_group(input)?;
        let lines = group.streams.get(&stream).ok_or_else(|| missing("stream"))?;
        let (from, to) = (number(input, "startTime").unwrap_or(0), number(input, "endTime").unwrap_or(u64::MAX));
        let lines: Vec<&(Millis, String)> = lines.iter().filter(|(at, _)| (from..to).contains(at)).collect();
        let size = number(input, "limit").unwrap_or(10_000).clamp(1, 10_000) as usize;
        let token = text(input, "nextToken").and_then(|token| token.split_once('/'));
        let token = token.and_then(|(way, place)| Some((way, place.parse::<usize>().ok()?.min(lines.len()))));
        let (start, end) = match token {
            Some(("b", place)) => (place.saturating_sub(size), place),
            Some((_, place)) => (place, (place + size).min(lines.len())),
            None if boolean(input, "startFromHead") == Some(true) => (0, size.min(lines.len())),
            None => (lines.len().saturating_sub(size), lines.len()),
        };
        let events: Vec<Value> = (lines[start..end].iter())
            .map(|(at, line)| json!({"timestamp": at, "message": line, "ingestionTime": now.min(*at)}))
            .collect();
        Ok(json!({
            "events": events,
            "nextForwardToken": format!("f/{end}"),
            "nextBackwardToken": format!("b/{start}"),
        }))
    }

    fn filter_log_events(&mut self, input: &Value) -> Answer {
        let names = texts(input, "logStreamNames");
        let prefix = text(input, "logStreamNamePrefix").unwrap_or_default().to_owned();
        let pattern = text(input, "filterPattern").unwrap_or_default().trim_matches('"').to_owned();
        let (from, to) = (number(input, "startTime").unwrap_or(0), number(input, "endTime").unwrap_or(u64::MAX));
        let size = number(input, "limit").unwrap_or(10_000).clamp(1, 10_000) as usize;
        let group = self.log_group(input)?;
        let mut rows = Vec::new();
        for (stream, lines) in &group.streams {
            if !names.is_empty() && !names.contains(stream) || !stream.starts_with(&prefix) {
                continue;
            }
            for (place, (at, line)) in lines.iter().enumerate() {
                if (from..=to).contains(at) && line.contains(&pattern) {
                    let key = format!("{at:015}/{stream}/{place:09}");
                    let id = format!("{place:056}");
                    let event = json!({"logStreamName": stream, "timestamp": at, "message": line, "ingestionTime": at, "eventId": id});
                    rows.push((key, event));
                }
            }
        }
        rows.sort_by(|one, other| one.0.cmp(&other.0));
        let (rows, next) = page(rows, text(input, "nextToken"), size)?;
        Ok(crate::world::ecs::clusters::listing("events", rows, next))
    }

    pub fn alarms_call(&mut self, operation: &str, input: &Value) -> Answer {
        match operation {
            "PutMetricAlarm" => {
                let alarm = Alarm {
                    state: "INSUFFICIENT_DATA".to_owned(),
                    reason: "Unchecked: Initial alarm creation".to_owned(),
                    input: input.clone(),
                    updated: self.now,
                };
                self.others.alarms.insert(needed(input, "AlarmName")?.to_owned(), alarm);
                Ok(json!({}))
            }
            "SetAlarmState" => {
                let now = self.now;
                let name = needed(input, "AlarmName")?.to_owned();
                let alarm = self.others.alarms.get_mut(&name);
                let alarm = alarm.ok_or_else(|| AwsError::new("ResourceNotFound", "").status(404))?;
                alarm.state = needed(input, "StateValue")?.to_owned();
                alarm.reason = text(input, "StateReason").unwrap_or_default().to_owned();
                alarm.updated = now;
                if alarm.state == "ALARM" {
                    self.alarm_fired(&name);
                }
                Ok(json!({}))
            }
            "DescribeAlarms" => {
                let names = texts(input, "AlarmNames");
                let state = text(input, "StateValue");
                let rows = self.others.alarms.iter().filter(|(name, own)| {
                    (names.is_empty() || names.contains(name)) && state.is_none_or(|state| state == own.state)
                });
                let rows: Vec<Value> = rows
                    .map(|(name, own)| {
                        let mut view = own.input.clone();
                        view["AlarmArn"] = self.arn("cloudwatch", &format!("alarm:{name}")).into();
                        view["StateValue"] = own.state.clone().into();
                        view["StateReason"] = own.reason.clone().into();
                        view["StateUpdatedTimestamp"] = seconds(own.updated);
                        view
                    })
                    .collect();
                Ok(json!({"MetricAlarms": rows, "CompositeAlarms": []}))
            }
            "PutMetricData" => {
                let space = needed(input, "Namespace")?;
                let (at, data) = (self.now, list(input, "MetricData"));
                if data.is_empty() {
                    return Err(AwsError::new("MissingParameter", "The parameter MetricData is required."));
                }
                let put = data.iter().map(|one| {
                    let (name, dimensions) = (&one["MetricName"], &one["Dimensions"]);
                    json!({"at": at, "namespace": space, "name": name, "dimensions": dimensions, "value": one["Value"]})
                });
                self.others.metrics.extend(put);
                Ok(json!({}))
            }
            "DeleteAlarms" => {
                for name in texts(input, "AlarmNames") {
                    self.others.alarms.remove(&name);
                }
                Ok(json!({}))
            }
            _ => Err(AwsError::new(
                "InvalidAction",
                format!("Could not find operation {operation} for version 2010-08-01"),
            )),
        }
    }
}

fn paged(key: &str, rows: Vec<(String, Value)>, input: &Value) -> Answer {
    let size = number(input, "limit").unwrap_or(50).clamp(1, 50) as usize;
    let (rows, next) = page(rows, text(input, "nextToken"), size)?;
    Ok(crate::world::ecs::clusters::listing(key, rows, next))
}
