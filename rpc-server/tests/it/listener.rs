//! Addresses and sockets.

use std::io::{ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use rpc_server::{BoundAddress, Config, InheritedListener, ListenOptions, Router, Server};
use tokio::net::{TcpStream, UnixStream};

use crate::logged::Logged;
use crate::rig::{HOLD, HOLD_DETACHED, Rig};
use crate::support::{Client, TestServer, call};

async fn bind(address: &str) -> std::io::Result<Server> {
    Server::builder()
        .listen(address)
        .router(Router::new())
        .bind()
        .await
}

async fn tcp(config: Config, rig: &Rig) -> (TestServer, std::net::SocketAddr) {
    let server = Server::builder()
        .listen("127.0.0.1:0")
        .config(config)
        .router(rig.router())
        .bind()
        .await
        .unwrap();
    let address = server.addresses()[0].tcp().unwrap();
    (TestServer::of(server), address)
}

/// Until the server has seen what happened on a socket.
async fn until(mut is_so: impl FnMut() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait)
        .await
        .expect("it becomes so");
}

#[tokio::test]
async fn one_connection_too_many_is_told_so_and_closed_without_a_reset() {
    let rig = Rig::new();
    let (server, address) = tcp(
        Config::default().with(|config| config.limits.connections_max = 2),
        &rig,
    )
    .await;
    let mut first = Client::new(TcpStream::connect(address).await.unwrap());
    let mut second = Client::new(TcpStream::connect(address).await.unwrap());
    for client in [&mut first, &mut second] {
        assert_eq!(client.ask("{\"cmdid\":0,\"params\":1}").await["data"], 1);
    }
    let mut third = Client::new(TcpStream::connect(address).await.unwrap());
    // Its request is on its way already: closing with it unread would be a reset.
    third.send("{\"cmdid\":100,\"params\":1}\n").await;
    until(|| server.stats().connections_refused == 1).await;
    let refused = third.expect_code(None, 8).await;
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("`limits.connections_max` of 2"),
        "{refused}"
    );
    assert_eq!(
        (&refused["rejected"], refused["retry_after_ms"].is_u64()),
        (&true.into(), true)
    );
    third.send("{\"cmdid\":0,\"params\":2}\n").await;
    third.expect_end().await;
    assert!(third.io.get_ref().take_error().unwrap().is_none());
    drop(third);

    // A place that is given up is free for the next one.
    drop(first);
    until(|| server.stats().connections_open == 1).await;
    let mut next = Client::new(TcpStream::connect(address).await.unwrap());
    assert_eq!(next.ask("{\"cmdid\":0,\"params\":1}").await["data"], 1);
    assert_eq!(second.ask("{\"cmdid\":0,\"params\":1}").await["data"], 1);
    let stats = server.stats();
    assert_eq!(
        (stats.connections_accepted, stats.connections_refused),
        (4, 1)
    );
}

#[tokio::test]
async fn a_reset_cancels_inline_handlers_and_lets_detached_ones_run_on() {
    let rig = Rig::new();
    let (server, address) = tcp(Config::default(), &rig).await;
    let mut client = Client::new(TcpStream::connect(address).await.unwrap());
    client
        .send(call(1, HOLD, "") + &call(2, HOLD_DETACHED, "") + "{\"id\":3,")
        .await;
    until(|| rig.probe.running() == 2).await;
    socket2::SockRef::from(client.io.get_ref())
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(client);
    until(|| rig.probe.running() == 1).await;
    assert_eq!(
        (rig.probe.finished(), server.stats().connections_open),
        (0, 0)
    );
    rig.gate.let_pass(1);
    until(|| rig.probe.finished() == 1).await;
}

