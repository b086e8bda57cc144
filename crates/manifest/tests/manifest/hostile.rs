//! Whatever is thrown at it: no panic, and every diagnostic has a place inside the text.

use landfall_manifest::{SourceFile, load, render};
use proptest::prelude::*;

const SEED: &str = include_str!("../../../../examples/preview/landfall.yml");

fn survives(text: &str) {
    let source = SourceFile::new("landfall.yml", text);
    let vars = |name: &str| name.len().is_multiple_of(2).then(|| "value".to_owned());
    let found = match load(&source, &vars) {
        Ok(loaded) => loaded.warnings,
        Err(found) => {
            assert!(!found.is_empty());
            found
        }
    };
    for diagnostic in &found {
        assert_ne!(diagnostic.code, "LF-M099", "{text:?}");
        assert!(!diagnostic.labels.is_empty(), "no place: {}", diagnostic.message);
        for label in &diagnostic.labels {
            assert!(text.get(label.span.start..label.span.end).is_some(), "{label:?} in {text:?}");
            assert!(label.line >= 1 && label.column >= 1);
        }
    }
    render(&found, &source, false);
}

/// Pieces that mean something here, so that random combinations get past the first line.
const PIECES: &[&str] = &[
    "project",
    "services",
    "containers",
    "image",
    "build",
    "await",
    "previews",
    "hooks",
    "run",
    "command",
    "ports",
    "range",
    "8000-8099",
    "depends_on",
    "HEALTHY",
    "health_check",
    "ttl",
    "5m",
    "${VAR}",
    "${V:-x}",
    "${",
    "$$",
    "nginx",
    ": ",
    ":",
    "\n",
    "\n  ",
    "\n    ",
    "\n      ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    ", ",
    "&a ",
    "*a",
    "<<: *a",
    "!t ",
    "\"",
    "'",
    "|\n  ",
    ">\n  ",
    "#",
    "\t",
    "\r\n",
    "\u{feff}",
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "? ",
    "null",
    "~",
    "true",
    "1e9",
    "-1",
    "99999999999999999999",
    "ä",
    "🦀",
    "\0",
    "\u{2028}",
    "x-y: ",
    "load_balancer",
    "webhook",
    "secrets",
    "env",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text(text in "\\PC{0,200}") {
        survives(&text);
    }

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        survives(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn plausible_text(pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..60)) {
        survives(&pieces.concat());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 800, failure_persistence: None, ..ProptestConfig::default() })]

    /// A valid manifest with stretches removed, doubled or replaced.
    #[test]
    fn mutated_manifests(
        edits in proptest::collection::vec(
            (any::<prop::sample::Index>(), 0usize..40, proptest::sample::select(PIECES), 0u8..3), 1..6)
    ) {
        let mut chars: Vec<char> = SEED.chars().collect();
        for (at, length, piece, kind) in edits {
            let start = at.index(chars.len().max(1)).min(chars.len());
            let end = (start + length).min(chars.len());
            match kind {
                0 => { chars.drain(start..end); }
                1 => { let copy = chars[start..end].to_vec(); chars.splice(start..start, copy); }
                _ => { chars.splice(start..end, piece.chars()); }
            }
        }
        survives(&chars.into_iter().collect::<String>());
    }

    /// A value of a valid manifest replaced by one of another type.
    #[test]
    fn swapped_values(line in any::<prop::sample::Index>(), piece in proptest::sample::select(PIECES)) {
        let mut lines: Vec<String> = SEED.lines().map(str::to_owned).collect();
        let at = line.index(lines.len());
        if let Some((key, _)) = lines[at].clone().split_once(": ") {
            lines[at] = format!("{key}: {piece}");
        }
        survives(&lines.join("\n"));
    }
}

#[test]
fn every_prefix_of_a_manifest() {
    for (at, _) in SEED.char_indices().step_by(3) {
        survives(&SEED[..at]);
    }
}

/// A secret variable in the place of any value: whatever is wrong with it, its value is not repeated.
#[test]
fn values_of_secret_variables_are_never_repeated() {
    for value in ["hunter2 with spaces!", "Hunter2", "hunter2", "hunter2:port", "${hunter2"] {
        let vars = |_: &str| Some(value.to_owned());
        for (at, line) in SEED.lines().enumerate() {
            let Some((key, _)) = line.split_once(": ") else { continue };
            let mut lines: Vec<String> = SEED.lines().map(str::to_owned).collect();
            lines[at] = format!("{key}: ${{MY_TOKEN}}");
            let text = lines.join("\n");
            let json = serde_json::to_string(&crate::found_with(&text, &vars)).unwrap();
            assert!(!json.to_lowercase().contains("hunter2"), "{line}: {json}");
        }
    }
}
