//! What builders are told, word by word. Pure.

use std::path::Path;

use landfall_model::app::BuildSource;
use landfall_registry::Repository;

use crate::env_vars;

/// Whichever is there: BuildKit through docker's plugin or docker itself, docker's builder of before, Podman, Buildah.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Builder {
    /// With a driver that writes OCI layouts itself.
    Buildx,
    /// BuildKit in the daemon: of docker's plugin, and of docker itself before its version 23.
    Docker,
    /// Docker without the plugin.
    Legacy,
    Podman,
    Buildah,
}

impl Builder {
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Buildx | Self::Docker | Self::Legacy => "docker",
            Self::Podman => "podman",
            Self::Buildah => "buildah",
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Buildx => "docker buildx",
            Self::Legacy => "docker without BuildKit",
            other => other.program(),
        }
    }

    /// Several platforms in one image.
    pub(crate) fn many_platforms(self) -> bool {
        self == Self::Buildx
    }

    /// Whether it keeps its cache in registries; docker's own builder does not.
    pub(crate) fn caches_in_registries(self) -> bool {
        !matches!(self, Self::Docker | Self::Legacy)
    }

    /// `RUN --mount=type=secret`
    pub(crate) fn takes_secrets(self) -> bool {
        self != Self::Legacy
    }

    /// Docker that has both builders takes the older one, where it is not told.
    pub(crate) fn environment(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Docker => Some((env_vars::DOCKER_BUILDKIT, "1")),
            Self::Legacy => Some((env_vars::DOCKER_BUILDKIT, "0")),
            _ => None,
        }
    }

    /// What `docker build` is. `buildx`: what the plugin says of its builder, where it is there; `client`: docker's own version;
    /// `wish`: what somebody has set `DOCKER_BUILDKIT` to.
    pub(crate) fn of_docker(buildx: Option<&str>, client: &str, wish: Option<&str>) -> Self {
        // The driver named `docker` writes no layouts.
        let writes = |text: &str| !text.lines().any(|line| line.replace(' ', "") == "Driver:docker");
        let major = client.trim().split('.').next().and_then(|major| major.parse::<u32>().ok());
        match (buildx, wish) {
            (Some(text), _) if writes(text) => Self::Buildx,
            (_, Some("0" | "false")) => Self::Legacy,
            (Some(_), _) => Self::Docker,
            (None, _) if major.is_some_and(|major| major < 23) => Self::Docker,
            (None, _) => Self::Legacy,
        }
    }
}

/// One build.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Job<'a> {
    pub(crate) source: &'a BuildSource,
    pub(crate) context: &'a Path,
    /// `localhost/shop-web-app`
    pub(crate) local: &'a str,
    pub(crate) labels: &'a [(String, String)],
    pub(crate) platforms: &'a [String],
    /// As the builders have them: `id=npm,src=.npmrc`.
    pub(crate) secrets: &'a [String],
    pub(crate) fresh: bool,
    /// Repositories, from which steps are taken and to which they are sent.
    pub(crate) cache_from: &'a [Repository],
    pub(crate) cache_to: &'a [Repository],
    /// A tag in them: BuildKit keeps a whole image's cache under one.
    pub(crate) cache_key: &'a str,
    /// The image's id, or BuildKit's metadata.
    pub(crate) result: &'a Path,
    pub(crate) layout: &'a Path,
    /// Images of ours that it is based on, and their layouts.
    pub(crate) bases: &'a [(String, &'a Path)],
}

