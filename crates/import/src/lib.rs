//! Other tools' files → a manifest, and what changes with it. Text in, text out: nobody here opens a file, asks the
//! environment or calls AWS; what is read and what variables are comes in as parameters.
//!
//! Public API:
//! - [`cdk::import`]: the `config.ts` of cdk-ecs-cicd
//! - [`deity::import`]: ECS Deity's `conf.yml`
//! - [`copilot::import`]: a Copilot directory
//! - [`ecspresso::import`]: `ecspresso.yml` with its task and service definitions
//! - [`CODES`]: what can be wrong with those files
//!
//! What an importer cannot carry over it lists; it never guesses silently, and what it writes passes `landfall check`.

pub mod cdk;
mod codes;
pub mod copilot;
pub mod deity;
pub mod ecspresso;
mod write;

use std::collections::BTreeMap;

use landfall_manifest::{Diagnostic, SourceFile};
use serde::Serialize;

pub use codes::ALL as CODES;

/// A manifest and what its reader should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// The text of `landfall.yml`.
    pub manifest: String,
    pub changes: Vec<Change>,
}

/// One thing that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    pub kind: ChangeKind,
    /// What it is about: a key of the original, or the number of a weakness of the original in docs/import.md.
    pub about: String,
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// Has to be filled in before anything is made.
    ToDo,
    /// Behaves otherwise than the original did.
    Differs,
    /// In the original and not in the manifest.
    NotCarriedOver,
}

/// Files that cannot be read as what they should be, each with every problem found in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    pub files: Vec<(SourceFile, Vec<Diagnostic>)>,
}

/// Path relative to the directory (with `/`) → text.
pub type Files = BTreeMap<String, String>;

/// The manifest, if it passes the check; what it was made from is wrong otherwise.
fn verified(manifest: String, changes: Changes, vars: &dyn Fn(&str) -> Option<String>) -> Result<Imported, Failed> {
    let source = SourceFile::new("landfall.yml (as it would be written)", manifest);
    match landfall_manifest::load(&source, vars) {
        Ok(_) => Ok(Imported { manifest: source.text, changes: changes.sorted() }),
        Err(found) => Err(Failed { files: vec![(source, found)] }),
    }
}

#[derive(Debug, Default)]
struct Changes(Vec<Change>);

impl Changes {
    fn add(&mut self, kind: ChangeKind, about: impl Into<String>, text: impl Into<String>) {
        let change = Change { kind, about: about.into(), text: text.into() };
        if !self.0.contains(&change) {
            self.0.push(change);
        }
    }

    fn pending(&mut self, about: impl Into<String>, text: impl Into<String>) {
        self.add(ChangeKind::ToDo, about, text);
    }

    fn differs(&mut self, about: impl Into<String>, text: impl Into<String>) {
        self.add(ChangeKind::Differs, about, text);
    }

    fn dropped(&mut self, about: impl Into<String>, text: impl Into<String>) {
        self.add(ChangeKind::NotCarriedOver, about, text);
    }

    /// To do first, then what differs, then what is gone; each in the order found.
    fn sorted(mut self) -> Vec<Change> {
        self.0.sort_by_key(|change| change.kind);
        self.0
    }
}
