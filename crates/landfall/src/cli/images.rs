//! Images: what is pushed where.

use clap::Args;

#[derive(Debug, Clone, Args)]
pub(crate) struct PushArgs {
    /// Where to: [http[s]://]REGISTRY/REPOSITORY[:TAG]
    pub(crate) target: String,
    /// The image: an OCI layout's directory, an archive that docker or podman saved, or the name of an image that the container
    /// engine has. `:NAME` behind a path chooses one of several
    #[arg(long, value_name = "LAYOUT|ARCHIVE|IMAGE")]
    pub(crate) from: String,
    /// A tag for it; may be given several times. Without any, the image is known by its digest only
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
}
