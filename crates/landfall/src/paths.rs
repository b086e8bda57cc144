//! Where the state is, unless told.

use std::path::PathBuf;

use crate::env_vars;
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;

/// `--state`, else `$XDG_STATE_HOME/landfall`, else `~/.local/state/landfall`; always absolute.
pub(crate) fn state_dir(given: Option<PathBuf>) -> CliResult<PathBuf> {
    let path = choose(given, env_vars::get(env_vars::XDG_STATE_HOME), env_vars::get(env_vars::HOME))?;
    std::path::absolute(&path).map_err(|error| CliError::io(format!("state directory {}", path.display()), &error))
}

fn choose(given: Option<PathBuf>, xdg: Option<String>, home: Option<String>) -> CliResult<PathBuf> {
    if let Some(path) = given {
        return Ok(path);
    }
    // The XDG specification: a relative value is to be ignored.
    if let Some(xdg) = xdg.map(PathBuf::from).filter(|path| path.is_absolute()) {
        return Ok(xdg.join("landfall"));
    }
    match home {
        Some(home) => Ok(PathBuf::from(home).join(".local/state/landfall")),
        None => Err(CliError::new(ExitCode::Usage, "there is no home directory to keep the state in")
            .hint("say where with --state DIR or LANDFALL_STATE")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn the_option_wins_then_xdg_then_home() {
        let of = |given: Option<&str>, xdg: Option<&str>, home: Option<&str>| {
            choose(given.map(PathBuf::from), xdg.map(String::from), home.map(String::from))
                .map(|path| path.to_string_lossy().into_owned())
        };
        assert_eq!(of(Some("/s"), Some("/x"), Some("/h")).unwrap(), "/s");
        assert_eq!(of(None, Some("/x"), Some("/h")).unwrap(), "/x/landfall");
        assert_eq!(of(None, Some("relative"), Some("/h")).unwrap(), "/h/.local/state/landfall");
        assert_eq!(of(None, None, None).unwrap_err().code, ExitCode::Usage);
    }
}
