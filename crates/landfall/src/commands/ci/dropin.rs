//! `travis-ecs-deploy` without its scripts: no manifest, the documented variables are enough (docs/travis.md). What is done is a flow
//! as any other: build, push, deploy. The deployment is Landfall's own, of the service as it is, with one image exchanged.

use std::path::{Path, PathBuf};

use landfall_ci::detect::host;
use landfall_ci::dropin::{Decision, Deployment, decide, with_image};
use landfall_ci::plan::{Changed, plan};
use landfall_ci::{CiContext, Event, Masks};
use landfall_model::ci::{Ci, CiAction, CiRule, CiStep};

use super::surroundings::Surroundings;
use super::{Job, Way, run};
use crate::build::{Builder, find};
use crate::cli::Global;
use crate::env_vars;
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::paths::State;
use crate::printer::Printer;

/// Whether the variables are there that only the original's users set.
pub(super) fn is_meant(here: &Surroundings) -> bool {
    let own = ["DEPLOY_BRANCHES", "REMOTE_IMAGE_URL"];
    let mut set = own.iter().map(|name| here.variables.contains_key(*name));
    // On the original's own host the one that is missing is told.
    if here.variables.contains_key("TRAVIS") { set.any(|set| set) } else { set.all(|set| set) }
}

pub(super) async fn to_end(here: Surroundings, way: Way, global: &Global, printer: &Printer) -> CliResult<u8> {
    let deployment = match decide(&here.variables) {
        Decision::Skip { why } => {
            printer.note(why);
            return Ok(ExitCode::Ok as u8);
        }
        Decision::Missing(missing) => return Err(refused(&missing)),
        Decision::Ambiguous(why) => {
            return Err(CliError::new(ExitCode::Usage, why)
                .hint("their variables are the branch in upper case, with `_` for all but letters and digits"));
        }
        Decision::Go(deployment) => deployment,
    };
    let engine = engine().await?;
    let files = Files::of(&deployment, global)?;
    let state = State::of(global.state.clone())?;
    let job = job(&here, &deployment, engine, &files, &state)?;
    if deployment.dry_run || way == Way::Plan {
        if deployment.dry_run {
            printer.note("DRYRUN is set: nothing is done");
        }
        printer.emit(&job.flow, landfall_ci::plan::Flow::text)?;
        return Ok(ExitCode::Ok as u8);
    }
    // Before anything is built or pushed.
    files.write(&deployment).await?;
    run::to_end(&job, way == Way::Resume, global, printer).await
}

