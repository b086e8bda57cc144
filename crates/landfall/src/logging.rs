//! Tracing as the environment asks for it.

use landfall_telemetry::{Format, Guard, Options};

use crate::cli::{Global, LogFormat};
use crate::env_vars;
use crate::error::{CliError, CliResult};
use crate::exit::ExitCode;
use crate::printer::Printer;

/// Before any runtime. `default` is the filter where no variable sets one: a server logs what it does, a command does
/// not, because its progress is its output.
pub(crate) fn init(global: &Global, printer: &Printer, default: &str) -> CliResult<Guard> {
    let filter = env_vars::get(env_vars::LOG).or_else(|| env_vars::get(env_vars::RUST_LOG));
    let options = Options {
        filter: filter.unwrap_or_else(|| default.to_owned()),
        format: match global.log_format {
            Some(LogFormat::Json) => Format::Json,
            _ => Format::Text,
        },
        color: printer.stderr_has_color(),
        otlp: otlp_wanted(
            env_vars::get(env_vars::OTEL_ENDPOINT).or_else(|| env_vars::get(env_vars::OTEL_TRACES_ENDPOINT)),
            env_vars::get(env_vars::OTEL_DISABLED),
        ),
        service_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    landfall_telemetry::init(&options).map_err(|error| {
        let failure = CliError::new(ExitCode::Usage, "logging cannot be set up").cause(&error);
        match error {
            landfall_telemetry::Error::Filter { .. } => {
                failure.hint(format!("set {} to something like `info` or `landfall_engine=debug,warn`", env_vars::LOG))
            }
            landfall_telemetry::Error::OtlpNotCompiled => {
                failure.hint(format!("unset {}, or use a build with the `otlp` feature", env_vars::OTEL_ENDPOINT))
            }
            _ => failure,
        }
    })
}

fn otlp_wanted(endpoint: Option<String>, disabled: Option<String>) -> bool {
    endpoint.is_some() && !disabled.is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_only_where_a_collector_is_named() {
        let endpoint = Some("http://127.0.0.1:4318".to_owned());
        assert!(!otlp_wanted(None, None));
        assert!(otlp_wanted(endpoint.clone(), None));
        assert!(otlp_wanted(endpoint.clone(), Some("false".into())));
        assert!(!otlp_wanted(endpoint, Some("TRUE".into())));
    }
}
