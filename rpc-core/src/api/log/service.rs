//! The commands of the log service, as a trait, from which `#[service]` generates clients and descriptions.

use futures::stream::Stream;

use super::{
    Append, AppendBatch, Appended, BatchAppended, BatchError, Emit, Flushed, LogStats, Page, Read,
    Tail, Tailed,
};
use crate::frame::CmdId;
use crate::service;
use crate::status::Status;

/// [`Log::append`].
pub const APPEND: CmdId = LogService::APPEND;

/// [`Log::read`].
pub const READ: CmdId = LogService::READ;

/// [`Log::append_batch`].
pub const APPEND_BATCH: CmdId = LogService::APPEND_BATCH;

/// [`Log::emit`].
pub const EMIT: CmdId = LogService::EMIT;

/// [`Log::flush`].
pub const FLUSH: CmdId = LogService::FLUSH;

/// [`Log::stats`].
pub const STATS: CmdId = LogService::STATS;

/// [`Log::tail`].
pub const TAIL: CmdId = LogService::TAIL;

/// The log service.
///
/// [`LogClient`] calls it over any [`Service`](crate::Service): a connection, or a router in a test without a socket.
/// The daemon has no implementation of this trait: it answers with the lines of its files, without decoding them.
///
/// A failure may be `rejected`, which means that the call did not run. A handler that returns such a failure to its own
/// caller has itself run, and therefore returns [`Status::without_rejected`].
#[cfg_attr(feature = "schema", service(schema, crate = crate))]
#[cfg_attr(not(feature = "schema"), service(crate = crate))]
pub trait Log {
    /// Writes an entry, and replies with its number once it is on disk.
    #[rpc(cmdid = 1001, dedup(by_caller))]
    async fn append(&self, entry: &Append) -> Result<Appended, Status>;

    /// Reads entries after a cursor. If no entry exists yet, waits for one up to `wait_ms`, but at most 25 s.
    #[rpc(cmdid = 1002, idempotent)]
    async fn read(&self, read: &Read) -> Result<Page, Status>;

    /// Writes entries together or not at all, and replies with their numbers once they are on disk.
    ///
    /// A batch that is sent again with the same number is not written again.
    #[rpc(cmdid = 1003)]
    async fn append_batch(&self, batch: &AppendBatch) -> Result<BatchAppended, BatchError>;

    /// Writes entries without waiting for the disk. Entries over the budget of their service are dropped and counted.
    ///
    /// If the caller asks for a reply, the reply comes once the entries wait for the disk.
    #[rpc(cmdid = 1004, oneway)]
    async fn emit(&self, emit: &Emit);

    /// Waits until the entries that this connection has emitted are on disk, and reports how many were written and how
    /// many were dropped.
    #[rpc(cmdid = 1005, idempotent)]
    async fn flush(&self) -> Result<Flushed, Status>;

    /// Streams entries as they are written. The stream can begin with the last entries, or after a cursor.
    #[rpc(
        cmdid = 1006,
        idempotent,
        no_timeout,
        resumable(cursor = "log", param = "log", cursor = "next", param = "after")
    )]
    fn tail(&self, tail: Tail) -> impl Stream<Item = Result<Tailed, Status>> + Send;

    /// Reports the size of the log, and how much each service has sent since the start of the server.
    #[rpc(cmdid = 1007, idempotent)]
    async fn stats(&self) -> Result<LogStats, Status>;
}
