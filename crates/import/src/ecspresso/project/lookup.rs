//! What the files ask of somebody else: AWS, and Terraform states that are not beside them. Collected first, so that whoever
//! answers is asked once and everything that is missing is told at once.

use std::collections::BTreeMap;

/// Ordered, so that the same files ask in the same order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lookup {
    /// A parameter in SSM, decrypted: `Text`, or `List` for a StringList.
    Parameter(String),
    /// The ARN of a secret in Secrets Manager: `Text`. Its value is never asked for.
    SecretArn(String),
    /// The outputs of a CloudFormation stack: `Map`.
    StackOutputs(String),
    /// All exports of CloudFormation in the region: `Map`.
    Exports,
    /// A Terraform state in S3: `Text`.
    State { bucket: String, key: String, region: Option<String> },
    /// GetCallerIdentity: `Map` with Account, Arn and UserId.
    CallerIdentity,
}

impl std::fmt::Display for Lookup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Parameter(name) => write!(f, "SSM parameter {name}"),
            Self::SecretArn(name) => write!(f, "secret {name}"),
            Self::StackOutputs(stack) => write!(f, "the outputs of stack {stack}"),
            Self::Exports => f.write_str("the exports of CloudFormation"),
            Self::State { bucket, key, .. } => write!(f, "Terraform state s3://{bucket}/{key}"),
            Self::CallerIdentity => f.write_str("the caller's identity"),
        }
    }
}

#[derive(Clone, PartialEq, Eq)]
pub enum Found {
    Text(String),
    List(Vec<String>),
    Map(BTreeMap<String, String>),
}

/// Values may be secret.
impl std::fmt::Debug for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Text(_) => "Text(…)",
            Self::List(_) => "List(…)",
            Self::Map(_) => "Map(…)",
        })
    }
}

/// Answers; `Err` says why there is none.
pub type Known = BTreeMap<Lookup, Result<Found, String>>;