#[tokio::test]
async fn a_second_reply_does_not_wait_for_the_acknowledgement_of_the_first_one() {
    // A second reply that waits for the acknowledgement of the first one takes 40 ms.
    let rig = Rig::new();
    let (_server, address) = tcp(Config::default(), &rig).await;
    let mut client = Client::new(TcpStream::connect(address).await.unwrap());
    client.io.get_ref().set_nodelay(true).unwrap();
    let start = std::time::Instant::now();
    for _ in 0..200 {
        client.send("{\"cmdid\":0}\n").await;
        client.send("{\"cmdid\":0}\n").await;
        client.expect("{\"code\":0,\"data\":{}}").await;
        client.expect("{\"code\":0,\"data\":{}}").await;
    }
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn addresses_that_cannot_be_bound_are_named() {
    let taken = bind("127.0.0.1:0").await.unwrap().addresses()[0].clone();
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken_by_other = other.local_addr().unwrap().to_string();
    assert!(taken.tcp().is_some());
    for address in [
        taken_by_other.as_str(),
        "127.0.0.1",
        "nonsense",
        "127.0.0.1:99999",
        "unix:/nowhere/socket",
    ] {
        let error = bind(address).await.err().expect("it cannot be bound");
        assert!(
            error
                .to_string()
                .starts_with(&format!("cannot listen on {address}: ")),
            "{error}"
        );
    }
    assert_eq!(
        bind(&taken_by_other).await.err().unwrap().kind(),
        ErrorKind::AddrInUse
    );
    let zero = Config::default().with(|config| config.limits.connections_max = 0);
    let error = Server::builder().config(zero).bind().await.err().unwrap();
    assert!(
        error.to_string().contains("`limits.connections_max` is 0"),
        "{error}"
    );
}

#[tokio::test]
async fn one_server_listens_on_several_addresses_by_name_too() {
    let server = Server::builder()
        .listen("127.0.0.1:0")
        .listen("localhost:0")
        .router(Rig::new().router())
        .bind()
        .await
        .unwrap();
    let addresses: Vec<_> = server
        .addresses()
        .iter()
        .map(|address| address.tcp().unwrap())
        .collect();
    assert_eq!(addresses.len(), 2);
    assert!(addresses.iter().all(|address| address.port() != 0));
    let _serving = TestServer::of(server);
    for address in addresses {
        let mut client = Client::new(TcpStream::connect(address).await.unwrap());
        assert_eq!(client.ask("{\"cmdid\":0,\"params\":1}").await["data"], 1);
    }
}

async fn ping(path: &Path) {
    let mut client = Client::new(UnixStream::connect(path).await.unwrap());
    assert_eq!(client.ask("{\"cmdid\":0,\"params\":1}").await["data"], 1);
}

#[tokio::test]
async fn a_socket_file_that_nobody_answers_on_is_replaced_and_a_living_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let address = format!("unix:{}", path.display());
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "as a killed server leaves it");
    let server = bind(&address).await.unwrap();
    assert_eq!(server.addresses(), [BoundAddress::Unix(path.clone())]);
    assert_eq!(server.addresses()[0].to_string(), address);
    let error = bind(&address).await.err().expect("it is taken");
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(
        error.to_string().contains("another process listens there"),
        "{error}"
    );
    let mut server = TestServer::of(server);
    ping(&path).await;
    server.begin_to_drain();
    server.drained().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn a_server_that_ends_leaves_the_socket_file_of_its_successor() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let address = format!("unix:{}", path.display());

    // Drained, and dropped without being served.
    for is_served in [true, false] {
        let old = bind(&address).await.unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut successor = TestServer::of(bind(&address).await.unwrap());

        if is_served {
            let mut old = TestServer::of(old);
            old.begin_to_drain();
            old.drained().await;
        } else {
            drop(old);
        }

        ping(&path).await;
        successor.begin_to_drain();
        successor.drained().await;
        assert!(!path.exists());
    }
}

#[tokio::test]
async fn a_socket_whose_queue_is_full_is_not_taken_for_a_stale_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let unix = || socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    let at_path = socket2::SockAddr::unix(&path).unwrap();

    let busy = unix();
    busy.bind(&at_path).unwrap();
    busy.listen(0).unwrap();

    let mut waiting = Vec::new();
    let full = loop {
        let client = unix();
        client.set_nonblocking(true).unwrap();
        match client.connect(&at_path) {
            Ok(()) => waiting.push(client),
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), ErrorKind::WouldBlock);

    let error = bind(&format!("unix:{}", path.display()))
        .await
        .err()
        .expect("it is taken");
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(
        error.to_string().contains("another process may listen"),
        "{error}"
    );

    // The file still leads to the socket that was there.
    for _ in &waiting {
        busy.accept().unwrap();
    }
    UnixStream::connect(&path).await.unwrap();
}

