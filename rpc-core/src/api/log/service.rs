//! The commands of the log service, as a trait: their clients and what `describe` tells of them are made from it.

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
/// The daemon serves it from its files, as they are, and has no implementation of this trait.
///
/// A failure may say that the call was rejected. A handler that hands it on has run itself, and takes that back with
/// [`Status::without_rejected`].
#[cfg_attr(feature = "schema", service(schema, crate = crate))]
#[cfg_attr(not(feature = "schema"), service(crate = crate))]
pub trait Log {
    /// Writes an entry; answers its number once it is on disk.
    #[rpc(cmdid = 1001, dedup(by_caller))]
    async fn append(&self, entry: &Append) -> Result<Appended, Status>;

    /// Reads entries behind a cursor; waits up to `wait_ms` (25 s at most) for the first one.
    #[rpc(cmdid = 1002, idempotent)]
    async fn read(&self, read: &Read) -> Result<Page, Status>;

    /// Writes entries together or not at all; answers their numbers once they are on disk.
    ///
    /// A batch that is sent again is not written again.
    #[rpc(cmdid = 1003)]
    async fn append_batch(&self, batch: &AppendBatch) -> Result<BatchAppended, BatchError>;

    /// Writes entries whose caller does not wait for the disk; over the budget of their service they are dropped and counted.
    ///
    /// Sent with an answer, it is answered once they wait for the disk.
    #[rpc(cmdid = 1004, oneway)]
    async fn emit(&self, emit: &Emit);

    /// Waits until what this connection has emitted is on disk; answers how much was written and dropped.
    #[rpc(cmdid = 1005, idempotent)]
    async fn flush(&self) -> Result<Flushed, Status>;

    /// Follows the log: entries as they come, and if asked for the last ones or those behind a cursor before.
    #[rpc(
        cmdid = 1006,
        idempotent,
        no_timeout,
        resumable(cursor = "log", param = "log", cursor = "next", param = "after")
    )]
    fn tail(&self, tail: Tail) -> impl Stream<Item = Result<Tailed, Status>> + Send;

    /// Tells what the log holds, and what services have sent since the server was started.
    #[rpc(cmdid = 1007, idempotent)]
    async fn stats(&self) -> Result<LogStats, Status>;
}
