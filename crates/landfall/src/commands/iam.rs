//! `iam`: the policy that the credentials need for what the manifest can do, and the trust policy of their role. Nothing is
//! asked of AWS.

use landfall_iam::{Ask, Least, Policy, StateBucket, TrustKind, Unfit, least, probes, prune, push, releases, trust};
use landfall_model::app::App;

use crate::cli::{Global, IamArgs, Trust};
use crate::commands::manifest;
use crate::env_vars;
use crate::error::{CliError, CliResult, not_found};
use crate::exit::ExitCode;
use crate::printer::Printer;

pub(crate) fn run(args: &IamArgs, global: &Global, printer: &Printer) -> CliResult<ExitCode> {
    let app = manifest::load(&global.config, printer)?;
    let region = env_vars::region();
    let Least { policy, notes } = policy(&app, args, global, region.as_deref())?;
    let policy = match args.trust {
        None => {
            notes.iter().for_each(|note| printer.hint(note));
            policy
        }
        Some(kind) => trust_policy(&app, args, kind, &policy)?,
    };
    printer.json_data(&policy)?;
    Ok(ExitCode::Ok)
}

fn policy(app: &App, args: &IamArgs, global: &Global, region: Option<&str>) -> CliResult<Least> {
    let ask = Ask {
        app,
        environment: (args.what != "previews").then_some(args.what.as_str()),
        account: args.account.as_deref(),
        region,
        pass_roles: &args.pass_roles,
        checks: args.checks,
        secrets: args.secrets,
        state: global.state.as_deref().and_then(|state| StateBucket::parse(state.to_str()?)),
    };
    let policy = match args.what.as_str() {
        name if app.environments.contains_key(name) => least(&ask),
        "push" => push(app, args.create_repository),
        "prune" => prune(&ask),
        "releases" => releases(&ask),
        "verify" => probes(&ask, |_| true),
        _ => least(&ask),
    };
    policy.map_err(|unfit| refused(&unfit, app))
}

pub(crate) fn refused(unfit: &Unfit, app: &App) -> CliError {
    match unfit {
        Unfit::NoEnvironment(name) => {
            let previews = app.previews.is_some().then_some("previews");
            not_found("environment", name, app.environments.keys().map(String::as_str).chain(previews))
        }
        Unfit::NoPreviews => CliError::new(ExitCode::NotFound, unfit.to_string()),
        Unfit::Here(_) => CliError::new(ExitCode::Usage, unfit.to_string()).hint("`on` names a place under `aws`"),
        Unfit::NothingPushed => CliError::new(ExitCode::NotFound, unfit.to_string())
            .hint("an image is, whose container has `await` with `image` in ECR and `build` (docs/images.md)"),
        Unfit::NothingAwaited => CliError::new(ExitCode::NotFound, unfit.to_string())
            .hint("an image is, whose container has `await` with `image` in ECR (docs/images.md)"),
        Unfit::NothingSought => CliError::new(ExitCode::NotFound, unfit.to_string())
            .hint("`landfall verify --probes` asks URLs that the manifest names, or nothing of it is on AWS"),
        Unfit::NoPlace(..) => CliError::new(ExitCode::InvalidManifest, unfit.to_string()),
    }
}

fn trust_policy(app: &App, args: &IamArgs, kind: Trust, policy: &Policy) -> CliResult<Policy> {
    // …:ACCOUNT:… of what the policy is about.
    let named = policy.statement.iter().flat_map(|statement| &statement.resource);
    let mut named = named.filter_map(|arn| {
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let [_, partition, "ecs" | "ecr", _, account, _] = parts.as_slice() else { return None };
        (*account != "*").then(|| ((*partition).to_owned(), (*account).to_owned()))
    });
    let (partition, account) = named.next().ok_or_else(|| {
        CliError::new(ExitCode::Usage, "a trust policy names the account, and the manifest does not say it")
            .hint("give --account")
    })?;
    let subject = |form: &str| {
        let given = args.subject.clone();
        given.ok_or_else(|| {
            CliError::new(ExitCode::Usage, format!("--subject {form} says whose jobs may take the role"))
        })
    };
    let kind = match kind {
        Trust::Github => {
            let mut known = app.repositories.values().filter_map(|repository| repository.github.clone());
            let only = known.next().filter(|_| known.next().is_none());
            let repository = args.subject.clone().or(only);
            let repository = repository.map_or_else(|| subject("OWNER/NAME"), Ok)?;
            TrustKind::GitHub { repository, environment: args.github_environment.clone() }
        }
        Trust::Gitlab => TrustKind::GitLab { host: args.gitlab_host.clone(), project: subject("GROUP/NAME")? },
        Trust::Circleci => {
            let subject = subject("ORG-ID/PROJECT-ID")?;
            let (organisation, project) = subject.split_once('/').ok_or_else(|| {
                CliError::new(ExitCode::Usage, format!("--subject {subject}: CircleCI's is ORG-ID/PROJECT-ID"))
            })?;
            TrustKind::CircleCi { organisation: organisation.to_owned(), project: project.to_owned() }
        }
        Trust::Ecs => TrustKind::Ecs,
        Trust::Ec2 => TrustKind::Ec2,
    };
    Ok(trust(&kind, &account, &partition))
}
