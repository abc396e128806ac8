//! Layers around a client, or around any other service: [`Trace`], [`Timeout`], [`Retry`], and your own.
//!
//! A layer takes a service and gives back another one ([`Layer`](rpc_core::Layer)). Of a client it
//! makes a [`ServiceClient`], which calls as a client does. The one that is added last
//! sees a call first.
//!
//! ```
//! use std::time::Duration;
//!
//! use rpc_client::layers::{Timeout, Trace};
//! use rpc_client::log::LogClient;
//! use rpc_client::Client;
//!
//! let client = Client::new("127.0.0.1:8889")
//!     .layer(Timeout::new(Duration::from_millis(500)))
//!     .layer(Trace);
//! // A typed client takes any service.
//! let log = LogClient::new(client);
//! # let _ = log;
//! ```
//!
//! One of your own is a function of the service inside:
//!
//! ```
//! use rpc_client::{Client, Outcome, Request, Service, layer_fn};
//!
//! struct CountBytes<S>(S);
//!
//! impl<S: Service> Service for CountBytes<S> {
//!     fn call(&self, request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static {
//!         let bytes = request.params.as_bytes().len();
//!         let call = self.0.call(request);
//!         async move {
//!             // Add `bytes` to a counter of yours.
//!             let _ = bytes;
//!             call.await
//!         }
//!     }
//! }
//!
//! let client = Client::new("127.0.0.1:8889").layer(layer_fn(CountBytes));
//! # let _ = client;
//! ```

mod retry;
pub(crate) mod service_client;
mod timeout;
mod trace;

pub use retry::{Retry, RetryService};
pub use service_client::ServiceClient;
pub use timeout::{Timeout, TimeoutService};
pub(crate) use timeout::{ends_by, shorten, shorten_here};
pub use trace::{Trace, TraceService};