pub(crate) fn build(builder: Builder, job: &Job<'_>) -> Vec<String> {
    let mut words: Vec<String> = match builder {
        Builder::Buildx => vec!["buildx", "build", "--progress=plain", "--provenance=false"],
        Builder::Docker | Builder::Legacy | Builder::Podman => vec!["build"],
        // Without it every step is one layer's worth of cache less.
        Builder::Buildah => vec!["build", "--layers"],
    }
    .into_iter()
    .map(str::to_owned)
    .collect();
    let mut option = |name: &str, value: &str| words.extend([format!("--{name}"), value.to_owned()]);
    option("file", &job.context.join(&job.source.dockerfile).to_string_lossy());
    if builder == Builder::Buildx {
        option("metadata-file", &job.result.to_string_lossy());
        option("output", &format!("type=oci,tar=false,dest={}", job.layout.display()));
        for (name, layout) in job.bases {
            option("build-context", &format!("{name}=oci-layout://{}", layout.display()));
        }
    } else {
        option("iidfile", &job.result.to_string_lossy());
        option("tag", &format!("{}:latest", job.local));
    }
    if let Some(target) = &job.source.target {
        option("target", target);
    }
    if !job.platforms.is_empty() {
        option("platform", &job.platforms.join(","));
    }
    for (name, value) in &job.source.args {
        option("build-arg", &format!("{name}={value}"));
    }
    for (name, value) in job.labels {
        option("label", &format!("{name}={value}"));
    }
    for secret in job.secrets {
        option("secret", secret);
    }
    words.extend(cache(builder, job));
    if job.fresh {
        words.push("--no-cache".to_owned());
    }
    words.push(job.context.to_string_lossy().into_owned());
    words
}

/// Podman and Buildah take a repository, in which each step has a tag of its own.
fn cache(builder: Builder, job: &Job<'_>) -> Vec<String> {
    // A build without caches takes from none.
    let from = if job.fresh { &[] } else { job.cache_from };
    let mut words = Vec::new();
    let mut plain = false;
    for (option, repositories) in [("--cache-from", from), ("--cache-to", job.cache_to)] {
        for repository in repositories {
            plain |= repository.plain;
            let name = repository.full_name();
            let value = match (builder, option) {
                (Builder::Buildx, "--cache-from") => format!("type=registry,ref={name}:{}", job.cache_key),
                // `max`: also of stages that are only copied from.
                (Builder::Buildx, _) => format!("type=registry,ref={name}:{},mode=max", job.cache_key),
                _ => name,
            };
            words.extend([option.to_owned(), value]);
        }
    }
    // BuildKit has its own configuration for that.
    if plain && builder != Builder::Buildx {
        words.push("--tls-verify=false".to_owned());
    }
    words
}

/// How the image comes out of the builder; `None`: it is in the layout already. Docker's goes through an archive.
pub(crate) fn take(builder: Builder, image: &str, layout: &Path, archive: &Path) -> Option<Vec<String>> {
    let owned = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
    match builder {
        Builder::Buildx => None,
        Builder::Docker | Builder::Legacy => owned(&["save", "--output", &archive.to_string_lossy(), image]),
        Builder::Podman | Builder::Buildah => owned(&["push", "--quiet", image, &format!("oci:{}", layout.display())]),
    }
}

