//! The run of a connection, from its first byte to its last; one that speaks HTTP is handed to that room.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::{Poll, ready};

use rpc_core::Peer;
use tokio::io::{AsyncRead, AsyncWrite};

use super::crowd::InCrowd;
use super::session::Session;
use super::{Connection, Host};
#[cfg(feature = "http")]
use crate::access::Beginnings;
use crate::access::Policy;
#[cfg(feature = "http")]
use crate::http::{Handover, Open, Pipe};
#[cfg(feature = "http")]
use crate::shutdown::Stage;

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
    let in_crowd = host.crowd.outside();
    run_at(in_crowd, io, peer, host, policy)
}

/// Runs a connection that has this place in the crowd.
fn run_at<IO>(
    in_crowd: InCrowd,
    io: IO,
    peer: Arc<Peer>,
    host: Arc<Host>,
    policy: Arc<Policy>,
) -> impl Future<Output = ()> + Send + use<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send,
{
    #[cfg(feature = "http")]
    let mut exchange = None;
    let stop = Arc::clone(&host.stop);
    let connection = Connection::new(in_crowd, io, peer, host, policy);
    let bell = connection.session.stats.bell();
    let mut connection = Some(connection);

    // No `async`: that would hold the connection twice.
    poll_fn(move |cx| {
        // Before anything is looked at, so that no change is missed.
        bell.register(cx.waker());
        let stage = stop.stage();
        if let Some(open) = &mut connection
            && !open.speaks_http
        {
            let ended = ready!(open.poll(cx, stage));
            open.in_crowd.leave();

            if !open.speaks_http {
                let Session {
                    peer, stats, host, ..
                } = &open.session;
                host.log.connections.write(|| {
                    let error = ended.err().map(tracing::field::display);
                    tracing::debug!(%peer, connection = peer.connection, requests = stats.requests, error, "connection closed");
                });
                return Poll::Ready(());
            }
        }

        #[cfg(feature = "http")]
        {
            let exchange = exchange.get_or_insert_with(|| {
                let open = connection.take().expect("it is handed over once");
                Box::pin(crate::http::serve(handover(open)))
            });
            match exchange.as_mut().poll(cx) {
                // It has had its turn in which the call could end.
                Poll::Pending if stage == Stage::Aborted => Poll::Ready(()),
                polled => polled,
            }
        }

        // None speaks HTTP without the feature.
        #[cfg(not(feature = "http"))]
        Poll::Ready(())
    })
}

/// A connection as it is handed over.
#[cfg(feature = "http")]
fn handover<IO>(open: Connection<IO>) -> Handover<IO> {
    let read = open.input.into_bytes();
    let Session {
        io,
        peer,
        host,
        policy,
        stats,
        ..
    } = open.session;

    // What it executes is not asked for pages.
    let calls = Arc::new(Policy {
        is_for_pages: false,
        beginnings: Beginnings::Told,
        ..Policy::clone(&policy)
    });
    let http = Arc::clone(&host.http);
    let open: Open = Box::new(move |pipe: Pipe, peer| {
        // The exchange polls it only while its client reads, so it takes no turn that others wait for.
        let (host, calls) = (Arc::clone(&host), Arc::clone(&calls));
        Box::pin(run_at(InCrowd::never(), pipe, peer, host, calls))
    });

    Handover {
        io,
        read,
        peer,
        policy,
        http,
        connection_metrics: stats,
        open,
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[test]
    fn a_connection_at_rest_is_small() {
        let bytes = size_of::<Connection<TcpStream>>();
        assert!(bytes <= 704, "{bytes}: all connections hold that much");
    }
}
