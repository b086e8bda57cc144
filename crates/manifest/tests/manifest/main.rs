//! The manifest as users meet it: files in, an `App` or rendered problems out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod aws;
mod bounds;
mod built;
mod chat;
mod ci;
mod codes;
mod environments;
mod errors;
mod examples;
mod hostile;
mod init;
mod pipelines;
mod schema;
mod stacks;
mod strategies;

use landfall_manifest::{Diagnostic, Loaded, SourceFile, load, render};

fn nothing(_: &str) -> Option<String> {
    None
}

fn loaded(text: &str) -> Loaded {
    let source = SourceFile::new("landfall.yml", text);
    load(&source, &nothing).unwrap_or_else(|found| panic!("{}", render(&found, &source, false)))
}

/// Errors or warnings, whichever came.
fn found_with(text: &str, vars: &dyn Fn(&str) -> Option<String>) -> Vec<Diagnostic> {
    match load(&SourceFile::new("landfall.yml", text), vars) {
        Ok(loaded) => loaded.warnings,
        Err(found) => found,
    }
}

fn found(text: &str) -> Vec<Diagnostic> {
    found_with(text, &nothing)
}

fn rendered(text: &str) -> String {
    render(&found(text), &SourceFile::new("landfall.yml", text), false)
}

fn codes_of(text: &str) -> Vec<&'static str> {
    found(text).iter().map(|diagnostic| diagnostic.code).collect()
}
