//! `AWS::ElasticLoadBalancingV2`.

use serde::Serialize;

use super::{KeyValue, Tag};
use crate::expr::Expr;

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct LoadBalancer {
    pub r#type: &'static str,
    pub scheme: &'static str,
    pub subnets: Vec<Expr>,
    pub security_groups: Vec<Expr>,
    pub load_balancer_attributes: Vec<KeyValue>,
    pub tags: Vec<Tag>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Listener {
    pub load_balancer_arn: Expr,
    pub port: u16,
    pub protocol: &'static str,
    pub ssl_policy: Option<&'static str>,
    pub certificates: Vec<ListenerCertificate>,
    pub default_actions: Vec<Action>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListenerCertificate {
    pub certificate_arn: Expr,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "Type")]
pub enum Action {
    #[serde(rename = "forward", rename_all = "PascalCase")]
    Forward { target_group_arn: Expr },
    #[serde(rename = "redirect", rename_all = "PascalCase")]
    Redirect { redirect_config: Redirect },
    #[serde(rename = "fixed-response", rename_all = "PascalCase")]
    Answer { fixed_response_config: Answer },
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Redirect {
    pub protocol: &'static str,
    pub port: String,
    pub status_code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Answer {
    pub status_code: &'static str,
    pub content_type: &'static str,
    pub message_body: &'static str,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListenerRule {
    pub listener_arn: Expr,
    pub priority: u32,
    pub conditions: Vec<Condition>,
    pub actions: Vec<Action>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "Field")]
pub enum Condition {
    #[serde(rename = "host-header", rename_all = "PascalCase")]
    Host { host_header_config: Values },
    #[serde(rename = "path-pattern", rename_all = "PascalCase")]
    Path { path_pattern_config: Values },
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Values {
    pub values: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TargetGroup {
    pub vpc_id: Expr,
    pub target_type: &'static str,
    pub protocol: &'static str,
    pub port: u16,
    pub health_check_protocol: &'static str,
    pub health_check_path: String,
    pub health_check_port: String,
    pub health_check_interval_seconds: u32,
    pub health_check_timeout_seconds: u32,
    pub healthy_threshold_count: u32,
    pub unhealthy_threshold_count: u32,
    pub matcher: Matcher,
    pub target_group_attributes: Vec<KeyValue>,
    pub tags: Vec<Tag>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Matcher {
    pub http_code: String,
}
