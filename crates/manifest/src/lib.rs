//! The manifest: `landfall.yml` → [`landfall_model::app::App`], with every problem at once and in its place.
//!
//! ```text
//! text ─ tree (places, budgets, duplicates) ─ ${VAR} ─ shape (from the JSON Schema) ─ serde ─ resolve + checks ─► App
//! ```
//!
//! Public API:
//! - [`read_file`] → [`SourceFile`]; [`load`] → [`Loaded`] or diagnostics; [`render`] for a terminal, serde for JSON
//! - [`schema`]: the JSON Schema, committed as docs/landfall.schema.json
//! - [`init::scan`] → [`init::RepoFiles`]; [`init::propose`] → the text of a first manifest
//! - [`env_file::parse`]: `NAME=VALUE` lines
//! - [`yaml`]: the tree with places, for those who read other tools' files
//! - [`codes::ALL`]: every diagnostic code with its title
//!
//! Everything but `read_file`, `read_text` and `init::scan` is pure.

mod authored;
mod check;
pub mod codes;
mod diagnostic;
pub mod env_file;
pub mod github;
mod given;
pub mod init;
mod interpolate;
mod place;
mod read;
mod resolve;
mod scalar;
mod shape;
mod source;
mod tree;

/// YAML (and JSON) with places, for reading other tools' files: budgets, duplicate keys and bombs are dealt with.
pub mod yaml {
    pub use crate::diagnostic::finish;
    pub use crate::read::{Codes, Map, Reader, scalar};
    pub use crate::tree::{At, Data, Key, Node, Scalar, parse, shorten};
}

use std::path::Path;

use landfall_model::app::App;

pub use check::syntax::legal_name;
pub use diagnostic::{Diagnostic, Label, Severity, Span, did_you_mean, render};
pub use source::{MAX_BYTES, SourceFile, read_file, read_text};

/// A manifest without errors.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    pub app: App,
    pub warnings: Vec<Diagnostic>,
}

/// The key under which a manifest has what is in an `infra.yml` elsewhere.
pub const CLUSTER: &str = "cluster";

/// Whether there is one; `None`: the file is no YAML.
#[must_use]
pub fn has_cluster(source: &SourceFile) -> Option<bool> {
    let (tree, _) = tree::parse(&source.text).ok()?;
    Some(tree::At::root(&tree).keys().any(|key| key == CLUSTER))
}

/// As [`load_with`], for a manifest that needs no other file: one that does has an error.
///
/// # Errors
/// As there.
pub fn load(source: &SourceFile, vars: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Vec<Diagnostic>> {
    load_with(source, vars, &|_| Err(std::io::ErrorKind::Unsupported.into()))
}

/// Checks and resolves a manifest. `vars` answers `${VAR}` and `ci_variables`: usually the process environment. `files` reads env files
/// ([`read_text`]).
///
/// # Errors
/// Every problem that could be found, warnings included, sorted by place; at least one is an error.
pub fn load_with(
    source: &SourceFile,
    vars: &dyn Fn(&str) -> Option<String>,
    files: &dyn Fn(&Path) -> std::io::Result<String>,
) -> Result<Loaded, Vec<Diagnostic>> {
    let finish = |found| diagnostic::finish(found, &source.text);
    let (mut tree, mut found) = tree::parse(&source.text).map_err(finish)?;
    // What a cluster is, is read by whoever reads infra.yml: its variables are CloudFormation's.
    tree.remove(CLUSTER);
    interpolate::interpolate(&mut tree, &source.text, vars, &mut found);
    let Some(value) = shape::walk_root(&tree, &mut found) else { return Err(finish(found)) };
    let manifest: authored::Manifest = match serde_json::from_value(value) {
        Ok(manifest) => manifest,
        // Without serde's message, which may repeat a secret value.
        Err(_) => {
            found.push(
                Diagnostic::error(codes::INTERNAL, "the manifest cannot be decoded")
                    .label(tree::At::root(&tree).span(), "")
                    .help("this is a defect of Landfall; please report it with the manifest"),
            );
            return Err(finish(found));
        }
    };
    check::check(&manifest, tree::At::root(&tree), &mut found);
    let outside = given::Outside { vars, files, directory: &source.directory };
    let given = given::given(&manifest, tree::At::root(&tree), &outside, &mut found);
    let failed = found.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    let found = finish(found);
    if failed {
        return Err(found);
    }
    let mut app = resolve::resolve(manifest, tree::At::root(&tree), &source.directory);
    given::add(&mut app, given);
    Ok(Loaded { app, warnings: found })
}

/// The JSON Schema (draft 2020-12) of `landfall.yml`, pretty-printed, with a final newline.
pub fn schema() -> String {
    let mut schema = schemars::schema_for!(authored::Manifest);
    // serde's defaults are there for decoding what has errors; the real ones stand in the descriptions.
    let mut strip = schemars::transform::RecursiveTransform(|schema: &mut schemars::Schema| {
        schema.remove("default");
    });
    schemars::transform::Transform::transform(&mut strip, &mut schema);
    schema.insert(
        "$id".to_owned(),
        "https://raw.githubusercontent.com/landfall/landfall/main/docs/landfall.schema.json".into(),
    );
    // `to_string_pretty` of a value made by a derive cannot fail.
    serde_json::to_string_pretty(&schema).unwrap_or_default() + "\n"
}
