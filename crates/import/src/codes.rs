//! Codes of problems in other tools' files. What is wrong with the YAML itself has the manifest's codes.

macro_rules! codes {
    ($($name:ident = $code:literal, $title:literal;)*) => {
        $(#[doc = $title] pub(crate) const $name: &str = $code;)*
        /// Code and one-line title, in order; docs/import.md lists them.
        pub const ALL: &[(&str, &str)] = &[$(($code, $title)),*];
    };
}

codes! {
    MISSING = "LF-I001", "A key that the original requires is missing";
    BAD_VALUE = "LF-I002", "A value that the original would not have accepted either";
    WHICH = "LF-I003", "The stage, application or service asked for is not there";
    UNSUPPORTED = "LF-I004", "Something that cannot be imported yet";
    NO_FILE = "LF-I005", "A file that is referred to cannot be read";
    MISSING_VALUE = "LF-I006", "A value that a template asks for is not there";
}

/// Of what is wrong with a value in a file.
pub(crate) const IN_A_FILE: landfall_manifest::yaml::Codes =
    landfall_manifest::yaml::Codes { missing: MISSING, bad_value: BAD_VALUE };
