//! The `landfall` binary: command line, output, exit codes, and the wiring of everything else.
//!
//! `--version` is answered before anything is set up, because editors, scripts and prompts ask for it often. Commands
//! that only compute (`check`, `schema`, `init`, `import`, `completions`) start no runtime and no tracing.

mod assemble;
mod backend;
mod build;
mod cli;
mod commands;
mod demo;
mod demo_app;
mod env_vars;
mod error;
mod exit;
mod hold;
mod http;
mod lazy;
mod lines;
mod logging;
mod meter;
mod opened;
mod outside;
mod paths;
mod places;
mod printer;
mod progress;
mod prune;
#[cfg(test)]
mod reference;
mod release;
mod render;
mod secrets;
mod stop;

use clap::Parser;
use clap::error::ErrorKind;

use crate::cli::Cli;
use crate::commands::shim;
use crate::exit::ExitCode;
use crate::printer::Printer;

fn main() -> std::process::ExitCode {
    let mut args = std::env::args_os().skip(1);
    if let (Some(only), None) = (args.next(), args.next())
        && (only == "--version" || only == "-V")
    {
        let printer = Printer::default();
        return printer
            .raw(concat!("landfall ", env!("CARGO_PKG_VERSION"), "\n"))
            .map_or(ExitCode::Io, |()| ExitCode::Ok)
            .into();
    }
    let mut words: Vec<std::ffi::OsString> = std::env::args_os().collect();
    // A link by another tool's name is that tool.
    if words.first().is_some_and(|own| std::path::Path::new(own).file_name().is_some_and(|name| name == shim::TRAVIS)) {
        words = vec!["landfall".into(), "shim".into(), shim::TRAVIS.into()];
    }
    let cli = match Cli::try_parse_from(words) {
        Ok(cli) => cli,
        Err(error) => return usage(&error).into(),
    };
    let printer = Printer::new(cli.global.output, cli.global.color, cli.global.quiet);
    match commands::run(cli, printer) {
        Ok(code) => std::process::ExitCode::from(code),
        Err(error) => {
            printer.error(&error);
            error.code.into()
        }
    }
}

/// clap prints help on stdout and errors on stderr; only its exit codes are not ours.
fn usage(error: &clap::Error) -> ExitCode {
    // A closed pipe is nobody's error here.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::Ok,
        _ => ExitCode::Usage,
    }
}
