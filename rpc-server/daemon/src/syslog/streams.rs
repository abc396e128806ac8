//! Messages over TCP connections.

use std::collections::HashMap;
use std::io::{self, Read};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rpc_core::api::log::Append;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::framing::{End, Framed, Framer};
use super::message::{Received, entry_of};
use super::{Shared, ended};
use crate::store::{Emitter, NewEntries, Overflow, StoreError};

/// How many bytes are read at a time.
const BLOCK_BYTES: usize = 16 * 1024;

/// How often that is done at the end: a sender that goes on does not keep the daemon from ending. More than what a system
/// receives for a connection that is not read from.
const BLOCKS_AT_THE_END_MAX: usize = 1000;

/// Number of connections that are taken at the end: more than the system keeps for a listener.
const ACCEPTED_AT_THE_END_MAX: usize = 4096;

/// How long a connection waits for a store that has too much to write, or for descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// After how long of silence a peer is asked whether it is there, how often again, and how many times.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(60))
    .with_interval(Duration::from_secs(10))
    .with_retries(3);

/// Takes connections until the listeners have to end, and then ends them.
pub(super) async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut stopped: watch::Receiver<()>,
) {
    let places = Arc::new(Places::new(&shared));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = ended(&mut stopped) => break,
        };
        let Ok((stream, peer)) = accepted else {
            // Mostly for want of descriptors.
            sleep(PAUSE).await;
            continue;
        };

        if let Some(connection) = Connection::open(peer.ip(), &places, &shared) {
            connections.spawn(connection.run(stream, stopped.clone()));
        }
    }

    // To their peers, these are open, and what they have sent has come.
    let accepted = listener.into_std().into_iter();
    let accepted = accepted.flat_map(|listener| {
        std::iter::from_fn(move || listener.accept().ok()).take(ACCEPTED_AT_THE_END_MAX)
    });
    for (stream, peer) in accepted {
        if let Some(connection) = Connection::open(peer.ip(), &places, &shared)
            && stream.set_nonblocking(true).is_ok()
            && let Ok(stream) = TcpStream::from_std(stream)
        {
            connections.spawn(connection.run(stream, stopped.clone()));
        }
    }
    while connections.join_next().await.is_some() {}
}

struct Connection {
    peer: IpAddr,
    emitter: Arc<Emitter>,
    framer: Framer,
    shared: Arc<Shared>,
    /// Held for as long as the connection is open.
    _place: Place,
}

impl Connection {
    /// `None` if there are too many.
    fn open(peer: IpAddr, places: &Arc<Places>, shared: &Arc<Shared>) -> Option<Self> {
        let place = places.take(peer)?;
        Some(Self {
            peer,
            emitter: shared.store.emitter(None),
            framer: Framer::new(shared.settings.message_bytes_max),
            shared: Arc::clone(shared),
            _place: place,
        })
    }

    async fn run(mut self, mut stream: TcpStream, mut stopped: watch::Receiver<()>) {
        // Without it, a peer that has vanished keeps its place.
        let _ = SockRef::from(&stream).set_tcp_keepalive(&KEEPALIVE);

        let mut block = vec![0; BLOCK_BYTES];
        let mut end = self.read(&mut stream, &mut block, &mut stopped).await;
        if end == End::Cut
            && let Ok(stream) = stream.into_std()
        {
            end = self.read_rest(&stream, &mut block);
        }

        let peer = self.peer;
        let last = self.framer.end(end).map(|framed| entry(&framed, peer));
        if let Some(last) = last {
            // What there is no room for is dropped, and counted.
            let _ = self
                .shared
                .store
                .emit(&self.emitter, (&[last]).into(), Overflow::Drop);
        }
    }

    /// Takes messages until the peer closes the connection, or it has to end.
    async fn read(
        &mut self,
        stream: &mut TcpStream,
        block: &mut [u8],
        stopped: &mut watch::Receiver<()>,
    ) -> End {
        loop {
            let read = tokio::select! {
                read = stream.read(block) => read,
                () = ended(stopped) => return End::Cut,
            };
            let bytes = match read {
                Ok(0) => return End::Closed,
                Ok(bytes) => bytes,
                Err(_) => return End::Cut,
            };

            let entries = self.entries(&block[..bytes]);
            if self.put(&entries, stopped).await == Then::Ends {
                return End::Cut;
            }
            tokio::select! {
                () = self.wait_for_budget(bytes) => {}
                () = ended(stopped) => return End::Cut,
            }
        }
    }

