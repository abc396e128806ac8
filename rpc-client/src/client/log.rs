//! The log service, typed.

pub use rpc_core::api::log::{
    APPEND, Append, Appended, Entry, Extent, Fields, Level, Page, READ, Read,
};
use rpc_core::{CmdId, Service, Status};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::layers::service_client;

/// Calls the log service behind any [`Service`]: a [`Client`](crate::Client), or a router in a test
/// without a socket.
///
/// ```no_run
/// use rpc_client::log::{Append, Level, LogClient};
///
/// # async fn example() -> Result<(), rpc_client::Status> {
/// let log = LogClient::new(rpc_client::shared("127.0.0.1:8889"));
/// let mut entry = Append::new(Level::Info, "order", "user 4211 logged in");
/// entry.fields = r#"{"user":4211}"#.parse().ok();
/// let seq = log.append(&entry).await?;
/// # let _ = seq;
/// # Ok(())
/// # }
/// ```
///
/// A failure may say that the call was rejected. A handler that hands it on has run itself, and takes that
/// back with [`Status::without_rejected`].
#[derive(Debug, Clone)]
pub struct LogClient<S>(S);

impl<S: Service> LogClient<S> {
    /// A log client over this service.
    pub fn new(service: S) -> Self {
        Self(service)
    }

    /// Writes an entry; its number comes back once it is on disk.
    ///
    /// # Errors
    /// The service's status; for a failed connection code 14, with `rejected` where the entry was not
    /// sent.
    ///
    /// # Cancel safety
    /// Dropping the future gives the call up; the entry may have been written.
    pub async fn append(&self, entry: &Append) -> Result<u64, Status> {
        self.call(APPEND, entry).await.map(|Appended { seq }| seq)
    }

    /// Reads entries behind a cursor, and waits for them where `wait_ms` says so.
    ///
    /// # Errors
    /// As [`append`](Self::append); with an [`Extent`] as details, code 9 where the log is not the one that `log`
    /// names, and code 11 where `after` is past its last entry.
    ///
    /// # Cancel safety
    /// Dropping the future gives the call up, which changes nothing.
    pub async fn read(&self, read: &Read) -> Result<Page, Status> {
        self.call(READ, read).await
    }

    async fn call<P: Serialize, T: DeserializeOwned>(
        &self,
        cmdid: CmdId,
        params: &P,
    ) -> Result<T, Status> {
        service_client::call(&self.0, service_client::request(cmdid, params)?).await
    }
}
