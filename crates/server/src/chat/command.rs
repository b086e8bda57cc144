//! What somebody wrote, as a command. Pure.

/// Branches and repositories are taken as written; whether they exist is for others to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Help,
    List,
    Status { branch: String },
    Create { branch: String, repository: Option<String> },
    Destroy { branch: String },
    Wake { branch: String },
    Sleep { branch: String },
}

/// Why it is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unclear {
    /// No such word; the nearest that there is.
    Unknown {
        word: String,
        near: Option<&'static str>,
    },
    Missing {
        word: &'static str,
    },
    TooMany {
        word: &'static str,
        first: String,
    },
    Malformed {
        branch: String,
    },
}

const WORDS: [&str; 7] = ["create", "destroy", "help", "list", "sleep", "status", "wake"];
/// Of a word that is repeated to whoever wrote it.
const SHOWN: usize = 60;
/// git's own limit is that of file names in the repository; a ref is a path.
const LONGEST: usize = 255;

/// `BRANCH [REPO]` alone, as ECS Deity took it, is `create`; a single word without a slash is a command that does not exist.
pub(super) fn parse(text: &str) -> Result<Command, Unclear> {
    let words: Vec<&str> = text.split_whitespace().map(bare).filter(|word| !word.is_empty()).collect();
    let Some((first, rest)) = words.split_first() else { return Ok(Command::Help) };
    let word = first.to_ascii_lowercase();
    Ok(match word.as_str() {
        "help" | "?" => Command::Help,
        "list" | "ls" => {
            most(rest, 0, "list")?;
            Command::List
        }
        "status" | "show" if rest.is_empty() => Command::List,
        "status" | "show" => Command::Status { branch: only(rest, "status")? },
        "create" | "deploy" => {
            let branch = branch(rest, "create")?;
            most(rest, 2, "create")?;
            Command::Create { branch, repository: rest.get(1).map(|word| shown(word, LONGEST)) }
        }
        "destroy" | "delete" => Command::Destroy { branch: only(rest, "destroy")? },
        "wake" => Command::Wake { branch: only(rest, "wake")? },
        "sleep" => Command::Sleep { branch: only(rest, "sleep")? },
        _ if first.contains('/') && rest.len() <= 1 => Command::Create {
            branch: branch(&words, "create")?,
            repository: rest.first().map(|word| shown(word, LONGEST)),
        },
        _ => {
            let distance = |known: &&str| strsim::levenshtein(&shown(&word, SHOWN), known);
            let near = WORDS.into_iter().min_by_key(distance).filter(|known| distance(known) <= 2 && word.len() > 2);
            return Err(Unclear::Unknown { word: shown(first, SHOWN), near });
        }
    })
}

/// Without the quotes and backticks that people put around names.
fn bare(word: &str) -> &str {
    word.trim_matches(|c| matches!(c, '`' | '"' | '\'' | '“' | '”' | '‘' | '’' | '*'))
}

fn shown(word: &str, most: usize) -> String {
    word.chars().take(most).collect()
}

fn only(words: &[&str], word: &'static str) -> Result<String, Unclear> {
    let branch = branch(words, word)?;
    most(words, 1, word)?;
    Ok(branch)
}

fn most(words: &[&str], most: usize, word: &'static str) -> Result<(), Unclear> {
    match words.get(most) {
        None => Ok(()),
        Some(first) => Err(Unclear::TooMany { word, first: shown(first, SHOWN) }),
    }
}

/// What git would take for a branch (git-check-ref-format), or `#12` for a fork's pull request.
fn branch(words: &[&str], word: &'static str) -> Result<String, Unclear> {
    let name = words.first().ok_or(Unclear::Missing { word })?;
    let name = name.strip_prefix("refs/heads/").unwrap_or(name);
    let odd = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '~' | '^' | ':' | '?' | '*' | '[' | '\\');
    let malformed = name.is_empty()
        || name.len() > LONGEST
        || name.contains(odd)
        || name.contains("..")
        || name.contains("@{")
        || name.contains("//")
        || name.starts_with(['/', '-'])
        || name.ends_with(['/', '.'])
        || name.split('/').any(|part| part.starts_with('.') || part.ends_with(".lock"));
    if malformed { Err(Unclear::Malformed { branch: shown(name, SHOWN) }) } else { Ok(name.to_owned()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn create(branch: &str, repository: Option<&str>) -> Result<Command, Unclear> {
        Ok(Command::Create { branch: branch.to_owned(), repository: repository.map(str::to_owned) })
    }

    #[test]
    fn every_command_in_every_form() {
        let branch = || "feature/x".to_owned();
        for text in ["", "  ", "help", "HELP", "help me", "?"] {
            assert_eq!(parse(text), Ok(Command::Help), "{text:?}");
        }
        for text in ["list", "ls", " list ", "status"] {
            assert_eq!(parse(text), Ok(Command::List), "{text:?}");
        }
        for text in
            ["create feature/x", "Create `feature/x`", "deploy “feature/x”", "feature/x", "create refs/heads/feature/x"]
        {
            assert_eq!(parse(text), create("feature/x", None), "{text:?}");
        }
        for text in ["create feature/x shop", "feature/x shop"] {
            assert_eq!(parse(text), create("feature/x", Some("shop")), "{text:?}");
        }
        assert_eq!(parse("create list"), create("list", None));
        assert_eq!(parse("status feature/x"), Ok(Command::Status { branch: branch() }));
        assert_eq!(parse("destroy feature/x"), Ok(Command::Destroy { branch: branch() }));
        assert_eq!(parse("delete #12"), Ok(Command::Destroy { branch: "#12".to_owned() }));
        assert_eq!(parse("wake feature/x"), Ok(Command::Wake { branch: branch() }));
        assert_eq!(parse("sleep feature/x"), Ok(Command::Sleep { branch: branch() }));
    }

    #[test]
    fn what_is_unclear_is_said_clearly() {
        let unknown = |word: &str, near| Err(Unclear::Unknown { word: word.to_owned(), near });
        assert_eq!(parse("creat feature/x"), unknown("creat", Some("create")));
        assert_eq!(parse("lst"), unknown("lst", Some("list")));
        assert_eq!(parse("bonjour there"), unknown("bonjour", None));
        assert_eq!(parse("x"), unknown("x", None));
        assert_eq!(parse("create"), Err(Unclear::Missing { word: "create" }), "a single word is no crash");
        assert_eq!(parse("wake a b"), Err(Unclear::TooMany { word: "wake", first: "b".to_owned() }));
        assert_eq!(parse("list a"), Err(Unclear::TooMany { word: "list", first: "a".to_owned() }));
        for branch in ["a..b", "-x", "a/", "/a", "a//b", ".a", "a/.b", "a.lock", "a~1", "a:b", "x@{1}", "a*b"] {
            assert!(matches!(parse(&format!("create {branch}")), Err(Unclear::Malformed { .. })), "{branch}");
        }
        assert!(matches!(parse(&format!("create {}", "x".repeat(256))), Err(Unclear::Malformed { .. })));
    }

    proptest! {
        #[test]
        fn anything_is_a_command_or_unclear(text in "\\PC{0,200}") {
            let said = match parse(&text) {
                Ok(Command::Create { branch, .. } | Command::Destroy { branch } | Command::Status { branch }) => branch,
                Err(Unclear::Unknown { word, .. } | Unclear::Malformed { branch: word }) => {
                    prop_assert!(word.chars().count() <= SHOWN);
                    word
                }
                _ => String::new(),
            };
            prop_assert!(!said.contains(char::is_whitespace));
        }
    }
}
