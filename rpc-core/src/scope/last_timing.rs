//! A place for the timing of a call.

use std::sync::{Arc, Mutex, PoisonError};

use crate::frame::ServerTiming;

/// Where the time of a call went at the server: asks for it, where it is among the options of the call, and holds it
/// once the call, or the stream, has ended. Clones are the same place.
///
/// ```
/// use rpc_core::LastTiming;
/// use rpc_core::typed::CallOptions;
///
/// let timing = LastTiming::new();
/// let options = CallOptions::new().timing(&timing);
/// // After a call of `orders.with(options)`:
/// if let Some(server) = timing.get() {
///     println!("{:?} waiting at the server, {:?} running", server.queue, server.run);
/// }
/// # let _ = options;
/// ```
///
/// It is that of the last try of the last call. Calls that run side by side need one each.
#[derive(Debug, Clone, Default)]
pub struct LastTiming(Arc<Mutex<Option<ServerTiming>>>);

impl LastTiming {
    /// Without a timing so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// The server's part of the call. `None` before the call has ended, where no handler was reached, and of a server
    /// that does not tell.
    pub fn get(&self) -> Option<ServerTiming> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the client that makes the call: `None` where it begins.
    #[doc(hidden)]
    pub fn set(&self, timing: Option<ServerTiming>) {
        // A value by itself: no panic can leave it half done.
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = timing;
    }
}
