//! One file per command. Here they are told apart, and it is decided what each needs: nothing, tracing, a runtime.

use clap::CommandFactory;

use crate::cli::{Cli, Command};
use crate::demo_app;
use crate::error::CliResult;
use crate::exit::ExitCode;
use crate::printer::Printer;

pub(crate) fn run(cli: Cli, printer: Printer) -> CliResult<ExitCode> {
    match cli.command {
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "landfall", &mut script);
            printer.raw(&String::from_utf8_lossy(&script))?;
            Ok(ExitCode::Ok)
        }
        Command::DemoApp(app) => demo_app::run(app),
        _ => Ok(ExitCode::Internal),
    }
}
