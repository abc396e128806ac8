//! Blocking work: a bounded pool of threads that serves connections in turn.
//!
//! All work that blocks its thread goes through a [`BlockingPool`]: functions of
//! [`Route::blocking`](crate::Route::blocking), and what an async handler hands over itself. The pool keeps
//! six promises:
//!
//! - At most `blocking.threads_max` pieces of work run at the same time.
//! - At most `blocking.waiting_per_connection` pieces of one connection wait. Further ones are refused with code
//!   8 and `rejected`.
//! - Waiting pieces are taken in turn by connection: thousands of pieces of one connection delay another
//!   connection's piece by the pieces at work, and not by those that wait.
//! - At most four results of one connection wait to be taken, and those whose size is known have at most 4 MiB
//!   together: then no further piece of it begins. A peer that does not read its replies does not have them all
//!   built.
//! - A piece whose call ends before it begins is never begun.
//! - A piece whose call ends while it runs learns of it from its [`CallToken`].

mod error;
mod pool;
mod queue;
mod route;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rpc_core::{Context, Peer, Request};

pub use error::BlockingError;
pub use pool::{BlockingPool, ResultSize};
pub(crate) use route::RouteThreads;

/// The connection that a piece of blocking work is done for: pieces of different connections take turns.
///
/// A handler takes it as an argument. A method of a typed service, which takes a [`Context`], makes it of that:
/// `Caller::from(&context)`. Calls that came over no connection, as those of a test or of a program to its own router,
/// count as calls of one connection together.
///
/// ```
/// use rpc_core::Status;
/// use rpc_server::blocking::{BlockingPool, Caller};
/// use rpc_server::{Router, State};
///
/// async fn count(State(pool): State<BlockingPool>, caller: Caller) -> Result<u64, Status> {
///     let count = pool.run(caller, |call| {
///         let mut count = 0;
///         while count < 1_000_000 && !call.is_over() {
///             count += 1;
///         }
///         count
///     });
///     Ok(count.await?)
/// }
///
/// let router = Router::with_state(BlockingPool::default()).route(100, count).unwrap();
/// # let _ = router;
/// ```
#[derive(Debug, Clone, Default)]
pub struct Caller(Option<Arc<Peer>>);

impl Caller {
    /// The connection of this peer.
    pub fn new(peer: &Arc<Peer>) -> Self {
        Self(Some(Arc::clone(peer)))
    }

    /// The connection that a request came over.
    pub fn of(request: &Request<'_>) -> Self {
        Self(request.scope.peer().cloned())
    }

    fn id(&self) -> CallerId {
        CallerId(self.0.as_ref().map(|peer| peer.connection))
    }
}

/// The connection that a call came over, for a method of a typed service.
///
/// ```
/// use rpc_server::blocking::{BlockingPool, Caller};
/// use rpc_server::{Context, Status, service};
///
/// #[service]
/// trait Files {
///     /// Size of a file in bytes.
///     #[rpc(cmdid = 100, idempotent)]
///     async fn size(&self, context: Context, path: String) -> Result<u64, Status>;
/// }
///
/// struct Disk {
///     pool: BlockingPool,
/// }
///
/// impl Files for Disk {
///     async fn size(&self, context: Context, path: String) -> Result<u64, Status> {
///         let about = self.pool.run(Caller::from(&context), |_call| std::fs::metadata(path));
///         Ok(about.await??.len())
///     }
/// }
/// # let _ = Disk { pool: BlockingPool::default() };
/// ```
impl From<&Context> for Caller {
    fn from(context: &Context) -> Self {
        Self(context.peer().cloned())
    }
}

/// The number of a caller's connection; none for all callers without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct CallerId(Option<u64>);

/// Tells a piece of blocking work that its call is over: cancelled, past its deadline, or without a connection.
///
/// Work that takes long looks at it now and then, and returns early: its result reaches no caller any more.
#[derive(Debug, Clone, Default)]
pub struct CallToken(Arc<AtomicBool>);

impl CallToken {
    /// Whether the call is over.
    pub fn is_over(&self) -> bool {
        // Relaxed: the flag is the only thing that is told.
        self.0.load(Ordering::Relaxed)
    }

    fn end(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
