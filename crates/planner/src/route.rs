//! From a forge's event to intents, by the rules of the server's own manifest and never by anything in the commit.

use globset::GlobBuilder;
use landfall_model::app::{App, Previews, Repository};
use landfall_model::environment::{AbsentReason, EnvironmentKey, SourceRef};
use landfall_model::event::{
    Ask, ForgeEvent, ForgeEventKind, ForgeRepository, Intent, PreviewTrigger, PullRequestAction,
};
use landfall_model::ids::RepositoryKey;

/// What an event asks for. `why` says in one line why it is this, or why it is nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routed {
    pub intents: Vec<Intent>,
    pub why: String,
}

impl Routed {
    fn nothing(why: impl Into<String>) -> Self {
        Routed { intents: Vec::new(), why: why.into() }
    }
}

/// Deletions are passed on whether or not the branch matches: the rules may have changed since its preview was made, and
/// deleting what does not exist does nothing.
pub fn route(app: &App, event: &ForgeEvent) -> Routed {
    match &event.kind {
        ForgeEventKind::Ping => return Routed::nothing("ping"),
        ForgeEventKind::Ignored { what } => return Routed::nothing(format!("{what}: of no concern")),
        _ => {}
    }
    let Some(key) = repository_key(app, &event.repository) else {
        let name = event.repository.full_name.as_ref().unwrap_or(&event.repository.name);
        return Routed::nothing(format!("repository `{name}` is not in the manifest"));
    };
    match &event.kind {
        ForgeEventKind::BranchCreated { branch } => match wanted(app, branch) {
            Ok(why) => asking(event, key, branch, None, None, PreviewTrigger::BranchCreated, why),
            Err(why) => Routed::nothing(why),
        },
        ForgeEventKind::Pushed { branch, commit } => match wanted(app, branch) {
            Ok(why) => asking(event, key, branch, Some(commit), None, PreviewTrigger::Pushed, why),
            Err(why) => Routed::nothing(why),
        },
        ForgeEventKind::BranchDeleted { branch } if branch.is_empty() => Routed::nothing("the branch has no name"),
        ForgeEventKind::BranchDeleted { branch } => {
            let ask = Ask::Destroy { reason: AbsentReason::BranchDeleted };
            one(event, key, SourceRef::Branch(branch.clone()), ask, format!("branch `{branch}` was deleted"))
        }
        ForgeEventKind::PullRequest { action, number, head_branch, head_commit, fork } => {
            let pull = Pull { number: *number, branch: head_branch, commit: head_commit, fork: *fork };
            pull_request(app, event, key, *action, &pull)
        }
        ForgeEventKind::Ping | ForgeEventKind::Ignored { .. } => Routed::nothing("of no concern"),
    }
}

struct Pull<'a> {
    number: u64,
    branch: &'a str,
    commit: &'a str,
    fork: bool,
}

fn pull_request(
    app: &App,
    event: &ForgeEvent,
    key: RepositoryKey,
    action: PullRequestAction,
    pull: &Pull<'_>,
) -> Routed {
    let number = pull.number;
    let destroy = Ask::Destroy { reason: AbsentReason::PullRequestClosed };
    if pull.fork {
        let source = SourceRef::ForkPullRequest(number);
        return match action {
            PullRequestAction::Closed => {
                one(event, key, source, destroy, format!("pull request #{number} of a fork was closed"))
            }
            PullRequestAction::Present if !enabled(app) => {
                Routed::nothing("the manifest has no previews for pull requests")
            }
            PullRequestAction::Present => {
                let ask = Ask::Preview {
                    commit: Some(pull.commit.to_owned()),
                    pull_request: Some(number),
                    fork: true,
                    trigger: PreviewTrigger::PullRequest,
                };
                one(event, key, source, ask, format!("pull request #{number} of a fork"))
            }
        };
    }
    let by_branch = wanted(app, pull.branch);
    match action {
        // The branch itself has a preview: it lives as long as the branch.
        PullRequestAction::Closed if by_branch.is_ok() => {
            Routed::nothing(format!("the preview of `{}` lives as long as its branch", pull.branch))
        }
        PullRequestAction::Closed => {
            let source = SourceRef::Branch(pull.branch.to_owned());
            one(event, key, source, destroy, format!("pull request #{number} was closed"))
        }
        PullRequestAction::Present if !enabled(app) && by_branch.is_err() => {
            Routed::nothing("the manifest has no previews for pull requests")
        }
        PullRequestAction::Present if pull.branch.is_empty() => Routed::nothing("the branch has no name"),
        PullRequestAction::Present if is_ignored(app, pull.branch) => {
            Routed::nothing(format!("branch `{}` is in `previews.ignore`", pull.branch))
        }
        PullRequestAction::Present => {
            let why = format!("pull request #{number} from branch `{}`", pull.branch);
            asking(event, key, pull.branch, Some(pull.commit), Some(number), PreviewTrigger::PullRequest, why)
        }
    }
}

