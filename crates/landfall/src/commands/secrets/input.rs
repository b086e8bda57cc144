//! Where a value comes from: a terminal that does not show it, standard input, a file, a variable. Never an argument.

use std::io::{IsTerminal, Read, Write};
use std::path::Path;

use landfall_ports::secrets::SecretValue;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::cli::secrets::SetArgs;
use crate::env_vars;
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;

/// Secrets Manager's limit; SSM's are lower.
const LARGEST: u64 = 65_536;

/// Of the one secret `name`.
pub(super) fn value(name: &str, args: &SetArgs) -> CliResult<SecretValue> {
    let (bytes, whence) = match &args.file {
        _ if args.from_env => return of_variable(name),
        Some(path) => (of_file(path)?, path.display().to_string()),
        None if std::io::stdin().is_terminal() => (asked(name)?, "what was typed".to_owned()),
        None => (limited(std::io::stdin().lock(), "standard input")?, "standard input".to_owned()),
    };
    let text = String::from_utf8(bytes).map_err(|_| {
        unusable(format!("{whence} is not text (UTF-8)")).hint("encode it, as base64, where its reader decodes it")
    })?;
    checked(one_newline_less(&text), &whence)
}

pub(super) fn checked(value: &str, whence: &str) -> CliResult<SecretValue> {
    if value.is_empty() {
        return Err(unusable(format!("{whence} is empty, and a secret is not")));
    }
    if value.contains('\0') {
        return Err(unusable(format!("{whence} has a zero byte, which no environment variable can hold")));
    }
    Ok(SecretValue::new(value))
}

pub(super) fn of_file(path: &Path) -> CliResult<Vec<u8>> {
    let what = format!("the file {} cannot be read", path.display());
    let file = std::fs::File::open(path).map_err(|error| CliError::io(what, &error))?;
    limited(file, &path.display().to_string())
}

fn limited(from: impl Read, whence: &str) -> CliResult<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = from.take(LARGEST + 1).read_to_end(&mut bytes);
    read.map_err(|error| CliError::io(format!("{whence} cannot be read"), &error))?;
    if bytes.len() as u64 > LARGEST {
        return Err(unusable(format!("{whence} has more than {LARGEST} bytes: no secret is so long")));
    }
    Ok(bytes)
}

fn of_variable(name: &str) -> CliResult<SecretValue> {
    let name = name.rsplit(':').next().unwrap_or(name);
    let value = env_vars::get(name)
        .ok_or_else(|| CliError::new(ExitCode::NotFound, format!("the variable {name} is not set, or is empty")))?;
    checked(&value, &format!("the variable {name}"))
}

fn one_newline_less(text: &str) -> &str {
    text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text))
}

fn unusable(message: String) -> CliError {
    CliError::new(ExitCode::Usage, message)
}

/// A terminal that shows nothing, and hands over every key as it is; as it was again when this is dropped.
struct Silent(Termios);

impl Silent {
    fn new() -> rustix::io::Result<Self> {
        let stdin = std::io::stdin();
        let before = tcgetattr(&stdin)?;
        let mut silent = before.clone();
        // Without signals, too: a Ctrl-C in the middle would leave the terminal silent.
        silent.local_modes &= !(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(&stdin, OptionalActions::Flush, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // Nobody is left to tell.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}

pub(in crate::commands) fn asked(name: &str) -> CliResult<Vec<u8>> {
    let failed = |error: std::io::Error| CliError::io("the terminal cannot be read", &error);
    let silent = Silent::new().map_err(|error| failed(error.into()))?;
    let mut stderr = std::io::stderr();
    let _ = write!(stderr, "{name} (not shown): ");
    let _ = stderr.flush();
    let mut line = Vec::new();
    let mut stdin = std::io::stdin().lock();
    let mut key = [0];
    let ended = loop {
        if stdin.read(&mut key).map_err(failed)? == 0 {
            break true;
        }
        match key[0] {
            b'\r' | b'\n' => break true,
            // Ctrl-D ends; Ctrl-C and Ctrl-\ give up.
            4 => break true,
            3 | 28 => break false,
            8 | 127 => {
                // A whole character.
                while line.pop().is_some_and(|byte: u8| byte & 0xC0 == 0x80) {}
            }
            // Ctrl-U: from the start.
            21 => line.clear(),
            byte => line.push(byte),
        }
        if line.len() as u64 > LARGEST {
            return Err(unusable(format!("more than {LARGEST} bytes: no secret is so long")));
        }
    };
    drop(silent);
    let _ = writeln!(stderr);
    match ended {
        true => Ok(line),
        false => Err(CliError::new(ExitCode::Aborted, format!("given up: {name} is as it was"))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn one_newline_at_the_end_is_nobody_s_secret() {
        for (text, value) in [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a", "a"), (" a ", " a ")] {
            assert_eq!(one_newline_less(text), value);
        }
        assert!(checked("", "x").is_err() && checked("a\0b", "x").is_err());
    }
}
