//! The threads of a blocking route.

use std::future::Future;
use std::sync::{Arc, OnceLock};

use rpc_core::{Outcome, Status};

use super::{BlockingPool, Caller, ResultSize};
use crate::limit::outcome_bytes;

/// The threads of one command whose handler blocks: at most `calls_max` of its server's pool.
#[derive(Debug)]
pub(crate) struct RouteThreads {
    calls_max: usize,
    /// The server's pool. A router that is called before it is served has one of its own.
    pool: OnceLock<BlockingPool>,
}

impl RouteThreads {
    pub(crate) fn new(calls_max: usize) -> Arc<Self> {
        Arc::new(Self {
            calls_max,
            pool: OnceLock::new(),
        })
    }

    /// Uses the threads of this pool, unless it has been used already.
    pub(crate) fn bind(&self, pool: &BlockingPool) {
        self.pool.get_or_init(|| pool.limited(self.calls_max));
    }

    /// Runs a handler.
    pub(crate) fn run(
        &self,
        caller: Caller,
        work: impl FnOnce() -> Outcome + Send + 'static,
    ) -> impl Future<Output = Outcome> + Send + 'static {
        let pool = self
            .pool
            .get_or_init(|| BlockingPool::default().limited(self.calls_max));
        let size = ResultSize {
            bytes_max: 0,
            of: outcome_bytes,
        };
        let done = pool.run_sized(caller, size, move |_| work());

        async move { done.await.map_err(Status::from)? }
    }

    /// Returns once none of its pool's threads is at work.
    pub(crate) async fn at_rest(&self) {
        if let Some(pool) = self.pool.get() {
            pool.at_rest().await;
        }
    }
}
