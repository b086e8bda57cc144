//! The manifest as users meet it: files in, an `App` or rendered problems out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod examples;

use landfall_manifest::{Loaded, SourceFile, load, render};

fn nothing(_: &str) -> Option<String> {
    None
}

fn loaded(text: &str) -> Loaded {
    let source = SourceFile::new("landfall.yml", text);
    load(&source, &nothing).unwrap_or_else(|found| panic!("{}", render(&found, &source, false)))
}
