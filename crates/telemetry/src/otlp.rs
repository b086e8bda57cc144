//! The OTLP exporter: HTTP with protobuf, endpoint, headers, sampling and resource from the standard `OTEL_*` variables.
//!
//! The SDK's batch processor exports from a thread of its own without an async runtime, so the HTTP client is the
//! blocking one, made here and before any runtime.

use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::registry::LookupSpan;

use crate::Error;

/// What the exporter itself calls: exporting its spans would never end.
const OWN_TARGETS: [&str; 5] = ["hyper", "reqwest", "h2", "rustls", "opentelemetry"];

/// Generic over what lies below: the log layer comes first.
pub(crate) fn layer<S>(version: &str) -> Result<(impl Layer<S> + Send + Sync + use<S>, SdkTracerProvider), Error>
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    // Another crate of the same process may have been first with the same provider.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = reqwest::blocking::Client::builder()
        .timeout(Duration::from_secs(10))
        .build()
        .map_err(|error| Error::Otlp(error.to_string()))?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .build()
        .map_err(|error| Error::Otlp(error.to_string()))?;
    let mut resource = Resource::builder();
    if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name("landfall");
    }
    let resource = resource.with_attribute(opentelemetry::KeyValue::new("service.version", version.to_owned())).build();
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
    let own = filter_fn(|metadata| {
        let krate = metadata.target().split("::").next().unwrap_or_default();
        !OWN_TARGETS
            .iter()
            .any(|own| krate == *own || krate.strip_prefix(own).is_some_and(|rest| rest.starts_with('_')))
    });
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("landfall"));
    Ok((layer.with_filter(own).with_filter(LevelFilter::INFO), provider))
}