fn refused(missing: &[(String, &'static str)]) -> CliError {
    let names: Vec<&str> = missing.iter().map(|(name, _)| name.as_str()).collect();
    let error = CliError::new(ExitCode::Usage, format!("not set: {}", names.join(", ")));
    missing.iter().fold(error, |error, (name, what)| error.hint(format!("{name}: {what}")))
}

/// What builds the image, and has it then by its name. A client alone builds nothing.
async fn engine() -> CliResult<&'static str> {
    for wanted in [Builder::Docker, Builder::Podman] {
        if let Ok(found) = find(Some(wanted)).await {
            return Ok(found.program());
        }
    }
    let message = "the image cannot be built: neither docker nor podman answers";
    Err(CliError::new(ExitCode::Unavailable, message).hint("on Travis CI say `services: docker`"))
}

/// The manifest that the service amounts to, and its task definition with the new image.
struct Files {
    directory: PathBuf,
}

impl Files {
    fn of(deployment: &Deployment, global: &Global) -> CliResult<Self> {
        let legal = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let name: String = format!("{}@{}", deployment.service, deployment.cluster).chars().map(legal).collect();
        let directory = State::of(global.state.clone())?.directory().join("travis").join(name);
        Ok(Self { directory })
    }

    fn manifest(&self) -> PathBuf {
        self.directory.join("landfall.yml")
    }

    fn task_definition(&self) -> PathBuf {
        self.directory.join("task-definition.json")
    }

    async fn write(&self, deployment: &Deployment) -> CliResult<()> {
        let io = |error: &std::io::Error| CliError::io(format!("cannot write {}", self.directory.display()), error);
        std::fs::create_dir_all(&self.directory).map_err(|error| io(&error))?;
        let (service, definition) = described(deployment).await?;
        let endpoint = env_vars::get(env_vars::AWS_ENDPOINT_URL);
        let manifest = deployment.manifest(endpoint.as_deref(), &service, &definition);
        let definition = changed(deployment, definition)?;
        put(&self.manifest(), &manifest).map_err(|error| io(&error))?;
        put(&self.task_definition(), &definition).map_err(|error| io(&error))
    }
}

fn put(path: &Path, value: &serde_json::Value) -> std::io::Result<()> {
    std::fs::write(path, serde_json::to_string_pretty(value)?)
}

fn changed(deployment: &Deployment, definition: serde_json::Value) -> CliResult<serde_json::Value> {
    let Deployment { repository, service, .. } = deployment;
    with_image(definition, repository, &deployment.reference()).map(|(definition, _)| definition).map_err(|images| {
        CliError::new(ExitCode::Usage, format!("no container of service {service} runs an image of {repository}"))
            .hint(format!("REMOTE_IMAGE_URL names the repository; what it runs: {}", images.join(", ")))
    })
}

/// The service and the task definition that it runs, as ECS describes them.
#[cfg(feature = "aws")]
async fn described(deployment: &Deployment) -> CliResult<(serde_json::Value, serde_json::Value)> {
    use landfall_aws::{AwsOptions, AwsPlatform};
    use landfall_model::aws::AwsTarget;

    let Deployment { region, cluster, service, .. } = deployment;
    let target = AwsTarget {
        name: cluster.clone(),
        region: Some(region.clone()),
        cluster: cluster.clone(),
        endpoint: env_vars::get(env_vars::AWS_ENDPOINT_URL),
        ..AwsTarget::default()
    };
    let platform = AwsPlatform::connect(&target, AwsOptions { instance: String::new() }).await;
    let platform = platform.map_err(crate::commands::port_error)?;
    let found = platform.orchestrator().documents(service).await.map_err(crate::commands::port_error)?;
    found.map(|documents| (documents.service, documents.task_definition)).ok_or_else(|| {
        let message = format!("there is no service {service} in cluster {cluster} in {region}");
        CliError::new(ExitCode::NotFound, message).hint("make it first: only services that exist are deployed to")
    })
}

#[cfg(not(feature = "aws"))]
async fn described(deployment: &Deployment) -> CliResult<(serde_json::Value, serde_json::Value)> {
    Err(crate::places::without(&deployment.cluster, &deployment.service))
}

fn job(here: &Surroundings, deployment: &Deployment, engine: &str, files: &Files, state: &State) -> CliResult<Job> {
    let own = std::env::current_exe().map_err(|error| CliError::io("this program's own path", &error))?;
    let quoted = |path: &Path| landfall_ci::command::quote(&path.to_string_lossy());
    let word = landfall_ci::command::quote;
    // Steps run elsewhere, perhaps: a directory is absolute by now.
    let state = word(&state.to_string());
    let lines = [
        ("build", format!("{engine} build -t {} .", word(&deployment.image_name))),
        (
            "push",
            format!(
                "{} push {} --from {} --state {state}",
                quoted(&own),
                word(&deployment.reference()),
                word(&deployment.image_name)
            ),
        ),
        (
            "deploy",
            format!(
                "{} deploy {} --fail-fast --config {} --task-definition {} --state {state}",
                quoted(&own),
                deployment.environment(),
                quoted(&files.manifest()),
                quoted(&files.task_definition())
            ),
        ),
    ];
    let mut before: Vec<String> = Vec::new();
    let mut steps = Vec::new();
    for (name, line) in lines {
        let needs = Some(before.iter().rev().take(1).cloned().collect());
        steps.push(CiStep {
            name: name.to_owned(),
            run: CiAction::Test { commands: vec![line] },
            args: Vec::new(),
            needs,
            timeout: None,
        });
        before.push(name.to_owned());
    }
    let rule =
        CiRule { name: "travis-ecs-deploy".to_owned(), branches: vec!["**".to_owned()], steps, ..CiRule::default() };
    let variable = |name: &str| here.variables.get(name).cloned().filter(|value| !value.is_empty());
    let context = CiContext {
        host: host(&here.variables),
        event: Event::Push { branch: deployment.branch.clone() },
        repository: variable("TRAVIS_REPO_SLUG"),
        commit: variable("TRAVIS_COMMIT"),
        compare: None,
        job: variable("TRAVIS_JOB_NUMBER"),
        url: variable("TRAVIS_JOB_WEB_URL"),
        actor: None,
    };
    let ci = Ci { rules: vec![rule], mask: Vec::new() };
    let flow = plan(&ci, context, &Changed::Paths(Vec::new())).map_err(CliError::internal)?;
    Ok(Job {
        masks: Masks::of(&here.variables, &[]),
        summary: here.summary(flow.context.host),
        directory: here.directory.clone(),
        run: None,
        // The image that is built is the engine's.
        on_one_machine: true,
        flow,
    })
}
