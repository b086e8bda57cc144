//! The manifest's pipelines as CodePipeline and CodeBuild run them, with this very program in every job.
//!
//! ```text
//! of pushes   Source ─► Build: images ∥ templates ─► for each stage: task, deploy ─► verify ─► publish
//! of another  Source ─► Release: which commit passed ─► staging ─► approval, prod
//! ```
//!
//! Jobs of one pipeline see one commit: what is promoted is checked out at the commit that passed, and its images are the release's, by
//! digest. Each project has a role of its own, which may what its commands do.

mod actions;
mod cluster;
mod parts;
mod projects;
mod rights;
mod script;

use landfall_iam::StateBucket;
use landfall_model::app::{App, Service};
use landfall_model::names::tag_safe;
use landfall_model::pipeline::{Pipeline, Work};

use self::parts::Parts;
use crate::expr::{Expr, Id};
use crate::resources::delivery::{Subscription, Topic};
use crate::resources::{Properties, Tag};
use crate::template::Template;

pub use cluster::{ClusterAsk, ClusterImage, ClusterStage, Source, of_cluster};

#[derive(Debug, Clone)]
pub struct Ask<'a> {
    pub app: &'a App,
    /// Names; empty: all.
    pub pipelines: &'a [String],
    /// Before what the manifest says.
    pub account: Option<&'a str>,
    /// Where the manifest does not say.
    pub region: Option<&'a str>,
    /// `None`: a bucket of the stack's own.
    pub state: Option<StateBucket>,
    /// Where jobs get this program, unless another is given with a change of the stack.
    pub url: Option<&'a str>,
    pub sha256: Option<&'a str>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Exported {
    pub template: Template,
    /// What of the manifest CodePipeline has nothing for, and what is to be done.
    pub notes: Vec<String>,
}

/// No template can be made of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undeliverable {
    #[error("the manifest has no pipelines")]
    NoPipelines,
    #[error("no pipeline called `{0}`")]
    NoPipeline(String),
    #[error(
        "the source of a pipeline is one repository on GitHub, and the manifest has {0}: say `github` under `repositories`"
    )]
    Repositories(String),
    #[error("pipeline {0} begins with pushes to {1}: CodePipeline's source is one branch, by its name")]
    Branches(String, String),
    #[error("pipeline {0} comes after {1}, which is not exported: name both, or none")]
    After(String, String),
    #[error("environment {0} is not on AWS: its `on` names no place under `aws`")]
    Here(String),
    #[error(
        "two stages of pipeline {0} would both be called {1}, and each has its own first ones: give the environment another name"
    )]
    SameStage(String, String),
    #[error("`image_tag`: what fills `{1}`, the tag of {0}'s image, is not known where CodePipeline writes it")]
    Tag(String, String),
    #[error("two things would both be `{0}` in the template: give one of the pipelines or environments another name")]
    SameId(Id),
    #[error("rights of {0}: {1}")]
    Rights(String, String),
}

/// # Errors
/// What CodePipeline cannot run at all. What it has no equivalent for is left out and noted.
pub fn codepipeline(ask: &Ask<'_>) -> Result<Exported, Undeliverable> {
    let app = ask.app;
    if app.pipelines.is_empty() {
        return Err(Undeliverable::NoPipelines);
    }
    let mut pipelines = Vec::new();
    for name in ask.pipelines {
        let one = app.pipelines.get(name).ok_or_else(|| Undeliverable::NoPipeline(name.clone()))?;
        pipelines.push(one);
    }
    if pipelines.is_empty() {
        pipelines = app.pipelines.values().collect();
    }
    // Those that others come after are first.
    pipelines.sort_by_key(|one| (one.on.after.is_some(), one.name.clone()));
    let tags = vec![Tag { key: "landfall.project", value: Expr::text(&app.project) }];
    let mut build = Build { ask, repository: repository(app)?, pipelines, parts: Parts::new(tags) };
    build.all()?;
    build.parts.draft.distinct().map_err(Undeliverable::SameId)?;
    let project = &app.project;
    let names: Vec<&str> = build.pipelines.iter().map(|one| one.name.as_str()).collect();
    let plural = if names.len() == 1 { "pipeline" } else { "pipelines" };
    let description = format!(
        "{project}, {plural} {}. Made by `landfall pipeline export codepipeline`: change the manifest, not this.",
        names.join(" and ")
    );
    Ok(Exported { template: build.parts.draft.done(description), notes: build.parts.notes })
}

fn repository(app: &App) -> Result<String, Undeliverable> {
    let known: Vec<&String> = app.repositories.values().filter_map(|one| one.github.as_ref()).collect();
    match known.as_slice() {
        [one] => Ok((*one).clone()),
        [] => Err(Undeliverable::Repositories("none".to_owned())),
        more => Err(Undeliverable::Repositories(more.len().to_string())),
    }
}

