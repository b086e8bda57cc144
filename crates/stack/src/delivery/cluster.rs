//! A cluster of `infra.yml` as CodePipeline rolls it.
//!
//! ```text
//! Source ─► BuildAMI: an image for each file ─► for each environment: landfall cluster deploy
//! ```
//!
//! Jobs are given the files of the commit; its id is the version, and the image is what the job before has printed.

use std::collections::BTreeMap;

use super::actions::{action_type, begins, rights_to_run, run_with};
use super::parts::Parts;
use super::projects::{Job, Of};
use super::script::{Script, word};
use super::{Around, Exported, Undeliverable};
use crate::expr::{Expr, Id};
use crate::policy::Statement;
use crate::resources::delivery::{
    Action, ActionType, ArtifactStore, Generated, Pipeline, Secret, Stage, Webhook, WebhookFilter, WebhookSecret,
};
use crate::resources::{Properties, Tag};

/// Minutes: an image and a roll have two hours each, and then tell so themselves.
const TIMEOUT: u32 = 135;
const COMMIT: &str = "#{Source.CommitId}";

/// How CodePipeline reads the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The ARN of a connection.
    Connection(String),
    /// A secret with a personal access token, or a key of its JSON that has it. GitHub tells of pushes by a webhook with a secret of its own.
    Token { secret: String, key: Option<String> },
}

/// A file and what one job with it may.
#[derive(Debug, Clone)]
pub struct ClusterImage {
    pub environment: String,
    /// From the repository's root.
    pub values: String,
    pub rights: Vec<landfall_iam::Statement>,
}

#[derive(Debug, Clone)]
pub struct ClusterStage {
    /// Empty: the only one.
    pub environment: String,
    /// From the repository's root.
    pub values: String,
    pub rights: Vec<landfall_iam::Statement>,
}

#[derive(Debug, Clone)]
pub struct ClusterAsk<'a> {
    pub cluster: &'a str,
    /// Of everything that is made.
    pub tag: (&'static str, &'a str),
    pub owner: &'a str,
    pub repository: &'a str,
    pub branch: &'a str,
    pub source: &'a Source,
    /// One for each file that is deployed and whose image is built. Deployments of others take the image that the file names, or AWS's newest.
    pub images: Vec<ClusterImage>,
    pub stages: Vec<ClusterStage>,
    pub url: Option<&'a str>,
    pub sha256: Option<&'a str>,
}

