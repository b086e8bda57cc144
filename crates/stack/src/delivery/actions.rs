//! Pipelines: stages and their actions.

use std::collections::BTreeMap;

use landfall_model::pipeline::{Approval, OnFailure, Pipeline, Stage, TaskWork, Work};
use landfall_model::step::RouteTarget;

use super::projects::{Job, use_connection};
use super::script::{Script, word};
use super::{Around, Build, Undeliverable, hand_over};
use crate::expr::{Expr, Id};
use crate::policy::Statement;
use crate::resources::Properties;
use crate::resources::delivery::{self, Action, ActionType, Artifact, ArtifactStore};

pub(super) const SOURCE: Artifact = Artifact { name: "Source" };
/// What a job is told of, and what it runs on.
const CHECKOUT: &str = "git checkout --quiet --detach \"$LANDFALL_COMMIT\"";

impl<'a> Build<'a> {
    pub(super) fn pipeline(&mut self, pipeline: &'a Pipeline, around: &Around) -> Result<(), Undeliverable> {
        let branch = self.branch(pipeline)?;
        let mut projects = Vec::new();
        let mut stages =
            vec![delivery::Stage { name: "Source".to_owned(), actions: vec![self.source(pipeline, &branch)] }];
        let commit = match &pipeline.on.after {
            Some(before) => {
                stages.push(self.release(pipeline, before, around, &mut projects));
                "#{Release.LANDFALL_COMMIT}"
            }
            None => {
                stages.push(self.build(pipeline, &branch, around, &mut projects)?);
                "#{Source.CommitId}"
            }
        };
        let mut before: Option<&str> = None;
        for (index, stage) in pipeline.stages.iter().enumerate() {
            let last = index + 1 == pipeline.stages.len();
            let made = self.stage(pipeline, stage, before, last, commit, &branch, around, &mut projects)?;
            if stages.iter().any(|one| one.name == made.name) {
                return Err(Undeliverable::SameStage(pipeline.name.clone(), made.name));
            }
            stages.push(made);
            before = Some(&stage.environment);
        }
        let statements = self.rights_of_pipeline(pipeline, around, &projects);
        let name = self.pipeline_name(pipeline);
        let role = self.parts.role(
            Id::of(&[&pipeline.name, "PipelineRole"]),
            "codepipeline",
            format!("CodePipeline, for {name}: its source, its jobs, its artifacts"),
            statements,
        );
        let made = delivery::Pipeline {
            name: name.clone(),
            pipeline_type: "V2",
            // As ours: one run at a time in each stage, and a newer one takes the place of those that wait.
            execution_mode: "SUPERSEDED",
            role_arn: role,
            artifact_store: ArtifactStore { r#type: "S3", location: Expr::from(&around.artifacts) },
            stages,
            tags: self.parts.tags(),
        };
        let id = self.parts.draft.add(Id::of(&[&pipeline.name, "Pipeline"]), Properties::Pipeline(made));
        self.parts.draft.output(id.as_str(), &format!("The pipeline {}", pipeline.name), Expr::from(&id));
        Ok(())
    }

    /// The one that it is of; a pipeline after another has that one's.
    fn branch(&self, pipeline: &Pipeline) -> Result<String, Undeliverable> {
        let mut first = pipeline;
        let mut steps = 0;
        while let Some(before) = &first.on.after {
            let known = self.pipelines.iter().find(|one| one.name == *before);
            first = known.ok_or_else(|| Undeliverable::After(first.name.clone(), before.clone()))?;
            steps += 1;
            if steps > self.pipelines.len() {
                return Err(Undeliverable::After(first.name.clone(), pipeline.name.clone()));
            }
        }
        let wrong = |what: String| Undeliverable::Branches(first.name.clone(), what);
        match first.on.branches.as_slice() {
            [] => Err(wrong("no branch".to_owned())),
            [one] if !first.on.ignore.is_empty() => Err(wrong(format!("`{one}` but not to some others"))),
            [one] if one.contains(['*', '?', '[', '{']) => Err(wrong(format!("`{one}`"))),
            [one] => Ok(one.clone()),
            more => Err(wrong(format!("{} branches", more.len()))),
        }
    }

    fn source(&self, pipeline: &Pipeline, branch: &str) -> Action {
        let configuration = BTreeMap::from([
            ("ConnectionArn", Expr::Ref(Id::of(&["ConnectionArn"]))),
            ("FullRepositoryId", Expr::text(&self.repository)),
            ("BranchName", Expr::text(branch)),
            // A job clones for itself: commits are what releases are named by.
            ("OutputArtifactFormat", "CODEBUILD_CLONE_REF".into()),
            ("DetectChanges", if pipeline.on.after.is_none() { "true" } else { "false" }.into()),
        ]);
        begins(action_type("Source", "CodeStarSourceConnection"), configuration)
    }

    /// Which commit the pipeline before has passed.
    fn release(
        &mut self,
        pipeline: &Pipeline,
        before: &str,
        around: &Around,
        projects: &mut Vec<Id>,
    ) -> delivery::Stage {
        let parameter = hand_over(self.ask.app, before);
        let read = Statement::allow("ReadRelease", &["ssm:GetParameter"], [parameter_arn(&parameter)]);
        let job = Job {
            id: "Release".to_owned(),
            name: "release".to_owned(),
            what: format!("which commit has passed {before}"),
            script: Script {
                landfall: false,
                commands: vec![
                    format!(
                        "LANDFALL_COMMIT=\"$(aws ssm get-parameter --name {} --query Parameter.Value --output text)\"",
                        word(&parameter)
                    ),
                    "export LANDFALL_COMMIT".to_owned(),
                    "git cat-file -e \"$LANDFALL_COMMIT^{commit}\"".to_owned(),
                    "git log -1 --oneline \"$LANDFALL_COMMIT\"".to_owned(),
                ],
                exports: vec!["LANDFALL_COMMIT"],
                keeps: Vec::new(),
            },
            rights: vec![read],
            privileged: false,
            state: false,
            variables: Vec::new(),
            timeout: 10,
        };
        let project = self.project(pipeline, job, around);
        let mut action = run("Release", 1, &project, None);
        action.namespace = Some("Release".to_owned());
        projects.push(project);
        delivery::Stage { name: "Release".to_owned(), actions: vec![action] }
    }

    /// Images and templates, side by side.
    fn build(
        &mut self,
        pipeline: &Pipeline,
        branch: &str,
        around: &Around,
        projects: &mut Vec<Id>,
    ) -> Result<delivery::Stage, Undeliverable> {
        let commit = "#{Source.CommitId}";
        let mut actions = Vec::new();
        let pushed = landfall_iam::push(self.ask.app, false).ok();
        if let Some(pushed) = pushed {
            let job = Job {
                id: "Images".to_owned(),
                name: "images".to_owned(),
                what: "builds the images and pushes them".to_owned(),
                script: script(&[CHECKOUT, "landfall build", "landfall push"]),
                rights: self.in_registries(&pushed.policy, None),
                privileged: true,
                state: false,
                variables: vec![("LANDFALL_BRANCH", Expr::text(branch))],
                timeout: 60,
            };
            let project = self.project(pipeline, job, around);
            actions.push(run("Images", 1, &project, Some(commit)));
            projects.push(project);
        } else {
            self.parts.note(
                "no image of the manifest is built and pushed to ECR, so there is no job that does; what is deployed is a release: let whoever \
                 pushes the images of a commit run `landfall release create` for it, before its pipeline",
            );
        }
        let all = pipeline.stages.iter().filter(|stage| {
            self.ask.app.environments.get(&stage.environment).is_some_and(|environment| environment.stack.is_some())
        });
        let environments: Vec<&str> = all.map(|stage| stage.environment.as_str()).collect();
        let mut commands = vec![CHECKOUT.to_owned(), "landfall check".to_owned(), "mkdir -p templates".to_owned()];
        commands.extend(environments.iter().map(|name| {
            format!("landfall template {name} --commit \"$LANDFALL_COMMIT\" --output json > templates/{name}.json")
        }));
        let mut made = Script { landfall: true, commands, exports: Vec::new(), keeps: Vec::new() };
        if environments.is_empty() {
            made.commands.pop();
        } else {
            made.keeps.push("templates/*");
        }
        let keeps = !made.keeps.is_empty();
        let job = Job {
            id: "Synth".to_owned(),
            name: "synth".to_owned(),
            what: "checks the manifest and prints the templates".to_owned(),
            script: made,
            rights: Vec::new(),
            privileged: false,
            state: false,
            variables: Vec::new(),
            timeout: 10,
        };
        let project = self.project(pipeline, job, around);
        let mut action = run("Synth", 1, &project, Some(commit));
        if keeps {
            action.output_artifacts = vec![Artifact { name: "Templates" }];
        }
        actions.push(action);
        projects.push(project);
        Ok(delivery::Stage { name: "Build".to_owned(), actions })
    }

    #[allow(clippy::too_many_arguments, reason = "a stage hangs together with all of its pipeline")]
    fn stage(
        &mut self,
        pipeline: &'a Pipeline,
        stage: &'a Stage,
        before: Option<&str>,
        last: bool,
        commit: &str,
        branch: &str,
        around: &Around,
        projects: &mut Vec<Id>,
    ) -> Result<delivery::Stage, Undeliverable> {
        let name = stage.environment.as_str();
        let title = Id::of(&[name]).to_string();
        let mut actions = Vec::new();
        let mut order = 1;
        if let (Some(approval), Some(topic)) = (&stage.approval, &around.topic) {
            actions.push(self.approval(stage, approval, before, commit, topic));
            order += 1;
        }
        self.without(pipeline, stage);
        let mut add = |build: &mut Self, job: Job, order: &mut u32| {
            let action = format!("{}{title}", job.id.strip_suffix(&title).unwrap_or(&job.id));
            let project = build.project(pipeline, job, around);
            actions.push(run(&action, *order, &project, Some(commit)));
            projects.push(project);
            *order += 1;
        };
        let deploy = self.deploy(name, &title, &stage.run)?;
        add(self, deploy, &mut order);
        if stage.run.iter().any(|work| matches!(work, Work::Verify {})) {
            let job = Job {
                id: format!("Verify{title}"),
                name: format!("verify-{name}"),
                what: format!("asks {name} whether it answers"),
                script: script(&[CHECKOUT, &format!("landfall verify {name} --probes")]),
                rights: self.reading(name)?,
                privileged: false,
                state: true,
                variables: Vec::new(),
                timeout: 30,
            };
            add(self, job, &mut order);
        }
        let mut parameters = self.published(name, &stage.run, branch)?;
        let followed = self.pipelines.iter().any(|one| one.on.after.as_deref() == Some(pipeline.name.as_str()));
        if last && followed {
            parameters.push((hand_over(self.ask.app, &pipeline.name), "\"$LANDFALL_COMMIT\"".to_owned()));
        }
        if !parameters.is_empty() {
            let put = |(parameter, value): &(String, String)| {
                format!("aws ssm put-parameter --overwrite --type String --name {} --value {value}", word(parameter))
            };
            let arns = parameters.iter().map(|(parameter, _)| parameter_arn(parameter));
            let job = Job {
                id: format!("Publish{title}"),
                name: format!("publish-{name}"),
                what: format!("tells which commit {name} runs"),
                script: Script { commands: parameters.iter().map(put).collect(), ..Script::default() },
                rights: vec![Statement::allow("WriteParameters", &["ssm:PutParameter"], arns)],
                privileged: false,
                state: false,
                variables: Vec::new(),
                timeout: 10,
            };
            add(self, job, &mut order);
        }
        Ok(delivery::Stage { name: title, actions })
    }

    fn deploy(&mut self, name: &str, title: &str, work: &[Work]) -> Result<Job, Undeliverable> {
        let mut commands = vec![CHECKOUT.to_owned()];
        let deploy = format!("landfall deploy {name} --release \"$LANDFALL_COMMIT\"");
        let mut minutes = 60;
        let tasks = work.iter().any(|one| matches!(one, Work::Task(_)));
        for one in work {
            match one {
                Work::Task(TaskWork { service, container, command, timeout }) => {
                    let container =
                        container.as_ref().map(|one| format!(" --container {}", word(one))).unwrap_or_default();
                    let command: Vec<String> = command.iter().map(|one| word(one)).collect();
                    if !commands.contains(&deploy) {
                        self.parts.note(format!(
                            "{name}: a task before `deploy` runs the images that serve, not those of the release: `landfall run` takes the \
                             task definition that is there"
                        ));
                    }
                    let command = command.join(" ");
                    commands.push(format!("landfall run {name} {service}{container} --timeout {timeout} -- {command}"));
                    minutes += timeout.div_ceil(60);
                }
                Work::Stack { .. } | Work::Deploy {} if !commands.contains(&deploy) => commands.push(deploy.clone()),
                Work::Copy { .. } => {
                    self.parts.note(format!(
                        "{name}: images are not copied to other repositories here (`copy`): ECR's replication does that"
                    ));
                }
                Work::Stack { .. } | Work::Deploy {} | Work::Verify {} | Work::Publish { .. } => {}
            }
        }
        let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
        Ok(Job {
            id: format!("Deploy{title}"),
            name: format!("deploy-{name}"),
            what: format!("deploys the release to {name}"),
            script: script(&commands),
            rights: self.deploying(name, tasks)?,
            privileged: false,
            state: true,
            variables: Vec::new(),
            // CodeBuild's own limit is eight hours.
            timeout: minutes.min(480),
        })
    }

    fn approval(
        &mut self,
        stage: &Stage,
        approval: &Approval,
        before: Option<&str>,
        commit: &str,
        topic: &Id,
    ) -> Action {
        let name = &stage.environment;
        let seen = before.map_or_else(String::new, |before| format!(" It runs in {before}."));
        let mut configuration = BTreeMap::from([
            ("NotificationArn", Expr::from(topic)),
            ("CustomData", Expr::text(format!("Commit {commit} is to go to {name}.{seen}"))),
        ]);
        if let Some(link) = before.and_then(|before| self.link(before)) {
            configuration.insert("ExternalEntityLink", link);
        }
        if !approval.by.is_empty() || approval.count > 1 || !approval.self_approval {
            self.parts.note(format!(
                "{name}: who may approve is IAM's matter here (`codepipeline:PutApprovalResult` on this action), and one yes is enough; \
                 who began the run may say it"
            ));
        }
        // CodePipeline's limits: five minutes and sixty days; without a word it waits for seven.
        let minutes = approval.deadline.map(|seconds| u32::try_from(seconds / 60).unwrap_or(u32::MAX).clamp(5, 86_400));
        Action {
            name: "Approve".to_owned(),
            action_type_id: action_type("Approval", "Manual"),
            run_order: 1,
            namespace: None,
            input_artifacts: Vec::new(),
            output_artifacts: Vec::new(),
            configuration,
            timeout_in_minutes: minutes,
        }
    }

    /// Where people look at what is to be approved: the environment, or else its stack in the console, whose output has the address.
    fn link(&self, name: &str) -> Option<Expr> {
        let environment = self.ask.app.environments.get(name)?;
        if let Some(routing @ RouteTarget::Host { .. }) = &environment.routing {
            return Some(Expr::text(routing.url()));
        }
        let stack = self.stack_name(name);
        environment.stack.as_ref().map(|_| {
            Expr::sub(format!(
                "https://${{AWS::Region}}.console.aws.amazon.com/cloudformation/home?region=${{AWS::Region}}#/stacks?filteringText={stack}"
            ))
        })
    }

    /// What of a stage CodePipeline has nothing for.
    fn without(&mut self, pipeline: &Pipeline, stage: &Stage) {
        let name = &stage.environment;
        let requires = &stage.requires;
        if requires.bake > 0 || !requires.checks.is_empty() || !requires.quiet.is_empty() {
            self.parts.note(format!("{name}: CodePipeline does not wait for `bake`, `checks` and `quiet`"));
        }
        let own: Vec<&String> = pipeline.stages.iter().map(|stage| &stage.environment).collect();
        if requires.passed.iter().any(|one| !own.contains(&one)) {
            self.parts
                .note(format!("{name}: `passed` holds by the pipeline that comes before, and is not asked again"));
        }
        if stage.on_failure != OnFailure::default() {
            self.parts.note(format!(
                "{name}: a deployment that fails undoes itself; the stage does not go back after that (`on_failure`)"
            ));
        }
    }

    fn rights_of_pipeline(&self, pipeline: &Pipeline, around: &Around, projects: &[Id]) -> Vec<Statement> {
        let mut statements = rights_to_run(around, projects);
        if let Some(topic) = around.topic.as_ref().filter(|_| pipeline.stages.iter().any(|one| one.approval.is_some()))
        {
            statements.push(Statement::allow("AskForApproval", &["sns:Publish"], [Expr::from(topic)]));
        }
        statements
    }
}

/// Of a pipeline: its source, its artifacts and its jobs.
pub(super) fn rights_to_run(around: &Around, projects: &[Id]) -> Vec<Statement> {
    let bucket = &around.artifacts;
    let mut statements: Vec<Statement> = around.connection.clone().map(use_connection).into_iter().collect();
    statements.extend([
        Statement::allow(
            "KeepArtifacts",
            &["s3:GetObject", "s3:GetObjectVersion", "s3:PutObject"],
            [Expr::sub(format!("${{{bucket}.Arn}}/*"))],
        ),
        Statement::allow(
            "SeeArtifacts",
            &["s3:GetBucketLocation", "s3:GetBucketVersioning"],
            [Expr::Attribute(bucket.clone(), "Arn")],
        ),
        Statement::allow(
            "RunJobs",
            &["codebuild:BatchGetBuilds", "codebuild:StartBuild"],
            projects.iter().map(|id| Expr::Attribute(id.clone(), "Arn")),
        ),
    ]);
    statements
}

pub(super) fn script(commands: &[&str]) -> Script {
    Script { landfall: true, commands: commands.iter().map(|one| (*one).to_owned()).collect(), ..Script::default() }
}

pub(super) fn action_type(category: &'static str, provider: &'static str) -> ActionType {
    ActionType { category, owner: "AWS", provider, version: "1" }
}

/// What a pipeline begins with.
pub(super) fn begins(action_type_id: ActionType, configuration: BTreeMap<&'static str, Expr>) -> Action {
    Action {
        name: "Source".to_owned(),
        action_type_id,
        run_order: 1,
        namespace: Some("Source".to_owned()),
        input_artifacts: Vec::new(),
        output_artifacts: vec![SOURCE],
        configuration,
        timeout_in_minutes: None,
    }
}

/// A job that is told the commit, but for the one that finds it out.
fn run(name: &str, order: u32, project: &Id, commit: Option<&str>) -> Action {
    let variables: Vec<(&str, &str)> = commit.map(|commit| ("LANDFALL_COMMIT", commit)).into_iter().collect();
    run_with(name, order, project, &variables)
}

/// A job that is told these.
pub(super) fn run_with(name: &str, order: u32, project: &Id, variables: &[(&str, &str)]) -> Action {
    let mut configuration = BTreeMap::from([("ProjectName", Expr::from(project))]);
    if !variables.is_empty() {
        let one =
            |(name, value): &(&str, &str)| serde_json::json!({ "name": name, "value": value, "type": "PLAINTEXT" });
        let all: Vec<serde_json::Value> = variables.iter().map(one).collect();
        configuration.insert("EnvironmentVariables", Expr::text(serde_json::Value::from(all).to_string()));
    }
    Action {
        name: name.to_owned(),
        action_type_id: action_type("Build", "CodeBuild"),
        run_order: order,
        namespace: None,
        input_artifacts: vec![SOURCE],
        output_artifacts: Vec::new(),
        configuration,
        timeout_in_minutes: None,
    }
}

fn parameter_arn(name: &str) -> Expr {
    let name = name.trim_start_matches('/');
    Expr::sub(format!("arn:${{AWS::Partition}}:ssm:${{AWS::Region}}:${{AWS::AccountId}}:parameter/{name}"))
}
