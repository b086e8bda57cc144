//! The `config.ts` of peerjako-aws/cdk-ecs-cicd: seven constants around an application, its clusters and two pipelines that are the
//! same for everybody who uses it. What those are is written here; what they did by mistake (docs/import.md numbers it) is not kept.

mod tokens;
mod typescript;
mod weaknesses;

use landfall_manifest::yaml::{finish, shorten};
use landfall_manifest::{Diagnostic, SourceFile, Span, did_you_mean};

use crate::write::{Lines, SCHEMA, quoted, slug};
use crate::{Changes, Failed, Imported, codes, verified};
use typescript::{Constant, constants};

/// Where the original's context says that its zones are.
const REGION: &str = "eu-west-1";
/// Nobody's: with it nothing is written to any account.
const NO_ACCOUNT: &str = "000000000000";
const KEYS: [&str; 7] = [
    "githubOwner",
    "repoName",
    "gitDevBranch",
    "gitProdBranch",
    "awsSecretsGitHubTokenName",
    "ssmImageTagParamName",
    "stagingValidationEmail",
];

/// What the configuration does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Twelve digits.
    pub account: Option<String>,
    pub region: Option<String>,
}

#[derive(Debug)]
struct Config {
    owner: String,
    repository: String,
    dev_branch: String,
    prod_branch: String,
    token: String,
    parameter: String,
    email: String,
}

/// # Errors
/// Everything that is wrong with the configuration, each with its place.
pub fn import(source: SourceFile, options: &Options) -> Result<Imported, Failed> {
    let mut changes = Changes::default();
    let mut found = Vec::new();
    let config = match constants(&source) {
        Ok(all) => config(&all, &mut changes, &mut found),
        Err(errors) => {
            found.extend(errors);
            None
        }
    };
    check(options, &mut found);
    match config {
        Some(config) if found.is_empty() => {
            let manifest = manifest(&config, options, &mut changes);
            weaknesses::add(&config, &mut changes);
            verified(manifest, changes, &|_| None)
        }
        _ => {
            let found = finish(found, &source.text);
            Err(Failed { files: vec![(source, found)] })
        }
    }
}

fn check(options: &Options, found: &mut Vec<Diagnostic>) {
    let mut wrong = |message: String| found.push(Diagnostic::error(codes::WHICH, message));
    if let Some(account) = &options.account
        && !(account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit()))
    {
        wrong(format!("`{}` is no account: twelve digits", shorten(account)));
    }
    if let Some(region) = &options.region
        && !(region.contains('-') && region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'))
    {
        wrong(format!("`{}` is no region: `eu-west-1` is one", shorten(region)));
    }
}

fn config(all: &[Constant], changes: &mut Changes, found: &mut Vec<Diagnostic>) -> Option<Config> {
    let unknown: Vec<&Constant> = all.iter().filter(|one| !KEYS.contains(&one.name.as_str())).collect();
    let mut texts = Vec::new();
    for key in KEYS {
        let given: Vec<&Constant> = all.iter().filter(|one| one.name == key).collect();
        match given.as_slice() {
            [] => {
                let near = unknown.iter().find(|one| did_you_mean(&one.name, [key]).is_some());
                let error = Diagnostic::error(codes::MISSING, format!("`{key}` is missing"));
                let at = near.map_or(Span::new(0, 0), |one| one.key);
                let label = if near.is_some() { "is this it?" } else { "not in this file" };
                found.push(error.label(at, label).help(format!("export const {key} = '…'")));
            }
            [one] => match value(one, key) {
                Ok(text) => texts.push(text),
                Err(error) => found.push(error),
            },
            [first, second, ..] => {
                let error = Diagnostic::error(codes::BAD_VALUE, format!("`{key}` is said twice"));
                found.push(error.label(second.key, "here again").label(first.key, "here first"));
            }
        }
    }
    for one in unknown {
        changes.dropped(one.path.escape_default().to_string(), "the original did not know this key");
    }
    let [owner, repository, dev_branch, prod_branch, token, parameter, email] = texts.try_into().ok()?;
    Some(Config { owner, repository, dev_branch, prod_branch, token, parameter, email })
}

