//! `cluster put-pipeline`: the pipeline that rolls the cluster with each push, as a stack of its own. Shown, asked for, applied.

use std::collections::BTreeMap;
use std::path::PathBuf;

use landfall_cluster::{LABEL_CLUSTER, owner, pipeline_labels, pipeline_stack};
use landfall_iam::{ClusterWork, Where};
use landfall_manifest::github::{NoRepository, Repository};
use landfall_ports::stacks::Stacks;
use landfall_stack::delivery::{ClusterAsk, ClusterImage, ClusterStage, Exported, Source, of_cluster};
use landfall_stack::live::{Before, Ending, Phase, Plan, Wanted};
use landfall_stack::{BODY, excess};
use landfall_steps::stack::{Purpose, discard, execute, mark};
use serde::Serialize;

use super::ami::SCRIPT;
use super::iam;
use super::infra::Open;
use super::reach::Reach;
use crate::build;
use crate::cli::cluster::ValuesArgs;
use crate::cli::put_pipeline::PutPipelineArgs;
use crate::commands::export::program;
use crate::commands::stack::{Watched, code, made, meant, tell_causes, watch};
use crate::commands::{port_error, release_url};
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::printer::Printer;

/// As printed with `--output json`.
#[derive(Debug, Serialize)]
struct Put {
    cluster: String,
    stack: String,
    repository: String,
    branch: String,
    outcome: &'static str,
    exit_code: u8,
    /// Whether anything was executed.
    changed: bool,
    #[serde(flatten)]
    plan: Plan,
}

pub(super) async fn run(args: &PutPipelineArgs, printer: &Printer) -> CliResult<ExitCode> {
    let source = source(args)?;
    program(args.url.as_deref(), args.sha256.as_deref())?;
    let open = Open::of(&args.values, printer)?;
    let (repository, branch) = (repository(args, &open)?, branch(args, &open)?);
    let url = args.url.clone().unwrap_or_else(release_url);
    let (images, stages) = jobs(args, &open, printer)?;
    let name = open.infra.name.as_str();
    let ask = ClusterAsk {
        cluster: name,
        tag: (LABEL_CLUSTER, name),
        owner: &repository.owner,
        repository: &repository.name,
        branch: &branch,
        source: &source,
        images,
        stages,
        url: Some(&url),
        sha256: args.sha256.as_deref(),
    };
    let made = of_cluster(&ask).map_err(|fault| CliError::new(ExitCode::InvalidManifest, fault.to_string()))?;
    made.notes.iter().for_each(|note| printer.warn(note));
    if args.print {
        let text = if printer.json() { made.template.json() } else { made.template.yaml() };
        excess(&made.template, &text).map_err(|excess| CliError::new(ExitCode::InvalidManifest, excess.to_string()))?;
        printer.raw(&text)?;
        printer.note(format_args!(
            "{}: {} resources, {} bytes",
            pipeline_stack(name),
            made.template.resources.len(),
            text.len()
        ));
        return Ok(ExitCode::Ok);
    }
    let reach = Reach::of(&open.infra, printer).await?;
    if let Source::Token { secret, .. } = &source {
        known(secret, &reach).await?;
    }
    let wanted = wanted(name, &made, &url, args, &*reach.stacks).await?;
    let put = Put {
        cluster: name.to_owned(),
        stack: wanted.stack.clone(),
        repository: format!("{}/{}", repository.owner, repository.name),
        branch,
        outcome: ExitCode::Ok.word(),
        exit_code: ExitCode::Ok as u8,
        changed: false,
        plan: Plan::default(),
    };
    apply(put, &wanted, args, &*reach.stacks, printer).await
}

fn source(args: &PutPipelineArgs) -> CliResult<Source> {
    match (&args.connection, &args.github_token_secret) {
        (Some(arn), _) => Ok(Source::Connection(arn.clone())),
        (None, Some(text)) => Ok(match text.split_once(':') {
            Some((secret, key)) => Source::Token { secret: secret.to_owned(), key: Some(key.to_owned()) },
            None => Source::Token { secret: text.clone(), key: None },
        }),
        (None, None) => Err(CliError::new(ExitCode::Usage, "by what does the pipeline read the repository?")
            .hint("by a connection (the console's Developer Tools, Connections): --connection ARN")
            .hint("or with a personal access token in Secrets Manager: --github-token-secret NAME")),
    }
}

