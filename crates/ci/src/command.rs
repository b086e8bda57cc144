//! A step as what is run for it.

use landfall_model::ci::CiAction;

use crate::context::{CiContext, Event};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// By one `sh`, which ends with the first line that fails.
    Shell { script: String },
    /// Landfall's own arguments.
    Landfall(Vec<String>),
}

impl Command {
    /// `args`: more words for Landfall's own.
    ///
    /// # Errors
    /// What the event lacks for this step.
    pub fn of(action: &CiAction, args: &[String], context: &CiContext) -> Result<Self, String> {
        let commit = context.commit.as_deref();
        let deploy = |environment: &str| {
            let mut words = words(&["deploy", environment]);
            words.extend(commit.into_iter().flat_map(|commit| ["--commit".to_owned(), commit.to_owned()]));
            words
        };
        let mut words = match action {
            CiAction::Test { commands } => return Ok(Self::Shell { script: script(commands) }),
            CiAction::Build => words(&["build"]),
            CiAction::Push => words(&["push"]),
            CiAction::Deploy { environment } => deploy(environment),
            CiAction::Verify { environment } => words(&["verify", environment, "--probes"]),
            CiAction::Promote { environment } => match commit {
                // As it was released; where no release was recorded, as its images are tagged.
                Some(commit) => {
                    let mut words = deploy(environment);
                    words.extend(["--release".to_owned(), commit.to_owned()]);
                    words
                }
                None => return Err("the commit is not known, and a promotion takes the image that it has".to_owned()),
            },
            CiAction::Cluster { values } => {
                let mut words = words(&["cluster", "deploy", "--values", values]);
                words.extend(commit.into_iter().flat_map(|commit| ["--version".to_owned(), commit.to_owned()]));
                words
            }
            CiAction::Preview => {
                let branch = match &context.event {
                    Event::Push { branch } => branch,
                    Event::PullRequest { head, .. } if !head.is_empty() => head,
                    _ => return Err("a preview belongs to a branch, and the host names none".to_owned()),
                };
                let mut words = words(&["preview", "create", branch]);
                words.extend(commit.into_iter().flat_map(|commit| ["--commit".to_owned(), commit.to_owned()]));
                words
            }
        };
        words.extend(args.iter().cloned());
        Ok(Self::Landfall(words))
    }

    /// As a log shows it.
    pub fn title(&self) -> String {
        match self {
            Command::Shell { .. } => String::new(),
            Command::Landfall(words) => {
                let quoted = |word: &String| if plain(word) { word.clone() } else { quote(word) };
                let words: Vec<String> = words.iter().map(quoted).collect();
                format!("landfall {}", words.join(" "))
            }
        }
    }
}

/// What the commands of a step are told of the event.
pub fn variables(context: &CiContext) -> Vec<(&'static str, String)> {
    let mut out = Vec::new();
    if let Some(commit) = &context.commit {
        out.push(("LANDFALL_COMMIT", commit.clone()));
    }
    match &context.event {
        Event::Push { branch } => out.push(("LANDFALL_BRANCH", branch.clone())),
        Event::Tag { tag } => out.push(("LANDFALL_TAG", tag.clone())),
        Event::PullRequest { number, head, .. } => {
            out.push(("LANDFALL_PULL_REQUEST", number.to_string()));
            if !head.is_empty() {
                out.push(("LANDFALL_BRANCH", head.clone()));
            }
        }
        Event::Manual => {}
    }
    out
}

fn words(all: &[&str]) -> Vec<String> {
    all.iter().map(|word| (*word).to_owned()).collect()
}

/// Each line is shown before it runs.
fn script(commands: &[String]) -> String {
    let mut out = String::from("set -e\n");
    for command in commands {
        for line in command.lines() {
            out.push_str(&format!("printf '%s\\n' {}\n", quote(&format!("$ {line}"))));
        }
        out.push_str(command);
        out.push('\n');
    }
    out
}

fn plain(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./:=@,+#".contains(&byte))
}

/// One word of a shell's line, whatever it holds.
pub fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::context::Host;

    fn context(event: Event, commit: Option<&str>) -> CiContext {
        CiContext {
            host: Host::Laptop,
            event,
            repository: None,
            commit: commit.map(str::to_owned),
            compare: None,
            job: None,
            url: None,
            actor: None,
        }
    }

    fn title(action: &CiAction, context: &CiContext) -> String {
        Command::of(action, &[], context).unwrap().title()
    }

    #[test]
    fn steps_are_landfalls_own_commands() {
        let push = context(Event::Push { branch: "feature/a b".to_owned() }, Some("c1"));
        let prod = || "prod".to_owned();
        assert_eq!(title(&CiAction::Deploy { environment: prod() }, &push), "landfall deploy prod --commit c1");
        assert_eq!(title(&CiAction::Verify { environment: prod() }, &push), "landfall verify prod --probes");
        assert_eq!(title(&CiAction::Preview, &push), "landfall preview create 'feature/a b' --commit c1");
        assert_eq!(title(&CiAction::Push, &push), "landfall push");
        let cluster = CiAction::Cluster { values: "infra.yml".to_owned() };
        assert_eq!(title(&cluster, &push), "landfall cluster deploy --values infra.yml --version c1");
        let unknown = context(Event::Manual, None);
        assert!(Command::of(&CiAction::Promote { environment: prod() }, &[], &unknown).is_err());
        assert!(Command::of(&CiAction::Preview, &[], &unknown).is_err());
        assert_eq!(title(&CiAction::Deploy { environment: prod() }, &unknown), "landfall deploy prod");
        assert_eq!(title(&cluster, &unknown), "landfall cluster deploy --values infra.yml");
    }

    #[test]
    fn lines_of_a_test_are_shown_and_share_a_shell() {
        let test = CiAction::Test { commands: vec!["cd web".to_owned(), "echo 'it''s'".to_owned()] };
        let Command::Shell { script } = Command::of(&test, &[], &context(Event::Manual, None)).unwrap() else { return };
        assert_eq!(
            script,
            "set -e\nprintf '%s\\n' '$ cd web'\ncd web\nprintf '%s\\n' '$ echo '\\''it'\\'''\\''s'\\'''\necho 'it''s'\n"
        );
    }
}
