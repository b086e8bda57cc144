//! What is looked at before anything is decided: the environment, the host's event file, git. Git is asked for nothing that a host
//! has told already.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use landfall_ci::detect::{Sources, Variables, detect, event_file, host};
use landfall_ci::plan::{Changed, asks_for_paths};
use landfall_ci::{CiContext, Compare, Event, Git, Host, given};
use landfall_model::ci::Ci;

use crate::cli::ci::EventArgs;
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;

pub(super) struct Surroundings {
    pub(super) variables: Variables,
    pub(super) directory: PathBuf,
    event_file: Option<Vec<u8>>,
}

impl Surroundings {
    pub(super) fn look(directory: PathBuf) -> CliResult<Self> {
        // What is not UTF-8 is no variable that anybody documents.
        let readable = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let variables: Variables = std::env::vars_os().filter_map(readable).collect();
        let event_file = match event_file(&variables) {
            Some(path) => Some(read(Path::new(path))?),
            None => None,
        };
        Ok(Self { variables, directory, event_file })
    }

    pub(super) fn context(&self, event: &EventArgs) -> CliResult<CiContext> {
        let found = self.detect(Git::default());
        let tells_all = |context: &CiContext| {
            context.event != Event::Manual && context.commit.is_some() && context.repository.is_some()
        };
        let context = match found {
            Ok(context) if tells_all(&context) => Ok(context),
            Ok(_) => self.detect(self.git()),
            Err(refused) => Err(refused),
        };
        let context = context.map_err(|refused| {
            let host = host(&self.variables).name();
            CliError::new(ExitCode::Usage, format!("this looks like {host}, and yet: {refused}"))
        })?;
        laid_over(event, context)
    }

    fn detect(&self, git: Git) -> Result<CiContext, String> {
        detect(&Sources { variables: Some(&self.variables), event_file: self.event_file.as_deref(), git })
    }

    fn git(&self) -> Git {
        let line =
            |words: &[&str]| self.ask(words).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let head = line(&["rev-parse", "HEAD", "--abbrev-ref", "HEAD"]);
        let (commit, branch) = match head.as_deref().and_then(|text| text.split_once('\n')) {
            Some((commit, branch)) => (Some(commit.to_owned()), Some(branch.to_owned()).filter(|name| name != "HEAD")),
            // A repository without a commit.
            None => (None, line(&["symbolic-ref", "--short", "HEAD"])),
        };
        let tags = match branch {
            Some(_) => Vec::new(),
            None => line(&["tag", "--points-at", "HEAD"])
                .map_or_else(Vec::new, |text| text.lines().map(str::to_owned).collect()),
        };
        Git { branch, commit, tags, origin: line(&["config", "--get", "remote.origin.url"]) }
    }

    /// Asked of git only where a rule needs it.
    pub(super) fn changed(&self, ci: &Ci, context: &CiContext) -> Changed {
        if !asks_for_paths(ci, &context.event) {
            return Changed::Paths(Vec::new());
        }
        let parent = || vec!["HEAD^".to_owned(), "HEAD".to_owned()];
        let range = match &context.compare {
            Some(Compare::Commit(commit)) => vec![commit.clone(), "HEAD".to_owned()],
            Some(Compare::Branch(branch)) => vec![format!("{branch}...HEAD")],
            Some(Compare::Parent) => parent(),
            // All that a branch has over the one that it is to be merged into, and what its last commit brought, which may be that one's. Of a
            // branch that has nothing over it, and of that one itself, nobody knows.
            Some(Compare::Unsaid) => {
                let usual = self.usual_branch().filter(|usual| !context.event.is_push_to(usual));
                let over = usual.map(|usual| self.differs(&[format!("origin/{usual}...HEAD")]));
                return match (over, self.differs(&parent())) {
                    (Some(Changed::Paths(over)), Changed::Paths(last)) if !over.is_empty() => {
                        Changed::Paths(over.into_iter().chain(last).collect::<BTreeSet<_>>().into_iter().collect())
                    }
                    _ => Changed::Unknown("the host does not say what was there before".to_owned()),
                };
            }
            None => return Changed::Unknown("the host does not say what to compare with".to_owned()),
        };
        self.differs(&range)
    }

    fn differs(&self, range: &[String]) -> Changed {
        let mut words = vec!["diff", "--name-only", "--no-renames", "-z"];
        words.extend(range.iter().map(String::as_str));
        words.push("--");
        match self.ask(&words) {
            Ok(text) => Changed::Paths(text.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect()),
            Err(_) if self.ask(&["rev-parse", "--is-shallow-repository"]).is_ok_and(|text| text.trim() == "true") => {
                Changed::Unknown("the clone is shallow".to_owned())
            }
            Err(said) => Changed::Unknown(said),
        }
    }

    /// The repository's default branch, as the clone knows it.
    fn usual_branch(&self) -> Option<String> {
        let head = self.ask(&["symbolic-ref", "--short", "refs/remotes/origin/HEAD"]).ok()?;
        Some(head.trim().strip_prefix("origin/")?.to_owned())
    }

    /// Where the host takes a summary.
    pub(super) fn summary(&self, host: Host) -> Option<PathBuf> {
        let path = self.variables.get(host.summary_file()?)?;
        (!path.is_empty()).then(|| PathBuf::from(path))
    }

    /// `Err`: the first line of what git said.
    fn ask(&self, words: &[&str]) -> Result<String, String> {
        let output = Command::new("git")
            .args(words)
            .current_dir(&self.directory)
            // Another repository than the one here may be meant by whoever started us.
            .env_remove("GIT_DIR")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("git cannot be run: {error}"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(said.lines().next().unwrap_or("git failed").trim_start_matches("fatal: ").to_owned())
    }
}

/// What a person gave instead of what the host says.
fn laid_over(given: &EventArgs, context: CiContext) -> CliResult<CiContext> {
    let event = if let Some(file) = &given.event {
        return given::of_payload(&read(file)?, context)
            .map_err(|refused| CliError::new(ExitCode::Usage, format!("{}: {refused}", file.display())));
    } else if let Some(branch) = &given.branch {
        Event::Push { branch: branch.clone() }
    } else if let Some(tag) = &given.tag {
        Event::Tag { tag: tag.clone() }
    } else if let Some(number) = given.pull_request {
        let head = match &context.event {
            Event::Push { branch } => branch.clone(),
            Event::PullRequest { head, .. } => head.clone(),
            Event::Tag { .. } | Event::Manual => String::new(),
        };
        Event::PullRequest { number, head, base: String::new(), fork: false }
    } else {
        return Ok(context);
    };
    Ok(CiContext { event, compare: Some(Compare::Parent), ..context })
}

fn read(path: &Path) -> CliResult<Vec<u8>> {
    std::fs::read(path).map_err(|error| CliError::io(format!("cannot read {}", path.display()), &error))
}