fn repository(args: &PutPipelineArgs, open: &Open) -> CliResult<Repository> {
    let say = "say which one: --repository OWNER/NAME";
    if let Some(given) = &args.repository {
        return Repository::parse(given).map_err(|wrong| CliError::new(ExitCode::Usage, wrong.to_string()));
    }
    let Some(origin) = build::origin(&open.directory) else {
        let message = format!("{} is in no checkout of git that has an `origin`", open.path.display());
        return Err(CliError::new(ExitCode::Usage, message)
            .hint("`git remote add origin https://github.com/OWNER/NAME` tells where it belongs")
            .hint(say));
    };
    Repository::of_origin(&origin).map_err(|wrong| {
        let error = CliError::new(ExitCode::Usage, wrong.to_string()).hint(say);
        match wrong {
            NoRepository::Host(_) => {
                error.hint("elsewhere `landfall ci` rolls it on push, in any CI: docs/clusters.md#without-codepipeline")
            }
            NoRepository::Address(_) | NoRepository::Name(_) => error,
        }
    })
}

fn branch(args: &PutPipelineArgs, open: &Open) -> CliResult<String> {
    let found = args.branch.clone().or_else(|| build::head(&open.directory).branch);
    found.ok_or_else(|| {
        CliError::new(ExitCode::Usage, "which branch? None is checked out").hint("say it: --branch BRANCH")
    })
}

/// A stage for each environment, with a file of its own where there is one: beside `infra.yml` `infra.prod.yml`.
fn jobs(args: &PutPipelineArgs, open: &Open, printer: &Printer) -> CliResult<(Vec<ClusterImage>, Vec<ClusterStage>)> {
    let (mut images, mut stages) = (Vec::<ClusterImage>::new(), Vec::<ClusterStage>::new());
    let environments: Vec<&str> = match open.infra.environments.as_slice() {
        [] => vec![""],
        all => all.iter().map(String::as_str).collect(),
    };
    let mut clusters: BTreeMap<String, &str> = BTreeMap::new();
    let below = build::prefix(&open.directory);
    for environment in environments {
        let own = named(open, environment);
        let other = match !environment.is_empty() && own.exists() {
            true => Some(Open::of(&ValuesArgs { values: own.clone() }, printer)?),
            false => None,
        };
        let meant = other.as_ref().unwrap_or(open);
        if let Some(first) = clusters.insert(meant.infra.name.clone(), environment) {
            printer.warn(format_args!(
                "environments {first} and {environment} are both cluster {}: with a file of its own, {}, each has its own",
                meant.infra.name,
                own.display()
            ));
        }
        let file = meant.path.file_name().unwrap_or_default().to_string_lossy();
        let values = format!("{below}{file}");
        let script = meant.path.with_file_name(SCRIPT);
        let builds = !args.no_ami && meant.infra.builds_image() && script.exists();
        if !builds && !args.no_ami {
            let image = "its instances get the image that the file says, or AWS's newest";
            printer.note(format_args!(
                "note: {}: no image is built, as there is no {}; {image}",
                values,
                script.display()
            ));
        }
        let rights = |work, passes: &[String]| -> CliResult<_> {
            Ok(iam::of(&meant.infra, work, Where::STACK, builds, passes)?.statement)
        };
        iam::told(&meant.infra, ClusterWork::Deploy, &args.pass_roles, printer);
        if builds && images.iter().all(|one| one.values != values) {
            let rights = rights(ClusterWork::Image, &[])?;
            images.push(ClusterImage { environment: environment.to_owned(), values: values.clone(), rights });
        }
        let rights = rights(ClusterWork::Deploy, &args.pass_roles)?;
        stages.push(ClusterStage { environment: environment.to_owned(), values, rights });
    }
    Ok((images, stages))
}

fn named(open: &Open, environment: &str) -> PathBuf {
    let ending = open.path.extension().unwrap_or_default().to_string_lossy();
    open.path.with_extension(format!("{environment}.{ending}"))
}

/// # Errors
/// The secret is not there: CloudFormation would say so only when the pipeline is half made.
async fn known(secret: &str, reach: &Reach) -> CliResult<()> {
    let (region, there) = reach.has_secret(secret).await?;
    if there {
        return Ok(());
    }
    let message = format!("there is no secret {secret} in Secrets Manager in {region}");
    Err(CliError::new(ExitCode::NotFound, message)
        .hint(format!(
            "put the token into a file and make it: `aws secretsmanager create-secret --region {region} --name {secret} --secret-string file://token`"
        ))
        .hint("GitHub makes such a token under Settings, Developer settings; it takes the scopes `repo` and `admin:repo_hook`"))
}

