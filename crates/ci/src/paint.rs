//! How a host wants its log: groups that fold, errors that show on the commit's page, values that it hides.
//!
//! - GitHub Actions: <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands>
//! - GitLab CI: <https://docs.gitlab.com/ci/jobs/job_logs/#custom-collapsible-sections>
//! - Buildkite: <https://buildkite.com/docs/pipelines/configure/managing-log-output>
//! - Travis CI folds what stands between `travis_fold:start:ID` and `travis_fold:end:ID`, as its own build script prints it.
//!
//! The others have no groups: a line says where one begins.

use crate::context::Host;

/// A step's log from its first line to its last.
#[derive(Debug, Clone, Copy)]
pub struct Group<'a> {
    /// The step's name; of the flow's steps no other has it.
    pub name: &'a str,
    /// What it does, as its command line.
    pub title: &'a str,
}

impl Group<'_> {
    /// For hosts that take letters, digits and few signs.
    fn id(&self) -> String {
        let legal = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
        format!("landfall_{}", self.name.chars().map(legal).collect::<String>())
    }

    fn heading(&self) -> String {
        if self.title.is_empty() { self.name.to_owned() } else { format!("{}: {}", self.name, self.title) }
    }
}

impl Host {
    /// With its newline. `second`: since 1970.
    pub fn open(self, group: Group<'_>, second: i64) -> String {
        let heading = group.heading();
        match self {
            Host::GitHub => format!("::group::{}\n", data(&heading)),
            Host::GitLab => format!("\x1b[0Ksection_start:{second}:{}\r\x1b[0K{heading}\n", group.id()),
            Host::Travis => format!("travis_fold:start:{}\r\x1b[0K{heading}\n", group.id()),
            Host::Buildkite => format!("--- {heading}\n"),
            Host::CircleCi | Host::Jenkins | Host::CodeBuild | Host::Laptop => format!("--- {heading}\n"),
        }
    }

    /// What ends a group; empty where nothing does. A group that failed is shown open where the host can.
    pub fn close(self, group: Group<'_>, second: i64, ok: bool) -> String {
        match self {
            Host::GitHub => "::endgroup::\n".to_owned(),
            Host::GitLab => format!("\x1b[0Ksection_end:{second}:{}\r\x1b[0K\n", group.id()),
            Host::Travis => format!("travis_fold:end:{}\r\x1b[0K\n", group.id()),
            Host::Buildkite if !ok => "^^^ +++\n".to_owned(),
            Host::Buildkite | Host::CircleCi | Host::Jenkins | Host::CodeBuild | Host::Laptop => String::new(),
        }
    }

    /// An error beside the job's other results, where the host collects them out of the log.
    pub fn annotation(self, title: &str, message: &str) -> Option<String> {
        match self {
            Host::GitHub => Some(format!("::error title={}::{}\n", property(title), data(message))),
            _ => None,
        }
    }

    /// What makes the host hide a value in whatever the job prints from here on. Only GitHub takes values out of the log itself.
    pub fn mask(self, value: &str) -> Option<String> {
        match self {
            Host::GitHub => Some(format!("::add-mask::{}\n", data(value))),
            _ => None,
        }
    }

    /// The program that takes a summary in Markdown on its standard input, where the host has no file for it.
    /// <https://buildkite.com/docs/agent/cli/reference/annotate>
    pub fn annotate(self, ok: bool) -> Option<[&'static str; 6]> {
        let style = if ok { "success" } else { "error" };
        (self == Host::Buildkite).then_some(["buildkite-agent", "annotate", "--context", "landfall", "--style", style])
    }

    /// The variable that names the file to which a summary in Markdown is appended.
    pub fn summary_file(self) -> Option<&'static str> {
        (self == Host::GitHub).then_some("GITHUB_STEP_SUMMARY")
    }
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: Group<'_> = Group { name: "deploy prod", title: "landfall deploy prod" };

    #[test]
    fn each_host_gets_the_groups_that_it_folds() {
        let open = |host: Host| host.open(GROUP, 1_700_000_000);
        assert_eq!(open(Host::GitHub), "::group::deploy prod: landfall deploy prod\n");
        assert_eq!(
            open(Host::GitLab),
            "\x1b[0Ksection_start:1700000000:landfall_deploy_prod\r\x1b[0Kdeploy prod: landfall deploy prod\n"
        );
        assert_eq!(open(Host::Buildkite), "--- deploy prod: landfall deploy prod\n");
        assert_eq!(Host::GitHub.close(GROUP, 0, false), "::endgroup::\n");
        assert_eq!(Host::Buildkite.close(GROUP, 0, false), "^^^ +++\n");
        assert_eq!(Host::Buildkite.close(GROUP, 0, true), "");
        assert_eq!(Host::Travis.close(GROUP, 0, true), "travis_fold:end:landfall_deploy_prod\r\x1b[0K\n");
    }

    #[test]
    fn workflow_commands_are_escaped() {
        let said = Host::GitHub.annotation("a: b, c", "100%\nof it").unwrap_or_default();
        assert_eq!(said, "::error title=a%3A b%2C c::100%25%0Aof it\n");
        assert_eq!(Host::GitLab.annotation("a", "b"), None);
        assert_eq!(Host::Jenkins.mask("x"), None);
    }
}
