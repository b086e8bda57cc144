//! What names are made of, for those who choose them and those who grant rights to what has them.

use crate::app::Repository;

impl Repository {
    /// Its name without its owner and without what `omit` says.
    pub fn bare_name(&self) -> String {
        let full = self.github.as_deref().unwrap_or(self.key.as_str());
        let bare = full.rsplit('/').next().unwrap_or(full);
        match self.omit.as_deref() {
            Some(omit) if !omit.is_empty() => bare.replace(omit, ""),
            _ => bare.to_owned(),
        }
    }
}

/// Lower-case letters, digits and single inner hyphens; everything else becomes a hyphen.
pub fn slug(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            out.push(c.to_ascii_lowercase());
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    out.truncate(out.trim_end_matches('-').len());
    out
}

/// `1a2b3c4`, or as it is where it is short.
pub fn short_commit(commit: &str) -> &str {
    commit.get(..7).unwrap_or(commit)
}

/// An awaited image's name with what its placeholders stand for. Branch and commit are asked for only where they are needed.
///
/// # Errors
/// Theirs.
pub fn filled<'c, E>(
    text: &str,
    project: &str,
    branch: impl FnOnce() -> Result<String, E>,
    commit: impl FnOnce() -> Result<&'c str, E>,
) -> Result<String, E> {
    let mut text = text.replace("{project}", project);
    if text.contains("{branch}") {
        text = text.replace("{branch}", &branch()?);
    }
    if text.contains("{commit}") || text.contains("{short_commit}") {
        let commit = commit()?;
        text = text.replace("{commit}", commit).replace("{short_commit}", short_commit(commit));
    }
    Ok(text)
}

/// A branch's name as a legal tag of an image; `None` where nothing of it is legal.
pub fn tag_safe(branch: &str) -> Option<String> {
    let legal = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' };
    let tag: String = branch.chars().map(legal).skip_while(|c| matches!(c, '.' | '-')).take(128).collect();
    Some(tag).filter(|tag| !tag.is_empty())
}