fn enabled(app: &App) -> bool {
    app.previews.as_ref().is_some_and(|previews| previews.pull_requests)
}

fn asking(
    event: &ForgeEvent,
    key: RepositoryKey,
    branch: &str,
    commit: Option<&str>,
    pull_request: Option<u64>,
    trigger: PreviewTrigger,
    why: String,
) -> Routed {
    let ask = Ask::Preview { commit: commit.map(str::to_owned), pull_request, fork: false, trigger };
    one(event, key, SourceRef::Branch(branch.to_owned()), ask, why)
}

fn one(event: &ForgeEvent, repository: RepositoryKey, source: SourceRef, ask: Ask, why: String) -> Routed {
    let actor = event.sender.as_ref().map_or_else(|| "github".to_owned(), |sender| format!("github:{sender}"));
    let intent = Intent {
        id: event.delivery.clone(),
        environment: EnvironmentKey { repository, source },
        ask,
        actor,
        event_at: event.repository.pushed_at,
    };
    Routed { intents: vec![intent], why }
}

/// The key of the repository an event is about. The numeric id survives renames, so it is asked first.
pub fn repository_key(app: &App, repository: &ForgeRepository) -> Option<RepositoryKey> {
    let matches = |candidate: &Repository| match (candidate.github_id, repository.id) {
        (Some(wanted), Some(id)) => wanted == id,
        _ => match (&candidate.github, &repository.full_name) {
            (Some(wanted), Some(full)) => wanted.eq_ignore_ascii_case(full),
            (Some(_), None) => false,
            (None, _) => candidate.github_id.is_none() && candidate.key.as_str() == repository.name,
        },
    };
    app.repositories.values().find(|candidate| matches(candidate)).map(|candidate| candidate.key.clone())
}

/// `Ok(why)` when the rules give this branch a preview, `Err(why)` when they do not.
pub fn wanted(app: &App, branch: &str) -> Result<String, String> {
    let Some(previews) = &app.previews else { return Err("the manifest has no `previews` section".to_owned()) };
    if branch.is_empty() {
        return Err("the branch has no name".to_owned());
    }
    if let Some(pattern) = matching(&previews.ignore, branch) {
        return Err(format!("branch `{branch}` matches `{pattern}` of previews.ignore"));
    }
    match matching(&previews.branches, branch) {
        Some(pattern) => Ok(format!("branch `{branch}` matches `{pattern}`")),
        None => Err(format!("branch `{branch}` matches none of {}", list(previews))),
    }
}

fn is_ignored(app: &App, branch: &str) -> bool {
    app.previews.as_ref().is_some_and(|previews| matching(&previews.ignore, branch).is_some())
}

fn list(previews: &Previews) -> String {
    let quoted: Vec<String> = previews.branches.iter().map(|pattern| format!("`{pattern}`")).collect();
    if quoted.is_empty() { "no pattern at all".to_owned() } else { quoted.join(", ") }
}

/// Whether a push to this branch begins a run of the pipeline.
pub fn begins(pipeline: &landfall_model::pipeline::Pipeline, branch: &str) -> bool {
    let on = &pipeline.on;
    matching(&on.branches, branch).is_some() && matching(&on.ignore, branch).is_none()
}