fn value(one: &Constant, key: &str) -> Result<String, Diagnostic> {
    let wrong = |message: String, label: &str| Diagnostic::error(codes::BAD_VALUE, message).label(one.value, label);
    let Some(text) = &one.text else {
        return Err(wrong(format!("`{key}` is text"), "expected text in quotes"));
    };
    let word = |extra: &[u8]| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || extra.contains(&b);
        !text.is_empty() && text.len() <= 1_000 && text.bytes().all(plain)
    };
    let (fits, what) = match key {
        "githubOwner" => (word(b"-_"), "letters, digits and hyphens, as GitHub has them"),
        "repoName" => (word(b"-_.") && !matches!(text.as_str(), "." | ".."), "the repository's name without its owner"),
        "gitDevBranch" | "gitProdBranch" => (is_branch(text), "the name of a branch"),
        "ssmImageTagParamName" => {
            (word(b"-_./") && !text.contains("//") && !text.ends_with('/'), "letters, digits, `.`, `-`, `_` and `/`")
        }
        "stagingValidationEmail" => (is_address(text), "an address such as `validation@example.com`"),
        _ => (word(b"-_./+=@"), "the name of a secret of Secrets Manager"),
    };
    match fits {
        true => Ok(text.clone()),
        false => Err(wrong(format!("`{key}` cannot be `{}`", shorten(text)), what)),
    }
}

/// By git's rules (`git check-ref-format`), and no pattern.
fn is_branch(text: &str) -> bool {
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    text.split('/').all(part)
        && !text.starts_with('-')
        && !text.ends_with('.')
        && text != "@"
        && !text.contains("..")
        && !text.contains("@{")
        && text.len() <= 250
        && !text.chars().any(|c| c.is_control() || c.is_whitespace() || "~^:?*[]{}\\".contains(c))
}

fn is_address(text: &str) -> bool {
    let (name, host) = text.rsplit_once('@').unwrap_or_default();
    let plain = |c: char| c.is_alphanumeric() || ".!#$%&'*+/=?^_`{|}~-".contains(c);
    !name.is_empty()
        && name.chars().all(plain)
        && text.len() <= 254
        && host.contains('.')
        && host.split('.').all(|part| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '-'))
}

fn manifest(config: &Config, options: &Options, changes: &mut Changes) -> String {
    let project = slug(&config.repository).unwrap_or_else(|| "app".to_owned());
    if project != config.repository {
        changes.differs("repoName", format!("the project is called `{project}`: names of ours are lower case"));
    }
    let account = options.account.as_deref().unwrap_or_else(|| {
        let text = format!(
            "`{NO_ACCOUNT}` is nobody's account, so that nothing is made with it: the original took whichever the credentials were of \
             (`--account`)"
        );
        changes.pending("aws", text);
        NO_ACCOUNT
    });
    let region = options.region.as_deref().unwrap_or_else(|| {
        let text = format!("the original took the credentials' region; `{REGION}` is what its zones say (`--region`)");
        changes.pending("aws", text);
        REGION
    });
    let mut out = Lines::default();
    out.line(0, SCHEMA);
    out.remark(0, "From the config.ts of cdk-ecs-cicd. docs/import.md says what changes.");
    out.text(0, "project", &project);
    out.line(0, "");
    out.line(0, "repositories:");
    let github = format!("{}/{}", config.owner, config.repository);
    out.line(1, format!("{}:", crate::write::name(&config.repository)));
    out.text(2, "github", &github);
    out.text(2, "source", &format!("https://github.com/{github}.git"));
    out.line(0, "");
    out.line(0, "aws:");
    for environment in ["dev", "staging", "prod"] {
        out.line(1, format!("{environment}:"));
        out.text(2, "region", region);
        out.text(2, "account", account);
        out.text(2, "cluster", &format!("{project}-{environment}"));
    }
    out.line(0, "");
    service(&format!("{account}.dkr.ecr.{region}.amazonaws.com/{project}"), &mut out);
    out.line(0, "");
    environments(&mut out);
    out.line(0, "");
    pipelines(config, &mut out);
    let topic = format!("arn:aws:sns:{region}:{account}:{project}-approvals");
    out.line(0, "");
    out.line(0, "notifications:");
    out.line(1, "approvals:");
    out.line(2, format!("sns: {{on: prod, topic: {}}}", quoted(&topic)));
    changes.pending(
        "stagingValidationEmail",
        format!(
            "the topic `{project}-approvals` is to be made (`aws sns create-topic`), with `{}` subscribed to it: `landfall notifications \
             subscribe approvals`. For CodePipeline the exported stack makes both",
            config.email.escape_default()
        ),
    );
    let repositories = format!("`{project}-app` and `{project}-nginx`");
    changes.pending(
        "images",
        format!(
            "the repositories {repositories} of ECR are to be made (the original's had names that CDK made up): `aws ecr \
             create-repository`"
        ),
    );
    out.0
}

