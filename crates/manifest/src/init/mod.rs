//! A first manifest from what a repository already says about itself: its Dockerfiles and its Compose file.
//!
//! The proposal is loaded before it is handed out. Should something in the input make it invalid, the next simpler one is
//! tried, so that what `init` writes always passes `check`.

mod compose;
mod dockerfile;
mod draft;
mod flow;
mod scan;

use std::collections::{BTreeMap, BTreeSet};

use draft::{Draft, Image, write};
pub use flow::{flow, legal, repository, tests};
pub use scan::scan;

use landfall_model::app::ImageSource;

use crate::check::syntax;
use crate::source::SourceFile;

/// What `propose` looks at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepoFiles {
    /// Path relative to the repository (with `/`) → text, of every Dockerfile and Compose file found.
    pub files: BTreeMap<String, String>,
    /// The directory's own name.
    pub directory: String,
    /// The URL of the git remote `origin`.
    pub remote: Option<String>,
    /// Where images go that are built: a repository without a tag. Where it is `None`, they stay on the machine.
    pub repository: Option<String>,
}

const COMPOSE: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];

/// The text of a first manifest, commented; it passes [`crate::load`].
pub fn propose(files: &RepoFiles) -> String {
    let project = project(files);
    let from_compose = COMPOSE.iter().find_map(|name| compose::read(files.files.get(*name)?, ""));
    let from_dockerfiles = from_dockerfiles(files);
    let candidates = [
        from_compose.map(|drafts| (drafts, "the Compose file")),
        (!from_dockerfiles.is_empty()).then_some((from_dockerfiles, "the Dockerfile")),
    ];
    for (drafts, from) in candidates.into_iter().flatten() {
        let mut drafts = settle(drafts, files);
        pushed(&mut drafts, files.repository.as_deref());
        let text = write(&project, files.remote.as_deref(), drafts, from);
        if passes(&text) {
            return text;
        }
    }
    let placeholder = Draft {
        name: "app".to_owned(),
        image: Image::Reference("docker.io/library/nginx:alpine".to_owned()),
        ports: vec![80],
        ..Draft::default()
    };
    let text = write(&project, files.remote.as_deref(), vec![placeholder.clone()], "");
    if passes(&text) { text } else { write(&project, None, vec![placeholder], "") }
}

fn passes(text: &str) -> bool {
    crate::load(&SourceFile::new("landfall.yml", text), &|_| None).is_ok()
}

/// Whether anything of the proposal is built here.
pub fn builds(proposal: &str) -> bool {
    let loaded = crate::load(&SourceFile::new("landfall.yml", proposal), &|_| None);
    let containers =
        loaded.iter().flat_map(|loaded| loaded.app.services.values()).flat_map(|service| &service.containers);
    containers.into_iter().any(|container| matches!(container.image, ImageSource::Build(_)))
}

/// Each image to a repository of its own.
fn pushed(drafts: &mut [Draft], repository: Option<&str>) {
    let is_built = |draft: &&mut Draft| matches!(draft.image, Image::Build { .. });
    let several = drafts.iter_mut().filter(is_built).count() > 1;
    for draft in drafts.iter_mut().filter(is_built) {
        let name = draft.name.to_ascii_lowercase();
        draft.repository = repository.map(|own| if several { format!("{own}-{name}") } else { own.to_owned() });
    }
}

/// The repository's name from its remote, else the directory's.
fn project(files: &RepoFiles) -> String {
    let remote = files.remote.as_deref().unwrap_or_default().trim_end_matches('/').trim_end_matches(".git");
    let bare = remote.rsplit(['/', ':']).next().unwrap_or_default();
    [bare, files.directory.as_str(), "my-project"]
        .into_iter()
        .find_map(|name| syntax::legal_name(name, 40))
        .unwrap_or_else(|| "my-project".to_owned())
}