/// The first pattern that matches. `*` stops at `/`, `**` does not; a pattern that is no glob matches nothing (the
/// manifest refuses those).
fn matching<'a>(patterns: &'a [String], branch: &str) -> Option<&'a str> {
    patterns.iter().map(String::as_str).find(|pattern| {
        GlobBuilder::new(pattern)
            .literal_separator(true)
            .build()
            .is_ok_and(|glob| glob.compile_matcher().is_match(branch))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::fixture;

    fn event(kind: ForgeEventKind) -> ForgeEvent {
        ForgeEvent {
            delivery: "d-1".into(),
            repository: ForgeRepository {
                id: Some(42),
                name: "my-project".to_owned(),
                full_name: Some("acme/my-project".to_owned()),
                pushed_at: None,
            },
            kind,
            sender: Some("octocat".to_owned()),
        }
    }

    fn created(branch: &str) -> ForgeEvent {
        event(ForgeEventKind::BranchCreated { branch: branch.to_owned() })
    }

    fn pull(action: PullRequestAction, branch: &str, fork: bool) -> ForgeEvent {
        event(ForgeEventKind::PullRequest {
            action,
            number: 7,
            head_branch: branch.to_owned(),
            head_commit: "c0ffee".to_owned(),
            fork,
        })
    }

    #[test]
    fn a_matching_branch_becomes_one_intent_with_the_delivery_id() {
        let routed = route(&fixture::app(), &created("feature/test123"));
        assert_eq!(routed.intents.len(), 1);
        assert_eq!(routed.intents[0].id, "d-1".into());
        assert_eq!(routed.intents[0].actor, "github:octocat");
        assert_eq!(routed.why, "branch `feature/test123` matches `feature/*`");
    }

    #[test]
    fn a_star_stops_at_the_slash_and_ignore_wins() {
        let mut app = fixture::app();
        assert!(route(&app, &created("feature/a/b")).intents.is_empty());
        assert!(route(&app, &created("feature")).intents.is_empty());
        assert!(route(&app, &created("")).intents.is_empty());
        app.previews.as_mut().unwrap().branches = vec!["feature/**".to_owned()];
        assert_eq!(route(&app, &created("feature/a/b")).intents.len(), 1);
        app.previews.as_mut().unwrap().ignore = vec!["feature/a/*".to_owned()];
        let routed = route(&app, &created("feature/a/b"));
        assert!(routed.intents.is_empty() && routed.why.contains("previews.ignore"), "{}", routed.why);
    }

    #[test]
    fn the_numeric_id_wins_then_the_full_name_then_the_key() {
        let mut app = fixture::app();
        let repository = app.repositories.values_mut().next().unwrap();
        repository.github = Some("ACME/My-Project".to_owned());
        assert_eq!(route(&app, &created("feature/x")).intents.len(), 1);
        app.repositories.values_mut().next().unwrap().github_id = Some(43);
        assert!(
            route(&app, &created("feature/x")).intents.is_empty(),
            "another id under the same name is another repository"
        );
        let other = app.repositories.values_mut().next().unwrap();
        (other.github, other.github_id) = (Some("renamed/away".to_owned()), Some(42));
        assert_eq!(route(&app, &created("feature/x")).intents.len(), 1);
        let other = app.repositories.values_mut().next().unwrap();
        (other.github, other.github_id) = (Some("evil/my-project".to_owned()), None);
        let routed = route(&app, &created("feature/x"));
        assert_eq!(routed.why, "repository `acme/my-project` is not in the manifest");
    }

    #[test]
    fn deletions_pass_whatever_the_patterns_say() {
        let routed = route(&fixture::app(), &event(ForgeEventKind::BranchDeleted { branch: "old/style".to_owned() }));
        assert_eq!(routed.intents[0].ask, Ask::Destroy { reason: AbsentReason::BranchDeleted });
    }

    #[test]
    fn pull_requests_attach_to_their_branch_and_forks_stand_alone() {
        let app = fixture::app();
        let own = route(&app, &pull(PullRequestAction::Present, "topic", false));
        assert_eq!(own.intents[0].environment.source, SourceRef::Branch("topic".to_owned()));
        assert!(matches!(own.intents[0].ask, Ask::Preview { pull_request: Some(7), fork: false, .. }));
        let fork = route(&app, &pull(PullRequestAction::Present, "feature/x", true));
        assert_eq!(fork.intents[0].environment.source, SourceRef::ForkPullRequest(7));
        assert!(matches!(fork.intents[0].ask, Ask::Preview { fork: true, .. }));
        assert_eq!(route(&app, &pull(PullRequestAction::Closed, "topic", false)).intents.len(), 1);
        assert!(route(&app, &pull(PullRequestAction::Closed, "feature/x", false)).intents.is_empty());
        let mut without = fixture::app();
        without.previews.as_mut().unwrap().pull_requests = false;
        assert!(route(&without, &pull(PullRequestAction::Present, "topic", false)).intents.is_empty());
        assert!(route(&without, &pull(PullRequestAction::Present, "feature/x", true)).intents.is_empty());
        assert_eq!(route(&without, &pull(PullRequestAction::Closed, "feature/x", true)).intents.len(), 1);
    }
}
