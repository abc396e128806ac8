//! Traces sent to a collector of OpenTelemetry, by OTLP over HTTP with JSON bodies.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{Protocol, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, SpanData, SpanExporter,
};
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;

use super::TracesConfig;
use crate::config::{ConfigError, PER_MILLION_MAX};

/// The target of the spans by which loggers of commands know their lines.
const LOGGERS: &str = "rpc_server::logger";

/// Spans of one batch.
const BATCH_MAX: usize = 512;

/// Sends spans to a collector in the background: in batches, from a thread of its own, and drops what
/// the collector is too slow for. Spans still waiting are sent by [`shutdown`](Self::shutdown).
///
/// ```no_run
/// use rpc_server::TracesConfig;
/// use rpc_server::telemetry::Exporter;
/// use tracing_subscriber::layer::SubscriberExt as _;
/// use tracing_subscriber::util::SubscriberInitExt as _;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let exporter = Exporter::new(&TracesConfig {
///     endpoint: "http://127.0.0.1:4318".into(),
///     service_name: "order-service".into(),
///     sampled_per_million: 100_000,
///     ..TracesConfig::default()
/// })?;
/// tracing_subscriber::registry().with(exporter.layer()).init();
/// // Routers that are `traced()` now have their calls sent, one of ten.
/// exporter.shutdown();
/// # Ok(())
/// # }
/// ```
pub struct Exporter {
    provider: SdkTracerProvider,
    timeout: Duration,
}

impl Exporter {
    /// Sends as these settings say.
    ///
    /// # Errors
    /// Settings that [`check`](TracesConfig::check) refuses, and those without an endpoint.
    pub fn new(config: &TracesConfig) -> Result<Self, OtelError> {
        config.check().map_err(OtelError::Config)?;

        let (endpoint, timeout) = (config.url(), Duration::from_millis(config.timeout_ms));
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpJson)
            .with_endpoint(&endpoint)
            .with_timeout(timeout)
            .build()
            .map_err(|error| OtelError::Exporter {
                endpoint: endpoint.clone(),
                source: Box::new(error),
            })?;

        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(config.queue_max)
            .with_max_export_batch_size(config.queue_max.min(BATCH_MAX))
            .with_scheduled_delay(Duration::from_millis(config.interval_ms));

        let reported = Reported {
            exporter,
            endpoint,
            is_failing: AtomicBool::new(false),
        };

        let ratio = f64::from(config.sampled_per_million) / f64::from(PER_MILLION_MAX);
        let provider = SdkTracerProvider::builder()
            .with_span_processor(
                BatchSpanProcessor::builder(reported)
                    .with_batch_config(batches.build())
                    .build(),
            )
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(
                ratio,
            ))))
            .with_resource(
                Resource::builder()
                    .with_service_name(config.service_name.clone())
                    .build(),
            )
            .build();

        Ok(Self { provider, timeout })
    }

    /// The layer that makes spans of `tracing` spans of OpenTelemetry: those of level info and above, of
    /// any target but that of the loggers of commands, and no events.
    pub fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'s> LookupSpan<'s> + Send + Sync,
    {
        let spans = tracing_subscriber::filter::filter_fn(|metadata| {
            metadata.is_span()
                && *metadata.level() <= tracing::Level::INFO
                && metadata.target() != LOGGERS
        });

        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("rpc-server"))
            .with_filter(spans)
    }

    /// Sends what waits, for as long as the collector takes but at most `timeout_ms`. It blocks meanwhile.
    pub fn shutdown(self) {
        if let Err(error) = self.provider.shutdown_with_timeout(self.timeout) {
            tracing::warn!(%error, "not all traces could be sent");
        }
    }
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exporter")
    }
}

/// Says in the log when a collector does not take what it is sent, and when it does so again.
#[derive(Debug)]
struct Reported<E> {
    exporter: E,
    endpoint: String,
    is_failing: AtomicBool,
}

impl<E: SpanExporter> SpanExporter for Reported<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let sent = self.exporter.export(batch).await;

        // Relaxed: batches are sent one after another, by one thread.
        let was_failing = self.is_failing.swap(sent.is_err(), Ordering::Relaxed);
        match sent {
            Err(error) if !was_failing => {
                tracing::warn!(endpoint = self.endpoint, spans, %error, "traces are lost: the collector does not take them");
            }
            Ok(()) if was_failing => {
                tracing::info!(endpoint = self.endpoint, "the collector takes traces again");
            }
            _ => {}
        }

        // Said above, once: the caller would say it for every batch.
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// Why traces cannot be sent.
#[derive(Debug)]
#[non_exhaustive]
pub enum OtelError {
    /// A setting cannot work.
    Config(ConfigError),
    /// The exporter could not be made.
    Exporter {
        /// The URL that spans were to be sent to.
        endpoint: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl fmt::Display for OtelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Exporter { endpoint, source } => {
                write!(f, "cannot send traces to `{endpoint}`: {source}")
            }
        }
    }
}

impl std::error::Error for OtelError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Config(error) => Some(error),
            Self::Exporter { source, .. } => Some(source.as_ref()),
        }
    }
}
