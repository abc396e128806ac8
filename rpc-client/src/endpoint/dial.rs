//! Dialing: TCP connections to the addresses of a host, begun one shortly after another (RFC 8305), so that one
//! that does not answer cannot hide the others.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use socket2::SockRef;
use tokio::net::TcpStream;

use super::tried::{Outcome, Tried};

/// Time that an address has before the next one is dialed beside it, as RFC 8305 recommends.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Opens a connection to HOST:PORT: to the address of the host that accepts one first. `tried` says how it
/// goes, also if this is dropped.
///
/// # Errors
/// The host cannot be resolved, or each of its addresses with its failure.
pub(super) async fn dial(address: &str, tried: &Tried) -> io::Result<TcpStream> {
    // An error of this address need not name it: it is the endpoint's own.
    if let Ok(address) = address.parse() {
        return connect(address).await;
    }

    race(alternating(resolve(address).await?), tried, connect).await
}

/// The addresses of HOST:PORT. An IPv6 address with the name of its zone, as `[fe80::1%eth0]:8889`, is resolved
/// by the system, too, which knows the zone's number.
async fn resolve(address: &str) -> io::Result<impl Iterator<Item = SocketAddr>> {
    let invalid = || {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "an address is HOST:PORT or unix:PATH, for example 127.0.0.1:8889",
        )
    };
    let (host, port) = address.rsplit_once(':').ok_or_else(invalid)?;
    let port: u16 = port.parse().map_err(|_| invalid())?;
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);

    tokio::net::lookup_host((host, port))
        .await
        .map_err(|error| match host.split_once('%') {
            Some((_, zone)) => io::Error::new(
                error.kind(),
                format!(
                    "cannot resolve `{host}`: {error}; is `{zone}` an interface of this machine? `ip link` lists them"
                ),
            ),
            None => error,
        })
}

/// The addresses without repetitions: IPv6 first, then the families in turn, each in the system's order.
fn alternating(found: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut known = Vec::new();
    for address in found {
        if !known.contains(&address) {
            known.push(address);
        }
    }

    let (v6, v4): (Vec<_>, Vec<_>) = known.into_iter().partition(SocketAddr::is_ipv6);
    let mut ordered = Vec::with_capacity(v6.len() + v4.len());
    let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
    loop {
        let before = ordered.len();
        ordered.extend(v6.next());
        ordered.extend(v4.next());
        if ordered.len() == before {
            return ordered;
        }
    }
}

/// Connects to each address [`ATTEMPT_DELAY`] after the one before, or at once when an attempt has failed. The
/// first connection is taken, and the other attempts are dropped.
async fn race<S, F>(
    addresses: Vec<SocketAddr>,
    tried: &Tried,
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<S>
where
    F: Future<Output = io::Result<S>>,
{
    struct Ended<S> {
        number: usize,
        result: io::Result<S>,
    }

    tried.begin(&addresses);
    let mut attempts = FuturesUnordered::new();
    let mut waiting = addresses.iter().enumerate();
    let mut last_kind = io::ErrorKind::NotFound;

    loop {
        if let Some((number, address)) = waiting.next() {
            tried.note(number, Outcome::NoAnswer);
            let attempt = connect(*address);
            attempts.push(async move {
                let result = attempt.await;
                Ended { number, result }
            });
        }

        let ended = tokio::select! {
            // In this order, and not in a random one, so that a simulated run can be repeated.
            biased;
            ended = attempts.next() => ended,
            () = tokio::time::sleep(ATTEMPT_DELAY), if waiting.len() > 0 => continue,
        };
        match ended {
            Some(Ended { number, result }) => match result {
                Ok(stream) => {
                    tried.note(number, Outcome::Connected);
                    return Ok(stream);
                }
                Err(error) => {
                    last_kind = error.kind();
                    tried.note(number, Outcome::Failed(error.to_string()));
                }
            },
            None if addresses.is_empty() => {
                return Err(io::Error::new(last_kind, "the host has no addresses"));
            }
            None => return Err(io::Error::new(last_kind, tried.to_string())),
        }
    }
}

/// A connection to one address, whose requests leave at once.
async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| without_zone(error, address))?;
    refuse_own_end(&stream, address)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Says what an address lacks that begins with fe80 and that the system refuses without the zone it is in.
fn without_zone(error: io::Error, address: SocketAddr) -> io::Error {
    match address {
        SocketAddr::V6(v6)
            if error.kind() == io::ErrorKind::InvalidInput
                && v6.ip().is_unicast_link_local()
                && v6.scope_id() == 0 =>
        {
            let (ip, port) = (v6.ip(), v6.port());
            io::Error::new(
                error.kind(),
                format!(
                    "a link-local address needs the interface that it is reached by: write [{ip}%INTERFACE]:{port}"
                ),
            )
        }
        _ => error,
    }
}

