//! Jobs: a project of CodeBuild with its log group and a role that may what its commands do.

use landfall_model::pipeline::Pipeline;

use super::parts::Parts;
use super::script::Script;
use super::{Around, Build};
use crate::expr::{Expr, Id};
use crate::policy::Statement;
use crate::resources::delivery::{
    CloudWatchLogs, LogsConfig, Project, ProjectArtifacts, ProjectEnvironment, ProjectSource,
};
use crate::resources::{NameValue, Properties};

/// Kept current by AWS, with git, docker and the AWS CLI.
const IMAGE: &str = "aws/codebuild/amazonlinux-x86_64-standard:5.0";

pub(super) struct Job {
    /// `Build`, `DeployStaging`
    pub id: String,
    /// `build`, `deploy-staging`
    pub name: String,
    pub what: String,
    pub script: Script,
    pub rights: Vec<Statement>,
    pub privileged: bool,
    /// Whether it goes by Landfall's state.
    pub state: bool,
    /// Beside those of the program and the state.
    pub variables: Vec<(&'static str, Expr)>,
    /// Minutes.
    pub timeout: u32,
}

/// The pipeline that a job is of.
pub(super) struct Of<'a> {
    /// What its logical ids begin with.
    pub id: &'a str,
    /// Its whole name.
    pub name: &'a str,
}

impl Build<'_> {
    /// The project's logical id.
    pub(super) fn project(&mut self, pipeline: &Pipeline, job: Job, around: &Around) -> Id {
        let name = self.pipeline_name(pipeline);
        self.parts.project(&Of { id: &pipeline.name, name: &name }, job, around)
    }

    pub(super) fn pipeline_name(&self, pipeline: &Pipeline) -> String {
        format!("{}-{}", self.ask.app.project, pipeline.name)
    }
}

impl Parts {
    /// The project's logical id.
    pub(super) fn project(&mut self, of: &Of<'_>, job: Job, around: &Around) -> Id {
        let full = format!("{}-{}", of.name, job.name);
        let id = |what: &str| Id::of(&[of.id, &job.id, what]);
        let logs = self.log_group(id("Logs"), format!("/aws/codebuild/{full}"));
        let artifacts = Expr::sub(format!("${{{}.Arn}}/{}*", around.artifacts, folder(of.name)));
        let mut objects = vec!["s3:GetObject", "s3:GetObjectVersion"];
        if !job.script.keeps.is_empty() {
            objects.push("s3:PutObject");
        }
        let mut statements = vec![
            Statement::allow(
                "WriteLogs",
                &["logs:CreateLogStream", "logs:PutLogEvents"],
                [Expr::Attribute(logs.clone(), "Arn")],
            ),
            Statement::allow("UseArtifacts", &objects, [artifacts]),
        ];
        statements.extend(around.connection.clone().map(use_connection));
        statements.extend(job.rights);
        let description = format!("CodeBuild, for {full}: {}", job.what);
        let role = self.role(id("Role"), "codebuild", description, statements);
        let variable = |name: &str, value: Expr| NameValue { name: name.to_owned(), value };
        let mut variables = Vec::new();
        if job.script.landfall {
            variables.push(variable("LANDFALL_URL", Expr::Ref(Id::of(&["LandfallUrl"]))));
            variables.push(variable("LANDFALL_SHA256", Expr::Ref(Id::of(&["LandfallSha256"]))));
        }
        if job.state {
            variables.push(variable("LANDFALL_STATE", around.state.clone()));
        }
        variables.extend(job.variables.into_iter().map(|(name, value)| variable(name, value)));
        let project = Project {
            name: full,
            description: job.what,
            service_role: role,
            artifacts: ProjectArtifacts { r#type: "CODEPIPELINE" },
            source: ProjectSource { r#type: "CODEPIPELINE", build_spec: job.script.text() },
            environment: ProjectEnvironment {
                r#type: "LINUX_CONTAINER",
                compute_type: "BUILD_GENERAL1_SMALL",
                image: IMAGE,
                privileged_mode: job.privileged,
                environment_variables: variables,
            },
            logs_config: LogsConfig {
                cloud_watch_logs: CloudWatchLogs { status: "ENABLED", group_name: Expr::from(&logs) },
            },
            timeout_in_minutes: job.timeout,
            tags: self.tags(),
        };
        self.draft.add(id("Project"), Properties::Project(project))
    }
}

/// Both of its names: connections made before 2024 have the old one.
pub(super) fn use_connection(arn: Expr) -> Statement {
    let actions = ["codeconnections:UseConnection", "codestar-connections:UseConnection"];
    Statement::allow("UseConnection", &actions, [arn])
}

/// CodePipeline's own folder within the bucket: the beginning of the pipeline's name.
/// (<https://docs.aws.amazon.com/codepipeline/latest/userguide/concepts.html>: artifacts; the name is cut at 20 characters.)
fn folder(name: &str) -> String {
    name.chars().take(20).collect()
}
