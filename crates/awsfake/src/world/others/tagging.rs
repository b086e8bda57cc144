//! The Resource Groups Tagging API: resources of all services by tag.

use serde_json::{Value, json};

use crate::world::error::{Answer, AwsError};
use crate::world::space::Space;
use crate::world::value::{list, number, page, text, texts};

impl Space {
    pub fn tagging_call(&mut self, operation: &str, input: &Value) -> Answer {
        if operation != "GetResources" {
            return Err(AwsError::unknown_operation("tagging", operation));
        }
        let filters = list(input, "TagFilters");
        let kinds = texts(input, "ResourceTypeFilters");
        let wanted = |tags: &[(String, String)]| {
            filters.iter().all(|filter| {
                let values = texts(filter, "Values");
                tags.iter().any(|(key, value)| {
                    Some(key.as_str()) == text(filter, "Key") && (values.is_empty() || values.contains(value))
                })
            })
        };
        let is_kind = |arn: &str| {
            // arn:aws:SERVICE:REGION:ACCOUNT:TYPE/REST
            let mut parts = arn.splitn(6, ':').skip(2);
            let service = parts.next().unwrap_or_default();
            let kind = parts.nth(2).unwrap_or_default().split(['/', ':']).next().unwrap_or_default();
            kinds.is_empty() || kinds.iter().any(|own| own == service || *own == format!("{service}:{kind}"))
        };
        let all = self.ecs.tags.iter().chain(&self.elb.tags);
        let mut rows: Vec<(String, Value)> = all
            .filter(|(arn, tags)| !tags.is_empty() && wanted(tags) && is_kind(arn) && self.is_there(arn))
            .map(|(arn, tags)| {
                let tags: Vec<Value> = tags.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect();
                (arn.clone(), json!({"ResourceARN": arn, "Tags": tags}))
            })
            .collect();
        rows.sort_by(|one, other| one.0.cmp(&other.0));
        let size = number(input, "ResourcesPerPage").unwrap_or(100).clamp(1, 100) as usize;
        let (rows, next) = page(rows, text(input, "PaginationToken"), size)?;
        Ok(json!({"ResourceTagMappingList": rows, "PaginationToken": next.unwrap_or_default()}))
    }

    /// INACTIVE services and definitions are not listed.
    fn is_there(&self, arn: &str) -> bool {
        if let Some(service) = self.ecs.services.get(arn) {
            return service.exists();
        }
        if arn.contains(":task-definition/") {
            return self.definition(arn).is_some_and(|definition| definition.status == "ACTIVE");
        }
        true
    }
}
