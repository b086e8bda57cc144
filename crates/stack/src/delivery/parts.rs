//! What templates of pipelines are put together of: parameters, buckets, roles, logs.

use crate::expr::{Expr, Id};
use crate::policy::{Policy, Statement};
use crate::resources::around::{InlinePolicy, LogGroup, Role};
use crate::resources::delivery::{
    Algorithm, Bucket, BucketEncryption, BucketPolicy, Encryption, Expiry, Incomplete, Noncurrent, Ownership,
    PublicAccess, Rules, Versioning,
};
use crate::resources::{Properties, Tag};
use crate::template::{Draft, Parameter};

/// Of jobs and their artifacts.
const DAYS: u32 = 30;
/// IAM's limit of a role's inline policies, in characters that are no white space.
const INLINE: usize = 10_240;

/// A template in the making, and what is to be said about it.
pub(super) struct Parts {
    pub(super) draft: Draft,
    pub(super) notes: Vec<String>,
    /// Of everything.
    tags: Vec<Tag>,
}

impl Parts {
    pub(super) fn new(tags: Vec<Tag>) -> Self {
        Self { draft: Draft::default(), notes: Vec::new(), tags }
    }

    pub(super) fn tags(&self) -> Vec<Tag> {
        self.tags.clone()
    }

    /// Where jobs get this program.
    pub(super) fn program(&mut self, url: Option<&str>, sha256: Option<&str>) {
        self.parameter(
            "LandfallUrl",
            "Where jobs get landfall: a .tar.gz, or the bare program",
            url,
            "^https://.+$",
            "https://…",
        );
        self.parameter(
            "LandfallSha256",
            "Of that file; any other is refused",
            sha256,
            "^[0-9a-f]{64}$",
            "64 hexadecimal digits",
        );
    }

    pub(super) fn parameter(
        &mut self,
        id: &str,
        description: &str,
        default: Option<&str>,
        allowed_pattern: &'static str,
        constraint_description: &'static str,
    ) {
        let parameter = Parameter {
            r#type: "String",
            description: description.to_owned(),
            default: default.map(str::to_owned),
            allowed_pattern: Some(allowed_pattern),
            allowed_values: Vec::new(),
            constraint_description: Some(constraint_description),
        };
        self.draft.parameter(Id::of(&[id]), parameter);
    }

    pub(super) fn note(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }

    /// Private, encrypted, and over TLS only. `passing`: what is in it goes after a month; else it stays with the stack gone.
    pub(super) fn bucket(&mut self, id: &str, passing: bool) -> Id {
        let expiry = Expiry {
            id: "old",
            status: "Enabled",
            expiration_in_days: passing.then_some(DAYS),
            noncurrent_version_expiration: (!passing).then_some(Noncurrent { noncurrent_days: 7 }),
            abort_incomplete_multipart_upload: Incomplete { days_after_initiation: 1 },
        };
        let bucket = Bucket {
            bucket_encryption: BucketEncryption {
                server_side_encryption_configuration: vec![Encryption {
                    server_side_encryption_by_default: Algorithm { name: "AES256" },
                }],
            },
            ownership_controls: Rules { rules: vec![Ownership { object_ownership: "BucketOwnerEnforced" }] },
            public_access_block_configuration: PublicAccess {
                block_public_acls: true,
                block_public_policy: true,
                ignore_public_acls: true,
                restrict_public_buckets: true,
            },
            versioning_configuration: (!passing).then_some(Versioning { status: "Enabled" }),
            lifecycle_configuration: Rules { rules: vec![expiry] },
            tags: self.tags(),
        };
        let bucket = self.draft.add(Id::of(&[id, "Bucket"]), Properties::Bucket(bucket));
        self.draft.keep(&bucket);
        let all = [Expr::Attribute(bucket.clone(), "Arn"), Expr::sub(format!("${{{bucket}.Arn}}/*"))];
        let plain =
            Statement::deny_all("OverTlsOnly", &["s3:*"], all).when("Bool", "aws:SecureTransport", "false".into());
        let policy = BucketPolicy { bucket: Expr::from(&bucket), policy_document: Policy::new(vec![plain]) };
        self.draft.add(Id::of(&[id, "BucketPolicy"]), Properties::BucketPolicy(policy));
        bucket
    }

    pub(super) fn role(&mut self, id: Id, who: &str, description: String, statements: Vec<Statement>) -> Expr {
        let policy = Policy::new(statements);
        let size = serde_json::to_string(&policy).map_or(0, |text| text.chars().filter(|c| !c.is_whitespace()).count());
        if size > INLINE {
            self.note(format!(
                "the rights of {id} have {size} characters, and IAM takes {INLINE}: it will refuse the role"
            ));
        }
        let role = Role {
            description,
            assume_role_policy_document: Policy::trust(who),
            managed_policy_arns: Vec::new(),
            policies: vec![InlinePolicy { policy_name: "rights", policy_document: policy }],
            tags: self.tags(),
        };
        Expr::Attribute(self.draft.add(id, Properties::Role(role)), "Arn")
    }

    pub(super) fn log_group(&mut self, id: Id, name: String) -> Id {
        let group = LogGroup { log_group_name: name, retention_in_days: DAYS, tags: self.tags() };
        self.draft.add(id, Properties::LogGroup(group))
    }
}
