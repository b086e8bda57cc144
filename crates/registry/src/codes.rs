//! Every code that moving images may fail with, with a line for docs/errors/.

/// Code, what happened, what to do.
pub type Code = (&'static str, &'static str, &'static str);

macro_rules! codes {
    ($($name:ident = $code:literal, $what:literal, $remedy:literal;)+) => {
        $(pub(crate) const $name: &str = $code;)+
        /// All of them, as in the source.
        pub const ALL: &[Code] = &[$(($code, $what, $remedy)),+];
    };
}

codes! {
    UNAVAILABLE = "LF-REGISTRY-UNAVAILABLE", "The registry does not answer, or fails, and went on so for all tries.",
        "Is the host right, and can this machine reach it? Then run the command again: what has arrived is not sent again.";
    THROTTLED = "LF-REGISTRY-THROTTLED", "The registry asks for fewer requests than a push needs.",
        "Try again later, or log in: many registries allow more to those they know.";
    DENIED = "LF-REGISTRY-DENIED", "The registry refuses: no credentials, wrong ones, or a right is missing.",
        "`docker login` or `podman login`; the message says which file was looked at. See [images](../images.md).";
    DIGEST = "LF-REGISTRY-DIGEST", "What arrived is not what was sent, or a file is not what its name says.",
        "Build the image again; if the file is sound, look at what is between here and the registry.";
    IMMUTABLE = "LF-REGISTRY-TAG-IMMUTABLE", "The tag has another image already and may not be moved.",
        "Push under another tag. The same image under the same tag is never an error.";
    REPOSITORY = "LF-REGISTRY-REPOSITORY", "The repository does not exist, and the registry makes none by itself.",
        "Create it, or let Landfall do so: `--create-repository`.";
    REFUSED = "LF-REGISTRY-REFUSED", "The registry cannot accept this, as it is.", "The registry's own words are in the message.";
    SOURCE = "LF-IMAGE-SOURCE", "The layout, archive or image that should be pushed cannot be used.",
        "The message says what is missing. Build or save it again.";
    DISK = "LF-IMAGE-DISK", "There is no room on the disk for layers.", "Make room where the message says, and run the command again.";
}
