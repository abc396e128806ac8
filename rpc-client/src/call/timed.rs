//! Calls that tell where their time went: at the server, and outside of it.

use std::time::Duration;

use rpc_core::RawJson;
use rpc_core::frame::{ServerTiming, TIMING};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::Command;
use super::run::timing_of;
use crate::error::Error;

/// The result of a call, and where its time went: what [`Command::timed`] returns.
#[derive(Debug)]
#[non_exhaustive]
pub struct Timed<T> {
    /// What the call came to.
    pub result: Result<T, Error>,
    /// From when the call was made to its result.
    pub total: Duration,
    /// The server's part, of the last try. `None` where no handler was reached, and of a server that does not tell.
    pub server: Option<ServerTiming>,
}

impl<T> Timed<T> {
    /// The time outside of the server: the network and this process with its runtime, and, where there were such,
    /// opening a connection and earlier tries.
    pub fn network(&self) -> Option<Duration> {
        let ServerTiming { queue, run } = self.server?;
        Some(self.total.saturating_sub(queue).saturating_sub(run))
    }

    /// The failure of a call that was not made.
    pub(crate) fn not_made(error: Error) -> Self {
        Self {
            result: Err(error),
            total: Duration::ZERO,
            server: None,
        }
    }

    fn and_then<U>(self, decode: impl FnOnce(T) -> Result<U, Error>) -> Timed<U> {
        Timed {
            result: self.result.and_then(decode),
            total: self.total,
            server: self.server,
        }
    }
}

impl Command<'_> {
    /// As [`call`](Self::call), and tells where the time of the call went. The server is asked for its part by the
    /// metadata `timing`, which makes the call a little dearer: it is for looking, not for every call.
    ///
    /// ```no_run
    /// # async fn example(client: rpc_client::Client) -> Result<(), rpc_client::Error> {
    /// let timed = client.command(1001).timed::<_, u64>(&"params").await;
    /// if let (Some(network), Some(server)) = (timed.network(), timed.server) {
    ///     println!("{network:?} on the way, {:?} waiting, {:?} running", server.queue, server.run);
    /// }
    /// let seq = timed.result?;
    /// # let _ = seq;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancel safety
    /// As [`call`](Self::call).
    pub async fn timed<P, T>(&self, params: &P) -> Timed<T>
    where
        P: Serialize + ?Sized,
        T: DeserializeOwned,
    {
        let timed = self.timed_answer(params).await;
        timed.and_then(|answer| answer.decode())
    }

    /// As [`timed`](Self::timed), with the data as the server sent it; `None` for a reply without data.
    ///
    /// # Cancel safety
    /// As [`call`](Self::call).
    pub async fn timed_raw<P>(&self, params: &P) -> Timed<Option<RawJson<'static>>>
    where
        P: Serialize + ?Sized,
    {
        let timed = self.timed_answer(params).await;
        timed.and_then(|answer| Ok(answer.data))
    }

    async fn timed_answer<P>(&self, params: &P) -> Timed<super::run::Answer>
    where
        P: Serialize + ?Sized,
    {
        let begun = Instant::now();
        let command = self.clone().meta(TIMING, "1");
        let make = || command.request(params);

        let result = Box::pin(command.all_tries(make)).await;
        let server = timing_of(&result);

        Timed {
            result,
            total: begun.elapsed(),
            server,
        }
    }
}
