//! What people see in a browser, as text: plain data in, HTML out. Nothing here listens, asks or decides; `landfall-server` does.
//!
//! A page is one response: its style is within it, it has no script, no image and nothing from elsewhere, so that the strictest
//! content security policy there is ([`policy`]) lets it through. Every text of somebody else's is escaped by the templates.

mod run;
mod time;

use std::sync::LazyLock;

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

pub use run::{RunPage, Viewer};

pub(crate) const CSS: &str = include_str!("../templates/page.css");
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The `Content-Security-Policy` of every page: its own style by its hash, forms to where it came from, and nothing else.
pub fn policy() -> &'static str {
    static POLICY: LazyLock<String> = LazyLock::new(|| {
        let hash = STANDARD.encode(Sha256::digest(CSS));
        format!(
            "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )
    });
    &POLICY
}

/// Why somebody sees nothing, or why nothing was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refused {
    pub title: String,
    pub message: String,
    pub hint: Option<String>,
    /// A path of this server.
    pub back: Option<String>,
}

#[derive(Template)]
#[template(path = "refused.html")]
struct RefusedHtml<'a> {
    title: &'a str,
    message: &'a str,
    hint: Option<&'a str>,
    back: Option<&'a str>,
}

impl Refused {
    pub fn html(&self) -> String {
        let Self { title, message, hint, back } = self;
        rendered(&RefusedHtml { title, message, hint: hint.as_deref(), back: back.as_deref() })
    }
}

/// Templates write into a string: that cannot fail.
fn rendered(template: &impl Template) -> String {
    template.render().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_others_are_text() {
        let page =
            Refused { title: "<b>".into(), message: "\"><script>x</script>".into(), ..Refused::default() }.html();
        assert!(!page.contains("<script") && !page.contains("<b>"), "{page}");
        // A style that could be ended from within would not be one.
        assert!(!CSS.contains("</") && page.contains(CSS));
    }

    #[test]
    fn nothing_comes_from_elsewhere() {
        for text in [CSS, include_str!("../templates/run.html"), include_str!("../templates/layout.html")] {
            for foreign in ["http:", "https:", "url(", "@import", "<script", " style=", " onclick", "src="] {
                assert!(!text.contains(foreign), "{foreign}");
            }
        }
        assert!(policy().starts_with("default-src 'none'; style-src 'sha256-"));
    }
}
