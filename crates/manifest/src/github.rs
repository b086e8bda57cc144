//! Repositories on GitHub, as people and `git clone` name them.

use std::fmt;

/// `owner/name`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    pub owner: String,
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoRepository {
    #[error("`origin` is at {0}, and a pipeline's source here is GitHub")]
    Host(String),
    #[error("`{0}` is no address of a repository: OWNER/NAME is missing")]
    Address(String),
    #[error("`{0}` is no repository: OWNER/NAME, of letters, digits, `-`, `_` and `.`")]
    Name(String),
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

impl Repository {
    /// `owner/name`, as somebody says it.
    ///
    /// # Errors
    /// It is something else.
    pub fn parse(text: &str) -> Result<Self, NoRepository> {
        let wrong = || NoRepository::Name(text.to_owned());
        let (owner, name) = text.split_once('/').ok_or_else(wrong)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let is = |word: &str| !word.is_empty() && word.chars().all(plain) && word != "." && word != "..";
        if !is(owner) || !is(name) {
            return Err(wrong());
        }
        Ok(Self { owner: owner.to_owned(), name: name.to_owned() })
    }

    /// What `git clone` takes: `https://github.com/OWNER/NAME.git`, `git@github.com:OWNER/NAME.git`, `ssh://git@github.com/…`.
    ///
    /// # Errors
    /// It is elsewhere, or no repository.
    pub fn of_origin(url: &str) -> Result<Self, NoRepository> {
        let wrong = || NoRepository::Address(url.to_owned());
        let (host, path) = address(url).ok_or_else(wrong)?;
        // The second is GitHub's ssh on the port of https.
        if !matches!(host.as_str(), "github.com" | "www.github.com" | "ssh.github.com") {
            return Err(NoRepository::Host(host));
        }
        Self::parse(path).map_err(|_| wrong())
    }
}

/// Host and path of what `git clone` takes from elsewhere: without user, port and `.git`.
pub(crate) fn address(url: &str) -> Option<(String, &str)> {
    let (place, path) = match url.split_once("://") {
        Some((_, rest)) => rest.split_once('/')?,
        // A path has a slash before its first colon, if it has one.
        None => url.split_once(':').filter(|(host, _)| !host.contains('/'))?,
    };
    let host = place.rsplit('@').next().unwrap_or(place);
    let host = host.split(':').next().unwrap_or(host).to_ascii_lowercase();
    let path = path.trim_matches('/');
    Some((host, path.strip_suffix(".git").unwrap_or(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_as_people_have_them() {
        for (url, owner, name) in [
            ("git@github.com:ktruckenmiller/ecs-cluster-deployer.git", "ktruckenmiller", "ecs-cluster-deployer"),
            ("https://github.com/ktruckenmiller/jabba-the-hut.git", "ktruckenmiller", "jabba-the-hut"),
            ("https://github.com/acme/acme.github.io", "acme", "acme.github.io"),
            ("https://github.com/acme/x.git.io.git/", "acme", "x.git.io"),
            ("https://***@github.com/acme/web", "acme", "web"),
            ("ssh://git@ssh.github.com:443/acme/web.git", "acme", "web"),
            ("git://GitHub.com/acme/web.git", "acme", "web"),
        ] {
            let found = Repository::of_origin(url).unwrap();
            assert_eq!((found.owner.as_str(), found.name.as_str()), (owner, name), "{url}");
        }
    }

    #[test]
    fn what_is_elsewhere_or_none_is_refused() {
        let host = |url: &str| match Repository::of_origin(url) {
            Err(NoRepository::Host(host)) => host,
            other => panic!("{url}: {other:?}"),
        };
        assert_eq!(host("git@gitlab.com:acme/web.git"), "gitlab.com");
        assert_eq!(host("https://github.com.evil.example/acme/web"), "github.com.evil.example");
        assert_eq!(host("https://github.com@evil.example/acme/web"), "evil.example");
        for url in [
            "/srv/git/web.git",
            "../web",
            "https://github.com/acme",
            "https://github.com/acme/web/tree",
            "file:///srv/web",
        ] {
            assert!(Repository::of_origin(url).is_err(), "{url}");
        }
        for text in ["web", "acme/", "acme/we b", "acme/..", "a/b/c"] {
            assert!(Repository::parse(text).is_err(), "{text}");
        }
    }
}
