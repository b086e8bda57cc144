//! Names of images: `[registry/]repository[:tag][@digest]`.

use std::fmt;

use landfall_ports::{PortError, PortResult};

use crate::digest::Digest;

/// Docker Hub's name for people, and the host that serves it.
const HUB: &str = "docker.io";
pub(crate) const HUB_HOST: &str = "registry-1.docker.io";

/// A repository of a registry. `http://` or `https://` in front says how it is spoken to; without, this machine's own addresses are
/// spoken to plainly and all others over TLS.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Repository {
    /// Host, with the port where there is one, as it is connected to.
    pub registry: String,
    pub name: String,
    pub plain: bool,
}

/// An image in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    pub repository: Repository,
    pub tag: Option<String>,
    pub digest: Option<Digest>,
}

impl Reference {
    /// # Errors
    /// `Invalid`: not a reference.
    pub fn parse(text: &str) -> PortResult<Self> {
        let bad = || PortError::Invalid(format!("{text:?} is not an image reference"));
        let (scheme, bare) = match text.split_once("://") {
            Some((scheme @ ("http" | "https"), rest)) => (Some(scheme), rest),
            Some(_) => return Err(bad()),
            None => (None, text),
        };
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/' | ':' | '@' | '[' | ']');
        if bare.is_empty() || !bare.chars().all(legal) {
            return Err(bad());
        }
        let (rest, digest) = match bare.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse::<Digest>().map_err(|()| bad())?)),
            None => (bare, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(bad());
        }
        let (registry, name) = match name.split_once('/') {
            Some((first, rest)) if scheme.is_some() || first.contains(['.', ':']) || first == "localhost" => {
                (first, rest.to_owned())
            }
            Some(_) => (HUB_HOST, name.to_owned()),
            None => (HUB_HOST, format!("library/{name}")),
        };
        let registry = if registry == HUB { HUB_HOST } else { registry };
        let segment = |part: &str| !part.is_empty() && part != "." && part != "..";
        if registry.is_empty() || !name.split('/').all(segment) || name.contains(['[', ']', ':']) {
            return Err(bad());
        }
        let plain = match scheme {
            Some(scheme) => scheme == "http",
            None => is_this_machine(registry),
        };
        let repository = Repository { registry: registry.to_owned(), name, plain };
        Ok(Self { repository, tag: tag.map(str::to_owned), digest })
    }

    /// What the registry is asked for: digest, else tag, else `latest`.
    pub fn version(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }
}

impl Repository {
    /// For people and engines: `docker.io/library/nginx`.
    pub fn full_name(&self) -> String {
        let registry = if self.registry == HUB_HOST { HUB } else { &self.registry };
        format!("{registry}/{}", self.name)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        let scheme = if self.plain { "http" } else { "https" };
        format!("{scheme}://{}/v2/{}/{path}", self.registry, self.name)
    }

    /// Amazon's, which takes an upload in one piece only: it answers 201 to a continued one and keeps the first piece.
    pub(crate) fn is_ecr(&self) -> bool {
        self.registry.contains(".dkr.ecr.") || self.registry.contains(".dkr.ecr-fips.")
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.full_name())
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// Loopback: never reached over a network, so plain HTTP tells nobody anything. `registry`: host, with a port or without.
pub(crate) fn is_this_machine(registry: &str) -> bool {
    let host = match registry.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => host,
        _ => registry,
    };
    // `127.example.org` is a name that leads anywhere.
    let loopback = || host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback());
    host.eq_ignore_ascii_case("localhost") || host == "[::1]" || loopback()
}

/// The distribution specification's `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
pub fn is_tag(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    text.len() <= 128 && text.chars().all(inner) && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether a local image's tag is of this repository; a local build has no registry, or `localhost`.
pub fn same_repository(tag: &str, repository: &str) -> bool {
    let plain = |name: &str| {
        let name = name.trim_start_matches("docker.io/").trim_start_matches("library/");
        name.trim_start_matches("localhost/").to_owned()
    };
    Reference::parse(tag).is_ok_and(|reference| plain(&reference.repository.full_name()) == plain(repository))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn references() {
        let name = |text: &str| Reference::parse(text).unwrap().repository.full_name();
        let url = |text: &str| {
            let reference = Reference::parse(text).unwrap();
            reference.repository.url(&format!("manifests/{}", reference.version()))
        };
        let digest = format!("sha256:{}", "ab".repeat(32));
        assert_eq!(name("nginx"), "docker.io/library/nginx");
        assert_eq!(name("docker.io/a/b"), "docker.io/a/b");
        assert_eq!(url("ghcr.io/a/b:1"), "https://ghcr.io/v2/a/b/manifests/1");
        assert_eq!(url("localhost:5000/a"), "http://localhost:5000/v2/a/manifests/latest");
        assert_eq!(url("https://127.0.0.1:5000/a"), "https://127.0.0.1:5000/v2/a/manifests/latest");
        assert_eq!(url("http://registry.example/a:1"), "http://registry.example/v2/a/manifests/1");
        assert_eq!(url("[::1]:5000/a:1"), "http://[::1]:5000/v2/a/manifests/1");
        assert_eq!(Reference::parse(&format!("a/b:1@{digest}")).unwrap().version(), digest);
        assert_eq!(
            Reference::parse(&format!("r.example/b:1@{digest}")).unwrap().to_string(),
            format!("r.example/b:1@{digest}")
        );
        let bad = [
            "",
            "a b",
            "a/",
            "a/b:",
            "a/../b",
            "r.example/a//b",
            "ftp://r/a",
            "a@sha256:00",
            "r.example/a:.x",
            "http://",
        ];
        for bad in bad {
            assert!(Reference::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn this_machine_is_told_by_its_addresses() {
        for own in ["localhost", "LOCALHOST:5000", "127.0.0.1", "127.8.0.9:5000", "[::1]", "[::1]:5000"] {
            assert!(is_this_machine(own), "{own}");
        }
        for other in
            ["127.example.org", "127.0.0.1.example.org:80", "localhost.example.org", "10.0.0.1:5000", "[::2]:5000"]
        {
            assert!(!is_this_machine(other), "{other}");
        }
    }

    #[test]
    fn local_names_of_one_repository() {
        assert!(same_repository("docker.io/library/app:1", "docker.io/library/app"));
        assert!(same_repository("localhost/app:1", "docker.io/library/app"));
        assert!(!same_repository("localhost/other:1", "docker.io/library/app"));
    }

    #[test]
    fn ecr_is_told_by_its_host() {
        let is = |text: &str| Reference::parse(text).unwrap().repository.is_ecr();
        assert!(is("111122223333.dkr.ecr.eu-west-1.amazonaws.com/app:1"));
        assert!(!is("public.ecr.aws/nginx/nginx:1"));
    }
}
