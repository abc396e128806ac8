//! The run of a connection, from its first byte to its last; one that asks for a page is handed to the pages.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::{Poll, ready};

use rpc_core::Peer;
use tokio::io::{AsyncRead, AsyncWrite};

use super::session::Session;
use super::{Connection, Host};
use crate::access::Policy;
use crate::shutdown::{Stage, StopWatch};

/// Runs a connection to its end. The server's `stop` asks it to finish, and cuts it.
pub(crate) fn run<IO>(
    io: IO,
    peer: Arc<Peer>,
    host: Arc<Host>,
    policy: Arc<Policy>,
) -> impl Future<Output = ()> + Send + use<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send,
{
    #[cfg(feature = "admin")]
    let mut pages = None;
    let stop = Arc::clone(&host.stop);
    let mut watch = StopWatch::new(&stop);
    let mut connection = Some(Connection::new(io, peer, host, policy));

    // No `async`: that would hold the connection twice.
    poll_fn(move |cx| {
        let stage = watch.poll(&stop, cx);
        if stage == Stage::Aborted {
            return Poll::Ready(());
        }

        if let Some(open) = &mut connection
            && !open.wants_pages
        {
            let ended = ready!(open.poll(cx, stage));

            if !open.wants_pages {
                let Session { peer, stats, .. } = &open.session;
                let error = ended.err().map(tracing::field::display);
                tracing::debug!(%peer, connection = peer.connection, requests = stats.requests, error, "connection closed");
                return Poll::Ready(());
            }
        }

        #[cfg(feature = "admin")]
        return pages
            .get_or_insert_with(|| {
                let open = connection.take().expect("it is handed over once");
                let read = open.input.into_bytes();
                let Session {
                    io,
                    peer,
                    host,
                    stats,
                    ..
                } = open.session;

                let pages = host.pages.as_ref().expect("only where there are any");
                Box::pin(crate::admin::serve(
                    io,
                    read,
                    peer,
                    Arc::clone(pages),
                    stats,
                ))
            })
            .as_mut()
            .poll(cx);

        // Nobody wants any where there are none.
        #[cfg(not(feature = "admin"))]
        Poll::Ready(())
    })
}