#[tokio::test]
async fn each_address_that_is_bound_is_logged() {
    let logged = Logged::begin();
    let directory = tempfile::tempdir().unwrap();
    let server = Server::builder()
        .listen("127.0.0.1:0")
        .listen(format!(
            "unix:{}",
            directory.path().join("socket").display()
        ))
        .bind()
        .await
        .unwrap();

    let text = logged.text();
    assert_eq!(server.addresses().len(), 2);
    for address in server.addresses() {
        assert!(
            text.contains(&format!("listening on {address} address={address}")),
            "{text}"
        );
    }
}

#[tokio::test]
async fn an_inherited_connection_is_refused_as_it_does_not_listen() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (unix, _other_end) = std::os::unix::net::UnixStream::pair().unwrap();

    for inherited in [
        InheritedListener::from(std::net::TcpListener::from(OwnedFd::from(tcp))),
        InheritedListener::from(UnixListener::from(OwnedFd::from(unix))),
    ] {
        let bound = Server::builder().listener(inherited).bind().await;
        let error = bound.err().expect("it cannot be accepted from");
        assert!(
            error
                .to_string()
                .contains("set `Accept=no` in the socket unit"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("precious");
    std::fs::write(&path, "years of work").unwrap();
    let error = bind(&format!("unix:{}", path.display()))
        .await
        .err()
        .expect("it cannot be bound");
    assert!(
        error.to_string().contains("precious") && error.to_string().contains("not a socket"),
        "{error}"
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "years of work");
}

#[tokio::test]
async fn workers_share_the_connections_of_a_port_and_drain_together() {
    async fn thread() -> Result<String, rpc_core::Status> {
        Ok(std::thread::current().name().unwrap_or_default().to_owned())
    }
    let directory = tempfile::tempdir().unwrap();
    let unix = directory.path().join("rpc.sock");
    let server = Server::builder()
        .listen("127.0.0.1:0")
        .listen(format!("unix:{}", unix.display()))
        .workers(2)
        .router(Router::new().route(100, thread).unwrap())
        .bind()
        .await
        .unwrap();
    let address = server.addresses()[0].tcp().unwrap();
    assert_eq!(server.addresses().len(), 2);
    let mut server = TestServer::of(server);

    let mut clients = Vec::new();
    let mut threads = std::collections::BTreeSet::new();
    // The kernel chooses: that all of so many go to one of two happens once in 2^63 runs.
    for _ in 0..64 {
        let mut client = Client::new(TcpStream::connect(address).await.unwrap());
        threads.insert(
            client.ask("{\"id\":1,\"cmdid\":100}").await["data"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
        clients.push(client);
    }
    assert_eq!(
        threads.into_iter().collect::<Vec<_>>(),
        ["rpc-worker-0", "rpc-worker-1"]
    );
    let mut local = Client::new(UnixStream::connect(&unix).await.unwrap());
    let thread = local.ask("{\"id\":1,\"cmdid\":100}").await;
    assert!(
        !thread["data"].as_str().unwrap().starts_with("rpc-worker"),
        "{thread}"
    );
    assert_eq!(server.stats().connections_open, 65);

    server.begin_to_drain();
    for client in &mut clients {
        assert_eq!(client.reply().await["event"], "goaway");
        client.expect_end().await;
    }
    local.reply().await;
    local.expect_end().await;
    drop((clients, local));
    let drained = server.drained().await;
    assert!(drained.is_clean && drained.connections == 65, "{drained:?}");
    TcpStream::connect(address).await.unwrap_err();
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error_for_workers_too() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let bound = Server::builder().listen(&address).workers(2).bind().await;
    let Err(error) = bound else {
        panic!("it was bound")
    };
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&address), "{error}");
}

#[tokio::test]
async fn who_is_connected_before_a_drain_is_answered_though_not_accepted_yet() {
    let rig = Rig::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let server = Server::builder()
        .listen("127.0.0.1:0")
        .listen(format!("unix:{}", path.display()))
        .router(rig.router())
        .bind()
        .await
        .unwrap();
    let address = server.addresses()[0].tcp().unwrap();
    let mut server = TestServer::of(server);
    until(|| path.exists()).await;
    // Nothing of the server runs between these and the drain: this is one thread, and nothing is awaited.
    let (mut tcp, mut unix) = (Vec::new(), Vec::new());
    for _ in 0..8 {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.write_all(call(1, HOLD, "").as_bytes()).unwrap();
        tcp.push(stream);
        let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
        stream.write_all(call(1, HOLD, "").as_bytes()).unwrap();
        unix.push(stream);
    }
    server.begin_to_drain();
    for stream in tcp {
        stream.set_nonblocking(true).unwrap();
        let mut client = Client::new(TcpStream::from_std(stream).unwrap());
        assert!(client.line().await.starts_with("{\"event\":\"goaway\""));
        assert_eq!(client.expect_code(1, 14).await["rejected"], true);
    }
    for stream in unix {
        stream.set_nonblocking(true).unwrap();
        let mut client = Client::new(UnixStream::from_std(stream).unwrap());
        assert!(client.line().await.starts_with("{\"event\":\"goaway\""));
        assert_eq!(client.expect_code(1, 14).await["rejected"], true);
    }
    assert!(server.drained().await.is_clean);
    assert_eq!(rig.probe.started(), 0);
}

#[tokio::test]
async fn an_inherited_listener_goes_from_server_to_server_and_refuses_nobody() {
    let rig = Rig::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let unix = UnixListener::bind(&path).unwrap();
    for workers in [0, 2, 0] {
        let server = Server::builder()
            .listener(tcp.try_clone().unwrap())
            .listener(unix.try_clone().unwrap())
            .workers(workers)
            .router(rig.router());
        // Before there is a server, or while the last one is gone.
        let mut early = Client::new(TcpStream::connect(tcp.local_addr().unwrap()).await.unwrap());
        let mut local = Client::new(UnixStream::connect(&path).await.unwrap());
        early.send("{\"cmdid\":0}\n").await;
        local.send("{\"cmdid\":0}\n").await;
        let server = server.bind().await.unwrap();
        let addresses = [
            BoundAddress::Tcp(tcp.local_addr().unwrap()),
            BoundAddress::Unix(path.clone()),
        ];
        assert_eq!(server.addresses(), addresses);
        let mut server = TestServer::of(server);
        early.expect("{\"code\":0,\"data\":{}}").await;
        local.expect("{\"code\":0,\"data\":{}}").await;
        server.begin_to_drain();
        assert!(server.drained().await.is_clean);
        assert!(path.exists(), "the file is not this server's");
    }
}

#[tokio::test]
async fn an_address_that_others_reach_is_not_bound_without_protection_or_a_word_that_this_is_right()
{
    let bare = || ListenOptions::new("0.0.0.0:0");
    let error = Server::builder()
        .listen_with(bare())
        .bind()
        .await
        .err()
        .expect("nothing protects it");
    assert!(
        error
            .to_string()
            .contains("without TLS and without authentication"),
        "{error}"
    );
    let inherited = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let refused = Server::builder()
        .listener_with(inherited, bare())
        .bind()
        .await
        .err();
    assert!(refused.is_some_and(|error| error.to_string().contains("`allow_plaintext = true`")));
    for protected in [
        bare().allow_plaintext(true),
        bare().require_authentication(true),
    ] {
        assert!(
            Server::builder()
                .listen_with(protected)
                .bind()
                .await
                .is_ok()
        );
    }
    let local = Server::builder().listen_with(ListenOptions::new("127.0.0.1:0"));
    assert!(local.bind().await.is_ok());
}
