//! Importers as users meet them: other tools' files in, a manifest and what changes out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod cdk;
mod copilot;
mod deity;
mod docs;
mod ecspresso;
mod jsonnet;
mod project;
mod weaknesses;

use landfall_import::{Failed, Imported};
use landfall_manifest::{SourceFile, render};
use landfall_model::app::App;

/// Manifest and changes as a person sees them.
fn shown(imported: &Imported) -> String {
    let mut out = imported.manifest.clone();
    out += "\n=====\n";
    for change in &imported.changes {
        out += &format!("{:?} {}: {}\n", change.kind, change.about, change.text);
    }
    out
}

fn problems(result: Result<Imported, Failed>) -> String {
    let failed = result.expect_err("it should not have been accepted");
    failed.files.iter().map(|(source, found)| render(found, source, false)).collect()
}

fn app(imported: &Imported) -> App {
    app_with(imported, &|_| None)
}

fn app_with(imported: &Imported, vars: &dyn Fn(&str) -> Option<String>) -> App {
    let source = SourceFile::new("landfall.yml", imported.manifest.clone());
    landfall_manifest::load(&source, vars).unwrap_or_else(|found| panic!("{}", render(&found, &source, false))).app
}
