//! Messages in datagrams, over UDP and Unix sockets.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use rpc_core::api::log::Append;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::Instant;

use super::message::{Received, entry_of};
use super::socket::UnixSocket;
use super::{Shared, ended};
use crate::store::{Emitter, Overflow};

/// Number of messages that are put into the log together.
const TOGETHER_MAX: usize = 64;

/// How often that number is taken at the end: a sender that goes on does not keep the daemon from ending.
const ROUNDS_AT_THE_END_MAX: usize = 1000;

/// Takes datagrams of UDP until the listeners have to end.
pub(super) async fn take_udp(
    socket: UdpSocket,
    shared: Arc<Shared>,
    mut stopped: watch::Receiver<()>,
) {
    let mut taker = Taker::new(shared);
    let mut is_ending = false;
    while !is_ending {
        is_ending = tokio::select! {
            readable = socket.readable() => readable.is_err(),
            () = ended(&mut stopped) => true,
        };
        taker.take_some(|block| {
            let (bytes, peer) = socket.try_recv_from(block)?;
            Ok((bytes, Some(peer.ip())))
        });
    }

    if let Ok(socket) = socket.into_std() {
        taker.take_rest(|block| {
            let (bytes, peer) = socket.recv_from(block)?;
            Ok((bytes, Some(peer.ip())))
        });
    }
}

/// Takes datagrams of a Unix socket until the listeners have to end.
pub(super) async fn take_unix(
    unix: UnixSocket,
    shared: Arc<Shared>,
    mut stopped: watch::Receiver<()>,
) {
    let UnixSocket { socket, file } = unix;
    let mut taker = Taker::new(shared);
    let mut is_ending = false;
    while !is_ending {
        is_ending = tokio::select! {
            readable = socket.readable() => readable.is_err(),
            () = ended(&mut stopped) => true,
        };
        taker.take_some(|block| Ok((socket.try_recv(block)?, None)));
    }

    // From here on, senders find no socket.
    drop(file);
    if let Ok(socket) = socket.into_std() {
        taker.take_rest(|block| Ok((socket.recv(block)?, None)));
    }
}

/// Puts datagrams into the log.
struct Taker {
    shared: Arc<Shared>,
    emitter: Arc<Emitter>,
    /// A byte longer than a message may be, which tells one that is.
    block: Vec<u8>,
}

impl Taker {
    fn new(shared: Arc<Shared>) -> Self {
        let bytes_max = shared.settings.message_bytes_max;
        Self {
            emitter: shared.store.emitter(None),
            block: vec![0; bytes_max.saturating_add(1)],
            shared,
        }
    }

    /// Takes some of what has come; returns the number of datagrams.
    fn take_some(
        &mut self,
        mut receive: impl FnMut(&mut [u8]) -> io::Result<(usize, Option<IpAddr>)>,
    ) -> usize {
        let mut entries: Vec<Append> = Vec::new();
        let mut count = 0;
        // An error is the answer of another machine to what was never sent, or that nothing is left.
        while count < TOGETHER_MAX
            && let Ok((bytes, peer)) = receive(&mut self.block)
        {
            entries.extend(self.entry(bytes, peer));
            count += 1;
        }

        if !entries.is_empty() {
            // What there is no room for is dropped, and counted.
            let _ = self
                .shared
                .store
                .emit(&self.emitter, (&entries).into(), Overflow::Drop);
        }
        count
    }

    /// Takes what has come before the end. The runtime may not know of it yet, so that the system is asked.
    fn take_rest(
        &mut self,
        mut receive: impl FnMut(&mut [u8]) -> io::Result<(usize, Option<IpAddr>)>,
    ) {
        for _ in 0..ROUNDS_AT_THE_END_MAX {
            if self.take_some(&mut receive) < TOGETHER_MAX {
                return;
            }
        }
    }

    fn entry(&self, bytes: usize, peer: Option<IpAddr>) -> Option<Append> {
        let rates = &self.shared.rates;
        if rates.take(peer, bytes, Instant::now()).is_err() {
            rates.count_dropped();
            return None;
        }

        let bytes_max = self.shared.settings.message_bytes_max;
        Some(entry_of(Received {
            bytes: &self.block[..bytes.min(bytes_max)],
            is_cut: bytes > bytes_max,
            peer,
        }))
    }
}