struct Build<'a> {
    ask: &'a Ask<'a>,
    /// `owner/name`
    repository: String,
    pipelines: Vec<&'a Pipeline>,
    parts: Parts,
}

impl<'a> Build<'a> {
    fn all(&mut self) -> Result<(), Undeliverable> {
        let approvals = self.pipelines.iter().flat_map(|one| &one.stages).any(|stage| stage.approval.is_some());
        self.parts.parameter(
            "ConnectionArn",
            "Of CodeConnections, to GitHub, in the state AVAILABLE",
            None,
            "^arn:[^:]+:(codeconnections|codestar-connections):[^:]+:[0-9]{12}:connection/.+$",
            "The ARN of a connection",
        );
        self.parts.program(self.ask.url, self.ask.sha256);
        let topic = approvals.then(|| {
            let what = "Who is asked for approval, by mail; AWS asks for a confirmation first";
            self.parts.parameter("ApproverEmail", what, None, "^[^@\\s]+@[^@\\s]+$", "An address");
            self.topic()
        });
        let artifacts = self.parts.bucket("Artifacts", true);
        let state = match &self.ask.state {
            Some(state) => Expr::text(format!("s3://{}/{}", state.bucket, state.prefix)),
            None => {
                let bucket = self.parts.bucket("State", false);
                self.parts.draft.output(
                    "State",
                    "Landfall's state, for `--state`",
                    Expr::sub(format!("s3://${{{bucket}}}/landfall")),
                );
                Expr::sub(format!("s3://${{{bucket}}}/landfall"))
            }
        };
        let connection = Some(Expr::Ref(Id::of(&["ConnectionArn"])));
        let around = Around { artifacts, state, topic, connection };
        for pipeline in self.pipelines.clone() {
            self.pipeline(pipeline, &around)?;
        }
        Ok(())
    }

    fn topic(&mut self) -> Id {
        let topic = Topic {
            display_name: format!("{}: approvals", self.ask.app.project),
            kms_master_key_id: "alias/aws/sns",
            tags: self.parts.tags(),
        };
        let topic = self.parts.draft.add(Id::of(&["ApprovalTopic"]), Properties::Topic(topic));
        let mail = Subscription {
            topic_arn: Expr::from(&topic),
            protocol: "email",
            endpoint: Expr::Ref(Id::of(&["ApproverEmail"])),
        };
        self.parts.draft.add(Id::of(&["ApprovalMail"]), Properties::Subscription(mail));
        self.parts.draft.output("ApprovalTopic", "Who subscribes is asked for approval too", Expr::from(&topic));
        topic
    }

    /// Parameters that a stage writes, each with a word for the shell.
    fn published(
        &self,
        environment: &str,
        work: &[Work],
        branch: &str,
    ) -> Result<Vec<(String, String)>, Undeliverable> {
        let environment = self.ask.app.environments.get(environment);
        let services = environment.map(|own| own.services.as_slice()).unwrap_or_default();
        let all = work.iter().flat_map(|work| work.parameters(services));
        all.map(|(parameter, service)| Ok((parameter, self.image_tag(service, branch)?))).collect()
    }

    /// The tag that the service's awaited image is pushed with.
    fn image_tag(&self, service: &str, branch: &str) -> Result<String, Undeliverable> {
        let whole = self.ask.app.services.get(service).map_or("{commit}", Service::awaited_tag);
        let unknown = || Undeliverable::Tag(service.to_owned(), whole.to_owned());
        let (mut out, mut rest) = (String::new(), whole);
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or_else(unknown)?;
            out.push_str(&literal(before));
            match name {
                "commit" => out.push_str("\"$LANDFALL_COMMIT\""),
                "short_commit" => out.push_str("\"${LANDFALL_COMMIT:0:7}\""),
                "project" => out.push_str(&literal(&self.ask.app.project)),
                "branch" => out.push_str(&literal(&tag_safe(branch).ok_or_else(unknown)?)),
                _ => return Err(unknown()),
            }
            rest = after;
        }
        out.push_str(&literal(rest));
        Ok(out)
    }
}

/// A part of a word; an empty one is nothing.
fn literal(text: &str) -> String {
    if text.is_empty() { String::new() } else { script::word(text) }
}

/// What all pipelines share.
struct Around {
    artifacts: Id,
    /// `s3://…`
    state: Expr,
    topic: Option<Id>,
    /// With which jobs clone; `None`: they are given the files.
    connection: Option<Expr>,
}

/// Where a pipeline leaves the commit that passed it, for those that come after.
fn hand_over(app: &App, pipeline: &str) -> String {
    format!("/landfall/{}/{pipeline}/commit", app.project)
}
