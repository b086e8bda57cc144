//! Tracing to stderr, and traces over OTLP where the standard `OTEL_*` variables ask for it.
//!
//! Everything that varies is a parameter: the binary alone reads the environment (the OpenTelemetry SDK, which reads its
//! own standard variables, is the exception its specification demands). Call [`init`] once, before any async runtime
//! starts: the exporter owns a thread and a blocking HTTP client, which must not be made inside a runtime.

#[cfg(feature = "otlp")]
mod otlp;

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// One line for a person.
    #[default]
    Text,
    /// One JSON object a line, fields flattened.
    Json,
}

#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `tracing_subscriber` directives: `info`, `landfall_engine=debug,warn`.
    pub filter: String,
    pub format: Format,
    /// Whether text may be coloured.
    pub color: bool,
    /// Whether traces go to an OTLP collector. Without the `otlp` feature this is an error, not a silence.
    pub otlp: bool,
    /// `service.name` unless `OTEL_SERVICE_NAME` says otherwise.
    pub service_version: String,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("log filter `{filter}`: {message}")]
    Filter { filter: String, message: String },
    #[error("this build cannot export traces: it was compiled without the `otlp` feature")]
    OtlpNotCompiled,
    #[error("OTLP exporter: {0}")]
    Otlp(String),
    #[error("tracing was set up twice")]
    Twice,
}

/// Keeps the exporter alive. Spans still in memory are sent when it is dropped, for at most a few seconds.
#[must_use = "spans are flushed when the guard is dropped"]
#[derive(Debug, Default)]
pub struct Guard {
    #[cfg(feature = "otlp")]
    provider: Option<opentelemetry_sdk::trace::SdkTracerProvider>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        #[cfg(feature = "otlp")]
        if let Some(provider) = self.provider.take()
            && let Err(error) = provider.shutdown_with_timeout(std::time::Duration::from_secs(5))
        {
            tracing::warn!(%error, "the last traces may not have been sent");
        }
    }
}

/// Sets the process's subscriber.
pub fn init(options: &Options) -> Result<Guard, Error> {
    let logs = log_layer(options, BoxMakeWriter::new(std::io::stderr))?;
    if !options.otlp {
        Registry::default().with(logs).try_init().map_err(|_| Error::Twice)?;
        return Ok(Guard::default());
    }
    #[cfg(not(feature = "otlp"))]
    return Err(Error::OtlpNotCompiled);
    #[cfg(feature = "otlp")]
    {
        let (layer, provider) = otlp::layer(&options.service_version)?;
        Registry::default().with(logs).with(layer).try_init().map_err(|_| Error::Twice)?;
        Ok(Guard { provider: Some(provider) })
    }
}

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// The filter sits on the layer and not on the registry, so that traces are sampled by OpenTelemetry's own rules.
fn log_layer(options: &Options, writer: BoxMakeWriter) -> Result<BoxedLayer, Error> {
    let filter = EnvFilter::builder()
        .parse(&options.filter)
        .map_err(|error| Error::Filter { filter: options.filter.clone(), message: error.to_string() })?;
    Ok(match options.format {
        Format::Text => {
            fmt::layer().with_writer(writer).with_ansi(options.color).with_target(true).with_filter(filter).boxed()
        }
        Format::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .with_writer(writer)
            .with_filter(filter)
            .boxed(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(options: &Options, emit: impl FnOnce()) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let layer = log_layer(options, BoxMakeWriter::new(move || writer.clone())).unwrap();
        tracing::subscriber::with_default(Registry::default().with(layer), emit);
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_is_one_object_a_line_with_flat_fields() {
        let options = Options { filter: "info".into(), format: Format::Json, ..Options::default() };
        let text = logged(&options, || {
            tracing::info!(execution = "exe_1", "step done");
            tracing::debug!("not asked for");
        });
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["execution"], "exe_1");
        assert_eq!(lines[0]["message"], "step done");
        assert_eq!(lines[0]["level"], "INFO");
    }

    #[test]
    fn text_has_no_escapes_unless_asked() {
        let options = Options { filter: "warn".into(), ..Options::default() };
        let text = logged(&options, || tracing::warn!(port = 80, "taken"));
        assert!(text.contains("WARN") && text.contains("taken port=80"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
        let colored = logged(&Options { color: true, ..options }, || tracing::warn!("taken"));
        assert!(colored.contains('\u{1b}'));
    }

    #[test]
    fn a_filter_selects_by_target() {
        let options = Options { filter: "landfall_engine=debug,warn".into(), ..Options::default() };
        let text = logged(&options, || {
            tracing::debug!(target: "landfall_engine", "kept");
            tracing::info!(target: "hyper", "dropped");
        });
        assert!(text.contains("kept") && !text.contains("dropped"), "{text}");
    }

    #[test]
    fn a_bad_filter_is_named() {
        let options = Options { filter: "landfall=loud".into(), ..Options::default() };
        let Err(error) = log_layer(&options, BoxMakeWriter::new(std::io::sink)) else { panic!("accepted") };
        assert!(error.to_string().contains("landfall=loud"), "{error}");
    }

    #[cfg(not(feature = "otlp"))]
    #[test]
    fn asking_for_traces_without_the_feature_is_an_error() {
        let options = Options { filter: "info".into(), otlp: true, ..Options::default() };
        assert!(matches!(init(&options), Err(Error::OtlpNotCompiled)));
    }
}
