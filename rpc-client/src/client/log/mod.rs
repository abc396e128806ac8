//! The log service, typed; with the feature `log` also a `Shipper`, which sends entries in batches, and with the feature
//! `tracing` a layer for the events of `tracing`.
//!
//! ```no_run
//! use rpc_client::log::{Append, Level, LogClient};
//!
//! # async fn example() -> Result<(), rpc_client::Status> {
//! let log = LogClient::new(rpc_client::shared("127.0.0.1:8889"));
//! let mut entry = Append::new(Level::Info, "order", "user 4211 logged in");
//! entry.fields = r#"{"user":4211}"#.parse().ok();
//! let seq = log.append(&entry).await?.seq;
//! # let _ = seq;
//! # Ok(())
//! # }
//! ```

#[cfg(feature = "tracing")]
pub mod layer;
mod refusal;
#[cfg(feature = "log")]
pub mod shipper;

#[cfg(feature = "tracing")]
pub use layer::{LayerBuilder, LogGuard, LogLayer, layer};

pub use refusal::is_final;

#[cfg(feature = "log")]
pub use shipper::{BlockingShipper, Dropped, Shipped, Shipper, ShipperConfig, ShipperStats};

pub use rpc_core::api::log::{
    APPEND, APPEND_BATCH, Append, AppendBatch, Appended, BATCH_ENTRIES_MAX, BatchAppended,
    BatchError, EMIT, Emit, Entry, Extent, FLUSH, Fields, Flushed, Level, LogBlockingClient,
    LogClient, LogStats, Order, Page, READ, Read, STATS, ServiceStats, Spread, TAIL, TAIL_LAST_MAX,
    Tail, Tailed,
};