/// The original's task: traffic reaches nginx, which passes it on to the app on localhost.
fn service(registry: &str, out: &mut Lines) {
    out.line(0, "services:");
    out.line(1, "web:");
    out.line(2, "cpu: 256");
    out.line(2, "memory: 512");
    out.line(2, "containers:");
    for (name, port) in [("app", 3000), ("nginx", 80)] {
        out.line(3, format!("{name}:"));
        out.line(4, "await:");
        out.line(5, format!("image: {}", quoted(&format!("{registry}-{name}:{{commit}}"))));
        out.line(5, format!("build: {{context: {name}}}"));
        out.line(4, format!("ports: [{port}]"));
    }
    out.line(2, "load_balancer: {container: nginx}");
}

/// Two tasks in every other hour, as the original has it.
const SCALING: [&str; 5] = [
    "max: 4",
    "cpu: 50",
    "schedules:",
    "  up: {cron: \"0 0/2 * * *\", min: 2}",
    "  down: {cron: \"0 1/2 * * *\", min: 1}",
];

fn environments(out: &mut Lines) {
    out.line(0, "environments:");
    for (name, network) in [("dev", "10.1.0.0/20"), ("staging", "10.2.0.0/20"), ("prod", "10.3.0.0/20")] {
        out.line(1, format!("{name}:"));
        out.line(2, format!("on: {name}"));
        out.line(2, "stack:");
        out.line(3, format!("network: {{new: {{cidr: {network}}}}}"));
        out.line(3, "scaling:");
        out.line(4, "web:");
        for line in SCALING {
            out.line(5, line);
        }
    }
}

/// Both of the original's: dev at every push; staging, somebody's yes, and prod with the same release.
fn pipelines(config: &Config, out: &mut Lines) {
    out.line(0, "pipelines:");
    out.line(1, "dev:");
    out.line(2, format!("on: {{branches: [{}]}}", quoted(&config.dev_branch)));
    out.line(2, "stages:");
    out.line(3, "- environment: dev");
    let own = "/{project}/{environment}/{service}/image-tag";
    out.line(4, format!("image_tag: [{}, {}]", quoted(&config.parameter), quoted(own)));
    out.line(1, "staging-prod:");
    out.line(2, "on: {after: dev}");
    out.line(2, "stages:");
    out.line(3, "- environment: staging");
    out.line(3, "- environment: prod");
    out.line(4, "approval:");
    out.line(5, format!("by: [{}]", quoted(&config.owner)));
    out.line(5, "self_approval: true");
    out.line(5, "notify: [approvals]");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_and_addresses() {
        for text in ["dev", "feature/a-b_c", "release-1.0", "a@b", "é"] {
            assert!(is_branch(text), "{text}");
        }
        for text in [
            "", "a b", "-a", "a..b", "a/", "/a", "a//b", "a*", "a.lock", ".a", "a~1", "@", "a@{b", "a\n", "a[b]",
            "${A}",
        ] {
            assert!(!is_branch(text), "{text}");
        }
        for text in ["validation@test.com", "a.b+c@x-y.example.org"] {
            assert!(is_address(text), "{text}");
        }
        for text in ["", "a", "@b.c", "a@", "a@b", "a b@c.d", "a@b..c", "a@b.c\n", "a@b c.d", "<a@b.c>", "a,b@c.d"] {
            assert!(!is_address(text), "{text}");
        }
    }
}
