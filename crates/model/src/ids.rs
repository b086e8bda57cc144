//! Typed identifiers. Each is a string newtype whose text form is what users see and journals keep.

use serde::{Deserialize, Serialize};

macro_rules! string_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }
    };
}

string_id!(
    /// One durable run of a plan: `exe_` and a ULID.
    ExecutionId
);
string_id!(
    /// One run of a pipeline: `run_` and a ULID.
    RunId
);
string_id!(
    /// A step inside one plan, for example `service.app`. Unique in its plan, stable between runs.
    StepId
);
string_id!(
    /// The name of an environment, unique on one Landfall installation: `my-project-test123`. Also the value of the
    /// label `landfall` on every resource that belongs to it.
    EnvironmentId
);
impl EnvironmentId {
    /// Whether it is a long-lived environment's: those have an `@`, previews never have.
    pub fn is_long_lived(&self) -> bool {
        self.0.contains('@')
    }

    /// The id under which one of the environment's schedules runs: `my-project@dev/cleanup`.
    pub fn schedule(&self, name: &str) -> Self {
        Self(format!("{self}/{name}"))
    }

    /// The environment whose schedule this is, else itself.
    pub fn whole(&self) -> Self {
        match self.0.split_once('/') {
            Some((environment, _)) if self.is_long_lived() => Self::new(environment),
            _ => self.clone(),
        }
    }
}

string_id!(
    /// The repository's key: the name under `repositories:` in the manifest when one matches, else `github:<numeric id>`.
    RepositoryKey
);
string_id!(
    /// SHA-256 of the plan's canonical bytes, in hex.
    PlanDigest
);
string_id!(
    /// Names one attempt at one effect, the same before and after a crash: `{execution}/{step}/{attempt}`.
    IdempotencyKey
);
string_id!(
    /// `X-GitHub-Delivery`, or an id of ours for intents that came from the command line or a reconciler.
    DeliveryId
);

/// Reserved for what Landfall decides to call itself where a person must be named as the cause.
pub const SYSTEM_ACTOR: &str = "landfall";
