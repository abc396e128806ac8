//! Traces of calls, sent to a collector of OpenTelemetry.

mod config;
#[cfg(feature = "otel")]
mod otel;

pub use config::TracesConfig;
#[cfg(feature = "otel")]
pub use otel::{Exporter, OtelError};