/// Refuses a connection whose two ends are the same socket.
///
/// A local address without a listener can be connected to itself (simultaneous open), where the system
/// happens to choose the very port that is called as the local one. There is no server at its other end.
fn refuse_own_end(stream: &TcpStream, address: SocketAddr) -> io::Result<()> {
    let ours = stream.local_addr()?;
    if ours.port() != address.port() {
        return Ok(());
    }

    // Asked of the system, since a call of 0.0.0.0 reaches 127.0.0.1. A peer that has gone by now is another socket.
    let is_own_end = stream
        .peer_addr()
        .is_ok_and(|peer| (peer.ip(), peer.port()) == (ours.ip(), ours.port()));
    if !is_own_end {
        return Ok(());
    }

    // Reset, so that the port is free at once: in TIME_WAIT it would keep the server from binding it for a minute.
    SockRef::from(stream).set_linger(Some(Duration::ZERO))?;
    Err(io::Error::new(
        io::ErrorKind::ConnectionRefused,
        format!(
            "connection refused: {ours} was connected to itself, so no server listens there; start it, and \
             reserve its port (`net.ipv4.ip_local_reserved_ports`)"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Mutex;

    use tokio::time::Instant;

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// What an address of these tests does.
    #[derive(Clone, Copy)]
    enum Peer {
        Silent,
        Refuses { after_ms: u64 },
        Accepts { after_ms: u64 },
    }

    /// How a race went: the winner's port or the error, and when each address was dialed, in milliseconds.
    struct Run {
        result: Result<u16, String>,
        dialed_ms: Vec<u128>,
        elapsed_ms: u128,
        tried: String,
    }

    async fn run(peers: &[Peer], limit: Duration) -> Run {
        let began = Instant::now();
        let dialed_at = Mutex::<Vec<u128>>::default();
        let connect = |address: SocketAddr| {
            dialed_at.lock().unwrap().push(began.elapsed().as_millis());
            let peer = peers[usize::from(address.port())];
            async move {
                let wait = |ms| tokio::time::sleep(Duration::from_millis(ms));
                match peer {
                    Peer::Silent => pending().await,
                    Peer::Refuses { after_ms } => {
                        wait(after_ms).await;
                        Err(io::Error::new(io::ErrorKind::ConnectionRefused, "refused"))
                    }
                    Peer::Accepts { after_ms } => {
                        wait(after_ms).await;
                        Ok(address.port())
                    }
                }
            }
        };

        let ports = 0..u16::try_from(peers.len()).unwrap();
        let addresses = ports.map(|port| SocketAddr::from(([10, 0, 0, 1], port)));
        let tried = Tried::default();
        let race = race(addresses.collect(), &tried, connect);
        let result = match tokio::time::timeout(limit, race).await {
            Ok(result) => result.map_err(|error| error.to_string()),
            Err(_) => Err("too late".to_owned()),
        };

        Run {
            result,
            dialed_ms: dialed_at.into_inner().unwrap(),
            elapsed_ms: began.elapsed().as_millis(),
            tried: tried.to_string(),
        }
    }

    const LIMIT: Duration = Duration::from_secs(3);

    #[test]
    fn ipv6_comes_first_and_the_families_take_turns() {
        let found = [
            "1.0.0.1:1",
            "1.0.0.2:1",
            "[::1]:1",
            "1.0.0.3:1",
            "[::2]:1",
            "[::1]:1",
        ];
        let ordered = ["[::1]:1", "1.0.0.1:1", "[::2]:1", "1.0.0.2:1", "1.0.0.3:1"];

        assert_eq!(
            alternating(addresses(&found).into_iter()),
            addresses(&ordered)
        );
    }

    #[test]
    fn a_link_local_address_that_lacks_its_zone_is_refused_with_what_to_write() {
        let refused = |address: &str| {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "refused");
            without_zone(error, address.parse().unwrap()).to_string()
        };

        assert!(refused("[fe80::1]:8889").contains("write [fe80::1%INTERFACE]:8889"));
        assert_eq!(refused("[fe80::1%1]:8889"), "refused");
        assert_eq!(refused("[::1]:8889"), "refused");
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_does_not_answer_is_joined_by_the_next_one() {
        let run = run(
            &[Peer::Silent, Peer::Silent, Peer::Accepts { after_ms: 10 }],
            LIMIT,
        )
        .await;

        assert_eq!(run.result, Ok(2));
        assert_eq!(run.dialed_ms, [0, 250, 500]);
        assert_eq!(run.elapsed_ms, 510);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_fails_is_followed_at_once() {
        let refuses = Peer::Refuses { after_ms: 20 };
        let run = run(&[refuses, refuses, Peer::Accepts { after_ms: 0 }], LIMIT).await;

        assert_eq!(run.result, Ok(2));
        assert_eq!(run.dialed_ms, [0, 20, 40]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_address_that_accepts_before_the_others_is_taken() {
        let run = run(
            &[Peer::Accepts { after_ms: 300 }, Peer::Silent, Peer::Silent],
            LIMIT,
        )
        .await;

        assert_eq!(run.result, Ok(0));
        assert_eq!(run.dialed_ms, [0, 250]);
        assert_eq!(run.elapsed_ms, 300);
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_names_each_address_and_what_became_of_it() {
        let failed = run(
            &[
                Peer::Refuses { after_ms: 300 },
                Peer::Refuses { after_ms: 0 },
            ],
            LIMIT,
        )
        .await;
        assert_eq!(
            failed.result,
            Err("10.0.0.1:0: refused; 10.0.0.1:1: refused".to_owned())
        );

        let late = run(
            &[
                Peer::Silent,
                Peer::Refuses { after_ms: 0 },
                Peer::Silent,
                Peer::Silent,
            ],
            LIMIT / 10,
        )
        .await;
        assert_eq!(
            late.tried,
            "10.0.0.1:0: no answer; 10.0.0.1:1: refused; 10.0.0.1:2: no answer; 10.0.0.1:3: not tried"
        );

        let many = run(&[Peer::Refuses { after_ms: 0 }; 10], LIMIT)
            .await
            .result
            .unwrap_err();
        assert!(
            many.ends_with("10.0.0.1:7: refused; and 2 others"),
            "{many}"
        );

        let nothing = run(&[], LIMIT).await.result;
        assert_eq!(nothing, Err("the host has no addresses".to_owned()));
    }
}

#[cfg(all(test, target_os = "linux"))]
mod system_tests {
    use std::net::{Ipv4Addr, TcpListener};

    use socket2::{Domain, Socket, Type};

    use super::*;

    /// A socket that is bound to this port, 0 for a free one, of a loopback address that no other test uses.
    fn bound(last_byte: u8, port: u16) -> (Socket, SocketAddr) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let address = SocketAddr::from((Ipv4Addr::new(127, 83, 1, last_byte), port));
        socket.bind(&address.into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        (socket, address)
    }

    fn into_stream(socket: Socket) -> TcpStream {
        socket.set_nonblocking(true).unwrap();
        TcpStream::from_std(socket.into()).unwrap()
    }

    #[tokio::test]
    async fn a_connection_to_itself_is_refused_and_leaves_the_port_to_the_server() {
        let (socket, address) = bound(1, 0);
        socket.connect(&address.into()).unwrap();
        let stream = into_stream(socket);

        let error = refuse_own_end(&stream, address).unwrap_err();
        drop(stream);

        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(
            error
                .to_string()
                .contains(&format!("{address} was connected to itself")),
            "{error}"
        );
        // In TIME_WAIT this would fail.
        TcpListener::bind(address).unwrap();
    }

    #[tokio::test]
    async fn a_peer_with_the_same_port_on_another_address_is_a_server() {
        let (server, address) = bound(2, 0);
        server.listen(1).unwrap();
        let (socket, _) = bound(3, address.port());
        socket.connect(&address.into()).unwrap();

        refuse_own_end(&into_stream(socket), address).unwrap();
    }

    #[tokio::test]
    async fn the_name_of_a_zone_is_resolved_and_an_unknown_one_is_named() {
        let found: Vec<_> = resolve("[fe80::1%lo]:8889").await.unwrap().collect();
        let [SocketAddr::V6(address)] = found.as_slice() else {
            panic!("{found:?}");
        };
        assert_eq!(address.ip().to_string(), "fe80::1");
        assert!(address.scope_id() > 0 && address.port() == 8889);

        let unknown = resolve("[fe80::1%nowhere]:8889").await.err().unwrap();
        assert!(
            unknown
                .to_string()
                .ends_with("is `nowhere` an interface of this machine? `ip link` lists them"),
            "{unknown}"
        );
    }

    #[tokio::test]
    async fn a_listener_with_a_full_backlog_does_not_hide_the_next_address() {
        // One connection fills a backlog of 0; the system drops what asks for another one.
        let (full, deaf) = bound(4, 0);
        full.listen(0).unwrap();
        let _waiting = connect(deaf).await.unwrap();
        let (works, listening) = bound(5, 0);
        works.listen(8).unwrap();

        let tried = Tried::default();
        let stream = race(vec![deaf, listening], &tried, connect).await.unwrap();

        assert_eq!(stream.peer_addr().unwrap(), listening);
        assert_eq!(
            tried.to_string(),
            format!("{deaf}: no answer; {listening}: connected")
        );
    }
}