async fn wanted(
    name: &str,
    made: &Exported,
    url: &str,
    args: &PutPipelineArgs,
    stacks: &dyn Stacks,
) -> CliResult<Wanted> {
    let stack = pipeline_stack(name);
    let template = made.template.compact();
    excess(&made.template, &template).map_err(|excess| CliError::new(ExitCode::InvalidManifest, excess.to_string()))?;
    if template.len() > BODY {
        let message =
            format!("the template has {} bytes, and CloudFormation takes {BODY} with a request", template.len());
        return Err(CliError::new(ExitCode::InvalidManifest, message)
            .hint("name fewer environments, or print it (--print) and deploy it by way of S3: `aws cloudformation deploy --s3-bucket BUCKET`"));
    }
    let live = stacks.describe(&stack).await.map_err(port_error)?;
    let has = live.is_some_and(|live| live.parameters.contains_key("LandfallSha256"));
    let same = has && args.url.is_none() && args.sha256.is_none();
    if args.sha256.is_none() && !same {
        return Err(CliError::new(ExitCode::Usage, "jobs run no file whose SHA-256 is not known: --sha256")
            .hint(format!("it stands in the `.sha256` file beside {url}")));
    }
    // The program that jobs run, and its hash: another one of both, or of neither.
    let parameters = [("LandfallUrl", (!same).then(|| url.to_owned())), ("LandfallSha256", args.sha256.clone())];
    Ok(Wanted {
        stack,
        environment: owner(name),
        labels: pipeline_labels(name).into_iter().collect(),
        template,
        parameters: parameters.map(|(key, value)| (key.to_owned(), value)).into(),
        ..Wanted::default()
    })
}

async fn apply(
    mut put: Put,
    wanted: &Wanted,
    args: &PutPipelineArgs,
    stacks: &dyn Stacks,
    printer: &Printer,
) -> CliResult<ExitCode> {
    let stack = &wanted.stack;
    let Some(ready) = made(stacks, wanted, Purpose::Apply, |before| held(stack, before), printer).await? else {
        printer.note(format_args!("stack {stack}: nothing to change"));
        if printer.json() {
            printer.json_data(&put)?;
        }
        return Ok(ExitCode::Ok);
    };
    printer.note(format_args!("stack {stack}{}", if ready.create { " (new)" } else { "" }));
    let width = ready.plan.width();
    ready.plan.rows.iter().for_each(|row| printer.note(format_args!("  {}", row.line(width))));
    let verb = if ready.create { "made" } else { "changed" };
    let what =
        format!("pushes to {} of {} roll cluster {}: the pipeline is {verb}", put.branch, put.repository, put.cluster);
    if let Err(refused) = meant(args.yes, &what, printer) {
        discard(stacks, stack, &ready.set.name).await.map_err(port_error)?;
        return Err(refused);
    }
    let begun = mark(stacks, stack).await.map_err(port_error)?;
    execute(stacks, &begun, &ready.set.id).await.map_err(port_error)?;
    let again = "landfall cluster put-pipeline";
    let Watched { ending, causes } = watch(stacks, stack, &begun, args.timeout, again, printer).await?;
    tell_causes(&causes, printer);
    match ending {
        Ending::Done => {
            printer.note(format_args!(
                "stack {stack} is up: pushes to {} of {} roll cluster {}",
                put.branch, put.repository, put.cluster
            ));
        }
        _ if ready.create => {
            printer.failure(format_args!("stack {stack} could not be made"));
            printer.hint(format!("mend it, clear away what is left, `aws cloudformation delete-stack --stack-name {stack}`, and call this again"));
        }
        _ => printer.failure(format_args!(
            "stack {stack} could not be changed: the pipeline is as it was, unless said otherwise"
        )),
    }
    let code = code(ending);
    (put.outcome, put.exit_code, put.changed, put.plan) = (code.word(), code as u8, true, ready.plan);
    if printer.json() {
        printer.json_data(&put)?;
    }
    Ok(code)
}

fn held(stack: &str, before: &Before) -> CliError {
    let hint = match before {
        Before::Foreign(_) => "another name of the cluster is another stack".to_owned(),
        Before::Watch(_) => "call this again when it is at rest".to_owned(),
        Before::Stuck(Phase::NeverCame) => {
            format!("clear it away, `aws cloudformation delete-stack --stack-name {stack}`, and call this again")
        }
        _ => "CloudFormation's console leads out of it".to_owned(),
    };
    CliError::new(ExitCode::Conflict, before.said(stack, "this cluster")).hint(hint)
}
