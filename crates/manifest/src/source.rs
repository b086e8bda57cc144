//! The manifest's text and where it came from. `read_file` and `read_text` are the only I/O of loading.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::codes;
use crate::diagnostic::Diagnostic;

/// Larger manifests are refused before they are parsed.
pub const MAX_BYTES: usize = 1024 * 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// As shown in messages.
    pub path: String,
    pub text: String,
    /// What relative paths in the manifest are relative to; empty leaves them as written.
    pub directory: PathBuf,
}

impl SourceFile {
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into(), directory: PathBuf::new() }
    }
}

/// Reads a manifest. Refuses what is no file, larger than [`MAX_BYTES`] or not UTF-8.
pub fn read_file(path: &Path) -> Result<SourceFile, Diagnostic> {
    let shown = path.display().to_string();
    let unreadable = |error: std::io::Error| {
        let diagnostic = Diagnostic::error(codes::UNREADABLE, format!("cannot read {shown}: {error}"));
        match error.kind() {
            std::io::ErrorKind::NotFound => {
                diagnostic.help("`landfall init` writes a first manifest; `--config FILE` names another place")
            }
            _ => diagnostic,
        }
    };
    #[expect(clippy::disallowed_methods, reason = "the manifest, kept apart from what decides")]
    let file = std::fs::File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.is_dir() {
        return Err(Diagnostic::error(codes::UNREADABLE, format!("{shown} is a directory"))
            .help("name the manifest itself, usually landfall.yml"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > MAX_BYTES {
        return Err(Diagnostic::error(codes::UNREADABLE, format!("{shown} is larger than {MAX_BYTES} bytes"))
            .help("a manifest is a few kilobytes; is this the right file?"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
        Diagnostic::error(codes::UNREADABLE, format!("{shown} is not UTF-8: line {line}, byte {at}"))
            .help("save the file as UTF-8")
    })?;
    let absolute = std::path::absolute(path).map_err(unreadable)?;
    let directory = absolute.parent().map(Path::to_path_buf).unwrap_or_default();
    Ok(SourceFile { path: shown, text, directory })
}

/// A file that a manifest names. Refuses what is no file, larger than [`MAX_BYTES`] or not UTF-8, and never repeats what is in it.
pub fn read_text(path: &Path) -> std::io::Result<String> {
    #[expect(clippy::disallowed_methods, reason = "named by the manifest, and read where that is read")]
    let file = std::fs::File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(std::io::ErrorKind::IsADirectory.into());
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_BYTES {
        return Err(std::io::ErrorKind::FileTooLarge.into());
    }
    String::from_utf8(bytes).map_err(|_| std::io::Error::new(std::io::ErrorKind::InvalidData, "not UTF-8"))
}
