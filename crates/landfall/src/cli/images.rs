//! Images: what is pushed where.

use clap::{Args, Subcommand, ValueEnum};

use crate::env_vars;

#[derive(Debug, Clone, Args)]
pub(crate) struct PushArgs {
    /// Where to: [http[s]://]REGISTRY/REPOSITORY[:TAG]. Without it and --from, what `landfall build` made goes where the manifest awaits it
    pub(crate) target: Option<String>,
    /// The image: an OCI layout's directory, an archive that docker or podman saved, or the name of an image that the container
    /// engine has. `:NAME` behind a path chooses one of several
    #[arg(long, value_name = "LAYOUT|ARCHIVE|IMAGE", conflicts_with = "no_release")]
    pub(crate) from: Option<String>,
    #[command(flatten)]
    pub(crate) how: PushOptions,
}

// How images are pushed, by `push` and by `build --push`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub(crate) struct PushOptions {
    /// A tag for it; may be given several times. With `push --from` and without any, the image is known by its digest only
    #[arg(long = "tag", short, value_name = "TAG")]
    pub(crate) tags: Vec<String>,
    /// Never move a tag that has another image
    #[arg(long)]
    pub(crate) immutable: bool,
    /// Make the repository where it is missing (ECR; others make it by themselves)
    #[arg(long)]
    pub(crate) create_repository: bool,
    /// Another repository of the same registry whose layers may be taken over; may be given several times
    #[arg(long = "mount-from", value_name = "REPOSITORY")]
    pub(crate) mounts: Vec<String>,
    /// Record no release of the commit (docs/releases.md)
    #[arg(long)]
    pub(crate) no_release: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct BuildArgs {
    /// SERVICE or SERVICE/CONTAINER; all that the manifest builds, if none is given
    pub(crate) what: Vec<String>,
    /// What builds; the first that answers, if not given
    #[arg(long, value_enum, value_name = "BUILDER")]
    pub(crate) builder: Option<BuilderName>,
    /// A platform, as linux/arm64; several times or separated by commas for an image with several
    #[arg(long = "platform", value_name = "PLATFORM", value_delimiter = ',')]
    pub(crate) platforms: Vec<String>,
    /// A secret for `RUN --mount=type=secret`, as the builder has it: id=npm,src=.npmrc. May be given several times
    #[arg(long = "secret", value_name = "SPEC")]
    pub(crate) secrets: Vec<String>,
    /// A repository whose builder's cache is used, as registry.example/team/cache; may be given several times
    #[arg(long, value_name = "REPOSITORY", env = env_vars::CACHE_FROM, value_delimiter = ',', hide_env_values = true)]
    pub(crate) cache_from: Vec<String>,
    /// A repository that the builder's cache is sent to; may be given several times
    #[arg(long, value_name = "REPOSITORY", env = env_vars::CACHE_TO, value_delimiter = ',', hide_env_values = true)]
    pub(crate) cache_to: Vec<String>,
    /// Build also what has not changed, and without the builder's cache
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Push them as well, as `landfall push` does: contexts and registries are looked at once
    #[arg(long)]
    pub(crate) push: bool,
    #[command(flatten, next_help_heading = "With --push")]
    pub(crate) how: PushOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BuilderName {
    Docker,
    Podman,
    Buildah,
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum ImagesCommand {
    /// The tags of a repository, and the images that they name
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  landfall images list registry.example/team/app\n  landfall images list registry.example/team/app --output json"
    )]
    List {
        /// [http[s]://]REGISTRY/REPOSITORY
        repository: String,
    },
    /// Copy an image to another repository, of the same registry or another one
    #[command(
        after_help = "Examples:\n  landfall images copy registry.example/team/app:1a2b3c4 111122223333.dkr.ecr.eu-west-1.amazonaws.com/app:1a2b3c4\n\nWithin a registry layers do not travel. The digest stays the same."
    )]
    Copy(CopyArgs),
    /// Give an image further tags, where it is
    #[command(after_help = "Examples:\n  landfall images retag registry.example/team/app:1a2b3c4 v1.2 latest")]
    Retag {
        /// [http[s]://]REGISTRY/REPOSITORY:TAG, or …@DIGEST
        image: String,
        #[arg(required = true)]
        tags: Vec<String>,
        /// Never move a tag that has another image
        #[arg(long)]
        immutable: bool,
    },
    /// Delete the images that nothing needs any more; without --yes only say which these are
    #[command(
        after_help = "Examples:\n  landfall images prune\n  landfall images prune registry.example/team/app --newest 5 --younger 2w --tag 'v*'\n  landfall images prune --yes\n\nWhat is deployed, what environments may go back to, and the newest releases always stay. Where a listing fails,\nnothing is deleted. docs/images.md tells the rest."
    )]
    Prune(PruneArgs),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct PruneArgs {
    /// [http[s]://]REGISTRY/REPOSITORY; those where the manifest's images go, if none is given
    #[arg(value_name = "REPOSITORY")]
    pub(crate) repositories: Vec<String>,
    /// Delete them
    #[arg(long)]
    pub(crate) yes: bool,
    /// Keep so many of the images with a tag, the newest
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) newest: usize,
    /// Keep what is younger: 12h, 7d, 4w
    #[arg(long, value_name = "AGE", default_value = "7d", value_parser = age)]
    pub(crate) younger: i64,
    /// Keep what has such a tag; `*` is any text. May be given several times
    #[arg(long = "tag", value_name = "PATTERN")]
    pub(crate) tags: Vec<String>,
    /// Keep the images of so many releases of each project, the newest (docs/releases.md)
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) releases: usize,
}

/// In seconds.
fn age(text: &str) -> Result<i64, String> {
    let wrong = || "write an age as 12h, 7d or 4w".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return Err(wrong()),
    };
    let count: u32 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    Ok(i64::from(count) * seconds)
}

#[derive(Debug, Clone, Args)]
pub(crate) struct CopyArgs {
    /// The image: [http[s]://]REGISTRY/REPOSITORY:TAG, or …@DIGEST
    pub(crate) from: String,
    /// Where to: [http[s]://]REGISTRY/REPOSITORY[:TAG]; without a tag that of the image, where it has one
    pub(crate) to: String,
    /// Never move a tag that has another image
    #[arg(long)]
    pub(crate) immutable: bool,
    /// Make the repository where it is missing (ECR; others make it by themselves)
    #[arg(long)]
    pub(crate) create_repository: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages() {
        assert_eq!((age("12h"), age("7d"), age("4w"), age("0s")), (Ok(43_200), Ok(604_800), Ok(2_419_200), Ok(0)));
        assert!(["", "7", "d", "-1d", "7 d", "7é", "1.5h"].iter().all(|wrong| age(wrong).is_err()));
    }
}
