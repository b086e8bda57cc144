//! `landfall shim`: other tools' programs, by their name.

use std::path::Path;

use crate::cli::Global;
use crate::cli::shim::ShimCommand;
use crate::commands::ci;
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::printer::Printer;

/// What a link to this binary may be called, and what it does then.
pub(crate) const TRAVIS: &str = "travis-ecs-deploy";

pub(crate) async fn run(command: &ShimCommand, global: &Global, printer: &Printer) -> CliResult<u8> {
    match command {
        ShimCommand::TravisEcsDeploy { install: Some(directory) } => {
            install(directory, printer).map(|()| ExitCode::Ok as u8)
        }
        ShimCommand::TravisEcsDeploy { install: None } => ci::travis(global, printer).await,
    }
}

fn install(directory: &Path, printer: &Printer) -> CliResult<()> {
    use std::os::unix::fs::PermissionsExt;

    let path = directory.join(TRAVIS);
    let own = std::env::current_exe().map_err(|error| CliError::io("this program's own path", &error))?;
    let own = landfall_ci::command::quote(&own.to_string_lossy());
    let text = format!("#!/bin/sh\n# Written by `landfall shim {TRAVIS} --install`.\nexec {own} shim {TRAVIS}\n");
    let failed = |error: std::io::Error| CliError::io(format!("cannot write {}", path.display()), &error);
    std::fs::create_dir_all(directory).map_err(failed)?;
    // Whatever is there: usually a link to the original's script, which must not be written through.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    std::fs::write(&path, text).map_err(failed)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).map_err(failed)?;
    printer.note(format_args!("wrote {}", path.display()));
    Ok(())
}
