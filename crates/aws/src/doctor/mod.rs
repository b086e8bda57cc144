//! What a deployment needs of AWS, looked at without changing anything: each thing with its own line, and where a right is
//! missing, which one on what.
//!
//! What cannot be looked at is told as not checked, never as good. A right that only looking needs (the cluster's state, a
//! role's trust) is not one that a deployment needs: its absence is not wrong either.

mod ask;
mod balancer;
mod identity;
mod rights;
mod surroundings;

use std::sync::Arc;

use aws_credential_types::provider::SharedCredentialsProvider;
use landfall_model::aws::AwsTarget;
use landfall_ports::PortResult;
use serde::Serialize;

use crate::core::Core;
use crate::denial::Denial;
use crate::error::Failed;
use crate::http;
use crate::platform::AwsOptions;
use crate::signed::Signer;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    Good,
    Wrong,
    NotChecked,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    pub name: String,
    pub finding: Finding,
    pub detail: String,
    /// What helps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Rights that are not there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<Lack>,
}

/// An action and, where it is known, on what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Lack {
    pub action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
}

/// Actions on resources under one set of conditions, as a policy would grant them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Right {
    /// `CreateServices`
    pub purpose: String,
    pub actions: Vec<String>,
    /// `*` where the actions take no other.
    pub resources: Vec<String>,
    /// Condition keys with the values that a call of ours has.
    pub context: Vec<(String, Vec<String>)>,
}

/// What is to be looked at beside what the target says.
#[derive(Debug, Clone, Default)]
pub struct Examination {
    pub rights: Vec<Right>,
    /// Hosts that the target's certificate must cover.
    pub hosts: Vec<String>,
    /// ARNs of SNS topics that notices go to.
    pub topics: Vec<String>,
}

impl Check {
    pub(crate) fn good(name: &str, detail: impl Into<String>) -> Self {
        Self { name: name.to_owned(), finding: Finding::Good, detail: detail.into(), hint: None, lacks: Vec::new() }
    }

    pub(crate) fn wrong(name: &str, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { finding: Finding::Wrong, hint: Some(hint.into()), ..Self::good(name, detail) }
    }

    pub(crate) fn not_checked(name: &str, why: impl Into<String>) -> Self {
        Self { finding: Finding::NotChecked, ..Self::good(name, why) }
    }

    /// A look that failed. `needed`: a deployment makes this call too, so that it would fail as well.
    pub(crate) fn failed(name: &str, failed: &Failed, needed: bool) -> Self {
        let finding = if needed && !failed.error.passes() { Finding::Wrong } else { Finding::NotChecked };
        let lacks = Denial::parse(&failed.message).map(|denial| vec![denial.lack()]).unwrap_or_default();
        Self { finding, lacks, ..Self::good(name, failed.error.to_string()) }
    }
}

/// What every look needs.
pub(crate) struct Examiner {
    core: Core,
    signer: Signer,
    http: reqwest::Client,
}

/// Looks at everything, much of it at once.
///
/// # Errors
/// No region is known; nothing can be looked at.
pub async fn examine(
    target: &AwsTarget,
    examination: &Examination,
    credentials: Option<SharedCredentialsProvider>,
) -> PortResult<Vec<Check>> {
    let options = AwsOptions { instance: "doctor".to_owned() };
    let core = Core::connect(target, options, credentials, None).await?;
    let http = http::http();
    let examiner = Arc::new(Examiner { core, signer: Signer::new(http.clone()), http: http.get()?.clone() });
    let (mut checks, identity) = examiner.identity().await;
    let Some(identity) = identity else {
        checks.push(Check::not_checked("the rest", "nothing on AWS can be looked at without an identity there"));
        return Ok(checks);
    };
    let (cluster, balancer, around, topics, rights) = tokio::join!(
        examiner.cluster(),
        examiner.balancer(&examination.hosts),
        examiner.roles_and_logs(),
        examiner.topics(&examination.topics),
        examiner.rights(&identity, &examination.rights),
    );
    let (vpc, balancer) = balancer;
    let network = examiner.network(vpc.as_deref()).await;
    checks.extend([cluster, balancer, network, around, topics, rights].into_iter().flatten());
    Ok(checks)
}