fn from_dockerfiles(files: &RepoFiles) -> Vec<Draft> {
    let is_dockerfile = |path: &&String| path.rsplit('/').next().is_some_and(|name| name.starts_with("Dockerfile"));
    let paths: Vec<&String> = files.files.keys().filter(is_dockerfile).collect();
    // `Dockerfile` at the root is the application; what lies beside it (`Dockerfile.dev`) usually is not.
    let chosen: Vec<&String> = match paths.iter().find(|path| path.as_str() == "Dockerfile") {
        Some(path) => vec![path],
        None => paths,
    };
    chosen
        .iter()
        .map(|path| {
            let (context, file) = path.rsplit_once('/').unwrap_or((".", path));
            let name = match (context, file.strip_prefix("Dockerfile.")) {
                (".", None) => "app",
                (_, Some(suffix)) => suffix,
                (context, None) => context.rsplit('/').next().unwrap_or("app"),
            };
            let dockerfile = (file != "Dockerfile").then(|| file.to_owned());
            let image = Image::Build { context: context.to_owned(), dockerfile, target: None, args: Vec::new() };
            Draft { name: name.to_owned(), image, ..Draft::default() }
        })
        .collect()
}

/// Adds what the Dockerfiles know, and makes the drafts fit one task: legal names, one owner to a port, conditions that can
/// be met.
fn settle(mut drafts: Vec<Draft>, files: &RepoFiles) -> Vec<Draft> {
    let jobs: BTreeSet<String> = drafts
        .iter()
        .flat_map(|draft| &draft.depends_on)
        .filter(|(_, condition)| *condition == "SUCCESS")
        .map(|(other, _)| other.clone())
        .collect();
    for draft in &mut drafts {
        let Image::Build { context, dockerfile, target, .. } = &mut draft.image else { continue };
        let name = dockerfile.as_deref().unwrap_or("Dockerfile");
        let path = if context == "." { name.to_owned() } else { format!("{context}/{name}") };
        let Some(text) = files.files.get(&path) else { continue };
        let read = dockerfile::read(text);
        *target = target.take().or(read.target);
        // A job that runs to its end serves nothing, though its image could.
        if jobs.contains(&draft.name) {
            continue;
        }
        if draft.ports.is_empty() {
            draft.ports = read.ports;
        }
        draft.health = draft.health.take().or(read.health);
    }
    let checked: BTreeSet<String> =
        drafts.iter().filter(|draft| draft.health.is_some()).map(|draft| draft.name.clone()).collect();
    let known: BTreeSet<String> = drafts.iter().map(|draft| draft.name.clone()).collect();
    let mut ports = BTreeSet::new();
    for draft in &mut drafts {
        let name = draft.name.clone();
        draft.depends_on.retain(|(other, _)| known.contains(other) && *other != name);
        for (other, condition) in &mut draft.depends_on {
            if *condition == "HEALTHY" && !checked.contains(other) {
                *condition = "START";
                draft.notes.push(format!("was to wait until `{other}` is healthy; it has no health check here"));
            }
        }
        for (variable, value) in &draft.environment {
            let value = value.as_deref().unwrap_or_default();
            let named = known
                .iter()
                .find(|other| ["//", "@"].iter().any(|before| value.contains(&format!("{before}{other}:"))));
            if let Some(other) = named {
                draft.notes.push(format!("`{variable}` names the host `{other}`: in a task it is localhost"));
            }
        }
        let (free, taken): (Vec<u16>, Vec<u16>) = draft.ports.drain(..).partition(|port| ports.insert(*port));
        draft.ports = free;
        for port in taken.into_iter().collect::<BTreeSet<_>>() {
            if !draft.ports.contains(&port) {
                draft
                    .notes
                    .push(format!("port {port} is taken by another container of the task: listen on another one"));
            }
        }
    }
    for draft in &mut drafts {
        draft.essential = !jobs.contains(&draft.name);
    }
    drafts
}