/// BuildKit's `containerimage.digest`.
pub(crate) fn digest(metadata: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(metadata).ok()?;
    Some(value["containerimage.digest"].as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_docker_builds_with_follows_from_its_plugin_and_its_age() {
        let (layouts, images) = ("Name: ci\nDriver: docker-container\n", "Name:   default\nDriver: docker\n");
        let of = Builder::of_docker;
        assert_eq!(of(Some(layouts), "28.2.2", None), Builder::Buildx);
        assert_eq!(of(Some(images), "28.2.2", None), Builder::Docker);
        assert_eq!(of(Some(images), "28.2.2", Some("0")), Builder::Legacy);
        // The client of Debian 12 has BuildKit in it, and does not use it by itself; newer ones without the plugin have none.
        assert_eq!(of(None, "20.10.24+dfsg1\n", None), Builder::Docker);
        assert_eq!(of(None, "20.10.24+dfsg1\n", Some("0")), Builder::Legacy);
        assert_eq!(of(None, "28.2.2\n", Some("1")), Builder::Legacy);
        assert_eq!(of(None, "", None), Builder::Legacy);
    }

    #[test]
    fn every_builder_is_told_all_of_it() {
        let source = BuildSource {
            context: "app".to_owned(),
            dockerfile: "docker/Dockerfile".to_owned(),
            args: BTreeMap::from([("V".to_owned(), "a b".to_owned())]),
            target: Some("prod".to_owned()),
            timeout: 60,
        };
        let labels = [("org.opencontainers.image.revision".to_owned(), "c1".to_owned())];
        let platforms = ["linux/amd64".to_owned(), "linux/arm64".to_owned()];
        let secrets = ["id=npm,src=.npmrc".to_owned()];
        let bases = [("localhost/shop-base-app".to_owned(), Path::new("/s/base"))];
        let job = Job {
            source: &source,
            context: Path::new("/w/app"),
            local: "localhost/shop-web-app",
            labels: &labels,
            platforms: &platforms,
            secrets: &secrets,
            fresh: false,
            cache_from: &[],
            cache_to: &[],
            cache_key: "web-app",
            result: Path::new("/s/id"),
            layout: Path::new("/s/layout"),
            bases: &bases,
        };
        let common = "--target prod --platform linux/amd64,linux/arm64 --build-arg V=a b --label org.opencontainers.image.revision=c1 --secret id=npm,src=.npmrc";
        let of = |builder| build(builder, &job).join(" ");
        assert_eq!(
            of(Builder::Podman),
            format!(
                "build --file /w/app/docker/Dockerfile --iidfile /s/id --tag localhost/shop-web-app:latest {common} /w/app"
            )
        );
        assert!(of(Builder::Buildah).starts_with("build --layers --file "));
        assert_eq!(
            of(Builder::Buildx),
            format!(
                "buildx build --progress=plain --provenance=false --file /w/app/docker/Dockerfile --metadata-file /s/id --output \
                 type=oci,tar=false,dest=/s/layout --build-context localhost/shop-base-app=oci-layout:///s/base {common} /w/app"
            )
        );
        let words = build(Builder::Docker, &Job { fresh: true, ..job });
        assert_eq!(words[words.len() - 2..], ["--no-cache", "/w/app"]);
        assert!(words.contains(&"V=a b".to_owned()), "a value is one word");

        let cache = |text: &str| [landfall_registry::Reference::parse(text).unwrap().repository];
        let (from, to) = (cache("r.example/base"), cache("127.0.0.1:5000/shop/cache"));
        let cached = Job { cache_from: &from, cache_to: &to, ..job };
        let of = |builder, job| super::cache(builder, &job).join(" ");
        let podman = "--cache-from r.example/base --cache-to 127.0.0.1:5000/shop/cache --tls-verify=false";
        assert_eq!(of(Builder::Podman, cached), podman);
        assert_eq!(of(Builder::Buildah, cached), podman);
        assert_eq!(
            of(Builder::Buildx, cached),
            "--cache-from type=registry,ref=r.example/base:web-app --cache-to \
             type=registry,ref=127.0.0.1:5000/shop/cache:web-app,mode=max"
        );
        assert_eq!(of(Builder::Podman, Job { cache_to: &[], ..cached }), "--cache-from r.example/base");
        assert_eq!(of(Builder::Podman, Job { fresh: true, cache_to: &[], ..cached }), "");
    }

    #[test]
    fn the_image_is_taken_by_its_id() {
        let of = |builder| take(builder, "sha256:1", Path::new("/l"), Path::new("/a.tar")).map(|words| words.join(" "));
        assert_eq!(of(Builder::Buildx), None);
        assert_eq!(of(Builder::Docker).unwrap(), "save --output /a.tar sha256:1");
        assert_eq!(of(Builder::Podman).unwrap(), "push --quiet sha256:1 oci:/l");
        assert_eq!(digest(r#"{"containerimage.digest":"sha256:2"}"#).as_deref(), Some("sha256:2"));
    }
}
