//! `AWS::CodePipeline`, `AWS::CodeBuild` and what they keep things in: `AWS::S3`, `AWS::SNS` and `AWS::SecretsManager`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Tag;
use crate::expr::Expr;
use crate::policy::Policy;

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Pipeline {
    pub name: String,
    pub pipeline_type: &'static str,
    pub execution_mode: &'static str,
    pub role_arn: Expr,
    pub artifact_store: ArtifactStore,
    pub stages: Vec<Stage>,
    pub tags: Vec<Tag>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ArtifactStore {
    pub r#type: &'static str,
    pub location: Expr,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Stage {
    pub name: String,
    pub actions: Vec<Action>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Action {
    pub name: String,
    pub action_type_id: ActionType,
    /// Actions of one number run side by side.
    pub run_order: u32,
    /// Under which later actions find its variables.
    pub namespace: Option<String>,
    pub input_artifacts: Vec<Artifact>,
    pub output_artifacts: Vec<Artifact>,
    pub configuration: BTreeMap<&'static str, Expr>,
    /// From 5, where the action is an approval.
    pub timeout_in_minutes: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ActionType {
    pub category: &'static str,
    pub owner: &'static str,
    pub provider: &'static str,
    pub version: &'static str,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Artifact {
    pub name: &'static str,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Project {
    pub name: String,
    pub description: String,
    pub service_role: Expr,
    pub artifacts: ProjectArtifacts,
    pub source: ProjectSource,
    pub environment: ProjectEnvironment,
    pub logs_config: LogsConfig,
    pub timeout_in_minutes: u32,
    pub tags: Vec<Tag>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ProjectArtifacts {
    pub r#type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ProjectSource {
    pub r#type: &'static str,
    /// YAML.
    pub build_spec: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ProjectEnvironment {
    pub r#type: &'static str,
    pub compute_type: &'static str,
    pub image: &'static str,
    /// Needed by who builds images.
    pub privileged_mode: bool,
    pub environment_variables: Vec<super::NameValue>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct LogsConfig {
    pub cloud_watch_logs: CloudWatchLogs,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CloudWatchLogs {
    pub status: &'static str,
    pub group_name: Expr,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Bucket {
    pub bucket_encryption: BucketEncryption,
    pub ownership_controls: Rules<Ownership>,
    pub public_access_block_configuration: PublicAccess,
    pub versioning_configuration: Option<Versioning>,
    pub lifecycle_configuration: Rules<Expiry>,
    pub tags: Vec<Tag>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct BucketEncryption {
    pub server_side_encryption_configuration: Vec<Encryption>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Encryption {
    pub server_side_encryption_by_default: Algorithm,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Algorithm {
    #[serde(rename = "SSEAlgorithm")]
    pub name: &'static str,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Rules<T> {
    pub rules: Vec<T>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Ownership {
    pub object_ownership: &'static str,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PublicAccess {
    pub block_public_acls: bool,
    pub block_public_policy: bool,
    pub ignore_public_acls: bool,
    pub restrict_public_buckets: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Versioning {
    pub status: &'static str,
}

/// Days.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Expiry {
    pub id: &'static str,
    pub status: &'static str,
    pub expiration_in_days: Option<u32>,
    pub noncurrent_version_expiration: Option<Noncurrent>,
    pub abort_incomplete_multipart_upload: Incomplete,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Noncurrent {
    pub noncurrent_days: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Incomplete {
    pub days_after_initiation: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct BucketPolicy {
    pub bucket: Expr,
    pub policy_document: Policy,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Topic {
    pub display_name: String,
    pub kms_master_key_id: &'static str,
    pub tags: Vec<Tag>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Subscription {
    pub topic_arn: Expr,
    pub protocol: &'static str,
    pub endpoint: Expr,
}

/// How GitHub tells of pushes, where the source is of version 1.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Webhook {
    pub authentication: &'static str,
    pub authentication_configuration: WebhookSecret,
    pub filters: Vec<WebhookFilter>,
    pub register_with_third_party: bool,
    pub target_pipeline: Expr,
    pub target_action: &'static str,
    pub target_pipeline_version: Expr,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct WebhookSecret {
    pub secret_token: Expr,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct WebhookFilter {
    pub json_path: &'static str,
    pub match_equals: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Secret {
    pub description: String,
    pub generate_secret_string: Generated,
    pub tags: Vec<Tag>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Generated {
    pub password_length: u32,
    pub exclude_punctuation: bool,
}