    /// Takes what has come before the end, whatever the budget of its sender: the system has told the sender that it is here.
    /// The runtime may not know of it yet, so that the system is asked.
    fn read_rest(&mut self, mut stream: &std::net::TcpStream, block: &mut [u8]) -> End {
        for _ in 0..BLOCKS_AT_THE_END_MAX {
            let bytes = match stream.read(block) {
                Ok(0) => return End::Closed,
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return End::Cut,
            };

            let entries = self.entries(&block[..bytes]);
            if !entries.is_empty() {
                // What there is no room for is dropped, and counted.
                let _ = self
                    .shared
                    .store
                    .emit(&self.emitter, (&entries).into(), Overflow::Drop);
            }
        }
        End::Cut
    }

    /// The messages that are whole with these bytes.
    fn entries(&mut self, bytes: &[u8]) -> Vec<Append> {
        self.framer.push(bytes);
        let framed = std::iter::from_fn(|| self.framer.next());
        framed.map(|framed| entry(&framed, self.peer)).collect()
    }

    /// Puts entries into the log, and waits while the store has too much to write. The socket is not read meanwhile.
    async fn put(&self, entries: &[Append], stopped: &mut watch::Receiver<()>) -> Then {
        let (mut parts, mut then) = (vec![entries], Then::GoesOn);
        while let Some(part) = parts.pop() {
            let entries = NewEntries::from(part);
            match self.offer(&entries, &mut then, stopped).await {
                Ok(()) => {}
                Err(StoreError::Closed) => return Then::Ends,
                // There is no room for all of them together, however long they wait.
                Err(StoreError::EmitTooLarge { .. }) if part.len() > 1 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
                // What there is no room for is dropped, and counted. Those of a service over its budget, and those that are
                // too long, are dropped alone.
                Err(_) => drop(
                    self.shared
                        .store
                        .emit(&self.emitter, entries, Overflow::Drop),
                ),
            }
        }
        then
    }

    /// Offers entries to the store until it has room for them, or the connection has to end, which `then` says.
    async fn offer(
        &self,
        entries: &NewEntries,
        then: &mut Then,
        stopped: &mut watch::Receiver<()>,
    ) -> Result<(), StoreError> {
        loop {
            let store = &self.shared.store;
            let offered = store.emit(&self.emitter, entries.clone(), Overflow::Refuse);
            if *then == Then::Ends || !matches!(offered, Err(StoreError::Overloaded)) {
                return offered;
            }
            tokio::select! {
                () = sleep(PAUSE) => {}
                () = ended(stopped) => *then = Then::Ends,
            }
        }
    }

    /// Waits until the peer may send more than what it has sent.
    async fn wait_for_budget(&self, bytes: usize) {
        let rates = &self.shared.rates;
        while let Err(wait) = rates.take(Some(self.peer), bytes, Instant::now()) {
            sleep(wait).await;
        }
    }
}

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    GoesOn,
    Ends,
}

fn entry(framed: &Framed, peer: IpAddr) -> Append {
    entry_of(Received {
        bytes: &framed.bytes,
        is_cut: framed.is_cut,
        peer: Some(peer),
    })
}

/// The connections that are open.
struct Places {
    /// Held for a look-up.
    open: Mutex<HashMap<IpAddr, usize>>,
    max: usize,
    per_address: usize,
}

/// The place of a connection, until it is dropped.
struct Place {
    places: Arc<Places>,
    address: IpAddr,
}

impl Places {
    fn new(shared: &Shared) -> Self {
        Self {
            open: Mutex::default(),
            max: shared.settings.connections_max,
            per_address: shared.settings.connections_per_address,
        }
    }

    fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = open.values().sum();
        let of_address = open.get(&address).copied().unwrap_or_default();
        if total >= self.max || of_address >= self.per_address {
            return None;
        }

        *open.entry(address).or_default() += 1;
        Some(Place {
            places: Arc::clone(self),
            address,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self
            .places
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(of_address) = open.get_mut(&self.address) {
            *of_address -= 1;
            if *of_address == 0 {
                open.remove(&self.address);
            }
        }
    }
}
