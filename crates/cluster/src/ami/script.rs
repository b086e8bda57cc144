//! What a builder is told when it starts, and what its console says of it.

use sha2::{Digest as _, Sha256};

use crate::build::{MOST_USER_DATA, SCRIPT_END};

/// Of a script: what the image is made with, beside its source. The first line changes when what is done around the script changes what
/// is in the image.
pub fn recipe(script: &str) -> String {
    let mut hash = Sha256::new();
    hash.update("landfall ami 1\n");
    hash.update(script);
    hex::encode(hash.finalize())[..16].to_owned()
}

/// No builder can be told so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unbuildable {
    #[error("it does not begin with `#!` and its interpreter, so nobody knows what it is written in")]
    Interpreter,
    #[error("with what Landfall adds it has {0} bytes; EC2 takes {MOST_USER_DATA}")]
    Size(usize),
    #[error("it has a line that says {SCRIPT_END} and nothing else, with which Landfall's own script ends it")]
    Delimiter,
}

/// What begins each line of the script's output on the console.
const LINE: &str = "landfall-ami| ";

fn marker(recipe: &str) -> String {
    format!("landfall-ami {recipe} ended with ")
}

/// How a script has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ending {
    /// Its exit code.
    pub code: i32,
    /// The last of what it wrote.
    pub lines: Vec<String>,
}

impl Ending {
    /// In words.
    pub(super) fn said(code: &i32) -> String {
        match code {
            // Of `timeout`; what heeds it not is killed, as what takes too much memory is.
            124 => "was not done in time".to_owned(),
            137 => "was killed, for its time or its memory".to_owned(),
            code => format!("ended with {code}"),
        }
    }
}

/// cloud-init runs it before ECS's agent starts, which is masked until the builder stops, so that it registers with no cluster. The script has
/// `seconds`. Its end is written three times, as the kernel may write into the middle of a line. What a new instance makes anew is taken away:
/// the machine's id, cloud-init's notes, and the agent's data.
///
/// # Errors
/// The script cannot be put into one.
pub fn user_data(script: &str, seconds: i64) -> Result<String, Unbuildable> {
    if !script.starts_with("#!") {
        return Err(Unbuildable::Interpreter);
    }
    if script.lines().any(|line| line == SCRIPT_END) {
        return Err(Unbuildable::Delimiter);
    }
    let (marker, text) = (marker(&recipe(script)), script.trim_end_matches('\n'));
    let text = format!(
        "#!/bin/bash\n\
         systemctl mask --runtime ecs\n\
         install -d -m 0700 /var/lib/landfall-ami\n\
         cat >/var/lib/landfall-ami/script <<'{SCRIPT_END}'\n{text}\n{SCRIPT_END}\n\
         build() {{\n\
         cd /\n\
         chmod 0700 /var/lib/landfall-ami/script\n\
         timeout --kill-after=30 {seconds} /var/lib/landfall-ami/script >/var/lib/landfall-ami/log 2>&1 </dev/null\n\
         code=$?\n\
         tail -n 40 /var/lib/landfall-ami/log | cut -c 1-300 | sed 's/^/{LINE}/' >/dev/console\n\
         rm -rf /var/lib/landfall-ami /var/lib/ecs/data/* /var/log/ecs/*\n\
         truncate -s 0 /etc/machine-id\n\
         cloud-init clean --logs\n\
         sync\n\
         for again in 1 2 3; do echo \"{marker}$code\" >/dev/console; sleep 1; done\n\
         shutdown -h now\n\
         }}\n\
         build\n"
    );
    if text.len() > MOST_USER_DATA { Err(Unbuildable::Size(text.len())) } else { Ok(text) }
}

/// How the script of this recipe ended, if the console says so.
pub fn ending(console: &str, recipe: &str) -> Option<Ending> {
    let marker = marker(recipe);
    let (at, code) = console.rmatch_indices(&marker).find_map(|(at, _)| {
        let after = &console[at + marker.len()..];
        let digits = after.find(|c: char| !c.is_ascii_digit())?;
        // Cut off within the number it would be another one.
        let whole = after[digits..].starts_with(['\r', '\n']);
        Some((at, after[..digits].parse().ok().filter(|_| whole)?))
    })?;
    let lines =
        console[..at].lines().filter_map(|line| line.split_once(LINE)).map(|(_, said)| said.trim_end().to_owned());
    Some(Ending { code, lines: lines.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "#!/bin/sh\ndnf install -y htop\n";

    #[test]
    fn a_script_has_a_recipe_of_its_own() {
        assert_eq!(recipe(SCRIPT).len(), 16);
        assert_eq!(recipe(SCRIPT), recipe(SCRIPT));
        assert_ne!(recipe(SCRIPT), recipe("#!/bin/sh\ndnf install -y  htop\n"));
    }

    #[test]
    fn what_cannot_be_run_is_refused() {
        assert_eq!(user_data("dnf install -y htop\n", 60), Err(Unbuildable::Interpreter));
        assert_eq!(user_data("#cloud-config\npackages: [htop]\n", 60), Err(Unbuildable::Interpreter));
        assert_eq!(user_data(&format!("#!/bin/sh\n{SCRIPT_END}\n"), 60), Err(Unbuildable::Delimiter));
        let long = format!("#!/bin/sh\n{}", "x".repeat(16_384));
        assert!(matches!(user_data(&long, 60), Err(Unbuildable::Size(size)) if size > 17_000));
        insta::assert_snapshot!(user_data(SCRIPT, 60).unwrap());
    }

    #[test]
    fn the_console_tells_how_it_ended() {
        let one = recipe(SCRIPT);
        let of = |text: &str| ending(text, &one);
        assert_eq!(of(""), None);
        assert_eq!(of("[  OK  ] Started amazon-ecs"), None);
        let marker = marker(&one);
        // Not yet written to its end.
        assert_eq!(of(&format!("x\n{marker}1")), None);
        // Another script's, which ran here before.
        assert_eq!(of(&format!("x\nlandfall-ami {} ended with 0\n", recipe("#!"))), None);
        let text = format!(
            "boot\r\nlandfall-ami| one\r\n[1.0] landfall-ami| two\r\n{marker}1\r\n[2.0] x\r\n{marker}[3.0] y\r\n"
        );
        let told = Ending { code: 1, lines: vec!["one".to_owned(), "two".to_owned()] };
        assert_eq!(of(&text), Some(told));
        // What the script itself writes so does not count: its end is the last.
        assert_eq!(of(&format!("landfall-ami| {marker}0\n{marker}7\n")).map(|ending| ending.code), Some(7));
        assert_eq!(
            (Ending::said(&124), Ending::said(&3)),
            ("was not done in time".to_owned(), "ended with 3".to_owned())
        );
    }
}
