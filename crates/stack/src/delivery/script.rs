//! What CodeBuild runs: a buildspec of version 0.2, for the images that AWS keeps current.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::node::Node;

#[derive(Debug, Serialize)]
struct BuildSpec {
    version: &'static str,
    env: Option<Env>,
    phases: Phases,
    artifacts: Option<BTreeMap<&'static str, Vec<&'static str>>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Env {
    exported_variables: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
struct Phases {
    install: Option<Phase>,
    build: Phase,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Phase {
    /// CodeBuild goes on after a failed phase otherwise.
    on_failure: &'static str,
    commands: Vec<String>,
}

/// A job's commands.
#[derive(Debug, Clone, Default)]
pub(super) struct Script {
    /// Whether they call this program.
    pub landfall: bool,
    pub commands: Vec<String>,
    /// Variables that later jobs see.
    pub exports: Vec<&'static str>,
    /// Files that are kept.
    pub keeps: Vec<&'static str>,
}

impl Script {
    pub(super) fn text(&self) -> String {
        let phase = |commands: Vec<String>| Phase { on_failure: "ABORT", commands };
        let install = [
            "mkdir -p \"$HOME/bin\"",
            "curl --fail --silent --show-error --location --retry 5 --output /tmp/landfall.download \"$LANDFALL_URL\"",
            "echo \"$LANDFALL_SHA256  /tmp/landfall.download\" | sha256sum -c -",
            "case \"$LANDFALL_URL\" in *.tar.gz) tar -xzf /tmp/landfall.download -C \"$HOME/bin\" landfall;; *) install -m 755 \
             /tmp/landfall.download \"$HOME/bin/landfall\";; esac",
        ];
        let mut commands = Vec::new();
        if self.landfall {
            commands.push("export PATH=\"$HOME/bin:$PATH\"".to_owned());
        }
        commands.extend(self.commands.iter().cloned());
        let spec = BuildSpec {
            version: "0.2",
            env: (!self.exports.is_empty()).then(|| Env { exported_variables: self.exports.clone() }),
            phases: Phases {
                install: self.landfall.then(|| phase(install.map(str::to_owned).to_vec())),
                build: phase(commands),
            },
            artifacts: (!self.keeps.is_empty()).then(|| BTreeMap::from([("files", self.keeps.clone())])),
        };
        Node::of(&spec).yaml()
    }
}

/// A word of a shell's command line.
pub(super) fn word(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:=@,+".contains(&b);
    if !text.is_empty() && text.bytes().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_one_word() {
        for (text, written) in [
            ("migrate", "migrate"),
            ("", "''"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("$(x)", "'$(x)'"),
            ("a\nb", "'a\nb'"),
        ] {
            assert_eq!(word(text), written);
        }
    }
}
