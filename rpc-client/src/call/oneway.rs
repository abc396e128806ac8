//! Oneway calls, which nothing answers.

use rpc_core::{Code, Request};
use serde::Serialize;
use tokio::time::Instant;

use super::Command;
use super::start::unsent;
use crate::balance::Lease;
use crate::config::Mode;
use crate::error::{Cause, Error, Kind};

impl Command<'_> {
    /// As [`Client::notify`](crate::Client::notify).
    ///
    /// # Errors
    /// As [`Client::notify`](crate::Client::notify).
    ///
    /// # Cancel safety
    /// As [`Client::notify`](crate::Client::notify).
    pub async fn notify<P>(&self, params: &P) -> Result<(), Error>
    where
        P: Serialize + ?Sized,
    {
        let mut request = self.request(params)?;
        request.timeout = None;
        self.send_oneway(request).await
    }

    /// Sends a request that nothing answers.
    pub(crate) async fn send_oneway(&self, mut request: Request<'static>) -> Result<(), Error> {
        let (context, now) = (self.caller(), Instant::now());
        if context.config.pool.undelimited_replies {
            let cause = Cause::new(
                "with `pool.undelimited_replies` there are no oneway calls: call the command, and ignore its answer",
            );
            let cause = cause.with_code(Code::FAILED_PRECONDITION);
            return Err(Error::new(Kind::NotSent(cause), &context.target, None));
        }

        // The field is newer than the servers that want every call in order.
        request.oneway = !context.config.pool.ordered;

        if let Some(Lease {
            connection,
            guard: _guard,
        }) = context.route.try_lease(self.hint(&[]), now)
            && connection.notify(&request, self.options().kind).is_ok()
        {
            context.metrics.oneway_sent(request.cmdid);
            return Ok(());
        }

        let cmdid = request.cmdid;
        let put = Box::pin(self.put_when_possible(request, self.deadline_from(now))).await;
        match &put {
            Err(error) if !error.was_sent() => context.metrics.ended(cmdid, unsent(error)),
            _ => context.metrics.oneway_sent(cmdid),
        }
        put
    }

    async fn put_when_possible(
        &self,
        request: Request<'static>,
        deadline: Instant,
    ) -> Result<(), Error> {
        let (context, kind) = (self.caller(), self.options().kind);
        let deadline = Some(deadline);

        loop {
            let Lease {
                connection,
                guard: _guard,
            } = context.route.lease(self.hint(&[]), deadline).await?;

            match connection.notify(&request, kind) {
                // Its connection is closed with it, and the caller is to know whether it was read.
                Ok(()) if context.config.pool.mode == Mode::Short => {
                    // What has not been read by then still may be.
                    let target = &context.target;
                    let late = |_| Error::new(Kind::Deadline { was_sent: true }, target, None);
                    let flushed = self.in_time(connection.flush(), deadline).await;
                    return flushed.map_err(late)?;
                }
                Ok(()) => return Ok(()),
                Err(refusal) => self.wait(&connection, refusal, deadline, kind).await?,
            }
        }
    }
}
