//! Traces sent to a collector of OpenTelemetry, by OTLP over HTTP with JSON bodies.

use std::fmt;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;

/// How long a collector may take for what it is sent, also at the end of the process.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);

/// Sends spans to a collector in the background: in batches, from a thread of its own, and drops what
/// the collector is too slow for. Spans still waiting are sent by [`shutdown`](Self::shutdown).
///
/// ```no_run
/// use rpc_server::otel::Exporter;
/// use tracing_subscriber::layer::SubscriberExt as _;
/// use tracing_subscriber::util::SubscriberInitExt as _;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let exporter = Exporter::new("http://127.0.0.1:4318/v1/traces", "order-service", 0.1)?;
/// tracing_subscriber::registry().with(exporter.layer()).init();
/// // Routers that are `traced()` now have their calls sent, one of ten.
/// exporter.shutdown();
/// # Ok(())
/// # }
/// ```
pub struct Exporter(SdkTracerProvider);

impl Exporter {
    /// Sends to the collector at this URL as this service. Where the caller has decided whether its trace is
    /// sampled, that holds; of the other traces this ratio is, from 0 to 1.
    ///
    /// # Errors
    /// What is no URL.
    pub fn new(endpoint: &str, service_name: &str, sample_ratio: f64) -> Result<Self, OtelError> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpJson)
            .with_endpoint(endpoint)
            .with_timeout(EXPORT_TIMEOUT)
            .build()
            .map_err(|error| OtelError(format!("cannot send traces to `{endpoint}`: {error}")))?;
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(sample_ratio))))
            .with_resource(Resource::builder().with_service_name(service_name.to_owned()).build())
            .build();
        Ok(Self(provider))
    }

    /// The layer that makes spans of `tracing` spans of OpenTelemetry: those of level info and above, of
    /// any target, and no events.
    pub fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'s> LookupSpan<'s> + Send + Sync,
    {
        let spans = tracing_subscriber::filter::filter_fn(|metadata| {
            metadata.is_span() && *metadata.level() <= tracing::Level::INFO
        });
        tracing_opentelemetry::layer().with_tracer(self.0.tracer("rpc-server")).with_filter(spans)
    }

    /// Sends what waits, for as long as the collector takes but at most some seconds.
    pub fn shutdown(self) {
        if let Err(error) = self.0.shutdown_with_timeout(EXPORT_TIMEOUT) {
            tracing::warn!(%error, "not all traces could be sent");
        }
    }
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exporter")
    }
}

/// Why traces cannot be sent.
#[derive(Debug)]
pub struct OtelError(String);

impl fmt::Display for OtelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for OtelError {}