/// # Errors
/// Two environments whose stages would be called the same.
pub fn of_cluster(ask: &ClusterAsk<'_>) -> Result<Exported, Undeliverable> {
    let name = format!("{}-cluster", ask.cluster);
    let mut parts = Parts::new(vec![Tag { key: ask.tag.0, value: Expr::text(ask.tag.1) }]);
    parts.program(ask.url, ask.sha256);
    let artifacts = parts.bucket("Artifacts", true);
    // Jobs are given the files: they clone nothing.
    let mut around = Around { artifacts, state: Expr::text(""), topic: None, connection: None };
    let of = Of { id: "", name: &name };
    let mut projects = Vec::new();
    let mut stages = vec![Stage { name: "Source".to_owned(), actions: vec![source(ask)] }];
    if !ask.images.is_empty() {
        let actions = ask.images.iter().map(|one| {
            let title = Id::of(&["Image", &one.environment]).to_string();
            let project = parts.project(&of, image(one, &title), &around);
            let mut action = run_with(&title, 1, &project, &[]);
            action.namespace = Some(title);
            projects.push(project);
            action
        });
        let actions = actions.collect();
        stages.push(Stage { name: "BuildAMI".to_owned(), actions });
    }
    for one in &ask.stages {
        let title = Id::of(&["Deploy", &one.environment]).to_string();
        if stages.iter().any(|other| other.name == title) {
            return Err(Undeliverable::SameStage(name, title));
        }
        let project = parts.project(&of, deploy(one, &title), &around);
        let built = ask.images.iter().find(|image| image.values == one.values);
        let built = built.map(|image| format!("#{{{}.AMI}}", Id::of(&["Image", &image.environment])));
        let mut variables = vec![("VERSION", COMMIT)];
        variables.extend(built.as_deref().map(|image| ("AMI", image)));
        stages.push(Stage { name: title, actions: vec![run_with("Deploy", 1, &project, &variables)] });
        projects.push(project);
    }
    if let Source::Connection(arn) = ask.source {
        around.connection = Some(Expr::text(arn));
    }
    let description = format!("CodePipeline, for {name}: its source, its jobs, its artifacts");
    let rights = rights_to_run(&around, &projects);
    let role = parts.role(Id::of(&["PipelineRole"]), "codepipeline", description, rights);
    let pipeline = Pipeline {
        name: name.clone(),
        // That of the second version begins by a connection; the first is the one whose documentation has webhooks.
        pipeline_type: match ask.source {
            Source::Connection(_) => "V2",
            Source::Token { .. } => "V1",
        },
        execution_mode: "SUPERSEDED",
        role_arn: role,
        artifact_store: ArtifactStore { r#type: "S3", location: Expr::from(&around.artifacts) },
        stages,
        tags: parts.tags(),
    };
    let pipeline = parts.draft.add(Id::of(&["Pipeline"]), Properties::Pipeline(pipeline));
    if let Source::Token { .. } = ask.source {
        webhook(ask, &pipeline, &mut parts);
    }
    parts.draft.output("Pipeline", &format!("The pipeline of cluster {}", ask.cluster), Expr::from(&pipeline));
    parts.draft.distinct().map_err(Undeliverable::SameId)?;
    let description = format!(
        "The pipeline of cluster {}. Made by `landfall cluster put-pipeline`: change infra.yml, not this.",
        ask.cluster
    );
    Ok(Exported { template: parts.draft.done(description), notes: parts.notes })
}

fn source(ask: &ClusterAsk<'_>) -> Action {
    let (action_type_id, configuration) = match ask.source {
        Source::Connection(arn) => {
            let configuration = BTreeMap::from([
                ("ConnectionArn", Expr::text(arn)),
                ("FullRepositoryId", Expr::text(format!("{}/{}", ask.owner, ask.repository))),
                ("BranchName", Expr::text(ask.branch)),
                ("OutputArtifactFormat", "CODE_ZIP".into()),
                ("DetectChanges", "true".into()),
            ]);
            (action_type("Source", "CodeStarSourceConnection"), configuration)
        }
        Source::Token { secret, key } => {
            let key = key.as_ref().map(|key| format!(":{key}")).unwrap_or_default();
            let configuration = BTreeMap::from([
                ("Owner", Expr::text(ask.owner)),
                ("Repo", Expr::text(ask.repository)),
                ("Branch", Expr::text(ask.branch)),
                // The template has the secret's name, and CloudFormation alone its value.
                ("OAuthToken", Expr::text(format!("{{{{resolve:secretsmanager:{secret}:SecretString{key}}}}}"))),
                ("PollForSourceChanges", "false".into()),
            ]);
            (ActionType { category: "Source", owner: "ThirdParty", provider: "GitHub", version: "1" }, configuration)
        }
    };
    begins(action_type_id, configuration)
}

/// Whoever knows the token may do to the repository what it allows; whoever knows this one may begin the pipeline.
fn webhook(ask: &ClusterAsk<'_>, pipeline: &Id, parts: &mut Parts) {
    let secret = Secret {
        description: format!("With which GitHub signs what it tells the pipeline of cluster {}", ask.cluster),
        generate_secret_string: Generated { password_length: 40, exclude_punctuation: true },
        tags: parts.tags(),
    };
    let secret = parts.draft.add(Id::of(&["WebhookSecret"]), Properties::Secret(secret));
    let webhook = Webhook {
        authentication: "GITHUB_HMAC",
        authentication_configuration: WebhookSecret {
            secret_token: Expr::sub(format!("{{{{resolve:secretsmanager:${{{secret}}}:SecretString}}}}")),
        },
        filters: vec![WebhookFilter { json_path: "$.ref", match_equals: format!("refs/heads/{}", ask.branch) }],
        register_with_third_party: true,
        target_pipeline: Expr::from(pipeline),
        target_action: "Source",
        target_pipeline_version: Expr::Attribute(pipeline.clone(), "Version"),
    };
    parts.draft.add(Id::of(&["Webhook"]), Properties::Webhook(webhook));
}

fn landfall(commands: Vec<String>, exports: Vec<&'static str>) -> Script {
    Script { landfall: true, commands, exports, keeps: Vec::new() }
}

fn job(id: &str, name: String, what: String, script: Script, rights: &[landfall_iam::Statement], timeout: u32) -> Job {
    Job {
        id: id.to_owned(),
        name,
        what,
        script,
        rights: rights.iter().map(Statement::of).collect(),
        privileged: false,
        state: false,
        variables: Vec::new(),
        timeout,
    }
}

/// `deploy-prod`, of letters that a project's name may have.
fn named(kind: &str, environment: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let environment: String = environment.chars().map(letter).collect();
    if environment.is_empty() { kind.to_owned() } else { format!("{kind}-{environment}") }
}

fn image(one: &ClusterImage, title: &str) -> Job {
    let build = format!("AMI=\"$(landfall cluster ami build --values {})\"", word(&one.values));
    let script = landfall(vec![build, "export AMI".to_owned(), "echo \"$AMI\"".to_owned()], vec!["AMI"]);
    let name = named("image", &one.environment);
    job(title, name, format!("the image of {}", one.values), script, &one.rights, TIMEOUT)
}

fn deploy(one: &ClusterStage, title: &str) -> Job {
    let script = landfall(vec![format!("landfall cluster deploy --values {}", word(&one.values))], Vec::new());
    let name = named("deploy", &one.environment);
    job(title, name, format!("rolls what {} says in", one.values), script, &one.rights, TIMEOUT)
}
