//! Connections: how they are taken, refused, and handed on.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use rpc_server::{BoundAddress, Config, InheritedListener, Router, Server};
use tokio::net::{TcpStream, UnixStream};

use crate::rig::{HOLD, HOLD_DETACHED, Rig};
use crate::sockets::{connect, tcp, tcp_and_unix, until};
use crate::support::{Client, TestServer, call};

#[tokio::test]
async fn one_connection_too_many_is_refused_in_words_and_closed_without_a_reset() {
    let rig = Rig::new();
    let (server, address) = tcp(
        Config::default().with(|config| config.limits.connections_max = 2),
        rig.router(),
    )
    .await;
    let mut first = connect(address).await;
    let mut second = connect(address).await;
    for client in [&mut first, &mut second] {
        assert_eq!(client.ask("{\"cmdid\":0,\"params\":1}").await["data"], 1);
    }
    let mut third = connect(address).await;
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
    let mut next = connect(address).await;
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
    let (server, address) = tcp(Config::default(), rig.router()).await;
    let mut client = connect(address).await;
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
    // A second reply that waits for the acknowledgement of the first one takes 40 ms at least.
    const ROUNDS: usize = 200;
    const ACKNOWLEDGED_AFTER: Duration = Duration::from_millis(40);

    let rig = Rig::new();
    let (_server, address) = tcp(Config::default(), rig.router()).await;
    let mut client = connect(address).await;
    client.io.get_ref().set_nodelay(true).unwrap();
    let mut delayed = 0;
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        client.send("{\"cmdid\":0}\n").await;
        client.send("{\"cmdid\":0}\n").await;
        client.expect("{\"code\":0,\"data\":{}}").await;
        client.expect("{\"code\":0,\"data\":{}}").await;
        delayed += usize::from(begun.elapsed() >= ACKNOWLEDGED_AFTER);
    }
    // Some may be: the system acknowledges the first ones at once, and a machine may be slow.
    assert!(delayed < ROUNDS / 2, "{delayed} of {ROUNDS}");
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
    // The kernel chooses: that all of these go to one of two happens once in 2^63 runs.
    for _ in 0..64 {
        let mut client = connect(address).await;
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
async fn who_is_connected_before_a_drain_is_answered_though_not_accepted_yet() {
    let rig = Rig::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let (mut server, address) = tcp_and_unix(&path, Config::default(), rig.router()).await;
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
async fn an_inherited_listener_goes_from_server_to_server_and_refuses_no_connection() {
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
