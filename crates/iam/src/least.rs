//! The least policy for what a manifest can do in one place.

use landfall_model::app::App;
use landfall_model::aws::AwsTarget;
use thiserror::Error;

use crate::names::Names;
use crate::policy::Policy;
use crate::statements;

/// What a policy is asked for.
#[derive(Debug, Clone)]
pub struct Ask<'a> {
    pub app: &'a App,
    /// A long-lived environment; `None`: the previews.
    pub environment: Option<&'a str>,
    /// Twelve digits; before what the manifest says. Where neither says, ARNs hold `*`.
    pub account: Option<&'a str>,
    /// Where the manifest does not say.
    pub region: Option<&'a str>,
    /// Roles that tasks get from a base task definition or a document, so that the manifest does not know them.
    pub pass_roles: &'a [String],
    /// Also what `landfall doctor` and `landfall verify` look at.
    pub checks: bool,
    /// Also what `landfall secrets` reads and writes.
    pub secrets: bool,
    pub state: Option<StateBucket>,
}

/// `--state s3://BUCKET/PREFIX`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateBucket {
    pub bucket: String,
    /// Without slashes at its ends; empty: the whole bucket.
    pub prefix: String,
}

impl StateBucket {
    /// `None`: another kind of state.
    pub fn parse(state: &str) -> Option<Self> {
        let rest = state.strip_prefix("s3://")?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        Some(Self { bucket: bucket.to_owned(), prefix: prefix.trim_matches('/').to_owned() })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Least {
    pub policy: Policy,
    /// What whoever pastes it should know.
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unfit {
    #[error("the manifest has no previews")]
    NoPreviews,
    #[error("the manifest has no environment {0}")]
    NoEnvironment(String),
    #[error("{0} on this machine: no right on AWS is needed")]
    Here(String),
    #[error("{0} on `{1}`, and the manifest has no such place under `aws`")]
    NoPlace(String, String),
    #[error("no image of the manifest is pushed to ECR")]
    NothingPushed,
    #[error("no image of the manifest is awaited in ECR")]
    NothingAwaited,
    #[error("no probe has to find on AWS where it asks")]
    NothingSought,
}

pub(crate) fn partition(region: &str) -> &'static str {
    match region {
        region if region.starts_with("cn-") => "aws-cn",
        region if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

/// An account and region, for ARNs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place<'a> {
    pub target: &'a AwsTarget,
    pub partition: &'static str,
    pub region: String,
    pub account: String,
    /// The cluster's name.
    pub cluster: String,
}

impl<'a> Place<'a> {
    pub(crate) fn new(ask: &Ask<'a>, target: &'a AwsTarget) -> Self {
        let part = |arn: &str, at: usize| {
            arn.strip_prefix("arn:")
                .and_then(|rest| rest.split(':').nth(at))
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
        };
        let role = target.role.as_ref().map(|role| role.arn.as_str()).unwrap_or_default();
        let balancer = target.load_balancer.as_deref().unwrap_or_default();
        let arns = [&*target.cluster, balancer, role];
        let known = |at: usize| arns.iter().find_map(|arn| part(arn, at));
        let account = ask.account.or(target.account.as_deref()).map(str::to_owned).or_else(|| known(3));
        let region = target.region.clone().or_else(|| known(2)).or_else(|| ask.region.map(str::to_owned));
        let region = region.unwrap_or_else(|| "*".to_owned());
        let partition = partition(&region);
        let cluster = target.cluster.rsplit('/').next().unwrap_or_default().to_owned();
        Self { target, partition, region, account: account.unwrap_or_else(|| "*".to_owned()), cluster }
    }

    pub(crate) fn arn(&self, service: &str, rest: &str) -> String {
        format!("arn:{}:{service}:{}:{}:{rest}", self.partition, self.region, self.account)
    }

    /// Of a service without regions.
    pub(crate) fn global(&self, service: &str, rest: &str) -> String {
        format!("arn:{}:{service}::{}:{rest}", self.partition, self.account)
    }

    /// Of the shared load balancer and of what is on it: `loadbalancer/app/NAME/…`.
    pub(crate) fn on_balancer(&self, kind: &str, levels: &str) -> Option<String> {
        let given = self.target.load_balancer.as_deref()?;
        // …:loadbalancer/app/NAME/ID
        let path = given.split_once(":loadbalancer/app/").map(|(_, path)| path);
        let name = path.and_then(|path| path.split('/').next()).unwrap_or(given);
        let id = path.and_then(|path| path.split('/').nth(1)).unwrap_or("*");
        Some(self.arn("elasticloadbalancing", &format!("{kind}/app/{name}/{id}{levels}")))
    }
}

/// # Errors
/// Nothing of that runs on AWS, or there is no such thing.
pub fn least(ask: &Ask<'_>) -> Result<Least, Unfit> {
    let app = ask.app;
    let (what, on, names) = match ask.environment {
        None => {
            let previews = app.previews.as_ref().ok_or(Unfit::NoPreviews)?;
            ("previews run".to_owned(), previews.on.as_deref(), Names::of_previews(app))
        }
        Some(name) => {
            let environment = app.environments.get(name).ok_or_else(|| Unfit::NoEnvironment(name.to_owned()))?;
            (format!("{name} runs"), environment.on.as_deref(), Names::of_environment(app, environment))
        }
    };
    let on = on.ok_or_else(|| Unfit::Here(what.clone()))?;
    let target = app.aws.get(on).ok_or_else(|| Unfit::NoPlace(what, on.to_owned()))?;
    let place = Place::new(ask, target);
    let mut notes = notes(ask, &place);
    let policy = Policy::new(statements::all(ask, &place, &names));
    if policy.size() > 6144 {
        notes.push(format!(
            "it has {} characters: more than the 6,144 of a managed policy; an inline policy of a role takes 10,240",
            policy.size()
        ));
    }
    Ok(Least { policy, notes })
}

pub(crate) fn notes_of_place(place: &Place<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    if place.account == "*" {
        notes.push("the account is not known, so ARNs hold `*`: give --account or `aws.*.account`".to_owned());
    }
    if place.region == "*" {
        notes.push("the region is not known, so ARNs hold `*`: give `aws.*.region` or AWS_REGION".to_owned());
    }
    if let Some(role) = &place.target.role {
        notes.push(format!(
            "it is for the role {}; the credentials that assume it need sts:AssumeRole on that role and nothing else",
            role.arn
        ));
    }
    notes
}

fn notes(ask: &Ask<'_>, place: &Place<'_>) -> Vec<String> {
    let mut notes = notes_of_place(place);
    let environment = ask.environment.and_then(|name| ask.app.environments.get(name));
    if environment.and_then(|environment| environment.stack.as_ref()).is_some_and(|stack| stack.role.is_none()) {
        notes.push(
            "CloudFormation acts with these rights too, and what it makes is not in them: name a role that it acts as in `stack.role`"
                .to_owned(),
        );
    }
    if statements::services(ask).iter().any(|service| service.documents.is_some()) {
        notes.push(
            "what an ecspresso project's templates look up is not in it: ssm:GetParameter, secretsmanager:DescribeSecret, \
             cloudformation:DescribeStacks and ListExports, s3:GetObject, each on what they name"
                .to_owned(),
        );
    }
    let bases: Vec<&str> = statements::services(ask)
        .into_iter()
        .filter(|service| service.base_task_definition.is_some())
        .map(|service| service.name.as_str())
        .collect();
    if !bases.is_empty() && ask.pass_roles.is_empty() {
        notes.push(format!(
            "{} {} laid over a base task definition: name the roles in it with --pass-role",
            bases.join(", "),
            if bases.len() == 1 { "is" } else { "are" }
        ));
    }
    notes
}
